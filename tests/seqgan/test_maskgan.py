import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rl.objectives import NonSaturating
from rl.runtime import InputError
from seqgan.corpus import Corpus, Vocabulary
from seqgan.infilling import filling_log_probs
from seqgan.likelihood import counted, nll
from seqgan.maskgan import Columns, MaskPlayers, columns, value_loss
from seqgan.masks import Filled
from seqgan.numbers import Numbers
from tests.seqgan import toys

TINY = Numbers(
    embedding=3, hidden=4, d_embedding=3, d_hidden=4, d_dropout=0.0, d_lr=0.01, value_lr=0.01, batch=16, g_lr=0.01,
    g_clip=math.inf, discount=0.9, mask_whole=0.3,
)  # fmt: skip


def corpus_of(rows: Tensor, vocabulary: int = 3, end: int = -1) -> Corpus:
    return Corpus(rows, rows[:0], rows, Vocabulary.numbers(vocabulary), end)


ROWS = torch.tensor(list(itertools.product(range(3), repeat=4)))


def players_of(n: Numbers = TINY, corpus: Corpus | None = None, sharp: float = 1.0, seed: int = 0) -> MaskPlayers:
    engine = toys.engine(seed)
    players = MaskPlayers(n, corpus or corpus_of(ROWS), engine)
    with torch.no_grad():
        for net in (players.generator, players.discriminator):
            for weight in net.parameters():
                weight.mul_(sharp)
    return players


def weights_of(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


@pytest.mark.parametrize(
    ("progress", "curriculum", "expected"),
    [(0.0, 0.0, 20), (0.9, 0.0, 20), (0.0, 0.5, 5), (0.1, 0.5, 5), (0.2, 0.5, 8), (0.21, 0.5, 9), (0.5, 0.5, 20)],
)
def test_columns_by_hand(progress: float, curriculum: float, expected: int) -> None:
    assert columns(progress, curriculum, 20) == expected


def test_at_least_one_column_plays() -> None:
    assert columns(0.0, 1.0, 1) == 1
    assert columns(0.0, 1.0, 2) == 1


def test_columns_are_kept() -> None:
    kept = Columns(3)
    kept.load_state_dict(Columns(7).state_dict())
    assert kept.number == 7


def test_value_loss_by_hand() -> None:
    values, returns = torch.tensor([[1.0, 9.0], [2.0, 3.0]]), torch.tensor([[0.0, 0.0], [2.0, 1.0]])
    mask = torch.tensor([[True, False], [True, True]])
    assert value_loss(values, returns, mask).item() == pytest.approx((1 + 0 + 4) / 3)


def test_returns_by_hand() -> None:
    """log D = -log 2 of logit 0; three missing places around one that was given, which neither pays nor ages."""
    players, r = players_of(), -math.log(2)
    mask = torch.tensor([[True, True, False, True]])
    expected = torch.tensor([[r * (1 + 0.9 + 0.81), r * 1.9, 0.0, r]])
    torch.testing.assert_close(players.returns(torch.zeros(1, 4), mask), expected)


def test_fakes_are_training_rows_with_fillings() -> None:
    players = players_of(corpus=corpus_of(torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])))
    said = players.say(400)
    assert said.shape == (400, players.width) == (400, 8)
    tokens, missing = said[:, :4], said[:, 4:].bool()
    kept = [(row == tokens).logical_or(missing).all(1) for row in players.real]
    assert (kept[0] | kept[1]).all()
    assert not kept[0].all()
    assert not kept[1].all()
    assert 0.2 < missing.all(1).float().mean() < 0.4  # mask_whole; five standard errors are 0.11
    assert set(missing.sum(1).tolist()) == {2, 4}
    assert (tokens[missing] != players.real[0].expand(400, 4)[missing]).any()


def test_no_gradient_and_no_dropout_in_what_is_said() -> None:
    players = players_of(replace(TINY, dropout=0.5))
    players.generator.train()
    torch.manual_seed(3)
    said = players.say(64)
    assert players.generator.training
    players.generator.eval()
    torch.manual_seed(3)
    assert players.say(64).equal(said)


def test_each_move_moves_its_own_nets() -> None:
    players = players_of()
    nets = {
        "generator": players.generator, "start": players.start, "discriminator": players.discriminator,
        "value": players.value,
    }  # fmt: skip

    def moved_by(move: object) -> set[str]:
        before = {name: weights_of(net) for name, net in nets.items()}
        assert callable(move)
        move()
        return {name for name, net in nets.items() if not weights_of(net).equal(before[name])}

    assert moved_by(lambda: players.imitate(ROWS[:16])) == {"generator"}
    assert moved_by(players.begin) == {"start"}
    assert moved_by(lambda: players.judge(ROWS[:16], players.say(16))) == {"discriminator", "value"}
    assert moved_by(lambda: players.improve(0.0)) == {"generator"}
    assert weights_of(players.start).numel() == weights_of(players.generator).numel()


