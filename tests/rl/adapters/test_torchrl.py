import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from rl.adapters.torchrl import TensorDictReward
from rl.control.transitions import Transitions
from rl.runtime.errors import InputError
from tests.rl.adapters.corridor import Exact, learned

pytest.importorskip("torchrl")

from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import GymEnv


def rollout(env_id, steps, seed=0, **kwargs):
    env = GymEnv(env_id, **kwargs)
    env.set_seed(seed)
    torch.manual_seed(seed)
    return env.rollout(steps, break_when_any_done=False)


def spaces_of(env_id):
    env = gymnasium.make(env_id)
    return env.observation_space, env.action_space


@pytest.mark.parametrize("categorical", [False, True])
def test_a_real_rollout_of_poles_that_fall(categorical):
    exact = Exact()
    data = rollout("CartPole-v1", 120, categorical_action_encoding=categorical)
    env_rewards = data["next", "reward"].clone()
    given = TensorDictReward(exact, *spaces_of("CartPole-v1"))(data)
    assert given is data
    assert torch.equal(data["next", "env_reward"], env_rewards)
    assert data["next", "reward"].shape == env_rewards.shape == (120, 1)
    steps = exact.steps
    actions = data["action"] if categorical else data["action"].argmax(-1)
    assert torch.equal(steps.actions, actions)
    assert steps.actions.float().std() > 0
    assert torch.equal(steps.obs, data["observation"])
    assert torch.equal(steps.next_obs, data["next", "observation"])
    fallen = (steps.next_obs[:, 2].abs() > 0.2095) | (steps.next_obs[:, 0].abs() > 2.4)
    assert fallen.sum() >= 3
    assert torch.equal(steps.terminated, fallen)
    assert torch.equal(data["next", "reward"].squeeze(-1), Exact()(steps))


def test_a_time_limit_is_no_termination():
    exact = Exact()
    data = rollout("Pendulum-v1", 450)
    TensorDictReward(exact, *spaces_of("Pendulum-v1"))(data)
    assert data["next", "truncated"].sum() == 2
    assert data["next", "done"].sum() == 2
    assert not exact.steps.terminated.any()
    follows = ~data["next", "done"].squeeze(-1)[:-1]
    assert torch.equal(exact.steps.next_obs[:-1][follows], exact.steps.obs[1:][follows])
    assert not torch.equal(exact.steps.next_obs[199], exact.steps.obs[200])
    assert exact.steps.actions.shape == (450, 1)


def test_any_batch():
    reward = TensorDictReward(Exact(), *spaces_of("CartPole-v1"))
    data = rollout("CartPole-v1", 24)
    expected = reward(data.clone())["next", "reward"]
    assert torch.equal(reward(data.clone().reshape(2, 3, 4))["next", "reward"], expected.reshape(2, 3, 4, 1))
    one = reward(data[5].clone())
    assert one.batch_size == ()
    assert torch.equal(one["next", "reward"], expected[5])


def test_a_replay_buffer_pays_by_what_the_reward_is_then():
    exact = Exact()
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(50), batch_size=16, transform=TensorDictReward(exact, *spaces_of("CartPole-v1"))
    )
    buffer.extend(rollout("CartPole-v1", 50))
    for scale in (1, -1):
        exact.scale = scale
        sample = buffer.sample()
        assert (sample["next", "env_reward"] == 1).all()
        assert torch.equal(sample["next", "reward"].squeeze(-1), exact(exact.seen[-1]))
        assert (sample["next", "reward"] * scale > 0).any()


def test_paying_twice_keeps_the_environments_own():
    exact = Exact()
    reward = TensorDictReward(exact, *spaces_of("CartPole-v1"))
    data = reward(reward(rollout("CartPole-v1", 5)))
    assert (data["next", "env_reward"] == 1).all()


def test_observations_in_a_dict_or_under_another_name():
    parts = {"place": torch.tensor([[1.0], [2.0]]), "time": torch.tensor([[3.0], [4.0]])}
    after = {name: part + 10 for name, part in parts.items()}
    flags = torch.tensor([[False], [True]])

    def data(obs, next_obs):
        following = {**next_obs, "reward": torch.zeros(2, 1), "terminated": flags}
        return TensorDict({**obs, "action": torch.tensor([1, 0]), "next": following}, batch_size=[2])

    line, two = Box(-np.inf, np.inf, (1,)), gymnasium.spaces.Discrete(2)
    exact = Exact()
    TensorDictReward(exact, gymnasium.spaces.Dict({"place": line, "time": line}), two)(data(parts, after))
    expected = Transitions(
        torch.tensor([[1.0, 3], [2, 4]]), torch.tensor([1, 0]), torch.tensor([[11.0, 13], [12, 14]]), flags.squeeze(),
    )  # fmt: skip
    for mine, theirs in zip(exact.steps, expected, strict=True):
        assert torch.equal(mine, theirs)
    other = Exact()
    renamed = data({"state": parts["place"]}, {"state": after["place"]})
    TensorDictReward(other, line, two, key="state")(renamed)
    assert other.steps.next_obs.tolist() == [[11.0], [12.0]]


def test_a_choice_counted_from_another_number():
    three = gymnasium.spaces.Discrete(3, start=5)
    line = Box(-np.inf, np.inf, (1,))
    following = {"observation": torch.zeros(2, 1), "reward": torch.zeros(2, 1), "terminated": torch.zeros(2, 1).bool()}
    for actions in (torch.tensor([6, 7]), torch.tensor([[0, 1, 0], [0, 0, 1]])):
        exact = Exact()
        data = TensorDict({"observation": torch.zeros(2, 1), "action": actions, "next": following}, batch_size=[2])
        TensorDictReward(exact, line, three)(data)
        assert exact.steps.actions.tolist() == [1, 2]


def test_a_learned_reward_and_spaces_that_do_not_fit():
    reward = learned(gymnasium.make("CartPole-v1"), ending=5.0)
    data = TensorDictReward(reward, *spaces_of("CartPole-v1"))(rollout("CartPole-v1", 60))
    steps = Transitions(
        data["observation"], data["action"].argmax(-1), data["next", "observation"],
        data["next", "terminated"].squeeze(-1),
    )  # fmt: skip
    assert torch.equal(data["next", "reward"].squeeze(-1), reward(steps))
    with pytest.raises(InputError, match="observations: width: 3, the reward was made for 4"):
        TensorDictReward(reward, *spaces_of("Pendulum-v1"))
