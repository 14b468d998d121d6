"""A discriminator as a reward: `python -m experiments.painter [--flags]`; learn to judge, freeze, paint.

A stroke earns D(canvas after it) - D(canvas before it), as in Huang et al. 2019 (arXiv:1903.04411). An episode's sum is
D(last canvas) - D(black): going round in a circle earns nothing, and so does a stroke that changes nothing. A gradient
penalty wants D's slope to be one between the real canvases and the fakes it is told of, no further; so it is told of
what a painter could try: canvases of random strokes, and real pictures under other labels than their own.
One that knows its generator's fakes alone (`--alone`) never saw a stroke, and pays more for nonsense than for digits.
What the canvases are worth is for a classifier to say, of which the reward knows nothing; a reward above REAL's, or the
same canvas for every episode of a class, is what a frozen opinion leaves to be wished for.
"""

import sys
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from experiments import config, page, picture_grid, records, report_image, report_parts
from experiments.image_setup import EVALUATION_SEED, FEWEST, optimizer_of
from experiments.painting import ID, NUMBERS, paint
from experiments.plots import Line, over_steps
from image_gans.data import Data, load
from image_gans.judging import Judge
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.metrics.evaluation import Reference, some
from image_gans.numbers import Facts, Numbers
from image_gans.players import conditional
from image_gans.samples import Pair, as_bytes, as_floats
from rl.control import environments, ppo
from rl.control.agents import OnPolicyAgent
from rl.control.collecting import Collector
from rl.control.spaces import Observations
from rl.control.transitions import Transitions
from rl.discriminator import Discriminator, Logits, evaluating
from rl.objectives import Wasserstein
from rl.penalties import GradientPenalty
from rl.rewards import PerStep
from rl.runtime import Engine, InputError, Log, Meter, Runtime, exit_codes, rundir, seeded

FAMILY = "painter"
Act = Callable[[Tensor], Tensor]
LOGGED = 50  # steps of the generator between rows of metrics.jsonl
SIDE = 10  # of a sample grid, in pictures; a row is a class
JUDGE = Numbers(d_steps=2, d_norm="layer", beta1=0.0, beta2=0.9)
PAINTER = ppo.PPO(gamma=1.0)  # undiscounted, so that the reward telescopes
SPREAD = -0.5  # log of the policy's spread at first, in half ranges
SCRIBBLES = 5_000  # canvases of random strokes that the discriminator learns from
ROWS = {"": "trained painter", "random": "random strokes", "generator": "the GAN's generator", "real": "REAL: test"}
MEANING = report_image.MEANING | {
    "reward": "of an episode: how much better than black the discriminator finds the canvas",
    "agent/kl": "of a round's policy to the one that painted, nats",
}
BODY = """
<h1>A discriminator as a reward</h1>
<p class="soft">{{ data }}, seed {{ seed }}: strokes paid by a {{ variant }} discriminator</p>
{% for section in sections %}{{ section }}{% endfor %}
"""


@dataclass(frozen=True)
class Experiment:
    """Teach a painter with a discriminator as its only reward."""

    data: str = "digits"
    """what is painted: `digits`, a folder (MNIST's), an .npz or hf:NAME, with classes; colours become grey"""
    size: int = 0
    """side that pictures are cut and resized to; 0: their own, padded to a power of two"""
    strokes: int = 4
    """on a canvas"""
    judge_steps: int = 800
    """steps of the generator while the discriminator learns"""
    rounds: int = 400
    """rounds of painting and learning"""
    canvases: int = 128
    """painted in a round"""
    learns: bool = False
    """let the discriminator learn from the painter's canvases too, instead of freezing it"""
    alone: bool = False
    """let the discriminator know its generator's fakes alone: the painter then finds what no generator paints"""
    seed: int = 0
    """of the weights and the draws"""
    run_dir: Path | None = None
    """where the run is kept; none: runs/painter-VARIANT-DATE"""
    evaluate_every: int = 100
    """rounds between measurements and sample grids"""
    samples: int = 1_000
    """canvases in each of them"""
    cache: Path = config.CACHE
    """where the classifier that measures is kept"""


@dataclass(frozen=True)
class View:
    """Reads rows of observations as canvases, each with the class that was asked for."""

    observations: Observations
    side: int

    def __call__(self, rows: Tensor) -> Pair:
        """Give all rows' pictures [rows 1 side side] and classes, whatever the leading places."""
        rows, place = rows.flatten(0, -2), {part.name: part.place for part in self.observations.parts}
        return Pair(rows[:, place["canvas"]].unflatten(1, (1, self.side, self.side)), rows[:, place["asked"]].argmax(1))


@dataclass(frozen=True)
class Progress:
    """Judges steps: the logit of the canvas after the stroke, less that of the canvas before."""

    judge: Discriminator[Pair]
    view: View

    def __call__(self, steps: Transitions) -> Logits:
        """Give [batch time]."""
        gained = self.judge(self.view(steps.next_obs)) - self.judge(self.view(steps.obs))
        return gained.view(steps.terminated.shape)


