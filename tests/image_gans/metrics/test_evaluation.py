from dataclasses import replace

import pytest
import torch

from image_gans.data import Data, Set
from image_gans.data import load as load_data
from image_gans.metrics import evaluation, features
from image_gans.metrics.evaluation import Reference
from rl.runtime import InputError

CPU = torch.device("cpu")
COMPARED = {"fid", "kid", "precision", "recall", "density", "coverage", "nearest_train", "memorised"}
COUNTED = {"fid_samples", "fid_reference"}


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("nets")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(features, "STEPS", 150)


@pytest.fixture
def reference(data, cache) -> Reference:
    return Reference(data, cache, CPU)


def test_real_digits_are_as_real_as_can_be(reference, data):
    found = reference.real(10_000)
    assert found.keys() == COMPARED | COUNTED | {"inception_score", "modes", "class_entropy", "class_accuracy"}
    assert (found["fid_samples"], found["fid_reference"]) == (len(data.test.images), len(data.train.images))
    assert (found["nearest_train"], found["modes"]) == (1, 10)
    assert found["memorised"] < 0.02
    assert found["class_accuracy"] > 0.9
    assert found["inception_score"] > 8
    assert min(found["precision"], found["recall"]) > 0.8
    assert abs(found["kid"]) < 0.05
    assert 0 < found["fid"] < 2
    assert found["class_entropy"] == pytest.approx(2.3, abs=0.02)


def test_harm_is_seen(reference, data):
    real, images, labels = reference.real(10_000), *data.test
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, images.shape, generator=random, dtype=torch.uint8)
    fids = [reference.measure(some)["fid"] for some in (images[labels < 9], images[labels == 3], noise)]
    assert real["fid"] < fids[0] < fids[1] < fids[2]
    one = reference.measure(images[labels == 3])
    assert one["recall"] < 0.5 < one["precision"]
    assert one["inception_score"] < 2
    assert one["modes"] <= 2
    copies = reference.measure(data.train.images[:200])
    assert copies["memorised"] == 1
    assert copies["nearest_train"] < 1e-3


def test_what_was_asked_for_is_compared_with_what_is_seen(reference, data):
    seen = reference.classify(data.test.images)
    assert "class_accuracy" not in reference.measure(data.test.images)
    assert reference.measure(data.test.images, seen)["class_accuracy"] == 1
    assert reference.measure(data.test.images, (seen + 1) % 10)["class_accuracy"] == 0
    wrong = torch.where(torch.arange(len(seen)) % 4 == 0, (seen + 1) % 10, seen)
    assert reference.measure(data.test.images, wrong)["class_accuracy"] == pytest.approx(0.75, abs=0.01)


def test_more_fakes_than_test_pictures_do_not_lower_the_floor(reference, data):
    few, many = data.test.images, torch.cat([data.test.images] * 3)
    assert reference.measure(many)["fid"] == reference.measure(few)["fid"]
    assert reference.measure(many)["fid_samples"] == len(few)


def test_measuring_draws_nothing_and_repeats(reference, data, cache):
    state = torch.get_rng_state()
    first = reference.real(100)
    again = Reference(data, cache, CPU)
    assert again.real(100) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert again.features == reference.features
    assert first["fid_samples"] == 100


def test_as_many_of_train_are_compared_as_the_limit_allows(monkeypatch, data, cache):
    monkeypatch.setattr(evaluation, "LIMIT", 200)
    assert Reference(data, cache, CPU).real(50)["fid_reference"] == 200


def test_the_nearest_training_picture_is_found(reference, data):
    assert reference.nearest(data.train.images[[3, 99]]).index.tolist() == [3, 99]


def test_the_features_are_named(reference):
    name, sha = reference.features.split()
    assert name == "classifier-128"
    assert sha.startswith("sha256:")
    assert len(sha) == 23


def test_without_labels_nothing_is_said_of_classes(data, cache):
    bare = replace(
        data,
        classes=0,
        class_names=(),
        train=Set(data.train.images, 0 * data.train.labels),
        test=Set(data.test.images, 0 * data.test.labels),
    )
    reference = Reference(bare, cache, CPU)
    assert reference.real(10_000).keys() == COMPARED | COUNTED
    assert reference.features.startswith("random-conv")


def test_stacked_digits_are_counted_by_their_triples(cache):
    stacks = load_data("digits", stack=3)
    found = Reference(stacks, cache, CPU).real(10_000)
    assert found.keys() == COMPARED | COUNTED | {"inception_score", "modes", "mode_kl", "class_accuracy"}
    expected = 1000 * (1 - (1 - 1 / 1000) ** len(stacks.test.images))
    assert found["modes"] == pytest.approx(expected, rel=0.1)
    assert found["class_accuracy"] > 0.7


@pytest.mark.parametrize(("name", "centres"), [("ring", 8), ("grid", 25)])
def test_points_are_counted_by_their_modes(name, centres, tmp_path):
    points = load_data(name)
    reference = Reference(points, tmp_path, CPU)
    found = reference.real(10_000)
    assert found.keys() == {"modes", "high_quality", "reverse_kl", "class_accuracy"}
    assert (found["modes"], found["class_accuracy"]) == (centres, 1)
    assert found["high_quality"] == pytest.approx(0.989, abs=0.01)
    assert torch.equal(reference.classify(points.test.images), points.test.labels)
    assert reference.nearest(points.train.images[:5]).index.tolist() == [0, 1, 2, 3, 4]
    assert reference.features == "coordinates"
    assert not list(tmp_path.iterdir())


def test_other_features_can_take_the_place_of_the_classifiers(data, cache):
    class Shifted(type(Reference(data, cache, CPU).against.net)):
        def __init__(self, own):
            super().__init__((1, 8, 8), 10)
            self.load_state_dict(own.state_dict())
            self.name = "shifted"

        def forward(self, x):
            return super().forward(x + 0.5)

    reference = Reference(data, cache, CPU, Shifted)
    assert reference.features.startswith("shifted")
    assert reference.real(100)["fid"] != Reference(data, cache, CPU).real(100)["fid"]


def test_a_handful_of_pictures_cannot_be_measured(data, cache):
    tiny = replace(data, test=Set(data.test.images[:3], data.test.labels[:3]))
    with pytest.raises(InputError, match="digits: measuring needs more than 3 pictures of train and of test: 3"):
        Reference(tiny, cache, CPU)
