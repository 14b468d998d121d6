import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gail_rate
from benchmarks.gail_rate import (
    CARTPOLE,
    Imitation,
    Ours,
    Setting,
    against_bare_network,
    against_sb3,
    growth,
    in_turn,
    raw_rate,
    recommended,
)

TINY = Setting("CartPole-v1", envs=4, horizon=16, minibatch=8, epochs=1, d_batch=8, rounds=2)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_ours_acts_judges_and_learns() -> None:
    ours = Ours(TINY)
    before = [
        weight.detach().clone() for weight in (*ours.agent.parameters(), *ours.adversary.discriminator.parameters())
    ]
    steps = ours.collector.steps
    ours()
    assert (ours.collector.steps - steps) * TINY.envs == TINY.steps
    after = (*ours.agent.parameters(), *ours.adversary.discriminator.parameters())
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(seconds > 0 for seconds in ours.parts.values())


def test_a_small_run_against_stable_baselines3() -> None:
    pytest.importorskip("stable_baselines3")
    rows, numbers = against_sb3({"cartpole_vs_sb3": TINY}, repeats=1)
    assert [row.what for row in rows] == ["cartpole_vs_sb3"]
    assert rows[0].timing.speedup() > 0
    assert {"steps_per_second/cartpole", "share_of_raw_env_rate/cartpole"} <= numbers.keys()
    assert all(number > 0 for number in numbers.values())


def test_updates_are_timed_beside_a_bare_network() -> None:
    row = against_bare_network(TINY, repeats=1, updates=2)
    assert row.timing.speedup() > 0


def test_the_environments_alone_are_faster() -> None:
    alone = raw_rate(TINY, steps=50)
    assert alone > max(growth(TINY, (4, 8)).values())


FAKE = """
import json, sys
numbers = json.loads(sys.argv[2])
for _ in sys.stdin:
    print(json.dumps([numbers["envs"], 7.0]), flush=True)
"""


def test_the_other_process_answers_with_its_own_seconds(tmp_path: Path) -> None:
    script, python = tmp_path / "fake.py", tmp_path / "python"
    script.write_text(FAKE)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    with Imitation(python, TINY) as theirs:
        timing = in_turn(Ours(TINY), theirs, repeats=2, factor=0.5)
    assert timing.theirs.cpu.seconds == (2.0, 2.0)
    assert timing.theirs.wall.seconds == (3.5, 3.5)
    assert len(timing.ours.cpu.seconds) == 2
    assert theirs.process.returncode == 0


def test_the_other_process_may_fail(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nread line\nexit 3\n")
    python.chmod(0o755)
    with Imitation(python, TINY) as theirs, pytest.raises(RuntimeError, match="exit code 3"):
        theirs()


def test_settings() -> None:
    assert CARTPOLE.steps == 32 * 128 * CARTPOLE.rounds
    assert recommended("CartPole-v1").d_updates >= 1
    assert set(gail_rate.AGAINST_SB3) >= {"cartpole_vs_sb3", "halfcheetah_vs_sb3"}
