"""What an image run leaves: measurements, sample grids, summary.json and the report."""

from collections.abc import Iterator
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


def paint(cast: Cast, rows: int, labels: Tensor | None = None) -> Tensor:
    """Return what the averaged generator paints of fresh noise; of these classes if they are given."""
    device = cast.engine.device
    asked = None if labels is None else labels.to(device)
    return painted_from(cast, cast.players.dealer.free(rows, asked, device))


@torch.no_grad()
def painted_from(cast: Cast, latent: Any) -> Tensor:
    """Return what the averaged generator paints of latents, as it would be stored, on the CPU.

    Its batch norms take their statistics from fresh pictures of the averaged weights themselves.
    """
    dealer, device = cast.players.dealer, cast.engine.device
    shown, (batches, size) = Shown(dealer, cast.average.net), REFRESHED
    refresh_statistics(shown, (dealer.free(size, None, device) for _ in range(batches)))
    painted = torch.cat([shown(some).float().cpu() for some in in_chunks(latent)])
    return as_bytes(painted) if cast.data.kind == "pictures" else painted


def in_chunks(latent: Any) -> Iterator[Any]:
    """Walk over a latent, a tensor or tuples of such, AT_ONCE rows at a time."""
    if isinstance(latent, Tensor):
        yield from latent.split(AT_ONCE)
        return
    for parts in zip(*map(in_chunks, latent), strict=True):
        yield parts if type(latent) is tuple else type(latent)(*parts)


def asked_for(e: Experiment, cast: Cast, rows: int) -> Tensor | None:
    """Return the classes to paint, evenly, if the method paints what it is asked for."""
    return torch.arange(rows) % cast.data.classes if VARIANTS[e.variant].conditional else None


def measure(e: Experiment, cast: Cast, reference: Reference, samples: int) -> dict[str, float]:
    """Return the metrics of fresh pictures, and what the method measures of itself."""
    with cast.clock.stopped(), seeded(e.seed + EVALUATION_SEED):
        asked = asked_for(e, cast, samples)
        found = reference.measure(paint(cast, samples, asked), asked)
        test = cast.data.test
        examined = Examined(cast.average.net, cast.discriminator, test.images, test.labels, reference.classify)
        return found | dict(cast.players.probe(examined))


def summarise(run_dir: Path, e: Experiment, cast: Cast, reference: Reference, steps: int) -> dict[str, float]:
    """Write summary.json: the pictures after so many steps, and REAL against REAL."""
    seconds = cast.clock.seconds
    summary = measure(e, cast, reference, e.final_samples)
    summary |= {f"real/{name}": value for name, value in reference.real(e.final_samples).items()}
    summary |= {"cpu_seconds": seconds}
    if "real/fid" in summary:
        summary["fid_real"] = summary["real/fid"]
    summary["images_per_second"] = steps * e.numbers.d_steps * e.numbers.batch / max(seconds, 1e-9)
    write_json(run_dir / "features.json", {"features": reference.features})
    write_json(run_dir / "summary.json", summary)
    return summary


def write_samples(run_dir: Path, step: int, e: Experiment, cast: Cast) -> None:
    """Write `samples/step-N.png`: the same noise at every step; a row for each class where classes can be asked for."""
    folder = run_dir / "samples"
    folder.mkdir(exist_ok=True)
    place = folder / f"step-{step}.png"
    with cast.clock.stopped(), seeded(e.seed + EVALUATION_SEED + 1):
        if cast.data.kind == "points":
            picture_grid.scatter(place, cast.data.test.images, paint(cast, SHOWN_POINTS))
            return
        rows = min(cast.data.classes, SIDE) if VARIANTS[e.variant].conditional else SIDE
        labels = torch.arange(rows).repeat_interleave(SIDE) if VARIANTS[e.variant].conditional else None
        picture_grid.save(place, paint(cast, rows * SIDE, labels), columns=SIDE)


def finish(run_dir: Path, e: Experiment, cast: Cast, reference: Reference) -> None:
    """Measure at the last step, write the report, and print where it is and the numbers."""
    summary = summarise(run_dir, e, cast, reference, e.numbers.steps)
    page = report.write(run_dir)
    rows = (f"{key:24}{value:12.3f}" for key, value in summary.items())
    print("\n" + "\n".join(rows) + f"\n\nreport: {page}", flush=True)
