"""Dirac-GAN: who comes to rest and who goes round; Mescheder et al. 2018 (1801.04406)."""

import torch
from markupsafe import Markup
from torch.optim import SGD

from experiments.plots import Line, Mark, over_steps, trade_off
from experiments.theory_parts import Effort, Optimizers, Shown, engine, frame, play
from image_gans.dirac import InstanceNoise, Places, Point, Slope, eigenvalues, field, radius
from image_gans.latent import Game, Rules
from rl.objectives import Minimax, NonSaturating, Relativistic, Wasserstein
from rl.penalties import R1, R2, GradientPenalty, Sum, WeightClipping

RATE, STEPS, BATCH = 0.1, 500, 64  # the batch matters where there is noise
RULES = {
    "minimax": Rules(Minimax()),
    "non-saturating": Rules(NonSaturating()),
    "wgan, clipped": Rules(Wasserstein(), WeightClipping(1.0)),
    "wgan-gp": Rules(Wasserstein(), GradientPenalty(1.0)),
    "instance noise": Rules(NonSaturating(), augmentation=InstanceNoise(1.0)),
    "r1": Rules(NonSaturating(), R1(1.0)),
    "r2": Rules(NonSaturating(), R2(1.0)),
    "r3gan": Rules(Relativistic(), Sum([R1(0.5), R2(0.5)]), compares=True),
}
PLAIN = ("minimax", "non-saturating", "wgan-gp", "r1", "r2", "r3gan")  # their field depends on the two places alone
SMOOTH = tuple(name for name in PLAIN if name != "wgan-gp")  # its penalty has a kink at the equilibrium
COLOURS = {name: f"c{place}" for place, name in enumerate(RULES)}
DRAWN = ("minimax", "wgan-gp", "r1")
WORDS = """The data is the point 0, the generator paints the point θ, the discriminator's logit is ψx; the one
equilibrium is θ = ψ = 0. Both learn by plain gradient descent (rate 0.1) from (1, 1). In turn, minimax goes round for
ever and the non-saturating reward comes near ever more slowly; stepping together, minimax leaves. A penalty on the
gradient's size at real or fake pictures, or noise on both, brings the game to rest; a penalty that wants a gradient of
size one, or a bound on ψ, does not. The real part of the field's eigenvalues at the equilibrium says as much: 0 for
going round, below 0 for coming to rest. Radius: the largest in the last fifth of the steps. Strokes: the unpenalised
minimax field. Mescheder et al. 2018 (arXiv 1801.04406)."""


def show(effort: Effort) -> Shown:
    """Follow every rule by the library's rounds, and where it has an exact field along that as well."""
    steps = effort.steps(STEPS)
    turns = {name: in_turn(rules, steps, effort.seed) for name, rules in RULES.items()}
    at_once = {name: together(RULES[name], steps) for name in PLAIN}
    last = max(1, steps // 5)
    numbers = {f"{name}/radius_in_turn": float(radius(places[-last:]).max()) for name, places in turns.items()}
    numbers |= {f"{name}/radius_together": float(radius(places[-last:]).max()) for name, places in at_once.items()}
    for name in SMOOTH:
        numbers[f"{name}/real_part"] = float(eigenvalues(RULES[name].objective, RULES[name].penalty).real.max())
    return Shown(
        title="Dirac-GAN: two parameters that may never rest",
        words=WORDS,
        legend=[(colour, name) for name, colour in COLOURS.items()],
        large=[portrait({name: turns[name] for name in DRAWN})],
        figures=[
            ("radius, in turn", over_steps(radii(turns), [], x_label="steps")),
            ("radius, together", over_steps(radii(at_once), [], x_label="steps")),
        ],
        numbers=numbers,
    )


def in_turn(rules: Rules, steps: int, seed: int = 0) -> Places:
    """Return [steps + 1, 2], by the rounds that train every GAN here, the discriminator first."""
    point, slope = Point(), Slope()
    game = Game(point, slope, rules, engine(seed))
    optimizers = Optimizers(SGD(point.parameters(), RATE), SGD(slope.parameters(), RATE))
    origin = torch.zeros(BATCH, 1)
    places = [torch.ones(2)]
    for _ in play(game, lambda: (origin, origin), optimizers, steps):
        places.append(torch.stack([point.theta, slope.psi]).detach())
    return torch.stack(places)


def together(rules: Rules, steps: int) -> Places:
    """Return [steps + 1, 2]: both players step along the field at once."""
    places = [torch.ones(1, 2)]
    for _ in range(steps):
        places.append(places[-1] + RATE * field(rules.objective, rules.penalty, places[-1]))
    return torch.cat(places)


def radii(trajectories: dict[str, Places]) -> list[Line]:
    """Return the distance to the equilibrium over the steps."""
    return [Line(range(len(places)), radius(places).tolist(), COLOURS[name]) for name, places in trajectories.items()]


def portrait(trajectories: dict[str, Places]) -> Markup:
    """Draw trajectories over the field of the unpenalised game, theta to the right and psi up."""
    lines = [frame(2.0, 1.6), arrows()]
    lines += [Line(*places.T.tolist(), COLOURS[name], width=1.0) for name, places in trajectories.items()]
    marks = [Mark(1, 1, "ink", words="start"), Mark(0, 0, "ink", sign="x", words="equilibrium", side="below")]
    return trade_off(lines, marks, "θ", "ψ")


def arrows() -> Line:
    """Return strokes along the minimax field; each starts at a place of a grid, for nan ends it."""
    grid = torch.cartesian_prod(torch.arange(-3.2, 3.3, 0.32), torch.arange(-2.0, 2.1, 0.32))
    ends = grid + 0.15 * field(Minimax(), RULES["minimax"].penalty, grid)
    strokes = torch.stack([grid, ends, torch.full_like(grid, torch.nan)], 1).flatten(0, 1)
    return Line(*strokes.T.tolist(), "soft", width=0.5, opacity=0.5)
