"""The collector against environments made by hand, in every mode in which episodes follow one another."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from rl.control import environments
from rl.control.collecting import Collector, EnvironmentFault
from rl.control.environments import Serial
from rl.rollout import gae
from rl.runtime.errors import Diverged, InputError, Stopped
from rl.runtime.state import decode, encode

LIMIT = 4


class Line(gymnasium.Env):
    """Walk from `start`: action 1 goes on by one and pays the place left. Place 3 terminates, step 4 is the last."""

    observation_space = Box(-10, 10, (2,), np.float32)
    action_space = Discrete(2, start=5)

    def __init__(self, start=0.0):
        self.start = start

    def reset(self, *, seed=None, options=None):
        self.place, self.steps = self.start, 0
        return self._obs(), {}

    def step(self, action):
        assert action in (5, 6)
        reward = 10 * self.place + 1
        self.place += action - 5
        self.steps += 1
        return self._obs(), reward, self.place >= 3, self.steps >= LIMIT, {}

    def _obs(self):
        return np.array([self.place, self.steps], np.float32)


class NativeLine(VectorEnv):
    """The same, all at once, in each mode."""

    def __init__(self, starts, mode, stacked=False):
        self.metadata = {"autoreset_mode": mode}
        self.starts, self.mode, self.num_envs = np.array(starts), mode, len(starts)
        self.single_observation_space, self.single_action_space = Line.observation_space, Line.action_space
        self.observation_space = batch_space(Line.observation_space, self.num_envs)
        self.action_space = batch_space(Line.action_space, self.num_envs)

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        if mask.all():
            self.place, self.steps, self.ended = self.starts.copy(), np.zeros(self.num_envs), ~mask
        self._restart(mask)
        return self._obs(), {}

    def step(self, actions):
        rewards = 10 * self.place + 1
        self.place = self.place + actions - 5
        self.steps = self.steps + 1
        terminated, truncated, info = self.place >= 3, self.steps >= LIMIT, {}
        if self.mode is AutoresetMode.NEXT_STEP:
            self._restart(self.ended)
            rewards = np.where(self.ended, 777, rewards)  # whatever stands in that row must not matter
            terminated, truncated = terminated | self.ended, truncated | self.ended
            self.ended = (terminated | truncated) & ~self.ended
        elif self.mode is AutoresetMode.SAME_STEP and (terminated | truncated).any():
            info = {"final_obs": self._obs(), "_final_obs": terminated | truncated}
            self._restart(terminated | truncated)
        return self._obs(), rewards, terminated, truncated, info

    def _restart(self, mask):
        self.place, self.steps = np.where(mask, self.starts, self.place), np.where(mask, 0, self.steps)

    def _obs(self):
        return np.stack([self.place, self.steps], 1).astype(np.float32)


STARTS = (0.0, 1.0, -5.0)
MODES = list(AutoresetMode)


def sync(makers, mode, **kwargs):
    return SyncVectorEnv(makers, autoreset_mode=mode, **kwargs)


def lines():
    return [lambda start=start: Line(start) for start in STARTS]


LINES = {
    "Serial": lambda: Serial(lines()),
    **{f"native {mode.name}": lambda mode=mode: NativeLine(STARTS, mode) for mode in MODES},
    **{f"sync {mode.name}": lambda mode=mode: sync(lines(), mode) for mode in MODES},
    "sync without copies": lambda: sync(lines(), AutoresetMode.SAME_STEP, copy=False),
    "sync without copies, DISABLED": lambda: sync(lines(), AutoresetMode.DISABLED, copy=False),
}


def forward(obs):
    return torch.ones(len(obs), dtype=torch.int64)


@pytest.mark.parametrize("name", [name for name in LINES if "NEXT" not in name])
def test_steps_by_hand(name):
    collector = Collector(LINES[name](), seed=0)
    rollout = collector.collect(forward, 5)
    steps = rollout.steps
    # from 0: three steps and a termination; then again from 0
    assert steps.obs[0].tolist() == [[0, 0], [1, 1], [2, 2], [0, 0], [1, 1]]
    assert steps.next_obs[0].tolist() == [[1, 1], [2, 2], [3, 3], [1, 1], [2, 2]]
    assert rollout.rewards[0].tolist() == [1, 11, 21, 1, 11]
    assert rollout.terminated.tolist() == [[False, False, True, False, False], [False, True] * 2 + [False], [False] * 5]
    # from -5 the time limit comes first; nobody else meets it, and the end of collecting is none
    assert rollout.truncated.tolist() == [[False] * 5, [False] * 5, [False, False, False, True, False]]
    assert steps.next_obs[2].tolist() == [[-4, 1], [-3, 2], [-2, 3], [-1, 4], [-4, 1]]
    assert steps.obs[2, 4].tolist() == [-5, 0]
    assert rollout.mask.all()
    assert torch.equal(steps.terminated, rollout.terminated)
    assert not any(field.any() for field in (rollout.log_probs, rollout.values, rollout.next_values))
    assert steps.actions.tolist() == [[1] * 5] * 3
    assert collector.num_envs == 3


@pytest.mark.parametrize("name", [name for name in LINES if "NEXT" in name])
def test_the_step_that_only_resets_is_no_step(name):
    collector = Collector(LINES[name](), seed=0)
    rollout = collector.collect(forward, 5)
    assert rollout.mask.tolist() == [
        [True, True, True, False, True],
        [True, True, False, True, True],
        [True] * 4 + [False],
    ]
    assert rollout.steps.obs[0, [0, 1, 2, 4]].tolist() == [[0, 0], [1, 1], [2, 2], [0, 0]]
    assert rollout.steps.next_obs[0, [0, 1, 2, 4]].tolist() == [[1, 1], [2, 2], [3, 3], [1, 1]]
    assert rollout.rewards[0].tolist() == [1, 11, 21, 0, 1]
    assert rollout.terminated[0].tolist() == [False, False, True, False, False]
    assert rollout.truncated[2].tolist() == [False, False, False, True, False]
    assert rollout.steps.next_obs[2, 3].tolist() == [-1, 4]
    # the second collection begins where the first row has gone one step and the others wait or begin
    again = collector.collect(forward, 2)
    assert again.mask.tolist() == [[True, True], [False, True], [True, True]]
    assert again.steps.obs[0].tolist() == [[1, 1], [2, 2]]
    assert again.steps.obs[1, 1].tolist() == [1, 0]


@pytest.mark.parametrize("name", list(LINES))
def test_finished_episodes(name):
    collector = Collector(LINES[name](), seed=0)
    collector.collect(forward, 3)
    assert collector.finished() == ([11.0 + 21.0, 1.0 + 11.0 + 21.0], [2, 3])
    assert collector.finished() == ([], [])
    collector.collect(forward, 1)
    returns, lengths = collector.finished()
    last = (-49 - 39 - 29 - 19, 4)  # by the time limit
    assert last in list(zip(returns, lengths, strict=True))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [NativeLine, lambda starts, mode: sync([Line] * len(starts), mode)])
def test_one_episode_after_the_other(make, mode):
    collector = Collector(make([0.0], mode), seed=0)
    for steps in (5, 1, 10):
        collector.collect(forward, steps)
    number = 4 if mode is AutoresetMode.NEXT_STEP else 5
    assert collector.finished() == ([33.0] * number, [3] * number)


@pytest.mark.parametrize("name", [name for name in LINES if name != "Serial"])
def test_every_mode_has_the_same_targets(name):
    mine, theirs = _episodes(LINES[name](), _wander, 40), _episodes(Serial(lines()), _wander, 40)
    for one, other in zip(mine, theirs, strict=True):
        common = min(len(one), len(other))
        assert common >= 24
        assert torch.equal(one[:common], other[:common])


@pytest.mark.parametrize("pieces", [[40], [1] * 40, [7, 33]])
@pytest.mark.parametrize("name", list(LINES))
def test_collecting_piece_by_piece_is_the_same(name, pieces):
    collector, whole = Collector(LINES[name](), seed=0), Collector(LINES[name](), seed=0).collect(_wander, 40)
    parts = [collector.collect(_wander, piece) for piece in pieces]
    for field in ("mask", "rewards", "terminated", "truncated"):
        assert torch.equal(torch.cat([getattr(part, field) for part in parts], 1), getattr(whole, field))
    for field in ("obs", "actions", "next_obs"):
        joined = torch.cat([getattr(part.steps, field) for part in parts], 1)
        assert torch.equal(joined, getattr(whole.steps, field))
    assert collector.steps == 40


def _wander(obs):
    # depends on the observation alone, so that all modes see the same actions
    return ((obs[:, 0] * 7 + obs[:, 1] * 3).int() % 5 > 0).long()


def _episodes(env, act, steps):
    """Rows of whole episodes of each environment: observations, actions, flags, advantages and targets."""
    rollout = Collector(env, seed=0).collect(act, steps)
    values = rollout.steps.obs.sum(-1).sin()
    next_values = rollout.steps.next_obs.sum(-1).sin()
    # what stands off the mask must not matter
    values, next_values = (x.masked_fill(~rollout.mask, math.nan) for x in (values, next_values))
    rollout = type(rollout)(**{**vars(rollout), "values": values, "next_values": next_values})
    advantages, targets = gae(rollout, 0.9, 0.8)
    found = []
    for row, mask in enumerate(rollout.mask):
        ends = ((rollout.terminated | rollout.truncated)[row] & mask).nonzero()
        counted = mask & (torch.arange(steps) <= ends[-1])
        fields = [rollout.steps.obs, rollout.steps.next_obs]
        fields += [x.unsqueeze(-1) for x in (rollout.steps.actions, rollout.rewards, advantages, targets)]
        fields += [x.unsqueeze(-1) for x in (rollout.terminated, rollout.truncated)]
        found.append(torch.cat([field[row, counted].float() for field in fields], 1))
    return found


POLES = np.array([0.01, -0.03, 0.04, 0.02])


class NativePole(CartPoleVectorEnv):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.tile(POLES, (4, 1))
        return self.state.T.astype(np.float32), {}

    def step(self, action):
        begin = self.prev_done
        _, *rest = super().step(action)
        self.state[:, begin] = POLES[begin]
        return self.state.T.astype(np.float32), *rest


class Pole(gymnasium.Wrapper):
    def __init__(self, start):
        super().__init__(gymnasium.make("CartPole-v1", max_episode_steps=25, disable_env_checker=True))
        self.start = start

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options={"low": self.start, "high": self.start})


def poles():
    return [lambda start=start: Pole(start) for start in POLES]


@pytest.mark.parametrize("mode", [*MODES, "native"])
def test_cartpole_has_the_same_targets_in_every_form(mode):
    def act(obs):
        # two rows balance until the time limit, two push the pole over
        return torch.where(torch.arange(4) < 2, obs[:, 2] + 0.3 * obs[:, 3] > 0, torch.arange(4) < 3).long()

    env = NativePole(4, max_episode_steps=25) if mode == "native" else sync(poles(), mode)
    mine, theirs = _episodes(env, act, 90), _episodes(Serial(poles()), act, 90)
    for one, other in zip(mine, theirs, strict=True):
        common = min(len(one), len(other))
        assert common >= 60
        assert torch.allclose(one[:common], other[:common], atol=1e-5)
    flags = torch.cat(theirs)[:, -2:]
    assert flags.sum(0).min() >= 3  # both kinds of end occur


class Keyed(Line):
    """Line with a dict of an image and numbers, box actions, and rewards by dice."""

    observation_space = Dict({"image": Box(0, 255, (2, 2, 1), np.uint8), "line": Box(-10, 10, (2,), np.float64)})
    action_space = Box(np.array([-1.0, 0.0]), np.array([1.0, 1.0]), dtype=np.float64)
    seen = ()

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        return super().reset()

    def step(self, action):
        assert action in self.action_space, action
        Keyed.seen = (*Keyed.seen, action.tolist())[-3:]
        obs, _, terminated, truncated, info = super().step(5 + (action[0] > 0))
        return obs, self.np_random.random(), terminated, truncated, info

    def _obs(self):
        return {"image": np.full((2, 2, 1), 10 * self.steps, np.uint8), "line": np.array([self.place, self.steps])}


@pytest.mark.parametrize("mode", MODES)
def test_dicts_and_clipped_boxes_in_every_mode(mode):
    collector = Collector(sync([Keyed] * 2, mode), seed=0)
    actions = torch.tensor([[3.0, -2.0], [0.5, 9.0]])
    rollout = collector.collect(lambda obs: actions, 5)
    assert Keyed.seen[-1] == [0.5, 1.0]
    assert rollout.steps.actions[:, 0].tolist() == actions.tolist()  # before clipping
    counted = rollout.steps.next_obs[0][rollout.mask[0]]
    assert counted[:3].tolist() == [[10] * 4 + [1, 1], [20] * 4 + [2, 2], [30] * 4 + [3, 3]]
    assert rollout.terminated[0].sum() == 1


def test_each_episode_has_a_seed_of_its_own():
    def rewards(seed, env=None):
        collector = Collector(env or Serial([Keyed] * 2), seed)
        return collector.collect(lambda obs: torch.ones(len(obs), 2), 12).rewards

    assert torch.equal(rewards(3), rewards(3))
    assert torch.equal(rewards(3), rewards(3, sync([Keyed] * 2, AutoresetMode.DISABLED)))
    assert len(rewards(3).unique()) == 24
    assert not torch.isin(rewards(4), rewards(3)).any()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_others_are_seeded_once(mode):
    def rewards(seed):
        return Collector(sync([Keyed] * 2, mode), seed).collect(lambda obs: torch.ones(len(obs), 2), 9).rewards

    assert torch.equal(rewards(3), rewards(3))
    assert not torch.equal(rewards(3), rewards(4))


def test_a_policy_is_called_without_a_gradient_and_its_rows_can_be_learned_from():
    weight = torch.ones(2, requires_grad=True)
    seen = []

    def act(obs):
        seen.append(torch.is_grad_enabled())
        return (obs @ weight > 0).long()

    rollout = Collector(Serial(lines()), 0).collect(act, 2)
    assert seen == [False, False]
    (rollout.steps.obs @ weight).sum().backward()
    assert weight.grad is not None
    assert not rollout.rewards.is_inference()


def test_a_rollout_is_not_written_to_by_the_next():
    collector = Collector(Serial(lines()), 0)
    rollout = collector.collect(forward, 3)
    before = [field.clone() for field in rollout.steps]
    collector.collect(_wander, 3)
    assert all(torch.equal(one, other) for one, other in zip(rollout.steps, before, strict=True))


# Faults


class Faulty(Line):
    """Goes wrong at its third step."""

    closed = 0

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def step(self, action):
        obs, reward, *rest = super().step(5)
        if self.steps == 3 and self.fault == "raise":
            raise RuntimeError("the simulation\nis unstable")
        if self.steps == 3 and self.fault == "stop":
            raise Stopped(2)
        obs[1] = math.nan if self.steps == 3 and self.fault == "observation" else obs[1]
        return obs, math.inf if self.steps == 3 and self.fault == "reward" else reward, *rest

    def close(self):
        Faulty.closed += 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"^Serial:environment 1, step 3: RuntimeError: the simulation is unstable$"),
        ("observation", r"^Serial:environment 1, step 3: the observation is not finite: \[ 0. nan\]$"),
        ("reward", r"^Serial:environment 1, step 3: the reward is not finite: inf$"),
    ],
)
def test_a_faulty_environment_is_named_and_closed(fault, message):
    collector = Collector(Serial([Line, lambda: Faulty(fault)]), 0)
    closed = Faulty.closed
    collector.collect(forward, 2)
    with pytest.raises(EnvironmentFault, match=message):
        collector.collect(forward, 2)
    assert Faulty.closed == closed + 1


def test_other_vectors_are_named_without_an_index():
    collector = Collector(sync([lambda: Faulty("raise")], AutoresetMode.SAME_STEP), 0)
    with pytest.raises(EnvironmentFault, match=r"^SyncVectorEnv:step 3: RuntimeError: the simulation is unstable$"):
        collector.collect(forward, 3)


def test_a_reset_that_fails_is_named_too():
    class Unable(Line):
        def reset(self, *, seed=None, options=None):
            raise OSError("no display")

    with pytest.raises(EnvironmentFault, match=r"^Serial:environment 1, reset: OSError: no display$"):
        Collector(Serial([Line, Unable]), 0)


def test_a_signal_is_no_fault():
    with pytest.raises(Stopped):
        Collector(Serial([lambda: Faulty("stop")]), 0).collect(forward, 3)


def test_a_policy_that_diverged_is_not_the_environments_fault():
    class Echo(Keyed):
        observation_space = Box(-1, 1, (1,))

        def _obs(self):
            return np.full(1, self.place, np.float32)

        def step(self, action):
            self.place = action[0]
            return self._obs(), 0.0, False, False, {}

    with pytest.raises(Diverged, match="step 1: the policy gave actions that are not finite"):
        Collector(Serial([Echo]), 0).collect(lambda obs: torch.full((1, 2), math.nan), 1)
    with pytest.raises(Diverged):
        Collector(Serial([Keyed]), 0).collect(lambda obs: torch.full((1, 2), math.nan), 1)


def test_what_metadata_and_infos_must_hold():
    env = NativeLine(STARTS, AutoresetMode.DISABLED)
    env.metadata = {}
    with pytest.raises(InputError, match="NativeLine:metadata: autoreset_mode is missing"):
        Collector(env, 0)
    liar = NativeLine(STARTS, AutoresetMode.DISABLED)
    liar.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
    with pytest.raises(EnvironmentFault, match="NativeLine:step 2: an episode ended, and info lacks final_obs"):
        Collector(liar, 0).collect(forward, 2)


def test_unsupported_spaces_name_the_environment():
    class Odd(Line):
        action_space = Box(0, 1, (2, 2))

    with pytest.raises(InputError, match=r"^Serial: actions: a Box must have one dimension"):
        Collector(Serial([Odd]), 0)


def test_observations_that_cannot_be_written_to():
    class Frozen(NativeLine):
        def _obs(self):
            obs = super()._obs()
            obs.flags.writeable = False
            return obs

    rollout = Collector(Frozen(STARTS, AutoresetMode.DISABLED), 0).collect(forward, 3)
    assert rollout.steps.obs[0].tolist() == [[0, 0], [1, 1], [2, 2]]


# Resuming

RESUMED = {
    "Serial": lambda: Serial([Keyed] * 3),
    "sync DISABLED": lambda: sync([Keyed] * 3, AutoresetMode.DISABLED),
    "CartPole native": lambda: environments.make("CartPole-v1", 5, {"max_episode_steps": 12}),
    "CartPole serial": lambda: environments.make("CartPole-v1", 5, {"max_episode_steps": 12}, native=False),
    "Pendulum": lambda: environments.make("Pendulum-v1", 2, {"max_episode_steps": 9}),
    "HalfCheetah": lambda: environments.make("HalfCheetah-v5", 2, {"max_episode_steps": 9}),
}


def _random(collector):
    def act(obs):
        if collector.actions.kind == "discrete":
            return torch.randint(collector.actions.size, (len(obs),))
        return torch.randn(len(obs), collector.actions.size)

    return act


@pytest.mark.parametrize("before", [0, 1, 4, 9, 12, 23])
@pytest.mark.parametrize("name", list(RESUMED))
def test_a_resumed_collector_goes_on_bit_for_bit(name, before):
    if name == "HalfCheetah":
        pytest.importorskip("mujoco")
    first = Collector(RESUMED[name](), seed=1)
    for piece in {0: [], 1: [1], 23: [5, 5, 5, 8]}.get(before, [before - 1, 1]):
        first.collect(_random(first), piece)
    text, tensors = encode(first.state_dict(), "collector")
    dice = torch.get_rng_state()
    straight = [first.collect(_random(first), piece) for piece in (3, 20)]
    second = Collector(RESUMED[name](), seed=99)
    second.collect(_random(second), 7)
    second.load_state_dict(decode(text, tensors))
    assert _same(second.state_dict(), decode(text, tensors))  # also twice in a row
    torch.set_rng_state(dice)
    resumed = [second.collect(_random(second), piece) for piece in (3, 20)]
    for one, other in zip(straight, resumed, strict=True):
        for field in ("mask", "rewards", "terminated", "truncated"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        assert all(torch.equal(x, y) for x, y in zip(one.steps, other.steps, strict=True))
    assert first.finished() == second.finished()
    assert first.steps == second.steps
    assert _same(first.state_dict(), second.state_dict())


def _same(one, other):
    (text, tensors), (other_text, others) = encode(one, "a"), encode(other, "a")
    return text == other_text and all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.parametrize("name", [name for name in LINES if name == "Serial" or "DISABLED" in name])
def test_a_state_does_not_change_while_collecting_goes_on(name):
    collector = Collector(LINES[name](), 0)
    collector.collect(_random(collector), 6)
    state = collector.state_dict()
    text, tensors = encode(state, "collector")
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    collector.collect(_random(collector), 6)
    again, others = encode(state, "collector")
    assert again == text
    assert all(torch.equal(copies[name], others[name]) for name in copies)


def test_only_the_running_episodes_actions_are_kept():
    collector = Collector(Serial([Line] * 2), 0)
    for _ in range(50):
        collector.collect(forward, 1)
    actions = collector.state_dict()["environment"]
    assert [len(rows) for rows in actions] == [50 % 3] * 2
    assert collector._kept <= 3


def test_an_environment_that_does_not_repeat_itself_is_refused():
    class Dice(Keyed):
        draws = np.random.default_rng(0)

        def _obs(self):
            return {**super()._obs(), "line": Dice.draws.random(2)}

    collector = Collector(Serial([Dice]), 0)
    collector.collect(_random(collector), 2)
    with pytest.raises(InputError, match="Serial: cannot be resumed: it does not repeat itself"):
        Collector(Serial([Dice]), 0).load_state_dict(collector.state_dict())


def test_others_cannot_be_resumed():
    with pytest.raises(InputError, match="SyncVectorEnv: cannot be resumed"):
        Collector(sync(lines(), AutoresetMode.NEXT_STEP), 0).state_dict()
    two, three = (Collector(Serial([Line] * number), 0) for number in (2, 3))
    with pytest.raises(InputError, match="Serial: the state is of 2 environments, not 3"):
        three.load_state_dict(two.state_dict())
