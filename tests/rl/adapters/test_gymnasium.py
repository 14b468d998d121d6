from itertools import cycle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from rl.adapters.gymnasium import RewardWrapper, VectorRewardWrapper
from rl.control.environments import Serial
from rl.runtime.errors import Diverged, InputError
from tests.rl.adapters.corridor import WALKS, Corridor, Exact, Reused, Rooms, expected, learned

NEXT_STEP, SAME_STEP, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


class Stacked(VectorWrapper):
    """Gives final_obs as one batch, as environments on an accelerator do, with junk where nothing ended."""

    def step(self, actions):
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info["final_obs"] = np.stack(
                [np.full(2, 99, np.float32) if held is None else held for held in info["final_obs"]]
            )
        return obs, rewards, terminated, truncated, info


def walk(env, actions, steps):
    """Walk alone; what each step paid, with terminated and truncated."""
    rows, actions = [], cycle(actions)
    env.reset()
    for _ in range(steps):
        _, reward, terminated, truncated, _ = env.step(next(actions))
        rows.append((reward, terminated, truncated))
        if terminated or truncated:
            env.reset()
    return rows


def walk_together(env, steps):
    """Walk side by side, each walker at its own pace; the same for each, resetting steps left out."""
    mode = env.metadata["autoreset_mode"]
    rows, actions = ([], []), [cycle(walk) for walk in WALKS]
    resetting = np.zeros(2, bool)
    env.reset()
    for _ in range(steps):
        taken = np.array([0 if skip else next(mine) for skip, mine in zip(resetting, actions, strict=True)])
        _, rewards, terminated, truncated, info = env.step(taken)
        assert info["_env_reward"].tolist() == (~resetting).tolist()
        for index in range(2):
            if resetting[index]:
                assert rewards[index] == 0
            else:
                rows[index].append((rewards[index], bool(terminated[index]), bool(truncated[index])))
        ended = terminated | truncated
        if mode is DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
        resetting = ended & (mode is NEXT_STEP)
    return rows


VECTORS = {
    "next": lambda make: SyncVectorEnv([make, make], autoreset_mode=NEXT_STEP),
    "same": lambda make: SyncVectorEnv([make, make], autoreset_mode=SAME_STEP),
    "disabled": lambda make: SyncVectorEnv([make, make], autoreset_mode=DISABLED),
    "serial": lambda make: Serial([make, make]),
}


def in_rooms():
    return Rooms(Corridor())


def reused():
    return Reused(Corridor())


@pytest.mark.parametrize("actions", WALKS)
@pytest.mark.parametrize("make", [Corridor, in_rooms, reused])
def test_a_step_is_paid_for_where_it_led_and_whether_it_ended(make, actions):
    rows = expected(actions, 6)
    assert walk(RewardWrapper(make(), Exact()), actions, len(rows)) == rows
    assert any(truncated for _, _, truncated in rows)


@pytest.mark.parametrize("make", [Corridor, in_rooms])
@pytest.mark.parametrize("vector", VECTORS)
def test_every_autoreset_mode_pays_the_same_for_the_same_steps(vector, make):
    exact = Exact()
    walked = walk_together(VectorRewardWrapper(VECTORS[vector](make), exact), 60)
    for actions, rows in zip(WALKS, walked, strict=True):
        assert len(rows) > 45
        assert any(terminated for _, terminated, _ in rows) == (actions is WALKS[0])
        assert any(truncated for _, _, truncated in rows)
        assert rows == expected(actions, 12)[: len(rows)]
    assert exact.steps.rows == sum(map(len, walked))  # no resetting step was shown to the reward


def test_last_observations_that_come_as_one_batch():
    walked = walk_together(VectorRewardWrapper(Stacked(VECTORS["same"](Corridor)), Exact()), 60)
    for actions, rows in zip(WALKS, walked, strict=True):
        assert rows == expected(actions, 12)[: len(rows)]


def test_a_reset_by_hand_in_the_next_step_mode_leaves_nothing_to_reset():
    env = VectorRewardWrapper(VECTORS["next"](Corridor), Exact())
    env.reset()
    for _ in range(3):
        _, _, terminated, _, _ = env.step(np.array([1, 1]))
    assert terminated.all()
    env.reset(options={"reset_mask": np.array([True, False])})
    _, rewards, *_, info = env.step(np.array([1, 1]))
    assert rewards.tolist() == [20 + 100 * 21 + 10_000, 0]  # the second is only reset by this step
    assert info["_env_reward"].tolist() == [True, False]
    _, rewards, *_, info = env.step(np.array([0, 0]))
    assert rewards.tolist() == [21 + 100 * 20, 20 + 100 * 19]
    assert info["_env_reward"].all()


def test_all_but_the_reward_is_the_environments():
    def run(env):
        rows = [env.reset()]
        for action in (1, 1, 1):
            rows.append(env.step(action))
        return rows

    plain, wrapped = run(in_rooms()), run(RewardWrapper(in_rooms(), Exact()))
    for mine, theirs in zip(wrapped[1:], plain[1:], strict=True):
        assert mine[0] == theirs[0]
        assert mine[2:4] == theirs[2:4]
        assert mine[4] == {"env_reward": theirs[1]}
        assert type(mine[1]) is float
    env, other = VectorRewardWrapper(VECTORS["next"](Corridor), Exact()), VECTORS["next"](Corridor)
    env.reset()
    other.reset()
    mine, theirs = (side.step(np.array([1, 0])) for side in (env, other))
    assert (mine[0] == theirs[0]).all()
    assert (mine[4]["env_reward"] == theirs[1]).all()
    assert mine[1].dtype == theirs[1].dtype


