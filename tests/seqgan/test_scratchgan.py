import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rl.rollout import Rollout
from seqgan.corpus import Corpus, Vocabulary
from seqgan.likelihood import counted
from seqgan.numbers import Numbers
from seqgan.scratchgan import MovingBaseline, RecurrentDiscriminator, ScratchPlayers, dense_returns, waves
from tests.seqgan import toys

# The paper's discount, baseline, beta1, dropout and L2; rates and sizes that fit the toy.
NUMBERS = replace(
    toys.NUMBERS, batch=256, d_lr=5e-3, discount=0.23, baseline_decay=0.08, beta1=0.5, d_dropout=0.1, d_l2=1e-6
)


def net(dropout: float = 0.0) -> RecurrentDiscriminator:
    torch.manual_seed(1)
    return RecurrentDiscriminator(7, 6, embedding=4, hidden=8, dropout=dropout)


def text(prompt: int = 0) -> Corpus:
    """Return sentences of 1 to 4 words that end with 0."""
    torch.manual_seed(3)
    rows = torch.randint(1, 6, (40, 5))
    rows = rows.masked_fill(torch.arange(5) >= torch.randint(1 + prompt, 5, (40, 1)), 0)
    return Corpus(rows[:30], rows[:0], rows[30:], Vocabulary.numbers(6), 0, prompt=prompt)


def test_waves_by_hand() -> None:
    """Four numbers: wavelengths 2 pi and 20,000 pi."""
    expected = [[math.sin(t), math.sin(t / 1e4), math.cos(t), math.cos(t / 1e4)] for t in range(3)]
    torch.testing.assert_close(waves(3, 4), torch.tensor(expected))
    assert waves(50).shape == (50, 8)
    assert torch.cdist(waves(50), waves(50)).fill_diagonal_(1).min() > 0.01  # no two positions look alike


def test_a_logit_sees_its_token_and_those_before() -> None:
    judge, tokens = net(), torch.randint(7, (3, 6))
    before = judge(tokens)
    assert before.shape == (3, 6)
    for time in range(6):
        changed = tokens.clone()
        changed[:, time] = (tokens[:, time] + 1) % 7
        differs = judge(changed) != before
        assert not differs[:, :time].any()
        assert differs[:, time].all()


def test_a_batch_is_its_rows_and_dropout_is_for_training() -> None:
    judge, tokens = net(dropout=0.5).eval(), torch.randint(7, (4, 6))
    torch.testing.assert_close(judge(tokens), torch.cat([judge(row[None]) for row in tokens]))
    torch.testing.assert_close(judge(tokens[:, :3]), judge(tokens)[:, :3])
    judge.train()
    assert not judge(tokens).equal(judge(tokens))


def test_positions_are_told() -> None:
    """A cell without memory gives equal tokens unequal logits at unequal places."""
    judge = net()
    with torch.no_grad():
        judge.lstm.weight_hh_l0.zero_()
        judge.lstm.bias_ih_l0[8:16] = judge.lstm.bias_hh_l0[8:16] = -100.0  # forget
    assert len(set(judge(torch.full((1, 6), 2))[0].tolist())) == 6


