import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rl.estimators import leave_one_out
from rl.objectives import SeqGAN
from rl.runtime import checkpoints
from seqgan.corpus import Corpus, Vocabulary
from seqgan.leaked import LeakGenerator
from seqgan.leakgan import LeakPlayers, goal_rewards, intrinsic_rewards, rank_rescaled
from seqgan.numbers import Numbers
from tests.seqgan import toys

TINY = replace(toys.NUMBERS, batch=16, rollouts=2, d_batch=16, goal=3, goal_steps=2, g_lr=1e-3, d_dropout=0.25)


def scene(rows: int = 4, time: int = 5, size: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(rows, time + 1, size), F.normalize(torch.randn(rows, time, size), dim=-1)


def cosine(x: Tensor, y: Tensor) -> float:
    return (x @ y / x.norm() / y.norm()).item()


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_a_goal_is_worth_the_cosine_to_where_the_features_go(steps: int) -> None:
    """One row, place by place: the goal at t against F(t + c) - F(t), or against how far the row goes."""
    leaked, goals = scene()
    rewards = goal_rewards(leaked, goals, steps)
    for row, t in itertools.product(range(4), range(5)):
        expected = cosine(leaked[row, min(t + steps, 5)] - leaked[row, t], goals[row, t])
        assert rewards[row, t].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_a_token_is_worth_the_mean_cosine_to_the_goals_before_it(steps: int) -> None:
    """Token t leads from F(t) to F(t + 1), and answers to the goals at t, t - 1, ..., c of them at most."""
    leaked, goals = scene()
    rewards = intrinsic_rewards(leaked, goals, steps)
    for row, t in itertools.product(range(4), range(5)):
        expected = [
            cosine(leaked[row, t + 1] - leaked[row, t + 1 - i], goals[row, t + 1 - i])
            for i in range(1, steps + 1)
            if t + 1 - i >= 0
        ]
        assert rewards[row, t].item() == pytest.approx(sum(expected) / len(expected), abs=1e-6)


def test_features_that_stand_still_are_worth_nothing() -> None:
    _, goals = scene()
    still = torch.ones(4, 6, 3)
    assert not goal_rewards(still, goals, 2).any()
    assert not intrinsic_rewards(still, goals, 2).any()


def test_goals_are_differentiated_and_intrinsic_rewards_are_not() -> None:
    leaked, goals = scene()
    goals.requires_grad_()
    assert goal_rewards(leaked, goals, 2).requires_grad
    assert not intrinsic_rewards(leaked, goals, 2).requires_grad


def test_ranks_by_hand() -> None:
    """Best 1 of 4: sigmoid(12 * 0.25); the third place has two rows, the fourth two equals, the last none."""
    rewards = torch.tensor([[0.9, 1.0, 5.0, 3.0, 1], [0.1, 2.0, 9.0, 7.0, 1], [0.5, 3.0, 0, 7, 1], [0.7, 4.0, 0, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 0]]).bool()
    ranks = torch.tensor([[1, 4, 2, 3, 0], [4, 3, 1, 1.5, 0], [3, 2, 0, 1.5, 0], [2, 1, 0, 4, 0]])
    rows = torch.tensor([4, 4, 2, 4, 1])
    expected = torch.where(mask, 1 / (1 + torch.exp(-12 * (0.5 - ranks / rows))), 0.0)
    torch.testing.assert_close(rank_rescaled(rewards, mask, 12.0), expected)
    assert expected[0, 0].item() == pytest.approx(1 / (1 + math.exp(-3)))


def test_rescaling_sorts_rows_and_nothing_else() -> None:
    """Any rising function of the rewards ranks alike, rows may come in any order, and better is never worth less."""
    torch.manual_seed(0)
    rewards, mask = torch.randn(16, 7), torch.rand(16, 7) < 0.8
    rescaled = rank_rescaled(rewards, mask, 12.0)
    torch.testing.assert_close(rank_rescaled(rewards.exp() * 5 - 3, mask, 12.0), rescaled)
    order = torch.randperm(16)
    torch.testing.assert_close(rank_rescaled(rewards[order], mask[order], 12.0), rescaled[order])
    for place in range(7):
        on = mask[:, place]
        best_first = rewards[on, place].argsort(descending=True)
        assert (rescaled[on, place][best_first].diff() < 0).all()
    assert not rescaled[~mask].any()


def test_the_mean_of_rescaled_rewards_does_not_depend_on_the_discriminator() -> None:
    torch.manual_seed(0)
    mask = torch.ones(64, 5, dtype=torch.bool)
    means = [rank_rescaled(scale * torch.randn(64, 5), mask, 12.0).mean().item() for scale in (1e-6, 1.0, 100.0)]
    assert means == pytest.approx([means[0]] * 3)
    assert rank_rescaled(torch.zeros(64, 5), mask, 12.0).unique().tolist() == pytest.approx(
        [1 / (1 + math.exp(-12 * (0.5 - 65 / 128)))]
    )


def test_what_stands_off_the_mask_never_matters() -> None:
    rewards, mask = torch.randn(6, 3), torch.ones(6, 3, dtype=torch.bool)
    mask[4:, 1] = False
    before = rank_rescaled(rewards, mask, 12.0)
    for garbage in (math.nan, math.inf, -math.inf):
        assert rank_rescaled(rewards.masked_fill(~mask, garbage), mask, 12.0).equal(before)


def make(n: Numbers = TINY, seed: int = 0) -> tuple[LeakPlayers, Corpus]:
    corpus = toys.toy_corpus(0, sentences=320)
    return LeakPlayers(n, corpus, toys.engine(seed), objective=SeqGAN(), baseline=leave_one_out), corpus


def weights(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in net.named_parameters()}


def moved(before: dict[str, Tensor], net: torch.nn.Module) -> set[str]:
    return {name.split(".")[0] for name, weight in net.named_parameters() if not weight.equal(before[name])}


def test_each_move_moves_its_own_weights() -> None:
    players, corpus = make()
    worker_and_manager = {"embedding", "worker", "manager", "to_goal", "project", "head"}
    rows = corpus.train[:32]
    before, judge = weights(players.generator), weights(players.discriminator)
    players.teach(rows)
    assert moved(before, players.generator) == worker_and_manager
    before = weights(players.generator)
    players.improve(0.0)
    assert moved(before, players.generator) == worker_and_manager
    assert not moved(judge, players.discriminator)
    before = weights(players.generator)
    players.judge(rows, players.say(32))
    assert moved(before, players.generator) == {"judge"}
    assert moved(judge, players.discriminator)
    start = weights(players.start)
    players.imitate(rows)
    assert moved(before, players.generator) == worker_and_manager | {"judge"}
    assert not moved(start, players.start)
    players.begin()
    torch.testing.assert_close(players.start.features(rows), players.generator.features(rows))


def test_metrics_are_finite_and_the_judged_are_the_spoken() -> None:
    players, corpus = make()
    metrics = players.imitate(corpus.train[:16]) | players.improve(0.5)
    wanted = {"mle/loss", "mle/goal", "d/loss", "d/accuracy", "g/loss", "g/reward", "g/goal", "g/intrinsic"}
    assert wanted <= metrics.keys()
    for key, value in metrics.items():
        assert value.isfinite(), key
        assert value.ndim == 0, key
        assert not value.requires_grad, key


def test_texts_that_end_and_prompts() -> None:
    """Only what was said is paid, prompts are kept, and what follows the end is the end."""
    torch.manual_seed(0)
    train = torch.randint(1, 6, (64, 4))
    train[::2, 2:] = 0
    corpus = Corpus(train, train[:0], train[:8], Vocabulary.numbers(6), 0, prompt=1)
    players = LeakPlayers(TINY, corpus, toys.engine(), objective=SeqGAN(), baseline=leave_one_out)
    players.imitate(train[:16])
    metrics = players.improve(0.0)
    assert 1 <= metrics["g/length"] <= 3
    said = players.say(50)
    assert set(said[:, 0].tolist()) <= set(train[:, 0].tolist())
    ended = (said[:, 1:] == 0).cumsum(1) > 0
    assert (said[:, 1:][ended] == 0).all()


@pytest.mark.parametrize(("interleave", "lessons"), [(0, 0), (1, 5), (2, 3), (5, 1), (100, 1)])
def test_an_epoch_of_likelihood_is_spread_over_rounds(interleave: int, lessons: int) -> None:
    """320 sentences are five batches of 64."""
    players, _ = make(replace(TINY, interleave=interleave))
    taught = []
    teach = players.teach
    players.teach = lambda rows: taught.append(len(rows)) or teach(rows)  # type: ignore[assignment, func-returns-value]
    players.improve(0.0)
    assert taught == [64] * lessons


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: object) -> None:
    """All that has a state is in `parts`; the generator's judge stays the discriminator."""
    players, corpus = make(replace(TINY, interleave=4))
    players.imitate(corpus.train[:16])
    players.begin()
    players.improve(0.0)
    checkpoints.save(tmp_path, 1, players.parts())  # type: ignore[arg-type]
    other, _ = make(replace(TINY, interleave=4), seed=9)
    checkpoints.restore(checkpoints.newest(tmp_path), other.parts())  # type: ignore[arg-type]
    ends = []
    for each in (players, other):
        torch.manual_seed(5)
        each.judge(corpus.train[:16], each.say(16))
        each.improve(0.1)
        ends.append(weights(each.generator) | {f"d.{k}": v for k, v in weights(each.discriminator).items()})
    assert ends[0].keys() == ends[1].keys()
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])
    assert other.generator.judge is other.discriminator


