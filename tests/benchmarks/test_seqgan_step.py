import math
from functools import partial

import pytest
import torch

from benchmarks import seqgan_step
from benchmarks.naive_seqgan import NaiveDiscriminator, NaiveGenerator, rollout_rewards, shifted
from benchmarks.seqgan_step import Amounts, Setting, combined, compare, measured
from rl.objectives import SeqGAN
from rl.rewards import MonteCarlo
from rl.rollout import Rollout
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import LSTMGenerator
from seqgan.sampling import complete
from seqgan.scoring import judge_completions

TINY = ((1, 3), (2, 4), (5, 6))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("shared_gate", [True, False])
def test_same_weights_give_the_same_logits(shared_gate: bool) -> None:
    torch.manual_seed(0)
    ours = ConvDiscriminator(11, 6, filters=TINY, shared_gate=shared_gate).eval()
    torch.nn.init.normal_(ours.bias)
    torch.nn.init.normal_(ours.gate.bias)
    theirs = NaiveDiscriminator(ours).eval()
    tokens = torch.randint(11, (9, 6))
    log_probs = theirs(tokens)
    torch.testing.assert_close(log_probs[:, 1] - log_probs[:, 0], ours(tokens), rtol=1e-5, atol=1e-5)
    assert ours(tokens).std() > 0.05


def test_same_weights_give_the_same_log_probabilities() -> None:
    torch.manual_seed(0)
    ours = LSTMGenerator(11, deviation=1.0)
    theirs, tokens = NaiveGenerator(ours), torch.randint(11, (9, 6))
    expected = ours.head(ours.features(tokens)).log_softmax(-1)
    torch.testing.assert_close(theirs(shifted(tokens, ours.start)), expected)
    h = c = torch.zeros(1, 9, 32)
    stepped, h, c = theirs.step(torch.zeros(9, 1, dtype=torch.long), h, c)
    torch.testing.assert_close(stepped.log(), expected[:, 0])
    stepped, h, c = theirs.step(tokens[:, :1], h, c)
    torch.testing.assert_close(stepped.log(), expected[:, 1])


def test_rewards_are_equal_in_distribution() -> None:
    """16 cells, each a difference of two means of 4,000: |z| > 4.5 somewhere in 1 of 9,000 seeds."""
    torch.manual_seed(0)
    generator = LSTMGenerator(7, deviation=1.0)
    discriminator = ConvDiscriminator(7, 5, filters=TINY, dropout=0.0)
    torch.nn.init.normal_(discriminator.output.weight)
    tokens, samples = torch.randint(7, (4, 5)), 4_000
    completions = complete(generator, tokens, samples)
    rewards = SeqGAN().reward(judge_completions(discriminator, tokens, completions)[1])  # [prefixes batch samples]
    error = (2 * rewards.var(2) / samples).sqrt().T

    theirs = NaiveGenerator(generator), NaiveDiscriminator(discriminator)
    repeated = tokens.repeat_interleave(samples, 0)  # one rollout of many copies is quicker than many rollouts
    naive = rollout_rewards(*theirs, repeated, 1).view(4, samples, 5).mean(1)
    assert error.min() > 1e-4
    assert ((naive[:, :-1] - rewards.mean(2).T) / error).abs().max() < 4.5
    judge = MonteCarlo(partial(complete, generator), partial(judge_completions, discriminator), SeqGAN(), samples=2)
    ours = judge(Rollout.of(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    torch.testing.assert_close(naive[:, -1], ours[:, -1], rtol=1e-4, atol=1e-5)


def test_parts_are_added_repeat_by_repeat() -> None:
    first, second = measured([1.0, 2.0], [10.0, 20.0]), measured([0.5, 0.25], [5.0, 1.0])
    total = combined([(1, first), (4, second)])
    assert total.cpu.seconds == (3.0, 3.0)
    assert total.wall.seconds == (30.0, 24.0)


def test_a_small_run_times_every_part() -> None:
    setting = Setting(batch=4, length=5, vocabulary=13, rollouts=2, filters=TINY)
    timings = compare(setting, Amounts(sentences=10, d_batches=1, mle_batches=1, repeats=2))
    parts = ("generator_step", "discriminator_step", "adversarial_round")
    expected = {p + s for p in parts for s in ("", "_bf16", "_two_matrices")}
    assert set(timings) == expected | {p + s for p in ("sampling", "mle_epoch") for s in ("", "_bf16")}
    for timing in timings.values():
        assert len(timing.ratios()) == 2
        assert math.isfinite(timing.speedup())
    step, sampled, judged = (
        timings[p].theirs.cpu.seconds for p in ("generator_step", "sampling", "discriminator_step")
    )
    whole = [g + 5 * s + 15 * 5_000 * d for g, s, d in zip(step, sampled, judged, strict=True)]
    assert timings["adversarial_round"].theirs.cpu.seconds == pytest.approx(whole)


def test_memory_is_measured_in_another_process() -> None:
    setting = Setting(batch=4, length=5, vocabulary=13, rollouts=2, filters=TINY)
    assert seqgan_step.peak_mb(seqgan_step.step_of, seqgan_step.Ours, setting) > 0