class Stub(nn.Module):
    """Says what D is."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.logit(torch.tensor([[0.9, 0.2, 0.5], [0.25, 0.75, 0.1]]))


def test_returns_by_hand() -> None:
    """2 D - 1: 0.8, -0.6, 0.0 and -0.5, 0.5; the second sentence ends before its third token."""
    tokens = torch.tensor([[1, 2, 3], [4, 0, 0]])
    rollout = Rollout.of(tokens, counted(tokens, 0))
    returns = dense_returns(Stub(), 0.5, toys.engine())(rollout)
    torch.testing.assert_close(returns, torch.tensor([[0.8 - 0.3 + 0.0, -0.6, 0.0], [-0.5 + 0.25, 0.5, 0.0]]))


def test_the_reward_is_judged_without_dropout() -> None:
    judge, tokens = net(dropout=0.5).train(), torch.randint(7, (4, 6))
    reward = dense_returns(judge, 0.23, toys.engine())
    rollout = Rollout.of(tokens, counted(tokens, -1))
    assert reward(rollout).equal(reward(rollout))
    assert judge.training


def test_the_moving_baseline_by_hand() -> None:
    baseline = MovingBaseline(0.25, toys.engine())
    mask = torch.tensor([[True, True], [True, False]])
    first = baseline(torch.tensor([[1.0, 3.0], [5.0, 100.0]]), mask)
    assert first.tolist() == [[1, 3], [5, 0]]  # nothing has come before
    assert baseline.average == pytest.approx(0.75 * 3)
    second = baseline(torch.tensor([[1.0, 1.0], [1.0, math.nan]]), mask)
    assert second.tolist() == [[-1.25, -1.25], [-1.25, 0]]
    again = MovingBaseline(0.25, toys.engine())
    again.load_state_dict(baseline.state_dict())
    assert again.average == baseline.average == pytest.approx(0.25 * 2.25 + 0.75)


def players(corpus: Corpus, n: Numbers = NUMBERS) -> ScratchPlayers:
    return ScratchPlayers(n, corpus, toys.engine(7))


@pytest.mark.parametrize("prompt", [0, 1])
def test_only_what_was_said_is_judged(prompt: int) -> None:
    """Neither the prompt's logits nor those after the end move the loss."""
    corpus, judged = text(prompt), []
    said = players(corpus)
    real, fake = corpus.train[:8], said.say(8)

    def logits(rows: Tensor) -> Tensor:
        noise = torch.where(counted(rows, 0, prompt), 0.0, 1e4) * torch.randn(rows.shape)
        judged.append(rows)
        return said.discriminator.eval()(rows) + noise

    said.logits = logits  # type: ignore[method-assign]
    metrics = said.judge(real, fake)
    assert judged[0].equal(torch.cat([real, fake]))
    assert metrics["d/loss"].item() == pytest.approx(2 * math.log(2), abs=0.6)


def test_the_loss_and_the_accuracy_by_hand() -> None:
    corpus = text()
    said = players(corpus)
    real, fake = torch.tensor([[1, 0, 0]]), torch.tensor([[2, 3, 0]])
    given = torch.tensor([[1.0, -1.0, 9.0], [-2.0, 3.0, -1.0]])
    said.logits = lambda rows: given + 0 * said.discriminator.leave[1].bias  # type: ignore[method-assign]
    metrics = said.judge(real, fake)
    real_loss = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    fake_loss = sum(math.log1p(math.exp(x)) for x in (-2, 3, -1)) / 3
    assert metrics["d/loss"].item() == pytest.approx(real_loss + fake_loss, rel=1e-5)
    assert metrics["d/accuracy"].item() == pytest.approx(3 / 5)


def test_every_move_is_finite_moves_its_own_net_and_is_kept() -> None:
    corpus = text()
    said = players(corpus)
    said.begin()
    nets = {"generator": said.generator, "discriminator": said.discriminator}
    for move, moved in (
        (lambda: said.judge(corpus.train[:8], said.say(8)), "discriminator"),
        (lambda: said.improve(0.0), "generator"),
        (lambda: said.imitate(corpus.train[:8]), "generator"),
    ):
        before = {name: [w.detach().clone() for w in part.parameters()] for name, part in nets.items()}
        metrics = move()
        assert all(value.isfinite() for value in metrics.values())
        for name, part in nets.items():
            same = all(map(torch.equal, before[name], part.parameters()))
            assert same == (name != moved)
    assert "baseline" in said.parts()
    assert said.baseline.average != 0


def test_a_stopped_game_goes_on() -> None:
    """With the same draws a restored copy makes the same step."""
    corpus = toys.toy_corpus(1, sentences=300)
    said = players(corpus)
    toys.play(said, corpus, rounds=2, judge_first=2)
    other = players(corpus)
    for name, part in other.parts().items():
        part.load_state_dict(said.parts()[name].state_dict())
    steps = []
    for one in (said, other):
        torch.manual_seed(5)
        steps.append(one.improve(0.5)["g/loss"].item())
        torch.manual_seed(6)
        steps[-1] += one.judge(corpus.train[:16], one.say(16))["d/loss"].item()
    assert steps[0] == steps[1]


@pytest.mark.slow
def test_an_untrained_generator_learns_to_speak() -> None:
    """From 1.1 to 1.7 nats of KL to less than 0.3, for each of five seeds."""
    before, after = [], []
    for seed in toys.SEEDS:
        corpus = toys.toy_corpus(seed)
        said = ScratchPlayers(NUMBERS, corpus, toys.engine(seed))
        before.append(toys.kl(corpus.oracle, said.generator))
        toys.play(said, corpus, rounds=200, judge_first=20, half=256)
        after.append(toys.kl(corpus.oracle, said.generator))
    assert toys.every_time_less(before, after)
    assert max(after) < 0.3, (before, after)
