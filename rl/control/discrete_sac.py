"""Soft actor-critic for choices, with exact expectations over them; Christodoulou 2019 (1910.07207)."""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.control.flat import gradient_of
from rl.control.offpolicy_agents import Choices, Numbers, Rows, StackedMLP
from rl.control.offpolicy_batches import Batch
from rl.control.passes import Passes
from rl.control.sac import SAC, SoftAgent, Workplace
from rl.policies import categorical_sample

if TYPE_CHECKING:  # the layouts need gymnasium, their users do not
    from rl.control.spaces import Actions


class DiscreteSACAgent(SoftAgent):
    """For Discrete actions: logits of the choices, and critics that judge every choice at once.

    Updated by `sac_round` with a `SACOptimizer`. Raises InputError for actions that are no choice.
    """

    actor: StackedMLP
    critics: StackedMLP
    targets: StackedMLP

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        actions: "Actions",
        hidden: tuple[int, ...] = (128, 128),
        alpha: float = 1.0,
    ) -> None:
        choices, sizes = Choices(actions), (features, *hidden, actions.size)
        super().__init__(encoder, StackedMLP(1, sizes), StackedMLP(2, sizes), alpha)
        self.choices = choices

    @torch.no_grad()
    def act(self, obs: Rows) -> Tensor:
        """Sample choices [rows]."""
        return categorical_sample(self.actor(self.encoder(obs))[0])

    @torch.no_grad()
    def mode(self, obs: Rows) -> Tensor:
        """Give the likeliest choices [rows]."""
        best: Tensor = self.actor(self.encoder(obs))[0].argmax(-1)
        return best

    def to_unit(self, actions: Tensor) -> Numbers:
        """Write as one-hot."""
        return self.choices.to_unit(actions)

    def workplace(self, numbers: SAC) -> Workplace:
        """Make what updates work in."""
        return _Work(self, numbers)


class _Work:
    """What every update works in, and views of it."""

    def __init__(self, agent: DiscreteSACAgent, numbers: SAC) -> None:
        features, choices = agent.actor.sizes[0], agent.actor.sizes[-1]
        self.rows = rows = numbers.batch
        self.target_entropy = numbers.entropy_share * math.log(choices)
        self.log_alpha, self.of_log_alpha = agent.log_alpha.detach(), gradient_of(agent.log_alpha)
        self.inputs = torch.zeros(3, rows, features + choices, device=agent.log_alpha.device)
        obs, next_obs = self.inputs[1, :, :features], self.inputs[2, :, :features]
        both = self.inputs[1:].flatten(0, 1)[:, :features]
        self.done = self.inputs[0, :, features:]
        self.actor = Passes(agent.actor, both, back=rows, learn=rows)
        self.critics = Passes(agent.critics, obs, back=rows, learn=rows)
        self.targets = Passes(agent.targets, next_obs)
        self.to_features = agent.critics.weights[0].detach().mT

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Write the gradients of eq. 4, 10 to 12 (Christodoulou 2019)."""
        self.inputs.copy_(batch.inputs)
        alpha = self.log_alpha.exp()
        log_probs, next_log_probs = self.actor.forward()[0].log_softmax(-1).chunk(2)
        probs = log_probs.exp()
        entropies = -(probs * log_probs).sum(-1)
        entropy = entropies.mean()

        first, second = self.targets.forward()
        worth = (next_log_probs.exp() * (torch.minimum(first, second) - alpha * next_log_probs)).sum(-1)
        targets = torch.addcmul(batch.rewards, batch.discounts, worth)
        first, second = values = self.critics.forward()
        errors = values - targets.unsqueeze(-1)
        torch.mul(errors, self.done / self.rows, out=self.critics.gradients)
        self.critics.backward()

        # of sum_i p_i (alpha log p_i - q_i) in the logits: p_i (its term - the sum), as sum_i p_i d log p_i = 0
        terms = alpha * log_probs - torch.minimum(first, second)
        centred = terms - (probs * terms).sum(-1, keepdim=True)
        torch.mul(probs / self.rows, centred, out=self.actor.gradients[0])
        self.actor.backward()
        self.of_log_alpha.copy_(entropy - self.target_entropy)
        return {"alpha": alpha, "entropy": entropy}

    def of_features(self) -> Float[Tensor, "rows features"]:
        """Give the gradient of the critics' loss in the features."""
        return torch.bmm(self.critics.first, self.to_features).sum(0)

    def metrics(self) -> dict[str, Tensor]:
        """Tell how the critics stood in the last update."""
        loss = 0.5 * self.rows * self.critics.gradients.square().sum()
        return {"critic_loss": loss, "q": (self.critics.answers * self.done).sum(-1).mean()}
