import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined
from image_gans.samples import as_floats
from image_gans.semisupervised import (
    ClassJudge,
    Noise,
    NoisyPerceptron,
    chosen,
    error,
    judge_for,
    ssgan,
    supervised_error,
)
from rl.objectives import NonSaturating
from rl.runtime import Engine, InputError, Runtime

SHAPE = (1, 8, 8)
LABELS = torch.arange(60) % 3
BARS = torch.arange(8).div(3, rounding_mode="floor") == LABELS.view(-1, 1, 1, 1)  # three columns for each class
IMAGES = (BARS * (180 + torch.arange(60).view(-1, 1, 1, 1))).to(torch.uint8).expand(-1, 1, 8, 8)
FACTS = Facts(SHAPE, 3, IMAGES, LABELS)
SMALL = Numbers(net="mlp", width=16, latent=6, labels=6)


def test_the_logit_says_how_much_the_classes_weigh_against_the_fakes():
    judge = ClassJudge(nn.Identity(), nn.Identity())
    classes = torch.tensor([[1.0, -2, 0.5], [0, 0, 0], [-5, -6, -7]])
    weights = classes.exp().sum(1)
    torch.testing.assert_close(judge(classes).sigmoid(), weights / (weights + 1))
    torch.testing.assert_close(judge.classify(classes), classes)
    with_fake = torch.cat([torch.zeros(3, 1), classes], 1)  # K + 1 classes, one of them held at 0
    torch.testing.assert_close(judge(classes).sigmoid(), 1 - with_fake.softmax(1)[:, 0])


def test_labels_are_chosen_evenly_and_repeat():
    labels = torch.cat([torch.full((50,), 0), torch.full((5,), 1), torch.full((100,), 7)])
    rows = chosen(labels, 11, seed=3)
    assert torch.bincount(labels[rows]).tolist() == [4, 4, 0, 0, 0, 0, 0, 3]
    assert len(rows.unique()) == 11
    torch.rand(3)  # what was drawn before does not matter
    assert torch.equal(chosen(labels, 11, seed=3), rows)
    assert not torch.equal(chosen(labels, 11, seed=4), rows)
    state = torch.get_rng_state()
    chosen(labels, 11, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_too_few_labels_or_pictures():
    labels = torch.tensor([0, 0, 0, 0, 1, 2])
    with pytest.raises(InputError, match="--labels 2: fewer than there are classes, 3"):
        chosen(labels, 2, 0)
    with pytest.raises(InputError, match="--labels 6: class 1 has 1 pictures, 2 are wanted"):
        chosen(labels, 6, 0)


def test_error_by_hand():
    judge = ClassJudge(nn.Sequential(nn.Flatten(), Noise(100)), nn.Linear(2, 2, bias=False))
    nn.init.eye_(judge.heads["class"].weight)
    images = torch.tensor([[255, 0], [0, 255], [255, 0], [0, 255]], dtype=torch.uint8)
    assert error(judge, images, torch.tensor([0, 1, 1, 0])) == 0.5
    assert error(judge, images, torch.tensor([0, 1, 1, 1])) == 0.25
    assert judge.training


def test_noise_is_for_training_alone():
    body = NoisyPerceptron(SHAPE, 8)
    pictures = torch.rand(4, *SHAPE)
    assert body(pictures).shape == (4, 8)
    assert not torch.equal(body(pictures), body(pictures))
    assert torch.equal(body.eval()(pictures), body(pictures))
    noised = Noise(0.3)(torch.zeros(10_000))
    assert noised.std().item() == pytest.approx(0.3, rel=0.05)


def test_the_nets_of_pictures_classify_too():
    judge = judge_for(Numbers(net="dcgan", width=4), FACTS)
    assert judge.classify(torch.rand(2, *SHAPE)).shape == (2, 3)


def test_only_the_chosen_labels_are_seen():
    torch.manual_seed(0)
    players = ssgan(SMALL, FACTS)
    rows = chosen(LABELS, 6, 0)
    hidden = torch.full_like(LABELS, 2)
    hidden[rows] = LABELS[rows]
    assert torch.equal(players.terms.labels, LABELS[rows])
    assert torch.equal(players.terms.images, FACTS.images[rows])
    other = ssgan(Numbers(net="mlp", width=8, latent=6, labels=6, labels_seed=5), FACTS)
    assert not torch.equal(players.terms.images, other.terms.images)


def test_rounds_classify_labelled_pictures_and_match_features_alone():
    torch.manual_seed(0)
    players = ssgan(SMALL, FACTS)
    rules = Rules(NonSaturating(), terms=players.terms, reward_weight=0.0, compares=True)
    game = Game(players.generator, players.discriminator, rules, Engine(Runtime(device="cpu", precision="fp32"), 0))
    optimizers = [torch.optim.Adam(net.parameters(), 3e-3) for net in (players.discriminator, players.generator)]
    wrong = torch.zeros_like(LABELS)  # the labels of the stream are never looked at
    for _ in range(100):
        judged = discriminator_round(game, *players.dealer.deal(as_floats(FACTS.images), wrong), optimizers[0])
        painted = generator_round(game, *players.dealer.deal(as_floats(FACTS.images), wrong), optimizers[1])
    assert painted["g/loss"] == painted["g/matching"]
    assert judged["d/class"] < 0.3
    examined = Examined(players.generator, players.discriminator, FACTS.images, LABELS, torch.Tensor.argmax)
    assert players.probe(examined) == {"error": 0.0}


def test_a_few_labelled_digits_alone():
    digits = load_digits()
    images = torch.tensor(digits.images * 255 / 16).to(torch.uint8).unsqueeze(1)
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    numbers = Numbers(net="mlp", width=32, labels=40, steps=150, d_lr=3e-3, batch=40)
    facts = Facts(SHAPE, 10, images[:1000], labels[:1000])
    assert 0.02 < supervised_error(numbers, facts, images[1000:], labels[1000:]) < 0.35  # 0.9 by chance
