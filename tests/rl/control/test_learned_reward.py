import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch import nn

from rl import AIRL, FAIRL, GAIL, LeastSquares, MaliGAN, NonSaturating, Relativistic, RelativisticAverage
from rl.control import spaces
from rl.control.discriminators import ShapedDiscriminator, StateReward, StepDiscriminator
from rl.control.encoder import Encoder
from rl.control.learned_reward import LearnedReward
from rl.control.transitions import Transitions
from rl.runtime.errors import InputError

LINE = Box(-np.inf, np.inf, (1,))
REALS = Box(-np.inf, np.inf, (3,))
TWO = Discrete(2)
TORQUE = Box(-2, 2, (2,))
IMAGE = Box(0, 255, (12, 12, 3), np.uint8)
ROOM = Dict({"camera": IMAGE, "joints": Box(-1, 1, (4,)), "gear": MultiDiscrete([2, 3])})


def layouts(observation_space, action_space):
    return spaces.observations(observation_space, where="env"), spaces.actions(action_space, where="env")


def made(observation_space=LINE, action_space=TWO, discriminator=StepDiscriminator, **numbers):
    torch.manual_seed(0)
    observations, actions = layouts(observation_space, action_space)
    encoder = Encoder(observations, hidden=16)
    net = discriminator(encoder.features, actions)
    return LearnedReward(encoder, net, numbers.pop("objective", AIRL()), observations, actions, **numbers)


def judging(weights, **numbers):
    """A reward on one number and two actions, whose logit is written down: weights[action]  of s."""
    reward = made(discriminator=lambda width, actions: StepDiscriminator(width, actions, hidden=()), **numbers)
    layer = reward.discriminator.net[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.tensor([0.5, -0.25]))
    return reward


def steps(reward, rows=5, seed=1):
    chance = torch.Generator().manual_seed(seed)
    width, pixels = reward.observations.width, reward.observations.dtype == torch.uint8
    obs, next_obs = (
        torch.randint(0, 256, (rows, width), generator=chance, dtype=torch.uint8)
        if pixels
        else torch.rand(rows, width, generator=chance)
        for _ in range(2)
    )
    discrete = reward.actions.kind == "discrete"
    actions = (
        torch.randint(0, reward.actions.size, (rows,), generator=chance)
        if discrete
        else torch.rand(rows, reward.actions.size, generator=chance)
    )
    return Transitions(obs, actions, next_obs, torch.arange(rows) % 3 == 0)


def given(s, a, terminated):
    s = torch.tensor(s).unsqueeze(1)
    return Transitions(s, torch.tensor(a), s + 1, torch.tensor(terminated))


def test_the_reward_by_hand():
    # logits: action 0: 2 s + 0.5, action 1: -s - 0.25
    reward = judging([[2.0], [-1.0]], ending=14.0)
    rows = given([1.0, 1.0, 4.0, -4.0], [0, 1, 0, 1], [False, False, False, True])
    assert reward(rows).tolist() == [2.5, -1.25, 8.5, 3.75 + 14]
    assert not reward(rows).requires_grad
    assert replace(reward, limit=3.0)(rows).tolist() == [2.5, -1.25, 3, 3 + 14]
    gail = replace(reward, objective=GAIL())
    assert gail(given([1.0], [0], [True])).item() == pytest.approx(14 + math.log1p(math.exp(2.5)))


def test_a_rollout_earns_what_its_rows_earn():
    reward = made(REALS, TORQUE, ending=2.0)
    rows = steps(reward, rows=12)
    rollout = Transitions(*(field.unflatten(0, (3, 4)) for field in rows))
    assert torch.equal(reward(rollout), reward(rows).reshape(3, 4))
    pixels = made(IMAGE, TWO)
    rows = steps(pixels, rows=6)
    rollout = Transitions(*(field.unflatten(0, (3, 2)) for field in rows))
    assert torch.equal(pixels(rollout), pixels(rows).reshape(3, 2))


def test_observations_go_through_the_encoder():
    reward = judging([[2.0], [-1.0]])
    reward.encoder.add(torch.tensor([[1.0], [5.0]]))  # mean 3, standard deviation 2
    paid = reward(given([7.0, 3.0], [0, 1], [False, False]))
    torch.testing.assert_close(paid, torch.tensor([2 * 2 + 0.5, -0.25]))


def test_it_judges_in_eval_mode_and_changes_nothing():
    def spectral(width, actions):
        return StepDiscriminator(width, actions, hidden=(16,), spectral=True, dropout=0.5)

    reward = made(REALS, TORQUE, spectral)
    rows = steps(reward)
    before = {name: tensor.clone() for name, tensor in reward.discriminator.state_dict().items()}
    first = reward(rows)
    assert torch.equal(first, reward(rows))
    assert all(torch.equal(tensor, before[name]) for name, tensor in reward.discriminator.state_dict().items())
    assert reward.discriminator.training


