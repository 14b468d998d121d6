"""The rounds over several steps: spectral norms, checkpoints, precision, layout, compilation, ranks."""

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm

from image_gans.augmentation import ADA, DiffAugment
from image_gans.judging import Judge
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Numbers
from rl.objectives import Hinge, NonSaturating, Relativistic, Wasserstein
from rl.penalties import DRAGAN, R1, R2, Every, GradientPenalty, LeCam, NoPenalty, Sum
from rl.runtime import Engine, Runtime, restore, save
from tests.ranks import run_ranks

Players = tuple[nn.Module, Judge]


def engine(precision: Any = "fp32", compile: bool = False, seed: int = 0) -> Engine:
    return Engine(Runtime(device="cpu", precision=precision, compile=compile), seed)


def players(net: Any = "dcgan", d_norm: Any = "none", width: int = 4, seed: int = 0) -> Players:
    torch.manual_seed(seed)
    n = Numbers(net=net, width=width, latent=5, d_norm=d_norm)
    return generator_of(n, (1, 8, 8), n.latent), judge_of(n, (1, 8, 8))


class Keep(torch.optim.SGD):
    """Keeps the gradients of its last step."""

    def step(self) -> None:  # type: ignore[override]
        self.gradients = torch.cat([weight.grad.flatten() for weight in self.param_groups[0]["params"]])
        super().step()


def batch(seed: int, rows: int = 16) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 1, 8, 8, generator=draw).clamp(-1, 1), torch.randn(rows, 5, generator=draw)


def gradients(nets: Players, rules: Rules, here: Engine, steps: int = 3, rate: float = 0.01) -> list[Tensor]:
    """Play, and return what both players climbed in every step."""
    generator, judge = nets
    keeps = Keep(judge.parameters(), rate), Keep(generator.parameters(), rate)
    game, found = Game(generator, judge, rules, here), []
    torch.manual_seed(7)
    for step in range(steps):
        real, latent = batch(step)
        real = real.contiguous(memory_format=torch.channels_last)
        for play, keep in zip((discriminator_round, generator_round), keeps, strict=True):
            play(game, real, latent, keep)
            found.append(keep.gradients)
    return found


# ---- spectral norms


@pytest.mark.parametrize("penalty", [NoPenalty(), R1(), GradientPenalty(), LeCam()])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_spectral_norm_follows_its_weights_once_in_a_round(penalty: Any, precision: str) -> None:
    generator, judge = players(d_norm="spectral")
    norms = [part for part in judge.modules() if isinstance(part, _SpectralNorm)]
    calls: list[object] = []
    for norm in norms:
        norm.register_forward_hook(lambda part, given, result: calls.append(part))
    rules = Rules(Relativistic(), penalty, compares=True)
    game = Game(generator, judge, rules, engine(precision))
    for play, net in ((discriminator_round, judge), (generator_round, generator)):
        before = [norm._u.clone() for norm in norms[:-1]]  # the last has one output: nothing to follow
        calls.clear()
        play(game, *batch(0), Keep(net.parameters(), 0.1))
        assert len(norms) == len(set(calls)) == len(calls) > 1
        assert all(not torch.equal(norm._u, old) for norm, old in zip(norms[:-1], before, strict=True))


def test_a_spectral_norm_differentiates_what_the_weights_were_divided_by() -> None:
    """Scaling all weights of a layer changes no logit, so the gradient has no part along them."""
    generator, judge = players(d_norm="spectral")
    game = Game(generator, judge, Rules(Hinge(), R1()), engine())
    for _ in range(60):  # until the largest singular vectors are found
        discriminator_round(game, *batch(0), Keep(judge.parameters(), 0.0))
    keep = Keep(judge.parameters(), 0.0)
    discriminator_round(game, *batch(0), keep)
    sizes = [weight.numel() for weight in judge.parameters()]
    found = dict(zip([name for name, _ in judge.named_parameters()], keep.gradients.split(sizes), strict=True))
    for name, weight in judge.named_parameters():
        if name.endswith("original"):
            assert torch.cosine_similarity(found[name], weight.detach().flatten(), dim=0).abs() < 1e-3


# ---- checkpoints


def cast(seed: int) -> tuple[Game, dict[str, Any]]:
    """A game in which everything that can have a state has one."""
    here = engine(seed=seed)
    generator, judge = players("resnet", "spectral", seed=seed)
    penalty, augmentation = Sum([Every(2, R1()), LeCam()]), ADA(speed=200, target=-2.0)
    game = Game(generator, judge, Rules(Hinge(), penalty, augmentation=augmentation), here)
    step = torch.optim.Adam(judge.parameters(), 0.01), torch.optim.Adam(generator.parameters(), 0.01)
    rules = nn.ModuleList([penalty, augmentation])
    return game, {"engine": here, "g": generator, "d": judge, "d_step": step[0], "g_step": step[1], "rules": rules}


def play(game: Game, parts: dict[str, Any], steps: range) -> list[dict[str, float]]:
    logs = []
    for step in steps:
        real, latent = batch(step)[0], torch.randn(16, 5)
        log = discriminator_round(game, real, latent, parts["d_step"])
        log |= generator_round(game, real, latent, parts["g_step"])
        logs.append({name: value.item() for name, value in log.items()})
    return logs


