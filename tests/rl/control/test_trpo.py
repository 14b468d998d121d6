import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.control.batches import batch_of, prepare
from rl.control.trpo import (
    TRPO,
    conjugate_gradient,
    fisher_product,
    fit_values,
    improvement,
    optimizer_for,
    policy_step,
    trpo_round,
)
from rl.runtime import Diverged, Engine, InputError, Runtime
from tests.rl.control.onpolicy import BOX, CHOICE, PIXELS, agent_of, rollout_of


def ready(actions, rows: int = 6, time: int = 8):
    agent = agent_of(actions)
    return agent, batch_of(agent, prepare(agent, rollout_of(agent, rows, time)), 0.99, 0.95)


@pytest.mark.parametrize("actions", [CHOICE, BOX])
def test_the_fisher_product_is_the_hessian_of_kl(actions) -> None:
    """Finite differences of the gradient of mean KL(old || new), in double precision."""
    torch.manual_seed(0)
    agent = agent_of(actions).double()
    features, weights = torch.randn(5, 4).double(), agent.policy.weights
    with torch.no_grad():
        outputs, extra = (part.clone() for part in agent.policy(features))
        home = weights.clone()

    def slope(at: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            weights.copy_(at)
        kl = agent.distribution.kl(outputs, extra, *agent.policy(features)).mean()
        return torch.autograd.grad(kl, weights)[0]

    vector = torch.randn_like(home)
    expected = (slope(home + 1e-5 * vector) - slope(home - 1e-5 * vector)) / 2e-5
    slope(home)
    product = fisher_product(agent, features, damping=0.0)
    torch.testing.assert_close(product(vector), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(fisher_product(agent, features, 0.3)(vector), expected + 0.3 * vector)
    other = torch.randn_like(home)
    torch.testing.assert_close(other.dot(product(vector)), vector.dot(product(other)))
    assert vector.dot(product(vector)) > 0
    assert slope(home).abs().max() < 1e-12  # the divergence is least at home


@given(seed=st.integers(0, 10_000), size=st.integers(1, 12))
@settings(max_examples=30)
def test_conjugate_gradients_solve(seed: int, size: int) -> None:
    torch.manual_seed(seed)
    root = torch.randn(size, size, dtype=torch.double)
    matrix, right = root @ root.T + 0.5 * torch.eye(size), torch.randn(size, dtype=torch.double)
    found = conjugate_gradient(lambda vector: matrix @ vector, right, steps=3 * size, tolerance=1e-24)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), rtol=1e-6, atol=1e-8)


