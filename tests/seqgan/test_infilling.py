import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rl.policies import SequencePolicy
from seqgan.generators import sharpen
from seqgan.infilling import (
    Given,
    InfillingDiscriminator,
    InfillingGenerator,
    fill,
    filling_log_probs,
    filling_nll,
    without,
)
from seqgan.likelihood import action_log_probs, counted, mle_loss, nll
from seqgan.masks import Filled, blanked
from seqgan.sampling import BLANK, SPEAKERS, complete, speak

VOCABULARY, LENGTH = 7, 5


def build(layers: int = 1, dropout: float = 0.0, end: int = -1, vocabulary: int = VOCABULARY) -> InfillingGenerator:
    torch.manual_seed(1)
    net = InfillingGenerator(
        vocabulary, LENGTH, embedding=4, hidden=6, layers=layers, dropout=dropout, start=2, end=end
    )
    with torch.no_grad():  # far from uniform, so that faults show
        for weight in net.parameters():
            weight.mul_(5)
    return net.eval()


def stepped(policy: InfillingGenerator | Given, tokens: Tensor) -> Tensor:
    state, said, features = policy.init(len(tokens)), tokens.new_full((len(tokens),), policy.start), []
    for time in range(tokens.shape[1]):
        feature, state = policy.step(state, said)
        features.append(feature)
        said = tokens[:, time]
    return torch.stack(features, 1)


