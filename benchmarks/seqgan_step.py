"""SeqGAN's steps at the paper's sizes (64 sentences of 20 tokens out of 5,000), ours against the naive loops of ports.

Both sides hold the same weights. A generator step speaks, judges 16 completions of every prefix and makes one update; a
round is COMPOSED from measured parts: one generator step, five resamplings of 10,000 sentences, and 15 epochs of 312
discriminator batches. `two_matrices` is the paper's highway, the rest the one matrix of the ports.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from benchmarks import naive_seqgan as naive
from benchmarks.timing import Clock, Measured, Row, Spread, Timing, Work, peak_mb, report
from rl.estimators import no_baseline
from rl.objectives import SeqGAN
from rl.penalties import NoPenalty
from rl.rewards import MonteCarlo
from rl.runtime import Engine, Runtime
from seqgan.adversarial import GeneratorGoal, discriminator_round, generator_round
from seqgan.discriminators import PAPER_FILTERS, ConvDiscriminator
from seqgan.generators import LSTMGenerator
from seqgan.pretraining import mle_round
from seqgan.sampling import Sampler, blank_rows, complete, speak
from seqgan.scoring import judge_completions

RESAMPLINGS, EPOCHS = 5, 3  # of the discriminator in a round; each epoch sees 20,000 sentences
CORPUS = 10_000


@dataclass(frozen=True)
class Setting:
    """What grows."""

    batch: int = 64
    length: int = 20
    vocabulary: int = 5_000
    rollouts: int = 16
    filters: tuple[tuple[int, int], ...] = PAPER_FILTERS
    shared_gate: bool = True
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 1


@dataclass(frozen=True)
class Amounts:
    """How much of the work is timed; the rest is multiplied up, and the table says so."""

    sentences: int = CORPUS
    d_batches: int = 20
    mle_batches: int = 20
    repeats: int = 3


QUICK = Amounts(sentences=1_280, d_batches=5, mle_batches=5, repeats=1)


@dataclass(frozen=True)
class Config:
    """Generator step, sampling, pretraining, discriminator step and round of SeqGAN, ours against naive loops."""

    json: Path | None = None
    """write the result here as a flat JSON object"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where to compute; a GPU is timed by the wall clock"""
    threads: int = 1
    """CPU threads"""
    quick: bool = False
    """one repeat of a fraction of the work"""
    growth: bool = False
    """print instead how time and memory of a generator step grow with length, rollouts and vocabulary"""


def nets(setting: Setting) -> tuple[LSTMGenerator, ConvDiscriminator, Tensor]:
    """Make the same generator, discriminator and sentences for both sides."""
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    discriminator = ConvDiscriminator(
        setting.vocabulary, setting.length, filters=setting.filters, shared_gate=setting.shared_gate
    )
    generator = LSTMGenerator(setting.vocabulary, deviation=1.0)
    sentences = torch.randint(setting.vocabulary, (setting.batch, setting.length), device=setting.device)
    return generator.to(setting.device), discriminator.to(setting.device), sentences


class Ours:
    """What this repository does."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.generator, self.discriminator, self.sentences = nets(setting)
        self.engine = Engine(Runtime(setting.device, setting.precision), seed=0)
        self.judge = self.engine.fast(self.discriminator)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4, fused=True)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), 1e-4, fused=True)

    def generator_step(self, rollouts: int) -> None:
        """Make one adversarial generator step."""

        def judge(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
            return judge_completions(self.discriminator, tokens, completions, autocast=self.engine.autocast)

        def carry_on(tokens: Tensor, samples: int) -> Tensor:
            return complete(self.generator, tokens, samples)

        goal = GeneratorGoal(MonteCarlo(carry_on, judge, SeqGAN(), rollouts), no_baseline)
        batch, length = self.sentences.shape
        args = (self.generator, self.generator, goal, self.g_optimizer, self.engine)
        generator_round(*args, given=blank_rows(batch, length), clip=5 / 64)

    def discriminator_step(self) -> None:
        """Make one discriminator step on half real, half fake sentences."""
        real, fake = self.sentences.chunk(2)
        args = (SeqGAN(), NoPenalty(), self.d_optimizer, self.engine)
        discriminator_round(self.discriminator, self.judge, real, fake, *args)

    def mle_step(self) -> None:
        """Make one step of maximum likelihood."""
        mle_round(self.generator, self.sentences, self.g_optimizer, self.engine, clip=5.0)

    def sample(self, sentences: int) -> None:
        """Speak."""
        with self.engine.autocast():
            speak(self.generator, sentences, self.setting.length)


class Naive:
    """What the public ports do."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        generator, discriminator, self.sentences = nets(setting)
        self.generator = naive.NaiveGenerator(generator).to(setting.device)
        self.discriminator = naive.NaiveDiscriminator(discriminator).to(setting.device)
        self.labels = (torch.arange(setting.batch, device=setting.device) < setting.batch // 2).long()
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), 1e-4)

    def generator_step(self, rollouts: int) -> None:
        """Make one adversarial generator step."""
        batch, length = self.sentences.shape
        args = (self.generator, self.discriminator, self.g_optimizer)
        naive.generator_step(*args, batch=batch, length=length, rollouts=rollouts)

    def discriminator_step(self) -> None:
        """Make one discriminator step on half real, half fake sentences."""
        naive.discriminator_step(self.discriminator, self.sentences, self.labels, self.d_optimizer)

    def mle_step(self) -> None:
        """Make one step of maximum likelihood."""
        naive.mle_step(self.generator, self.sentences, self.g_optimizer)

    def sample(self, sentences: int) -> None:
        """Speak."""
        naive.sample_many(self.generator, sentences, self.setting.length, self.setting.batch)


