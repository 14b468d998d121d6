import math

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from rl import AIRL, FAIRL, GAIL, GradientPenalty, LeastSquares, NonSaturating, Wasserstein
from rl.control import spaces
from rl.control.demonstrations import Subsampled
from rl.control.discriminator_updates import VERDICTS
from rl.control.discriminators import ShapedDiscriminator, StepDiscriminator
from rl.control.earning import Ends, absorbing_logit, ending
from rl.control.normaliser import Normaliser
from rl.control.replay import Replay
from rl.control.sources import (
    Adversary,
    Environment,
    ExpertOrNot,
    Given,
    Rules,
    interleave,
    log_prob_under,
    nothing,
)
from rl.control.transitions import Transitions
from rl.rollout import Rollout
from rl.runtime import Engine, Runtime

WIDTH, GAMMA, LIMIT = 2, 0.9, 1.0
OBSERVATIONS = spaces.observations(Box(-100, 100, (WIDTH,)), where="env")
ACTIONS = spaces.actions(Discrete(2), where="env")
FORMS = [GAIL(), AIRL(), FAIRL(), NonSaturating(), LeastSquares(), Wasserstein()]
AGENT = Ends(3, 50)


def steps(rows, seed=0, level=0.0):
    chance = torch.Generator().manual_seed(seed)
    return Transitions(
        obs=torch.randn(rows, WIDTH, generator=chance) + level,
        actions=torch.randint(0, 2, (rows,), generator=chance),
        next_obs=torch.randn(rows, WIDTH, generator=chance) + level,
        terminated=torch.rand(rows, generator=chance) < 0.3,
    )


def replay(rows=30, seed=5, level=0.0):
    held = Replay(100, OBSERVATIONS, ACTIONS)
    held.add(steps(rows, seed, level), torch.arange(float(rows)))
    return held


def rollout():
    """Two rows of four steps, one of which does not count."""
    mask = torch.tensor([[True, True, False, True], [True] * 4])
    held = Rollout.of(Transitions(*(field.unflatten(0, (2, 4)) for field in steps(8, 3))), mask)
    return held.relabel(lambda old: torch.arange(8.0).view(2, 4))


def adversary(objective=None, minus=nothing, net=None, **rules):
    torch.manual_seed(0)
    encoder = Normaliser(WIDTH)
    encoder.add(torch.randn(50, WIDTH) * 3 + 1)
    net = StepDiscriminator(WIDTH, ACTIONS, hidden=(8,)) if net is None else net
    numbers = {"batch": 4, "entropy": 0.01, "limit": LIMIT, "discount": GAMMA, "absorbing": True} | rules
    return Adversary(
        encoder, ACTIONS, net, Subsampled(steps(40, 1, 2.0), (0,), Ends(10, 40)), objective or GAIL(),
        GradientPenalty(1.0), torch.optim.Adam(net.parameters(), 0.05, fused=True), Rules(**numbers),
        Engine(Runtime("cpu", "fp32"), 0), minus,
    )  # fmt: skip


def learned(*given, **rules):
    source = adversary(*given, **rules)
    told = source.learn(lambda rows: steps(rows, 9, -2.0), 5, AGENT)
    return source, told


def worth(source, held):
    """What the steps are worth, from the networks alone."""
    with torch.no_grad():
        seen = held._replace(obs=source.encoder(held.obs), next_obs=source.encoder(held.next_obs))
        logits = source.discriminator(seen).clamp(-LIMIT, LIMIT)
    return source.objective.reward(logits) + source.ending * held.terminated


# --- an adversary


@pytest.mark.parametrize("objective", FORMS)
def test_rewards_given_again_are_the_fresh_ones(objective):
    """A lesson from replay, a whole rollout and single steps are paid by the same reward: today's."""
    source, _ = learned(objective)
    held = replay()
    lesson, rewards = source.lesson(held, 12)
    torch.testing.assert_close(rewards, worth(source, lesson))
    torch.testing.assert_close(rewards, torch.cat([source.reward()(lesson.take(torch.tensor([i]))) for i in range(12)]))
    whole = rollout()
    paid = source.pay(whole)
    torch.testing.assert_close(paid[whole.mask], worth(source, whole.steps.flat())[whole.mask.flatten()])
    assert paid[~whole.mask].tolist() == [0]
    source.learn(lambda rows: steps(rows, 11, 3.0), 5, Ends(30, 50))
    assert not torch.allclose(source.reward()(lesson), rewards)
    torch.testing.assert_close(source.reward()(lesson), worth(source, lesson))


def test_logits_beyond_the_limit_count_as_it():
    source = adversary(AIRL(), absorbing=False)
    with torch.no_grad():
        source.discriminator.net[-1].weight.mul_(100)
    paid = source.reward()(steps(40))
    assert (float(paid.min()), float(paid.max())) == (-LIMIT, LIMIT)


@pytest.mark.parametrize("objective", FORMS)
def test_a_termination_earns_the_absorbing_state_for_ever(objective):
    source, _ = learned(objective)
    logit = math.log((10.5 / 40) / (3.5 / 50))
    assert absorbing_logit(Ends(10, 40), AGENT) == pytest.approx(logit)
    assert source.ending == pytest.approx(ending(objective, logit, GAMMA, LIMIT))
    simple, _ = learned(objective, absorbing=False)
    assert simple.ending == 0


