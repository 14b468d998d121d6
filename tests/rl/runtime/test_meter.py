from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.runtime import Meter
from rl.runtime.state import decode, encode

ROUNDS = st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(-100, 100, width=32)), max_size=12)


def tensors(metrics: dict[str, float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in metrics.items()}


def through_a_checkpoint(meter: Meter) -> Meter:
    state: Any = decode(*encode(meter.state_dict(), "meter"))
    fresh = Meter()
    fresh.load_state_dict(state)
    return fresh


def test_it_gives_means_and_forgets() -> None:
    meter = Meter()
    meter.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)})
    meter.add({"a": torch.tensor(4.0)})
    assert {name: float(value) for name, value in meter.flush().items()} == {"a": 2.5, "b": 5.0}
    assert meter.flush() == {}


@given(ROUNDS, st.integers(0, 12))
def test_a_checkpoint_in_the_middle_changes_nothing(rounds: list[dict[str, float]], place: int) -> None:
    whole, resumed = Meter(), Meter()
    for number, metrics in enumerate(rounds):
        if number == place:
            resumed = through_a_checkpoint(resumed)
        whole.add(tensors(metrics))
        resumed.add(tensors(metrics))
    means = through_a_checkpoint(resumed).flush()
    assert means == whole.flush()
    for name, mean in means.items():
        values = [metrics[name] for metrics in rounds if name in metrics]
        assert float(mean) == pytest.approx(sum(values) / len(values), rel=1e-4, abs=1e-3)


def test_it_holds_no_graph_and_leaves_what_it_was_given() -> None:
    weight, meter = torch.tensor(2.0, requires_grad=True), Meter()
    loss = weight * 3
    meter.add({"loss": loss})
    meter.add({"loss": loss})
    assert not meter.sums["loss"].requires_grad
    assert float(loss.detach()) == 6.0


def test_a_state_does_not_change_with_the_meter() -> None:
    meter = Meter()
    meter.add({"a": torch.tensor(1.0)})
    state = meter.state_dict()
    meter.add({"a": torch.tensor(1.0), "b": torch.tensor(1.0)})
    assert (float(state["sums"]["a"]), state["counts"]) == (1.0, {"a": 1})