def test_it_learns_as_long_as_its_networks_do(tmp_path):
    reward = made(REALS, TORQUE)
    reward.save(tmp_path / "reward")
    frozen, rows = LearnedReward.load(tmp_path / "reward"), steps(reward)
    before = frozen(rows)
    with torch.no_grad():
        next(reward.discriminator.parameters()).add_(0.1)
    assert not torch.equal(reward(rows), before)
    assert torch.equal(frozen(rows), before)
    assert not any(weight.requires_grad for weight in frozen.discriminator.parameters())
    assert not frozen.discriminator.training


def spectral(width, actions):
    return StepDiscriminator(width, actions, "state-next", (8, 4), spectral=True, dropout=0.1, activation="tanh")


def shaped(width, actions):
    return ShapedDiscriminator(width, 0.97, (8,), "tanh")


def state_reward(width, actions):
    return StateReward(ShapedDiscriminator(width, 0.97))


@pytest.mark.parametrize(
    ("observation_space", "action_space", "discriminator", "objective"),
    [
        (LINE, TWO, StepDiscriminator, GAIL()),
        (REALS, TORQUE, spectral, FAIRL(limit=2.5)),
        (REALS, Box(-np.inf, np.inf, (2,)), StepDiscriminator, LeastSquares()),
        (REALS, Discrete(3, start=1), shaped, AIRL()),
        (Discrete(5), TWO, state_reward, NonSaturating()),
        (ROOM, TORQUE, StepDiscriminator, AIRL()),
        (IMAGE, TWO, StepDiscriminator, AIRL()),
        (Dict({"left": IMAGE, "right": IMAGE}), TWO, StepDiscriminator, AIRL()),
    ],
)
def test_a_saved_reward_pays_the_same_bit_by_bit(tmp_path, observation_space, action_space, discriminator, objective):
    reward = made(observation_space, action_space, discriminator, objective=objective, ending=99.0, limit=0.2)
    rows = steps(reward, rows=64)
    if reward.observations.dtype == torch.float32:
        reward.encoder.add(rows.obs)
    reward.encoder.normaliser.floor, reward.encoder.normaliser.limit = 0.3, 0.9
    reward.save(tmp_path / "deep" / "reward")
    loaded = LearnedReward.load(tmp_path / "deep" / "reward")
    assert torch.equal(loaded(rows), reward(rows))
    assert (loaded.objective, loaded.observations, loaded.actions) == (
        reward.objective,
        reward.observations,
        reward.actions,
    )
    assert (loaded.ending, loaded.limit) == (99.0, 0.2)


def test_the_folder_holds_json_and_safetensors_and_nothing_is_left_beside_it(tmp_path):
    made().save(tmp_path / "reward")
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]
    names = sorted(path.name for path in (tmp_path / "reward").iterdir())
    nets = [f"{net}.{kind}" for net in ("discriminator", "encoder") for kind in ("json", "safetensors")]
    assert names == [*nets, "manifest.json", "reward.json"]


def test_a_flipped_bit_anywhere_is_found(tmp_path):
    made().save(tmp_path / "reward")
    for path in sorted((tmp_path / "reward").iterdir()):
        good = path.read_bytes()
        for place in {0, len(good) // 2, len(good) - 1}:
            bad = bytearray(good)
            bad[place] ^= 1
            path.write_bytes(bad)
            with pytest.raises(InputError, match=path.name):
                LearnedReward.load(tmp_path / "reward")
        path.write_bytes(good[:-1])
        with pytest.raises(InputError, match=path.name):
            LearnedReward.load(tmp_path / "reward")
        path.write_bytes(good)
    LearnedReward.load(tmp_path / "reward")


def test_saving_again_replaces_and_spares_what_is_no_reward(tmp_path):
    made().save(tmp_path / "reward")
    newer = made(limit=1.5)
    newer.save(tmp_path / "reward")
    assert LearnedReward.load(tmp_path / "reward").limit == 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    with pytest.raises(InputError, match="letters: cannot write the reward"):
        newer.save(tmp_path / "letters")
    assert (tmp_path / "letters" / "love.txt").read_text() == "dear"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot write the reward"):
        newer.save(tmp_path / "file")
    with pytest.raises(InputError, match="step-3: names a checkpoint"):
        newer.save(tmp_path / "step-3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "letters", "reward"]


def test_a_reward_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/manifest.json: cannot be read"):
        LearnedReward.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"objective": {"name": "AIRLL", "numbers": {}}}, "'AIRLL' is not in the table; did you mean 'AIRL'"),
        ({"objective": {"name": "AIRL", "numbers": {"limit": 1}}}, "reward: no reward that can be read: TypeError"),
        ({"discriminator": {"kind": "oracle", "hidden": []}}, "reward: no reward that can be read"),
        ({"encoder": {"layers": 3}}, "reward: no reward that can be read"),
    ],
)
def test_a_reward_of_another_version(tmp_path, monkeypatch, change, reason):
    description = LearnedReward._description
    monkeypatch.setattr(LearnedReward, "_description", lambda self: description(self) | change)
    made().save(tmp_path / "reward")
    with pytest.raises(InputError, match=reason):
        LearnedReward.load(tmp_path / "reward")


