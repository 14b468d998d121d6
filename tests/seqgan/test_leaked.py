import copy

import pytest
import torch
from torch import Tensor

from rl.discriminator import evaluating
from seqgan.discriminators import ConvDiscriminator
from seqgan.leaked import LeakGenerator, outer, prefix_features
from seqgan.sampling import complete, speak

LENGTH = 7
FILTERS = ((1, 3), (2, 4), (4, 2), (7, 3))


def build(goal_steps: int = 3, dropout: float = 0.0, filters: tuple[tuple[int, int], ...] = FILTERS) -> LeakGenerator:
    torch.manual_seed(1)
    judge = ConvDiscriminator(9, LENGTH, embedding=4, filters=filters, dropout=0.5)
    net = LeakGenerator(
        9, judge, embedding=5, hidden=6, goal=3, goal_steps=goal_steps, dropout=dropout, start=2, deviation=0.7
    )
    return net.eval()


def sentences(rows: int = 5) -> Tensor:
    return torch.randint(9, (rows, LENGTH), generator=torch.Generator().manual_seed(3))


def stepped(net: LeakGenerator, tokens: Tensor) -> Tensor:
    state, said, features = net.init(len(tokens)), tokens.new_full((len(tokens),), net.start), []
    for time in range(tokens.shape[1]):
        feature, state = net.step(state, said)
        features.append(feature)
        said = tokens[:, time]
    return torch.stack(features, 1)


@pytest.mark.parametrize("goal_steps", [1, 2, 3, 50])
@pytest.mark.parametrize("filters", [FILTERS, ((1, 3),), ((3, 2),), ((7, 2),)])
def test_step_by_step_is_teacher_forcing(goal_steps: int, filters: tuple[tuple[int, int], ...]) -> None:
    """The running maxima are those of whole prefixes, whatever the filters span."""
    net, tokens = build(goal_steps, filters=filters), sentences()
    for time in (1, 2, LENGTH):
        torch.testing.assert_close(stepped(net, tokens[:, :time]), net.features(tokens)[:, :time])


def test_the_features_of_a_prefix_are_those_of_a_judge_of_that_length() -> None:
    """Filters that fit no window are silent: bias and all."""
    net, tokens = build(), sentences()
    leaked = prefix_features(net.judge, tokens)
    assert leaked.shape == (5, LENGTH + 1, 12)
    with torch.no_grad():
        torch.testing.assert_close(leaked[:, LENGTH], net.judge.features(net.judge.pooled(tokens)))
        for time in range(1, LENGTH):
            short = ConvDiscriminator(9, time, embedding=4, filters=FILTERS)
            short.embedding.load_state_dict(net.judge.embedding.state_dict())
            for weight, whole in zip(short.weights, net.judge.weights, strict=False):
                weight.copy_(whole)
            pooled = torch.full((5, 12), -torch.inf)
            pooled[:, : len(short.bias)] = short.pooled(tokens[:, :time])
            torch.testing.assert_close(leaked[:, time], net.judge.features(pooled))
        torch.testing.assert_close(leaked[:, 0], net.judge.features(torch.full((5, 12), -torch.inf)))


def test_only_what_stands_before_is_read() -> None:
    net, tokens = build(), sentences(3)
    before = net.features(tokens)
    for time in range(LENGTH):
        changed = tokens.clone()
        changed[:, time] = (tokens[:, time] + 1) % 9
        differs = ((net.features(changed) - before).abs() > 1e-6).any(-1)
        assert not differs[:, : time + 1].any()
        assert differs[:, time + 1 : time + 2].all()


def test_a_fork_appends_copies_that_go_on_alone() -> None:
    net, tokens, rows = build(), sentences(3), torch.tensor([2, 0, 2, 1])
    state, said = net.init(3), tokens.new_full((3,), net.start)
    for time in range(4):
        _, state = net.step(state, said)
        said = tokens[:, time]
    forked = net.fork(state, rows)
    assert {len(part) for part in forked} == {7}
    said = torch.randint(9, (7,))
    features, _ = net.step(forked, said)
    history = torch.cat([torch.cat([tokens, tokens[rows]])[:, :3], said[:, None]], 1)
    padded = torch.cat([history, history[:, :1]], 1)  # features at 4 have read the tokens before
    torch.testing.assert_close(features, net.features(padded)[:, 4])


