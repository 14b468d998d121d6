import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan.relational import RelationalGenerator

SIZES = [(1, 2, 3), (3, 2, 4), (2, 1, 5)]  # slots, heads, size of a head


def build(slots: int, heads: int, head_size: int) -> RelationalGenerator:
    torch.manual_seed(1)
    return RelationalGenerator(9, embedding=4, slots=slots, heads=heads, head_size=head_size, start=2)


def stepped(net: RelationalGenerator, tokens: Tensor) -> Tensor:
    state, said, features = net.init(len(tokens)), tokens.new_full((len(tokens),), net.start), []
    for time in range(tokens.shape[1]):
        feature, state = net.step(state, said)
        features.append(feature)
        said = tokens[:, time]
    return torch.stack(features, 1)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", [1, 7])
def test_step_by_step_is_teacher_forcing(sizes: tuple[int, int, int], length: int) -> None:
    net, tokens = build(*sizes), torch.randint(9, (5, length))
    torch.testing.assert_close(stepped(net, tokens), net.features(tokens))
    torch.testing.assert_close(net.features(tokens)[2:3], net.features(tokens[2:3]))


def test_features_see_only_what_stands_before() -> None:
    net, tokens = build(2, 2, 3), torch.randint(9, (3, 6))
    before = net.features(tokens)
    for time in range(6):
        changed = tokens.clone()
        changed[:, time] = (tokens[:, time] + 1) % 9
        differs = (net.features(changed) != before).any(-1)
        assert not differs[:, : time + 1].any()
        assert differs[:, time + 1 :].all()


def test_a_fork_appends_copies() -> None:
    net, rows = build(3, 2, 4), torch.tensor([2, 0])
    (memory,) = net.step(net.init(3), torch.tensor([1, 2, 3]))[1]
    (forked,) = net.fork((memory,), rows)
    assert forked.equal(torch.cat([memory, memory[rows]]))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_memory_is_the_papers(sizes: tuple[int, int, int]) -> None:
    slots, heads, size = sizes
    net = build(*sizes)
    memory, token = torch.randn(slots, heads * size), torch.tensor([5])
    x = net.read(net.embedding(token))[0]
    # one row, one head, one slot at a time, over the memory and what was read
    key, value = net.key_value(torch.cat([memory, x[None]])).split(heads * size, 1)
    query = net.query(memory)
    attended = torch.empty(slots, heads * size)
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        for slot in range(slots):
            odds = torch.stack([query[slot, columns] @ key[i, columns] / math.sqrt(size) for i in range(slots + 1)])
            attended[slot, columns] = odds.softmax(0) @ value[:, columns]
    y = net.norm_attention(memory + attended)
    y = net.norm_forward(y + net.forward_down(F.relu(net.forward_up(y))))
    take, keep = (net.gates_of_input(x) + net.gates_of_memory(memory.tanh())).split(heads * size, 1)
    expected = torch.sigmoid(keep + 1) * memory + torch.sigmoid(take) * y.tanh()
    features, (found,) = net.step((memory[None],), token)
    torch.testing.assert_close(found[0], expected)
    assert features.equal(found.flatten(1))


def test_slots_begin_apart() -> None:
    (memory,) = build(3, 2, 4).init(2)
    assert memory.shape == (2, 3, 8)
    assert len(memory[0].unique(dim=0)) == 3
