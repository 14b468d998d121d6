import json
import time
from pathlib import Path

import pytest

from benchmarks.timing import Measured, Row, Spread, Timing, Work, cpu_name, paired, peak_mb, report


def timing(ours: tuple[float, ...], theirs: tuple[float, ...]) -> Timing:
    return Timing(
        Measured(Spread(ours), Spread((1.0,) * len(ours))), Measured(Spread(theirs), Spread((3.0,) * len(ours)))
    )


def test_speedup_is_the_median_of_paired_ratios() -> None:
    # Ratios 10, 2, 3: their median is 3, while the ratio of the medians would be 6 / 2.
    measured = timing((1.0, 3.0, 2.0), (10.0, 6.0, 6.0))
    assert measured.ratios() == [10, 2, 3]
    assert measured.speedup() == 3
    assert timing((1.0, 2.0, 4.0), (8.0, 2.0, 40.0)).speedup() == 8  # not 8 / 2
    assert measured.speedup("wall") == 3
    assert measured.theirs_times(4).speedup() == 12
    assert measured.theirs_times(4).speedup("wall") == 12
    assert measured.theirs_times(4).ours == measured.ours


def test_both_run_in_turn_with_one_uncounted_run() -> None:
    calls = ""

    def ours() -> None:
        nonlocal calls
        calls += "o"

    def theirs() -> None:
        nonlocal calls
        calls += "t"

    result = paired(ours, theirs, repeats=3)
    assert calls == "ot" + "ot" + "to" + "ot"
    assert len(result.ours.cpu.seconds) == len(result.theirs.wall.seconds) == 3
    with pytest.raises(ValueError, match="repeats"):
        paired(ours, theirs, repeats=0)


def test_sleep_counts_on_the_wall_only() -> None:
    result = paired(lambda: None, lambda: time.sleep(0.05), repeats=1)
    assert result.theirs.wall.median >= 0.05
    assert result.theirs.cpu.median < 0.05


def test_the_same_work_on_both_sides() -> None:
    calls: list[int] = []
    work = lambda: calls.append(1)  # noqa: E731
    assert len(paired(work, work, repeats=2).ours.cpu.seconds) == 2


def prepare(held: int, used: int) -> Work:
    keep = bytearray(b"x" * held)
    return lambda: (len(keep), bytearray(b"x" * used))


def test_peak_counts_the_work_and_not_the_set_up() -> None:
    megabyte = 2**20
    # The literal and its copy live together, so 40 MB of bytes rise to 80 MB; the set-up's 100 MB do not count.
    assert 70 < peak_mb(prepare, 100 * megabyte, 40 * megabyte) < 95
    assert peak_mb(prepare, 50 * megabyte, 1) < 10


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("thing", "other", timing((1.0, 3.0, 2.0), (10.0, 6.0, 6.0)), "a note")]
    file = tmp_path / "new" / "out.json"
    result = report(rows, file, numbers={"peak_mb/thing": 5.0})
    assert json.loads(file.read_text()) == result
    assert result["speedup/thing"] == 3
    assert (result["seconds/thing"], result["seconds_other/thing"], result["peak_mb/thing"]) == (2, 6, 5)
    assert {"device", "torch", "threads"} <= result.keys()
    printed = capsys.readouterr().out
    assert "a note" in printed
    assert [line.split()[-3:] for line in printed.splitlines() if line.startswith("thing: o")] == [
        ["1", "2", "3"],
        ["6", "6", "10"],
    ]
    assert report(rows, clock="wall")["seconds/thing"] == 1


def test_cpu_name_is_short() -> None:
    assert cpu_name()
    assert "(R)" not in cpu_name()
