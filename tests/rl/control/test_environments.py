import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rl.control import environments
from rl.control.environments import Serial
from rl.runtime.errors import InputError, Stopped


class Nested(gymnasium.Env):
    """Shows its action and a draw of its generator; remembers what it was reset with."""

    observation_space = Dict({"act": Box(-1, 1, (2,), np.float64), "draw": Box(0, 1, (1,), np.float64)})
    action_space = Box(-1, 1, (2,))
    closed = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.asked = (seed, options)
        return self._obs(np.zeros(2)), {}

    def step(self, action):
        return self._obs(action), float(action.sum()), bool(action[0] > 0.5), bool(action[1] > 0.5), {"x": 1}

    def close(self):
        Nested.closed += 1

    def _obs(self, action):
        return {"act": np.asarray(action, np.float64), "draw": self.np_random.random(1)}


def test_serial_does_what_gymnasium_does():
    ours, theirs = Serial([Nested] * 3), SyncVectorEnv([Nested] * 3, autoreset_mode=AutoresetMode.DISABLED)
    assert ours.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.num_envs == 3
    rng = np.random.default_rng(0)
    _same(ours.reset(seed=7)[0], theirs.reset(seed=7)[0])
    for _ in range(30):
        actions = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        mine, others = ours.step(actions), theirs.step(actions)
        _same(mine[0], others[0])
        for one, other in zip(mine[1:4], others[1:4], strict=True):
            assert one.dtype == other.dtype
            assert one.tolist() == other.tolist()
        ended = mine[2] | mine[3]
        if ended.any():
            seeds = [11, 12, 13]
            _same(
                ours.reset(seed=seeds, options={"reset_mask": ended})[0],
                theirs.reset(seed=seeds, options={"reset_mask": ended.copy()})[0],
            )


def _same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert np.array_equal(one[key], other[key])


def test_reset_counts_a_seed_up_and_hands_on_options():
    env = Serial([Nested] * 2)
    env.reset(seed=5, options={"high": 1})
    assert [each.asked for each in env.envs] == [(5, {"high": 1}), (6, {"high": 1})]
    env.reset()
    assert [each.asked for each in env.envs] == [(None, None)] * 2
    given = {"reset_mask": np.array([False, True])}
    env.reset(seed=[8, 9], options=given)
    assert [each.asked for each in env.envs] == [(None, None), (9, None)]
    assert list(given) == ["reset_mask"]
    with pytest.raises(ValueError, match="1 seeds for 2"):
        env.reset(seed=[1])


def test_what_serial_gave_is_not_written_to_later():
    env = Serial([Nested] * 2)
    first, _ = env.reset(seed=0)
    before = first["draw"].copy()
    _, rewards, *_ = env.step(np.full((2, 2), 0.25, np.float32))
    env.step(np.zeros((2, 2), np.float32))
    assert np.array_equal(first["draw"], before)
    assert rewards.tolist() == [0.5, 0.5]


def test_serial_says_where_it_was_and_closes_all():
    class Fails(Nested):
        def step(self, action):
            raise ZeroDivisionError("inside")

    env = Serial([Nested, Fails, Nested])
    env.reset()
    with pytest.raises(ZeroDivisionError):
        env.step(np.zeros((3, 2), np.float32))
    assert env.at == 1
    closed = Nested.closed
    env.close()
    env.close()
    assert Nested.closed == closed + 3


def test_serial_refuses_spaces_that_differ():
    class Other(Nested):
        action_space = Discrete(2)

    with pytest.raises(InputError, match="spaces differ"):
        Serial([Nested, Other])


def test_make_prefers_the_native_form():
    native = environments.make("CartPole-v1", 3, {})
    serial = environments.make("CartPole-v1", 3, {}, native=False)
    assert native.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert isinstance(serial, Serial)
    assert not isinstance(native, Serial)
    assert native.num_envs == serial.num_envs == 3
    assert isinstance(environments.make("Acrobot-v1", 2, {}), Serial)
    assert serial.spec.id == native.spec.id == "CartPole-v1"


@pytest.mark.parametrize("native", [True, False])
def test_make_hands_on_arguments(native):
    env = environments.make("CartPole-v1", 2, {"max_episode_steps": 1, "sutton_barto_reward": True}, native=native)
    env.reset(seed=0)
    _, rewards, terminated, truncated, _ = env.step(np.array([0, 1]))
    assert rewards.tolist() == [0, 0]
    assert truncated.all()
    assert not terminated.any()


def test_old_versions_are_made_without_a_warning():
    assert environments.make("CartPole-v0", 1, {}, native=False).spec.max_episode_steps == 200


def test_mujoco_environments_are_made_in_silence(tmp_path, monkeypatch, capfd):
    mujoco = pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    env = environments.make("HalfCheetah-v5", 2, {})
    env.reset(seed=0)
    env.close()
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    assert mujoco.get_mju_user_warning() is before


@pytest.mark.parametrize(
    ("env_id", "kwargs", "reason"),
    [
        ("CartPol-v1", {}, r"CartPol-v1: no such environment; did you mean 'CartPole-v1'\?"),
        ("CartPole-v9", {}, r"CartPole-v9: no such environment; did you mean 'CartPole-v1'\?"),
        ("nobody/Knows-v0", {}, "nobody/Knows-v0: no such environment; its package registers it on import"),
        ("no_such_module:Env-v0", {}, "no_such_module:Env-v0: a package is missing"),
        ("Car Pole", {}, "Car Pole: cannot be made"),
        ("CartPole-v1", {"gravity": 3}, "CartPole-v1: cannot be made: .*unexpected keyword argument 'gravity'"),
        ("Acrobot-v1", {"gravity": 3}, "Acrobot-v1: cannot be made: .*unexpected keyword argument 'gravity'"),
        ("Pusher-v4", {}, "Pusher-v4: a package is missing or too new"),
    ],
)
def test_what_cannot_be_made_is_one_line(env_id, kwargs, reason):
    with pytest.raises(InputError, match=reason) as caught:
        environments.make(env_id, 1, kwargs)
    assert "\n" not in str(caught.value)


def test_a_signal_is_no_failure_to_make(monkeypatch):
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    def stop(self, *args, **kwargs):
        raise Stopped(15)

    monkeypatch.setattr(CartPoleEnv, "__init__", stop)
    with pytest.raises(Stopped):
        environments.make("CartPole-v1", 1, {}, native=False)


def test_at_least_one():
    with pytest.raises(InputError, match="CartPole-v1: 0 environments"):
        environments.make("CartPole-v1", 0, {})
