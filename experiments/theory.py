"""What the theory says, shown with the library's own functions: `python -m experiments.theory [NAME...]`.

Each demonstration draws its figures and gives its numbers: parallel lines, the best discriminator, Dirac-GAN, clipped
weights, a bell curve, eight modes. One page, `theory.html`, that needs nothing but itself, and `summary.json`.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import page, theory_dirac, theory_distances, theory_learning
from experiments.config import one_line_errors
from experiments.report_parts import summary_table
from experiments.theory_parts import Effort, Shown
from rl.runtime import InputError, closest, exit_codes, write_json

DEMONSTRATIONS: dict[str, Callable[[Effort], Shown]] = {
    "lines": theory_distances.lines,
    "optimal": theory_distances.optimal,
    "dirac": theory_dirac.show,
    "clipping": theory_learning.clipping,
    "gaussian": theory_learning.gaussian,
    "ring": theory_learning.eight,
}
BODY = """
<h1>What the theory says</h1>
<p class="soft">Shown with the library's own objectives, penalties and rounds; seeds: {{ seeds }}
{%- if quick %}, a hundredth of the steps: these numbers mean nothing{% endif %}.</p>
{% for shown, keys, table in demonstrations %}
<h2>{{ shown.title }}</h2>
<p>{{ shown.words }}</p>
{% if shown.legend %}<ul class="legend">{% for colour, words in shown.legend %}
<li><i style="color: var(--{{ colour }})"></i>{{ words }}</li>{% endfor %}</ul>{% endif %}
{% for figure in shown.large %}<figure class="large">{{ figure }}</figure>{% endfor %}
<div class="grid">{% for caption, figure in shown.figures %}
<figure><figcaption>{{ caption }}</figcaption>{{ figure }}</figure>{% endfor %}</div>
<div class="wide"><table><thead><tr><th></th>
{% for key in keys %}<th>{{ key | breakable }}</th>{% endfor %}</tr></thead><tbody>
{% for name, values in table %}<tr><th>{{ name }}</th>
{% for key in keys %}<td>{{ values.get(key) | number }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}
"""


@dataclass(frozen=True)
class Arguments:
    """Show what the theory says with the library's own functions, in five minutes on one core."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """lines, optimal, dirac, clipping, gaussian, ring; all where none is named"""
    output: Path = Path("runs/theory")
    """folder of theory.html and summary.json"""
    seed: int = 0
    """the first"""
    seeds: int = 3
    """of what is learned several times"""
    quick: bool = False
    """a hundredth of the steps and one seed: to see that it runs"""


def main(arguments: Sequence[str]) -> None:
    """Show what is asked for; print its numbers, write the page."""
    asked = one_line_errors(
        lambda: tyro.cli(Arguments, prog="python -m experiments.theory", description=__doc__, args=arguments)
    )
    for name in asked.names:
        if name not in DEMONSTRATIONS:
            raise InputError(f"{name}: no such demonstration{closest(name, DEMONSTRATIONS)}")
    if asked.seeds < 1:
        raise InputError(f"--seeds {asked.seeds}: at least one")
    asked.output.mkdir(parents=True, exist_ok=True)
    effort = Effort(asked.seed, 1, 0.01) if asked.quick else Effort(asked.seed, asked.seeds)
    demonstrations, summary = [], {}
    for name in asked.names or DEMONSTRATIONS:
        began = time.monotonic()
        shown = DEMONSTRATIONS[name](effort)
        print(f"{name}, {time.monotonic() - began:.1f} s", flush=True)
        for key, value in shown.numbers.items():
            print(f"  {key:32} {page.number(value)}", flush=True)
        demonstrations.append((shown, *summary_table(shown.numbers, {})))
        summary |= {f"{name}/{key}": value for key, value in shown.numbers.items()}
    values = {
        "title": "What the theory says",
        "demonstrations": demonstrations,
        "seeds": ", ".join(map(str, effort.each_seed())),
        "quick": asked.quick,
    }
    write_json(asked.output / "summary.json", summary)
    print(f"page: {page.save(asked.output / 'theory.html', page.render(BODY, values))}", flush=True)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
