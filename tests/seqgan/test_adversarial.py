import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from rl.estimators import leave_one_out, no_baseline
from rl.objectives import AIRL, SeqGAN
from rl.penalties import NoPenalty
from rl.rewards import Constant, MonteCarlo
from rl.rollout import Rollout
from rl.runtime import Engine, Runtime
from seqgan.adversarial import Baseline, GeneratorGoal, discriminator_round, generator_round
from seqgan.discriminators import ConvDiscriminator, OutputL2
from seqgan.generators import Generator, LSTMGenerator
from seqgan.likelihood import action_log_probs, counted
from seqgan.sampling import blank_rows, complete, speak
from seqgan.scoring import judge_completions


@pytest.fixture
def engine() -> Engine:
    return Engine(Runtime(device="cpu", precision="fp32"), 0)


def chosen(net: Generator, tokens: Tensor) -> Tensor:
    """Log-probabilities of the tokens, with a gradient."""
    return action_log_probs(net, tokens).gather(2, tokens[..., None])[..., 0]


def tiny(end: int = -1, seed: int = 1, dropout: float = 0.0) -> LSTMGenerator:
    torch.manual_seed(seed)
    return LSTMGenerator(3, embedding=3, hidden=4, end=end, deviation=0.8, dropout=dropout)


def weights_of(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def worth(sentences: Tensor) -> Tensor:
    """An arbitrary taste, between 0 and 1."""
    return ((sentences * torch.tensor([0.31, 0.17, 0.23])).sum(-1) * 4).sin().square()


def pays_whole(rollout: Rollout[Tensor]) -> Tensor:
    return worth(rollout.steps)[:, None].expand(rollout.mask.shape).masked_fill(~rollout.mask, 0)


EVERYTHING = torch.tensor(list(itertools.product(range(3), repeat=3)))


def expected_reward(net: LSTMGenerator) -> Tensor:
    """Over all sentences of three tokens; one that goes on after its end cannot be said."""
    said = counted(EVERYTHING, net.end)
    possible = (said | (net.end == EVERYTHING)).all(1)
    return ((chosen(net, EVERYTHING) * said).sum(1).exp() * worth(EVERYTHING))[possible].sum()


@pytest.mark.parametrize("end", [-1, 0])
@pytest.mark.parametrize("baseline", [no_baseline, leave_one_out])
@pytest.mark.parametrize("way", ["whole", "rollouts"])
def test_the_generator_climbs_the_exact_gradient(way: str, baseline: Baseline, end: int, engine: Engine) -> None:
    """The step of plain gradient descent is the gradient of the enumerated expected reward, up to sampling noise.

    With 20,000 sentences the noise is a few per cent of the gradient; a wrong sign, mask or sum is far outside.
    """
    net, reference = tiny(end), tiny(end, seed=2)
    rollouts = MonteCarlo(partial(complete, net), lambda t, c: (worth(t), worth(c)), AIRL(), 1)
    goal = GeneratorGoal(pays_whole if way == "whole" else rollouts, baseline)
    before = expected_reward(net)
    exact = torch.cat([part.flatten() for part in torch.autograd.grad(before, list(net.parameters()))])
    start = weights_of(net)
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    metrics = generator_round(net, reference, goal, optimizer, engine, given=blank_rows(20_000, 3), clip=torch.inf)
    step = weights_of(net) - start
    assert torch.cosine_similarity(step, exact, dim=0) > 0.98
    assert (step.norm() / exact.norm()).item() == pytest.approx(1, abs=0.1)
    assert expected_reward(net) > before
    assert metrics["g/grad_norm"].item() == pytest.approx(step.norm().item(), rel=1e-3)


@pytest.mark.parametrize("end", [-1, 0])
def test_the_loss_written_out(end: int, engine: Engine) -> None:
    """Dropout is off: the policy that is paid is the one that spoke."""
    net = tiny(end, dropout=0.5).train()
    start = tiny(end)
    torch.manual_seed(5)
    net.eval()
    tokens = speak(net, 40, 3)
    mask = counted(tokens, end)
    expected = -(chosen(net, tokens) * mask * 2).sum(1).mean()
    net.train()
    torch.manual_seed(5)
    goal, optimizer = GeneratorGoal(Constant(2.0), no_baseline), torch.optim.SGD(net.parameters(), 0.1)
    metrics = generator_round(net, start, goal, optimizer, engine, given=blank_rows(40, 3), clip=5.0)
    assert metrics["g/loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["g/reward"].item() == 2.0
    assert metrics["g/length"].item() == pytest.approx(mask.float().sum(1).mean().item())
    assert metrics["g/cost"].item() == 0


def expected_goal(net: LSTMGenerator, start: LSTMGenerator, goal: GeneratorGoal) -> Tensor:
    """E[reward - kl_weight * (log g - sharpness * log start)] + entropy_weight * entropy, over all sentences."""
    said = counted(EVERYTHING, net.end)
    possible = (said | (net.end == EVERYTHING)).all(1)
    log_g, log_start = ((chosen(policy, EVERYTHING) * said).sum(1) for policy in (net, start))
    gain = worth(EVERYTHING) - goal.kl_weight * (log_g - goal.sharpness * log_start) - goal.entropy_weight * log_g
    return (log_g.exp() * gain)[possible].sum()


@pytest.mark.parametrize("end", [-1, 0])
@pytest.mark.parametrize("baseline", [no_baseline, leave_one_out])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.0), (0.5, 2.0, 0.0), (0.0, 1.0, 0.7), (0.5, 1.5, 0.3)])
def test_the_whole_goal_climbs_its_exact_gradient(
    weights: tuple[float, float, float], baseline: Baseline, end: int, engine: Engine
) -> None:
    """Distance, sharpness and entropy are those of whole sentences; the tolerances are as above."""
    net, start = tiny(end), tiny(end, seed=2).requires_grad_(False)
    kl_weight, sharpness, entropy_weight = weights
    goal = GeneratorGoal(pays_whole, baseline, kl_weight, sharpness, entropy_weight)
    exact = torch.autograd.grad(expected_goal(net, start, goal), list(net.parameters()))
    gradient, before = torch.cat([part.flatten() for part in exact]), weights_of(net)
    still = weights_of(start)
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    generator_round(net, start, goal, optimizer, engine, given=blank_rows(20_000, 3), clip=torch.inf)
    step = weights_of(net) - before
    assert torch.cosine_similarity(step, gradient, dim=0) > 0.98
    assert (step.norm() / gradient.norm()).item() == pytest.approx(1, abs=0.1)
    assert weights_of(start).equal(still)


