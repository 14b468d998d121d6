"""IRGAN's rounds with derivatives written out: equal to autograd's, and drawn from what they claim."""

from copy import deepcopy

import pytest
import torch

from rl.estimators import exact, reinforce
from rl.objectives import NonSaturating, SeqGAN
from rl.retrieval import fast_factors
from rl.retrieval.fast_factors import (
    discriminator_epoch,
    draw,
    draw_mixture,
    draw_negatives,
    exact_epoch,
    generator_epoch,
)
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from rl.runtime.errors import Diverged

QUERIES, DOCUMENTS = 7, 11
POSITIVES = {0: [3, 1, 10], 2: [0], 3: [2, 4, 5, 6, 7], 5: [0, 10], 6: [9]}  # 1 and 4 have none


def positives():
    pairs = torch.tensor([(query, document) for query, documents in POSITIVES.items() for document in documents])
    return Relevance.of(pairs[:, 0], pairs[:, 1], torch.ones(len(pairs)), QUERIES)


def factors(seed, queries=QUERIES, documents=DOCUMENTS, width=3):
    torch.manual_seed(seed)
    model = Factors(queries, documents, width, scale=1.0).double()
    torch.nn.init.normal_(model.bias)
    return model


def assert_same_weights(one, other):
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)


def assert_chi_squared(counts, expected, limit):
    """Error rate 1e-4 where the limit is the chi-squared quantile of .9999 at its degrees of freedom."""
    assert float(((counts - expected) ** 2 / expected).sum()) < limit


def descend(model, loss, rate):
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight -= rate * gradient


def square_sum(model, query, ids):
    return sum(part.square().sum() for part in (model.users[query], model.items[ids], model.bias[ids]))


def reward(model):
    return lambda query, ids: 2 * (SeqGAN().reward(model.score(query, ids[:, None])[:, 0]).detach() - 0.5)


class Recording:
    """Judges, and remembers what."""

    def __init__(self, judge):
        self.judge, self.seen = judge, []

    def __call__(self, query, ids):
        self.seen.append((query, ids))
        return self.judge(query, ids)


