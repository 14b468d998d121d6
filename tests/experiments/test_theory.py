import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments import theory, theory_dirac, theory_distances, theory_learning
from experiments.theory_distances import P, Q, parallel, shares, slope
from experiments.theory_learning import METHODS, Method, at_bounds, paint
from experiments.theory_parts import Effort, Optimizers, cooling, evenly, judge_alone, play
from image_gans.dirac import radius
from image_gans.distances import earth_mover, jensen_shannon, kullback_leibler, total_variation
from image_gans.latent import Game, Rules
from rl.objectives import Minimax, NonSaturating, Wasserstein
from rl.penalties import GradientPenalty, NoPenalty, WeightClipping
from tests.experiments.helpers import Tags, call, succeed


def test_one_page_and_one_summary_hold_all_demonstrations(tmp_path: Path) -> None:
    out = succeed(theory.main, "--quick", "--output", tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {key.split("/")[0] for key in summary} == set(theory.DEMONSTRATIONS)
    text = (tmp_path / "theory.html").read_text(encoding="utf-8")
    tags = Tags(text)
    assert text.count("<svg") == 2 + 3 + 3 + 2 + 2 + 1 + len(METHODS)
    assert not {tag for tag, _ in tags.tags} & {"script", "img", "link", "iframe", "object", "base"}
    assert "http://" not in text
    assert "https://" not in text
    rows = {row[0]: row[1:] for row in tags.rows}
    assert rows["r1"] == [
        theory.page.number(summary[f"dirac/r1/{key}"]) for key in ("radius_in_turn", "radius_together", "real_part")
    ]
    assert "these numbers mean nothing" in text
    assert "optimal" in out


def test_one_demonstration_repeats_bit_by_bit(tmp_path: Path) -> None:
    summaries = []
    for names in (["clipping"], ["clipping"], ["lines", "clipping"], ["clipping", "--seed", 1]):
        torch.rand(7)
        succeed(theory.main, *names, "--quick", "--output", tmp_path / "again")
        summaries.append(json.loads((tmp_path / "again" / "summary.json").read_text()))
    once, again, after, other = summaries
    assert once == again
    assert once.items() < after.items()
    assert once != other


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    ended = call(theory.main, "rings", "--output", tmp_path)
    assert (ended.code, ended.err) == (2, "error: rings: no such demonstration; did you mean 'ring'?\n")
    assert call(theory.main, "ring", "--seeds", 0).code == 2
    (tmp_path / "file").write_text("")
    assert call(theory.main, "ring", "--quick", "--output", tmp_path / "file").code == 2


@pytest.mark.parametrize("theta", [-1.0, -0.01, 0.3, 0.0])
def test_parallel_lines(theta: float) -> None:
    real, fake = parallel(theta, evenly(50))
    p, q = shares(real, fake)
    assert earth_mover(real, fake).item() == abs(theta)
    assert len(p) == (100 if theta else 50)
    assert jensen_shannon(p, q).item() == pytest.approx(math.log(2) if theta else 0, abs=1e-12)
    assert total_variation(p, q).item() == (1 if theta else 0)
    assert kullback_leibler(p, q).item() == (math.inf if theta else 0)


def test_a_penalised_discriminator_finds_the_distance() -> None:
    """The penalty of weight w lets the slope be 1 + theta / 2w: it finds theta + theta^2 / 2w."""
    rules = Rules(Wasserstein(), GradientPenalty(10.0))
    found = -theory_distances.judged(0.8, rules, 200, seed=0)
    assert found == pytest.approx(0.8 + 0.64 / 20, abs=0.02)


def test_best_discriminator_reaches_two_js_less_than_log_four() -> None:
    numbers = theory_distances.optimal(Effort()).numbers
    assert P.sum() == Q.sum() == 1
    assert numbers["js"] == pytest.approx(jensen_shannon(Q, P).item())
    assert numbers["loss_error"] < 1e-12
    assert numbers["loss_found_error"] < 1e-5
    assert numbers["probability_found_error"] < 1e-4


def test_slopes_against_the_best_discriminator() -> None:
    """Pull on theta: theta E D for minimax, theta E (1 - D) otherwise; together theta."""
    for theta in (0.5, 2.0, 6.0):
        assert slope(Minimax(), theta) + slope(NonSaturating(), theta) == pytest.approx(theta)
    assert slope(Minimax(), 8.0) < 0.01
    assert slope(NonSaturating(), 8.0) > 7.9
    # for a small theta the discriminator says one half
    assert slope(Minimax(), 1e-3) == pytest.approx(5e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("minimax", 1.38, 1.43),
        ("non-saturating", 0.5, 0.8),
        ("wgan, clipped", 0.9, 1.2),
        ("wgan-gp", 1.0, 2.5),
        ("r1", 0.0, 0.02),
        ("r2", 0.0, 0.02),
        ("r3gan", 0.0, 0.02),
    ],
)
def test_dirac_in_turn(name: str, least: float, most: float) -> None:
    places = theory_dirac.in_turn(theory_dirac.RULES[name], 200)
    assert least <= radius(places[-50:]).max().item() <= most
    assert places.shape == (201, 2)


