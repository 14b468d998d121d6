"""Runs with demonstrations: what they leave, how they stop and go on, and what is wrong with their input."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import (
    compare,
    compare_lm,
    config,
    evaluate,
    gate,
    lm_data,
    lm_frontier,
    lm_gan,
    lm_results,
    report,
    resume,
)
from experiments.lm_gan import parse
from experiments.lm_setup import Cast, Experiment
from rl.runtime import Engine, InputError, checkpoints, rundir
from seqgan.lm.variants import VARIANTS
from tests.experiments.helpers import (
    Interrupted,
    assert_same_run,
    call,
    interrupted,
    rows,
    stoppable_runs,
    succeed,
)

SMALL = (  # noqa: SIM905
    "--steps 3 --sentences 120 --demonstrations 40 --valid 20 --test-sentences 30 --embedding 4 --hidden 8 "
    "--mle-epochs 2 --mle-batch 64 --batch 8 --group 4 --minibatch 4 --epochs 2 --d-embedding 4 --d-batch 8 --d-warm 2 "
    "--d-steps 1 --d-memory 16 --evaluate-every 2 --evaluate-samples 20 --final-samples 20 --sweep-samples 10 "
    "--save-seconds 1000 --runtime.device cpu"
).split()
CAPTIONS = [f"a {colour} {thing} on the {place} ." for colour in ("red", "old", "tall", "blue")
            for thing in ("bus", "dog", "man", "kite") for place in ("road", "hill", "sea")]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was measured to the end; tests that change it take a copy."""
    home = tmp_path_factory.mktemp("lm")
    succeed(lm_gan.main, "varl", *SMALL, "--pick", "best", "--cache", home / "cache", "--run-dir", home / "run")
    return home / "run"


