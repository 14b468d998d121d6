"""A verifier that can be hacked: alone it ruins the grammar, added to a discriminator too; as a gate it does not.

Sentences of the toy grammar have at most two foxes, and the verifier pays a third for each of any number. On seeds 0 to
4 all three statements held (`python -m experiments.gate`); here one seed, a minute in all.
"""

import pytest
import torch

from experiments.lm_data import load_task
from experiments.lm_setup import Experiment
from rl.runtime import seeded
from seqgan.lm.variants import VARIANTS
from tests.seqgan.lm.toys import engine


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights after maximum likelihood."""
    e = Experiment("mle", VARIANTS["mle"].presets["default"])
    task = load_task(e)
    learner = VARIANTS["mle"].players(e.numbers, task, engine())
    for _ in range(12):
        for rows in torch.randperm(len(task.text.train)).split(64):
            learner.imitate(task.text.train[rows])
    weights: dict[str, torch.Tensor] = learner.generator.state_dict()
    return weights


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "low", "high"), [("rlvr", 0.0, 0.01), ("additive", 0.0, 0.1), ("varl", 0.9, 1.0)])
def test_the_gate(variant: str, low: float, high: float, start: dict[str, torch.Tensor]) -> None:
    e = Experiment(variant, VARIANTS[variant].presets["default"])
    task = load_task(e)
    learner = VARIANTS[variant].players(e.numbers, task, engine())
    learner.generator.load_state_dict(start)
    learner.begin()
    for _ in range(e.numbers.d_warm):
        learner.warm()
    for _ in range(e.numbers.steps):
        learner.round()
    with seeded(1):
        scores = task.scores(learner.speaker(learner.generator).speak(2_000))
    assert low <= scores["grammatical"] <= high
    assert scores["verified"] > 0.3, "the start has 0.08"