def some_rows(rows: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    tokens = torch.randint(VOCABULARY, (rows, LENGTH))
    return tokens, tokens.masked_fill(torch.rand(rows, LENGTH) < 0.5, BLANK)


@pytest.mark.parametrize("layers", [1, 2])
def test_step_by_step_is_teacher_forcing(layers: int) -> None:
    net, (tokens, context) = build(layers), some_rows()
    for policy in (net, net.given(context)):
        assert isinstance(policy, SequencePolicy)
        torch.testing.assert_close(stepped(policy, tokens), policy.features(tokens))
        torch.testing.assert_close(stepped(policy, tokens[:, :3]), policy.features(tokens[:, :3]))


def test_free_speech_is_a_context_of_blanks() -> None:
    net, (tokens, _) = build(), some_rows()
    blank = torch.full_like(tokens, BLANK)
    torch.testing.assert_close(net.features(tokens), net.given(blank).features(tokens))
    torch.testing.assert_close(net.init(4), net.given(blank).init(4))


def test_features_see_the_whole_context_and_the_words_before() -> None:
    net, (tokens, _) = build(), some_rows()
    blank = torch.full_like(tokens, BLANK)
    before = net.given(blank).features(tokens)
    for time in range(LENGTH):
        known = blank.clone()
        known[:, time] = tokens[:, time]
        assert (net.given(known).features(tokens) != before).any(-1).all()
        changed = tokens.clone()
        changed[:, time] = (tokens[:, time] + 1) % VOCABULARY
        differs = (net.given(blank).features(changed) != before).any(-1)
        assert not differs[:, : time + 1].any()
        assert differs[:, time + 1 :].all()


def test_a_batch_is_its_rows() -> None:
    net, (tokens, context) = build(2), some_rows()
    rows = [net.given(context[i : i + 1]).features(tokens[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(torch.cat(rows), net.given(context).features(tokens))


def test_a_fork_takes_the_context_along() -> None:
    net, (tokens, context), rows = build(2), some_rows(), torch.tensor([3, 0, 3])
    policy = net.given(context)
    _, state = policy.step(policy.init(4), tokens[:, 0])
    forked = policy.fork(state, rows)
    assert [len(part) for part in forked] == [7, 7, 7]
    said = torch.tensor([1, 2, 3, 4, 5, 6, 0])
    features, _ = policy.step(forked, said)
    alone, _ = policy.step(tuple(torch.cat([part, part[rows]]) for part in state), said)
    torch.testing.assert_close(features, alone)


def test_a_context_starts_its_own_rows_alone() -> None:
    net, (_, context) = build(), some_rows()
    with pytest.raises(ValueError, match="a context of 4 rows cannot start 3"):
        net.given(context).init(3)


def test_dropout_only_in_training() -> None:
    net, (tokens, context) = build(dropout=0.5), some_rows()
    assert net.given(context).features(tokens).equal(net.given(context).features(tokens))
    net.train()
    assert not net.given(context).features(tokens).equal(net.given(context).features(tokens))


def test_what_is_given_stays_and_blanks_are_drawn_from_the_policy() -> None:
    """Two blanks of five places: 49 fillings with exact odds; 40,000 draws of odds under 0.2 have a noise of 0.002."""
    net = build()
    context = torch.tensor([[3, BLANK, 5, BLANK, 1]]).repeat(40_000, 1)
    torch.manual_seed(3)
    said = fill(net, context)
    assert said[:, [0, 2, 4]].equal(context[:, [0, 2, 4]])
    pairs = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=2)))
    every = context[:49].clone()
    every[:, [1, 3]] = pairs
    missing = (context == BLANK)[:49]
    odds = filling_log_probs(net, Filled(every, missing)).sum(1).exp()
    assert odds.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = torch.bincount(said[:, 1] * VOCABULARY + said[:, 3], minlength=49) / 40_000
    assert (drawn - odds).abs().max() < 0.01
    assert 3 / 49 < odds.max() < 0.2  # the net is no uniform one


def test_fillings_keep_their_rows_in_several_parts() -> None:
    """More rows than speak at once, by a net that is certain: each row is filled as if it were alone."""
    net = build()
    sharpen(net, 1e4)  # type: ignore[arg-type]
    context = torch.full((SPEAKERS + 7, LENGTH), BLANK)
    context[:, 4] = torch.arange(len(context)) % VOCABULARY
    alone = torch.cat([fill(net, context[i : i + 1]) for i in range(VOCABULARY)])
    assert len({tuple(row[:4]) for row in alone.tolist()}) > 1
    assert fill(net, context).equal(alone[context[:, 4]])


def test_log_probs_by_the_softmax_of_every_place() -> None:
    net, (tokens, context) = build(), some_rows()
    filled = Filled(tokens, context == BLANK)
    assert blanked(filled).equal(context)
    full = action_log_probs(net.given(context), tokens).gather(2, tokens[..., None])[..., 0]  # type: ignore[arg-type]
    expected = full.masked_fill(context != BLANK, 0)
    torch.testing.assert_close(filling_log_probs(net, filled), expected)
    torch.testing.assert_close(filling_nll(net, filled), -expected.sum() / (context == BLANK).sum())


def test_what_follows_an_end_is_not_asked() -> None:
    net = build(end=0)
    tokens = torch.tensor([[3, 4, 0, 0, 0]])
    missing = torch.tensor([[False, True, True, True, True]])
    scored = filling_log_probs(net, Filled(tokens, missing))
    assert (scored != 0).tolist() == [[False, True, True, False, False]]


def test_free_likelihood_is_that_of_wholly_missing_rows() -> None:
    net, (tokens, _) = build(), some_rows()
    filled = Filled(tokens, torch.ones_like(tokens, dtype=torch.bool))
    torch.testing.assert_close(filling_nll(net, filled), mle_loss(net, tokens))  # type: ignore[arg-type]
    assert nll(net, tokens) == pytest.approx(filling_nll(net, filled).item(), rel=1e-5)  # type: ignore[arg-type]


def test_gradients_reach_every_weight() -> None:
    net, (tokens, context) = build(2), some_rows()
    loss = filling_nll(net, Filled(tokens, context == BLANK))
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    assert all(gradient.any() for gradient in gradients)


def test_words_alone_where_the_end_is_barred() -> None:
    net = build(end=0)
    with torch.no_grad():
        net.head.bias[0] += 5
    context = torch.tensor([[3, BLANK, BLANK, 4, 0]]).repeat(300, 1)
    torch.manual_seed(0)
    assert (fill(net, context)[:, 1:3] == 0).any()
    before = net.head.bias.detach().clone()
    barred = fill(net, context, words_only=True)
    assert not (barred[:, 1:3] == 0).any()
    assert barred[:, [0, 3, 4]].equal(context[:, [0, 3, 4]])
    assert net.head.bias.equal(before)


def test_without_a_token_the_others_keep_their_odds() -> None:
    net = build()
    x = torch.randn(3, 6)
    left = F.softmax(without(net.head, 2)(x), -1)
    whole = F.softmax(net.head(x), -1)
    assert not left[:, 2].any()
    others = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(left[:, others], whole[:, others] / whole[:, others].sum(1, keepdim=True))


def test_rollouts_of_free_speech_and_speaking() -> None:
    net, (tokens, _) = build(), some_rows()
    completions = complete(net, tokens, 3)
    for prefix, rows in enumerate(completions):
        kept = tokens[:, None, : prefix + 1].expand(-1, 3, -1)
        assert rows[..., : prefix + 1].equal(kept)
    assert speak(net, 6, LENGTH).shape == (6, LENGTH)


def judge_of(dropout: float = 0.0) -> InfillingDiscriminator:
    torch.manual_seed(4)
    return InfillingDiscriminator(VOCABULARY, embedding=4, hidden=6, dropout=dropout).eval()


def moved(judge: InfillingDiscriminator, before: Filled, after: Filled) -> Tensor:
    return judge(before) != judge(after)


def changed(tokens: Tensor, time: int) -> Tensor:
    other = tokens.clone()
    other[:, time] = (tokens[:, time] + 1) % VOCABULARY
    return other


def test_a_logit_has_seen_its_own_token_and_what_was_given() -> None:
    judge, (tokens, _) = judge_of(), some_rows()
    missing = torch.ones_like(tokens, dtype=torch.bool)
    assert judge(Filled(tokens, missing)).shape == tokens.shape
    for time in range(LENGTH):
        other = changed(tokens, time)
        differs = moved(judge, Filled(tokens, missing), Filled(other, missing))
        assert not differs[:, :time].any()  # a missing word is read from the left
        assert differs[:, time:].all()
        known = missing.clone()
        known[:, time] = False
        assert moved(judge, Filled(tokens, known), Filled(other, known)).all()  # a given one is known everywhere
        assert moved(judge, Filled(tokens, missing), Filled(tokens, known)).all()


def test_states_stand_before_and_after_every_token() -> None:
    judge, (tokens, _) = judge_of(), some_rows()
    missing = torch.ones_like(tokens, dtype=torch.bool)
    states = judge.states(Filled(tokens, missing))
    assert states.shape == (4, LENGTH + 1, 6)
    torch.testing.assert_close(judge.judge(states), judge(Filled(tokens, missing)))
    for time in range(LENGTH):
        differs = (judge.states(Filled(changed(tokens, time), missing)) != states).any(-1)
        assert not differs[:, : time + 1].any()  # what is known before the token is no function of it
        assert differs[:, time + 1].all()


def test_the_judge_of_a_batch_is_that_of_its_rows() -> None:
    judge, (tokens, context) = judge_of(), some_rows()
    missing = context == BLANK
    rows = [judge(Filled(tokens[i : i + 1], missing[i : i + 1])) for i in range(4)]
    torch.testing.assert_close(torch.cat(rows), judge(Filled(tokens, missing)))


def test_the_judges_dropout_is_off_when_it_is_not_learning() -> None:
    judge, (tokens, context) = judge_of(0.5), some_rows()
    filled = Filled(tokens, context == BLANK)
    assert judge(filled).equal(judge(filled))
    judge.train()
    assert not judge(filled).equal(judge(filled))


def test_counting_of_a_filling_that_ends_early() -> None:
    """An end that was drawn before given words ends the sentence: what follows is neither paid nor asked."""
    tokens, missing = torch.tensor([[3, 0, 0, 4, 0]]), torch.tensor([[False, True, True, False, False]])
    assert (missing & counted(tokens, 0)).tolist() == [[False, True, False, False, False]]
    several: Sequence[float] = filling_log_probs(build(end=0), Filled(tokens, missing))[0].tolist()
    assert [score != 0 for score in several] == [False, True, False, False, False]
