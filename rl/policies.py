"""What acts: the protocols that agents and sentence generators fulfil, and small heads to build them from.

Log-probabilities and entropies are in nats and float32 (float64 stays float64), whatever the network's precision.
"""

import math
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.discriminator import full_precision

Obs_contra = TypeVar("Obs_contra", contravariant=True)
Act = TypeVar("Act")
State = TypeVar("State")

Features = Float[Tensor, "*places hidden"]
ActionLogits = Float[Tensor, "*places actions"]
Choices = Int[Tensor, "*places"]
PerPlace = Float[Tensor, "*places"]


@runtime_checkable
class Policy(Protocol[Obs_contra, Act]):
    """Acts, and says afterwards, in one batch, how likely the actions were: so acting stays cheap."""

    def act(self, obs: Obs_contra, /) -> Act:
        """Sample one action per observation."""
        ...

    def log_prob(self, obs: Obs_contra, act: Act, /) -> tuple[Tensor, Tensor]:
        """Give log pi(act | obs) and the entropy of pi(. | obs), one of each per observation, differentiable."""
        ...


@runtime_checkable
class SequencePolicy(Protocol[State]):
    """A generator of sentences, token by token. It gives features, not logits: rows x vocabulary need not be stored.

    `start` is the token fed first. `end` ends a sentence and then fills the row; -1 where sentences have one length.
    `head` takes features to the logits of the vocabulary.
    """

    start: int
    end: int
    head: nn.Linear

    def init(self, rows: int, /) -> State:
        """Give the state of that many rows before the start token."""
        ...

    def step(self, state: State, tokens: Int[Tensor, "rows"], /) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Feed one token per row; the features predict the next one."""
        ...

    def fork(self, state: State, rows: Int[Tensor, "copies"], /) -> State:
        """Append copies of those rows after the existing ones."""
        ...

    def features(self, tokens: Int[Tensor, "batch time"], /) -> Float[Tensor, "batch time hidden"]:
        """Force the tokens, after the start token: the features at t have seen the tokens before t and predict t."""
        ...


def categorical_sample(logits: ActionLogits) -> Choices:
    """Draw one action per place, without a gradient: the argmax of p / Exp(1) is distributed as p."""
    probs = full_precision(logits.detach()).softmax(-1)
    exponential = torch.empty_like(probs).exponential_().clamp(min=torch.finfo(probs.dtype).tiny)
    return (probs / exponential).argmax(-1)


def categorical_log_prob(logits: ActionLogits, actions: Choices) -> PerPlace:
    """Log-probability of the actions taken."""
    return full_precision(logits).log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def categorical_entropy(logits: ActionLogits) -> PerPlace:
    """-sum p log p, between 0 and log(actions); logits of -inf add nothing."""
    log_probs = full_precision(logits).log_softmax(-1)
    log_probs = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
    return -(log_probs.exp() * log_probs).sum(-1)


class CategoricalHead(nn.Module):
    """One of several actions. Small initial weights, so that all actions begin nearly equal."""

    def __init__(self, hidden: int, actions: int, scale: float = 0.01) -> None:
        super().__init__()
        self.linear = _orthogonal(hidden, actions, scale)

    def forward(self, features: Features) -> ActionLogits:
        """Give the logits of the actions."""
        logits: Tensor = self.linear(features)
        return logits

    def act(self, features: Features) -> Choices:
        """Sample."""
        return categorical_sample(self(features))

    def mode(self, features: Features) -> Choices:
        """Choose the likeliest action."""
        return self.forward(features).argmax(-1)

    def log_prob(self, features: Features, actions: Choices) -> tuple[PerPlace, PerPlace]:
        """Log-probabilities of the actions, and entropies."""
        logits = self(features)
        return categorical_log_prob(logits, actions), categorical_entropy(logits)


class GaussianHead(nn.Module):
    """A vector of real numbers: independent Gaussians whose spread does not depend on the state.

    Actions are not squashed: a bounded environment clips them, and log_prob speaks of the number before clipping.
    """

    def __init__(self, hidden: int, actions: int, scale: float = 0.01, log_std: float = 0.0) -> None:
        super().__init__()
        self.linear = _orthogonal(hidden, actions, scale)
        self.log_std = nn.Parameter(torch.full((actions,), log_std))

    def forward(self, features: Features) -> ActionLogits:
        """Give the means."""
        means: Tensor = self.linear(features)
        return full_precision(means)

    @torch.no_grad()
    def act(self, features: Features) -> ActionLogits:
        """Sample, without a gradient."""
        means = self.forward(features)
        return means + self.log_std.exp() * torch.randn_like(means)

    def mode(self, features: Features) -> ActionLogits:
        """Choose the means."""
        return self.forward(features)

    def log_prob(self, features: Features, actions: ActionLogits) -> tuple[PerPlace, PerPlace]:
        """Log-densities of the actions, and entropies, both summed over the action's numbers."""
        means = self.forward(features)
        scaled = (actions - means) * (-self.log_std).exp()
        log_probs = (-0.5 * scaled.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        entropies = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
        return log_probs, entropies.expand_as(log_probs)


class ValueHead(nn.Module):
    """The estimated return from a state, one number per place."""

    def __init__(self, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = _orthogonal(hidden, 1, scale)

    def forward(self, features: Features) -> PerPlace:
        """Give the values."""
        values: Tensor = self.linear(features)
        return full_precision(values).squeeze(-1)


def _orthogonal(inputs: int, outputs: int, scale: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, scale)
    nn.init.zeros_(linear.bias)
    return linear