def test_a_game_goes_on_exactly_from_a_checkpoint(tmp_path: Path) -> None:
    game, parts = cast(0)
    play(game, parts, range(3))
    folder = save(tmp_path, 3, parts)
    expected = play(game, parts, range(3, 6))
    assert parts["rules"][1].strength > 0.2
    again, restored = cast(1)
    restore(folder, restored)
    assert play(again, restored, range(3, 6)) == expected
    for name, tensor in game.discriminator.state_dict().items():
        assert torch.equal(again.discriminator.state_dict()[name], tensor), name


# ---- precision, layout

GAMES = [
    ("none", Rules(NonSaturating())),
    ("spectral", Rules(Hinge())),
    ("layer", Rules(Wasserstein(), GradientPenalty())),
    ("none", Rules(Wasserstein(), DRAGAN(), augmentation=DiffAugment())),
    ("none", Rules(Relativistic(), Sum([R1(), R2()]), compares=True)),
    ("spectral", Rules(Relativistic(), R1(), compares=True)),
]
NAMES = ["plain", "spectral", "wgan-gp", "dragan", "r1-r2", "spectral-r1"]


@pytest.mark.parametrize(("d_norm", "rules"), GAMES, ids=NAMES)
def test_low_precision_climbs_the_same_way(d_norm: str, rules: Rules) -> None:
    """Nearly: a number has eight bits, on the way there and back."""
    exact = gradients(players(d_norm=d_norm, width=16), rules, engine(), 1)
    low = gradients(players(d_norm=d_norm, width=16), rules, engine("bf16"), 1)
    for one, other in zip(exact, low, strict=True):
        assert not torch.equal(one, other)
        assert torch.cosine_similarity(one, other, dim=0) > 0.99
        assert (other.norm() / one.norm()).item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("d_norm", ["none", "layer", "spectral"])
@pytest.mark.parametrize("penalty", [GradientPenalty(), R1(), R2(), DRAGAN()])
def test_penalties_in_low_precision_pull_the_same_way(d_norm: str, penalty: Any) -> None:
    _, judge = players(d_norm=d_norm, width=16)
    judge.eval()
    (real, _), (fake, _), weights = batch(0), batch(1), list(judge.parameters())
    pulls = []
    for here in (engine(), engine("bf16"), engine("fp16")):
        torch.manual_seed(7)
        term = penalty(here.smooth(judge), real, fake)
        assert term.dtype == torch.float32
        found = torch.autograd.grad(term, weights, allow_unused=True, materialize_grads=True)
        pulls.append(torch.cat([pull.flatten() for pull in found]))
    exact, low, half = pulls
    assert torch.equal(half, exact)  # fp16 would overflow
    assert not torch.equal(low, exact)
    assert torch.cosine_similarity(low, exact, dim=0) > 0.998
    assert (low.norm() / exact.norm()).item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("net", ["dcgan", "resnet", "r3"])
def test_the_layout_in_memory_changes_nothing(net: str) -> None:
    rules = Rules(Relativistic(), Sum([R1(), R2()]), augmentation=ADA(), compares=True)
    rules.augmentation.strength.fill_(0.5)
    plain, last = players(net), players(net)
    for part in last:
        part.to(memory_format=torch.channels_last)
    for one, other in zip(gradients(plain, rules, engine()), gradients(last, rules, engine()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * one.abs().max().item())


# ---- compilation

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="torch.compile on the CPU needs a compiler"
)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("d_norm", "rules"), GAMES, ids=NAMES)
def test_compiled_rounds_climb_as_eager_ones(d_norm: str, rules: Rules) -> None:
    """The logits are compiled, the penalty is not; both share one spectral norm."""
    torch.compiler.reset()
    exact = gradients(players(d_norm=d_norm), rules, engine())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler warns about its own parts
        found = gradients(players(d_norm=d_norm), rules, engine(compile=True))
    for one, other in zip(exact, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * max(1.0, one.abs().max().item()))


# ---- ranks

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Numbers
from rl.objectives import Relativistic
from rl.penalties import R1, R2, Sum
from rl.runtime import Engine, Runtime

engine = Engine(Runtime(device="cpu", precision="fp32", threads=1), seed=0)
n = Numbers(width=4, latent=5, d_norm="spectral", net="r3")
generator, judge = (engine.place(net) for net in (generator_of(n, (1, 8, 8), 5), judge_of(n, (1, 8, 8))))
game = Game(generator, judge, Rules(Relativistic(), Sum([R1(1.0), R2(1.0)]), compares=True), engine)
steps = [torch.optim.SGD(net.parameters(), 0.01) for net in (judge, generator)]
draw, logs = torch.Generator().manual_seed(5), []
for _ in range(4):
    real, latent = torch.randn(8, 1, 8, 8, generator=draw), torch.randn(8, 5, generator=draw)
    for play, step in zip((discriminator_round, generator_round), steps):
        log = play(game, engine.shard(real), engine.shard(latent), step)
        logs.append(engine.gather(log))
state = [*judge.state_dict().values(), *generator.state_dict().values()]
told = {"logs": logs, "state": [value.flatten().tolist() for value in state]}
Path(sys.argv[1], f"rank-{engine.rank}.json").write_text(json.dumps(told))
"""


def test_two_ranks_play_the_game_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path)])
    exec(SCRIPT, {})  # one rank needs no process of its own
    alone = json.loads((tmp_path / "rank-0.json").read_text())
    (tmp_path / "two").mkdir()
    run_ranks(2, "-c", SCRIPT, tmp_path / "two")
    first, second = (json.loads((tmp_path / f"two/rank-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    for ours, theirs in zip(first["state"], alone["state"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    for ours, theirs in zip(first["logs"], alone["logs"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