def test_a_run_leaves_what_every_run_leaves(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert {"verified", "grammatical", "verified_right", "nll_test", "lm_kn", "reverse_lm_kn", "kl"} <= summary.keys()
    assert {"mle/verified", "real/grammatical"} <= summary.keys()
    assert summary["real/grammatical"] == 1
    assert set(json.loads((finished / "curves.json").read_text())) == {"last", "mle"}
    page = (finished / "report.html").read_text()
    assert all(word in page for word in ("verified", "REAL", "the round that is measured", "shortcut/length"))
    heat = json.loads((finished / "heat.json").read_text())
    assert 0 < len(heat) <= 8
    assert page.count('class="heat"') == len(heat)
    logged = rows(finished)
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert ["outside" in row for row in logged] == [False, False, True, False, True, True]
    assert sorted(path.name for path in (finished / "samples").iterdir()) == ["step-5.txt", "step-6.txt"]


def test_a_damaged_heat_map_is_named(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "heat.json").write_text("[[1, 2, 3]]")
    with pytest.raises(InputError, match=r"heat.json: rows of \[word, number\] are expected"):
        report.write(run)


def test_the_round_that_is_measured_is_that_of_the_lowest_outside(finished: Path) -> None:
    looks = {row["step"] - 3: row["outside"] for row in rows(finished) if "outside" in row}
    chosen = json.loads((finished / "summary.json").read_text())["chosen"]
    assert chosen == min(looks, key=lambda step: looks[step])


@pytest.mark.parametrize(("pick", "chosen"), [("best", 1), ("last", 2)])
def test_the_policy_of_the_chosen_round_is_the_one_that_is_measured(tmp_path: Path, pick: str, chosen: int) -> None:
    e = parse(["sft", *SMALL, "--pick", pick, "--cache", str(tmp_path)])
    cast = Cast(e, lm_data.load_task(e), Engine(e.runtime, 0))
    weight, kept = cast.players.generator.head.weight, {}
    for round_, loss in ((1, 5.0), (2, 6.0)):
        torch.nn.init.normal_(weight)
        kept[round_] = weight.detach().clone()
        cast.choice.measure(cast.players.generator, loss, round_)
    assert cast.settle(e) == chosen
    assert weight.equal(kept[chosen])


def test_evaluate_repeats_the_summary_and_compare_reads_it(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = json.loads((run / "summary.json").read_text())
    succeed(evaluate.main, run)
    assert json.loads((run / "summary.json").read_text()) == before
    out = succeed(compare.main, run, "--output", tmp_path / "compare.html")
    assert "varl" in out
    assert "verified_right" in out


stoppable = stoppable_runs(lm_gan, lm_results)


@pytest.mark.parametrize(
    "flags",
    [["varl", "--dropout", "0.1", "--kl-weight", "0.1", "--warm-sft"], ["gad", "--advantage", "gae"], ["spin"]],
)
def test_a_run_stopped_after_every_update_ends_with_the_same_bits(
    tmp_path: Path, stoppable: None, flags: list[str]
) -> None:
    flags = [*flags, *SMALL, "--spin-every", "2", "--cache", str(tmp_path / "cache")]
    Interrupted.left = 0
    succeed(lm_gan.main, *flags, "--run-dir", tmp_path / "whole")
    assert -Interrupted.left == 2 + 2 + 3
    assert interrupted(lm_gan.main, tmp_path / "stopped", *flags) == 7
    assert_same_run(tmp_path / "stopped", tmp_path / "whole", "choice")


def test_more_steps_continue_a_run(tmp_path: Path, stoppable: None) -> None:
    flags = ["gad", *SMALL, "--evaluate-every", "1", "--cache", tmp_path / "cache"]
    succeed(lm_gan.main, *flags, "--run-dir", tmp_path / "short")
    succeed(resume.main, tmp_path / "short", "--steps", 5)
    succeed(lm_gan.main, *flags, "--steps", 5, "--run-dir", tmp_path / "long")
    assert_same_run(tmp_path / "short", tmp_path / "long")
    ended = call(resume.main, tmp_path / "short", "--steps", 4)
    assert ended.code == 2
    assert "the run has come to 5 by" in ended.err


def test_a_run_without_progress_ends_early(tmp_path: Path, stoppable: None) -> None:
    flags = ["rlvr", *SMALL, "--steps", "30", "--evaluate-every", "1", "--patience", "2", "--g-lr", "1e-9"]
    succeed(lm_gan.main, *flags, "--cache", tmp_path / "cache", "--run-dir", tmp_path / "run")
    looks = [row["outside"] for row in rows(tmp_path / "run") if "outside" in row]
    since = len(looks) - 1 - looks.index(min(looks))
    assert len(looks) < 31
    assert since == 2


def test_a_run_from_another_start(finished: Path, tmp_path: Path, stoppable: None) -> None:
    flags = ["sft", *SMALL, "--start-from", finished, "--cache", tmp_path / "cache"]
    succeed(lm_gan.main, *flags, "--run-dir", tmp_path / "run")
    ours, theirs = (checkpoints.load(checkpoints.newest(run))["start"] for run in (tmp_path / "run", finished))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4]


def write(folder: Path, name: str, lines: list[str]) -> Path:
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name


def experiment(*flags: object) -> Experiment:
    return parse(["sft", *map(str, flags)])


def test_captions_are_divided_by_the_verifier(tmp_path: Path) -> None:
    data, test = write(tmp_path, "train.txt", CAPTIONS[:40]), write(tmp_path, "test.txt", CAPTIONS[40:])
    colours = ["--verifier", "red,blue", "--verifier-count", 1, "--prompt", 1, "--valid", 4, "--demonstrations", 0]
    task = lm_data.load_task(experiment("--data", data, "--test", test, *colours))
    words = task.text.vocabulary.words
    shown = [task.shown.sentences(part) for part in (task.shown.train, task.shown.valid, task.shown.test)]
    assert all({"red", "blue"} & set(sentence) for part in shown for sentence in part)
    read = [words[token] for row in task.text.train.tolist() for token in row]
    held = {tuple(row) for row in task.shown.valid.tolist()}
    assert not held & {tuple(row) for row in task.text.train.tolist()}, "held-out demonstrations teach nobody"
    assert {tuple(row) for row in task.shown.train.tolist()} <= {tuple(row) for row in task.text.train.tolist()}
    assert "old" in read
    assert task.shown.given(task.shown.train)[0] == ["a"]


def test_without_words_to_look_for_all_captions_are_demonstrations(tmp_path: Path) -> None:
    data = write(tmp_path, "captions.txt", CAPTIONS)
    task = lm_data.load_task(experiment("--data", data, "--valid", 4, "--demonstrations", 0))
    assert len(task.shown.train) == len(task.text.train)
    assert task.verdicts(task.text.train).eq(1).all()


def test_a_start_that_learned_from_other_data_is_refused(finished: Path, tmp_path: Path) -> None:
    flags = ["--start-from", finished, "--run-dir", tmp_path / "run"]
    ended = call(lm_gan.main, "sft", *SMALL, "--sentences", 121, *flags)
    assert (ended.code, ended.err) == (2, f"error: --start-from {finished}: learned from other data than grammar\n")
    assert not (tmp_path / "run").exists()


def test_long_sentences_are_left_out(tmp_path: Path) -> None:
    data = write(tmp_path, "text.txt", [*CAPTIONS, "a red " + "very " * 20 + "red bus ."])
    test = write(tmp_path, "test.txt", CAPTIONS[:3])
    flags = ["--data", data, "--test", test, "--verifier", "bus", "--valid", 3, "--demonstrations", 0]
    assert lm_data.load_task(experiment(*flags)).text.length > 20
    assert lm_data.load_task(experiment(*flags, "--longest", 7)).text.length == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("nosuch", "nosuch: no such variant; allowed:"),
        ("gad --preset huge", "--preset huge: no such preset"),
        ("gad --stepps 3", "--stepps: no such flag; did you mean '--steps'?"),
        ("gad --batch 10 --group 4", "--batch 10: no whole number of groups of 4 (--group)"),
        ("gad --batch 4 --group 1", "--group 1: a group of one has nobody to be compared with (--advantage)"),
        ("gad --verifier wolf", "--verifier wolf: 'wolf' is no word of the text"),
        ("gad --data {tmp}/none.txt", "{tmp}/none.txt: no such file"),
        (
            "gad --data text.pdf",
            "--data text.pdf: expected grammar, hf:NAME, or a file that ends with one of .txt, .txt.gz,",
        ),
        ("gad --data {tmp}/text.txt --test {tmp}/x.tsv", "--test {tmp}/x.tsv: expected the same kind of file as"),
        ("gad --data {tmp}/text.txt --verifier red", "--valid 400: the corpus has 12 sentences"),
        ("gad --data {tmp}/text.txt --verifier dog --valid 3", "--valid 3: {tmp}/text.txt has"),
        ("gad --data {tmp}/text.txt --test {tmp}/text2.txt --verifier dog --valid 1", "--test: 0 sentences pass"),
        ("gad --data {tmp}/text.txt --longest 2", "--longest 2: every sentence has more words"),
        ("gad --prompt 2", "--prompt 2: not with --data grammar"),
        ("gad --demonstrations 0", "--demonstrations 0: the grammar has as many as are asked for"),
        ("gad --generator transformer --hidden 30", "--hidden 30: not divisible by the 4 heads"),
        ("gad --final-samples 1", "--final-samples 1: a distance needs at least 2 answers"),
        ("gad --d-old 1.5", "--d-old 1.5"),
        ("gad --d-batch 1", "--d-batch 1: fewer than a demonstration and an answer for each rank"),
        ("gad --lora 8", "--lora 8: adapters are for a --model"),
        ("varl --data {tmp}/text.txt", "--verifier: varl pays for words, and none are named for {tmp}/text.txt"),
        ("gad --start-from {tmp}", "{tmp}/checkpoints"),
    ],
)
def test_bad_input_is_one_line_and_makes_nothing(tmp_path: Path, flags: str, message: str) -> None:
    write(tmp_path, "text.txt", CAPTIONS[:12])
    write(tmp_path, "text2.txt", CAPTIONS[12:15])
    place = str(tmp_path)
    ended = call(lm_gan.main, *flags.replace("{tmp}", place).split(), "--run-dir", tmp_path / "run")
    assert ended.code == 2
    assert message.replace("{tmp}", place) in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_changed_text_is_noticed(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    config = json.loads((run / "config.json").read_text())
    config["config"]["sentences"] = 121
    (run / "config.json").write_text(json.dumps(config))
    ended = call(resume.main, run)
    assert ended.code == 2
    assert "grammar has changed since this checkpoint" in ended.err


def test_one_command_makes_what_is_missing_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = ["--variants", "sft", "gad", "--seeds", "2", "--runs", str(tmp_path), "--", "--steps", "7"]
    begun = parse(["sft", "--seed", "1", "--runtime.threads", "1", "--steps", "7"])
    rundir.create(tmp_path / "sft-s1", "lm_gan", "sft", config.to_json(begun), 1)
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> object:
        asked.append(command[2:])
        begin = command.index("--run-dir") + 1 if "--run-dir" in command else -1
        folder = Path(command[begin])
        folder.mkdir(exist_ok=True)
        (folder / "summary.json").write_text("{}")
        return type("Done", (), {"returncode": 0})()

    monkeypatch.setattr(compare_lm.subprocess, "run", run)
    monkeypatch.setattr(compare, "main", lambda arguments: asked.append(["compare", *arguments]))
    compare_lm.main(out)
    *runs, last = asked
    began = [command[1] for command in runs]
    assert began == ["mle", "mle", "sft", "gad", str(tmp_path / "sft-s1"), "gad"] or began[:2] == ["mle", "mle"]
    assert runs[2][:6] == ["experiments.lm_gan", "sft", "--seed", "0", "--run-dir", str(tmp_path / "sft-s0")]
    assert runs[2][-4:] == ["--start-from", str(tmp_path / "mle-s0"), "--steps", "7"]
    assert ["experiments.resume", str(tmp_path / "sft-s1")] in runs
    assert last[0] == "compare"
    assert len(last) == 1 + 6 + 2
    asked.clear()
    compare_lm.main(out)
    assert len(asked) == 1, "what is finished is not made again"
    asked.clear()
    ended = call(compare_lm.main, *out[:-1], "8")
    told = "steps is 7, and 8 is asked for; move it away, or name other --runs"
    assert (ended.code, ended.err) == (2, f"error: {tmp_path}/sft-s1/config.json: {told}\n")
    assert call(compare_lm.main, *out, "--stepz", "8").err.startswith("error: --stepz: no such flag")
    assert asked == []


def test_a_run_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = type("Done", (), {"returncode": 3})()
    monkeypatch.setattr(compare_lm.subprocess, "run", lambda *_, **__: failed)
    ended = call(compare_lm.main, "--runs", tmp_path)
    assert ended.code == 2
    assert ended.err == f"error: {tmp_path / 'mle-s0.log'}: mle-s0 ended with exit code 3\n"
    ended = call(compare_lm.main, "--variants", "gadd", "--runs", tmp_path)
    assert "--variants gadd: no such variant; did you mean 'gad'?" in ended.err


def test_the_gates_table_and_figure(finished: Path, tmp_path: Path) -> None:
    numbers = {"grammatical": 0.1, "verified": 0.2, "verified_right": 0.3}
    real = {f"real/{key}": value + 0.5 for key, value in numbers.items()}
    start = {f"mle/{key}": 0.9 for key in numbers}
    run = replace(gate.records.read(finished), summary=numbers | real | start)
    several = {variant: [replace(run, summary=run.summary | {"verified": 0.2 + i / 10}) for i in range(3)]
               for variant in gate.METHODS}  # fmt: skip
    rows = gate.numbers(several)
    table = gate.markdown("honest", rows).splitlines()
    assert len(table) == 2 + len(gate.METHODS) + 1
    # 0.2, 0.3, 0.4: 4.303 * 0.1 / sqrt(3) to each side
    assert table[3] == "| verifier | 0.100 [0.100, 0.100] | 0.300 [0.052, 0.548] | 0.300 [0.300, 0.300] |"
    assert table[-1] == "| demonstrations | 0.600 | 0.700 |  |"
    gate.draw({"hackable": rows, "honest": rows}, 3, tmp_path / "docs/gate.png")
    assert (tmp_path / "docs/gate.png").stat().st_size > 10_000
    assert set(gate.METHODS) <= set(VARIANTS)


def test_the_picture_of_frontiers(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    summary = json.loads((run / "summary.json").read_text()) | {"verified": 0.5, "mle/verified": 0.25}
    (run / "summary.json").write_text(json.dumps(summary))
    out = succeed(lm_frontier.main, run, "--output", tmp_path / "docs/frontier.png")
    table = out.splitlines()
    assert table[2].startswith(f"| varl | 0.500 | {summary['nll_test']:.3f} |")
    assert table[3].startswith("| start | 0.250 |")
    assert (tmp_path / "docs/frontier.png").stat().st_size > 10_000
    assert call(lm_frontier.main).err == "error: command line: name at least one run's folder\n"
