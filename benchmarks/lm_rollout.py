"""Rollouts of all prefixes by a transformer: ours, naive loops with a cache for each prefix, transformers' generate.

All three speak by the same model, in turn. The naive loop and `generate` take one rollout of the batch after another,
as the ports of SeqGAN do: they read every prefix anew and go on from a cache of keys and values, sampling by softmax
and multinomial. On a CPU they are timed for one rollout, ours for a quarter of the sentences; the rest is multiplied.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from benchmarks.seqgan_step import combined, in_turn
from benchmarks.timing import Clock, Row, Timing, Work, peak_mb, report
from seqgan.causal_lm import CausalLM
from seqgan.kv_sweep import ROWS, complete, sizes

Tokens = Int[Tensor, "sentences time"]
Completions = Int[Tensor, "prefixes sentences time"]
START = 0


@dataclass(frozen=True)
class Setting:
    """What is rolled out, and by what."""

    sentences: int = 64
    """sentences whose prefixes are completed"""
    rollouts: int = 16
    """completions of each prefix"""
    length: int = 64
    """tokens in a sentence"""
    vocabulary: int = 5_000
    """words"""
    width: int = 256
    """of the transformer"""
    layers: int = 4
    """of the transformer"""
    heads: int = 4
    """of the transformer"""


@dataclass(frozen=True)
class Config:
    """Rollouts of all prefixes, ours against what others do."""

    setting: Setting = Setting()
    json: Path | None = None
    """write the result here as a flat JSON object"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where to compute; a GPU in bfloat16, timed by the wall clock"""
    threads: int = 1
    """CPU threads"""
    repeats: int = 3
    """times that each is timed"""
    quick: bool = False
    """one repeat with short sentences"""


def model_and_sentences(setting: Setting, device: str) -> tuple[Any, Tokens]:
    """Make the same GPT-2 and sentences for all; nothing ends a sentence early."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=setting.vocabulary,
        n_positions=setting.length + 1,
        n_embd=setting.width,
        n_layer=setting.layers,
        n_head=setting.heads,
        activation_function="gelu",  # one kernel, where the default is eight passes over memory
        bos_token_id=START,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config).eval().to(device, torch.float32 if device == "cpu" else torch.bfloat16)
    return model, torch.randint(setting.vocabulary, (setting.sentences, setting.length), device=device)


def prefixes(tokens: Tokens) -> list[Int[Tensor, "sentences prefix"]]:
    """Return [start | prefix] for every proper prefix."""
    started = torch.nn.functional.pad(tokens, (1, 0), value=START)
    return [started[:, : kept + 1] for kept in range(1, tokens.shape[1])]


@torch.no_grad()
def naive(model: Any, tokens: Tokens) -> Completions:
    """Read every prefix, then draw token after token from its cache."""
    said = []
    for rows in prefixes(tokens):
        output = model(rows, use_cache=True, logits_to_keep=1)
        while True:
            drawn = output.logits[:, -1].float().softmax(-1).multinomial(1)
            rows = torch.cat([rows, drawn], 1)
            if rows.shape[1] > tokens.shape[1]:
                break
            output = model(drawn, past_key_values=output.past_key_values, use_cache=True)
        said.append(rows[:, 1:])
    return torch.stack(said)


@torch.no_grad()
def generated(model: Any, tokens: Tokens) -> Completions:
    """Let `generate` continue every prefix."""
    from transformers import GenerationConfig

    said = []
    for rows in prefixes(tokens):
        more = tokens.shape[1] + 1 - rows.shape[1]
        settings = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=more, pad_token_id=START)
        said.append(model.generate(rows, attention_mask=torch.ones_like(rows), generation_config=settings)[:, 1:])
    return torch.stack(said)


def works(setting: Setting, device: str) -> dict[str, tuple[float, Work]]:
    """Return what is timed, each with the factor that makes it the whole."""
    model, tokens = model_and_sentences(setting, device)
    policy = CausalLM(model, end=-1, pad=START, prompt=0, start=START)
    some = tokens[: -(-len(tokens) // 4)] if device == "cpu" else tokens
    return {
        "naive": (setting.rollouts, lambda: naive(model, tokens)),
        "generate": (setting.rollouts, lambda: generated(model, tokens)),
        "ours": (len(tokens) / len(some), lambda: complete(policy, some, setting.rollouts)),
    }


def work(name: str, setting: Setting) -> Work:
    """Return one of them, whose memory is measured."""
    return works(setting, "cpu")[name][1]


def least_bytes(setting: Setting, device: str) -> float:
    """Return the bytes that our steps must move: weights once a step, shared keys and values once, own ones by row."""
    number = 4 if device == "cpu" else 2
    width, layers = setting.width, setting.layers
    weights = number * width * (12 * width * layers + setting.vocabulary)
    column = 2 * number * width * layers  # keys and values of a token
    group, span = sizes(setting.sentences, setting.rollouts, ROWS[device])
    total = 0.0
    for first in range(0, setting.length - 1, span):
        shared, last = first + 2, min(first + span, setting.length - 1)
        for own in range(1, setting.length - shared + 1):
            rows = min(own, last - first) * setting.rollouts * group
            total += weights + column * (rows * own + group * shared)
    return total * setting.sentences / group


def bandwidth(device: str) -> float:
    """Return the bytes a second that copying moves, read and written; the median of nine."""
    source = torch.empty(1 << (26 if device == "cpu" else 29), dtype=torch.float32, device=device)
    target, seconds = torch.empty_like(source), []
    for _ in range(10):
        start = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / statistics.median(seconds[1:])


def main(config: Config) -> None:
    """Time and report."""
    torch.set_num_threads(config.threads)
    setting = Setting(sentences=16, rollouts=4, length=16) if config.quick else config.setting
    clock: Clock = "cpu" if config.device == "cpu" else "wall"
    timed = works(setting, config.device)
    for _, warm in works(Setting(sentences=4, rollouts=1, length=4), config.device).values():
        warm()
    repeats = 1 if config.quick else config.repeats
    parts = in_turn({name: part for name, (_, part) in timed.items()}, repeats, config.device)
    spent = {name: combined([(factor, parts[name])]) for name, (factor, _) in timed.items()}
    tokens = setting.sentences * setting.rollouts * setting.length * (setting.length - 1) / 2
    ours = spent["ours"].on(clock).median
    numbers = {
        "tokens_per_second/rollout": tokens / ours,
        "bandwidth_share/rollout": least_bytes(setting, config.device) / bandwidth(config.device) / ours,
    }
    if config.device == "cpu":
        numbers |= {f"peak_mb/{name}": peak_mb(work, who, setting) for name, who in MEMORY.items()}
    rows = [
        Row("rollout", "naive", Timing(spent["ours"], spent["naive"])),
        Row("rollout_vs_generate", "generate", Timing(spent["ours"], spent["generate"])),
    ]
    report(rows, config.json, clock=clock, device=config.device, numbers=numbers)


MEMORY = {"rollout": "ours", "rollout_naive": "naive"}

if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
