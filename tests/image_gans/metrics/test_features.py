import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from image_gans.metrics import features
from image_gans.metrics.feature_nets import Classifier, RandomConv, Stacked, Standardised
from image_gans.metrics.features import classifier_for, fingerprint, net_for
from image_gans.samples import as_floats
from rl.runtime import weights
from rl.runtime.weights import kept

MNIST = Path(__file__).parents[4] / "shared/data/images/mnist"


def bars(rows: int, seed: int = 0, side: int = 8, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a bright column, the class is which: an easy set."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (rows,), generator=random)
    images = torch.randint(0, 100, (rows, channels, side, side), generator=random, dtype=torch.uint8)
    images[torch.arange(rows), :, :, labels * side // 4] += 100
    return images, labels


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(features, "STEPS", 40)
    monkeypatch.setattr(features, "BATCH", 32)


def test_it_learns(tmp_path):
    net = classifier_for(*bars(300), 4, tmp_path)
    images, labels = bars(200, seed=1)
    assert (net.classify(images) == labels).float().mean() > 0.95
    assert torch.equal(net.classify(images), net.classify(as_floats(images)))


def test_its_features_have_mean_zero_and_spread_one_on_train(tmp_path):
    images, labels = bars(300)
    seen = classifier_for(images, labels, 4, tmp_path).features(images)
    assert seen.shape == (300, features.Classifier(tuple(images.shape[1:]), 4).head.in_features)
    torch.testing.assert_close(seen.mean(0), torch.zeros(seen.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(seen.shape[1]), atol=1e-3, rtol=0)


def test_a_second_call_reads_what_the_first_one_wrote(tmp_path, monkeypatch):
    images, labels = bars(60)
    first = classifier_for(images, labels, 4, tmp_path / "new")
    files = list((tmp_path / "new").iterdir())
    assert [file.suffix for file in files] == [".safetensors"]
    monkeypatch.setattr(features, "train", None)  # it would be called in vain
    second = classifier_for(images, labels, 4, tmp_path / "new")
    assert second.sha256 == first.sha256
    assert torch.equal(second.both(images).features, first.both(images).features)
    assert not any(weight.requires_grad for net in (first, second) for weight in net.parameters())


def test_training_again_gives_the_same_weights_and_leaves_the_process_alone(tmp_path):
    images, labels = bars(60)
    state, threads, modes = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    first = classifier_for(images, labels, 4, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)  # whatever was drawn before
    with torch.no_grad():
        second = classifier_for(images, labels, 4, tmp_path / "b")
    assert second.sha256 == first.sha256
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, modes)


@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "foreign", "no hash"])
def test_a_damaged_file_is_made_again(tmp_path, harm):
    images, labels = bars(60)
    whole = classifier_for(images, labels, 4, tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    harms = {
        "bit": content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        "cut": content[:-100],
        "empty": b"",
        "foreign": b"not a safetensors file at all",
        "no hash": content.replace(b"sha256", b"sha257"),
    }
    path.write_bytes(harms[harm])
    assert kept(path) == {}
    assert classifier_for(images, labels, 4, tmp_path).sha256 == whole.sha256
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_a_kill_while_writing_leaves_no_half_file(tmp_path, monkeypatch):
    def killed(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        classifier_for(*bars(60), 4, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_data_labels_classes_or_recipe_are_another_net(monkeypatch):
    images, labels = bars(10)
    other = images.clone()
    other[0, 0, 0, 0] += 1
    prints = [
        fingerprint(images, labels, 4),
        fingerprint(other, labels, 4),
        fingerprint(images, labels.roll(1), 4),
        fingerprint(images, labels, 5),
        fingerprint(images.reshape(10, 4, 4, 4), labels, 4),
    ]
    monkeypatch.setattr(features, "RECIPE", "another")
    prints.append(fingerprint(images, labels, 4))
    assert len(set(prints)) == 6
    assert fingerprint(images.flip(3).flip(3), labels, 4) == prints[5]


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (1, 16), (3, 32), (1, 64), (3, 256)])
def test_it_sees_pictures_of_any_side(channels, side):
    images, _ = bars(3, side=side, channels=channels)
    features_seen, logits = Classifier((channels, side, side), 4).both(images)
    assert features_seen.shape[0] == logits.shape[0] == 3
    assert logits.shape[1] == 4


def test_chunks_make_no_difference(monkeypatch):
    images, _ = bars(23)
    net = RandomConv((1, 8, 8))
    whole = net.features(images)
    monkeypatch.setattr(RandomConv, "chunk", 4)
    torch.testing.assert_close(net.features(images), whole)
    torch.testing.assert_close(net.features(images.flip(0)), whole.flip(0))


def test_it_sees_in_float32_under_autocast_and_without_gradient():
    net = Classifier((1, 8, 8), 4)
    with torch.autocast("cpu", torch.bfloat16):
        seen = net.both(bars(5)[0])
    assert seen.features.dtype == seen.logits.dtype == torch.float32
    assert torch.equal(seen.features, net.features(bars(5)[0]))
    assert not seen.features.requires_grad


def test_random_convolutions_are_always_the_same_ones():
    images, labels = bars(50)
    first = net_for(images, labels, 0, Path("unused"))
    torch.rand(3)
    second = net_for(images, labels, 0, Path("unused"))
    assert first.name.startswith("random-conv")
    assert first.sha256 == second.sha256
    assert first.both(images).logits.shape == (50, 0)
    assert first.features(images).std(0, correction=0).mean() == pytest.approx(1, abs=1e-3)
    assert not Path("unused").exists()


def test_a_feature_that_never_moved_stays_small():
    standard = Standardised()
    standard.fit(torch.zeros(9, 128))
    assert float(standard(torch.full((1, 128), 0.01)).max()) == pytest.approx(10)


def test_stacked_pictures_are_seen_channel_by_channel(tmp_path):
    singles, labels = bars(300)
    a, b, c = (torch.randperm(300, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    images = torch.cat([singles[a], singles[b], singles[c]], 1)
    triples = 16 * labels[a] + 4 * labels[b] + labels[c]
    net = net_for(images, triples, 64, tmp_path, stacked=True)
    assert isinstance(net, Stacked)
    assert net.classes == 64
    seen = net.both(images)
    one = net.single.both(images[:, 1:2])
    torch.testing.assert_close(seen.features[:, 128:256], one.features)
    assert (net.classify(images) == triples).float().mean() > 0.9
    assert torch.equal(net.classify(images) // 4 % 4, one.logits.argmax(1))
    torch.testing.assert_close(seen.logits.logsumexp(1), torch.zeros(300), atol=1e-4, rtol=0)


def test_each_channel_of_a_stack_teaches_its_own_class(tmp_path, monkeypatch):
    taught = {}
    monkeypatch.setattr(features, "train", lambda net, images, labels: taught.update(images=images, labels=labels))
    images = torch.arange(6, dtype=torch.uint8).view(2, 3, 1, 1).expand(2, 3, 8, 8).contiguous()
    net_for(images, torch.tensor([123, 907]), 1000, tmp_path, stacked=True)
    assert taught["images"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert taught["labels"].tolist() == [1, 2, 3, 9, 0, 7]


def test_large_pictures_are_averaged_and_small_ones_are_not():
    net = Classifier((1, 64, 64), 4)
    large = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(net.features(large), net.features(F.avg_pool2d(large, 2)))
    net = Classifier((1, 32, 32), 4)
    small = torch.zeros(1, 1, 32, 32)
    small[..., ::2] = 1
    assert (net.features(small) - net.features(1 - small)).abs().max() > 0.01


def test_pictures_and_labels_are_as_many(tmp_path):
    with pytest.raises(ValueError, match="3 pictures and 2 labels"):
        classifier_for(bars(3)[0], torch.tensor([0, 1]), 2, tmp_path)


def idx(name: str) -> torch.Tensor:
    content = gzip.decompress((MNIST / name).read_bytes())
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(content[3])]
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy())


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not at hand")
def test_one_digit_in_a_hundred_of_mnist_is_misread(tmp_path, monkeypatch):
    monkeypatch.undo()  # the recipe as it is
    train, test = (F.pad(idx(f"{name}-images-idx3-ubyte.gz"), (2, 2, 2, 2))[:, None] for name in ("train", "t10k"))
    net = classifier_for(train, idx("train-labels-idx1-ubyte.gz").long(), 10, tmp_path)
    wrong = net.classify(test) != idx("t10k-labels-idx1-ubyte.gz")
    assert wrong.float().mean() <= 0.012