def test_the_cost_of_one_token_by_hand(engine: Engine) -> None:
    """No reward: 2 * sum p (log p - 1.5 log q) + 0.5 * sum p log p of two known distributions."""
    net, start = tiny(), tiny(seed=2)
    one = torch.zeros(1, 1, dtype=torch.long)
    p, q = (action_log_probs(policy, one)[0, 0].detach() for policy in (net, start))
    goal = GeneratorGoal(Constant(0.0), no_baseline, kl_weight=2.0, sharpness=1.5, entropy_weight=0.5)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    metrics = generator_round(net, start, goal, optimizer, engine, given=blank_rows(8, 1), clip=5.0)
    expected = (p.exp() * (2 * (p - 1.5 * q) + 0.5 * p)).sum()
    torch.testing.assert_close(metrics["g/cost"], expected)
    torch.testing.assert_close(metrics["g/loss"], expected)


@pytest.mark.parametrize(("kl_weight", "entropy_weight"), [(1.0, 0.0), (0.0, 1.0)])
def test_distance_falls_and_entropy_rises(kl_weight: float, entropy_weight: float, engine: Engine) -> None:
    net, start = tiny(end=0), tiny(end=0, seed=2)
    goal = GeneratorGoal(Constant(0.0), no_baseline, kl_weight, 1.0, entropy_weight)
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    course = [
        generator_round(net, start, goal, optimizer, engine, given=blank_rows(200, 3), clip=5.0)["g/cost"].item()
        for _ in range(40)
    ]
    assert course[0] > 0 if kl_weight else course[0] < 0  # a KL, or minus an entropy
    assert course[-1] < course[0] - 0.1


