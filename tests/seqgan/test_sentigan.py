import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rl.estimators import leave_one_out
from rl.objectives import SeqGAN
from rl.rollout import Rollout
from seqgan.adversarial import GeneratorGoal, generator_round
from seqgan.by_label import ByLabel, silence
from seqgan.conditional import labelled_oracle, labelled_oracle_corpus
from seqgan.corpus import Corpus
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import counted
from seqgan.players import PolicyPlayers
from seqgan.sampling import complete
from seqgan.sentigan import KindDiscriminator, SentiPlayers, own_kind_rollouts, own_logits, sentigan
from tests.seqgan import toys

WORDS, LABELS = 3, (3, 4)
SENTENCES = torch.tensor(list(itertools.product(range(WORDS), repeat=3)))


def choir(seed: int = 1) -> ByLabel:
    torch.manual_seed(seed)
    members = [LSTMGenerator(5, embedding=3, hidden=4, deviation=0.8) for _ in LABELS]
    for member in members:
        silence(member.head, LABELS)
    return ByLabel(members, LABELS)


def judge_of(dropout: float = 0.0) -> KindDiscriminator:
    torch.manual_seed(3)
    return KindDiscriminator(5, 3, 2, embedding=4, filters=((1, 8), (2, 8)), dropout=dropout)


def two_kinds(seed: int, sentences: int = 4_000) -> Corpus:
    """Return sentences of two oracles that say the same words, so that many sentences could be of either."""
    oracle = labelled_oracle(2, toys.VOCABULARY, seed=10 * seed)
    return labelled_oracle_corpus(oracle, sentences=sentences, valid=0, test=100, length=toys.LENGTH, seed=seed)


def test_own_logits_by_hand() -> None:
    """Softmax of log 1, log 2, log 5: D_0 = 1/8, D_1 = 1/4, D_2 = 5/8."""
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(3, 3)
    own = own_logits(logits, torch.arange(3))
    torch.testing.assert_close(own.sigmoid(), torch.tensor([1 / 8, 1 / 4, 5 / 8]))
    torch.testing.assert_close(own_logits(logits + 7, torch.arange(3)), own)
    many = torch.randn(2, 4, 3)
    kinds = torch.randint(3, (2, 4))
    torch.testing.assert_close(own_logits(many, kinds)[1, 2], own_logits(many[1, 2:3], kinds[1, 2:3])[0])


def test_the_reward_is_minus_the_mean_penalty_of_the_completions() -> None:
    """Judged row by row; the label, which is given, earns nothing, and dropout is off."""
    net, judge, n = choir(), judge_of(dropout=0.5).train(), replace(toys.NUMBERS, rollouts=3)
    tokens = F.pad(SENTENCES[::5], (1, 0))
    tokens[:, 0] = torch.tensor(LABELS).repeat(len(tokens))[: len(tokens)]
    rollout = Rollout.of(tokens, counted(tokens, -1, 1))
    reward = own_kind_rollouts(net, judge, SeqGAN(), n, toys.engine())
    torch.manual_seed(8)
    found = reward(rollout)
    torch.manual_seed(8)
    completions = complete(net, tokens, 3)
    assert judge.training
    judge.eval()
    for row, kind in enumerate(tokens[:, 0] - WORDS):
        for time in range(1, 4):
            finished = completions[time, row] if time < 3 else tokens[row : row + 1]
            penalty = 1 - judge(finished[:, 1:]).softmax(-1)[:, kind]
            assert found[row, time].item() == pytest.approx(-penalty.mean().item(), abs=1e-5)
    assert not found[:, 0].any()
    assert (found[:, 1:] < 0).all()


def expected_penalty(net: ByLabel, judge: KindDiscriminator) -> Tensor:
    """Return the mean over the labels of sum_X G(X) (1 - D_i(X)): eq. 2 of the paper, all sentences listed."""
    penalties = 1 - judge(SENTENCES).softmax(-1)
    total = torch.zeros(())
    for number, label in enumerate(LABELS):
        rows = F.pad(SENTENCES, (1, 0), value=label)
        log_probs = net.head(net.features(rows)).log_softmax(-1).gather(2, rows[..., None])[:, 1:, 0].sum(1)
        total = total + (log_probs.exp() * penalties[:, number]).sum() / 2
    return total


def test_the_generators_descend_the_exact_expected_penalty() -> None:
    """The step is minus the enumerated gradient up to noise; a finite difference along it says that it goes down.

    With 20,000 sentences the noise is a few per cent of the gradient; the reversed sign gives cosine -1.
    """
    net, start, judge = choir(), choir(2), judge_of().eval().requires_grad_(False)
    judge.output.weight *= 20  # one that is sure, so that penalties differ
    learned = [weight for weight in net.parameters() if weight.requires_grad]
    exact = torch.cat([part.flatten() for part in torch.autograd.grad(expected_penalty(net, judge), learned)])
    before = [weight.detach().clone() for weight in learned]
    reward = own_kind_rollouts(net, judge, SeqGAN(), replace(toys.NUMBERS, rollouts=1), toys.engine())
    goal = GeneratorGoal(reward, leave_one_out)
    given = torch.full((20_000, 4), -1)
    given[:, 0] = torch.tensor(LABELS).repeat(10_000)
    generator_round(net, start, goal, torch.optim.SGD(learned, 1.0), toys.engine(), given=given, clip=math.inf)
    step = torch.cat([(weight - old).flatten() for weight, old in zip(learned, before, strict=True)]).detach()
    assert torch.cosine_similarity(step, -exact, dim=0) > 0.97
    assert (step.norm() / exact.norm()).item() == pytest.approx(1, abs=0.15)

    def penalty_at(share: float) -> float:
        with torch.no_grad():
            for weight, old, part in zip(learned, before, step.split([w.numel() for w in learned]), strict=True):
                weight.copy_(old + share * part.view_as(weight))
            return expected_penalty(net, judge).item()

    slope = (penalty_at(0.05) - penalty_at(-0.05)) / 0.1
    assert slope == pytest.approx(-exact.square().sum().item(), rel=0.2)


