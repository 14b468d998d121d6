import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rl.estimators import gumbel_softmax, straight_through_gumbel
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import LSTMGenerator, TransformerGenerator
from seqgan.likelihood import action_log_probs
from seqgan.relational import RelationalGenerator
from seqgan.sampling import BLANK, blank_rows
from seqgan.soft import RELAXATIONS, SoftDiscriminator, SoftEmbedding, hardened, one_hot, soften, speak_softly

WORDS, PLACES = 3, 2
KINDS: dict[str, Callable[[], torch.nn.Module]] = {
    "lstm": lambda: LSTMGenerator(WORDS, embedding=3, hidden=4, deviation=0.8),
    "transformer": lambda: TransformerGenerator(WORDS, length=PLACES, width=4, heads=2, layers=1),
    "relational": lambda: RelationalGenerator(WORDS, embedding=3, heads=2, head_size=2),
}


def build(kind: str = "lstm", end: int = -1, prompt: int = 0) -> torch.nn.Module:
    torch.manual_seed(3)
    net = KINDS[kind]()
    net.end, net.prompt = end, prompt
    with torch.no_grad():
        net.head.weight.mul_(2)  # far from uniform
    return net.eval()


def sentences() -> Tensor:
    return torch.tensor(list(itertools.product(range(WORDS), repeat=PLACES)))


def log_odds(net: torch.nn.Module) -> Tensor:
    rows = sentences()
    return action_log_probs(net, rows).gather(2, rows[..., None])[..., 0].sum(1)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_draws_of_the_policy_at_any_temperature(kind: str, temperature: float) -> None:
    net, rows = build(kind), 20_000
    with torch.no_grad():
        _, tokens = speak_softly(net, blank_rows(rows, PLACES), temperature)
        expected = log_odds(net).exp()
    found = (tokens @ torch.tensor([WORDS, 1])).bincount(minlength=WORDS**PLACES) / rows
    # five standard errors for each of nine sentences, six times: wrong by chance 3e-5
    assert ((found - expected).abs() < 5 * (expected * (1 - expected) / rows).sqrt()).all()


def test_what_fills_up_a_prompt_ends_nothing() -> None:
    net = build(end=0, prompt=1)
    _, tokens = speak_softly(net, torch.tensor([[0, BLANK]]).repeat(500, 1), 1.0)
    assert tokens[:, 0].eq(0).all()
    assert 0 < tokens[:, 1].count_nonzero() < 500


@pytest.mark.parametrize("relax", [gumbel_softmax, straight_through_gumbel])
def test_places_are_distributions_whose_largest_is_the_token(relax) -> None:
    soft, tokens = speak_softly(build(), blank_rows(50, PLACES), 0.7, relax)
    assert soft.shape == (50, PLACES, WORDS)
    assert soft.requires_grad
    torch.testing.assert_close(soft.sum(-1), torch.ones(50, PLACES))
    assert soft.argmax(-1).equal(tokens)
    assert soft.detach().equal(one_hot(tokens, WORDS)) == (relax is straight_through_gumbel)


def test_what_is_given_is_read_and_what_follows_the_end_is_the_end() -> None:
    net = build(end=1, prompt=3)
    given = torch.full((300, 6), BLANK)
    given[:, :3] = torch.tensor([1, 1, 2])  # a prompt, padded with the end token on its left
    soft, tokens = speak_softly(net, given, 1.0)
    assert (tokens[:, :3] == given[:, :3]).all()
    said = tokens[:, 3:]
    ended = (said == 1).cumsum(1) > 0
    assert (said[ended] == 1).all()
    assert 0.2 < ended[:, 1].float().mean() < 0.99
    first = (said == 1) & ((said == 1).cumsum(1) == 1)
    fixed = torch.cat([torch.ones(300, 3, dtype=torch.bool), ended & ~first], 1)
    assert soft[fixed].equal(one_hot(tokens, WORDS)[fixed])
    assert (soft[~fixed].amax(-1) < 1).all()  # the first end token was drawn, softly
    fixed_soft, _ = speak_softly(net, torch.zeros(2, 3, dtype=torch.long), 1.0)
    assert not slopes(net, fixed_soft.square().sum()).any()


def test_what_is_given_is_what_is_read() -> None:
    net = build()
    given = torch.tensor([[2, BLANK]]).expand(20_000, 2)
    with torch.no_grad():
        _, tokens = speak_softly(net, given, 1.0)
        p = action_log_probs(net, torch.tensor([[2, 0]]))[0, 1].exp()
    found = tokens[:, 1].bincount(minlength=WORDS) / len(tokens)
    assert ((found - p).abs() < 5 * (p * (1 - p) / len(tokens)).sqrt()).all()  # wrong by chance 2e-6


def test_hardened_is_one_hot_forward_and_nothing_backward() -> None:
    soft = torch.tensor([[0.2, 0.5, 0.3]], requires_grad=True)
    hard = hardened(soft)
    assert hard.tolist() == [[0, 1, 0]]
    slope = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.autograd.grad((hard * slope).sum(), soft)[0].equal(slope)


