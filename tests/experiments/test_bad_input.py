"""Whatever is wrong with the input: exit code 2, one line on stderr that names the place, and nothing lost or made."""

import gzip
import os
import resource
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import compare, evaluate, resume, text_gan, text_results
from rl.runtime import checkpoints
from seqgan.oracle import draw_oracle
from tests.experiments.bad_input import Case, Prepare, assert_refused, config, damaged, description, file, setting
from tests.experiments.helpers import CHECKOUT, TINY, call, contents, succeed

SCRIPTS: dict[str, Callable[[Sequence[str]], None]] = {
    "text_gan": text_gan.main, "resume": resume.main, "evaluate": evaluate.main, "compare": compare.main,
}  # fmt: skip


def flags(*wrong: tuple[str, str]) -> list[Case]:
    return [Case(f"text_gan seqgan {tail}", message) for tail, message in wrong]


def array(name: str, values: Any, **others: Any) -> Prepare:
    def write(tmp: Path, run: Path) -> None:
        if name.endswith(".npz"):
            np.savez(tmp / name, ids=values, **others)
        else:
            np.save(tmp / name, values)

    return write


def oracle(**changes: Any) -> Prepare:
    """The weights of an oracle of 20 tokens, with arrays changed, or left out where None."""

    def write(tmp: Path, run: Path) -> None:
        arrays: dict[str, Any] = {"embedding": np.ones((20, 4)), "W_out": np.ones((3, 20)), "b_out": np.ones(20)}
        for gate in "ifoc":
            arrays |= {f"W_{gate}": np.ones((4, 3)), f"U_{gate}": np.ones((3, 3)), f"b_{gate}": np.ones(3)}
        arrays |= changes
        np.savez(tmp / "o.npz", **{name: value for name, value in arrays.items() if value is not None})

    return write


def truncated(name: str, write: Prepare) -> Prepare:
    def cut(tmp: Path, run: Path) -> None:
        write(tmp, run)
        (tmp / name).write_bytes((tmp / name).read_bytes()[:-40])

    return cut


def family(value: Any) -> Prepare:
    return description(lambda content: content.update(family=value))


def text(name: str, content: str) -> Prepare:
    return lambda tmp, run: (run / name).write_text(content)


DAMAGE = damaged("generator")


def drop(name: str) -> Prepare:
    return lambda tmp, run: [path.unlink() for path in run.glob(f"checkpoints/*/{name}")]


def text_run(tmp: Path, run: Path) -> None:
    """Make `run` one of a text file, and then change the file."""
    shutil.rmtree(run)
    (tmp / "a.txt").write_text("a b c\nb c\nc c a\n" * 30)
    succeed(text_gan.main, "seqgan", *TINY, "--length", 0, "--corpus", tmp / "a.txt", "--run-dir", run)
    (tmp / "a.txt").write_text("a b c\nb c\nc c b\n" * 30)


def other_oracle_run(tmp: Path, run: Path) -> None:
    shutil.rmtree(run)
    oracle()(tmp, run)
    succeed(text_gan.main, "seqgan", *TINY, "--oracle-params", tmp / "o.npz", "--run-dir", run)
    oracle(b_out=np.linspace(0, 1, 20))(tmp, run)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch exploded",)


LINES = b"a b c\nb c\nc c a\n" * 30
SCORE = "evaluate --samples {tmp}/a.txt --references {tmp}/a.txt"
TEXT = "text_gan seqgan --length 0 --corpus {tmp}/a.txt"
PAIRS = "text_gan seqgan --length 0 --corpus {tmp}/a.tsv"
IDS = "text_gan seqgan --length 0 --corpus {tmp}/a.npy"
ORACLE = "text_gan seqgan --oracle-params {tmp}/o.npz"
GIVEN = file("a.txt", LINES)
ONES = np.ones((100, 6), dtype=np.int64)