def test_the_start_is_what_was_pretrained() -> None:
    players = players_of()
    players.imitate(ROWS[:16])
    players.begin()
    assert weights_of(players.start).equal(weights_of(players.generator))
    assert not any(weight.requires_grad for weight in players.start.parameters())


@pytest.mark.parametrize("end", [-1, 0])
def test_the_discriminators_loss_is_that_of_missing_places(end: int) -> None:
    players = players_of(corpus=corpus_of(ROWS, end=end), sharp=3.0)
    fake, real = players.say(32), ROWS[20:52]
    torch.manual_seed(5)
    given = players.masked(real)
    spoken = Filled(fake[:, :4], fake[:, 4:].bool())
    with torch.no_grad():
        on_real, on_fake = (players.discriminator(filled) for filled in (given, spoken))
    of_real, of_fake = (filled.missing & counted(filled.tokens, end) for filled in (given, spoken))
    expected = NonSaturating().discriminator_loss(on_real[of_real], on_fake[of_fake])
    right = torch.cat([on_real[of_real] > 0, on_fake[of_fake] < 0]).float().mean()
    torch.manual_seed(5)
    metrics = players.judge(real, fake)
    torch.testing.assert_close(metrics["d/loss"], expected)
    torch.testing.assert_close(metrics["d/accuracy"], right)


def test_the_value_head_learns_the_returns() -> None:
    """A discriminator that stands still: the error falls far below that of the best constant, the returns' variance."""
    players = players_of(replace(TINY, d_hidden=16, d_lr=1e-12, value_lr=0.05))
    for _ in range(200):
        players.judge(ROWS[:32], players.say(64))
    filled = players.play(2_000)
    mask = players.asked(filled)
    with torch.no_grad():
        states = players.discriminator.states(filled)
        returns = players.returns(players.discriminator.judge(states), mask)
        error = value_loss(players.value(states[:, :-1]), returns, mask)
    assert error < 0.25 * returns[mask].var()


def expected_earnings(players: MaskPlayers, end: int) -> Tensor:
    """The sum of log D over all missing places, expected over every filling of wholly missing rows."""
    filled = Filled(ROWS, torch.ones_like(ROWS, dtype=torch.bool))
    said = counted(ROWS, end)
    possible = (said | (end == ROWS)).all(1)
    odds = filling_log_probs(players.generator, filled).sum(1).exp()
    with torch.no_grad():
        earned = (nn.functional.logsigmoid(players.discriminator(filled)) * said).sum(1)
    return (odds * earned)[possible].sum()


@pytest.mark.parametrize("end", [-1, 0])
def test_the_generator_climbs_the_exact_gradient(end: int) -> None:
    """One step of plain gradient descent on 20,000 fillings, against the enumerated expectation.

    The value head is wrong on purpose: no baseline that does not know the action can turn the gradient. The noise is a
    few per cent; a wrong sign, mask, sum or a baseline that knows the action is far outside.
    """
    n = replace(TINY, batch=20_000, discount=1.0, mask_whole=1.0, advantage_clip=math.inf)
    players = players_of(n, corpus_of(ROWS[40:41], end=end), sharp=4.0)
    nn.init.normal_(players.value.linear.weight)
    exact = torch.autograd.grad(expected_earnings(players, end), list(players.generator.parameters()))
    gradient, before = torch.cat([part.flatten() for part in exact]), weights_of(players.generator)
    players.g_optimizer = torch.optim.SGD(players.generator.parameters(), 1.0)  # type: ignore[assignment]
    players.improve(0.0)
    step = weights_of(players.generator) - before
    assert torch.cosine_similarity(step, gradient, dim=0) > 0.98
    assert (step.norm() / gradient.norm()).item() == pytest.approx(1, abs=0.1)


def test_advantages_are_clipped() -> None:
    players = players_of(replace(TINY, advantage_clip=0.25))
    nn.init.constant_(players.value.linear.bias, 100.0)
    assert players.improve(0.0)["g/advantage"].item() == -0.25
    nn.init.constant_(players.value.linear.bias, -100.0)
    assert players.improve(0.0)["g/advantage"].item() == 0.25


