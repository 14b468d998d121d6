import math
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl.penalties import (
    DRAGAN,
    R1,
    R2,
    Every,
    GradientPenalty,
    LeCam,
    NoPenalty,
    Sum,
    WeightClipping,
    input_gradient,
)

W = torch.tensor([3.0, 4.0], dtype=torch.float64)  # |W| = 5
REAL = torch.tensor([[0.0, 1], [2, 3], [4, 5]], dtype=torch.float64)
FAKE = REAL.flip(0) - 10
EVERY_KIND = [GradientPenalty(), GradientPenalty(2, 0, 6), R1(), R2(), DRAGAN()]


def linear(x: Tensor) -> Tensor:
    return x @ W


def squares(x: Tensor) -> Tensor:
    """The gradient of sum x^2 / 2 is x: a penalty then shows where it looked."""
    return x.flatten(1).square().sum(1) / 2


class Bumpy(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[..., 0]


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (NoPenalty(), 0),
        (GradientPenalty(), 10 * (5 - 1) ** 2),
        (GradientPenalty(weight=1, target=5), 0),
        (GradientPenalty(weight=2, target=0, power=6), 2 * 5**6),
        (R1(weight=3), 3 / 2 * 25),
        (R2(weight=3), 3 / 2 * 25),
        (DRAGAN(weight=2, target=2), 2 * (5 - 2) ** 2),
    ],
)
def test_penalties_of_a_plane(penalty, expected):
    assert penalty(linear, REAL, FAKE).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shape", [(2,), (3, 4), (2, 3, 4)])
