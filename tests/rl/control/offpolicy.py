"""Agents and steps that the tests of off-policy learning share, and the losses as autograd sees them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl.control.discrete_sac import DiscreteSACAgent
from rl.control.encoder import Encoder
from rl.control.normaliser import Normaliser
from rl.control.sac import SAC, SACAgent
from rl.control.spaces import Actions, Observations, Part
from rl.control.td3 import TD3Agent
from rl.control.transitions import Transitions

VECTOR = Observations(4, torch.float32, (Part("", "vector", (4,), 0, 4),))
PIXELS = Observations(3 * 8 * 8, torch.uint8, (Part("", "pixels", (3, 8, 8), 0, 192),))
BOX = Actions("box", 2, (-1.0, 2.0), (1.0, 6.0))
CHOICE = Actions("discrete", 3)


def steps_of(rows: int, actions: Actions = BOX, observations: Observations = VECTOR) -> Transitions:
    """Give steps of no environment, about a third of them terminations."""
    if observations is PIXELS:
        obs, next_obs = torch.randint(0, 256, (2, rows, observations.width)).to(torch.uint8)
    else:
        obs, next_obs = torch.randn(2, rows, observations.width)
    acts = (
        torch.randint(actions.size, (rows,))
        if actions.kind == "discrete"
        else torch.tensor(actions.low) + torch.rand(rows, actions.size) * torch.tensor([2.0, 4.0])
    )
    return Transitions(obs, acts, next_obs, torch.rand(rows) < 0.3)


def sac_agent(hidden: tuple[int, ...] = (7, 5), observations: Observations = VECTOR) -> SACAgent:
    """Give a small agent that has opinions, in all its layers, and spreads beyond their bounds."""
    encoder: nn.Module = Encoder(observations, 6) if observations is PIXELS else Normaliser(observations.width)
    agent = SACAgent(encoder, 6 if observations is PIXELS else observations.width, BOX, hidden, alpha=0.4)
    with torch.no_grad():
        for weight in (*agent.actor.parameters(), *agent.targets.parameters()):
            weight.add_(torch.randn_like(weight), alpha=0.3)
        agent.actor.net.biases[-1][..., 2] = 1.9  # about the upper bound of the log-spread
    return agent


def log_density(raw: Tensor, means: Tensor, log_stds: Tensor) -> Tensor:
    """Give log of the density of tanh(raw), by another road than the library: 1 - tanh(u)^2 = 1 / cosh(u)^2."""
    normal = -0.5 * ((raw - means) / log_stds.exp()).square() - log_stds - 0.5 * math.log(2 * math.pi)
    size = raw.abs()
    return (normal + 2 * (size + torch.log1p((-2 * size).exp()) - math.log(2))).sum(-1)


def sac_losses(agent: SACAgent, steps: Transitions, rewards: Tensor, noise: Tensor, numbers: SAC) -> Tensor:
    """Add the losses of critics, actor and temperature, each stopped where it must not go."""
    features = agent.encoder(steps.obs)
    alpha = agent.log_alpha.detach().exp()

    def sample(features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        means, log_stds = agent.actor(features)
        raw = means + log_stds.exp() * noise
        return raw.tanh(), log_density(raw, means, log_stds)

    with torch.no_grad():
        next_features = agent.encoder(steps.next_obs)
        next_unit, next_log_probs = sample(next_features, noise[1])
        worth = agent.targets(next_features, next_unit).min(0).values - alpha * next_log_probs
        targets = rewards + numbers.gamma * worth * (~steps.terminated)
    unit = agent.bounds.to_unit(steps.actions)
    critic_loss = sum(0.5 * F.mse_loss(values, targets) for values in agent.critics(features, unit))
    chosen, log_probs = sample(features.detach(), noise[0])
    frozen = {name: weight.detach() for name, weight in agent.critics.named_parameters()}
    values = torch.func.functional_call(agent.critics, frozen, (features.detach(), chosen))
    actor_loss = (alpha * log_probs - values.min(0).values).mean()
    target_entropy = numbers.entropy_per_number * agent.numbers
    return critic_loss + actor_loss - agent.log_alpha * (log_probs.detach().mean() + target_entropy)


def discrete_agent(hidden: tuple[int, ...] = (7, 5), observations: Observations = VECTOR) -> DiscreteSACAgent:
    """Give a small agent for choices that has opinions."""
    encoder: nn.Module = Encoder(observations, 6) if observations is PIXELS else Normaliser(observations.width)
    agent = DiscreteSACAgent(encoder, 6 if observations is PIXELS else observations.width, CHOICE, hidden, alpha=0.4)
    with torch.no_grad():
        for weight in (*agent.actor.parameters(), *agent.targets.parameters()):
            weight.add_(torch.randn_like(weight), alpha=0.5)
    return agent


def discrete_losses(agent: DiscreteSACAgent, steps: Transitions, rewards: Tensor, numbers: SAC) -> Tensor:
    """Add the losses of critics, actor and temperature for choices."""
    features, alpha = agent.encoder(steps.obs), agent.log_alpha.detach().exp()
    with torch.no_grad():
        after = torch.distributions.Categorical(logits=agent.actor(agent.encoder(steps.next_obs))[0])
        least = agent.targets(agent.encoder(steps.next_obs)).min(0).values
        worth = (after.probs * least).sum(-1) + alpha * after.entropy()
        targets = rewards + numbers.gamma * worth * (~steps.terminated)
    values = agent.critics(features)
    taken = values.gather(2, steps.actions.expand(2, -1).unsqueeze(-1)).squeeze(-1)
    critic_loss = sum(0.5 * F.mse_loss(of_one, targets) for of_one in taken)
    now = torch.distributions.Categorical(logits=agent.actor(features.detach())[0])
    actor_loss = -((now.probs * values.detach().min(0).values).sum(-1) + alpha * now.entropy()).mean()
    excess = now.entropy().detach().mean() - numbers.entropy_share * math.log(3)
    return critic_loss + actor_loss + agent.log_alpha * excess


def td3_agent(hidden: tuple[int, ...] = (7, 5), observations: Observations = VECTOR) -> TD3Agent:
    """Give a small deterministic agent that has opinions."""
    encoder: nn.Module = Encoder(observations, 6) if observations is PIXELS else Normaliser(observations.width)
    agent = TD3Agent(encoder, 6 if observations is PIXELS else observations.width, BOX, hidden)
    with torch.no_grad():
        for name, weight in agent.named_parameters():
            if "actor" in name or "target" in name:
                weight.add_(torch.randn_like(weight), alpha=0.3)
    return agent