Side = Ours | Naive


def in_turn(works: Mapping[str, Work], repeats: int, device: str) -> dict[str, Measured]:
    """Run all in turn, `repeats` times, the order reversed from one repeat to the next. Warm up before."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for repeat in range(repeats):
        for name in list(works)[:: 1 if repeat % 2 == 0 else -1]:
            cpu, wall = time.process_time(), time.perf_counter()
            works[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: measured(*zip(*pairs, strict=True)) for name, pairs in times.items()}


def measured(cpu: Sequence[float], wall: Sequence[float]) -> Measured:
    """Put one work's repeats on both clocks together."""
    return Measured(Spread(tuple(cpu)), Spread(tuple(wall)))


def combined(parts: Sequence[tuple[float, Measured]]) -> Measured:
    """Add up factor * time, repeat by repeat."""

    def total(clock: Clock) -> list[float]:
        return [
            sum(factor * seconds for (factor, _), seconds in zip(parts, repeat, strict=True))
            for repeat in zip(*(part.on(clock).seconds for _, part in parts), strict=True)
        ]

    return measured(total("cpu"), total("wall"))


def times(work: Callable[[], None], count: int) -> Work:
    """Do the work `count` times."""

    def repeated() -> None:
        for _ in range(count):
            work()

    return repeated


SIDES = ("naive", "ours", "ours_bf16", "naive_two_matrices", "ours_two_matrices")
PAIRS = {
    "": ("naive", "ours"),
    "_bf16": ("naive", "ours_bf16"),
    "_two_matrices": ("naive_two_matrices", "ours_two_matrices"),
}


def sides(setting: Setting) -> dict[str, Side]:
    """Make all that compete, and warm them up: one rollout is enough for that."""
    two, bf16 = replace(setting, shared_gate=False), replace(setting, precision="bf16")
    made: tuple[Side, ...] = (Naive(setting), Ours(setting), Ours(bf16), Naive(two), Ours(two))
    for side in made:
        side.generator_step(1)
        side.discriminator_step()
        side.mle_step()
        side.sample(setting.batch)
    return dict(zip(SIDES, made, strict=True))


