"""Figures as SVG that belongs to its page: the page's font, and colours that follow light and dark."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from markupsafe import Markup

from experiments.page import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = Sequence[float]
MOST = 1_000  # points of a line; a longer one is drawn as means and ranges of that many bins, halved
VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}


@dataclass(frozen=True)
class Line:
    """Points joined; `colour` is a name of the page's. `low` and `high` bound a band, if there is one."""

    x: Floats
    y: Floats
    colour: str
    low: Floats = ()
    high: Floats = ()
    dashed: bool = False
    width: float = 1.6
    opacity: float = 1.0
    marker: str = ""


Side = Literal["right", "below", "below left", "below right"]
OFFSETS: dict[Side, tuple[tuple[int, int], str]] = {  # of words from their place, in points, and how they are set
    "right": ((8, -3), "left"),
    "below": ((0, -15), "center"),
    "below left": ((-3, -13), "right"),
    "below right": ((4, -13), "left"),
}


@dataclass(frozen=True)
class Mark:
    """One place, as a sign or as words beside it or both."""

    x: float
    y: float
    colour: str
    sign: str = "o"
    words: str = ""
    side: Side = "right"


@dataclass(frozen=True)
class Phase:
    """A stretch of steps, drawn as a tinted ground."""

    name: str
    first: float
    last: float
    colour: str


def over_steps(
    lines: Sequence[Line], phases: Sequence[Phase], levels: Sequence[tuple[float, str]] = (), x_label: str = ""
) -> Markup:
    """Return a small figure of a metric over steps; `levels` are dashed horizontals: (value, colour)."""
    with _axes(3.6, 2.15) as (axes, result):
        for phase in phases:
            axes.axvspan(phase.first, phase.last, color=COLOURS[phase.colour][0], linewidth=0)
        for value, colour in levels:
            axes.axhline(value, color=COLOURS[colour][0], linewidth=1, dashes=(4, 3))
        for line in lines:
            _draw(axes, _binned(line))
        if phases:
            axes.set_xlim(phases[0].first, phases[-1].last)
        axes.locator_params(nbins=5)
        axes.set_xlabel(x_label)
    return result[0]


def histogram(edges: Floats, groups: Sequence[tuple[Floats, str]], x_label: str) -> Markup:
    """Return a small figure of the shares of each group's values between the edges; a group is counts and colour."""
    with _axes(3.6, 2.15) as (axes, result):
        for counts, colour in groups:
            shares = np.asarray(counts) / max(sum(counts), 1)
            axes.stairs(shares, edges, fill=True, color=COLOURS[colour][0], alpha=0.25, linewidth=0)
            axes.stairs(shares, edges, color=COLOURS[colour][0], linewidth=1.4)
        axes.locator_params(nbins=5)
        axes.set_xlabel(x_label)
    return result[0]


def trade_off(
    lines: Sequence[Line], marks: Sequence[Mark], x_label: str, y_label: str, *, falling: bool = False
) -> Markup:
    """Return a large figure of one metric against another; `falling`: x falls from left to right."""
    with _axes(7.2, 4.7) as (axes, result):
        axes.grid(True, axis="x")
        axes.margins(0.1)
        if falling:
            axes.invert_xaxis()
        for line in lines:
            _draw(axes, line)
        for mark in marks:
            colour = COLOURS[mark.colour][0]
            if mark.sign:
                size = 13 if mark.sign == "*" else 6.5
                axes.plot([mark.x], [mark.y], mark.sign, color=colour, markersize=size, zorder=5, linestyle="none")
            offset, alignment = OFFSETS[mark.side]
            axes.annotate(
                mark.words, (mark.x, mark.y), xytext=offset, textcoords="offset points", ha=alignment,
                color=colour, fontsize=9, zorder=6,
            )  # fmt: skip
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return result[0]


def _draw(axes: "Axes", line: Line) -> None:
    colour = COLOURS[line.colour][0]
    few = len(line.x) == 1 or (len(line.x) <= 30 and line.width > 1)
    axes.plot(
        line.x, line.y, color=colour, linewidth=line.width, alpha=line.opacity, linestyle="--" if line.dashed else "-",
        marker=line.marker or ("o" if few else ""), markersize=3,
    )  # fmt: skip
    if len(line.low):
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)


def _binned(line: Line) -> Line:
    """Return a line of few points: each the mean of its stretch, with the stretch's lowest and highest value."""
    if len(line.x) <= MOST:
        return line
    edges = np.linspace(0, len(line.x), MOST // 2 + 1).astype(int)[:-1]
    sizes = np.diff([*edges, len(line.x)])
    y, low, high = np.asarray(line.y), np.asarray(line.low or line.y), np.asarray(line.high or line.y)
    return replace(
        line,
        x=(np.add.reduceat(line.x, edges) / sizes).tolist(),
        y=(np.add.reduceat(y, edges) / sizes).tolist(),
        low=np.minimum.reduceat(low, edges).tolist(),
        high=np.maximum.reduceat(high, edges).tolist(),
    )


@contextmanager
def _axes(width: float, height: float) -> Iterator[tuple["Axes", list[Markup]]]:
    """Axes to draw on; when left, the list holds the SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    soft, rule = COLOURS["soft"][0], COLOURS["rule"][0]
    look: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "sparring", "text.parse_math": False, "font.size": 9,
        "axes.edgecolor": rule, "axes.labelcolor": COLOURS["ink"][0],
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": rule, "grid.linewidth": 0.6,
        "xtick.color": rule, "ytick.color": rule, "xtick.labelcolor": soft, "ytick.labelcolor": soft,
        "axes.formatter.useoffset": False, "axes.formatter.limits": (-4, 5), "axes.formatter.use_mathtext": False,
    }  # fmt: skip
    result: list[Markup] = []
    with rc_context(look):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.add_subplot(), result
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    result.append(Markup(_at_home(file.getvalue())))


def _at_home(svg: str) -> str:
    """Return SVG for a place inside a page: no prologue, no fixed size, the page's font and colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (xmlns(:xlink)?|width|height|version)="[^"]*"', "", svg[: svg.index(">")]) + svg[svg.index(">") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\bfont: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r' id="[a-z]+[a-z0-9.]*_\d+"', "", svg)  # names of groups, the same in every figure of the page
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: VARIABLES.get(found[0], found[0]), svg)
