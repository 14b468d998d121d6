import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from benchmarks import image_step
from benchmarks import naive_image_gans as naive
from benchmarks.image_step import CASES, Case, Config, Naive, Ours
from rl.penalties import GradientPenalty
from rl.runtime import Runtime


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def small(what: str, **changes: int) -> Case:
    case = CASES[what]
    shape = (2, 28, 28) if what == "wgan_gp_mlp" else (2, 16, 16)
    return replace(case, shape=shape, numbers=replace(case.numbers, width=6, latent=5, batch=4, **changes))


def prepared(case: Case) -> tuple[nn.Module, nn.Module]:
    """Make our nets in float64, with weights that let every layer matter, and spectral norms that have converged."""
    torch.manual_seed(1)
    nets = tuple(net.double() for net in case.nets())
    for net in nets:
        for name, weight in net.named_parameters():
            nn.init.normal_(
                weight, 1.0 if "norm" in name else 0.0, 0.3 if weight.dim() < 2 else weight[0].numel() ** -0.5
            )
    for module in nets[1].modules():
        if is_parametrized(module):
            u, _, v = torch.linalg.svd(module.parametrizations.weight.original.detach().flatten(1))
            module.parametrizations.weight[0]._u.copy_(u[:, 0])
            module.parametrizations.weight[0]._v.copy_(v[0])
    return nets


def as_theirs(net: nn.Module) -> list[Tensor]:
    """Lay the gradients of one of our nets out as the plain net's: as if they were weights to take over."""
    held = copy.deepcopy(net)
    for weight, ours in zip(held.parameters(), net.parameters(), strict=True):
        weight.data = ours.grad.clone()
    return [weight.detach() for weight in naive.take(held).parameters()]


