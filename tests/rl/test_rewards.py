import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rl.objectives import AIRL, MaliGAN, Minimax, Relativistic, SeqGAN
from rl.rewards import (
    Clipped,
    Constant,
    Gated,
    MonteCarlo,
    Noise,
    Normalised,
    PerStep,
    Scaled,
    Terminal,
    judge_in_chunks,
)
from rl.rollout import Rollout

MASK = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
STEPS = torch.arange(9.0).view(3, 3)
ROLLOUT = Rollout.of(STEPS, MASK)


def steps_themselves(rollout: Rollout[Tensor]) -> Tensor:
    return rollout.steps.masked_fill(~rollout.mask, 0)


def test_per_step_by_hand():
    paid = PerStep(lambda steps: steps.log(), SeqGAN())(Rollout.of(torch.tensor([[1.0, 3, 9]]), MASK[2:]))
    torch.testing.assert_close(paid, torch.tensor([[1 / 2, 3 / 4, 0]]))  # sigmoid(log x) = x / (1 + x)


def test_terminal_pays_at_the_last_counted_step():
    paid = Terminal(lambda steps: steps[:, 0] + 1, AIRL())(ROLLOUT)
    assert paid.tolist() == [[0, 0, 1], [4, 0, 0], [0, 7, 0]]
    empty = Rollout.of(STEPS, torch.zeros(3, 3, dtype=torch.bool))
    assert not Terminal(lambda steps: steps[:, 0] + 1, AIRL())(empty).any()