def test_a_batch_is_its_rows() -> None:
    net, tokens = build(), sentences()
    torch.testing.assert_close(net.features(tokens), torch.cat([net.features(row[None]) for row in tokens]))


def test_logits_are_the_workers_matrix_times_the_goals() -> None:
    """Equations 4 to 6, term by term: goals of length one, the last three projected, O of the Worker's state."""
    net, tokens = build(), sentences(2)
    leaked, goals = net.plan(tokens)
    torch.testing.assert_close(goals.norm(dim=-1), torch.ones(2, LENGTH))
    read, _ = net.manager(leaked[:, :-1])
    raw = read @ net.to_goal.weight.T + net.to_goal.bias
    torch.testing.assert_close(goals, raw / raw.norm(dim=-1, keepdim=True))
    hidden, _ = net.worker(net.embedding(torch.cat([torch.full((2, 1), 2), tokens[:, :-1]], 1)))
    matrix = net.head.weight.view(9, 6, 3)
    for time in range(LENGTH):
        w = goals[:, max(0, time - 2) : time + 1].sum(1) @ net.project.weight.T
        expected = torch.einsum("vji,bj,bi->bv", matrix, hidden[:, time], w) + net.head.bias
        torch.testing.assert_close(net.head(net.features(tokens)[:, time]), expected)


def test_outer_by_hand() -> None:
    product = outer(torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0, 11.0]]))
    assert product.tolist() == [[10.0, 14.0, 22.0, 15.0, 21.0, 33.0]]


def test_who_learns_from_what() -> None:
    """Words teach the Worker alone, goals the Manager alone, and nothing reaches the judge."""
    net, tokens = build(), sentences()
    worker = {"embedding.weight", "project.weight", *(f"worker.{name}" for name, _ in net.worker.named_parameters())}
    manager = {"to_goal.weight", "to_goal.bias", *(f"manager.{name}" for name, _ in net.manager.named_parameters())}
    for loss, taught in ((net.features(tokens).sum(), worker), (net.plan(tokens)[1].sum(), manager)):
        net.zero_grad(set_to_none=True)
        loss.backward()
        assert {name for name, weight in net.named_parameters() if weight.grad is not None} == taught
    names = {id(weight): name for name, weight in net.named_parameters()}
    assert {names[id(weight)] for weight in net.learned()} == worker | manager | {"head.weight", "head.bias"}


def test_the_judge_is_the_discriminator_itself_and_a_copy_has_its_own() -> None:
    net, tokens = build(), sentences()
    start, before = copy.deepcopy(net), net.features(tokens)
    with torch.no_grad():
        net.judge.embedding.weight.add_(1.0 * torch.randn_like(net.judge.embedding.weight))
    assert not net.features(tokens).allclose(before)
    torch.testing.assert_close(start.features(tokens), before)
    start.load_state_dict(net.state_dict())
    torch.testing.assert_close(start.features(tokens), net.features(tokens))


def test_dropout_only_in_training_and_never_of_the_judge() -> None:
    net, tokens = build(dropout=0.5), sentences()
    goals = net.plan(tokens)[1]
    net.train()
    assert not net.features(tokens).equal(net.features(tokens))
    torch.testing.assert_close(net.plan(tokens)[1], goals)
    with evaluating(net):
        torch.testing.assert_close(stepped(net, tokens), net.features(tokens))


def test_sentences_and_completions_are_drawn_from_it() -> None:
    """Frequencies of the second token after each first, in a sweep: chi-square over 9 x 9 cells."""
    net = build()
    torch.manual_seed(0)
    tokens = speak(net, 9, 2)
    tokens[:, 0] = torch.arange(9)
    samples = 4_000
    drawn = complete(net, tokens, samples)[0, :, :, 1]
    counts = torch.stack([torch.bincount(row, minlength=9) for row in drawn]).double()
    with torch.no_grad():
        expected = samples * net.head(net.features(tokens)[:, 1]).double().softmax(-1)
    chi = ((counts - expected).square() / expected).sum()
    assert chi < 72 + 4 * (2 * 72) ** 0.5  # 72 degrees of freedom: 4 standard deviations, once in 10,000 seeds
