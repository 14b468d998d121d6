"""What a completion earns, by hand; and SeqGAN's values by enumeration."""

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from rl.objectives import AIRL, SeqGAN
from rl.rollout import Rollout
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import action_log_probs, counted
from seqgan.lm.earning import BradleyTerry, added, by_rollouts, each, gated, ungated, verdict, whole

ROWS = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
LOGITS = torch.tensor([0.0, 2.0, -1.0])
VERDICTS = torch.tensor([0.5, 1.0, 0.0])


def roll() -> Rollout[Tensor]:
    return Rollout.of(ROWS, counted(ROWS, 0))


def judged() -> tuple[nn.Module, Tensor]:
    return nn.Dropout(0.5), LOGITS.sigmoid()


def at_the_end(values: Tensor) -> Tensor:
    return torch.zeros(3, 4).index_put((torch.arange(3), torch.tensor([2, 3, 0])), values)


@pytest.mark.parametrize(
    ("compose", "expected"),
    [
        (ungated, LOGITS.sigmoid()),
        (gated, LOGITS.sigmoid() * VERDICTS),
        (added, LOGITS.sigmoid() + VERDICTS),
        (verdict, VERDICTS),
    ],
)
def test_a_row_is_paid_once_at_its_end(compose: object, expected: Tensor) -> None:
    net = nn.Dropout(0.5)
    reward = compose(whole(lambda rows: LOGITS, net, SeqGAN()), lambda rollout: VERDICTS)  # type: ignore[operator]
    torch.testing.assert_close(reward(roll()), at_the_end(expected))


def test_every_token_is_paid_its_own_logit() -> None:
    logits = torch.arange(12.0).view(3, 4)
    paid = each(lambda rows: logits, nn.Dropout(0.5), AIRL())(roll())
    torch.testing.assert_close(paid, logits.masked_fill(~counted(ROWS, 0), 0))


def test_the_judge_pays_with_dropout_off_and_learns_with_it_on() -> None:
    class Judge(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return torch.full((len(rows),), 1.0 if self.training else 0.0)

    net = Judge().train()
    assert whole(net, net, AIRL())(roll()).sum() == 0
    assert net.training


def test_bradley_terry_pairs_by_position_and_pays_the_logit() -> None:
    real, fake = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    loss = BradleyTerry().discriminator_loss(real, fake)
    expected = -(torch.tensor([1.0, -3.0]).sigmoid().log()).mean()
    torch.testing.assert_close(loss, expected)
    assert BradleyTerry().reward(fake).equal(fake)


def test_values_by_rollouts_are_the_expected_totals() -> None:
    """Against the sum over all sentences; 3 standard errors of 4,000 completions, seed fixed."""
    torch.manual_seed(0)
    net = LSTMGenerator(3, embedding=3, hidden=4, end=0, deviation=0.8)
    everything = torch.tensor(list(itertools.product(range(3), repeat=3)))
    rows = everything[(counted(everything, 0) | (everything == 0)).all(1)]
    worth = (rows * torch.tensor([0.3, 0.2, 0.4])).sum(1).sin()
    table = {tuple(row): value for row, value in zip(rows.tolist(), worth.tolist(), strict=True)}

    def judge(some: Tensor) -> Tensor:
        return torch.tensor([table[tuple(row)] for row in some.tolist()])

    reward = whole(judge, nn.Identity(), AIRL())
    sentence = torch.tensor([[1, 2, 1]])
    values = by_rollouts(net, reward, prompt=0, samples=4_000)(Rollout.of(sentence, counted(sentence, 0)))[0]
    log_probs = action_log_probs(net, rows).gather(2, rows[..., None])[..., 0] * counted(rows, 0)
    for place in range(3):
        same = (rows[:, : place + 1] == sentence[0, : place + 1]).all(1)
        odds = log_probs[same].sum(1).exp()
        expected = ((odds * worth[same]).sum() / odds.sum()).item()
        assert values[place].item() == pytest.approx(expected, abs=0.02)


def test_a_gate_holds_for_completions_too() -> None:
    torch.manual_seed(0)
    net = LSTMGenerator(3, embedding=3, hidden=4, end=0, deviation=0.8)
    ones = whole(lambda rows: torch.ones(len(rows)), nn.Identity(), AIRL())
    closed = gated(ones, lambda rollout: torch.zeros(len(rollout.mask)))
    sentence = torch.tensor([[1, 2, 1]])
    pays = partial(by_rollouts, net, prompt=0, samples=8)
    rollout = Rollout.of(sentence, counted(sentence, 0))
    assert (pays(closed)(rollout) == 0).all()
    assert (pays(ones)(rollout) == 1).all()
