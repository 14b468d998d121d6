"""What an image run leaves: measurements, sample grids, summary.json and the report."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments import picture_grid, report
from experiments.image_setup import EVALUATION_SEED, Cast, Experiment
from image_gans.dealing import Dealer
from image_gans.layers import refresh_statistics
from image_gans.metrics.evaluation import Reference
from image_gans.players import Examined
from image_gans.samples import as_bytes
from image_gans.variants import VARIANTS
from rl.runtime import seeded
from rl.runtime.rundir import write_json

AT_ONCE = 500  # pictures painted side by side
SIDE = 10  # of a sample grid, in pictures
REFRESHED = (20, 100)  # batches and pictures in each from which batch norms' statistics are taken
SHOWN_POINTS = 2_000


class Shown(nn.Module):
    """A generator as it is shown: from free latents to pictures."""

    def __init__(self, dealer: Dealer, generator: nn.Module) -> None:
        super().__init__()
        self.dealer, self.generator = dealer, generator

    def forward(self, latent: Any) -> Tensor:
        """Paint."""
        return self.dealer.show(self.generator, latent)


@torch.no_grad()
def paint(e: Experiment, cast: Cast, rows: int, labels: Tensor | None = None) -> Tensor:
    """Return what the averaged generator paints, as it would be stored, on the CPU; of these classes if they are given.

    Its batch norms take their statistics from fresh pictures of the averaged weights themselves.
    """
    dealer, net, device = cast.players.dealer, cast.average.net, cast.engine.device
    batches, size = REFRESHED
    refresh_statistics(Shown(dealer, net), (dealer.free(size, None, device) for _ in range(batches)))
    painted = []
    for begin in range(0, rows, AT_ONCE):
        asked = None if labels is None else labels[begin : begin + AT_ONCE].to(device)
        shown = dealer.show(net, dealer.free(min(AT_ONCE, rows - begin), asked, device)).float().cpu()
        painted.append(as_bytes(shown) if cast.data.kind == "pictures" else shown)
    return torch.cat(painted)


def asked_for(e: Experiment, cast: Cast, rows: int) -> Tensor | None:
    """Return the classes to paint, evenly, if the method paints what it is asked for."""
    return torch.arange(rows) % cast.data.classes if VARIANTS[e.variant].conditional else None


def measure(e: Experiment, cast: Cast, reference: Reference, samples: int) -> dict[str, float]:
    """Return the metrics of fresh pictures, and what the method measures of itself."""
    with cast.clock.stopped(), seeded(e.seed + EVALUATION_SEED):
        asked = asked_for(e, cast, samples)
        found = reference.measure(paint(e, cast, samples, asked), asked)
        test = cast.data.test
        examined = Examined(cast.average.net, cast.discriminator, test.images, test.labels, reference.classify)
        return found | dict(cast.players.probe(examined))


def summarise(run_dir: Path, e: Experiment, cast: Cast, reference: Reference) -> dict[str, float]:
    """Write summary.json: the pictures of the last step, and REAL against REAL."""
    seconds, steps = cast.clock.seconds, e.numbers.steps
    summary = measure(e, cast, reference, e.final_samples)
    summary |= {f"real/{name}": value for name, value in reference.real(e.final_samples).items()}
    summary |= {"cpu_seconds": seconds}
    if "real/fid" in summary:
        summary["fid_real"] = summary["real/fid"]
    summary["images_per_second"] = steps * e.numbers.batch / max(seconds, 1e-9)
    write_json(run_dir / "summary.json", summary)
    return summary


def write_samples(run_dir: Path, step: int, e: Experiment, cast: Cast) -> None:
    """Write `samples/step-N.png`: the same noise at every step; a row for each class where classes can be asked for."""
    folder = run_dir / "samples"
    folder.mkdir(exist_ok=True)
    place = folder / f"step-{step}.png"
    with cast.clock.stopped(), seeded(e.seed + EVALUATION_SEED + 1):
        if cast.data.kind == "points":
            picture_grid.scatter(place, cast.data.test.images, paint(e, cast, SHOWN_POINTS))
            return
        rows = min(cast.data.classes, SIDE) if VARIANTS[e.variant].conditional else SIDE
        labels = torch.arange(rows).repeat_interleave(SIDE) if VARIANTS[e.variant].conditional else None
        picture_grid.save(place, paint(e, cast, rows * SIDE, labels), columns=SIDE)


def finish(run_dir: Path, e: Experiment, cast: Cast, reference: Reference) -> None:
    """Measure at the last step, write the report, and print where it is and the numbers."""
    summary = summarise(run_dir, e, cast, reference)
    page = report.write(run_dir)
    rows = (f"{key:24}{value:12.3f}" for key, value in summary.items())
    print("\n" + "\n".join(rows) + f"\n\nreport: {page}", flush=True)
