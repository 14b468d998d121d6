"""Every estimator against the true gradient, by enumeration: no sampling, no error rate."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rl import estimators
from rl.objectives import AIRL
from rl.rewards import MonteCarlo
from rl.rollout import Rollout, gae, last_step, returns_to_go

V, T = 4, 4
EXACT = 1e-10


class TinyPolicy(nn.Module):
    """A recurrent policy whose next token depends on the whole history."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = {"embedding": (V + 1, 3), "recurrence": (3, 3), "head": (3, V), "bias": (V,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Log-probabilities [batch time actions]; token V starts."""
        hidden = torch.zeros(len(tokens), 3, dtype=torch.float64)
        fed = torch.cat([torch.full((len(tokens), 1), V), tokens[:, :-1]], 1)
        steps = []
        for t in range(T):
            hidden = torch.tanh(hidden @ self.recurrence + self.embedding[fed[:, t]])
            steps.append((hidden @ self.head + self.bias).log_softmax(-1))
        return torch.stack(steps, 1)


@dataclass
class World:
    """All sentences, what each is worth, and everything that follows from it exactly."""

    tokens: Tensor  # [N T]
    mask: Tensor  # [N T]
    probability: Tensor  # [N]
    rewards: Tensor  # [N T], one for every step, a function of the prefix
    action_log_probs: Tensor  # [N T V]
    jacobian: Tensor  # [N T P] of the log-probabilities of the tokens
    action_jacobian: Tensor  # [N T V P]
    gradient: Tensor  # [P] true gradient of the expected sum of rewards
    q: Tensor  # [N T] expected rewards from t on, this token included
    action_q: Tensor  # [N T V] the same for every token in place of this one
    v: Tensor  # [N T] expected rewards from t on, before this token

    @property
    def log_probs(self) -> Tensor:
        return self.action_log_probs.gather(-1, self.tokens[..., None])[..., 0]


