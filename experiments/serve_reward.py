"""Serve a reward that learns: `python -m experiments.serve_reward [--flags]`; POST /score and /score_and_update.

Loops in other processes send completions and get what they earn (rl.adapters.client.Client, or any HTTP client); the
discriminator learns between requests. Its state is kept in `--keep` and taken up again from there. With no flags text
is read as bytes and judged by a small CNN, so that nothing needs to be downloaded.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from experiments import config
from rl import AIRL, Hinge, LeastSquares, Minimax, NonSaturating, Objective, Relativistic, SeqGAN, Wasserstein
from rl.adapters.adversarial_reward import AdversarialReward, Learning
from rl.adapters.rows import Tokenizer
from rl.runtime import InputError, Stop, Stopped, checkpoints, exit_codes
from rl.runtime.errors import one_line
from seqgan.judge_files import load_judge
from seqgan.judges import ConvJudge
from seqgan.prompts import json_rows

TOKEN = "SPARRING_TOKEN"  # the environment variable: a command line shows in a list of processes
OBJECTIVES: dict[str, Objective] = {
    "seqgan": SeqGAN(), "minimax": Minimax(), "nonsaturating": NonSaturating(), "airl": AIRL(), "hinge": Hinge(),
    "wasserstein": Wasserstein(), "least-squares": LeastSquares(), "relativistic": Relativistic(),
}  # fmt: skip
BYTES = 257  # ids: every byte, and the end
MAY_BE_ZERO = ("warm_up", "replay", "memory", "generation", "port")


@dataclass(frozen=True)
class Arguments:
    """Serve a reward that learns. The bearer token is read from the environment: SPARRING_TOKEN."""

    judge: Path | None = None
    """folder of a judge, as `save_pretrained` writes it; else a new CNN"""
    tokenizer: Path | None = None
    """folder of the policy's tokenizer; else text is bytes"""
    demonstrations: Path | None = None
    """JSON lines with prompt and completion; else every request brings its own"""
    objective: Literal[
        "seqgan", "minimax", "nonsaturating", "airl", "hinge", "wasserstein", "least-squares", "relativistic"
    ] = "seqgan"
    """how the discriminator learns and what a logit earns"""
    learning: Learning = field(default_factory=Learning)
    generation: int = 256
    """completions to learn from at once, from however many requests they come; 0: each request is one generation"""
    length: int = 512
    """tokens of the longest row that a new CNN reads"""
    keep: Path | None = None
    """folder for the state; what is there is taken up"""
    keep_every: int = 50
    """generations between two saves"""
    device: str = "cpu"
    """where the discriminator is"""
    host: str = "127.0.0.1"
    """address to listen on; other machines reach 0.0.0.0"""
    port: int = 8000
    """port to listen on"""
    most_bytes: int = 8 << 20
    """largest body of a request"""
    seed: int = 0
    """of a new CNN's weights"""


class Bytes:
    """A tokenizer without a vocabulary: the bytes of UTF-8, and 256 for the end."""

    eos_token_id = 256

    def __call__(self, text: str, /, *, add_special_tokens: bool = True) -> Mapping[str, list[int]]:
        """Return a text's bytes."""
        return {"input_ids": list(text.encode())}

    def apply_chat_template(
        self, conversation: Sequence[Mapping[str, str]], /, *, add_generation_prompt: bool, tokenize: bool,
        return_dict: bool,
    ) -> Mapping[str, list[int]]:  # fmt: skip
        """Return every message on a line of its own, after who says it."""
        lines = [f"{message['role']}: {message['content']}" for message in conversation]
        return self("\n".join([*lines, "assistant: "] if add_generation_prompt else lines))


def tokenizer_of(folder: Path | None) -> tuple[Tokenizer, int]:
    """Return a tokenizer and how many ids it has."""
    if folder is None:
        return Bytes(), BYTES
    from transformers import AutoTokenizer  # slow to import

    try:
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"--tokenizer {folder}: transformers cannot load it: {one_line(error)[:200]}") from None
    return made, len(made)


def examples(path: Path) -> list[Mapping[str, Any]]:
    """Return the demonstrations of a file of JSON lines: texts, chats or ids. InputError names file and line."""
    found = []
    for place, row in json_rows(path):
        if not {"prompt", "completion"} <= row.keys():
            raise InputError(f"{place}: needs prompt and completion")
        found.append(row)
    return found


def device_of(name: str) -> torch.device:
    """Return the device of a name. Raises InputError for one that is not here."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no CUDA at all
        raise InputError(f"--device {name}: {one_line(error)[:200]}") from None


def reward_of(a: Arguments) -> tuple[AdversarialReward, int]:
    """Return the reward, its state taken up where there is one, and how many ids there are."""
    tokenizer, vocabulary = tokenizer_of(a.tokenizer)
    torch.manual_seed(a.seed)
    judge = ConvJudge(vocabulary, a.length) if a.judge is None else load_judge(a.judge)
    reward = AdversarialReward(
        judge,
        tokenizer,
        demonstrations="demonstrations" if a.demonstrations is None else examples(a.demonstrations),
        objective=OBJECTIVES[a.objective],
        learning=a.learning,
    )
    reward.place(device_of(a.device))
    if a.keep is not None and checkpoints.steps(a.keep):
        checkpoints.restore(checkpoints.newest(a.keep), {"reward": reward})
    return reward, vocabulary


def keeper(a: Arguments, reward: AdversarialReward) -> Callable[[], None]:
    """Return what saves the reward whenever it is due."""

    def keep() -> None:
        if a.keep is not None and reward.generations % a.keep_every == 0:
            checkpoints.save(a.keep, reward.generations, {"reward": reward})

    return keep


def main(arguments: Sequence[str]) -> None:
    """Serve until stopped, then save."""
    a = config.one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.serve_reward", description=__doc__)
    )
    config.check_numbers(a, may_be_zero=MAY_BE_ZERO, shares=("held_out",), signed=("seed",), unbounded=("clip",))
    if a.port > 65535:
        raise InputError(f"--port {a.port}: must be at most 65535")
    token = os.environ.get(TOKEN, "")
    if len(token) < 16:
        raise InputError(f"{TOKEN}: the environment holds no token of 16 characters or more")
    import uvicorn  # slow to import

    from rl.adapters.service import app_of

    reward, vocabulary = reward_of(a)
    app = app_of(
        reward, token,
        vocabulary=vocabulary, generation=a.generation, most_bytes=a.most_bytes, learned=keeper(a, reward),
    )  # fmt: skip
    with Stop() as stop:  # uvicorn answers what it has begun, then raises the signal again
        uvicorn.run(app, host=a.host, port=a.port, log_level="warning")
    if a.keep is not None and reward.generations > 0:
        checkpoints.save(a.keep, reward.generations, {"reward": reward})
    if stop.requested:
        raise Stopped(stop.requested)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
