import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from rl.estimators import leave_one_out, no_baseline
from rl.objectives import AIRL, SeqGAN
from rl.rewards import Constant, MonteCarlo, Noise
from rl.rollout import Rollout
from rl.runtime import Engine, Runtime
from seqgan.adversarial import GeneratorGoal, discriminator_round, generator_round
from seqgan.discriminators import ConvDiscriminator, OutputL2
from seqgan.generators import build_generator
from seqgan.likelihood import counted
from seqgan.pretraining import mle_round
from seqgan.sampling import speak
from seqgan.variants import FILTERS, PRESETS, VARIANTS

LENGTH = 6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_phase_of_every_variant_is_finite(name: str, kind: str, precision: str) -> None:
    variant, engine = VARIANTS[name], Engine(Runtime(device="cpu", precision=precision), 0)  # type: ignore[arg-type]
    n = replace(variant.presets["demo"], vocabulary=12, batch=4, rollouts=2, d_filters="small", hidden=8, embedding=8)
    make = partial(build_generator, kind, n.vocabulary, LENGTH, embedding=n.embedding, hidden=n.hidden)
    generator, start = (make(layers=n.layers, dropout=n.dropout, end=0) for _ in range(2))  # type: ignore[arg-type]
    judge = ConvDiscriminator(n.vocabulary, LENGTH, embedding=8, filters=FILTERS[n.d_filters], dropout=n.d_dropout)
    goal = GeneratorGoal(
        variant.reward(generator, judge, variant.objective, n, engine),
        variant.baseline,
        n.kl_weight,
        n.sharpness,
        n.entropy_weight,
    )
    optimizers = [torch.optim.Adam(net.parameters(), 0.01, fused=True) for net in (generator, judge)]
    tokens = torch.randint(n.vocabulary, (8, LENGTH))
    for _ in range(2):
        metrics = mle_round(generator, tokens, optimizers[0], engine, clip=5.0)
        metrics |= discriminator_round(
            judge, engine.fast(judge), tokens, speak(generator, 8, LENGTH), variant.objective, OutputL2(n.d_l2),
            optimizers[1], engine,
        )  # fmt: skip
        metrics |= generator_round(
            generator, start, goal, optimizers[0], engine, batch=n.batch, length=LENGTH, clip=n.g_clip
        )
        assert {"mle/loss", "d/loss", "d/accuracy", "g/loss", "g/reward"} <= metrics.keys()
        for key, value in metrics.items():
            assert math.isfinite(value), key
            assert value.dtype == torch.float32, key
    for net in (generator, judge):
        assert all(weight.isfinite().all() for weight in net.parameters())


def test_the_rows_are_what_their_names_say() -> None:
    rewards = {}
    for name, variant in VARIANTS.items():
        assert set(variant.presets) == set(PRESETS), name
        generator = build_generator("lstm", 5, 3, embedding=2, hidden=2, layers=1, dropout=0.0, end=-1)
        engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
        numbers = replace(variant.presets["default"], rollouts=7)
        judge = ConvDiscriminator(5, 3, embedding=2, filters=((1, 2),))
        rewards[name] = variant.reward(generator, judge, variant.objective, numbers, engine)
    for name in ("seqgan", "seqgan-loo"):
        reward = rewards[name]
        assert isinstance(reward, MonteCarlo)
        assert reward.samples == 7
        assert reward.objective == VARIANTS[name].objective
    assert rewards["seqgan-constant"] == Constant(1.0)
    assert rewards["trust"] == Constant(0.0)
    assert isinstance(rewards["seqgan-noise"], Noise)
    assert VARIANTS["seqgan"].objective == VARIANTS["seqgan-loo"].objective == SeqGAN()
    assert VARIANTS["seqgan-trust"].objective == AIRL()
    assert VARIANTS["seqgan"].baseline is no_baseline
    assert VARIANTS["seqgan-loo"].baseline is VARIANTS["seqgan-trust"].baseline is leave_one_out


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
    """Dropout off while it is judged; nothing after the end."""
    judge = ConvDiscriminator(5, 3, embedding=2, filters=((1, 2),), dropout=0.5).train()
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    generator = build_generator("lstm", 5, 3, embedding=2, hidden=2, layers=1, dropout=0.0, end=0)
    reward = VARIANTS["seqgan-trust"].reward(generator, judge, AIRL(), PRESETS["demo"], engine)
    tokens = torch.tensor([[1, 2, 3], [4, 0, 0]])
    rewards = reward(Rollout.of(tokens, counted(tokens, 0)))
    assert judge.training
    with torch.no_grad():
        first, second = judge.eval()(tokens).tolist()
    torch.testing.assert_close(rewards, torch.tensor([[first] * 3, [second] * 2 + [0.0]]))


def test_the_papers_numbers() -> None:
    paper = PRESETS["paper"]
    assert (paper.vocabulary, paper.sentences, paper.hidden, paper.embedding) == (5000, 10_000, 32, 32)
    assert (paper.batch, paper.rollouts, paper.mle_lr, paper.g_lr, paper.d_lr) == (64, 16, 0.01, 0.01, 1e-4)
    assert (paper.mle_epochs, paper.d_pretrain, paper.d_pretrain_epochs) == (120, 50, 3)
    assert (paper.g_steps, paper.d_rounds, paper.d_epochs, paper.d_filters) == (1, 5, 3, "paper")
    assert (paper.d_dropout, paper.d_l2, paper.d_batch) == (0.25, 0.2, 64)


def test_rollouts_are_made_by_the_generator_as_it_is() -> None:
    """The reward holds the generator, not a copy: after an update its completions are the new generator's."""
    generator = build_generator("lstm", 4, 3, embedding=2, hidden=2, layers=1, dropout=0.0, end=-1)
    judge = ConvDiscriminator(4, 3, embedding=2, filters=((1, 2),))
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    n = replace(PRESETS["demo"], rollouts=2)
    reward = VARIANTS["seqgan"].reward(generator, judge, SeqGAN(), n, engine)
    assert isinstance(reward, MonteCarlo)
    tokens = torch.zeros(2, 3, dtype=torch.long)
    for favourite in (1, 3):
        with torch.no_grad():
            generator.head.weight.zero_()
            generator.head.bias.fill_(-100.0)
            generator.head.bias[favourite] = 100
        completions = reward.complete(tokens, 2)
        assert completions[0].eq(torch.tensor([0, favourite, favourite])).all()
    values = reward(Rollout.of(tokens, counted(tokens, -1)))
    with torch.no_grad():
        # the last value is the sentence's own D(x)
        torch.testing.assert_close(values[:, -1], torch.sigmoid(judge.eval()(tokens)))
