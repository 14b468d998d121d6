"""Old completions: the latest are kept, each beside its demonstration, and a checkpoint has them."""

import pytest
import torch

from rl.runtime import InputError
from seqgan.lm.memory import Memory


def pair(*numbers: int) -> tuple[torch.Tensor, torch.Tensor]:
    fake = torch.tensor([[n, n] for n in numbers])
    return fake, fake + 100


def test_the_latest_are_kept_and_pairs_stay_together() -> None:
    memory = Memory(3, 2)
    memory.add(*pair(1, 2))
    memory.add(*pair(3, 4))
    torch.manual_seed(0)
    fake, real = memory.draw(200)
    assert set(fake[:, 0].tolist()) == {2, 3, 4}
    assert real.equal(fake + 100)


def test_before_it_is_full_only_what_was_added_is_drawn() -> None:
    memory = Memory(100, 2)
    memory.add(*pair(7))
    assert set(memory.draw(50)[0].flatten().tolist()) == {7}


def test_more_than_it_holds_at_once() -> None:
    memory = Memory(2, 2)
    memory.add(*pair(1, 2, 3, 4, 5))
    assert set(memory.draw(100)[0].flatten().tolist()) == {4, 5}
    memory.add(*pair(6))
    assert 6 in set(memory.draw(100)[0].flatten().tolist())


def test_a_checkpoint_brings_it_back() -> None:
    memory, other = Memory(4, 2), Memory(4, 2)
    memory.add(*pair(1, 2, 3))
    other.load_state_dict(memory.state_dict())
    for each in (memory, other):
        each.add(*pair(9, 8))
    assert memory.rows.equal(other.rows)
    assert memory.seen == other.seen == 5
    with pytest.raises(InputError, match="--d-memory has changed"):
        Memory(5, 2).load_state_dict(memory.state_dict())