@pytest.mark.parametrize("chunk", [1, 4, 5, 100])
@pytest.mark.parametrize("frozen", [[], ["bias"], ["users"], ["items"]])
def test_the_discriminators_step_is_autograds(chunk, frozen):
    known, fast = positives(), factors(1)
    for name in frozen:
        getattr(fast, name).requires_grad_(False)
    drawn = torch.randint(DOCUMENTS, (len(known),), generator=torch.Generator().manual_seed(3))
    slow, losses = deepcopy(fast), []
    for name in frozen:
        getattr(slow, name).requires_grad_(False)
    for query, real, fake in zip(known.query.split(chunk), known.ids.split(chunk), drawn.split(chunk), strict=True):
        scores = slow.score(query, torch.stack([real, fake], 1))
        loss = len(query) * NonSaturating().discriminator_loss(scores[:, 0], scores[:, 1])
        losses.append(float(loss.detach()))
        decay = 0.3 / 2 * (square_sum(slow, query, real) + square_sum(slow, query, fake))
        descend(slow, loss + decay, 0.1)
    found = discriminator_epoch(fast, known, drawn, rate=0.1, decay=0.3, chunk=chunk)
    assert_same_weights(fast, slow)
    assert found == pytest.approx(sum(losses) / len(known), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_the_generators_step_is_that_of_reinforce_on_its_own_draws(share, rows):
    known, fast, judge = positives(), factors(1), Recording(reward(factors(2)))
    slow = deepcopy(fast)
    found = generator_epoch(fast, judge, known, rate=0.1, share=share, draws=3, rows=rows)

    query, ids = (torch.cat(parts) for parts in zip(*judge.seen, strict=True))
    assert torch.bincount(query, minlength=QUERIES).tolist() == (3 * known.counts).tolist()
    log_probs = slow.score_all(query).log_softmax(1).gather(1, ids[:, None])
    p, mass = log_probs.detach().exp()[:, 0], known.holds(query, ids).double() / known.counts[query]
    each = reward(factors(2))(query, ids) * p / ((1 - share) * p + share * mass) / (3 * known.counts[query])
    loss = len(ids) * reinforce(log_probs, each[:, None], torch.ones(len(ids), 1, dtype=torch.bool))
    descend(slow, loss, 0.1)
    assert_same_weights(fast, slow)
    assert found == pytest.approx(float(each.sum()) / len(POSITIVES), abs=1e-12)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_exact_step_is_that_of_the_whole_expectation(rows):
    known, fast, judge = positives(), factors(1), factors(2)
    slow, answered = deepcopy(fast), known.answered
    found = exact_epoch(fast, lambda query: judge.score_all(query).sigmoid(), known, rate=0.1, rows=rows)

    rewards = judge.score_all(answered).sigmoid()
    log_probs = slow.score_all(answered).log_softmax(1)
    mask = torch.ones(len(answered), 1, dtype=torch.bool)
    loss = exact(log_probs[:, None], rewards[:, None], mask)
    descend(slow, len(answered) * loss, 0.1)
    assert_same_weights(fast, slow)
    assert found == pytest.approx(-float(loss.detach()), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_drawn_steps_are_exact_steps_on_average(share):
    """Each weight's mean over 400 steps within 5 standard errors: error rate below 1e-4 for all 65 together."""
    torch.manual_seed(5)
    known, start, judge = positives(), factors(1), factors(2)
    whole = deepcopy(start)
    exact_epoch(whole, lambda query: 2 * judge.score_all(query).sigmoid() - 1, known, rate=1.0)
    steps = []
    for _ in range(400):
        model = deepcopy(start)
        generator_epoch(model, reward(judge), known, rate=1.0, share=share, draws=5)
        steps.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    mean, spread = torch.stack(steps).mean(0), torch.stack(steps).std(0) / len(steps) ** 0.5
    wanted = torch.cat([weight.detach().flatten() for weight in whole.parameters()])
    assert bool(((mean - wanted).abs() < 5 * spread + 1e-12).all())


def test_players_of_no_width_are_their_biases():
    known, d = positives(), factors(1, width=0)
    bias = d.bias.detach().clone()
    drawn = torch.arange(len(known)) % DOCUMENTS
    discriminator_epoch(d, known, drawn, rate=0.1, decay=0.3)
    counts = [torch.bincount(ids, minlength=DOCUMENTS).double() for ids in (known.ids, drawn)]
    p = bias.sigmoid()
    slope = counts[0] * (p - 1) + counts[1] * p + 0.3 * (counts[0] + counts[1]) * bias
    torch.testing.assert_close(d.bias.detach(), bias - 0.1 * slope)
    generator_epoch(factors(2), reward(d), known)
    generator_epoch(d, reward(factors(2)), known)
    assert bool(d.bias.isfinite().all())


def test_queries_without_a_positive_stay():
    known, model = positives(), factors(1)
    before = model.users.detach().clone()
    generator_epoch(model, reward(factors(2)), known)
    exact_epoch(model, lambda query: factors(2).score_all(query), known)
    discriminator_epoch(model, known, draw_negatives(model, known))
    moved = (model.users != before).any(1)
    assert moved.tolist() == (known.counts > 0).tolist()


def test_nothing_known_changes_nothing():
    model, known = factors(1), Relevance.nothing(QUERIES)
    before = deepcopy(model)
    assert generator_epoch(model, reward(model), known) == 0
    assert exact_epoch(model, model.score_all, known) == 0
    drawn = draw_negatives(model, known)
    assert len(drawn) == 0
    assert discriminator_epoch(model, known, drawn) == 0
    assert_same_weights(model, before)


@pytest.mark.parametrize(
    "epoch",
    [
        lambda model, known: discriminator_epoch(model, known, draw_negatives(model, known), rate=1e200, decay=1e200),
        lambda model, known: generator_epoch(model, lambda query, ids: ids * torch.nan, known),
        lambda model, known: exact_epoch(model, lambda query: torch.full((len(query), 11), torch.inf).double(), known),
    ],
)
def test_what_diverges_says_so_and_leaves_the_weights(epoch):
    model = factors(1)
    before = deepcopy(model)
    with pytest.raises(Diverged, match="factors: a weight of the users is not finite"):
        epoch(model, positives())
    assert_same_weights(model, before)


def test_scores_that_are_no_numbers_draw_nothing():
    model = factors(1)
    with torch.no_grad():
        model.items[4] = torch.nan
    with pytest.raises(Diverged, match="a probability to draw by is not finite"):
        draw_negatives(model, positives())


def test_draws_follow_each_rows_masses():
    torch.manual_seed(0)
    masses = torch.tensor([[0.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    counts = torch.tensor([30_000, 0, 40_000])
    first, second = draw(masses, counts).split([30_000, 40_000])
    assert torch.bincount(first, minlength=4)[[0, 3]].sum() == 0
    assert_chi_squared(torch.bincount(first)[1:3], torch.tensor([10_000, 20_000]), 15.1)
    assert_chi_squared(torch.bincount(second), torch.full((4,), 10_000), 21.1)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_a_row_are_its_own(monkeypatch, uniform):
    masses = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    masses[:, [0, -1]] = 0
    monkeypatch.setattr(torch, "rand", lambda n, **rest: torch.full((n,), uniform, dtype=torch.float64))
    assert set(draw(masses, torch.ones(50, dtype=torch.long)).tolist()) == {1 if uniform == 0 else 7}


def test_a_small_mass_beside_a_large_one_is_drawn_as_often_as_it_should():
    """4,000,000 draws at 2^-18 of the mass, after 199 rows: 15 expected; error rate below 1e-6. In float32 none is."""
    torch.manual_seed(0)
    counts = torch.zeros(200, dtype=torch.long)
    counts[199] = 4_000_000
    assert 0 < int(draw(torch.tensor([[1.0, 2**-18]]).repeat(200, 1), counts).sum()) < 45


def test_the_mixtures_draws_follow_the_mixture_and_its_weights_undo_it():
    torch.manual_seed(0)
    known = positives()
    query = torch.tensor([2, 3])
    p = torch.rand(2, DOCUMENTS).softmax(1)
    drawn = draw_mixture(p, known, query, torch.tensor([20_000, 50_000]), 0.4)
    mixture = 0.6 * p + 0.4 * known.dense(query, DOCUMENTS) / known.counts[query][:, None]
    for row, count in ((0, 20_000), (1, 50_000)):
        found = torch.bincount(drawn.ids[drawn.row == row], minlength=DOCUMENTS)
        assert int(found.sum()) == count
        assert_chi_squared(found, count * mixture[row], 35.6)
    torch.testing.assert_close(drawn.weights, (p / mixture)[drawn.row, drawn.ids])


def test_negatives_stand_beside_their_positives_and_follow_the_tempered_softmax():
    """Error rate 1e-4 for each of 5 queries."""
    torch.manual_seed(0)
    model, known = factors(4), positives()
    many = [draw_negatives(model, known, temperature=0.7) for _ in range(1500)]
    drawn = torch.stack(many)
    for query in POSITIVES:
        mine = drawn[:, known.query == query].flatten()
        p = (model.score_all(torch.tensor([query]))[0] / 0.7).softmax(0).detach()
        assert_chi_squared(torch.bincount(mine, minlength=DOCUMENTS), len(mine) * p, 35.6)


def test_an_epoch_begun_anew_from_its_tensors_is_the_same_to_the_bit():
    known, d, g = positives(), factors(1), factors(2)
    drawn = draw_negatives(g, known)
    discriminator_epoch(d, known, drawn)
    saved = deepcopy(d), deepcopy(g), drawn.clone(), torch.get_rng_state()

    def rest(d, g, drawn):
        discriminator_epoch(d, known, drawn)
        generator_epoch(g, reward(d), known)
        return draw_negatives(g, known)

    ahead = rest(d, g, drawn)
    torch.set_rng_state(saved[3])
    again = rest(*saved[:3])
    assert torch.equal(ahead, again)
    for one, other in ((d, saved[0]), (g, saved[1])):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_more_pairs_in_a_step_change_an_epoch_in_second_order_only():
    known = positives()
    drawn = draw_negatives(factors(2), known)

    def gap(rate):
        together, apart = factors(1), factors(1)
        discriminator_epoch(together, known, drawn, rate=rate)
        discriminator_epoch(apart, known, drawn, rate=rate, chunk=1)
        return float((together.items - apart.items).detach().abs().max())

    assert gap(1e-4) < gap(1e-3) / 50


def test_module_has_no_state_of_its_own():
    assert not [name for name, value in vars(fast_factors).items() if isinstance(value, torch.Tensor)]
