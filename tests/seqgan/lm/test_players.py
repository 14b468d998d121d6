"""Who learns, and from what: rounds in the right order, demonstrations of the same prompt, and nothing else moved."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rl.objectives import SeqGAN
from rl.runtime import InputError
from seqgan.likelihood import nll, token_log_probs
from seqgan.lm import rewarded as paid
from seqgan.lm.earning import gated, ungated
from seqgan.lm.judging import SENTENCES, TOKENS, Judging
from seqgan.lm.numbers import Numbers
from seqgan.lm.players import Imitator
from seqgan.lm.rewarded import RewardedPlayers
from seqgan.lm.self_play import SelfPlayer
from seqgan.lm.variants import PRESETS, VARIANTS
from tests.seqgan.lm.toys import TINY, engine, task


def weights(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def rewarded(n: Numbers = TINY, prompt: int = 0, **how: Any) -> RewardedPlayers:
    how = {"objective": SeqGAN(), "compose": ungated} | how
    return RewardedPlayers(n, task(prompt), engine(), **how)


@pytest.mark.parametrize("prompt", [0, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_of_the_table_plays(variant: str, prompt: int) -> None:
    learner = VARIANTS[variant].players(replace(TINY, advantage=VARIANTS[variant].presets["default"].advantage),
                                        task(prompt), engine())  # fmt: skip
    learner.begin()
    start = weights(learner.start)
    learner.warm()
    before = weights(learner.generator)
    metrics = learner.round()
    assert all(torch.isfinite(value).all() for value in metrics.values())
    assert weights(learner.generator).equal(before) == (variant == "mle")
    assert weights(learner.start).equal(start)


@pytest.mark.parametrize("advantage", ["group", "rloo", "token", "gae", "rollout"])
def test_every_way_of_sharing_a_reward(advantage: str) -> None:
    learner = rewarded(replace(TINY, advantage=advantage), prompt=2)
    metrics = learner.round()
    assert all(torch.isfinite(value).all() for value in metrics.values())
    assert ("value/loss" in metrics) == ("value" in learner.parts()) == (advantage == "gae")


def test_the_presets_are_whole_numbers_of_groups() -> None:
    for variant in VARIANTS.values():
        assert variant.presets.keys() == PRESETS.keys()
        for n in variant.presets.values():
            assert n.batch % n.group == 0
            assert n.batch % n.minibatch == 0
    with pytest.raises(InputError, match="--batch 8: not divisible by --group 3"):
        rewarded(replace(TINY, group=3))


def test_the_reward_is_the_discriminators_before_it_learns_from_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, order = rewarded(), []
    for name in ("reward", "discern"):
        real = getattr(learner, name)
        monkeypatch.setattr(learner, name, lambda *a, real=real, name=name: (order.append(name), real(*a))[1])
    climb = paid.policy_round
    monkeypatch.setattr(paid, "policy_round", lambda *a, **k: (order.append("climb"), climb(*a, **k))[1])
    learner.round()
    assert order == ["reward", "discern", "climb"]


def test_answers_keep_the_prompts_of_their_demonstrations() -> None:
    learner = rewarded(prompt=2)
    pairs: list[tuple[Tensor, Tensor]] = []
    learner.discern = lambda fake, real: (pairs.append((fake, real)), {})[1]  # type: ignore[method-assign]
    learner.round()
    ((fake, real),) = pairs
    assert fake[:, :2].equal(real[:, :2])
    assert real.view(2, 4, -1).eq(real.view(2, 4, -1)[:, :1]).all(), "a group answers one prompt"
    known = {tuple(row) for row in learner.task.shown.train.tolist()}
    assert all(tuple(row) in known for row in real.tolist())


def test_the_discriminator_learns_demonstrations_as_real_and_answers_as_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, seen = rewarded(prompt=2), []
    monkeypatch.setattr(paid, "judge_round", lambda *a: (seen.append((a[3], a[4])), {})[1])
    real = learner.some_shown(8)
    fake = real.clone()
    fake[:, 2:] = 7  # nobody shows that
    for _ in range(2):
        learner.discern(fake, real)
    for on_real, on_fake in seen:
        assert len(on_real) == len(on_fake) == TINY.d_batch // 2
        assert (on_fake[:, 2:] == 7).all()
        assert not (on_real[:, 2:] == 7).all(1).any()
        assert on_real[:, :2].equal(on_fake[:, :2]), "paired by prompt"


def test_under_a_gate_only_what_passes_teaches_the_discriminator() -> None:
    learner = rewarded(compose=gated, passing_only=True)
    learner.task = replace(learner.task, verifier=lambda rollout: torch.zeros(len(rollout.mask)))
    real = learner.some_shown(8)
    before = weights(learner.discriminator)
    assert learner.discern(real, real) == {}
    assert weights(learner.discriminator).equal(before)
    learner.task = replace(learner.task, verifier=lambda rollout: (rollout.steps[:, 0] == real[0, 0]).float())
    learner.discern(real, real.flip(0))
    fake, _ = learner.memory.draw(100)
    assert (fake[:, 0] == real[0, 0]).all()


def test_a_policy_without_a_discriminator_never_moves_one() -> None:
    learner = rewarded(learns=False)
    before = weights(learner.discriminator)
    learner.warm()
    learner.round()
    assert weights(learner.discriminator).equal(before)
    assert learner.tells(learner.shown, learner.shown) == {}


def test_the_warm_up_moves_the_policy_only_where_it_is_asked_to() -> None:
    for asked in (False, True):
        learner = rewarded(replace(TINY, warm_sft=asked))
        before, judge = weights(learner.generator), weights(learner.discriminator)
        learner.warm()
        assert weights(learner.generator).equal(before) is not asked
        assert not weights(learner.discriminator).equal(judge)


def test_a_discriminator_learns_to_tell_and_says_so_of_rows_that_it_has_not_seen() -> None:
    learner = rewarded(replace(TINY, d_batch=64, d_lr=1e-2))
    for _ in range(40):
        learner.warm()
    fake = learner.answer(learner.generator, learner.some_shown(10))
    told = learner.tells(learner.task.shown.valid, fake)
    assert told["d/held_out"] > 0.9
    assert told["d/margin"] > 0
    assert learner.tells(fake, learner.task.shown.valid)["d/held_out"] == pytest.approx(1 - told["d/held_out"])
    assert learner.tells(fake, fake) == {"d/held_out": 0.5, "d/margin": 0}


def test_a_demonstration_is_compared_with_the_answer_to_its_own_prompt() -> None:
    """Bradley-Terry knows a logit but for a function of the prompt."""
    learner = rewarded(prompt=2)
    real = learner.some_shown(10)
    fake = real.clone()
    fake[:, 2:] = 7
    of_prompt = 100 * torch.randn(10)
    learner.judge = lambda rows: of_prompt[: len(rows)] + (rows[:, 2:] != 7).any(1).float()
    assert learner.tells(real, fake) == {"d/held_out": 1, "d/margin": pytest.approx(1)}
    assert learner.tells(real, fake[:4])["d/held_out"] == 1


def test_the_start_learns_nothing_whatever_it_is_asked() -> None:
    learner = VARIANTS["mle"].players(replace(TINY, warm_sft=True, steps=5), task(), engine())
    before = weights(learner.generator)
    assert learner.warm() == learner.round() == {}
    assert weights(learner.generator).equal(before)


@pytest.mark.parametrize("judging", [SENTENCES, TOKENS])
def test_padding_changes_no_logit_and_heat_is_of_what_is_paid(judging: Judging) -> None:
    learner = rewarded(prompt=3, judging=judging)
    row = learner.some_shown(1)
    row[:, :3] = torch.tensor([0, 0, 4])
    padded = learner.judge(row)[..., 3:] if judging is TOKENS else learner.judge(row)
    said = row[learner.task.said(row)].tolist()
    heat = learner.heat([4], said)
    assert len(heat) == len(said)
    if judging is TOKENS:
        torch.testing.assert_close(torch.tensor(heat), padded[0, : len(said)])


def test_imitation_raises_the_likelihood_of_demonstrations() -> None:
    learner = Imitator(replace(TINY, sft_lr=1e-2), task(), engine())
    before = nll(learner.generator, learner.shown)
    for _ in range(30):
        learner.round()
    assert nll(learner.generator, learner.shown) < before - 0.3


def test_self_play_is_bradley_terry_on_log_ratios() -> None:
    learner = SelfPlayer(TINY, task(), engine())
    learner.round()
    state = torch.get_rng_state()
    real = learner.some_shown(8)
    fake = learner.answer(learner.opponent, real)
    torch.set_rng_state(state)
    with torch.no_grad():
        for weight in learner.generator.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    ratios = [
        TINY.spin_beta * (token_log_probs(learner.generator, rows) - token_log_probs(learner.opponent, rows)).sum(1)
        for rows in (real, fake)
    ]
    expected = -(ratios[0] - ratios[1]).sigmoid().log().mean()
    torch.set_rng_state(state)
    torch.testing.assert_close(learner.round()["g/loss"], expected, rtol=1e-4, atol=1e-5)


def test_the_opponent_is_renewed_after_its_turns() -> None:
    learner = SelfPlayer(replace(TINY, warm_sft=True), task(), engine())
    learner.begin()
    learner.warm()
    first = weights(learner.generator)
    for _ in range(2):
        learner.round()
        assert weights(learner.opponent).equal(first)
    second = weights(learner.generator)
    learner.round()
    assert weights(learner.opponent).equal(second)


def test_the_heat_of_tokens() -> None:
    for variant, sums in (("gad", True), ("airl-token", False)):
        learner: Any = VARIANTS[variant].players(TINY, task(prompt=2), engine())
        row = learner.task.shown.valid[:1]
        said = learner.task.said(row)
        ids = row[said].tolist()
        numbers = learner.heat(row[0, :2].tolist(), ids)
        learner.discriminator.eval()
        whole = learner.judge(row)
        if sums:
            none = learner.discriminator(row[:, :2], torch.ones(1, 2).bool())
            assert len(numbers) == len(ids)
            assert sum(numbers) == pytest.approx((whole - none).item(), abs=1e-5)
        else:
            assert numbers == pytest.approx(whole[said].tolist(), abs=1e-5)
    assert VARIANTS["sft"].players(TINY, task(), engine()).heat([], [1, 2]) == []
