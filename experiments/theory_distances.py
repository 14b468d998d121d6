"""What a discriminator at its best measures: Jensen-Shannon and earth mover's distance, and what a generator feels."""

import math
from statistics import mean

import torch
from jaxtyping import Float
from torch import Tensor, nn

from experiments.plots import Line, over_steps
from experiments.theory_parts import Effort, Shown, adam, engine, evenly, judge_alone
from image_gans.distances import Points, Shares, earth_mover, jensen_shannon, kullback_leibler
from image_gans.judging import Judge, Verdict
from image_gans.latent import Game, Rules
from image_gans.nets import MLPJudge
from rl.estimators import pathwise
from rl.objectives import Minimax, NonSaturating, Objective, Wasserstein
from rl.penalties import GradientPenalty

LINES = """Real points lie evenly on a line of the plane, fakes on a parallel one at distance θ. Wherever θ is not 0
they share no point: Kullback and Leibler's divergence is infinite, Jensen and Shannon's is log 2 however near they
are, and neither says where to go; the earth mover's distance is θ. Dots: what a discriminator finds in 300 steps of
the library's own round, one for each θ: the logistic one as log 2 less half of its loss, Wasserstein's with the
gradient penalty of weight 10 as minus its loss. That penalty lets the slope be 1 + θ / 20, so it finds θ + θ² / 20.
Arjovsky et al. 2017 (arXiv 1701.07875), example 1."""
OPTIMAL = """At its best, D = p / (p + q) and the logistic loss is 2 log 2 - 2 JS(p, q): a discriminator with one logit
for each of eight outcomes finds both. Then a generator that paints N(θ, 1) while the data is N(0, 1), against the best
discriminator: the logarithm to base 10 of the slope that pulls it home. Where it is far, the minimax reward hardly
pulls at all, the non-saturating one by θ; Wasserstein's by one everywhere (dashed). Goodfellow et al. 2014 (arXiv
1406.2661), proposition 1, theorem 1 and section 3."""
P = torch.tensor([20, 14, 10, 8, 6, 3, 2, 1], dtype=torch.float64) / 64
Q = torch.tensor([1, 4, 10, 4, 12, 1, 22, 10], dtype=torch.float64) / 64
# as many rows of each outcome as its share says: means over these batches are expectations
REAL, FAKE = (torch.eye(8).repeat_interleave((64 * share).long(), 0) for share in (P, Q))
REWARDS: dict[str, tuple[Objective, str]] = {"minimax": (Minimax(), "c2"), "non-saturating": (NonSaturating(), "c3")}


def lines(effort: Effort) -> Shown:
    """Measure two parallel lines at several distances, exactly and by discriminators that learn."""
    thetas = [place / 10 for place in range(-10, 11)]
    moved = [earth_mover(*parallel(theta, evenly(64))).item() for theta in thetas]
    apart = [jensen_shannon(*shares(*parallel(theta, evenly(64)))).item() for theta in thetas]
    tried, steps = [-0.8, -0.5, -0.2, 0.2, 0.5, 0.8], effort.steps(300)
    gaps = [-judged(theta, Rules(Wasserstein(), GradientPenalty(10.0)), steps, effort.seed) for theta in tried]
    divergences = [math.log(2) - judged(theta, Rules(NonSaturating()), steps, effort.seed) / 2 for theta in tried]
    off_zero = [js for theta, js in zip(thetas, apart, strict=True) if theta]
    return Shown(
        title="Parallel lines: a distance that says where to go",
        words=LINES,
        legend=[("c0", "exact"), ("c1", "found by a discriminator")],
        figures=[
            ("earth mover's distance", over_steps([Line(thetas, moved, "c0"), found(tried, gaps)], [], x_label="θ")),
            ("Jensen-Shannon", over_steps([Line(thetas, apart, "c0"), found(tried, divergences)], [], x_label="θ")),
        ],
        numbers={
            "w1_error": max(abs(w1 - abs(theta)) for theta, w1 in zip(thetas, moved, strict=True)),
            "js_at_zero": apart[thetas.index(0)],
            "js_off_zero_least": min(off_zero),
            "js_off_zero_most": max(off_zero),
            "kl_off_zero": kullback_leibler(*shares(*parallel(0.1, evenly(64)))).item(),
            "w1_found_error": max(abs(gap - abs(theta)) for theta, gap in zip(tried, gaps, strict=True)),
            "js_found_least": min(divergences),
        },
    )


