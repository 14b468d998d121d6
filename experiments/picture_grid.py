"""Pictures side by side in one PNG, and points of a plane."""

import io
from pathlib import Path

import torch
from torch import Tensor

SMALLEST = 560  # pixels of a grid's side: smaller pictures are enlarged by whole factors
GAP = 1  # pixels between pictures, before they are enlarged


def save(place: Path, pictures: Tensor, *, columns: int) -> None:
    """Write pictures [number channels height width] of bytes, row by row; two channels are shown with a black third."""
    from PIL import Image

    grid = joined(pictures, columns)
    factor = max(1, round(SMALLEST / grid.shape[2]))
    grid = grid.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    array = grid[0] if len(grid) == 1 else grid.permute(1, 2, 0)
    _write(place, Image.fromarray(array.numpy()))


def joined(pictures: Tensor, columns: int) -> Tensor:
    """Return one picture [channels height width] with a white line between neighbours; missing ones are white."""
    number, channels, height, width = pictures.shape
    rows = -(-number // columns)
    tall, wide = height + GAP, width + GAP
    grid = torch.full((channels, rows * tall + GAP, columns * wide + GAP), 255, dtype=torch.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * tall + GAP, place % columns * wide + GAP
        grid[:, top : top + height, left : left + width] = picture
    return grid


def scatter(place: Path, real: Tensor, painted: Tensor) -> None:
    """Write points of a plane: the real ones grey, the painted ones blue; of one number, along a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), dpi=120)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    FigureCanvasAgg(figure)
    for points, colour, size in ((real[: len(painted)], "#b8b8b8", 9), (painted, "#1f6fd6", 3)):
        flat = torch.nn.functional.pad(points.float(), (0, max(0, 2 - points.shape[1])))
        axes.scatter(flat[:, 0].numpy(), flat[:, 1].numpy(), s=size, c=colour, linewidths=0)
    reach = 1.4 * float(real.abs().max()) + 0.1
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_axis_off()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    place.write_bytes(drawn.getvalue())


def _write(place: Path, image: object) -> None:
    drawn = io.BytesIO()
    image.save(drawn, "PNG", optimize=True)  # type: ignore[attr-defined]
    place.write_bytes(drawn.getvalue())