COMMAND_LINE = [
    Case("text_gan seqgn", "seqgn: no such variant; did you mean 'seqgan'?"),
    Case("text_gan zzz", "zzz: no such variant; allowed: leakgan, "),
    Case("text_gan", "command line: the variant is missing, one of seqgan, "),
    Case("text_gan relgan --generator transformer", "--generator transformer: relgan has a net of its own"),
    Case("text_gan --steps 3", "--steps: a flag stands after the variant"),
    *flags(
        ("--mask-share 3", "--mask-share 3.0: must be at most 1"),
        ("--curriculum 2", "--curriculum 2.0: must be at most 1"),
        ("--baseline-decay 1", "--baseline-decay 1.0: must be at least 0 and below 1"),
        ("--stepz 3", "--stepz: no such flag; did you mean '--steps'?"),
        ("--vocabulry=4", "--vocabulry: no such flag; did you mean '--vocabulary'?"),
        ("--runtime.devise cpu", "--runtime.devise: no such flag; did you mean '--runtime.device'?"),
        ("--no-mle-bst", "--no-mle-bst: no such flag"),
        ("-x", "-x: no such flag"),
        ("more", "command line: 'more' belongs to no flag"),
        ("--mle-best 3", "command line: '3' belongs to no flag"),
        ("--steps", "--steps: a value is missing"),
        ("--preset", "--preset: a value is missing"),
        ("--preset dem", "--preset dem: no such preset; did you mean 'demo'?"),
        ("--steps x", "--steps x: expected a whole number"),
        ("--steps 1.5", "--steps 1.5: expected a whole number"),
        ("--batch nan", "--batch nan: expected a whole number"),
        ("--g-lr quick", "--g-lr quick: expected a number"),
        ("--d-filters big", "--d-filters big: expected one of 'paper', 'small'"),
        ("--generator gru", "--generator gru: expected one of 'lstm', 'transformer'"),
        ("--units line", "--units line: expected one of 'word', 'char'"),
        ("--runtime.device tpu", "--runtime.device tpu: expected one of "),
        ("--runtime.device mps", "--runtime.device mps: there is no such device here"),
        ("--runtime.precision fp16", "--runtime.precision fp16: not on a CPU"),
        ("--runtime.threads -1", "--runtime.threads -1: must be zero or more"),
        ("--seed -1", "--seed -1: must be zero or more"),
        ("--seed 99999999999999999999", "--seed 99999999999999999999: too large"),
        ("--steps -1", "--steps -1: must be zero or more"),
        ("--batch 0", "--batch 0: must be above zero"),
        ("--rollouts -3", "--rollouts -3: must be above zero"),
        ("--hidden 0", "--hidden 0: must be above zero"),
        ("--vocabulary 0", "--vocabulary 0: must be above zero"),
        ("--length -1", "--length -1: must be zero or more"),
        ("--evaluate-every 0", "--evaluate-every 0: must be above zero"),
        ("--final-samples 0", "--final-samples 0: must be above zero"),
        ("--save-seconds -1", "--save-seconds -1.0: must be zero or more"),
        ("--save-seconds inf", "--save-seconds inf: too large"),
        ("--g-lr nan", "--g-lr nan: no number"),
        ("--g-lr 0", "--g-lr 0.0: must be above zero"),
        ("--d-lr -inf", "--d-lr -inf: "),
        ("--kl-weight -0.1", "--kl-weight -0.1: must be zero or more"),
        ("--dropout 1", "--dropout 1.0: must be at least 0 and below 1"),
        ("--d-dropout -0.1", "--d-dropout -0.1: must be at least 0 and below 1"),
        ("--valid 200", "--valid 200: only 200 sentences (--sentences)"),
        ("--valid 0 --mle-best", "--mle-best: needs validation sentences (--valid)"),
        ("--generator transformer --hidden 30", "--hidden 30: not divisible by the 4 heads"),
        ("--corpus {tmp}/a.csv", "--corpus {tmp}/a.csv: expected oracle, a .txt, "),
        ("--corpus orakle", "--corpus orakle: expected oracle, a .txt, "),
        ("--test {tmp}/a.txt", "--test {tmp}/a.txt: the oracle draws test sentences itself"),
        ("--run-dir {run}", "{run}: holds a run; continue it with: python -m experiments.resume {run}"),
        ("--run-dir {tmp}", "{tmp}: is not empty"),
        ("--run-dir {run}/config.json/below", "{run}/config.json/below: cannot make the run's folder: Not a directory"),
        ("--run-dir {run}/config.json", "{run}/config.json: cannot make the run's folder: File exists"),
    ),
]
TEXTS = [
    Case(TEXT, "{tmp}/a.txt: no such file"),
    Case(TEXT, "{tmp}/a.txt: Is a directory", lambda tmp, run: (tmp / "a.txt").mkdir()),
    Case(TEXT, "{tmp}/a.txt: nothing in it", file("a.txt", b"")),
    Case(TEXT, "{tmp}/a.txt:2: empty sentence", file("a.txt", b"a b\n \nc\n")),
    Case(TEXT, "{tmp}/a.txt:3:3: not UTF-8", file("a.txt", b"a b\nc\nc \xe9\n")),
    Case(TEXT, "--valid 40: the corpus has 3 sentences", file("a.txt", b"a\nb\nc\n")),
    Case(f"{TEXT} --length 2", "{tmp}/a.txt:1: 3 tokens, the length is 2 (--length)", GIVEN),
    Case(f"{TEXT} --test {{tmp}}/t.txt", "{tmp}/t.txt: no such file", GIVEN),
    Case(f"{TEXT} --test {{tmp}}/t.npy", "--test {tmp}/t.npy: expected the same kind", GIVEN),
    Case(f"{TEXT} --test oracle", "--test oracle: expected ", GIVEN),
    Case(f"{TEXT} --oracle-params {{tmp}}/o.npz", "--oracle-params {tmp}/o.npz: needs --corpus oracle", GIVEN),
    Case(f"{TEXT} --final-samples 1", "--final-samples 1: a distance needs at least 2", GIVEN),
    Case(f"{TEXT}.gz", "{tmp}/a.txt.gz: damaged gzip file", file("a.txt.gz", LINES)),
    Case(f"{TEXT}.gz", "{tmp}/a.txt.gz: damaged gzip file", file("a.txt.gz", gzip.compress(LINES)[:-9])),
    Case(f"{TEXT}.gz", "{tmp}/a.txt.gz: damaged gzip file", file("a.txt.gz", gzip.compress(LINES)[:15] + b"\xff" * 40)),
    Case("text_gan seqgan --corpus hf:nobody/nothing", "hf:nobody/nothing: needs the package datasets"),
]  # fmt: skip
GIVEN_FIRST = [
    Case(PAIRS, "{tmp}/a.tsv: no such file"),
    Case(PAIRS, "{tmp}/a.tsv:2: 0 tabs, expected one (label, tab, sentence)", file("a.tsv", b"x\ta b\na b\n")),
    Case(PAIRS, "{tmp}/a.tsv:1: 2 tabs, expected one", file("a.tsv", b"x\ta\tb\n")),
    Case(PAIRS, "{tmp}/a.tsv:1: nothing before the tab", file("a.tsv", b"\ta b\n")),
    Case(PAIRS, "{tmp}/a.tsv:2: nothing after the tab", file("a.tsv", b"x\ta b\ny\t\n")),
    Case(PAIRS, "{tmp}/a.tsv:1: the only label is 'x', expected two or more", file("a.tsv", b"x\ta b\n" * 60)),
    Case(f"{PAIRS} --before-tab tail", "--before-tab tail: expected one of 'label', 'prompt'", file("a.tsv", LINES)),
    Case(f"{PAIRS} --classes 2", "--classes 2: needs --corpus oracle; a .tsv names its labels itself"),
    Case("text_gan seqgan --classes 1", "--classes 1: two kinds or more"),
    Case(f"{ORACLE} --classes 2", "--classes 2: two kinds or more, each with an oracle from the seed", oracle()),
    Case("text_gan seqgan --prompt 6", "--prompt 6: nothing left to say, the sentences have 6"),
    Case(f"{TEXT} --prompt 3", "--prompt 3: nothing left to say", GIVEN),
    Case("text_gan seq2seq --prompt 0 --corpus oracle", "seq2seq: speaks endings of prompts: --prompt"),
    Case("text_gan maskgan --classes 2", "maskgan: sentences with a label or a prompt are not filled in"),
    Case("text_gan wgan-gp --mle-epochs 2", "--mle-epochs 2: wgan-gp has no likelihood to pretrain by"),
    Case("text_gan seqgan --cache {tmp}/something", "--cache {tmp}/something: File exists"),
]  # fmt: skip
ARRAYS = [
    Case(IDS, "{tmp}/a.npy: no such file"),
    Case(IDS, "{tmp}/a.npy: not a readable array file (Is a directory)", lambda tmp, run: (tmp / "a.npy").mkdir()),
    Case(IDS, "{tmp}/a.npy: int64 (6,), expected integers [sentences, time]", array("a.npy", ONES[0])),
    Case(IDS, "{tmp}/a.npy: float64 (100, 6), expected integers", array("a.npy", ONES * 0.5)),
    Case(IDS, "{tmp}/a.npy: int64 (0, 6), expected integers", array("a.npy", ONES[:0])),
    Case(IDS, "{tmp}/a.npy:[0, 0]: -1 is no token", array("a.npy", -ONES)),
    Case(IDS, "{tmp}/a.npy:[0, 0]: 1099511627776 is no token", array("a.npy", ONES << 40)),
    Case(IDS, "{tmp}/a.npy: not a readable array file (objects", array("a.npy", np.array([[Bomb()]], dtype=object))),
    Case(IDS, "{tmp}/a.npy: not a readable array file", file("a.npy", b"")),
    Case(IDS, "{tmp}/a.npy: not a readable array file", truncated("a.npy", array("a.npy", ONES))),
    Case(f"{IDS} --length 9", "--length 9: the sentences of {tmp}/a.npy have 6 tokens", array("a.npy", ONES)),
    Case(IDS.replace("npy", "npz"), "{tmp}/a.npz: 2 arrays, expected one", array("a.npz", ONES, more=ONES)),
    Case(IDS.replace("npy", "npz"), "{tmp}/a.npz: not a readable", truncated("a.npz", array("a.npz", ONES))),
    Case(IDS.replace("npy", "npz"), "{tmp}/a.npz: not a readable", file("a.npz", b"PK\3\4" + b"?" * 50)),
    Case(
        f"{IDS} --test {{tmp}}/t.npy", "sentences of 5 tokens",
        lambda tmp, run: (array("a.npy", ONES)(tmp, run), array("t.npy", ONES[:, :5])(tmp, run)),
    ),
    Case(
        f"{IDS} --test {{tmp}}/t.npy", "{tmp}/t.npy:[0, 0]: -1 is no token",
        lambda tmp, run: (array("a.npy", ONES)(tmp, run), array("t.npy", -ONES)(tmp, run)),
    ),
    Case(ORACLE, "{tmp}/o.npz: no such file"),
    Case(ORACLE, "{tmp}/o.npz: not a readable .npz file (Is a directory)", lambda tmp, run: (tmp / "o.npz").mkdir()),
    Case(ORACLE, "{tmp}/o.npz: not a readable .npz file", file("o.npz", b"not a zip")),
    Case(ORACLE, "{tmp}/o.npz: not a readable .npz file", file("o.npz", b"")),
    Case(ORACLE, "{tmp}/o.npz: not a readable .npz file", truncated("o.npz", oracle())),
    Case(ORACLE, "{tmp}/o.npz:W_out: array missing", oracle(W_out=None)),
    Case(ORACLE, "{tmp}/o.npz:b_o: shape (4,), expected (3,)", oracle(b_o=np.ones(4))),
    Case(ORACLE, "{tmp}/o.npz:U_f: shape (3,), expected 2 dimensions", oracle(U_f=np.ones(3))),
    Case(ORACLE, "{tmp}/o.npz:W_c: holds NaN or infinity", oracle(W_c=np.full((4, 3), np.nan))),
    Case(ORACLE, "{tmp}/o.npz:W_i: int64 numbers, expected floats", oracle(W_i=np.ones((4, 3), dtype=np.int64))),
    Case(ORACLE, "{tmp}/o.npz: not a readable .npz file (objects", oracle(b_i=np.array([Bomb()] * 3, dtype=object))),
    Case(
        ORACLE, "{tmp}/o.npz:embedding: array missing (found none)",
        lambda tmp, run: zipfile.ZipFile(tmp / "o.npz", "w").close(),
    ),
]  # fmt: skip
RESUMED = [
    Case("resume", "command line: PATH is missing, the run's folder"),
    Case("resume {tmp}/none", "{tmp}/none/config.json: not a run's folder: No such file or directory"),
    Case("resume {tmp}", "{tmp}/config.json: not a run's folder"),
    Case("resume {run}/config.json", "{run}/config.json/config.json: not a run's folder: Not a directory"),
    Case("resume {run} --steps", "--steps: a value is missing"),
    Case("resume {run} --steps x", "--steps x: expected "),
    Case("resume {run} --steps -2", "--steps -2: must be zero or more"),
    Case("resume {run} --steps 1", "--steps 1: the run has come to 3 by "),
    Case("resume {run} --batch 3", "--batch: no such flag"),
    Case("text_gan seqgan --start-from {tmp}", "{tmp}/checkpoints: no good checkpoint"),
    Case("resume {run} {tmp}", "command line: '{tmp}' belongs to no flag"),
    Case("resume {run}", "{run}/config.json:2:3: not JSON: ", text("config.json", "{\n  x}")),
    Case("resume {run}", "{run}/config.json:1:2: not JSON: ", text("config.json", "[\0")),
    Case("resume {run}", "{run}/config.json: an object is expected", text("config.json", "[]")),
    Case("resume {run}", "{run}/config.json: 'family' is missing", description(lambda c: c.pop("family"))),
    Case("resume {run}", "{run}/config.json: family: 'go' is no family", family("go")),
    Case("resume {run}", "{run}/config.json: family: ['x'] is no family", family(["x"])),
    Case("resume {run}", "{run}/config.json: config.corpus: missing", config(lambda c: c.pop("corpus"))),
    Case("resume {run}", "{run}/config.json: config.size: not a setting", config(lambda c: c.update(size=3))),
    Case(
        "resume {run}", "{run}/config.json: config.variant: 'seqgn' is no variant; did you mean 'seqgan'?",
        config(lambda c: c.update(variant="seqgn")),
    ),
    Case("resume {run}", '{run}/config.json: config.numbers.steps: "3", expected a whole', setting("steps", "3")),
    Case("resume {run}", "{run}/config.json: config.numbers.steps: true, expected a whole", setting("steps", True)),
    Case("resume {run}", "{run}/config.json: config.numbers.generator: 3, expected one of", setting("generator", 3)),
    Case("resume {run}", "{run}/config.json: --batch -3: must be above zero", setting("batch", -3)),
    Case("resume {run}", "{run}/config.json: --g-lr nan: no number", setting("g_lr", float("nan"))),
    Case(
        "resume {run}", "{run}/config.json: config.numbers: expected an object",
        config(lambda c: c.update(numbers=3)),
    ),
    Case("resume {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("resume {run}", "{run}/checkpoints: no good checkpoint", drop("manifest.json")),
    Case("resume {run}", "generator.json: does not fit this run: ", setting("hidden", 16)),
    Case("resume {run}", "discriminator.json: does not fit this run: ", setting("d_filters", "paper")),
    Case("resume {run}", "fakes.json: fake sentences [32, 6], not [16, 6]", setting("d_sentences", 16)),
    Case(
        "resume {run}", "origin.json: a checkpoint of seqgan, the run is one of seqgan-loo",
        config(lambda c: c.update(variant="seqgan-loo")),
    ),
    Case("resume {run}", "origin.json: {tmp}/a.txt has changed since this checkpoint", text_run),
    Case("resume {run}", "origin.json: {tmp}/o.npz has changed since this checkpoint", other_oracle_run),
]  # fmt: skip
MEASURED = [
    Case("evaluate", "command line: name one of RUN_DIR, --oracle-params"),
    Case("evaluate {run} --oracle-params {tmp}/o.npz", "command line: name one of "),
    Case("evaluate {run} --samples {tmp}/a.txt", "command line: name one of "),
    Case("evaluate --step 3", "command line: name one of "),
    Case("evaluate --oracle-params {tmp}/o.npz --step 3", "--step 3: needs a RUN_DIR"),
    Case("evaluate --oracle-params {tmp}/o.npz --length 0", "--sequences 100000 --length 0: at least "),
    Case("evaluate --oracle-params {tmp}/o.npz --seed -3", "--seed -3: must be zero or more"),
    Case("evaluate {run} --step 5", "{run}/checkpoints/step-5: no such checkpoint (there: 2, 7)"),
    Case("evaluate {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run} --step 7", "{run}/checkpoints/step-7/generator.safetensors: damaged: ", DAMAGE),
    Case("evaluate {run}", "generator.json: does not fit this run: ", setting("hidden", 16)),
    Case("evaluate {run}", "origin.json: {tmp}/a.txt has changed since this checkpoint", text_run),
    Case("evaluate {run}", "{run}/config.json: family: 'go' is no family", family("go")),
    Case("evaluate {run}", "{run}/config.json: family: ['x'] is no family", family(["x"])),
    Case("evaluate --samples {tmp}/a.txt", "command line: --references FILE is missing"),
    Case("evaluate --references {tmp}/a.txt", "command line: --samples FILE is missing"),
    Case(SCORE, "{tmp}/a.txt: no such file"),
    Case(SCORE, "{tmp}/a.txt: nothing in it", file("a.txt", b"")),
    Case(SCORE, "Self-BLEU needs at least two", file("a.txt", b"a b\n")),
    Case("evaluate --split comma", "--split comma: expected one of 'blank', 'treebank'"),
    Case("compare", "command line: name at least one run's folder"),
    Case("compare {tmp}", "{tmp}/config.json: not a run's folder"),
    Case("compare {run} --outptu x", "--outptu: no such flag; did you mean '--output'?"),
    Case("compare {run}", "{run}/summary.json: missing or empty", lambda tmp, run: (run / "summary.json").unlink()),
    Case("compare {run}", "{run}/metrics.jsonl:1:2: not JSON", text("metrics.jsonl", "{a\n")),
]  # fmt: skip
CASES = [*COMMAND_LINE, *TEXTS, *GIVEN_FIRST, *ARRAYS, *RESUMED, *MEASURED]
WARNED = "resume {run}", "evaluate {run}"  # a damaged checkpoint passed over has a line of its own


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests work on copies."""
    run = tmp_path_factory.mktemp("finished") / "run"
    succeed(text_gan.main, "seqgan", *TINY, "--run-dir", run)
    return run


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_ends_in_one_line(
    case: Case, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.chdir(tmp_path)  # where runs/ would be made
    tmp, run = tmp_path / "tmp", tmp_path / "run"
    tmp.mkdir()
    (tmp / "something").touch()
    if "{run}" in case.command:
        shutil.copytree(finished, run)
    case.prepare(tmp, run)
    before = contents(tmp_path)
    script, *arguments = case.words(tmp_path)
    tiny = [arguments.pop(0), *TINY] if script == "text_gan" and arguments[:1] == ["seqgan"] else []
    ended = call(SCRIPTS[script], *tiny, *arguments)
    assert_refused(case, ended, tmp_path, before, warned=case.prepare is DAMAGE or case.command in WARNED)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 70


def test_the_data_sets_of_the_hub_fail_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, split: str) -> dict[str, list[object]]:
        if name == "offline":
            raise ConnectionError("no route\n  to the hub")
        return {"text": ["a b", 3]}

    fake = types.ModuleType("datasets")
    monkeypatch.setattr(fake, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.chdir(tmp_path)
    for tail, message in (
        ("hf:offline", "hf:offline: split train, column text: no route to the hub"),
        ("hf:x", "hf:x:train[1].text: no sentence (3)"),
        ("hf:x --hub-column body", "hf:x: split train, column body: 'body'"),
    ):
        ended = call(text_gan.main, "seqgan", *TINY, "--length", 0, "--corpus", *tail.split())
        assert (ended.code, ended.err) == (2, f"error: {message}\n")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_last_checkpoint(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    before = contents(tmp_path / "run/checkpoints")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    ended = call(resume.main, tmp_path / "run", "--steps", 4)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {tmp_path}/run/checkpoints/step-8: the disk is full: the checkpoint needs ")
    assert ended.err.count("\n") == 1
    assert contents(tmp_path / "run/checkpoints") == before


def test_an_oracle_file_that_is_right_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_results, "finish", lambda *_, **__: None)
    oracle()(tmp_path, tmp_path)
    state = torch.get_rng_state()
    weights = draw_oracle(5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert weights["embedding.weight"].shape == (5, 32)
    succeed(text_gan.main, "seqgan", *TINY, "--oracle-params", tmp_path / "o.npz", "--run-dir", tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run") == [2, 7]


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))


PROCESSES = [
    ("text_gan seqgn", "error: seqgn: no such variant; did you mean 'seqgan'?", None),
    ("resume {tmp}", "error: {tmp}/config.json: not a run's folder: No such file or directory", None),
    ("text_gan seqgan --run-dir {tmp}/run", "error: {tmp}/run/checkpoints/", limit),
]


@pytest.mark.parametrize(("command", "message", "before"), PROCESSES, ids=[row[0] for row in PROCESSES])
def test_bad_input_ends_a_process_in_one_line(
    tmp_path: Path, command: str, message: str, before: Callable[[], None] | None
) -> None:
    script, *arguments = command.format(tmp=tmp_path).split()
    if arguments[0] == "seqgan":
        arguments[1:1] = TINY
    ended = subprocess.run(
        [sys.executable, "-m", f"experiments.{script}", *arguments],
        cwd=CHECKOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, preexec_fn=before,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    *others, last = ended.stderr.splitlines()
    assert last.startswith(message.format(tmp=tmp_path))
    assert all(line.startswith("warning: ") for line in others)
    assert not others or before