def test_rewards_carry_no_gradient():
    net = nn.Linear(3, 1)

    def judge_completions(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        return net(tokens)[..., 0], net(completions)[..., 0]

    def complete(tokens: Tensor, samples: int) -> Tensor:
        return tokens.expand(2, samples, 3, 3).transpose(1, 2)

    for reward in (
        Terminal(lambda steps: net(steps)[..., 0], AIRL()),
        PerStep(lambda steps: steps * net.bias, AIRL()),
        MonteCarlo(complete, judge_completions, AIRL(), 2),
    ):
        assert not reward(ROLLOUT).requires_grad


# ---- Monte Carlo: a judge whose logit names row, prefix and sample

B, T, S = 5, 4, 3
TOKENS = torch.arange(B * T).view(B, T)
FULL = Rollout.of(TOKENS, torch.ones(B, T, dtype=torch.bool))


def marked(tokens: Tensor, samples: int) -> Tensor:
    """Completions of which the last token tells prefix, row and sample, and the others tell the prefix itself."""
    p, b, s = torch.meshgrid(torch.arange(T - 1), torch.arange(B), torch.arange(samples), indexing="ij")
    out = tokens[None, :, None, :].repeat(T - 1, 1, samples, 1)
    out[..., -1] = 10_000 * (p + 1) + 100 * (b + 1) + s
    return out


def read_marks(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
    assert torch.equal(tokens, TOKENS)
    assert torch.equal(completions[:, :, 0, 0], TOKENS[:, 0].expand(T - 1, B))  # row by row
    return -(tokens[:, 0] // T + 1).double(), completions[..., -1].double()


def test_monte_carlo_keeps_rows_prefixes_and_samples_apart():
    paid = MonteCarlo(marked, read_marks, AIRL(), S)(FULL)
    for b in range(B):
        for t in range(T - 1):  # the token at t is the last of prefix t; samples 0, 1, 2 have mean 1
            assert paid[b, t] == 10_000 * (t + 1) + 100 * (b + 1) + 1
        assert paid[b, T - 1] == -(b + 1)


def test_monte_carlo_averages_rewards_and_not_logits():
    def judge(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        row = torch.tensor([0.0, math.log(3), -math.log(3)], dtype=torch.float64)
        return torch.zeros(B, dtype=torch.float64), (row * torch.arange(1, 4)).expand(T - 1, B, S)

    def worth(x: float) -> float:
        return math.log1p(math.exp(x))

    paid = MonteCarlo(marked, judge, Minimax(), S)(FULL)
    expected = (worth(0) + worth(2 * math.log(3)) + worth(-3 * math.log(3))) / 3
    torch.testing.assert_close(paid[:, : T - 1], torch.full((B, T - 1), expected, dtype=torch.float64))


def test_monte_carlo_normalises_over_the_batch():
    paid = MonteCarlo(marked, lambda tokens, done: (torch.randn(B), torch.randn(T - 1, B, S)), MaliGAN(), S)(FULL)
    torch.testing.assert_close(paid.sum(0), torch.ones(T))


def test_monte_carlo_pays_nothing_off_the_mask():
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[2, 2:] = False
    paid = MonteCarlo(marked, read_marks, AIRL(), S)(Rollout.of(TOKENS, mask))
    assert (paid[2, 2:] == 0).all()
    assert (paid[mask] != 0).all()


def test_monte_carlo_of_one_token_is_the_sentence_itself():
    def judge(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        return tokens[:, 0].double(), torch.zeros(0, B, S)

    rollout = Rollout.of(TOKENS[:, :1], torch.ones(B, 1, dtype=torch.bool))
    paid = MonteCarlo(lambda tokens, samples: torch.zeros(0, B, samples, 1).long(), judge, AIRL(), S)(rollout)
    assert torch.equal(paid, TOKENS[:, :1].double())


def test_monte_carlo_refuses_other_layouts():
    def swapped(tokens: Tensor, samples: int) -> Tensor:
        return marked(tokens, samples).transpose(0, 1)

    with pytest.raises(ValueError, match=r"complete gave shape \(5, 3, 3, 4\), expected \(3, 5, 3, 4\)"):
        MonteCarlo(swapped, read_marks, AIRL(), S)(FULL)
    with pytest.raises(ValueError, match="judge_completions, completions"):
        MonteCarlo(marked, lambda t, c: (torch.zeros(B), torch.zeros(B, T - 1, S)), AIRL(), S)(FULL)
    with pytest.raises(ValueError, match="judge_completions, sentences"):
        MonteCarlo(marked, lambda t, c: (torch.zeros(B, 1), torch.zeros(T - 1, B, S)), AIRL(), S)(FULL)


def test_relativistic_cannot_pay_without_a_real():
    with pytest.raises(ValueError, match="Relativistic"):
        PerStep(lambda steps: steps, Relativistic())(ROLLOUT)


# ---- controls and combinators


def test_controls():
    assert Constant(3.0)(ROLLOUT).tolist() == [[3, 3, 3], [3, 0, 0], [3, 3, 0]]
    big = Rollout.of(torch.zeros(200, 50), torch.rand(200, 50, generator=torch.Generator().manual_seed(7)) < 0.9)
    torch.manual_seed(0)
    noise = Noise()(big)
    assert (noise[~big.mask] == 0).all()
    assert noise.min() >= 0
    assert noise.max() < 1
    # mean of 9,000 uniforms: five standard errors of 0.00304, seed fixed
    assert abs(noise[big.mask].mean() - 0.5) < 0.016
    assert not torch.equal(Noise()(big), noise)


def test_scaled_and_clipped_by_hand():
    assert Scaled(steps_themselves, 2.0, 1.0)(ROLLOUT).tolist() == [[1, 3, 5], [7, 0, 0], [13, 15, 0]]
    assert Clipped(steps_themselves, 1.0, 6.0)(ROLLOUT).tolist() == [[1, 1, 2], [3, 0, 0], [6, 6, 0]]
    assert torch.equal(Scaled(steps_themselves)(ROLLOUT), steps_themselves(ROLLOUT))
    assert torch.equal(Clipped(steps_themselves)(ROLLOUT), steps_themselves(ROLLOUT))


def test_gated_multiplies_whole_rows():
    paid = Gated(steps_themselves, lambda rollout: torch.tensor([1.0, 0.0, 0.5]))(ROLLOUT)
    assert paid.tolist() == [[0, 1, 2], [0, 0, 0], [3, 3.5, 0]]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 1000))
def test_normalised_knows_the_moments_of_all_it_has_paid(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    normalised, seen = Normalised(steps_themselves), []
    for size in sizes:
        steps = torch.randn(size, 4, generator=generator, dtype=torch.float64) * 3 + 100
        mask = torch.rand(size, 4, generator=generator) < 0.7
        seen.append(steps[mask])
        paid = normalised(Rollout.of(steps, mask))
        everything = torch.cat(seen)
        if everything.numel() < 2:
            continue
        mean, std = everything.mean(), everything.std(correction=0)
        torch.testing.assert_close(paid, ((steps - mean) / (std + 1e-8)).masked_fill(~mask, 0))


def test_normalised_resumes_and_may_leave_the_mean():
    first, second = Normalised(steps_themselves), Normalised(steps_themselves)
    first(ROLLOUT)
    second.load_state_dict(first.state_dict())
    other = replace(ROLLOUT, steps=STEPS * 2 - 1)
    assert torch.equal(first(other), second(other))
    assert first.state_dict() == second.state_dict()
    # 0 1 2 3 6 7: mean 19/6, variance 99/6 - (19/6)^2
    std = math.sqrt(99 / 6 - (19 / 6) ** 2)
    torch.testing.assert_close(Normalised(steps_themselves, centre=False)(ROLLOUT), steps_themselves(ROLLOUT) / std)


def test_normalised_survives_an_empty_rollout():
    normalised = Normalised(steps_themselves)
    paid = normalised(Rollout.of(STEPS, torch.zeros(3, 3, dtype=torch.bool)))
    assert not paid.any()
    assert normalised.state_dict() == {"count": 0, "mean": 0.0, "squares": 0.0}


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_judge_the_same(chunk):
    sizes, rows = [], torch.arange(14.0).view(7, 2)

    def judge(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return part.sum(1)

    assert torch.equal(judge_in_chunks(judge, rows, chunk), rows.sum(1))
    assert max(sizes) <= chunk
    assert len(sizes) == math.ceil(7 / chunk)
