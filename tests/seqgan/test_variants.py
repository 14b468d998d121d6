import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rl.estimators import leave_one_out, no_baseline
from rl.objectives import AIRL, SeqGAN
from rl.rewards import Constant, MonteCarlo, Noise, Reward
from rl.rollout import Rollout
from rl.runtime import Engine, Runtime
from seqgan.corpus import Corpus, Vocabulary
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import build_generator
from seqgan.likelihood import counted
from seqgan.numbers import Numbers
from seqgan.players import Players, PolicyPlayers
from seqgan.variants import PRESETS, VARIANTS, whole_sentence

LENGTH = 6
SMALL = {"vocabulary": 12, "batch": 4, "rollouts": 2, "d_filters": "small", "hidden": 8, "embedding": 8}
ON_POLICY = [name for name, variant in VARIANTS.items() if getattr(variant.players, "func", None) is PolicyPlayers]


def engine(precision: str = "fp32") -> Engine:
    return Engine(Runtime(device="cpu", precision=precision), 0)  # type: ignore[arg-type]


def corpus_of(n: Numbers, end: int = 0) -> Corpus:
    tokens = torch.randint(n.vocabulary, (24, LENGTH), generator=torch.Generator().manual_seed(3))
    return Corpus(tokens[:16], tokens[16:20], tokens[20:], Vocabulary.numbers(n.vocabulary), end)


def play(players: Players, corpus: Corpus) -> dict[str, Tensor]:
    """Make every move twice."""
    metrics = {}
    for _ in range(2):
        metrics |= players.imitate(corpus.train[:8])
        players.begin()
        metrics |= players.judge(corpus.train[:8], players.say(8))
        metrics |= players.improve(0.5)
    return metrics


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("name", ON_POLICY)
def test_every_move_of_every_policy_is_finite(name: str, kind: str, precision: str) -> None:
    n = replace(VARIANTS[name].presets["demo"], generator=kind, **SMALL)  # type: ignore[arg-type]
    corpus = corpus_of(n)
    players = VARIANTS[name].players(n, corpus, engine(precision))
    metrics = play(players, corpus)
    assert {"mle/loss", "d/loss", "d/accuracy", "g/loss", "g/reward"} <= metrics.keys()
    for key, value in metrics.items():
        assert math.isfinite(value), key
        assert value.dtype == torch.float32, key
    for net in (players.generator, players.discriminator):
        assert all(weight.isfinite().all() for weight in net.parameters())


def policy(name: str, n: Numbers) -> PolicyPlayers:
    players = VARIANTS[name].players(n, corpus_of(n), engine())
    assert isinstance(players, PolicyPlayers)
    return players


def test_the_rows_are_what_their_names_say() -> None:
    for name, variant in VARIANTS.items():
        assert set(variant.presets) == set(PRESETS), name
    n = replace(PRESETS["default"], **(SMALL | {"rollouts": 7}))  # type: ignore[arg-type]
    goals = {name: policy(name, n).goal for name in ON_POLICY}
    for name in ("seqgan", "seqgan-loo"):
        reward = goals[name].reward
        assert isinstance(reward, MonteCarlo)
        assert reward.samples == 7
        assert reward.objective == policy(name, n).objective == SeqGAN()
    assert goals["seqgan-constant"].reward == Constant(1.0)
    assert goals["trust"].reward == Constant(0.0)
    assert isinstance(goals["seqgan-noise"].reward, Noise)
    assert policy("seqgan-trust", n).objective == AIRL()
    assert goals["seqgan"].baseline is no_baseline
    assert goals["seqgan-loo"].baseline is goals["seqgan-trust"].baseline is leave_one_out


@pytest.mark.parametrize("preset", PRESETS)
def test_controls_train_no_discriminator_and_mle_no_adversary(preset: str) -> None:
    """And differ from their preset in nothing else that matters."""
    plain = PRESETS[preset]
    for name in ("seqgan-constant", "seqgan-noise", "mle"):
        n = VARIANTS[name].presets[preset]
        assert n.d_pretrain == n.d_rounds == 0
        assert n.g_steps == (0 if name == "mle" else plain.g_steps)
        assert replace(n, d_pretrain=plain.d_pretrain, d_rounds=plain.d_rounds, g_steps=plain.g_steps) == plain
    trust, alone = (VARIANTS[name].presets[preset] for name in ("seqgan-trust", "trust"))
    assert alone == replace(trust, d_pretrain=0, d_rounds=0)
    assert trust.vocabulary == plain.vocabulary
    assert trust.sentences == plain.sentences