class Studio:
    """Data, canvases and the discriminator's company: all that a run draws from."""

    def __init__(self, e: Experiment, data: Data) -> None:
        self.e, self.data = e, data
        self.collector = self.easels(e.seed)
        self.view = View(self.collector.observations, data.shape[-1])
        self.players = conditional(JUDGE, Facts(data.shape, data.classes, *data.train))
        self.order = data.train.labels.argsort()
        self.counts = data.train.labels.bincount(minlength=data.classes)

    def easels(self, seed: int) -> Collector:
        """Return black canvases side by side."""
        kwargs = {"side": self.data.shape[-1], "strokes": self.e.strokes, "classes": self.data.classes}
        return Collector(environments.make(ID, self.e.canvases, kwargs), seed)

    def real(self, labels: Tensor) -> Pair:
        """Draw training pictures of these classes."""
        place = (self.counts.cumsum(0) - self.counts)[labels] + (torch.rand(len(labels)) * self.counts[labels]).long()
        return Pair(as_floats(self.data.train.images[self.order[place]]), labels)

    def labels(self) -> Tensor:
        """Draw a batch of classes, as often as train has them."""
        return self.data.train.labels[torch.randint(len(self.order), (JUDGE.batch,))]

    def scribbles(self, number: int) -> Tensor:
        """Return pictures of so many canvases under random strokes, after every stroke."""
        side = self.data.shape[-1]
        after = [np.full((number, side, side), -1, np.float32)]
        for _ in range(self.e.strokes):
            after.append(paint(after[-1], at_random(after[-1]).numpy()))
        return torch.from_numpy(np.concatenate(after[1:])).unsqueeze(1)

    def paint(self, act: Act) -> Pair:
        """Return finished canvases, always of the same episodes; the run's own draws stay as they were."""
        with seeded(self.e.seed + EVALUATION_SEED):
            collector = self.easels(self.e.seed + EVALUATION_SEED)
            rounds = range(-(-self.e.samples // self.e.canvases))
            done = [self.view(collector.collect(act, self.e.strokes).steps.next_obs[:, -1]) for _ in rounds]
        return Pair(*(torch.cat(parts) for parts in zip(*done, strict=True)))


def at_random(obs: Sized) -> Tensor:
    """Draw strokes evenly from all that there are."""
    return 2 * torch.rand(len(obs), NUMBERS) - 1


def half(pictures: Tensor) -> Tensor:
    """Draw half a batch of them."""
    return pictures[torch.randint(len(pictures), (JUDGE.batch // 2,))]


@torch.no_grad()
def worth(judge: Discriminator[Pair], canvases: Pair) -> Tensor:
    """Return what whole episodes have earned that end like this: [rows]."""
    black = Pair(torch.full_like(canvases.x, -1), canvases.label)
    return judge(canvases) - judge(black)


def train(e: Experiment, data: Data, engine: Engine, run_dir: Path) -> tuple[Judge, OnPolicyAgent]:
    """Learn to judge, freeze the judge, paint for it, measure with what neither has seen; return both."""
    studio, meter = Studio(e, data), Meter()
    view, dealer = studio.view, studio.players.dealer
    generator, discriminator = engine.place(studio.players.generator), engine.place(studio.players.discriminator)
    rules = Rules(Wasserstein(), GradientPenalty(JUDGE.penalty_weight))
    against_generator = Game(generator, discriminator, rules, engine)
    against_given = Game(nn.Identity(), discriminator, rules, engine)  # the latents are the fakes
    g_optimizer, d_optimizer = (optimizer_of(JUDGE, net, JUDGE.d_lr) for net in (generator, discriminator))
    agent = engine.place(OnPolicyAgent(studio.collector.observations, studio.collector.actions, log_std=SPREAD))
    optimizer = ppo.optimizer_for(agent, PAINTER)
    reference = Reference(data, e.cache.expanduser(), engine.device)

    def measure(canvases: Pair) -> dict[str, float]:
        earned = float(worth(discriminator, canvases).mean())
        return {"reward": earned} | reference.measure(as_bytes(canvases.x), canvases.label)

    with Log(run_dir, total=e.judge_steps + e.rounds) as log:
        # 1. Learn to judge: against a generator, random strokes, and real pictures of other classes.
        scribbles = studio.scribbles(SCRIBBLES)
        for step in range(e.judge_steps):
            log.progress("judging", step, e.judge_steps)
            for _ in range(JUDGE.d_steps):
                real, latent = dealer.deal(*studio.real(studio.labels()))
                meter.add(discriminator_round(against_generator, real, latent, d_optimizer))
                if not e.alone:
                    given = Pair(torch.cat([half(real.x), half(scribbles)]), real.label)
                    meter.add(discriminator_round(against_given, real, given, d_optimizer))
            real, latent = dealer.deal(*studio.real(studio.labels()))
            meter.add(generator_round(against_generator, real, latent, g_optimizer))
            if (step + 1) % LOGGED == 0:
                log.log(step + 1, meter.flush())

        # 2. Freeze it, and let it pay: every step by itself, what its stroke has gained.
        discriminator.requires_grad_(e.learns).train(e.learns)
        reward = PerStep(Progress(discriminator, view), Wasserstein())
        random = studio.paint(at_random)
        log.log(e.judge_steps, measure(random))
        show(run_dir, e.judge_steps, random)

        # 3. Paint, be paid, learn.
        for turn in range(e.rounds):
            log.progress("painting", turn, e.rounds)
            rollout = ppo.prepare(agent, studio.collector.collect(agent.act, e.strokes).relabel(reward))
            ppo.set_rate(optimizer, PAINTER.lr * min(1.0, 2 - 2 * turn / e.rounds))
            learned = ppo.ppo_round(agent, optimizer, rollout, PAINTER, engine)
            agent.add(rollout.steps.obs.flatten(0, 1))
            meter.add({f"agent/{name}": value for name, value in learned.items()})
            for _ in range(JUDGE.d_steps if e.learns else 0):
                given = view(rollout.steps.next_obs[:, -1])
                meter.add(discriminator_round(against_given, studio.real(given.label), given, d_optimizer))
            if (turn + 1) % e.evaluate_every == 0 or turn + 1 == e.rounds:
                canvases = studio.paint(agent.act)
                log.log(e.judge_steps + turn + 1, meter.flush() | measure(canvases))
                show(run_dir, e.judge_steps + turn + 1, canvases)

        # 4. Measure beside what there is to compare with.
        log.progress("measuring", 1, 1)
        with seeded(e.seed + EVALUATION_SEED), torch.no_grad(), evaluating(generator):
            imitated = generator(dealer.free(e.samples, None, engine.device))
        rows = some(len(data.test.images), e.samples)
        test = Pair(as_floats(data.test.images[rows]), data.test.labels[rows])
        compared = {"": studio.paint(agent.act), "random/": random, "generator/": imitated, "real/": test}
        summary = {prefix + key: value for prefix, of in compared.items() for key, value in measure(of).items()}
        rundir.write_json(run_dir / "summary.json", summary)
    return discriminator, agent


def show(run_dir: Path, step: int, canvases: Pair) -> None:
    """Write `samples/step-N.png`: a row for each of the first classes."""
    (run_dir / "samples").mkdir(exist_ok=True)
    rows = [(canvases.label == label).nonzero().flatten() for label in range(SIDE)]
    chosen = torch.cat([row[torch.arange(SIDE) % len(row)] for row in rows if len(row)])
    picture_grid.save(run_dir / "samples" / f"step-{step}.png", as_bytes(canvases.x[chosen]), columns=SIDE)


def report(run: records.Run) -> str:
    """Return the page: the summary, canvases over the rounds, curves."""
    steps = records.sample_steps(run.folder, ".png")
    grids = [(step, report_image.grid(run.folder, step)) for step in report_image.chosen(steps)]
    words = f"A row is a class. The first are of step {steps[-1]}, then from random strokes (step {steps[0]}) on."
    sections = [
        report_parts.summary(run, ROWS),
        page.fragment(report_image.SAMPLES, {"grids": grids, "words": words}),
        report_parts.panels(
            [(key, over_steps([Line(*run.series(key), "c0")], [])) for key in run.metrics()], meaning=MEANING
        ),
    ]
    described = run.description
    values = {"title": f"painter, seed {described['seed']}", "variant": described["variant"], "sections": sections}
    return page.render(BODY, values | {"data": described["config"]["data"], "seed": described["seed"]})


def check(e: Experiment) -> None:
    """Raise InputError for a number out of its range."""
    config.check_numbers(e, may_be_zero=("size", "judge_steps", "rounds", "seed"), shares=())
    if e.samples < FEWEST:
        raise InputError(f"--samples {e.samples}: measuring needs at least {FEWEST}")


def data_of(e: Experiment) -> Data:
    """Return the data that the flags name, in grey; raise InputError where there are no classes to ask for."""
    data = load(e.data, size=e.size, channels=1, seed=e.seed)
    if not data.classes:
        raise InputError(f"{e.data}: no classes; a painter is asked for one")
    return data


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    e = config.one_line_errors(
        lambda: tyro.cli(Experiment, prog="python -m experiments.painter", description=__doc__, args=arguments)
    )
    check(e)
    engine = Engine(Runtime(device="cpu", precision="fp32"), e.seed)
    data = data_of(e)
    run_dir = rundir.create(e.run_dir, FAMILY, "learning" if e.learns else "frozen", config.to_json(e), e.seed)
    print(f"run: {run_dir}", flush=True)
    with rundir.lock(run_dir):
        train(e, data, engine, run_dir)
        run = records.read(run_dir)
        place = page.save(run_dir / "report.html", report(run))
    shown = (f"{key:24}{value:12.3f}" for key, value in run.summary.items())
    print("\n" + "\n".join(shown) + f"\n\nreport: {place}", flush=True)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