def judge_of() -> ConvDiscriminator:
    torch.manual_seed(3)
    return ConvDiscriminator(3, 3, embedding=4, filters=((1, 4), (2, 4)))


def test_a_generator_round_moves_only_the_generator(engine: Engine) -> None:
    net, reference, judge = tiny(), tiny(seed=2), judge_of().train()
    reward = MonteCarlo(partial(complete, net), partial(judge_completions, judge), SeqGAN(), 2)
    goal = GeneratorGoal(reward, no_baseline, kl_weight=1.0)
    still, start = [weights_of(part) for part in (reference, judge)], weights_of(net)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    generator_round(net, reference, goal, optimizer, engine, given=blank_rows(16, 3), clip=5.0)
    assert all(map(torch.equal, still, [weights_of(part) for part in (reference, judge)]))
    assert all(weight.grad is None for part in (reference, judge) for weight in part.parameters())
    assert not weights_of(net).equal(start)
    assert judge.training


def test_a_discriminator_round_moves_only_the_discriminator(engine: Engine) -> None:
    net, judge = tiny(), judge_of().eval()
    real, fake = torch.randint(3, (8, 3)), speak(net, 8, 3)
    spoken, start = weights_of(net), weights_of(judge)
    optimizer = torch.optim.Adam(judge.parameters(), 0.01)
    discriminator_round(judge, judge, real, fake, SeqGAN(), OutputL2(), optimizer, engine)
    assert judge.training
    assert weights_of(net).equal(spoken)
    moved = (weights_of(judge) != start).float().mean()
    assert moved > 0.9


def test_the_discriminator_learns_to_tell(engine: Engine) -> None:
    judge = judge_of()
    real, fake = torch.tensor([[0, 1, 2]]).repeat(16, 1), torch.randint(3, (16, 3))
    fake[:, 0] = 2
    optimizer = torch.optim.Adam(judge.parameters(), 0.01)
    course = [
        discriminator_round(judge, judge, real, fake, SeqGAN(), NoPenalty(), optimizer, engine) for _ in range(60)
    ]
    assert course[-1]["d/loss"] < 0.3 < course[0]["d/loss"]
    assert course[-1]["d/accuracy"] == 1.0
    with torch.no_grad():
        assert (judge(real) > 0).all()  # high = real
        assert (judge(fake) < 0).all()


def test_numbers_of_a_discriminator_round_by_hand(engine: Engine) -> None:
    """Logits 1, -1 on the real and -2, -3, on the fake: three of four right; loss and penalty add up."""
    judge, calls = judge_of(), []
    given = torch.tensor([1.0, -1.0, -2.0, -3.0])

    def stub(tokens: Tensor) -> Tensor:
        calls.append(tokens)
        return given + 0 * judge.output.bias

    real, fake = torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.long)
    penalty = OutputL2(0.4)(judge, real, fake).detach()
    optimizer = torch.optim.SGD(judge.parameters(), 0.0)
    metrics = discriminator_round(judge, stub, real, fake, SeqGAN(), OutputL2(0.4), optimizer, engine)
    assert len(calls) == 1
    assert calls[0].equal(torch.cat([real, fake]))
    assert metrics["d/accuracy"].item() == 0.75
    torch.testing.assert_close(metrics["d/loss"], SeqGAN().discriminator_loss(given[:2], given[2:]) + penalty)