def test_conjugate_gradients_stop() -> None:
    calls = []

    def identity(vector: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return vector

    right = torch.randn(5)
    torch.testing.assert_close(conjugate_gradient(identity, right, steps=10), right)
    assert len(calls) == 1
    assert torch.equal(conjugate_gradient(identity, torch.zeros(5), steps=10), torch.zeros(5))


@given(
    seed=st.integers(0, 10_000),
    discrete=st.booleans(),
    max_kl=st.sampled_from([1e-4, 1e-2, 0.1]),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
    damping=st.sampled_from([1e-5, 0.1]),
)
@settings(max_examples=25)
def test_the_step_improves_and_holds_the_bound(
    seed: int, discrete: bool, max_kl: float, size: float, damping: float
) -> None:
    torch.manual_seed(seed)
    agent, batch = ready(CHOICE if discrete else BOX)
    batch = batch._replace(advantages=size * batch.advantages)
    with torch.no_grad():
        outputs, extra = (part.clone() for part in agent.policy(batch.inputs))
        home, before = agent.policy.weights.clone(), improvement(agent, batch, 0.0)
    metrics = policy_step(agent, batch, TRPO(max_kl=max_kl, damping=damping))
    with torch.no_grad():
        kl = agent.distribution.kl(outputs, extra, *agent.policy(batch.inputs)).mean()
        gained = improvement(agent, batch, 0.0) - before
    assert kl <= max_kl
    torch.testing.assert_close(metrics["kl"], kl)
    torch.testing.assert_close(metrics["improvement"], gained)
    moved = not torch.equal(agent.policy.weights, home)
    assert moved == (metrics["step"] > 0)
    assert (gained > 0) == moved
    assert moved


def test_the_step_has_the_length_that_the_bound_allows() -> None:
    torch.manual_seed(0)
    agent, batch = ready(BOX, rows=20, time=50)
    metrics = policy_step(agent, batch, TRPO(max_kl=1e-4, damping=1e-4))
    assert metrics["step"] == 1
    assert 0.8e-4 < metrics["kl"] <= 1e-4


def test_the_step_is_the_natural_gradient() -> None:
    torch.manual_seed(0)
    agent = agent_of(CHOICE).double()
    batch = batch_of(agent, prepare(agent, rollout_of(agent, 6, 8)), 0.99, 0.95)
    batch = batch._replace(inputs=batch.inputs.double(), advantages=batch.advantages.double())
    weights = agent.policy.weights
    product = fisher_product(agent, batch.inputs, 0.1)
    matrix = torch.stack([product(row) for row in torch.eye(len(weights), dtype=torch.double)])
    (gradient,) = torch.autograd.grad(improvement(agent, batch, 0.0), weights)
    direction = torch.linalg.solve(matrix, gradient)
    expected = direction * (2e-6 / direction.dot(gradient)).sqrt()
    before = weights.detach().clone()
    policy_step(agent, batch, TRPO(max_kl=1e-6, cg_steps=200))
    torch.testing.assert_close(weights.detach() - before, expected, rtol=1e-3, atol=1e-7)


def test_a_step_that_cannot_improve_is_not_made() -> None:
    torch.manual_seed(0)
    agent, batch = ready(CHOICE)
    before = agent.policy.weights.detach().clone()
    metrics = policy_step(agent, batch._replace(advantages=torch.zeros_like(batch.advantages)), TRPO())
    assert torch.equal(agent.policy.weights, before)
    assert (metrics["kl"], metrics["step"], metrics["improvement"]) == (0, 0, 0)
    with pytest.raises(Diverged):
        policy_step(agent, batch._replace(advantages=math.nan * batch.advantages), TRPO())
    assert torch.equal(agent.policy.weights, before)


def test_a_step_that_goes_too_far_is_taken_back() -> None:
    torch.manual_seed(0)
    agent, batch = ready(BOX)
    before = agent.policy.weights.detach().clone()
    metrics = policy_step(agent, batch, TRPO(max_kl=30.0, backtracks=0))  # one try, where no quadratic holds
    assert torch.equal(agent.policy.weights, before)
    assert (metrics["kl"], metrics["step"], metrics["improvement"]) == (0, 0, 0)


def test_the_values_are_fitted_alone() -> None:
    torch.manual_seed(0)
    agent, batch = ready(BOX)
    batch = batch._replace(targets=batch.inputs[:, 0] * 2 + 1)
    before, numbers = agent.policy.weights.detach().clone(), TRPO(value_epochs=200, value_minibatch=16, value_lr=1e-2)
    start = (agent.value_at(batch.inputs) - batch.targets).square().mean()
    assert fit_values(agent, optimizer_for(agent, numbers), batch, numbers) < 0.02 * start
    assert torch.equal(agent.policy.weights, before)


def test_a_round() -> None:
    torch.manual_seed(0)
    agent, engine = agent_of(CHOICE), Engine(Runtime(device="cpu"), seed=0)
    numbers = TRPO(entropy_weight=0.01, fisher_every=2)
    metrics = trpo_round(
        agent, optimizer_for(agent, numbers), prepare(agent, rollout_of(agent, 4, 16)), numbers, engine
    )
    assert metrics["improvement"] > 0
    assert metrics["kl"] <= 0.01
    assert all(value.isfinite() for value in metrics.values())
    pixels = agent_of(CHOICE, PIXELS, shake=0.05)
    with pytest.raises(InputError, match="encoder"):
        trpo_round(pixels, optimizer_for(pixels, numbers), prepare(pixels, rollout_of(pixels, 1, 2)), numbers, engine)
