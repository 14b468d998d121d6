"""The residual model: what is chosen is the start, weighed by the discriminator."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seqgan.residual import ChosenSpeaker, ResidualPlayers, choose
from seqgan.speakers import PolicySpeaker
from tests.seqgan import toys


class Taste(nn.Module):
    """Logits of three sentences of one token; what a discriminator is asked for, and nothing else."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.output = nn.Linear(1, 1)
        self.logits = torch.tensor(logits)

    def forward(self, tokens: Tensor) -> Tensor:
        assert not self.training
        return self.logits[tokens[:, 0]]


def test_candidates_are_taken_by_their_weights() -> None:
    """Two candidates a row, weights 1 : 3; the standard error of 40,000 rows is .0022."""
    torch.manual_seed(0)
    said = torch.tensor([[[7, 7]], [[8, 8]]]).expand(2, 40_000, 2)
    logits = torch.tensor([[0.0], [3.0]]).log().expand(2, 40_000)  # log 0: never taken
    assert choose(said, logits)[:, 0].eq(8).all()
    logits = torch.tensor([[1.0], [3.0]]).log().expand(2, 40_000)
    chosen = choose(said, logits)
    assert chosen.shape == (40_000, 2)
    assert chosen[:, 0].eq(8).float().mean().item() == pytest.approx(0.75, abs=0.011)


def test_the_more_candidates_the_nearer_to_the_weighed_start() -> None:
    """Exactly, for two candidates: q(x) = sum_y p(x) p(y) 2 e^l(x) / (e^l(x) + e^l(y)), pairs of equals once."""
    corpus = toys.toy_corpus(0, sentences=50)
    net = toys.engine(1).place(ResidualPlayers(toys.NUMBERS, corpus, toys.engine(1)).generator)
    judge = Taste([0.0, 1.0, -1.0, 2.0, 0.5, -2.0]).train()
    p = net.head(net.features(torch.zeros(1, 1, dtype=torch.long)))[0, 0].softmax(-1).detach()
    weights = judge.logits.exp()
    exact = (2 * p[:, None] * p * weights[:, None] / (weights[:, None] + weights)).sum(1)
    torch.manual_seed(2)
    shares = {}
    for candidates in (1, 2, 64):
        said = ChosenSpeaker(PolicySpeaker(net, 1, torch.zeros(1, 0, dtype=torch.long)), judge, candidates).speak(
            20_000
        )
        shares[candidates] = said[:, 0].bincount(minlength=6) / len(said)
    assert judge.training
    error = 5 * (0.25 / 20_000) ** 0.5
    torch.testing.assert_close(shares[1], p, atol=error, rtol=0)
    torch.testing.assert_close(shares[2], exact, atol=error, rtol=0)
    torch.testing.assert_close(shares[64], p * weights / (p @ weights), atol=2 * error, rtol=0)  # biased by 1 / 64


def test_all_candidates_of_a_row_answer_its_prompt() -> None:
    corpus = toys.toy_corpus(0, sentences=50)
    net = toys.engine(1).place(ResidualPlayers(toys.NUMBERS, corpus, toys.engine(1)).generator)
    net.prompt, prompts = 1, torch.arange(5)[:, None]
    judge = Taste([0.0, 9.0, -9.0, 2.0, 5.0, -2.0])
    said = ChosenSpeaker(PolicySpeaker(net, 3, prompts), judge, 4).speak(7)
    assert said[:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_only_the_discriminator_learns() -> None:
    corpus = toys.toy_corpus(3, sentences=200)
    players = ResidualPlayers(replace(toys.NUMBERS, sharpness=1.5), corpus, toys.engine(3))
    players.begin()
    before = {name: weight.clone() for name, weight in players.generator.state_dict().items()}
    torch.testing.assert_close(players.generator.head.weight, 1.5 * players.start.head.weight)
    metrics = players.judge(corpus.train[:32], players.say(32))
    assert set(metrics) == {"d/loss", "d/accuracy"}
    assert all(weight.equal(before[name]) for name, weight in players.generator.state_dict().items())
    assert players.speaker(players.generator).likelihood(corpus.test) == {}
    assert "nll" in players.speaker(players.start).likelihood(corpus.test)


def residual_kl(players: ResidualPlayers, oracle: nn.Module) -> float:
    """KL(oracle || start e^l / Z), exactly."""
    log_p = toys.exact_log_probs(oracle)
    with torch.no_grad():
        logits = players.discriminator.eval()(toys.all_sentences())
    log_q = (toys.exact_log_probs(players.generator) + logits).log_softmax(0)
    return float((log_p.exp() * (log_p - log_q)).sum())


@pytest.mark.slow
def test_choosing_brings_the_start_nearer_to_the_oracle() -> None:
    """Five seeds, each its own world; that all five distances fall has a chance of 3 % where nothing is learned."""
    before, after = [], []
    for seed in toys.SEEDS:
        corpus = toys.toy_corpus(seed)
        players = ResidualPlayers(replace(toys.NUMBERS, g_steps=0), corpus, toys.engine(seed))
        toys.imitate(players, corpus, steps=60)
        players.begin()
        before.append(toys.kl(corpus.oracle, players.start))
        for step in range(1_500):
            rows = torch.randint(len(corpus.train), (32,), generator=torch.Generator().manual_seed(step))
            players.judge(corpus.train[rows], players.say(32))
        after.append(residual_kl(players, corpus.oracle))
    assert toys.every_time_less(before, after), (before, after)