def test_a_whole_sentence_earns_its_own_reward_at_every_token() -> None:
    """Dropout off while it is judged; nothing after the end, nothing for a prompt."""
    judge = ConvDiscriminator(5, 3, embedding=2, filters=((1, 2),), dropout=0.5).train()
    generator = build_generator("lstm", 5, 3, embedding=2, hidden=2, layers=1, dropout=0.0, end=0)
    reward = whole_sentence(generator, judge, AIRL(), PRESETS["demo"], engine())
    tokens = torch.tensor([[1, 2, 3], [4, 0, 0]])
    with torch.no_grad():
        first, second = judge.eval()(tokens).tolist()
    judge.train()
    rewards = reward(Rollout.of(tokens, counted(tokens, 0)))
    assert judge.training
    torch.testing.assert_close(rewards, torch.tensor([[first] * 3, [second] * 2 + [0.0]]))
    rewards = reward(Rollout.of(tokens, counted(tokens, 0, 1)))
    torch.testing.assert_close(rewards, torch.tensor([[0.0] + [first] * 2, [0.0, second, 0.0]]))


def test_the_papers_numbers() -> None:
    paper = PRESETS["paper"]
    assert (paper.vocabulary, paper.sentences, paper.hidden, paper.embedding) == (5000, 10_000, 32, 32)
    assert (paper.batch, paper.rollouts, paper.mle_lr, paper.g_lr, paper.d_lr) == (64, 16, 0.01, 0.01, 1e-4)
    assert (paper.mle_epochs, paper.d_pretrain, paper.d_pretrain_epochs) == (120, 50, 3)
    assert (paper.g_steps, paper.d_rounds, paper.d_epochs, paper.d_filters) == (1, 5, 3, "paper")
    assert (paper.d_dropout, paper.d_l2, paper.d_batch) == (0.25, 0.2, 64)


def test_rollouts_are_made_by_the_generator_as_it_is() -> None:
    """The reward holds the generator, not a copy: after an update its completions are the new generator's."""
    n = replace(PRESETS["demo"], **(SMALL | {"vocabulary": 4}))  # type: ignore[arg-type]
    players = policy("seqgan", n)
    reward, head = players.goal.reward, players.generator.head
    assert isinstance(reward, MonteCarlo)
    tokens = torch.ones(2, LENGTH, dtype=torch.long)
    for favourite in (1, 3):
        with torch.no_grad():
            head.weight.zero_()
            head.bias.fill_(-100.0)
            head.bias[favourite] = 100
        completions = reward.complete(tokens, 2)
        assert completions[0, ..., 1:].eq(favourite).all()
    values = reward(Rollout.of(tokens, counted(tokens, -1)))
    with torch.no_grad():
        # the last value is the sentence's own D(x)
        torch.testing.assert_close(values[:, -1], torch.sigmoid(players.discriminator.eval()(tokens)))


def test_prompts_are_given_and_neither_said_nor_paid() -> None:
    seen = []

    def spy(*_: object) -> Reward[Tensor]:
        def reward(rollout: Rollout[Tensor]) -> Tensor:
            seen.append(rollout.mask)
            return torch.ones_like(rollout.rewards)

        return reward

    n = replace(PRESETS["demo"], **SMALL)  # type: ignore[arg-type]
    corpus = replace(corpus_of(n, end=-1), prompt=2)
    players = PolicyPlayers(n, corpus, engine(), objective=AIRL(), reward=spy, baseline=no_baseline)
    prompts = {tuple(row) for row in corpus.train[:, :2].tolist()}
    assert {tuple(row) for row in players.say(50)[:, :2].tolist()} <= prompts
    spoken = players.speaker(players.generator).speak(9)
    assert spoken[:, :2].equal(corpus.test[[0, 1, 2, 3, 0, 1, 2, 3, 0], :2])
    players.improve(0.0)
    assert seen[0].equal(torch.tensor([[False] * 2 + [True] * 4]).expand(n.batch, LENGTH))