def test_it_learns_to_tell_the_sides_apart():
    source = adversary()
    first = source.learn(lambda rows: steps(rows, 9, -2.0), 1, AGENT)
    last = [source.learn(lambda rows: steps(rows, 9, -2.0), 20, AGENT) for _ in range(5)][-1]
    assert tuple(last) == VERDICTS
    assert last["d/loss"] < first["d/loss"]
    assert last["d/accuracy_expert"] > 0.85
    assert last["d/accuracy_agent"] > 0.85
    assert last["d/logit_expert"] > last["d/logit_agent"] + 1


def test_it_asks_for_as_many_of_the_agents_steps_as_it_takes_of_the_experts():
    asked = []

    def fake(rows):
        asked.append(rows)
        return steps(rows)

    adversary().learn(fake, 7, AGENT)
    assert asked == [28]


def test_each_side_is_told_as_it_is_judged():
    source = adversary(minus=lambda held: held.obs[:, 0])
    own = steps(4, 9, -2.0)
    torch.manual_seed(3)
    real = source.demonstrations.pairs(4)
    with torch.no_grad():
        on_real, on_own = source.judge(real).mean(), source.judge(own).mean()
    torch.manual_seed(3)
    told = source.learn(lambda rows: own, 1, AGENT)
    assert float(told["d/logit_expert"]) == pytest.approx(float(on_real), abs=1e-5)
    assert float(told["d/logit_agent"]) == pytest.approx(float(on_own), abs=1e-5)


def test_both_ways_of_updating_serve_it():
    """A shaped discriminator goes through autograd, with the policy's log-probability subtracted on both sides."""
    seen = []

    def policy(obs, actions):
        seen.append(obs)
        return obs[:, 0], obs[:, 1]

    source, told = learned(AIRL(), log_prob_under(policy), ShapedDiscriminator(WIDTH, GAMMA, hidden=(4,)))
    assert all(torch.isfinite(value) for value in told.values())
    assert {len(obs) for obs in seen} == {20}
    held = steps(6)
    raw = source.discriminator(held._replace(obs=source.encoder(held.obs), next_obs=source.encoder(held.next_obs)))
    torch.testing.assert_close(source.judge(held), raw - held.obs[:, 0])


def test_what_is_subtracted_pulls_the_output_up():
    """Where the logit is f - m with the same m on both sides, f settles higher by m than without it."""
    plain = adversary(Wasserstein())
    lifted = adversary(GAIL(), lambda held: torch.full((held.rows,), 3.0))
    held = steps(5)
    torch.testing.assert_close(plain.judge(held) - lifted.judge(held), torch.full((5,), 3.0))
    for _ in range(12):
        lifted.learn(lambda rows: steps(rows, 1, 2.0), 20, AGENT)  # just like the expert's: the best logit is 0
    with torch.no_grad():
        assert float(lifted.judge(steps(40, 1, 2.0)).mean()) == pytest.approx(0, abs=0.3)


def test_a_restored_adversary_pays_for_ends_as_before():
    source, _ = learned()
    other = adversary()
    other.load_state_dict(source.state_dict())
    assert other.ending == source.ending != 0


def test_nothing_is_nothing():
    assert nothing(steps(3)).tolist() == [0, 0, 0]
    assert nothing(steps(3)).dtype == torch.float32


# --- other sources


def test_the_environment_pays_its_own():
    whole, held = rollout(), replay()
    assert Environment().learn(steps, 3, AGENT) == {}
    assert Environment().pay(whole) is whole.rewards
    lesson, rewards = Environment().lesson(held, 20)
    assert torch.equal(lesson.obs, held.steps.obs[rewards.long()])
    assert len(rewards.unique()) > 5


def test_a_given_reward_pays_what_counts():
    def reward(held):
        return held.obs[:, 0] + 10

    whole, held = rollout(), replay()
    source = Given(reward)
    assert source.learn(steps, 3, AGENT) == {}
    paid = source.pay(whole)
    assert torch.equal(paid[whole.mask], whole.steps.obs[..., 0][whole.mask] + 10)
    assert paid[~whole.mask].tolist() == [0]
    lesson, rewards = source.lesson(held, 6)
    assert torch.equal(rewards, lesson.obs[:, 0] + 10)


@pytest.mark.parametrize("batch", [6, 7])
def test_sqil_pays_halves_of_every_minibatch(batch):
    """Reddy et al. 2020, algorithm 1: one for the expert's steps, zero for one's own, in equal parts."""
    expert = Subsampled(steps(40, 1, 50.0), (0,), Ends(10, 40))
    source = ExpertOrNot(expert, batch, GAMMA)
    assert source.learn(steps, 3, AGENT) == {}
    assert not source.pay(rollout()).any()
    lesson, rewards = source.lesson(replay(level=-50.0), 4 * batch)
    assert lesson.rows == len(rewards) == 4 * batch
    half = batch // 2
    for part in range(4):
        place = slice(part * batch, (part + 1) * batch)
        obs, ended, paid = lesson.obs[place], lesson.terminated[place], rewards[place]
        assert (obs[:half] > 0).all()
        assert (obs[half:] < 0).all()
        assert paid[:half].tolist() == pytest.approx([1 / (1 - GAMMA) if end else 1 for end in ended[:half]])
        assert not paid[half:].any()
    assert lesson.terminated.any()


def test_interleaving_keeps_the_order():
    first, second = steps(4, 1), steps(6, 2)
    mixed = interleave(first, second, 2, 3)
    order = torch.cat([first.obs[:2], second.obs[:3], first.obs[2:], second.obs[3:]])
    assert torch.equal(mixed.obs, order)
    actions = torch.cat([first.actions[:2], second.actions[:3], first.actions[2:], second.actions[3:]])
    assert torch.equal(mixed.actions, actions)
