import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rl.estimators import leave_one_out, no_baseline
from rl.objectives import AIRL, SeqGAN
from rl.policies import SequencePolicy
from rl.rewards import Reward
from rl.rollout import Rollout
from rl.runtime import InputError
from seqgan.corpus import Corpus, Vocabulary
from seqgan.likelihood import action_log_probs, mle_loss
from seqgan.numbers import Numbers
from seqgan.sampling import BLANK, complete, speak
from seqgan.seq2seq import Seq2SeqGenerator, Seq2SeqPlayers
from seqgan.variants import nothing, whole_sentence
from tests.seqgan import toys

VOCABULARY, PROMPT, LENGTH = 5, 2, 5


def build(layers: int = 1, dropout: float = 0.0, prompt: int = PROMPT) -> Seq2SeqGenerator:
    torch.manual_seed(1)
    net = Seq2SeqGenerator(VOCABULARY, prompt=prompt, embedding=4, hidden=6, layers=layers, dropout=dropout, start=3)
    with torch.no_grad():  # far from uniform, so that faults show
        for weight in net.parameters():
            weight.mul_(3)
    return net.eval()


def some_rows(rows: int = 4) -> Tensor:
    torch.manual_seed(2)
    return torch.randint(VOCABULARY, (rows, LENGTH))


def stepped(net: Seq2SeqGenerator, tokens: Tensor) -> Tensor:
    state, said, features = net.init(len(tokens)), tokens.new_full((len(tokens),), net.start), []
    for time in range(tokens.shape[1]):
        feature, state = net.step(state, said)
        features.append(feature)
        said = tokens[:, time]
    return torch.stack(features, 1)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("prompt", [0, 1, 2, 4])
def test_step_by_step_is_teacher_forcing(layers: int, prompt: int) -> None:
    net, tokens = build(layers, prompt=prompt), some_rows()
    assert isinstance(net, SequencePolicy)
    features = net.features(tokens)
    torch.testing.assert_close(stepped(net, tokens), features)
    assert not features[:, :prompt].any()
    assert features[:, prompt:].any(-1).all()


def test_an_ending_sees_its_prompt_and_the_words_before() -> None:
    net, tokens = build(), some_rows()
    before = net.features(tokens)
    for time in range(LENGTH):
        changed = tokens.clone()
        changed[:, time] = (tokens[:, time] + 1) % VOCABULARY
        differs = (net.features(changed) != before).any(-1)
        seen = max(PROMPT, time + 1)
        assert not differs[:, :seen].any()
        assert differs[:, seen:].all()


def test_a_batch_is_its_rows() -> None:
    net, tokens = build(2), some_rows()
    torch.testing.assert_close(torch.cat([net.features(row[None]) for row in tokens]), net.features(tokens))


@pytest.mark.parametrize("read", range(LENGTH))
def test_a_fork_goes_on_alone(read: int) -> None:
    """Before, at and after the end of the prompt."""
    net, tokens, rows = build(2), some_rows(), torch.tensor([3, 0, 3])
    state = net.init(4)
    for said in torch.cat([torch.full((4, 1), net.start), tokens], 1)[:, :read].unbind(1):
        _, state = net.step(state, said)
    said = torch.tensor([1, 2, 3, 4, 1, 2, 3])
    features, _ = net.step(net.fork(state, rows), said)
    for row, source in enumerate([0, 1, 2, 3, 3, 0, 3]):
        alone, _ = net.step(tuple(part[source : source + 1] for part in state), said[row : row + 1])
        torch.testing.assert_close(features[row], alone[0])


def test_dropout_only_in_training() -> None:
    net, tokens = build(dropout=0.5), some_rows()
    assert net.features(tokens).equal(net.features(tokens))
    net.train()
    assert not net.features(tokens)[:, PROMPT:].equal(net.features(tokens)[:, PROMPT:])