def slopes(net: torch.nn.Module, reward: Tensor) -> Tensor:
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(reward, list(net.parameters()), materialize_grads=True)]
    )


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_the_gradient_is_biased_the_less_the_lower_the_temperature(relaxation: str) -> None:
    # the reward of a sentence is sum_ab W_ab x_a y_b, which soft sentences can be asked for too
    net, weights = build(), torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(1))
    exact = slopes(net, (log_odds(net).exp() * weights.flatten()).sum())

    def error(temperature: float) -> float:
        torch.manual_seed(0)
        soft, _ = speak_softly(net, blank_rows(50_000, PLACES), temperature, RELAXATIONS[relaxation].relax)
        found = slopes(net, torch.einsum("na,ab,nb->n", soft[:, 0], weights, soft[:, 1]).mean())
        return ((found - exact).norm() / exact.norm()).item()

    # the noise of the estimate at .1, over ten other seeds, is at most .02 of the gradient
    assert error(0.1) < 0.1
    assert error(10.0) > 0.5


def test_credit_reaches_earlier_tokens_through_later_ones() -> None:
    # only the second place earns: the first one's logits answer for the odds that its token left to the second
    torch.manual_seed(0)
    net, weights, rows = (
        LSTMGenerator(WORDS, embedding=3, hidden=4, deviation=2.0),
        torch.tensor([1.0, 0, -1]),
        sentences(),
    )
    earned, (p_first, p_second) = (
        weights[rows[:, 1]],
        action_log_probs(net, rows).exp().gather(2, rows[..., None]).unbind(1),
    )
    bias = net.head.bias
    exact = torch.autograd.grad((p_first * p_second)[:, 0] @ earned, bias, retain_graph=True)[0]
    own = torch.autograd.grad((p_first.detach() * p_second)[:, 0] @ earned, bias)[0]
    soft, _ = speak_softly(net, blank_rows(100_000, PLACES), 0.2)
    found = torch.autograd.grad((soft[:, 1] @ weights).mean(), bias)[0]
    assert (found - exact).norm() < 0.3 * (own - exact).norm()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_softening_tokens_is_speaking_softly(temperature: float) -> None:
    net, rows = build(), 40_000
    with torch.no_grad():
        spoken, tokens = speak_softly(net, blank_rows(rows, PLACES), temperature)
    softened = soften(net, tokens, temperature)
    assert softened.argmax(-1).equal(tokens)
    for moment in (lambda x: x, torch.square, lambda x: x[:, :1] * x[:, 1:], lambda x: x.amax(-1, keepdim=True)):
        ours, theirs = moment(softened).flatten(1), moment(spoken).flatten(1)
        error = ((ours.var(0) + theirs.var(0)) / rows).sqrt()
        assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * error).all()  # some 20 numbers: wrong by chance 1e-5


def test_softening_leaves_what_was_not_said() -> None:
    net, tokens = build(end=1, prompt=1), torch.tensor([[2, 0, 1, 1], [1, 0, 0, 0]])
    soft = soften(net, tokens, 1.0)
    hard = (soft == one_hot(tokens, WORDS)).all(-1)
    assert hard.tolist() == [[True, False, False, True], [True, False, False, False]]
    assert RELAXATIONS["hard"].hear(net, tokens, 1.0) is tokens


def test_softening_survives_impossible_tokens() -> None:
    net = build()
    with torch.no_grad():
        net.head.bias[0] = -1e4
    soft = soften(net, torch.tensor([[1, 2]]), 0.01)
    assert soft.isfinite().all()
    assert soft.argmax(-1).tolist() == [[1, 2]]


def test_an_embedding_reads_either_kind_and_sorts_by_sentence() -> None:
    torch.manual_seed(0)
    net, tokens = SoftEmbedding(5, 2, 3), torch.randint(5, (4, 6))
    rows = net(tokens)
    assert rows.shape == (12, 6, 2)
    torch.testing.assert_close(net(one_hot(tokens, 5)), rows)
    assert rows[3 * 2 + 1, 4].equal(net.weight[tokens[2, 4], 2:4])  # sentence 2, its second representation
    mixed = 0.25 * one_hot(tokens, 5) + 0.75 * one_hot(tokens.flip(0), 5)
    torch.testing.assert_close(net(mixed), 0.25 * rows + 0.75 * net(tokens.flip(0)))


@pytest.mark.parametrize("representations", [1, 3])
def test_a_judge_reads_either_kind_row_by_row(representations: int) -> None:
    torch.manual_seed(0)
    net = SoftDiscriminator(5, 6, representations=representations, embedding=2, filters=((2, 4), (3, 5))).eval()
    tokens = torch.randint(5, (4, 6))
    logits = net(tokens)
    assert logits.shape == (4, representations)
    torch.testing.assert_close(net(one_hot(tokens, 5)), logits)
    torch.testing.assert_close(torch.cat([net(row[None]) for row in tokens]), logits)
    with torch.no_grad():
        torch.testing.assert_close(net(tokens), logits)
    assert len(logits.unique()) == logits.numel()


def test_one_representation_is_the_plain_discriminator() -> None:
    torch.manual_seed(0)
    ours = SoftDiscriminator(5, 6, embedding=3, filters=((2, 4), (3, 5))).eval()
    plain = ConvDiscriminator(5, 6, embedding=3, filters=((2, 4), (3, 5))).eval()
    plain.load_state_dict(ours.state_dict())
    tokens = torch.randint(5, (4, 6))
    torch.testing.assert_close(ours(tokens)[:, 0], plain(tokens))


def test_the_slope_of_a_logit_in_a_soft_sentence() -> None:
    torch.manual_seed(0)
    net = SoftDiscriminator(4, 5, representations=2, embedding=2, filters=((2, 4),)).double().eval()
    soft = torch.rand(3, 5, 4, dtype=torch.float64).softmax(-1).requires_grad_()
    assert torch.autograd.gradcheck(net, soft)