@dataclass(frozen=True)
class Praise:
    def discriminator_loss(self, real, fake):
        return fake.mean()

    def reward(self, fake, real=None):
        return fake


def test_an_objective_of_the_users_own_pays_but_is_not_saved(tmp_path):
    reward = made(objective=Praise())
    assert len(reward(steps(reward))) == 5
    with pytest.raises(InputError, match="'Praise' is not in the table"):
        reward.save(tmp_path / "reward")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("objective", [MaliGAN(), Relativistic(), RelativisticAverage()])
def test_what_a_step_earns_depends_on_no_other_step(objective):
    with pytest.raises(InputError, match=f"{type(objective).__name__} pays a step by the others"):
        made(objective=objective)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "reason"),
    [
        (Box(-1, 1, (4,)), TORQUE, "Hopper: observations: width: 4, the reward was made for 3"),
        (Box(0, 255, (3, 1, 1), np.uint8), TORQUE, "Hopper: observations: type"),
        (Dict({"x": REALS}), TORQUE, "Hopper: observations: parts"),
        (Discrete(3), TORQUE, "Hopper: observations: parts"),
        (REALS, Discrete(2), "Hopper: actions: kind: discrete, the reward was made for box"),
        (REALS, Box(-2, 2, (3,)), "Hopper: actions: size: 3, the reward was made for 2"),
        (REALS, Box(-1, 2, (2,)), "Hopper: actions: low"),
        (REALS, Box(-2, 1, (2,)), "Hopper: actions: high"),
    ],
)
def test_other_spaces_are_refused(observation_space, action_space, reason):
    with pytest.raises(InputError, match=reason):
        made(REALS, TORQUE).require(*layouts(observation_space, action_space), where="Hopper")


def test_other_names_and_another_order_are_refused():
    left, right = (Box(-1, 1, (size,)) for size in (2, 2))
    reward = made(Dict({"left": left, "right": right}), TWO)
    with pytest.raises(InputError, match="parts"):
        reward.require(*layouts(Dict({"left": left, "wrong": right}), TWO), where="env")


@pytest.mark.parametrize(
    ("known", "same"),
    [
        ((REALS, Discrete(2, start=0)), (REALS, Discrete(2, start=5))),
        ((Discrete(4, start=1), TWO), (Discrete(4), TWO)),
        ((REALS, TORQUE), (Box(-9, 9, (3,), np.float64), Box(-2, 2, (2,), np.float64))),
        ((IMAGE, TWO), (Box(0, 255, (3, 12, 12), np.uint8), TWO)),
    ],
)
def test_what_makes_no_difference_to_the_reward_is_accepted(known, same):
    reward = made(*known)
    assert reward.require(*layouts(*known), where="env") is reward
    assert reward.require(*layouts(*same), where="env") is reward


def test_steps_of_another_form_are_refused():
    reward = made(REALS, TORQUE)
    rows = steps(reward)
    for wrong, reason in [
        (rows._replace(obs=rows.obs[:, :2]), r"obs: \[5, 2\] of torch.float32, expected \[5, 3\]"),
        (rows._replace(next_obs=rows.next_obs.double()), "next_obs: .* of torch.float64, expected"),
        (rows._replace(actions=torch.zeros(5, dtype=torch.long)), "actions: .* of torch.int64, expected"),
    ]:
        with pytest.raises(InputError, match=reason):
            reward(wrong)


def test_it_is_a_module_of_any_kind_as_long_as_it_is_not_saved():
    class Judge(nn.Module):
        def forward(self, rows):
            return rows.obs.sum(-1)

    reward = replace(made(REALS, TORQUE), discriminator=Judge())
    rows = steps(reward)
    torch.testing.assert_close(reward(rows), rows.obs.sum(-1))