def test_the_norm_runs_over_a_whole_sample_and_the_mean_over_the_batch(shape):
    x = torch.randn(5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_hand = torch.tensor([(sample**2).sum() for sample in x], dtype=torch.float64)
    torch.testing.assert_close(input_gradient(squares, x), x)
    torch.testing.assert_close(R1(1)(squares, x, -7 * x), by_hand.mean() / 2)
    torch.testing.assert_close(R2(1)(squares, -7 * x, x), by_hand.mean() / 2)
    still = GradientPenalty(1, 1)(squares, x, x)  # a mixture of x with x is x
    torch.testing.assert_close(still, (by_hand.sqrt() - 1).square().mean())


def test_patches_and_tokens_are_summed():
    logits_per_place = torch.ones(2, 4, 3, dtype=torch.float64)
    x = torch.zeros(2, 4, 3, dtype=torch.float64)
    # each of 4 places gives a logit 2 * (its three numbers' sum): every number has slope 2, 12 numbers
    assert R1(1)(lambda x: (2 * x * logits_per_place).sum(-1), x, x).item() == pytest.approx(12 * 4 / 2)


@pytest.mark.parametrize("penalty", EVERY_KIND)
def test_second_derivatives(penalty):
    def of_weights(a: Tensor, b: Tensor) -> Tensor:
        torch.manual_seed(0)  # the same mixtures for every finite difference
        return penalty(lambda x: torch.tanh(x @ a) @ b, REAL / 5, FAKE / 5)

    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    b = torch.randn(3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(of_weights, (a, b))
    assert torch.autograd.gradgradcheck(of_weights, (a, b))


@pytest.mark.parametrize("penalty", EVERY_KIND)
def test_a_flat_discriminator_has_finite_gradients(penalty):
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    term = penalty(lambda x: x @ w, REAL, FAKE)
    assert torch.isfinite(torch.autograd.grad(term, w)[0]).all()


def looked_at(penalty, real: Tensor, fake: Tensor) -> Tensor:
    seen: list[Tensor] = []

    def spy(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return squares(x)

    penalty(spy, real, fake)
    (x,) = seen
    return x


def test_mixtures_have_one_share_per_sample():
    torch.manual_seed(0)
    real, fake = torch.ones(2000, 3, 2), torch.zeros(2000, 3, 2)
    mixed = looked_at(GradientPenalty(), real, fake)
    share = mixed[:, 0, 0]
    assert torch.equal(mixed, share[:, None, None].expand(2000, 3, 2))  # not per element
    assert len(share.unique()) > 1900  # not per batch
    assert share.min() >= 0
    assert share.max() <= 1
    # uniform: mean 1/2, variance 1/12; five standard errors each, seed fixed
    assert abs(share.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / 2000)
    assert abs(share.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / 2000)


def test_mixtures_lie_between_their_own_pair():
    torch.manual_seed(0)
    mixed = looked_at(GradientPenalty(), REAL, FAKE)
    share = (mixed - FAKE) / (REAL - FAKE)
    torch.testing.assert_close(share[:, 0], share[:, 1])
    assert ((share > 0) & (share < 1)).all()


def test_dragan_noise_is_every_samples_own():
    torch.manual_seed(0)
    real = torch.randn(500, 4, 2) * 3 + 7
    noise = looked_at(DRAGAN(noise=0.5), real, real * 0) - real
    flat = noise.view(500, -1)
    assert len(flat.unique(dim=0)) == 500
    # 4,000 Gaussians: the error of a spread is sigma / sqrt(2 n) = 1.1 %, five of them
    assert noise.std().item() == pytest.approx(0.5 * real.std().item(), rel=0.056)
    assert abs(noise.mean()) < 5 * noise.std() / math.sqrt(4000)
    # correlations between the numbers of a sample: 28 pairs, five standard errors of 1 / sqrt(500)
    assert torch.corrcoef(flat.T).fill_diagonal_(0).abs().max() < 5 / math.sqrt(500)
    assert torch.equal(looked_at(DRAGAN(noise=0.0), real, real * 0), real)


def test_r1_looks_at_reals_and_r2_at_fakes():
    assert torch.equal(looked_at(R1(), REAL, FAKE), REAL)
    assert torch.equal(looked_at(R2(), REAL, FAKE), FAKE)


def test_no_gradient_reaches_the_generator():
    fake = FAKE.clone().requires_grad_()
    net = Bumpy()
    for penalty in EVERY_KIND:
        term = penalty(net, REAL, fake * 1)
        assert torch.autograd.grad(term, fake, allow_unused=True) == (None,)


def test_real_and_fake_of_other_shapes_cannot_be_mixed():
    with pytest.raises(ValueError, match="shapes must agree"):
        GradientPenalty()(linear, REAL, FAKE[:2])


def test_a_discriminator_that_ignores_its_input_is_refused():
    w = torch.ones((), requires_grad=True)
    with pytest.raises(ValueError, match="its graph is cut"):
        R1()(lambda x: w * x.detach().sum(1), REAL, FAKE)


# ---- samples of several parts


class Pair(NamedTuple):
    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class Step:
    obs: Tensor
    act: Tensor


def test_conditions_are_kept_and_not_differentiated():
    labels = torch.tensor([1, 2, 3])
    real, fake = Pair(REAL, labels), Pair(FAKE, labels)

    def judge(x: Pair) -> Tensor:
        assert torch.equal(x.label, labels)
        return (x.image @ W) * x.label

    gradient = input_gradient(judge, real)
    assert isinstance(gradient, Pair)
    torch.testing.assert_close(gradient.image, labels[:, None] * W)
    assert not gradient.label.any()
    norms = torch.tensor([5.0, 10, 15])
    assert R1(1)(judge, real, fake).item() == pytest.approx((norms**2).mean().item() / 2)
    assert GradientPenalty(1)(judge, real, fake).item() == pytest.approx(((norms - 1) ** 2).mean().item())
    assert DRAGAN(1)(judge, real, fake).item() == pytest.approx(((norms - 1) ** 2).mean().item())


@pytest.mark.parametrize("kind", [Step, lambda a, b: (a, b), Pair])
def test_parts_share_one_norm_and_one_mixture(kind):
    real, fake = kind(torch.ones(4, 2), torch.ones(4, 3)), kind(torch.zeros(4, 2), torch.zeros(4, 3))
    seen: list[Tensor] = []

    def judge(x) -> Tensor:
        first, second = (x.obs, x.act) if isinstance(x, Step) else x
        seen.append(torch.cat([first, second], 1).detach())
        return 3 * first[:, 0] + 4 * second[:, 2]

    assert GradientPenalty(1)(judge, real, fake).item() == pytest.approx(16)
    assert torch.equal(seen[0], seen[0][:, :1].expand(4, 5))
    assert type(input_gradient(judge, real)) is type(real)


def test_other_samples_are_refused():
    with pytest.raises(TypeError, match="not dict"):
        R1()(lambda x: x["image"], {"image": REAL}, {"image": FAKE})


# ---- nets whose fast kernels have no second derivative


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrence, self.head = kind(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrence(x)[0])[..., 0]


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_qkv, self.head = nn.Linear(3, 24), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(-1, (3, 2, 4)).movedim(2, 0).transpose(2, 3)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(attended.transpose(1, 2).flatten(2))[..., 0]


NETS = [lambda: Recurrent(nn.LSTM), lambda: Recurrent(nn.GRU), lambda: Recurrent(nn.RNN), Attentive]


@pytest.mark.parametrize("build", NETS)
def test_recurrent_and_attentive_discriminators(build):
    net = build().double()
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    term = R1(2)(net, x, x)
    weights = list(net.parameters())
    gradients = torch.autograd.grad(term, weights, allow_unused=True)
    assert sum(g is not None and bool(g.any()) for g in gradients) >= 2
    # the term by finite differences of the logits
    h, total = 1e-6, 0.0
    with torch.no_grad():
        for i in range(x.numel()):
            bump = torch.zeros(x.numel(), dtype=torch.float64)
            bump[i] = h
            total += ((net(x + bump.view_as(x)).sum() - net(x - bump.view_as(x)).sum()).item() / (2 * h)) ** 2
        assert term.item() == pytest.approx(total / 2, rel=1e-6)
    # and its own slope, along the first weight that has one
    index = next(i for i, g in enumerate(gradients) if g is not None and g.any())
    with torch.no_grad():
        weights[index] += h * gradients[index]
        up = R1(2)(net, x, x).item()
        weights[index] -= 2 * h * gradients[index]
        down = R1(2)(net, x, x).item()
    assert (up - down) / (2 * h) == pytest.approx(gradients[index].square().sum().item(), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("build", NETS)
def test_the_same_on_a_gpu(build):
    net = build()
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(R1(2)(net, x, x), list(net.parameters()), allow_unused=True)
    net.cuda()
    with torch.autocast("cuda", torch.bfloat16):
        ours = torch.autograd.grad(R1(2)(net, x.cuda(), x.cuda()), list(net.parameters()), allow_unused=True)
    for a, b in zip(ours, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a.cpu(), b, rtol=1e-2, atol=1e-4)


def test_penalties_step_out_of_autocast_and_of_no_grad():
    net = Bumpy().float()
    plain = R1()(net, REAL.float(), FAKE.float())
    with torch.autocast("cpu", torch.bfloat16):
        under = R1()(net, REAL.float(), FAKE.float())
        assert net.layers(REAL.float()).dtype == torch.bfloat16  # autocast is back
    assert torch.equal(under, plain)
    assert R1()(net, REAL.bfloat16(), FAKE.bfloat16()).dtype == torch.float32
    with torch.no_grad():
        assert R1()(net, REAL.float(), FAKE.float()).item() == plain.item()
        assert not torch.is_grad_enabled()


# ---- penalties that act or remember


def test_weight_clipping():
    net = Bumpy()
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.linspace(-1, 1, 10).view(5, 2))
    assert WeightClipping(0.3)(net, REAL, FAKE).item() == 0
    assert net.layers[0].weight.min().item() == -0.3
    assert net.layers[0].weight.max().item() == 0.3
    assert (net.layers[0].weight.abs() < 0.3).any()
    assert all(w.requires_grad for w in net.parameters())
    with pytest.raises(TypeError, match=r"needs an nn\.Module"):
        WeightClipping()(linear, REAL, FAKE)


def test_weight_clipping_after_the_forward_pass_is_no_silent_error():
    net = Bumpy()
    loss = net(REAL).sum()
    WeightClipping(0.1)(net, REAL, FAKE)
    with pytest.raises(RuntimeError, match="inplace operation"):
        torch.autograd.grad(loss, list(net.parameters()))


def test_lecam_by_hand():
    penalty = LeCam(weight=0.5, decay=0.75)
    first = penalty(lambda x: x, torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -1.0]))
    # means 2 and -1: (4 + 16) / 2 + (9 + 9) / 2
    assert first.item() == 0.5 * (10 + 9)
    assert (penalty.real_mean.item(), penalty.fake_mean.item()) == (2, -1)
    second = penalty(lambda x: x, torch.tensor([6.0]), torch.tensor([3.0]))
    # means 0.75 * 2 + 0.25 * 6 = 3 and 0.75 * -1 + 0.25 * 3 = 0
    assert (penalty.real_mean.item(), penalty.fake_mean.item()) == (3, 0)
    assert second.item() == 0.5 * (36 + 0)
    penalty.eval()
    penalty(lambda x: x, torch.tensor([60.0]), torch.tensor([30.0]))
    assert (penalty.real_mean.item(), penalty.fake_mean.item()) == (3, 0)
    resumed = LeCam(weight=0.5, decay=0.75)
    resumed.load_state_dict(penalty.state_dict())
    assert resumed(lambda x: x, torch.tensor([6.0]), torch.tensor([3.0])).item() != first.item()
    assert resumed.real_mean.item() == 0.75 * 3 + 0.25 * 6


def test_lecam_pulls_each_side_towards_the_other():
    penalty = LeCam(weight=1)
    real, fake = torch.tensor([2.0], requires_grad=True), torch.tensor([-1.0], requires_grad=True)
    term = penalty(lambda x: x, real, fake)
    penalty(lambda x: x, real.detach() * 9, fake.detach())  # the means may move before the backward pass
    assert [g.item() for g in torch.autograd.grad(term, [real, fake])] == [6, -6]


def test_every_keeps_the_average_and_the_count():
    penalty = Every(3, R1(2))
    terms = [penalty(linear, REAL, FAKE).item() for _ in range(7)]
    assert terms == [75, 0, 0, 75, 0, 0, 75]
    resumed = Every(3, R1(2))
    resumed.load_state_dict(penalty.state_dict())
    assert [resumed(linear, REAL, FAKE).item() for _ in range(3)] == [0, 0, 75]
    with pytest.raises(ValueError, match="at least 1"):
        Every(0, R1())


def test_sum_adds_and_remembers():
    penalty = Sum([R1(2), Every(2, R2(2)), LeCam()])
    total = penalty(linear, REAL, FAKE)
    alone = R1(2)(linear, REAL, FAKE) + 2 * R2(2)(linear, REAL, FAKE) + LeCam()(linear, REAL, FAKE)
    torch.testing.assert_close(total, alone)
    resumed = Sum([R1(2), Every(2, R2(2)), LeCam()])
    resumed.load_state_dict(penalty.state_dict())
    torch.testing.assert_close(resumed(linear, REAL, FAKE), penalty(linear, REAL, FAKE))
    assert Sum([])(linear, REAL, FAKE).item() == 0
