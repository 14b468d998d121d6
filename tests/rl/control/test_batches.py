from dataclasses import replace

import pytest
import torch

from rl.control.batches import Batch, batch_of, explained_variance, prepare, standardised
from rl.rollout import gae
from tests.rl.control.onpolicy import BOX, CHOICE, PIXELS, agent_of, rollout_of


def marked(rows: int, time: int, *places: tuple[int, int]) -> torch.Tensor:
    mark = torch.zeros(rows, time, dtype=torch.bool)
    for row, step in places:
        mark[row, step] = True
    return mark


def test_values_and_what_follows() -> None:
    """Row 0 is cut off by a time limit at 1, row 1 terminates at 1, row 2 resets at 2, after a time limit at 1."""
    torch.manual_seed(0)
    agent = agent_of(CHOICE)
    rollout = rollout_of(agent, 3, 4)
    true_last = torch.randn(3, 4)
    rollout.steps.next_obs[:, 1] = true_last
    rollout = replace(
        rollout,
        terminated=marked(3, 4, (1, 1)),
        truncated=marked(3, 4, (0, 1), (2, 1)),
        mask=~marked(3, 4, (2, 2)),
    )
    ready = prepare(agent, rollout)
    values = agent.value(rollout.steps.obs.flatten(0, 1)).view(3, 4).detach()
    last = agent.value(rollout.steps.next_obs[:, 3]).detach()
    limit = agent.value(true_last).detach()
    torch.testing.assert_close(ready.values, values)
    expected = torch.cat([values[:, 1:], last.unsqueeze(1)], 1)
    expected[0, 1], expected[1, 1], expected[2, 1] = limit[0], 0, limit[2]
    on = rollout.mask
    torch.testing.assert_close(ready.next_values[on], expected[on])
    log_probs = agent.log_prob(rollout.steps.obs.flatten(0, 1), rollout.steps.actions.flatten())[0]
    torch.testing.assert_close(ready.log_probs, log_probs.view(3, 4).detach())
    assert not ready.values.requires_grad
    assert not ready.next_values.requires_grad
    assert not ready.log_probs.requires_grad

    # time limits bootstrap, terminations do not: lam = 0 makes a target reward + gamma * what follows
    _, targets = gae(ready, 0.9, 0.0)
    torch.testing.assert_close(targets[0, 1], rollout.rewards[0, 1] + 0.9 * limit[0])
    torch.testing.assert_close(targets[1, 1], rollout.rewards[1, 1])
    torch.testing.assert_close(targets[:, 3], rollout.rewards[:, 3] + 0.9 * last)
    # with lam = 1 nothing passes over an end, nor over a reset
    _, targets = gae(ready, 0.9, 1.0)
    torch.testing.assert_close(targets[0, 0], rollout.rewards[0, 0] + 0.9 * (rollout.rewards[0, 1] + 0.9 * limit[0]))
    torch.testing.assert_close(targets[2, 0], rollout.rewards[2, 0] + 0.9 * (rollout.rewards[2, 1] + 0.9 * limit[2]))
    torch.testing.assert_close(targets[1, 0], rollout.rewards[1, 0] + 0.9 * rollout.rewards[1, 1])


@pytest.mark.parametrize("actions", [CHOICE, BOX])
def test_masked_rows_never_matter(actions) -> None:
    torch.manual_seed(0)
    agent = agent_of(actions)
    rollout = replace(rollout_of(agent, 3, 5), mask=~marked(3, 5, (0, 2), (1, 4), (2, 0)))
    rollout = replace(rollout, terminated=marked(3, 5, (0, 1)), truncated=marked(3, 5, (1, 3)))
    rollout.steps.next_obs[~rollout.mask] = 0
    expected = batch_of(agent, prepare(agent, rollout), 0.9, 0.8)
    assert len(expected.targets) == 12
    assert expected.advantages.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    rollout.steps.obs[~rollout.mask] = 1e3
    rollout.steps.next_obs[~rollout.mask] = 1e3
    rollout.rewards[~rollout.mask] = torch.nan
    rollout.steps.actions[~rollout.mask] = 1
    again = batch_of(agent, prepare(agent, rollout), 0.9, 0.8)
    for ours, theirs in zip(again, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_units_and_log_probabilities_belong_together() -> None:
    torch.manual_seed(0)
    agent = agent_of(BOX)
    agent.add(torch.randn(40, 4) * 2 + 1)
    batch = batch_of(agent, prepare(agent, rollout_of(agent, 2, 6)), 0.9, 0.8)
    torch.testing.assert_close(agent.units_log_prob(batch.inputs, batch.actions)[0], batch.log_probs)
    assert batch.advantages.mean().item() == pytest.approx(0, abs=1e-6)
    assert batch.advantages.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_pixels_are_encoded_later() -> None:
    torch.manual_seed(0)
    agent = agent_of(CHOICE, PIXELS)
    batch = batch_of(agent, prepare(agent, rollout_of(agent, 2, 3)), 0.9, 0.8)
    assert (batch.inputs.dtype, batch.inputs.shape) == (torch.uint8, (6, 192))


def test_advantages_by_hand() -> None:
    torch.testing.assert_close(standardised(torch.tensor([1.0, 3.0, 5.0])), torch.tensor([-1.0, 0, 1]) * 1.5**0.5)
    assert torch.equal(standardised(torch.ones(4)), torch.zeros(4))
    values, targets = torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 3, 8])
    # Var(0 0 0 4) = 3, Var(1 2 3 8) = 7.25
    assert explained_variance(values, targets).item() == pytest.approx(1 - 3 / 7.25)
    assert explained_variance(torch.zeros(4), targets).item() == pytest.approx(0)


def test_parts_hold_every_row_once() -> None:
    rows = torch.arange(11.0)
    batch = Batch(rows.unsqueeze(1), rows, rows, rows, rows)
    parts = batch.parts(3)
    assert [len(part.targets) for part in parts] == [4, 4, 3]
    assert torch.equal(torch.cat([part.inputs[:, 0] for part in parts]), rows)
    assert batch.take(torch.tensor([3, 1])).advantages.tolist() == [3, 1]