def compare(setting: Setting, amounts: Amounts) -> dict[str, Timing]:
    """Time every part and compose the round; the key is the name in the JSON."""
    made = sides(setting)
    repeats, device = amounts.repeats, setting.device
    batches = -(-CORPUS // setting.batch)  # an epoch's, and a naive resampling's
    works: dict[str, tuple[float, Callable[[Side], Work], tuple[str, ...]]] = {
        "mle_epoch": (batches / amounts.mle_batches, lambda s: times(s.mle_step, amounts.mle_batches), SIDES[:3]),
        "discriminator_step": (1 / amounts.d_batches, lambda s: times(s.discriminator_step, amounts.d_batches), SIDES),
        "sampling": (CORPUS / amounts.sentences, lambda s: lambda: s.sample(amounts.sentences), SIDES[:3]),
        "generator_step": (1, lambda s: lambda: s.generator_step(setting.rollouts), SIDES),
    }
    parts: dict[str, dict[str, Measured]] = {}
    for name, (factor, work, who) in works.items():
        spent = in_turn({side: work(made[side]) for side in who}, repeats, device)
        parts[name] = {side: combined([(factor, its)]) for side, its in spent.items()}
    parts["sampling"] |= {side: parts["sampling"][side.split("_")[0]] for side in SIDES[3:]}
    steps = RESAMPLINGS * EPOCHS * (2 * CORPUS // setting.batch)
    parts["adversarial_round"] = {
        side: combined(
            [
                (1, parts["generator_step"][side]),
                (RESAMPLINGS, parts["sampling"][side]),
                (steps, parts["discriminator_step"][side]),
            ]
        )
        for side in SIDES
    }
    return {
        name + suffix: Timing(spent[ours], spent[theirs])
        for (name, spent), (suffix, (theirs, ours)) in product(parts.items(), PAIRS.items())
        if ours in spent and (name, suffix) != ("sampling", "_two_matrices")
    }


def nanoseconds_per_logit(setting: Setting, clock: Clock) -> float:
    """Median time to project features onto one word of the vocabulary and draw."""
    generator, _, _ = nets(setting)
    rows, sampler = 2_560, Sampler(generator.head)
    features = torch.randn(rows, generator.head.in_features, device=setting.device)
    sampler(features)
    with torch.no_grad():
        spent = in_turn({"draw": lambda: sampler(features)}, 5, setting.device)["draw"]
    return spent.on(clock).median / rows / setting.vocabulary * 1e9


def step_of(side: type[Ours] | type[Naive], setting: Setting) -> Work:
    """Set up the generator step whose memory is measured."""
    made = side(setting)
    return lambda: made.generator_step(setting.rollouts)


def fast_bf16(device: str) -> bool:
    """Tell whether the hardware multiplies bfloat16 matrices; without that bf16 cannot be the faster precision."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def rows_of(timings: Mapping[str, Timing], amounts: Amounts) -> list[Row]:
    """Name what each row is made of."""
    composed = f"composed: 1 step + {RESAMPLINGS} resamplings + {RESAMPLINGS * EPOCHS} epochs of 20,000 sentences"
    notes = {
        "sampling": f"{amounts.sentences:,} sentences timed, for 10,000",
        "mle_epoch": f"{amounts.mle_batches} batches timed, for 10,000 sentences",
        "adversarial_round": composed,
    }
    return [
        Row(what, "naive", timing, next((note for name, note in notes.items() if what.startswith(name)), ""))
        for what, timing in timings.items()
    ]


def grow(config: Config) -> None:
    """Print the growth of a generator step as a table in Markdown."""
    paper = Setting(device=config.device, threads=config.threads)
    settings = [
        paper, replace(paper, length=40), replace(paper, length=80), replace(paper, rollouts=4),
        replace(paper, rollouts=64), replace(paper, vocabulary=30_000),
    ]  # fmt: skip
    print(
        "Processor seconds of one generator step; naive: one rollout's time, multiplied, without speaking and update.\n"
    )
    print("| T | N | V | naive, s | ours, s | ratio | ours, MB | naive, MB |\n|---|---|---|---|---|---|---|---|")
    for setting in settings[::5] if config.quick else settings:
        ours, other = Ours(setting), Naive(setting)
        ours.generator_step(1)
        works: dict[str, Work] = {
            "naive": partial(naive.rollout_rewards, other.generator, other.discriminator, other.sentences, 1),
            "ours": partial(ours.generator_step, setting.rollouts),
        }
        spent = in_turn(works, 1, config.device)
        clock: Clock = "cpu" if config.device == "cpu" else "wall"
        theirs, mine = spent["naive"].on(clock).median * setting.rollouts, spent["ours"].on(clock).median
        del ours, other, works
        memory = [peak_mb(step_of, Ours, setting), peak_mb(step_of, Naive, replace(setting, rollouts=1))]
        sizes = f"| {setting.length} | {setting.rollouts} | {setting.vocabulary:,} "
        print(
            f"{sizes}| {theirs:.1f} | {mine:.2f} | {theirs / mine:.1f} | {memory[0]:.0f} | {memory[1]:.0f} |",
            flush=True,
        )


def main(config: Config) -> None:
    """Time, report, and say what this hardware cannot show."""
    torch.set_num_threads(config.threads)
    if config.growth:
        grow(config)
        return
    setting, amounts = Setting(device=config.device, threads=config.threads), QUICK if config.quick else Amounts()
    clock: Clock = "cpu" if config.device == "cpu" else "wall"
    timings = compare(setting, amounts)
    tokens = CORPUS * setting.length
    numbers: dict[str, float] = {
        "nanoseconds_per_logit": nanoseconds_per_logit(setting, clock),
        "tokens_per_second/sampling": tokens / timings["sampling"].ours.on(clock).median,
        "tokens_per_second/mle_epoch": tokens / timings["mle_epoch"].ours.on(clock).median,
        "bf16_hardware": fast_bf16(config.device),
    }
    if config.device == "cpu":
        numbers["peak_mb/generator_step"] = peak_mb(step_of, Ours, setting)
    report(rows_of(timings, amounts), config.json, clock=clock, device=config.device, numbers=numbers)
    if not fast_bf16(config.device):
        print("No bfloat16 matrix unit here: the bf16 rows show emulation, and `--runtime.precision auto` takes fp32.")


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
