"""A page that needs nothing but itself: no script, nothing fetched, light and dark."""

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rl.runtime.errors import InputError

# The pages' colours by name, light and dark. Figures are drawn in the light ones, then told to follow the page.
COLOURS = {
    "paper": ("#fdfdfb", "#15181c"),
    "ink": ("#1c2024", "#e4e6e9"),
    "soft": ("#626a73", "#99a2ac"),
    "rule": ("#dcdfe3", "#343a41"),
    "phase0": ("#eef3fa", "#1b232d"),
    "phase1": ("#fbf1e4", "#2c251b"),
    "phase2": ("#eef6ee", "#1b281f"),
    "c0": ("#0b66ad", "#62b0f0"),
    "c1": ("#c8501a", "#f08f5c"),
    "c2": ("#0f8a5f", "#4cc99b"),
    "c3": ("#a8478f", "#df8fca"),
    "c4": ("#8a6a00", "#d9b84a"),
    "c5": ("#5a55c4", "#a09cf5"),
    "c6": ("#b0303f", "#f0808c"),
    "c7": ("#2a8a99", "#66c8d6"),
    "c8": ("#6b7a1e", "#b4c65a"),
    "c9": ("#7d5a4a", "#c9a08c"),
}
SERIES = tuple(name for name in COLOURS if name[0] == "c")

STYLE = """
:root { color-scheme: light dark; LIGHT }
:root { --sans: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
@media (prefers-color-scheme: dark) { :root { DARK } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 var(--sans) }
main { max-width: 1120px; margin: 0 auto; padding: 2.2rem 1.4rem 4rem }
h1 { font-size: 1.65rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.12rem; margin: 2.6rem 0 .7rem; padding-top: .8rem; border-top: 1px solid var(--rule) }
p { max-width: 78ch; margin: .5rem 0 } .soft, figcaption small { color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule) }
th { font-weight: 600; color: var(--soft) } thead th { vertical-align: bottom; white-space: normal }
tbody th { font-weight: 500 }
tbody th, th:first-child, td.words, th.words { text-align: left; color: var(--ink) }
tr.strong td, tr.strong th { font-weight: 650 }
tr.published td, tr.published th { color: var(--soft); font-weight: 400 }
tr.first th, tr.first td { border-top: 2px solid var(--rule) }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1.3rem 1.6rem }
figure { margin: 0; display: flex; flex-direction: column; justify-content: space-between }
figcaption { font-weight: 600; font-size: .87rem; overflow-wrap: anywhere }
figcaption small { display: block; font-weight: 400 }
svg, img { display: block; width: 100%; height: auto } .large { max-width: 780px }
img { border: 1px solid var(--rule); background: #fff }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; padding: 0; margin: .5rem 0 .9rem; list-style: none }
.legend { font-size: .87rem }
.legend i { display: inline-block; width: 1.5em; margin-right: .45em; vertical-align: middle; border-top: 3px solid }
.legend i.dashed { border-top-style: dashed } .legend i.area { height: .9em; border: 1px solid var(--rule) }
.legend b { margin-right: .35em; font-size: 1.15em }
details { margin: .5rem 0 } summary { cursor: pointer; font-weight: 600 }
ol { margin: .5rem 0; padding-left: 2.6em; font-size: .9rem } li { overflow-wrap: anywhere; unicode-bidi: isolate }
ol li::marker { color: var(--soft); font-size: .85em }
code { font: .86em/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere }
.settings { columns: 3 230px; column-gap: 2rem; font-size: .85rem; padding: 0; margin: .6rem 0; list-style: none }
.settings li { display: flex; justify-content: space-between; gap: 1rem; padding: .12rem 0 }
.settings li { border-bottom: 1px solid var(--rule) }
.settings li span:last-child { text-align: right; font-variant-numeric: tabular-nums }
.warning { border-left: 4px solid var(--c1); padding: .3rem .8rem; margin: .5rem 0; max-width: 78ch }
"""
for _place, _name in enumerate(("LIGHT", "DARK")):
    STYLE = STYLE.replace(_name, " ".join(f"--{name}: {pair[_place]};" for name, pair in COLOURS.items()))

BASE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>{{ style | safe }}</style></head>
<body><main>
{% block body %}{% endblock %}
</main></body></html>
"""

MEANING = {
    "nll_oracle": "quality: the oracle's NLL of the samples, nats per token",
    "nll_test": "diversity: the generator's NLL of held-out sentences, nats per token",
    "unique": "share of different sentences",
    "entropy": "of the tokens, nats",
    "fbd": "Fréchet distance to the test sentences",
    "loss": "loss",
} | {
    f"{name}_{n}": words.format(n)
    for name, words in (
        ("bleu", "BLEU-{} against test: quality only"),
        ("self_bleu", "BLEU-{} against each other: lower is more diverse"),
        ("distinct", "share of different {}-grams"),
    )
    for n in range(1, 6)
}


def render(body: str, values: Mapping[str, Any]) -> str:
    """Return a page around a template of its body; every value is escaped unless it is `Markup`."""
    page = '{% extends "base" %}{% block body %}' + body + "{% endblock %}"
    return _environment(base=BASE, page=page).get_template("page").render({**values, "style": STYLE})


def fragment(template: str, values: Mapping[str, Any]) -> Markup:
    """Return a part of a page; every value is escaped unless it is `Markup`. `meaning` says what metrics mean."""
    return Markup(_environment(part=template).get_template("part").render({"meaning": MEANING, **values}))


def picture(png: bytes, words: str) -> Markup:
    """Return a PNG inside the page; `words` say what it shows."""
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(base64.b64encode(png).decode(), words)


def _environment(**templates: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "breakable": breakable}
    return environment


def breakable(name: str) -> Markup:
    """Return a name that may go on in a new line after an underscore, but for the digit of `bleu_4`."""
    return Markup("_<wbr>").join(re.split("_(?=[a-z])", name))


def save(path: Path, text: str) -> Path:
    """Write a page whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def number(value: float | None) -> str:
    """Return a number as a table shows it: three decimals, fewer for large ones; a dash for none."""
    if value is None or value != value:
        return "\N{EN DASH}"
    value = 0.0 if abs(value) < 1e-12 else value  # what rounding left of nothing
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 3
    text = f"{value:.1e}" if size >= 1e7 or 0 < size < 5e-4 else f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text