def test_dirac_together_leaves_without_a_penalty_and_rests_with_one() -> None:
    rest, leave = (radius(theory_dirac.together(theory_dirac.RULES[name], 500)) for name in ("r1", "minimax"))
    assert leave.diff().min() > 0
    assert leave[-1] > 2
    assert rest[-1] < 1e-5


def test_noise_brings_dirac_near() -> None:
    places = theory_dirac.in_turn(theory_dirac.RULES["instance noise"], 200)
    assert radius(places[-50:]).max() < 0.3


def test_share_at_the_bounds() -> None:
    assert at_bounds(torch.tensor([1.0, -1.0, 0.995, -0.98, 0.0])) == pytest.approx(0.6)


def test_clipping_ends_at_the_bounds_and_the_penalty_does_not() -> None:
    clipped, over = theory_learning.weights(WeightClipping(0.01), 1e-3, Effort(share=0.05))
    assert clipped.abs().max() == pytest.approx(0.01)
    assert at_bounds(clipped) > 0.8
    assert len(over) == 30
    assert at_bounds(theory_learning.weights(GradientPenalty(10.0), 1e-3, Effort(share=0.05))[0]) < 0.01


def test_a_gan_learns_a_bell_curve() -> None:
    task, method = theory_learning.NORMAL, METHODS["gan + r1"]
    *_, net = theory_learning.train(task, method, Effort(share=0.25), seed=0)
    points = paint(net, evenly(1_000)[:, None].float())[:, 0]
    # an untrained net gives about 0.8
    assert theory_learning.earth_mover_line(points, torch.special.ndtri(evenly(1_000))).item() < 0.3


def test_rates_fall_to_zero_over_the_second_half() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule, rates = cooling(optimizer, 8), []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_the_loops_take_the_rounds_that_they_are_told() -> None:
    class Counting(theory_distances.Table):
        seen = 0

        def judge(self, x: torch.Tensor) -> theory_distances.Verdict:
            Counting.seen += 1
            return super().judge(x)

    generator, judge = nn.Linear(3, 2), Counting(2)
    game = Game(generator, judge, Rules(NonSaturating(), NoPenalty()), theory_distances.engine(0))
    optimizers = Optimizers(torch.optim.SGD(generator.parameters(), 0.1), torch.optim.SGD(judge.parameters(), 0.1))
    deals = []

    def deal() -> tuple[torch.Tensor, torch.Tensor]:
        deals.append(1)
        return torch.zeros(4, 2), torch.zeros(4, 3)

    assert [step for step, _ in play(game, deal, optimizers, 3, d_steps=2)] == [1, 2, 3]
    assert len(deals) == 3 * (2 + 1)
    assert Counting.seen == 3 * (2 * 2 + 1)  # real and fake in the discriminator's rounds, fakes in the generator's
    before = generator.weight.clone()
    for _, measured in judge_alone(game, deal, optimizers.discriminator, 2):
        assert "g/loss" not in measured
    assert torch.equal(before, generator.weight)


def test_methods_are_told_apart() -> None:
    assert len({method.colour for method in METHODS.values()}) == len(METHODS)
    assert all(isinstance(method, Method) for method in METHODS.values())
