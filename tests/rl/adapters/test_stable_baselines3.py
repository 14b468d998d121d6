from itertools import cycle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from rl import GAIL
from rl.adapters.gymnasium import RewardWrapper
from rl.control.earning import Earned
from rl.control.transitions import Transitions
from rl.runtime.errors import InputError
from tests.rl.adapters.corridor import WALKS, Corridor, Exact, Rooms, expected, learned

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rl.adapters.stable_baselines3 import RewardVecEnv

PUSHES = {"n_steps": 64, "batch_size": 64, "n_epochs": 4, "gamma": 0.0, "learning_rate": 0.01, "device": "cpu"}


def poles(number=4):
    return DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * number)


def share_of_right(agent):
    """Return how often the agent pushes to the right, in states of every kind."""
    torch.manual_seed(0)
    actions, _ = agent.predict(torch.randn(2000, 4).numpy() * 0.1, deterministic=False)
    return actions.mean()


@pytest.mark.parametrize("make", [Corridor, lambda: Rooms(Corridor())])
def test_every_step_is_paid_for_where_it_led_and_whether_it_ended(make):
    exact = Exact()
    env = RewardVecEnv(DummyVecEnv([make, make]), exact)
    actions, rows = [cycle(walk) for walk in WALKS], ([], [])
    env.reset()
    for _ in range(60):
        _, rewards, dones, infos = env.step(np.array([next(mine) for mine in actions]))
        for mine, reward, done, info in zip(rows, rewards.tolist(), dones, infos, strict=True):
            mine.append((reward, bool(done and not info["TimeLimit.truncated"]), info["TimeLimit.truncated"]))
            assert info["env_reward"] > 0
    for walk, mine in zip(WALKS, rows, strict=True):
        assert mine == expected(walk, 12)[:60]
    assert exact.steps.rows == 120


def test_the_pole_falls_and_the_time_limit_only_cuts_off():
    fall, cut = Exact(), Exact()
    env = RewardVecEnv(poles(2), fall)
    env.reset()
    lasts = []
    for _ in range(30):
        _, _, dones, infos = env.step(np.array([0, 1]))
        lasts += [info["terminal_observation"] for done, info in zip(dones, infos, strict=True) if done]
    states, ended = fall.steps.next_obs, fall.steps.terminated
    assert torch.equal(states[ended], torch.from_numpy(np.stack(lasts)))
    assert torch.equal((states[:, 2].abs() > 0.2095) | (states[:, 0].abs() > 2.4), ended)
    assert ended.sum() >= 4
    env = RewardVecEnv(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1", max_episode_steps=4)]), cut)
    env.reset()
    for _ in range(4):
        _, _, dones, infos = env.step(np.zeros((1, 1), np.float32))
    assert dones.all()
    assert infos[0]["TimeLimit.truncated"]
    assert not cut.steps.terminated.any()
    assert cut.steps.next_obs[-1].tolist() == infos[0]["terminal_observation"].tolist()


def test_all_but_the_reward_is_the_environments():
    mine, theirs = RewardVecEnv(poles(2), Exact()), poles(2)
    for env in (mine, theirs):
        env.seed(3)
    assert (mine.reset() == theirs.reset()).all()
    for _ in range(40):
        (obs, rewards, dones, infos), (obs_, rewards_, dones_, infos_) = (
            env.step(np.array([1, 0])) for env in (mine, theirs)
        )
        assert (obs == obs_).all()
        assert (dones == dones_).all()
        assert rewards.dtype == rewards_.dtype
        for info, info_, reward in zip(infos, infos_, rewards_, strict=True):
            assert info.pop("env_reward") == reward
            assert info.keys() == info_.keys()


def test_what_users_do_to_their_arrays_changes_no_reward():
    def after(tamper):
        env = RewardVecEnv(DummyVecEnv([Corridor, Corridor]), Exact())
        tamper(env.reset())
        paid = []
        for _ in range(9):
            obs, rewards, *_ = env.step(np.array([1, 0]))
            paid.append(rewards.tolist())
            tamper(obs)
            tamper(rewards)
        return paid

    assert after(lambda array: array.fill(7)) == after(lambda array: None)


def test_spaces_that_do_not_fit():
    reward = learned(gymnasium.make("CartPole-v1"))
    with pytest.raises(InputError, match="observations: width: 3, the reward was made for 4"):
        RewardVecEnv(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), reward)


@pytest.mark.filterwarnings("ignore:We recommend you to use a symmetric and normalized Box")
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_stable_baselines_own_check(env_id):
    env = gymnasium.make(env_id)
    check_env(RewardWrapper(env, learned(env, ending=3.0)), warn=True)


def test_ppo_trains_on_a_frozen_reward(tmp_path):
    reward = learned(gymnasium.make("CartPole-v1"))
    for weight in reward.discriminator.parameters():
        torch.nn.init.zeros_(weight)
    with torch.no_grad():  # a logit of 1 for pushes to the right, -1 for the others
        reward.discriminator.net[-1].bias.copy_(torch.tensor([-1.0, 1.0]))
    reward.save(tmp_path / "reward")
    agent = PPO("MlpPolicy", VecNormalize(RewardVecEnv(poles(), reward.load(tmp_path / "reward")), norm_reward=False),
                seed=0, **PUSHES)  # fmt: skip
    assert share_of_right(agent) == pytest.approx(0.5, abs=0.1)
    agent.learn(2048)
    assert share_of_right(agent) > 0.9
    assert agent.rollout_buffer.rewards.max() == 1.0


class Learning:
    """A reward that keeps the steps it has paid, and learns from them who pushes to the right."""

    def __init__(self, env):
        self.reward = learned(env)
        self.optimizer = torch.optim.Adam(self.reward.discriminator.parameters(), 0.01)
        self.paid = []

    def __call__(self, steps):
        self.paid.append(Transitions(*(field.clone() for field in steps)))
        return Earned(self.reward.discriminator, GAIL())(steps)

    def learn(self):
        own = Transitions(*(torch.cat(fields) for fields in zip(*self.paid, strict=True)))
        experts = own._replace(actions=torch.ones_like(own.actions))
        for _ in range(10):
            self.optimizer.zero_grad()
            judge = self.reward.discriminator
            GAIL().discriminator_loss(judge(experts), judge(own)).backward()
            self.optimizer.step()
        self.paid.clear()


def test_ppo_trains_on_a_reward_that_learns_between_rollouts():
    class Between(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            reward.learn()

    reward = Learning(gymnasium.make("CartPole-v1"))
    agent = PPO("MlpPolicy", RewardVecEnv(poles(), reward), seed=0, **PUSHES)
    start = share_of_right(agent)
    agent.learn(4096, callback=Between())
    assert start == pytest.approx(0.5, abs=0.1)
    assert share_of_right(agent) > 0.9


def test_box_actions_reach_the_reward_as_the_environment_gets_them():
    exact = Exact()
    env = RewardVecEnv(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), exact)
    assert isinstance(env.action_space, Box)
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(16)
    assert exact.steps.actions.shape == (16, 1)
    assert exact.steps.actions.abs().max() <= 2