def test_the_gradient_of_the_worker_is_its_rewards() -> None:
    """Paid for one word alone, it says that word more often."""
    n = replace(TINY, batch=128, g_lr=5e-3, g_clip=5.0)
    players, corpus = make(n)
    for _ in range(40):
        players.teach(corpus.train[torch.randint(320, (64,))])

    def reward(rollout: object) -> Tensor:
        tokens = rollout.steps  # type: ignore[attr-defined]
        return (tokens == 3).float()

    before = (players.say(1_000) == 3).float().mean().item()
    players.reward = reward  # type: ignore[assignment]
    for _ in range(25):
        players.improve(0.0)
    after = (players.say(1_000) == 3).float().mean().item()
    assert after > before + 0.1


def test_the_manager_learns_to_foretell() -> None:
    players, corpus = make()
    cosines = [players.teach(corpus.train[torch.randint(320, (64,))])["mle/goal"].item() for _ in range(60)]
    assert sum(cosines[-5:]) / 5 > sum(cosines[:5]) / 5 + 0.3


def test_the_start_can_be_measured_after_the_judge_has_moved() -> None:
    players, corpus = make()
    players.imitate(corpus.train[:64])
    players.begin()
    start, generator = players.speaker(players.start), players.speaker(players.generator)
    nll = start.likelihood(corpus.test)["nll"]
    assert generator.likelihood(corpus.test)["nll"] == pytest.approx(nll)
    for _ in range(5):
        players.judge(corpus.train[:64], players.say(64))
    assert start.likelihood(corpus.test)["nll"] == pytest.approx(nll)
    assert generator.likelihood(corpus.test)["nll"] != pytest.approx(nll, abs=1e-6)
    assert start.speak(7).shape == (7, 4)
    assert isinstance(players.start, LeakGenerator)


@pytest.mark.slow
def test_it_comes_nearer_to_the_oracle() -> None:
    """The exact total variation falls for each of five worlds: by chance 1 in 32."""
    before, after = [], []
    for seed in toys.SEEDS:
        corpus, n = toys.toy_corpus(seed), replace(toys.NUMBERS, batch=256, g_lr=5e-4)
        players = LeakPlayers(n, corpus, toys.engine(seed), objective=SeqGAN(), baseline=leave_one_out)
        toys.imitate(players, corpus, steps=40)
        before.append(toys.total_variation(corpus.oracle, players.generator))
        toys.play(players, corpus, rounds=90, judge_steps=3)
        after.append(toys.total_variation(corpus.oracle, players.generator))
    assert toys.every_time_less(before, after), (before, after)
