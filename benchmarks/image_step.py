"""Whole steps of picture GANs (`d_steps` of the discriminator, one of the generator), ours against plain scripts.

Both sides start from the same weights, in nets of equal functions, and make the same updates in the same order on as
many pictures. Theirs is float32; ours is float32 and, in rows of their own, bfloat16 where the hardware multiplies it.
The real pictures lie ready in memory on both sides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks import naive_image_gans as naive
from benchmarks.timing import Row, Work, paired, report
from image_gans.judging import Judge
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Numbers
from rl.objectives import Hinge, NonSaturating, Wasserstein
from rl.penalties import GradientPenalty
from rl.runtime import Engine, Runtime


@dataclass(frozen=True)
class Case:
    """What both sides train."""

    numbers: Numbers
    shape: tuple[int, int, int]
    """of a picture"""
    rules: Rules
    step: naive.Step
    """of the plain script"""
    steps: int = 1
    """that are timed at once, on a CPU"""

    def nets(self) -> tuple[nn.Module, Judge]:
        """Make our two nets, the same ones every time."""
        torch.manual_seed(0)
        return generator_of(self.numbers, self.shape, self.numbers.latent), judge_of(self.numbers, self.shape)

    def pictures(self) -> Tensor:
        """Make a batch of real ones."""
        return torch.rand(self.numbers.batch, *self.shape) * 2 - 1


DCGAN = Numbers(latent=100, width=64, g_lr=2e-4, d_lr=2e-4)
SNGAN = Numbers(
    net="resnet", latent=128, width=64, d_norm="spectral", d_steps=5, g_lr=2e-4, d_lr=2e-4, beta1=0.0, beta2=0.9
)
WGAN_GP = replace(SNGAN, d_norm="none")
SMALL = replace(WGAN_GP, net="mlp", width=256)
BY_HINGE, BY_PENALTY = (partial(naive.alternating_step, loss) for loss in (naive.hinge, naive.wasserstein_gp))
PENALISED = Rules(Wasserstein(), GradientPenalty())
CASES = {
    "dcgan64": Case(DCGAN, (3, 64, 64), Rules(NonSaturating()), naive.dcgan_step),
    "sngan32": Case(SNGAN, (3, 32, 32), Rules(Hinge()), BY_HINGE),
    "wgan_gp32": Case(WGAN_GP, (3, 32, 32), PENALISED, BY_PENALTY),
    "wgan_gp_mlp": Case(SMALL, (1, 28, 28), PENALISED, BY_PENALTY, steps=10),
}
CONVOLUTIONS = ("dcgan64", "sngan32", "wgan_gp32")


@dataclass(frozen=True)
class Config:
    """Whole steps of picture GANs, ours against plain scripts."""

    json: Path | None = None
    """write the result here as a flat JSON object"""
    cases: tuple[str, ...] = tuple(CASES)
    """which to time"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where to compute; a GPU is timed by the wall clock, both sides with TF32"""
    bf16: bool = False
    """time bfloat16 even where the hardware only emulates it"""
    repeats: int = 5
    """of each pair"""
    steps: int = 1
    """times the steps of a repeat; a GPU wants some 20"""
    width: int = 0
    """channels of every net; 0: the case's own"""
    batch: int = 64
    """pictures"""
    threads: int = 1
    """CPU threads"""


class Ours:
    """What this repository does."""

    def __init__(self, case: Case, runtime: Runtime) -> None:
        engine, n = Engine(runtime, seed=0), case.numbers
        self.numbers = n
        generator, discriminator = (engine.place(net.to(memory_format=torch.channels_last)) for net in case.nets())
        self.game = Game(generator, discriminator, case.rules, engine)
        betas = n.beta1, n.beta2
        self.g_optimizer = torch.optim.Adam(generator.parameters(), n.g_lr, betas, fused=True)
        self.d_optimizer = torch.optim.Adam(discriminator.parameters(), n.d_lr, betas, fused=True)
        self.real = case.pictures().to(engine.device).contiguous(memory_format=torch.channels_last)

    def latent(self) -> Tensor:
        """Draw noise."""
        return torch.randn(len(self.real), self.numbers.latent, device=self.real.device)

    def __call__(self) -> None:
        """Make a whole step."""
        for _ in range(self.numbers.d_steps):
            discriminator_round(self.game, self.real, self.latent(), self.d_optimizer)
        generator_round(self.game, self.real, self.latent(), self.g_optimizer)