def test_endings_are_drawn_from_the_policy() -> None:
    """125 endings with exact odds; with 40,000 draws the likeliest, below 0.3, has a noise of 0.0023."""
    net = build()
    given = torch.tensor([[4, 1, BLANK, BLANK, BLANK]]).repeat(40_000, 1)
    torch.manual_seed(0)
    said = speak(net, *given.shape, given=given)
    assert said[:, :2].equal(given[:, :2])
    every = torch.tensor([(4, 1, *ending) for ending in itertools.product(range(VOCABULARY), repeat=3)])
    odds = chosen(net, every)[:, 2:].sum(1).exp()
    assert odds.sum().item() == pytest.approx(1, abs=1e-5)
    ids = (said[:, 2:] * torch.tensor([25, 5, 1])).sum(1)
    drawn = torch.bincount(ids, minlength=125) / 40_000
    assert 0.03 < odds.max() < 0.3
    assert (drawn - odds).abs().max() < 0.0115  # five of them


def chosen(net: Seq2SeqGenerator, tokens: Tensor) -> Tensor:
    return action_log_probs(net, tokens).gather(2, tokens[..., None])[..., 0]  # type: ignore[arg-type]


def test_rollouts_keep_their_prefixes() -> None:
    net, tokens = build(), some_rows()
    for prefix, rows in enumerate(complete(net, tokens, 3)):
        assert rows[..., : prefix + 1].equal(tokens[:, None, : prefix + 1].expand(-1, 3, -1))


TINY = Numbers(
    embedding=3, hidden=4, d_embedding=3, d_dropout=0.0, d_l2=0.0, batch=16, g_lr=0.01, g_clip=math.inf,
    teacher_weight=0.0,
)  # fmt: skip
ROWS = torch.tensor(list(itertools.product(range(3), repeat=4)))


def corpus_of(rows: Tensor, prompt: int = 1, vocabulary: int = 3) -> Corpus:
    return Corpus(rows, rows[:0], rows, Vocabulary.numbers(vocabulary), -1, prompt=prompt)


def players_of(n: Numbers = TINY, corpus: Corpus | None = None, *, paid: bool = True, seed: int = 0) -> Seq2SeqPlayers:
    players = Seq2SeqPlayers(
        n, corpus or corpus_of(ROWS), toys.engine(seed),
        objective=AIRL(), reward=whole_sentence if paid else nothing, baseline=leave_one_out,
    )  # fmt: skip
    with torch.no_grad():
        for weight in players.generator.parameters():
            weight.mul_(3)
    return players


def weights_of(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def gradient_of(loss: Tensor, net: nn.Module) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])


def test_the_reward_is_climbed_along_its_exact_gradient() -> None:
    """Prompts 0, 1, 2 equally often, 27 endings each; 20,000 rows make a noise of a few per cent."""
    players = players_of(replace(TINY, batch=20_000))
    with torch.no_grad():
        logits = players.discriminator.eval()(ROWS) * 1.0
    odds = chosen(players.generator, ROWS)[:, 1:].sum(1).exp() / 3
    exact, before = gradient_of((odds * logits).sum(), players.generator), weights_of(players.generator)
    players.g_optimizer = torch.optim.SGD(players.generator.parameters(), 1.0)  # type: ignore[assignment]
    metrics = players.improve(0.0)
    assert metrics["g/length"].item() == 3  # a prompt is not said
    step = weights_of(players.generator) - before
    assert torch.cosine_similarity(step, exact, dim=0) > 0.97
    assert (step.norm() / exact.norm()).item() == pytest.approx(1, abs=0.1)


def test_teacher_forcing_is_weighed() -> None:
    """No reward: the step is the likelihood's gradient of one known row, times the weight."""
    row = torch.tensor([[2, 0, 1, 1]])
    players = players_of(replace(TINY, teacher_weight=0.7), corpus_of(row), paid=False)
    exact = gradient_of(-0.7 * mle_loss(players.generator, row), players.generator)  # type: ignore[arg-type]
    before = weights_of(players.generator)
    players.g_optimizer = torch.optim.SGD(players.generator.parameters(), 1.0)  # type: ignore[assignment]
    players.improve(0.0)
    torch.testing.assert_close(weights_of(players.generator) - before, exact, rtol=1e-3, atol=1e-5)


def test_endings_are_said_to_training_prompts() -> None:
    rows = torch.tensor([[0, 1, 2, 2], [2, 1, 0, 0]])
    players = players_of(corpus=corpus_of(rows, prompt=2))
    said = players.say(200)
    assert said.shape == (200, players.width)
    assert {tuple(row) for row in said[:, :2].tolist()} == {(0, 1), (2, 1)}
    assert len({tuple(row) for row in said[:, 2:].tolist()}) > 4
    paid: list[Tensor] = []

    def note(rollout: Rollout[Tensor]) -> Tensor:
        paid.append(rollout.steps)
        return rollout.rewards

    players.goal = replace(players.goal, reward=note)
    players.improve(0.0)
    assert {tuple(row) for row in paid[0][:, :2].tolist()} == {(0, 1), (2, 1)}


