"""Every row of the table of image methods: its rounds run, stay finite, and go on exactly from a checkpoint."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.image_setup import Cast, Experiment, check_fit, load_data
from image_gans.data import Data
from image_gans.latent import discriminator_round, generator_round
from image_gans.variants import PRESETS, VARIANTS, numbers_for
from rl.runtime import Engine, Log, Runtime, checkpoints

ON_POINTS = [name for name, row in VARIANTS.items() if "pictures" not in row.needs]


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data(Experiment("dcgan", numbers_for("dcgan", "pictures", "default")))


def cast_of(variant: str, data: Data, source: str = "digits", seed: int = 0) -> Cast:
    n = replace(
        numbers_for(variant, data.kind, "default"), batch=10, width=8, latent=6, d_steps=1, labels=20, steps=100
    )
    e = Experiment(variant, n, data=source, seed=seed)
    engine = Engine(Runtime("cpu", "fp32"), seed)
    check_fit(e, data, engine)
    return Cast(e, data, engine)


def rounds(cast: Cast, first: int, last: int) -> dict[str, float]:
    for step in range(first, last):
        cast.players.grow(step / 4)
        real, latent = cast.players.dealer.deal(*cast.batch())
        cast.meter.add(discriminator_round(cast.game, real, latent, cast.d_optimizer))
        real, latent = cast.players.dealer.deal(*cast.batch())
        cast.meter.add(generator_round(cast.game, real, latent, cast.g_optimizer))
        cast.average.update(cast.generator)
    return {name: float(value) for name, value in (cast.meter.flush() | cast.remembered()).items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_rounds_are_finite_and_go_on_from_a_checkpoint(variant: str, digits: Data, tmp_path: Path) -> None:
    source = "origin" if variant == "dirac" else "digits"
    data = (
        digits
        if source == "digits"
        else load_data(Experiment(variant, numbers_for(variant, "points", "default"), data=source))
    )
    cast = cast_of(variant, data, source)
    before = {name: weight.clone() for name, weight in cast.generator.state_dict().items()}
    found = rounds(cast, 0, 2)
    assert all(math.isfinite(value) for value in found.values()), found
    assert any(not weight.equal(before[name]) for name, weight in cast.generator.state_dict().items())
    with Log(tmp_path, total=4) as log:
        checkpoints.save(tmp_path, 2, cast.parts(log))
        expected = rounds(cast, 2, 4)
        other = cast_of(variant, data, source, seed=5)
        other.origin = cast.origin
        checkpoints.restore(checkpoints.newest(tmp_path), other.parts(log))
    assert rounds(other, 2, 4) == expected
    for mine, theirs in ((cast.generator, other.generator), (cast.average.net, other.average.net)):
        for name, weight in mine.state_dict().items():
            assert weight.equal(theirs.state_dict()[name]), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_free_latents_are_shown_as_pictures(variant: str, digits: Data) -> None:
    if variant == "dirac":
        pytest.skip("a point on a line")
    cast = cast_of(variant, digits)
    dealer, device = cast.players.dealer, torch.device("cpu")
    labels = torch.tensor([3, 1, 4]) if VARIANTS[variant].conditional else None
    with torch.no_grad():
        shown = dealer.show(cast.average.net, dealer.free(3, labels, device))
    assert shown.shape == (3, *digits.shape)
    assert shown.isfinite().all()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", ["pictures", "points"])
def test_every_row_has_numbers_for_every_preset(preset: str, kind: str) -> None:
    for variant in VARIANTS:
        assert numbers_for(variant, kind, preset).steps > 0