def test_the_judge_does_not_see_the_label() -> None:
    """Its loss by hand: cross-entropy of each half, and the penalty of a softmax that is as wide as the paper's."""
    corpus = two_kinds(1, 200)
    said = SentiPlayers(replace(toys.NUMBERS, d_l2=0.3), corpus, toys.engine())
    real, fake = corpus.train[:6], said.say(6)
    with torch.no_grad():
        classes = said.discriminator.train()(torch.cat([real, fake])[:, 1:]).log_softmax(-1)
        kinds = torch.cat([real[:, 0] - toys.VOCABULARY, torch.full((6,), 2)])
        own = classes[torch.arange(12), kinds]
        l2 = sum(0.3 / 2 * weight.square().sum() for weight in said.discriminator.output.parameters())
        expected = -own[:6].mean() - own[6:].mean() + l2
    metrics = said.judge(real, fake)
    torch.testing.assert_close(metrics["d/loss"], expected)
    assert metrics["d/accuracy"].item() == pytest.approx((classes.argmax(1) == kinds).float().mean().item())
    before = said.discriminator(real[:, 1:])
    relabelled = real.clone()
    relabelled[:, 0] = corpus.labels[0]
    assert said.discriminator(relabelled[:, 1:]).equal(before)


def test_the_judge_learns_the_kinds() -> None:
    corpus = two_kinds(1, 2_000)
    said = SentiPlayers(toys.NUMBERS, corpus, toys.engine())
    fake = said.say(128)
    course = [said.judge(toys.some(corpus.train, 128), fake)["d/loss"].item() for _ in range(60)]
    assert course[-1] < 1.2 < 1.8 < course[0]  # 2 log 3 = 2.2 for one who guesses
    named = said.discriminator.eval()(corpus.train[:, 1:])[:, :2].argmax(1) + toys.VOCABULARY
    assert (named == corpus.train[:, 0]).float().mean() > 0.8


def test_every_move_is_finite_and_moves_its_own_net() -> None:
    corpus = two_kinds(0, 200)
    said = SentiPlayers(toys.NUMBERS, corpus, toys.engine())
    said.begin()
    nets = {"generator": said.generator, "discriminator": said.discriminator, "start": said.start}
    for move, moved in (
        (lambda: said.judge(corpus.train[:8], said.say(8)), "discriminator"),
        (lambda: said.improve(0.0), "generator"),
        (lambda: said.imitate(corpus.train[:8]), "generator"),
    ):
        before = {name: [weight.detach().clone() for weight in net.parameters()] for name, net in nets.items()}
        assert all(value.isfinite() for value in move().values())
        for name, net in nets.items():
            assert all(map(torch.equal, before[name], net.parameters())) == (name != moved)
    spoken = said.speaker(said.generator).speak(100)
    assert spoken[:, 0].bincount().tolist() == [0] * 6 + [50, 50]
    assert spoken[:, 1:].max() < toys.VOCABULARY


def test_without_kinds_the_nets_are_seqgans_and_the_penalty_stays() -> None:
    corpus = toys.toy_corpus(1, sentences=200)
    said = sentigan(toys.NUMBERS, corpus, toys.engine())
    assert type(said) is PolicyPlayers
    assert isinstance(sentigan(toys.NUMBERS, two_kinds(0, 100), toys.engine()), SentiPlayers)
    metrics = said.improve(0.0)
    assert -1 < metrics["g/reward"].item() < 0
    tokens = said.say(5)
    rewards = said.goal.reward(Rollout.of(tokens, counted(tokens, -1)))
    with torch.no_grad():
        torch.testing.assert_close(rewards[:, -1], said.discriminator.eval()(tokens).sigmoid() - 1)


def accuracy(net: ByLabel, oracle: ByLabel) -> float:
    """Return the share of a choir's sentences whose own kind is the likelier one under the oracles, exactly."""
    rows = [F.pad(toys.all_sentences(), (1, 0), value=label) for label in oracle.labels.tolist()]
    truth = torch.stack([toys.exact_log_probs(oracle, part) for part in rows])
    said = torch.stack([toys.exact_log_probs(net, part) for part in rows]).exp()
    return ((truth.argmax(0) == torch.arange(2)[:, None]) * said).sum().item() / 2


@pytest.mark.slow
def test_generators_keep_to_their_own_kind() -> None:
    """Above .9 and above maximum likelihood for each of five seeds; of the oracles' own sentences .85 are clear."""
    before, after = [], []
    for seed in toys.SEEDS:
        corpus = two_kinds(seed)
        said = SentiPlayers(toys.NUMBERS, corpus, toys.engine(seed))
        toys.imitate(said, corpus, steps=60)
        before.append(accuracy(said.start, corpus.oracle))
        toys.play(said, corpus, rounds=120)
        after.append(accuracy(said.generator, corpus.oracle))
    assert toys.every_time_less([-share for share in before], [-share for share in after])
    assert min(after) > 0.9, (before, after)