def parallel(theta: float, heights: Float[Tensor, "points"]) -> tuple[Points, Points]:
    """Return real points (0, height) and fakes (theta, height)."""
    fake = torch.stack([torch.full_like(heights, theta), heights], 1)
    return fake * torch.tensor([0.0, 1.0]), fake


def shares(real: Points, fake: Points) -> tuple[Shares, Shares]:
    """Return both as probabilities of the places where either has points."""
    places, which = torch.cat([real, fake]).unique(dim=0, return_inverse=True)
    counts = [rows.bincount(minlength=len(places)).double() for rows in which.split(len(real))]
    return counts[0] / len(real), counts[1] / len(fake)


def judged(theta: float, rules: Rules, steps: int, seed: int) -> float:
    """Teach a discriminator the two lines; its loss without the penalty, a mean over the last tenth of the steps."""
    here, judge = engine(seed), MLPJudge((2,), (64, 64), "none")
    game = Game(nn.Identity(), judge, rules, here)
    rounds = judge_alone(game, lambda: parallel(theta, torch.rand(128)), adam(judge, 0.002), steps)
    losses = [(seen["d/loss"] - seen["d/penalty"]).item() for _, seen in rounds]
    return mean(losses[-max(1, steps // 10) :])


def optimal(effort: Effort) -> Shown:
    """Let a table of logits learn to tell two known distributions apart, and feel the slope of every reward."""
    losses, learned = taught(effort)
    js, probability = jensen_shannon(P, Q).item(), P / (P + Q)
    best = 2 * math.log(2) - 2 * js
    exact = NonSaturating().discriminator_loss(*(rows.double() @ (P / Q).log() for rows in (REAL, FAKE))).item()
    thetas = [0.25 * place for place in range(1, 33)]
    slopes = {name: [slope(objective, theta) for theta in thetas] for name, (objective, _) in REWARDS.items()}
    logarithms = [Line(thetas, [math.log10(s) for s in slopes[name]], colour) for name, (_, colour) in REWARDS.items()]
    places = list(range(len(P)))
    tables = [Line(places, probability.tolist(), "c0"), found(places, learned.tolist())]
    descent = Line(range(1, len(losses) + 1), losses, "c1")
    return Shown(
        title="The best discriminator, and what a generator feels of it",
        words=OPTIMAL,
        legend=[("c0", "exact"), ("c1", "found by a discriminator"), *((c, name) for name, (_, c) in REWARDS.items())],
        figures=[
            ("D of each outcome", over_steps(tables, [])),
            ("loss", over_steps([descent], [], [(best, "c0")], x_label="steps")),
            ("logarithm of the slope", over_steps(logarithms, [], [(0.0, "soft")], x_label="θ")),
        ],
        numbers={
            "js": js,
            "loss_error": abs(exact - best),
            "loss_found_error": abs(losses[-1] - best),
            "probability_found_error": (learned - probability).abs().max().item(),
        }
        | {f"{name}/slope_at_6": values[thetas.index(6.0)] for name, values in slopes.items()},
    )


def taught(effort: Effort) -> tuple[list[float], Shares]:
    """Teach a table the outcomes; its loss by step, and its D of each outcome at the end."""
    here, table = engine(effort.seed), Table(len(P))
    game = Game(nn.Identity(), table, Rules(NonSaturating()), here)
    rounds = judge_alone(game, lambda: (REAL, FAKE), adam(table, 0.05), effort.steps(600))
    losses = [seen["d/loss"].item() for _, seen in rounds]
    return losses, table.logits.detach().sigmoid().double()


class Table(Judge):
    """One logit for each outcome; samples are outcomes in one-hot form."""

    def __init__(self, outcomes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(outcomes))

    def judge(self, x: Float[Tensor, "batch outcomes"]) -> Verdict:
        """Look it up."""
        return Verdict(x @ self.logits, x)


def slope(objective: Objective, theta: float) -> float:
    """Return how hard the best discriminator of N(0, 1) against N(theta, 1) pulls theta: the generator's own gradient.

    The expectation is a sum over 4,000 quantiles of the normal distribution.
    """
    noise = torch.special.ndtri(evenly(4_000))
    moving = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    logits = theta**2 / 2 - theta * (moving + noise)  # log of the ratio of densities
    return torch.autograd.grad(pathwise(objective.reward(logits)), moving)[0].abs().item()


def found(x: list[float], y: list[float]) -> Line:
    """Return what was learned, as dots."""
    return Line(x, y, "c1", width=0, marker="o")