def test_each_move_moves_its_own_nets() -> None:
    players = players_of(replace(TINY, teacher_weight=0.5))
    nets = {"generator": players.generator, "start": players.start, "discriminator": players.discriminator}

    def moved_by(move: object) -> set[str]:
        before = {name: weights_of(net) for name, net in nets.items()}
        assert callable(move)
        move()
        return {name for name, net in nets.items() if not weights_of(net).equal(before[name])}

    assert moved_by(lambda: players.imitate(ROWS[:16])) == {"generator"}
    assert moved_by(players.begin) == {"start"}
    assert weights_of(players.start).equal(weights_of(players.generator))
    assert moved_by(lambda: players.judge(ROWS[:16], players.say(16))) == {"discriminator"}
    assert moved_by(lambda: players.improve(0.0)) == {"generator"}


def test_a_resumed_game_goes_on_as_if_nothing_had_happened() -> None:
    n = replace(TINY, teacher_weight=0.5)
    players, resumed = players_of(n), players_of(n, seed=1)
    players.imitate(ROWS[:16])
    players.begin()
    players.improve(0.3)
    kept = {name: copy.deepcopy(part.state_dict()) for name, part in players.parts().items()}
    for name, part in resumed.parts().items():
        part.load_state_dict(kept[name])
    for game in (players, resumed):
        torch.manual_seed(9)
        for _ in range(3):
            game.judge(ROWS[:16], game.say(16))
            game.improve(0.3)
    for name in ("generator", "start", "discriminator"):
        assert weights_of(getattr(players, name)).equal(weights_of(getattr(resumed, name))), name


def test_without_prompts_there_are_no_endings() -> None:
    reward: Reward[Tensor] = nothing()
    with pytest.raises(InputError, match="seq2seq: speaks endings of prompts"):
        Seq2SeqPlayers(
            TINY, corpus_of(ROWS, prompt=0), toys.engine(),
            objective=SeqGAN(), reward=lambda *_: reward, baseline=no_baseline,
        )  # fmt: skip


def right(rows: Tensor) -> float:
    return (rows[:, :3].sort(1).values == rows[:, 3:].sort(1).values).all(1).float().mean().item()


def permutations_corpus(seed: int) -> Corpus:
    """Three words out of eight, and the same three in a random order: up to six right endings to a prompt."""
    drawn = torch.Generator().manual_seed(seed)
    prompts = torch.randint(8, (4_000, 3), generator=drawn)
    rows = torch.cat([prompts, prompts.gather(1, torch.rand(4_000, 3, generator=drawn).argsort(1))], 1)
    return Corpus(rows[:3_000], rows[:0], rows[3_000:], Vocabulary.numbers(8), -1, prompt=3)


def test_the_rule_of_the_toy() -> None:
    corpus = permutations_corpus(0)
    assert right(corpus.train) == 1
    assert right(torch.tensor([[1, 2, 2, 2, 1, 1], [1, 2, 2, 2, 1, 2]])) == 0.5


@pytest.mark.slow
def test_right_endings_become_more_frequent_than_by_likelihood() -> None:
    """Five seeds, each against its own start: by chance alone one time in 32."""
    n = replace(toys.NUMBERS, hidden=32, embedding=16, g_lr=2e-3, teacher_weight=0.1)
    before, after = [], []
    for seed in toys.SEEDS:
        engine, corpus = toys.engine(seed), permutations_corpus(seed)
        players = Seq2SeqPlayers(
            n, corpus, engine, objective=SeqGAN(), reward=whole_sentence, baseline=leave_one_out
        )  # fmt: skip
        toys.imitate(players, corpus, steps=250)
        toys.play(players, corpus, rounds=120)
        for net, rates in ((players.start, before), (players.generator, after)):
            rates.append(right(players.speaker(net).speak(4_000)))
    assert toys.every_time_less([-rate for rate in before], [-rate for rate in after])