def check_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    for expected, weight in zip(as_theirs(ours), theirs.parameters(), strict=True):
        assert weight.dim() == 1 or expected.abs().max() > 1e-4
        torch.testing.assert_close(weight.grad, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("what", CASES)
def test_nets_are_the_same_functions_with_the_same_gradients(what: str) -> None:
    case = small(what)
    generator, judge = prepared(case)
    their_generator, their_judge = naive.take(generator), naive.take(judge)
    z = torch.randn(4, 5, dtype=torch.float64)
    ours, theirs = generator(z), their_generator(z)
    assert ours.std() > 0.05
    torch.testing.assert_close(theirs, ours)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    check_gradients(generator, their_generator)

    pictures = torch.randn(4, *case.shape, dtype=torch.float64)
    logits = judge(pictures)
    assert logits.std() > 0.01
    answers = their_judge(pictures)
    if what == "dcgan64":
        answers = answers.logit()
    torch.testing.assert_close(answers, logits)
    (logits * torch.arange(4)).sum().backward()
    (answers * torch.arange(4)).sum().backward()
    check_gradients(judge, their_judge)


@pytest.mark.parametrize("what", CASES)
def test_plain_nets_are_contiguous_and_share_nothing_with_ours(what: str) -> None:
    case = small(what)
    for net in case.nets():
        ours = {weight.data_ptr() for weight in net.to(memory_format=torch.channels_last).parameters()}
        for weight in naive.take(net).parameters():
            assert weight.is_contiguous()
            assert weight.data_ptr() not in ours


def moved(before: list[Tensor], net: nn.Module) -> list[Tensor]:
    return [weight.detach() - old for old, weight in zip(before, net.parameters(), strict=True)]


@pytest.mark.parametrize("what", CASES)
def test_a_step_moves_both_sides_alike(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SGD, one step of the discriminator and constant noise; a spectral norm's vector has just found its place."""
    case = small(what, d_steps=1)
    nets = prepared(case)
    monkeypatch.setattr(Case, "nets", lambda self: copy.deepcopy(nets))
    fixed = torch.randn(4, 5, dtype=torch.float64)
    monkeypatch.setattr(torch, "randn", lambda *args, **kwargs: fixed)
    monkeypatch.setattr(torch, "rand", lambda *size, **kwargs: torch.full(size, 0.25))
    ours, theirs = Ours(case, Runtime("cpu", "fp32")), Naive(case, "cpu")
    ours.real, theirs.real = (torch.linspace(-1, 1, 4 * 2 * case.shape[1] ** 2).double().view(4, *case.shape),) * 2
    sides = ((ours.game.generator, ours.game.discriminator), (theirs.generator, theirs.discriminator))
    for side, nets_of_it in zip((ours, theirs), sides, strict=True):
        for name, net in zip(("g_optimizer", "d_optimizer"), nets_of_it, strict=True):
            setattr(side, name, torch.optim.SGD(net.parameters(), 1e-4))
    starts = [[weight.detach().clone() for weight in naive.take(net).parameters()] for net in sides[0]]
    ours()
    theirs()
    for start, mine, other in zip(starts, *sides, strict=True):
        assert max(step.abs().max() for step in moved(start, other)) > 1e-6
        for a, b in zip(moved(start, naive.take(mine)), moved(start, other), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-3 * float(a.abs().max()))


def test_a_spectral_norm_follows_its_weights_in_every_forward_pass() -> None:
    wide = naive.SNLinear(7, 5)
    wide.register_buffer("u", F.normalize(torch.randn(5), dim=0))
    for _ in range(300):
        wide(torch.randn(2, 7))
    torch.testing.assert_close(
        torch.linalg.matrix_norm(naive.normalised(wide.weight, wide.u, False), 2), torch.tensor(1.0)
    )
    held = wide.u.clone()
    wide.eval()(torch.randn(2, 7))
    assert wide.u.equal(held)


def test_penalties_are_the_same() -> None:
    case = small("wgan_gp32")
    _, judge = prepared(case)
    plain = naive.take(judge)
    real, fake = torch.randn(2, 4, *case.shape, dtype=torch.float64)
    torch.manual_seed(3)
    ours = GradientPenalty()(judge, real, fake)
    torch.manual_seed(3)
    torch.testing.assert_close(10 * naive.gradient_penalty(plain, real, fake), ours)


def test_our_pictures_and_weights_lie_as_channels_last() -> None:
    ours = Ours(small("sngan32"), Runtime("cpu", "fp32"))
    assert ours.real.is_contiguous(memory_format=torch.channels_last)
    for net in (ours.game.generator, ours.game.discriminator):
        for weight in net.parameters():
            assert weight.dim() < 4 or weight.is_contiguous(memory_format=torch.channels_last)


def test_a_small_run_says_what_was_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_step, "CASES", {what: small(what) for what in image_step.CONVOLUTIONS})
    config = Config(tmp_path / "result.json", image_step.CONVOLUTIONS, repeats=1, batch=4, width=4)
    monkeypatch.setattr(image_step, "fast_bf16", lambda device: False)
    image_step.main(config)
    result = json.loads((tmp_path / "result.json").read_text())
    expected = set(image_step.CONVOLUTIONS)
    assert {key.partition("/")[2] for key in result if key.startswith("speedup/")} == expected
    for what in expected:
        pictures = 4 * (1 if what.startswith("dcgan") else 5)
        assert result[f"images_per_second/{what}"] == pytest.approx(pictures / result[f"seconds/{what}"])
        assert result[f"speedup/{what}"] > 0


def test_bf16_is_left_out_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_step, "fast_bf16", lambda device: False)
    assert set(image_step.runtimes("dcgan64", Config())) == {""}
    assert set(image_step.runtimes("dcgan64", Config(bf16=True))) == {"", "_bf16"}
    assert image_step.runtimes("wgan_gp_mlp", Config())["_compiled"].compile
    monkeypatch.setattr(image_step, "fast_bf16", lambda device: True)
    assert image_step.runtimes("dcgan64", Config())["_bf16"].precision == "bf16"