class Naive:
    """What plain scripts do."""

    def __init__(self, case: Case, device: str) -> None:
        n = case.numbers
        self.case = case
        self.generator, self.discriminator = (naive.take(net).to(device) for net in case.nets())
        betas = n.beta1, n.beta2
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), n.g_lr, betas)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), n.d_lr, betas)
        self.real = case.pictures().to(device)

    def __call__(self) -> None:
        """Make a whole step."""
        players = naive.Players(self.generator, self.discriminator, self.g_optimizer, self.d_optimizer)
        self.case.step(players, self.real, self.case.numbers.latent, self.case.numbers.d_steps)


def often(step: Callable[[], None], steps: int, device: str) -> Work:
    """Make some steps, and wait for the device."""

    def work() -> None:
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return work


def fast_bf16(device: str) -> bool:
    """Tell whether the hardware multiplies bfloat16 matrices; without that bf16 cannot be the faster precision."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def runtimes(what: str, config: Config) -> dict[str, Runtime]:
    """Say how ours computes in each row; the key follows the case's name."""
    plain = Runtime(config.device, "fp32", threads=config.threads)
    found = {"": plain}
    if what in CONVOLUTIONS:
        return found | ({"_bf16": replace(plain, precision="bf16")} if config.bf16 or fast_bf16(config.device) else {})
    return found | {"_compiled": replace(plain, compile=True)}


def rows_of(what: str, case: Case, config: Config) -> list[Row]:
    """Time a case in each of our ways."""
    steps, n = case.steps * config.steps, case.numbers
    note = f"{case.shape[1]}x{case.shape[2]}x{case.shape[0]}, width {n.width}, batch {n.batch}, "
    note += f"{n.d_steps} + 1 steps" + (f", {steps} times" if steps > 1 else "")
    rows = []
    for suffix, runtime in runtimes(what, config).items():
        sides = Ours(case, runtime), Naive(case, config.device)
        ours, theirs = (often(side, steps, config.device) for side in sides)
        rows.append(Row(what + suffix, "plain script", paired(ours, theirs, config.repeats), note))
    return rows


def chosen(config: Config) -> dict[str, Case]:
    """Return the cases that are asked for, at their sizes."""
    sizes = {"batch": config.batch} | ({"width": config.width} if config.width else {})
    return {what: replace(CASES[what], numbers=replace(CASES[what].numbers, **sizes)) for what in config.cases}


def rates(rows: Sequence[Row], cases: dict[str, Case], config: Config) -> dict[str, float]:
    """Count the real pictures that ours judges in a second."""
    found = {}
    for row in rows:
        case = next(case for what, case in cases.items() if row.what.removeprefix(what) in ("", "_bf16", "_compiled"))
        pictures = case.steps * config.steps * case.numbers.d_steps * case.numbers.batch
        seconds = row.timing.ours.on("cpu" if config.device == "cpu" else "wall").median
        found[f"images_per_second/{row.what}"] = pictures / seconds
    return found


def main(config: Config) -> None:
    """Time, report, and say what this hardware cannot show."""
    torch.set_num_threads(config.threads)
    if config.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    cases = chosen(config)
    rows = [row for what, case in cases.items() for row in rows_of(what, case, config)]
    numbers = rates(rows, cases, config) | {"bf16_hardware": fast_bf16(config.device)}
    clock: Literal["cpu", "wall"] = "cpu" if config.device == "cpu" else "wall"
    report(rows, config.json, clock=clock, device=config.device, numbers=numbers)
    if not fast_bf16(config.device):
        print("No bfloat16 matrix unit here: bf16 would be emulated, and `--runtime.precision auto` takes fp32.")
    if config.device == "cuda":
        print("TF32 for float32 matrices and convolutions on both sides.")


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