def test_what_users_do_to_their_arrays_changes_no_reward():
    def after(tamper):
        env = VectorRewardWrapper(VECTORS["next"](Corridor), Exact())
        obs, _ = env.reset()
        tamper(obs)
        actions = np.array([1, 0])
        paid = []
        for _ in range(3):
            obs, rewards, *_ = env.step(actions)
            tamper(obs)
            paid.append(rewards.tolist())
            tamper(rewards)
        return paid

    assert after(lambda array: array.fill(7)) == after(lambda array: None)


@pytest.mark.parametrize("push", [0, 1])
def test_the_pole_falls_and_the_time_limit_only_cuts_off(push):
    fall, cut = Exact(), Exact()
    env = RewardWrapper(gymnasium.make("CartPole-v1"), fall)
    env.reset(seed=3)
    over, last = False, None
    while not over:
        last, _, over, truncated, _ = env.step(push)
        assert not truncated
    assert fall.steps.terminated.tolist() == [False] * (fall.steps.rows - 1) + [True]
    assert fall.steps.next_obs[-1].tolist() == last.tolist()
    env = RewardWrapper(gymnasium.make("Pendulum-v1", max_episode_steps=4), cut)
    env.reset(seed=3)
    for _ in range(4):
        last, _, _, truncated, _ = env.step(np.array([0.5], np.float32))
    assert truncated
    assert not cut.steps.terminated.any()
    assert cut.steps.next_obs[-1].tolist() == last.tolist()
    assert (cut.steps.obs[1:] == cut.steps.next_obs[:-1]).all()


def test_the_native_vector_environment():
    exact = Exact()
    env = VectorRewardWrapper(gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point"), exact)
    env.reset(seed=0)
    before = np.zeros(3, bool)
    for _ in range(40):
        _, rewards, terminated, truncated, _ = env.step(np.array([0, 1, 1]))
        assert (rewards[before] == 0).all()
        before = terminated | truncated
    states, ended = exact.steps.next_obs, exact.steps.terminated
    fallen = (states[:, 2].abs() > 0.2095) | (states[:, 0].abs() > 2.4)
    assert ended.sum() >= 9
    assert (fallen == ended).all()


def test_a_reward_that_learns_is_asked_anew():
    exact = Exact()
    env = RewardWrapper(Corridor(), exact)
    env.reset()
    assert env.step(1)[1] == 10 + 1100 + 10_000
    exact.scale = -1
    assert env.step(1)[1] == -(11 + 1200 + 10_000)
    again = gymnasium.make(RewardWrapper(gymnasium.make("CartPole-v1"), exact).spec)
    again.reset()
    exact.scale = 0
    assert again.step(1)[1] == 0


def test_a_step_before_the_first_reset():
    for env, action in [
        (RewardWrapper(Corridor(), Exact()), 1),
        (VectorRewardWrapper(Serial([Corridor]), Exact()), np.array([1])),
    ]:
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(action)


@pytest.mark.parametrize("wrap", [
    lambda env, reward: RewardWrapper(env(), reward),
    lambda env, reward: VectorRewardWrapper(Serial([env]), reward),
])  # fmt: skip
def test_spaces_that_do_not_fit(wrap):
    reward = learned(gymnasium.make("CartPole-v1"))
    with pytest.raises(InputError, match=r"Pendulum.*: observations: width: 3, the reward was made for 4"):
        wrap(lambda: gymnasium.make("Pendulum-v1"), reward)
    with pytest.raises(InputError, match=r"FrozenLake.*observations"):
        wrap(lambda: gymnasium.make("FrozenLake-v1"), reward)
    fits = wrap(lambda: gymnasium.make("CartPole-v1"), reward)
    assert fits.reset(seed=0)

    class Odd(Corridor):
        action_space = gymnasium.spaces.MultiBinary(3)

    with pytest.raises(InputError, match=r"(Odd|Serial).*: actions: MultiBinary is not supported"):
        wrap(Odd, Exact())


def test_an_environment_that_does_not_say_how_it_resets():
    env = VECTORS["next"](Corridor)
    del env.metadata["autoreset_mode"]
    with pytest.raises(InputError, match="there is no autoreset_mode"):
        VectorRewardWrapper(env, Exact())


@pytest.mark.parametrize(
    ("reward", "error", "reason"),
    [
        (lambda steps: steps.obs[:, :1], ValueError, r"shape \[1, 1\] for 1 steps"),
        (lambda steps: steps.obs[:, 0] * torch.nan, Diverged, "the reward of step 0 of 1 is not finite"),
    ],
)
def test_a_reward_that_cannot_be_paid(reward, error, reason):
    env = RewardWrapper(Corridor(), reward)
    env.reset()
    with pytest.raises(error, match=reason):
        env.step(1)


def test_actions_are_counted_from_zero_and_kept_as_numbers():
    class Shifted(Corridor):
        action_space = Discrete(2, start=4)

        def step(self, action):
            return super().step(action - 4)

    exact = Exact()
    env = RewardWrapper(Shifted(), exact)
    env.reset()
    env.step(np.int64(5))
    assert exact.steps.actions.tolist() == [1]

    class Pushed(Corridor):
        action_space = Box(-1, 1, (2,), np.float64)

        def step(self, action):
            action *= 0  # an environment's own business
            return super().step(1)

    shown = []
    env = RewardWrapper(Pushed(), lambda steps: shown.append(steps.actions) or steps.obs[:, 0])
    env.reset()
    env.step(np.array([0.25, -1.0]))
    assert shown[0].tolist() == [[0.25, -1.0]]
    assert shown[0].dtype == torch.float32


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*A Box observation space m(in|ax)imum value is")
@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space")
def test_gymnasiums_own_check(env_id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # it renders
    pytest.importorskip("pygame")
    env = gymnasium.make(env_id)
    check_env(RewardWrapper(env, learned(env, ending=3.0)))