def test_a_curriculum_plays_the_first_columns() -> None:
    players = players_of(replace(TINY, curriculum=0.8, mask_whole=0.0))
    assert players.columns.number == 1
    players.improve(0.5)  # five eighths of four columns
    assert players.columns.number == 3
    said = players.say(50)
    assert said.shape == (50, 8)
    tokens, missing = said[:, :4], said[:, 4:]
    assert not tokens[:, 3].any()
    assert not missing[:, 3].any()
    assert missing[:, :3].any(0).all()
    other = said.clone()
    other[:, 3] = 2  # what does not play is not judged
    losses = []
    for fake in (said, other):
        twin = players_of(replace(TINY, curriculum=0.8, mask_whole=0.0))
        twin.columns.number = 3
        torch.manual_seed(0)
        losses.append(twin.judge(ROWS[:50], fake)["d/loss"].item())
    assert losses[0] == losses[1]
    players.improve(0.8)
    assert players.columns.number == 4


def test_a_resumed_game_goes_on_as_if_nothing_had_happened() -> None:
    n = replace(TINY, curriculum=0.5)
    players, resumed = players_of(n), players_of(n, seed=1)
    players.imitate(ROWS[:16])
    players.begin()
    players.judge(ROWS[:16], players.say(16))
    players.improve(0.3)
    kept = {name: copy.deepcopy(part.state_dict()) for name, part in players.parts().items()}
    for name, part in resumed.parts().items():
        part.load_state_dict(kept[name])
    assert resumed.columns.number == players.columns.number
    for game in (players, resumed):
        torch.manual_seed(9)
        for _ in range(3):
            game.judge(ROWS[:16], game.say(16))
            game.improve(0.3)
            game.imitate(ROWS[16:32])
    for name, part in players.parts().items():
        if isinstance(part, nn.Module):
            assert weights_of(part).equal(weights_of(resumed.parts()[name])), name  # type: ignore[arg-type]


def test_the_speaker_speaks_freely_and_is_measured_at_both() -> None:
    players = players_of(sharp=4.0)
    speaker = players.speaker(players.generator)
    assert speaker.speak(7).shape == (7, 4)
    measured, again = speaker.likelihood(ROWS), speaker.likelihood(ROWS)
    assert measured == again
    assert set(measured) == {"nll", "nll_missing"}
    assert measured["nll"] == pytest.approx(nll(players.generator, ROWS))  # type: ignore[arg-type]
    sharper = speaker.likelihood(ROWS, 2.0)
    assert all(sharper[name] != measured[name] for name in measured)
    assert speaker.likelihood(ROWS) == measured


def test_a_likelihood_of_missing_words_by_hand() -> None:
    """All words missing everywhere: filling in is free speech."""
    players = players_of(replace(TINY, mask_share=1.0), sharp=4.0)
    measured = players.speaker(players.generator).likelihood(ROWS)
    assert measured["nll_missing"] == pytest.approx(measured["nll"], rel=1e-5)


def test_labels_are_refused() -> None:
    with pytest.raises(InputError, match="maskgan: sentences with a label or a prompt"):
        MaskPlayers(TINY, replace(corpus_of(ROWS), prompt=1), toys.engine())


def test_imitation_learns_to_fill_in() -> None:
    """The last two words repeat the first two: given two of them, the others are certain; said freely, two are not."""
    rows = torch.tensor([[a, b, a, b] for a in range(3) for b in range(3)])
    n = replace(TINY, hidden=16, embedding=8, mle_lr=0.02, mask_whole=0.2)
    players = players_of(n, corpus_of(rows))
    for _ in range(250):
        players.imitate(rows.repeat(4, 1))
    speaker = players.speaker(players.generator)
    half = torch.tensor([[True, True, False, False]]).expand(9, 4)
    with torch.no_grad():
        given = -filling_log_probs(players.generator.eval(), Filled(rows, half)).sum(1).mean() / 2
    assert given < 0.15
    assert speaker.likelihood(rows)["nll"] > math.log(3) / 2 - 0.02  # its least: log 9 over four words


@pytest.mark.slow
def test_fillings_become_likelier_than_the_starts() -> None:
    """Held-out sentences, five seeds, each against its own start: chance alone does this one time in 32."""
    n = replace(toys.NUMBERS, d_hidden=32, discount=0.9, mask_whole=0.3, g_lr=2e-3, d_lr=1e-2, value_lr=1e-2)
    before, after = [], []
    for seed in toys.SEEDS:
        engine, corpus = toys.engine(seed), toys.toy_corpus(seed)
        held_out = torch.multinomial(odds_of(corpus), 4_000, replacement=True)
        corpus = replace(corpus, test=toys.all_sentences()[held_out])
        players = MaskPlayers(n, corpus, engine)
        toys.imitate(players, corpus, steps=30)
        toys.play(players, corpus, rounds=120, judge_steps=3)
        for nets, scores in ((players.start, before), (players.generator, after)):
            scores.append(players.speaker(nets).likelihood(corpus.test)["nll_missing"])

    assert toys.every_time_less(before, after)


def odds_of(corpus: Corpus) -> Tensor:
    assert corpus.oracle is not None
    return toys.exact_log_probs(corpus.oracle).exp()