def prefix_table(seed: int) -> dict[tuple[int, ...], float]:
    prefixes = [p for n in range(1, T + 1) for p in itertools.product(range(V), repeat=n)]
    numbers = torch.randn(len(prefixes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    return dict(zip(prefixes, numbers, strict=True))


def brute_force_q(world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Values of prefixes by summing over all sentences that share them, in plain loops."""
    rows = [tuple(row) for row in world.tokens.tolist()]
    p, mask, paid = world.probability.tolist(), world.mask.tolist(), world.rewards.tolist()
    mass: dict[tuple[int, ...], float] = {}
    worth: dict[tuple[int, ...], float] = {}  # of p * (rewards from this prefix's last token on)
    for row, prob, on, pay in zip(rows, p, mask, paid, strict=True):
        for t in range(T):
            if on[t]:
                mass[row[: t + 1]] = mass.get(row[: t + 1], 0) + prob
                worth[row[: t + 1]] = worth.get(row[: t + 1], 0) + prob * sum(pay[t:])
    value = {prefix: worth[prefix] / mass[prefix] for prefix in mass}
    q, action_q, v = torch.zeros(len(rows), T), torch.zeros(len(rows), T, V), torch.zeros(len(rows), T)
    q, action_q, v = q.double(), action_q.double(), v.double()
    for i, row in enumerate(rows):
        for t in range(T):
            if mask[i][t]:
                q[i, t] = value[row[: t + 1]]
                siblings = [(*row[:t], a) for a in range(V)]
                action_q[i, t] = torch.tensor([value[s] for s in siblings], dtype=torch.float64)
                v[i, t] = sum(mass[s] * value[s] for s in siblings) / sum(mass[s] for s in siblings)
    return q, action_q, v


def make_world(ending: bool, dense: bool) -> World:
    tokens = torch.tensor(list(itertools.product(range(V), repeat=T)))
    if ending:  # token 0 ends a sentence and fills the row
        ended = (tokens == 0).cumsum(1) > 0
        tokens = tokens[~(ended[:, :-1] & (tokens[:, 1:] != 0)).any(1)]
        mask = (tokens == 0).cumsum(1) - (tokens == 0).int() == 0
    else:
        mask = torch.ones_like(tokens, dtype=torch.bool)
    policy = TinyPolicy(0)
    table = prefix_table(1)
    rewards = torch.tensor([[table[tuple(row[: t + 1])] for t in range(T)] for row in tokens.tolist()]).double()
    rewards = rewards * (mask if dense else last_step(mask))

    weights = tuple(policy.parameters())
    action_log_probs = policy(tokens)
    probability = action_log_probs.gather(-1, tokens[..., None])[..., 0].masked_fill(~mask, 0).sum(1).exp()
    expected = (probability * rewards.sum(1)).sum()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(expected, weights, retain_graph=True)])
    directions = torch.eye(action_log_probs.numel(), dtype=torch.float64).view(-1, *action_log_probs.shape)
    columns = torch.autograd.grad(action_log_probs, weights, directions, is_grads_batched=True)
    action_jacobian = torch.cat([c.flatten(1) for c in columns], 1).view(*action_log_probs.shape, -1)
    index = tokens[..., None, None].expand(-1, -1, 1, action_jacobian.shape[-1])
    jacobian = action_jacobian.gather(2, index)[:, :, 0]
    nothing = torch.zeros(())
    world = World(
        tokens, mask, probability.detach(), rewards, action_log_probs.detach(), jacobian, action_jacobian, gradient,
        nothing, nothing, nothing,
    )  # fmt: skip
    q, action_q, v = brute_force_q(world)
    return replace(world, q=q, action_q=action_q, v=v)


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    return {
        "fixed": make_world(ending=False, dense=False),
        "ending": make_world(ending=True, dense=False),
        "fixed, dense": make_world(ending=False, dense=True),
        "ending, dense": make_world(ending=True, dense=True),
    }


KINDS = ["fixed", "ending", "fixed, dense", "ending, dense"]


@pytest.fixture(params=KINDS)
def world(request, worlds) -> World:
    return worlds[request.param]


def moments(world: World, batch: int, loss) -> tuple[Tensor, float]:
    """Mean and total variance of MINUS the gradient of loss(log_probs, rows), over all ordered batches of sentences."""
    n = len(world.tokens)
    rows = torch.cartesian_prod(*[torch.arange(n)] * batch).view(-1, batch)
    chance = world.probability[rows].prod(1)
    log_probs = world.log_probs[rows].requires_grad_()  # [batches batch T]
    losses = torch.func.vmap(loss)(log_probs, rows)
    (slopes,) = torch.autograd.grad(losses.sum(), log_probs)
    ascent = -sum(torch.einsum("nt,ntp->np", slopes[:, b], world.jacobian[rows[:, b]]) for b in range(batch))
    mean = chance @ ascent
    return mean, (chance @ (ascent - mean).square().sum(1)).item()


def returns(world: World) -> Tensor:
    return returns_to_go(world.rewards, world.mask)


def lifted(world: World) -> World:
    """Pay two more for every sentence: nothing to learn from, and far from zero, which is what a baseline is for."""
    return replace(
        world, rewards=world.rewards + 2.0 * last_step(world.mask), q=world.q + 2.0 * world.mask,
        v=world.v + 2.0 * world.mask,
    )  # fmt: skip


def test_the_enumeration_is_complete(world):
    assert world.probability.sum().item() == pytest.approx(1, abs=1e-12)
    assert len(world.tokens) in (256, 121)
    assert world.gradient.norm() > 0.05
    # the score has mean zero, whatever stands at the masked places
    score = torch.einsum("n,ntp,nt->p", world.probability, world.jacobian, world.mask.double())
    assert score.abs().max() < EXACT


@pytest.mark.parametrize("batch", [1, 2])
def test_reinforce_without_a_baseline(world, batch):
    def loss(log_probs, rows):
        mask = world.mask[rows]
        return estimators.reinforce(log_probs, estimators.no_baseline(returns(world)[rows], mask), mask)

    mean, _ = moments(world, batch, loss)
    torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)


def test_reinforce_with_values(world):
    def with_values(values):
        def loss(log_probs, rows):
            mask = world.mask[rows]
            advantages = estimators.value_baseline(returns(world)[rows], values[rows], mask)
            return estimators.reinforce(log_probs, advantages, mask)

        return moments(world, 1, loss)

    # any function of the state will do, right or wrong
    wrong = world.v.cos() * 3 - 1
    for values in (world.v, wrong):
        mean, _ = with_values(values)
        torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)


def test_good_values_lower_the_variance(world):
    far = lifted(world)
    advantages, _ = gae(exact_rollout(far), 1.0, 0.0)

    def variance(numbers):
        mean, spread = moments(far, 1, lambda lp, rows: estimators.reinforce(lp, numbers[rows], far.mask[rows]))
        torch.testing.assert_close(mean, far.gradient, rtol=0, atol=EXACT)  # two more for all change no gradient
        return spread

    none = variance(estimators.no_baseline(returns(far), far.mask))
    assert variance(estimators.value_baseline(returns(far), far.v, far.mask)) < 0.8 * none
    assert variance(advantages) < 0.8 * none


def test_leave_one_out_is_unbiased_and_calmer(worlds):
    for kind in KINDS:
        world = worlds[kind]
        far = lifted(world)

        def over_pairs(baseline, far=far):
            def loss(log_probs, rows):
                mask = far.mask[rows]
                return estimators.reinforce(log_probs, baseline(returns(far)[rows], mask), mask)

            return moments(far, 2, loss)

        mean, variance = over_pairs(estimators.leave_one_out)
        torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)
        assert variance < 0.8 * over_pairs(estimators.no_baseline)[1]


def test_batch_baseline_is_short_by_its_known_factor(worlds):
    for kind in ("fixed", "fixed, dense"):
        world = worlds[kind]

        def loss(log_probs, rows, world=world):
            mask = world.mask[rows]
            return estimators.reinforce(log_probs, estimators.batch_baseline(returns(world)[rows], mask), mask)

        mean, _ = moments(world, 2, loss)
        torch.testing.assert_close(mean, (1 - 1 / 2) * world.gradient, rtol=0, atol=EXACT)


def test_reinforce_with_exact_prefix_values(world):
    def over_sentences(q):
        def loss(log_probs, rows):
            return estimators.reinforce(log_probs, q[rows], world.mask[rows])

        return moments(world, 1, loss)

    mean, variance = over_sentences(world.q)
    torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)
    assert variance < over_sentences(returns(world))[1]
    # the value of the shorter prefix knows nothing of the token: this is what an index off by one would give
    assert over_sentences(world.v)[0].norm() < EXACT


def exact_rollout(world: World) -> Rollout[Tensor]:
    ahead = torch.cat([world.v[:, 1:], torch.full_like(world.v[:, :1], 1e6)], 1)  # after the end: must not count
    ahead = ahead.masked_fill(last_step(world.mask), 1e6)
    return replace(
        Rollout.of(world.tokens, world.mask), rewards=world.rewards, values=world.v, next_values=ahead,
        log_probs=world.log_probs,
    )  # fmt: skip


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_gae_and_actor_critic_with_exact_values(world, lam):
    advantages, targets = gae(exact_rollout(world), 1.0, lam)

    def loss(log_probs, rows):
        mask = world.mask[rows]
        return estimators.actor_critic(log_probs, world.v[rows], advantages[rows], targets[rows], mask)

    mean, _ = moments(world, 1, loss)
    torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)
    if lam == 0:
        torch.testing.assert_close(advantages, (world.q - world.v) * world.mask, rtol=0, atol=EXACT)
    if lam == 1:
        torch.testing.assert_close(targets, returns(world), rtol=0, atol=EXACT)


def test_actor_critic_teaches_the_values(world):
    values = torch.zeros_like(world.v, requires_grad=True)
    log_probs = world.log_probs.requires_grad_()
    targets = returns(world).requires_grad_()
    loss = estimators.actor_critic(log_probs, values, targets, targets, world.mask, value_weight=0.25)
    by_value, by_target = torch.autograd.grad(loss, [values, targets], allow_unused=True)
    # 0.25 d(v - r)^2 = -0.5 r at v = 0, a mean over rows
    torch.testing.assert_close(by_value, -0.5 * returns(world) / len(world.tokens))
    assert by_target is None


def test_ppo_at_ratio_one(world):
    advantages = (world.q - world.v) * world.mask

    def loss(log_probs, rows):
        return estimators.ppo_clip(log_probs, world.log_probs[rows], advantages[rows], world.mask[rows])

    mean, _ = moments(world, 1, loss)
    torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)


def test_exact_sums_over_all_actions(world):
    leaf = world.action_log_probs.clone().requires_grad_()
    losses = torch.func.vmap(lambda lp, q, mask: estimators.exact(lp[None], q[None], mask[None]))(
        leaf, world.action_q, world.mask
    )
    (slopes,) = torch.autograd.grad(losses.sum(), leaf)
    ascent = -torch.einsum("nta,ntap->np", slopes, world.action_jacobian)
    mean = world.probability @ ascent
    torch.testing.assert_close(mean, world.gradient, rtol=0, atol=EXACT)
    variance = (world.probability @ (ascent - mean).square().sum(1)).item()
    sampled = moments(world, 1, lambda lp, rows: estimators.reinforce(lp, world.q[rows], world.mask[rows]))[1]
    assert variance < sampled


def test_monte_carlo_fed_to_reinforce_is_unbiased(worlds):
    """All completions of a uniform policy, each equally often: plain means are then exact."""
    tokens = worlds["fixed"].tokens
    worth = {tuple(row): float(i % 7) - 2 for i, row in enumerate(tokens.tolist())}

    def complete(rows: Tensor, samples: int) -> Tensor:
        out = torch.empty(T - 1, len(rows), samples, T, dtype=torch.long)
        for p in range(T - 1):
            tails = torch.tensor(list(itertools.product(range(V), repeat=T - 1 - p)))
            tails = tails.repeat(samples // len(tails), 1)
            out[p, :, :, : p + 1] = rows[:, None, : p + 1]
            out[p, :, :, p + 1 :] = tails
        return out

    def worths(rows: Tensor) -> Tensor:
        flat = [worth[tuple(row)] for row in rows.reshape(-1, T).tolist()]
        return torch.tensor(flat, dtype=torch.float64).view(rows.shape[:-1])

    reward = MonteCarlo(complete, lambda rows, done: (worths(rows), worths(done)), AIRL(), samples=64)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    found = reward(Rollout.of(tokens, mask))
    for row, values in zip(tokens.tolist(), found.tolist(), strict=True):
        for t in range(T):
            same = [w for other, w in worth.items() if list(other[: t + 1]) == row[: t + 1]]
            assert values[t] == pytest.approx(math.fsum(same) / len(same), abs=1e-12)
    # with a tabular uniform policy, d log pi(a | s) / d logit(s, b) = [a = b] - 1/4
    states = sorted({tuple(row[:t]) for row in tokens.tolist() for t in range(T)})
    logits = torch.zeros(len(states), V, dtype=torch.float64, requires_grad=True)
    where = torch.tensor([[states.index(tuple(row[:t])) for t in range(T)] for row in tokens.tolist()])
    log_probs = logits.log_softmax(-1)[where, tokens]
    (true,) = torch.autograd.grad((log_probs.sum(1).exp() * worths(tokens)).sum(), logits, retain_graph=True)
    # all sentences once are exactly the uniform expectation
    (ours,) = torch.autograd.grad(-estimators.reinforce(log_probs, found, mask), logits)
    torch.testing.assert_close(ours, true, rtol=0, atol=EXACT)


# ---- hand numbers


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_baselines_by_hand():
    r = torch.tensor([[1.0, 2, 9], [3, 4, 5], [8, 99, 99]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    assert estimators.no_baseline(r, mask).tolist() == [[1, 2, 0], [3, 4, 5], [8, 0, 0]]
    assert estimators.batch_baseline(r, mask).tolist() == [[-3, -1, 0], [-1, 1, 0], [4, 0, 0]]
    assert estimators.leave_one_out(r, mask).tolist() == [[-4.5, -2, 0], [-1.5, 2, 5], [6, 0, 0]]
    assert estimators.value_baseline(r, torch.ones(3, 3), mask).tolist() == [[0, 1, 0], [2, 3, 4], [7, 0, 0]]


def test_reinforce_by_hand():
    log_probs = torch.tensor([[-1.0, -2], [-3, -4]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    loss = estimators.reinforce(log_probs, torch.tensor([[1.0, 2], [3, 4]]), mask)
    assert loss.item() == (1 + 4 + 9) / 2
    assert torch.autograd.grad(loss, log_probs)[0].tolist() == [[-0.5, -1], [-1.5, 0]]


def test_ppo_by_hand():
    ratios = row(0.5, 0.5, 1.1, 2.0, 2.0)
    log_probs = ratios.log().requires_grad_()
    advantages = row(1, -1, 1, 1, -1)
    loss = estimators.ppo_clip(log_probs, torch.zeros_like(ratios), advantages, torch.ones(1, 5).bool(), clip=0.2)
    # min(r A, clamp(r) A): 0.5, -0.8, 1.1, 1.2, -2
    assert loss.item() == pytest.approx(-(0.5 - 0.8 + 1.1 + 1.2 - 2))
    slopes = torch.autograd.grad(loss, log_probs)[0]
    torch.testing.assert_close(slopes, -row(0.5, 0, 1.1, 0, -2))


def test_exact_entropy_and_kl_by_hand():
    p, q = torch.tensor([[[0.5, 0.25, 0.25]]]).double(), torch.tensor([[[0.25, 0.25, 0.5]]]).double()
    on = torch.ones(1, 1).bool()
    assert estimators.exact(p.log(), torch.tensor([[[2.0, 4, 8]]]).double(), on).item() == pytest.approx(-4)
    assert estimators.entropy(p.log(), on).item() == pytest.approx(1.5 * math.log(2))
    assert estimators.kl_to(p.log(), q.log(), on).item() == pytest.approx(0.25 * math.log(2))
    assert estimators.kl_to(p.log(), p.log(), on).item() == 0
    reference = q.log().requires_grad_()
    assert not estimators.kl_to(p.log(), reference, on).requires_grad


def test_impossible_actions_add_nothing():
    logits = torch.tensor([[[1.0, 2.0, -math.inf]]], dtype=torch.float64, requires_grad=True)
    on = torch.ones(1, 1).bool()
    log_probs = logits.log_softmax(-1)
    loss = estimators.entropy(log_probs, on) + estimators.kl_to(log_probs, log_probs, on)
    loss = loss + estimators.exact(log_probs, torch.ones(1, 1, 3).double(), on)
    short = torch.tensor([[[1.0, 2.0]]]).double().log_softmax(-1)
    assert loss.item() == pytest.approx(estimators.entropy(short, on).item() - 1)
    assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_pathwise_by_hand():
    sample = torch.tensor([1.0, 2, 3], requires_grad=True)
    loss = estimators.pathwise(sample**2)
    assert loss.item() == pytest.approx(-14 / 3)
    torch.testing.assert_close(torch.autograd.grad(loss, sample)[0], torch.tensor([-2.0, -4, -6]) / 3)


def test_gumbel_is_one_hot_forward_and_soft_backward():
    logits = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).expand(20_000, 3).clone().requires_grad_()
    torch.manual_seed(0)
    sample = estimators.straight_through_gumbel(logits, 0.7)
    assert ((sample == 0) | (sample == 1)).all()
    assert torch.equal(sample.sum(-1), torch.ones(20_000, dtype=torch.float64))
    # frequencies: five standard errors, at most 6e-7 a class to be wrong by chance; the seed is fixed anyway
    p = logits[0].softmax(-1).detach()
    assert ((sample.mean(0) - p).abs() < 5 * (p * (1 - p) / 20_000).sqrt()).all()
    # the slope is that of softmax((logits + noise) / 0.7): rows of its Jacobian sum to zero, and it is not zero
    (slope,) = torch.autograd.grad(sample[:, 0].sum(), logits)
    assert slope.sum(-1).abs().max() < 1e-12
    assert (slope[:, 0] >= 0).all()
    assert slope[:, 0].mean() > 0.05
    # at temperature tau the slope of a class for itself is s (1 - s) / tau, at most 1 / (4 tau)
    assert slope[:, 0].max() <= 1 / (4 * 0.7) + 1e-12
    assert slope[:, 0].max() > 0.95 / (4 * 0.7)
    assert estimators.straight_through_gumbel(torch.zeros(2, 3, dtype=torch.bfloat16), 1.0).dtype == torch.float32


# ---- properties

numbers = st.lists(st.floats(-5, 5), min_size=12, max_size=12).map(
    lambda xs: torch.tensor(xs, dtype=torch.float64).view(4, 3)
)
lengths = st.lists(st.integers(1, 3), min_size=4, max_size=4)


def as_mask(n: list[int]) -> Tensor:
    return torch.arange(3) < torch.tensor(n)[:, None]


@given(numbers, st.floats(-100, 100))
def test_a_constant_reward_leaves_the_advantages(r, constant):
    mask = torch.ones(4, 3).bool()
    for baseline in (estimators.leave_one_out, estimators.batch_baseline):
        torch.testing.assert_close(baseline(r + constant, mask), baseline(r, mask), rtol=0, atol=1e-9)
    ours = estimators.leave_one_out(r, mask)
    torch.testing.assert_close(ours * 3 / 4, estimators.batch_baseline(r, mask), rtol=0, atol=1e-12)


def all_losses(log_probs, old, advantages, values, mask):
    """Every per-step loss; the last two turn the numbers into two actions."""
    pair = torch.stack([log_probs, old], -1).log_softmax(-1)
    other = torch.stack([values, old], -1).log_softmax(-1)
    return torch.stack([
        estimators.reinforce(log_probs, advantages, mask),
        estimators.actor_critic(log_probs, values, advantages, old, mask),
        estimators.ppo_clip(log_probs, old, advantages, mask),
        estimators.exact(pair, torch.stack([values, advantages], -1), mask),
        estimators.entropy(pair, mask),
        estimators.kl_to(pair, other, mask),
    ])  # fmt: skip


@given(numbers, numbers, numbers, numbers, lengths, st.permutations(range(4)))
def test_padding_order_and_splits_do_not_matter(a, b, c, d, n, order):
    mask = as_mask(n)
    inputs = (a / 5, b / 5, c, d)
    whole = all_losses(*inputs, mask)
    torch.testing.assert_close(all_losses(*(x[order] for x in inputs), mask[order]), whole)
    halves = [all_losses(*(x[h] for x in inputs), mask[h]) for h in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(sum(halves) / 2, whole)
    for rubbish in (1e3, math.nan, -math.inf):
        padded = [torch.nn.functional.pad(x.masked_fill(~mask, rubbish), (0, 2), value=rubbish) for x in inputs]
        padded = [x.requires_grad_() for x in padded]
        longer = torch.nn.functional.pad(mask, (0, 2))
        losses = all_losses(*padded, longer)
        torch.testing.assert_close(losses, whole)
        if math.isfinite(rubbish):  # NaN that the test itself feeds through log_softmax comes back as NaN
            slopes = torch.autograd.grad(losses.sum(), padded, allow_unused=True)
            assert all(s is None or s[~longer].abs().max() == 0 for s in slopes)


@given(numbers, lengths)
def test_baselines_ignore_the_padding(r, n):
    mask = as_mask(n)
    for baseline in (estimators.no_baseline, estimators.batch_baseline, estimators.leave_one_out):
        clean = baseline(r, mask)
        assert torch.equal(baseline(r.masked_fill(~mask, math.nan), mask), clean)
        assert (clean[~mask] == 0).all()


def test_rubbish_off_the_mask_gives_no_gradient():
    log_probs = row(-1, -math.inf, math.nan).requires_grad_()
    values = row(1, math.nan, math.inf).requires_grad_()
    mask = torch.tensor([[True, False, False]])
    loss = estimators.actor_critic(log_probs, values, row(2, math.nan, math.inf), row(0, math.nan, 1), mask)
    loss = loss + estimators.ppo_clip(log_probs, row(-1, math.nan, 0), row(2, math.nan, math.inf), mask)
    by_log_prob, by_value = torch.autograd.grad(loss, [log_probs, values])
    assert by_log_prob.tolist() == [[-4, 0, 0]]
    assert by_value.tolist() == [[1, 0, 0]]


def test_nothing_flows_into_advantages_targets_or_old_log_probs():
    leaves = [row(0.5, -0.5).requires_grad_() for _ in range(6)]
    log_probs, advantages, targets, old, values, baseline = leaves
    mask = torch.ones(1, 2).bool()
    loss = estimators.actor_critic(log_probs, values, advantages, targets, mask)
    loss = loss + estimators.ppo_clip(log_probs, old, advantages, mask)
    loss = loss + estimators.exact(log_probs[..., None], advantages[..., None], mask)
    gradients = torch.autograd.grad(loss, [advantages, targets, old], allow_unused=True)
    assert gradients == (None, None, None)
    assert not estimators.value_baseline(row(1, 2), baseline, mask).requires_grad


def test_losses_are_float32_under_half_precision():
    half = torch.full((2, 3), -1.0, dtype=torch.bfloat16)
    losses = all_losses(half, half, half, half, torch.ones(2, 3).bool())
    assert losses.dtype == torch.float32
    assert losses[0].item() == -3


@pytest.mark.parametrize("name", ["reinforce", "actor_critic", "ppo_clip", "exact", "entropy", "kl_to"])
def test_gradients_match_finite_differences(name):
    generator = torch.Generator().manual_seed(3)
    a, b, c, d = (torch.randn(2, 3, dtype=torch.float64, generator=generator) * 0.1 for _ in range(4))
    mask = torch.tensor([[True, True, False], [True, True, True]])
    chosen = ["reinforce", "actor_critic", "ppo_clip", "exact", "entropy", "kl_to"].index(name)
    assert torch.autograd.gradcheck(lambda x: all_losses(x, b, c, d, mask)[chosen], (a.requires_grad_(),))


def test_divergence_by_hand() -> None:
    log_probs = torch.tensor([[[0.5, 0.25, 0.25]]]).log()
    reference = torch.tensor([[[0.25, 0.25, 0.5]]]).log()
    mask = torch.tensor([[True]])
    # sum p log p = -1.5 log 2; sum p log r = -(0.5 * 2 + 0.25 * 2 + 0.25) log 2 = -1.75 log 2
    for sharpness in (0.0, 1.0, 2.0):
        found = estimators.divergence(log_probs, reference, mask, sharpness)
        assert found.item() == pytest.approx((-1.5 + 1.75 * sharpness) * math.log(2), rel=1e-6)
    torch.testing.assert_close(
        estimators.divergence(log_probs, reference, mask).sum(), estimators.kl_to(log_probs, reference, mask)
    )
    torch.testing.assert_close(
        estimators.divergence(log_probs, reference, mask, 0.0).sum(), -estimators.entropy(log_probs, mask)
    )
    assert estimators.divergence(log_probs, reference, ~mask).item() == 0
