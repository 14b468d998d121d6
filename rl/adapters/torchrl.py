"""A reward on transitions for a TorchRL TensorDict: rollouts, collectors' `postproc`, replay buffers' transforms."""

from typing import Any, Protocol, TypeVar

import gymnasium
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl.adapters.paying import Payer, Rows, TransitionReward


class TensorDictLike(Protocol):
    """What is used of a TensorDict, so that tensordict need not be there to import this."""

    batch_dims: int

    def get(self, key: Any, /) -> Any:
        """Return an entry."""

    def set(self, key: Any, item: Tensor, /) -> Any:
        """Put an entry."""

    def keys(self, include_nested: bool) -> Any:
        """Return the names."""


Data = TypeVar("Data", bound=TensorDictLike)


class TensorDictReward:
    """Put the reward of every step into ("next", "reward") of a TensorDict with any batch, and give it back.

    The environment's own stays in ("next", "env_reward"). As the transform of a replay buffer it pays a sample by what
    the reward is then. Observations are the entry `key`, or the entries of a Dict space; actions may be one-hot.
    Raises InputError where the spaces are not the reward's.
    """

    def __init__(
        self,
        reward: TransitionReward,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        key: str = "observation",
    ) -> None:
        self._payer = Payer(reward, observation_space, action_space, where="TensorDictReward")
        self._space, self._action_space, self._key = observation_space, action_space, key

    def __call__(self, data: Data) -> Data:
        """Pay."""
        rewards = self._payer.pay(
            self._rows(data, ()),
            self._actions(data),
            self._rows(data, ("next",)),
            _flat(data, ("next", "terminated")).reshape(-1),
        )
        before = data.get(("next", "reward"))
        if ("next", "env_reward") not in data.keys(include_nested=True):
            data.set(("next", "env_reward"), before)
        data.set(("next", "reward"), torch.from_numpy(rewards).to(before).reshape(before.shape))
        return data

    def _rows(self, data: TensorDictLike, where: tuple[str, ...]) -> Rows:
        if isinstance(self._space, gymnasium.spaces.Dict):
            return self._payer.rows({name: _flat(data, (*where, name)) for name in self._space})
        return self._payer.rows(_flat(data, (*where, self._key)))

    def _actions(self, data: TensorDictLike) -> Rows:
        actions = _flat(data, ("action",))
        if isinstance(self._action_space, gymnasium.spaces.Discrete) and actions.ndim > 1:  # one-hot
            actions = actions.argmax(-1) + self._action_space.start
        return self._payer.actions(actions)


def _flat(data: TensorDictLike, key: tuple[str, ...]) -> NDArray[Any]:
    """Return an entry's rows, whatever the batch."""
    entry: Tensor = data.get(key)
    return entry.reshape(-1, *entry.shape[data.batch_dims :]).numpy(force=True)
