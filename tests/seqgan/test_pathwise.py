import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqgan.corpus import Corpus, Vocabulary
from seqgan.pathwise import SoftPlayers
from seqgan.relgan import relgan
from seqgan.soft import one_hot
from seqgan.textgan import textgan
from seqgan.wgan_text import wgan_text
from tests.seqgan import toys

TINY = replace(toys.NUMBERS, batch=12, representations=2, head_size=4, sharpest=4.0, latent=3, mle_epochs=0)
METHODS: dict[str, Callable[..., SoftPlayers]] = {"relgan": relgan, "textgan": textgan, "wgan": wgan_text}


def corpus() -> Corpus:
    return toys.toy_corpus(sentences=200)


def weights(net: torch.nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in net.parameters()]


def same(net: torch.nn.Module, before: list[Tensor]) -> bool:
    return all(now.equal(then) for now, then in zip(net.parameters(), before, strict=True))


def prompted_corpus() -> Corpus:
    torch.manual_seed(0)
    rows = torch.randint(1, toys.VOCABULARY, (60, 5))
    rows[:, 0] = 5
    return Corpus(rows, rows[:0], rows[:20], Vocabulary.numbers(toys.VOCABULARY), -1, prompt=1)


@pytest.mark.parametrize("relaxation", ["hard", "soft"])
@pytest.mark.parametrize("method", METHODS)
def test_each_move_moves_its_own_player(method: str, relaxation: str) -> None:
    data = corpus()
    players = METHODS[method](replace(TINY, relaxation=relaxation), data, toys.engine())
    generator, discriminator = weights(players.generator), weights(players.discriminator)
    fake = players.say(8)
    assert fake.shape == (8, players.width)
    assert players.judge(data.train[:8], fake)["d/loss"].isfinite()
    assert same(players.generator, generator)
    assert not same(players.discriminator, discriminator)
    discriminator = weights(players.discriminator)
    metrics = players.improve(0.25)
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())
    assert not same(players.generator, generator)
    assert same(players.discriminator, discriminator)
    assert not same(players.start, weights(players.generator))
    players.begin()
    assert same(players.start, weights(players.generator))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_put_back_goes_on_as_if_never_stopped(method: str) -> None:
    data, n = corpus(), replace(TINY, relaxation="soft")
    players = METHODS[method](n, data, toys.engine())
    toys.play(players, data, rounds=3, judge_first=1, half=8)
    saved = {name: copy.deepcopy(part.state_dict()) for name, part in players.parts().items()}
    other = METHODS[method](n, data, toys.engine(1))
    for name, part in other.parts().items():
        part.load_state_dict(saved[name])

    def go_on(who: SoftPlayers) -> list[float]:
        torch.manual_seed(5)
        judged = [who.judge(data.train[:8], who.say(8)) for _ in range(2)]
        return [value.item() for metrics in (*judged, who.improve(0.9)) for value in metrics.values()]

    assert go_on(other) == go_on(players)
    assert other.temperature == 4.0**-0.9


def test_the_inverse_temperature_grows_over_the_rounds_that_are_made() -> None:
    players = relgan(TINY, corpus(), toys.engine())
    seen = [players.temperature]
    for progress in (0.0, 0.5, 1.0):
        players.improve(progress)
        seen.append(players.temperature)
    assert seen == pytest.approx([1, 1, 1 / 2, 1 / 4])


def test_the_discriminator_hears_what_the_relaxation_says() -> None:
    data = corpus()
    hard, soft = (textgan(replace(TINY, relaxation=kind), data, toys.engine()) for kind in ("hard", "soft"))
    said = hard.say(8)
    assert hard.hear(said) is said
    assert hard.speak_softly(data.train[:8]).detach().unique().tolist() == [0, 1]
    for sentences in (soft.hear(said), soft.speak_softly(data.train[:8])):
        assert sentences.shape == (8, toys.LENGTH, toys.VOCABULARY)
        assert sentences.amax(-1).min() < 0.99
    assert soft.hear(said).argmax(-1).equal(said)


def test_prompts_are_those_of_real_sentences() -> None:
    data = prompted_corpus()
    for players in (relgan(TINY, data, toys.engine()), textgan(TINY, data, toys.engine())):
        assert (players.say(9)[:, 0] == 5).all()
        assert players.speak_softly(data.train[:4])[:, 0].equal(one_hot(data.train[:4, 0], toys.VOCABULARY))
        assert (players.speaker(players.generator).speak(9)[:, 0] == 5).all()
        assert players.improve(0.0)["g/grad_norm"] > 0


@pytest.mark.parametrize("method", ["relgan", "textgan"])
def test_imitation_lowers_the_likelihood_measured(method: str) -> None:
    data = corpus()
    players = METHODS[method](TINY, data, toys.engine())
    before = players.speaker(players.generator).likelihood(data.test)["nll"]
    toys.imitate(players, data, steps=20)
    after = players.speaker(players.start).likelihood(data.test)["nll"]
    assert after < before - 0.05


class Spy:
    """Notes whether dropout is on, and wants more of the first word."""

    def __init__(self) -> None:
        self.modes: list[tuple[str, bool]] = []

    def discriminator_loss(self, discriminator: torch.nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        self.modes.append(("judge", discriminator.training))
        return discriminator(real).mean()

    def reward(self, discriminator: torch.nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        self.modes.append(("improve", discriminator.training))
        return fake[..., 0].mean()


def test_dropout_is_on_only_where_the_discriminator_learns_and_the_reward_rises() -> None:
    players = textgan(replace(TINY, sharpest=1.0, g_lr=0.05), corpus(), toys.engine())
    players.game = spy = Spy()
    earned = [players.improve(0.0)["g/reward"].item() for _ in range(20)]
    players.discriminator.eval()
    players.judge(players.corpus.train[:4], players.say(4))
    players.improve(0.0)
    assert set(spy.modes) == {("improve", False), ("judge", True)}
    assert earned[-1] > earned[0] + 0.3
