"""Whatever is wrong with a retrieval run's input: exit code 2, one line on stderr naming the place, nothing made."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from experiments import evaluate, irgan, irgan_results, launch, resume
from tests.experiments.bad_input import Case, Prepare, assert_refused, config, damaged, setting
from tests.experiments.helpers import IRGAN_GAME, IRGAN_TINY, call, contents, start, succeed
from tests.experiments.helpers import finish as finished_process
from tests.experiments.retrieval_files import letor_files, qa_files, rating_files

SCRIPTS: dict[str, Callable[[Sequence[str]], None]] = {
    "irgan": irgan.main, "resume": resume.main, "evaluate": evaluate.main,
}  # fmt: skip
GAME = [f"--{name.replace('_', '-')}={number}" for name, number in IRGAN_GAME.items()]


def line(file: str, number: int, text: str) -> Prepare:
    """Put another line in the place of one."""

    def write(tmp: Path, run: Path) -> None:
        lines = (tmp / file).read_text().split("\n")
        lines[number - 1] = text
        (tmp / file).write_text("\n".join(lines))

    return write


def text(file: str, content: str) -> Prepare:
    return lambda tmp, run: (tmp / file).write_text(content)


DAMAGE = damaged("players.generator")
RATINGS = "irgan irgan --data {tmp}/train.tsv --test {tmp}/test.tsv"
LETOR = "irgan irgan --data {tmp}/train.txt --test {tmp}/test.txt"
QA = "irgan irgan --data {tmp}/questions.tsv"
COMMAND_LINE = [
    Case(f"irgan {tail}", message)
    for tail, message in (
        ("", "command line: the variant is missing"),
        ("irgam", "irgam: no such variant; did you mean 'irgan'?"),
        ("irgan --presets paper", "--presets: no such flag"),
        ("irgan --preset huge", "--preset huge: no such preset"),
        ("irgan --steps many", "--steps many: expected a whole number"),
        ("irgan --steps -1", "--steps -1: must be zero or more"),
        ("irgan --g-lr 0", "--g-lr 0.0: must be above zero"),
        ("irgan --g-lr nan", "--g-lr nan: no number"),
        ("irgan --d-lr inf", "--d-lr inf: too large"),
        ("irgan --batch 0", "--batch 0: must be above zero"),
        ("irgan --temperature 0", "--temperature 0.0: must be above zero"),
        ("irgan --positive-share 1", "--positive-share 1.0: must be at least 0 and below 1"),
        ("irgan --hold-out 1", "--hold-out 1.0: must be at least 0 and below 1"),
        ("irgan --hold-out -0.1", "--hold-out -0.1: must be at least 0 and below 1"),
        ("ar2 --adversarial 1.5", "--adversarial 1.5: must be at most 1"),
        ("ar2 --lr-decay 2", "--lr-decay 2.0: must be at most 1"),
        ("irgan --estimator guessed", "--estimator guessed: expected one of"),
        ("irgan --select-by p@7", "--select-by p@7: expected one of"),
        ("irgan --seed -1", "--seed -1: must be zero or more"),
        ("irgan --refit --select-on-test", "--refit: learns on what was held out, and --select-on-test holds nothing"),
        ("irgan --refit --hold-out 0", "--refit: no validation data to choose the round on"),
        ("irgan --test {tmp}/test.tsv", "--test {tmp}/test.tsv: --data synthetic makes its own"),
        ("irgan --validation {tmp}/test.tsv", "--validation {tmp}/test.tsv: --data synthetic makes its own"),
        ("bpr --steps 3", "--steps 3: must be zero, bpr has no such part"),
        ("irgan-frozen --d-epochs 3", "--d-epochs 3: must be zero, irgan-frozen has no such part"),
        ("self-contrastive --g-epochs 3", "--g-epochs 3: must be zero, self-contrastive has no such part"),
        ("irgan --runtime.device tpu", "--runtime.device tpu: expected one of"),
        ("irgan --format letor", "--format letor: --data synthetic are ratings"),
        ("irgan --dropout 1", "--dropout 1.0: must be at least 0 and below 1"),
        ("ar2 --preset paper", "--preset paper: ar2 has no numbers, and --data synthetic are ratings"),
        ("irgan-pairwise --preset paper", "irgan-pairwise has numbers for letor alone, and --data synthetic"),
    )
]  # fmt: skip
FILES = [
    Case(f"{RATINGS.replace('train', 'none')}", "{tmp}/none.tsv: cannot be read: No such file"),
    Case("irgan irgan --data {tmp}", "{tmp}: cannot be read: Is a directory"),
    Case(f"{RATINGS.replace('test.tsv', 'none.tsv')}", "{tmp}/none.tsv"),
    Case(RATINGS, "{tmp}/train.tsv:7: 2 of the fields user, item, rating", line("train.tsv", 7, "3\t4")),
    Case(RATINGS, "{tmp}/train.tsv:7: rating 'good' is no number", line("train.tsv", 7, "3\t4\tgood")),
    Case(RATINGS, "{tmp}/train.tsv:7: rating 'nan' is no number", line("train.tsv", 7, "3\t4\tnan")),
    Case(RATINGS, "{tmp}/train.tsv:7: item '-4' is no whole number", line("train.tsv", 7, "3\t-4\t5")),
    Case(RATINGS, "{tmp}/train.tsv: column 1: the users merely count the lines",
         text("train.tsv", "".join(f"{row}\t{row % 3}\t5\n" for row in range(9)))),
    Case(RATINGS, "{tmp}/train.tsv: no rating of 4 or more", text("train.tsv", "0\t1\t2\n0\t2\t3\n")),
    Case(RATINGS, "{tmp}/test.tsv", text("test.tsv", "")),
    Case(f"{RATINGS} --documents 5", ": item "),
    Case("irgan ar2 --data {tmp}/train.txt --test {tmp}/test.txt --format ratings", "{tmp}/train.txt:1: "),
    Case(LETOR, "{tmp}/train.txt:3: grade '9x' is no whole number", line("train.txt", 3, "9x qid:0 1:0.5")),
    Case(LETOR, "{tmp}/train.txt:3: grade 9 is not in 0..4", line("train.txt", 3, "9 qid:0 1:0.5 #docid = x")),
    Case(LETOR, "{tmp}/train.txt:3: feature 1 is nan", line("train.txt", 3, "1 qid:0 1:nan #docid = x")),
    Case(LETOR, "{tmp}/train.txt:3: no query", line("train.txt", 3, "1 1:0.5")),
    Case(LETOR, "{tmp}/test.txt:2: query 0 stands in {tmp}/train.txt too",
         line("test.txt", 2, "1 qid:0 1:0.5 #docid = y")),
    Case(f"{LETOR.replace('irgan irgan', 'irgan ease')}", "letor, and ease learns from ratings"),
    Case(f"{LETOR.replace('irgan irgan', 'irgan irgan-bias')}", "letor, and irgan-bias learns from ratings"),
    Case(QA, "{tmp}/questions.tsv:4", line("questions.tsv", 4, "0\t0-2\t3\twhat is x\ty")),
    Case(QA, "{tmp}/questions.tsv:4", line("questions.tsv", 4, "0\t0-2\t1")),
    Case(QA, "{tmp}/questions.tsv:4: cand_id '0 2' holds white space",
         line("questions.tsv", 4, "0\t0 2\t0\twhat is x\ty")),
    Case(f"{QA} --preset paper", "irgan has numbers for ratings and letor alone, and --data {tmp}/questions.tsv"),
    Case(f"{QA} --width 5", "--width 5: must be a multiple of 4, attention's heads"),
    Case(f"{QA} --d-width 6", "--d-width 6: must be a multiple of 4, attention's heads"),
    Case(f"{QA} --d-width 0", "--d-width 0: only where users rate items"),
    Case(f"{LETOR} --d-width 0", "--d-width 0: only where users rate items"),
    Case(f"{LETOR} --list 3", "--list 3: where a query's own documents are ranked, none are retrieved"),
    Case(LETOR.replace("test.", "train."), "{tmp}/train.txt: the files of training, validation and test must"),
    Case(LETOR, "{tmp}/train.txt:3: feature 1 is 1e39", line("train.txt", 3, "1 qid:0 1:1e39 #docid = x")),
    Case(LETOR, "no query of the training data has relevant documents and others",
         text("train.txt", "".join(f"{query % 2} qid:{query} 1:1\n1 qid:9{query} 1:2\n" for query in range(8)))),
    Case(RATINGS, "{tmp}/train.tsv: nothing in it", text("train.tsv", "\n\n\n")),
    Case(f"{RATINGS} --hold-out 0", "{tmp}/train.tsv: all documents are relevant to 30, and --pretraining dns needs",
         text("train.tsv", "".join(f"{user}\t{item}\t5\n" for user in (30, 31) for item in range(user % 2, 20)))),
]  # fmt: skip
RESUMED = [
    Case("resume {tmp}/none", "{tmp}/none/config.json: not a run's folder: No such file"),
    Case("resume {run} --steps 1", "--steps 1: the run has come to 2 by {run}/checkpoints/step-14"),
    Case("resume {run}", "{run}/config.json:1:2: not JSON", lambda tmp, run: (run / "config.json").write_text("{")),
    Case("resume {run}", "{run}/config.json: config.numbers.lenght: not a setting", setting("lenght", 3)),
    Case("resume {run}", "{run}/config.json: config.ties: missing", config(lambda c: c.pop("ties"))),
    Case("resume {run}", '{run}/config.json: config.numbers.width: "8", expected a whole', setting("width", "8")),
    Case("resume {run}", "{run}/config.json: --batch 0: must be above zero", setting("batch", 0)),
    Case("resume {run}", "{run}/config.json: config.variant: 'irgam' is no variant; did you mean",
         config(lambda c: c.update(variant="irgam"))),
    Case("resume {run}", "origin.json: a checkpoint of irgan, the run is one of irgan-uniform",
         config(lambda c: c.update(variant="irgan-uniform"))),
    Case("resume {run}", "origin.json: {tmp}/train.tsv has changed since this checkpoint",
         line("train.tsv", 1, "0\t19\t5")),
    Case("resume {run}", "{tmp}/train.tsv: cannot be read", lambda tmp, run: (tmp / "train.tsv").unlink()),
    Case("resume {run}", ".json: does not fit this run: ", setting("width", 16)),
    Case("resume {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run} --step 5", "{run}/checkpoints/step-5: no such checkpoint (there: "),
    Case("evaluate {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run}", "origin.json: {tmp}/train.tsv has changed", line("train.tsv", 1, "0\t19\t5")),
]  # fmt: skip
CASES = [*COMMAND_LINE, *FILES, *RESUMED]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on small files, and these; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(irgan_results, "finish", lambda *_: None)
        flags = [*rating_files(folder), *IRGAN_TINY["ratings"], *GAME]
        succeed(irgan.main, "irgan", *flags, "--run-dir", folder / "run")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a copy of the run, which finds its data beside it."""
    (tmp_path / "tmp").mkdir()
    shutil.copytree(finished / "run", tmp_path / "run")
    qa_files(tmp_path / "tmp")
    (tmp_path / "tmp/train.tsv").rename(tmp_path / "tmp/questions.tsv")
    letor_files(tmp_path / "tmp")
    rating_files(tmp_path / "tmp")
    there = {"data": f"{tmp_path}/tmp/train.tsv", "test": f"{tmp_path}/tmp/test.tsv"}
    config(lambda content: content.update(there))(tmp_path, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where runs/ would be made
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_ends_in_one_line(case: Case, place: Path) -> None:
    tmp, run = place / "tmp", place / "run"
    case.prepare(tmp, run)
    before = contents(place)
    script, *arguments = case.words(place)
    ended = call(SCRIPTS[script], *arguments)
    assert_refused(case, ended, place, before, warned=case.prepare is DAMAGE)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    ("variant", "more", "who"),
    [("irgan", ["--g-lr", "1e38"], "generator"), ("irgan-pairwise", ["--d-lr", "1e38"], "discriminator")],
)
def test_a_run_that_diverges_says_where_and_leaves_its_last_good_checkpoint(
    tmp_path: Path, variant: str, more: list[str], who: str
) -> None:
    flags = [variant, *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME, "--optimizer", "sgd", *more]
    ended = call(irgan.main, *flags, "--save-seconds", 0, "--run-dir", tmp_path / "run")
    assert ended.code == 3
    assert ended.err.count("\n") == 1
    assert who in ended.err
    assert not (tmp_path / "run/summary.json").exists()


def test_a_retrieval_run_has_one_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        world, device = 2, torch.device("cpu")

        def __init__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(launch, "Engine", Two)
    ended = call(irgan.main, "irgan", "--run-dir", tmp_path / "run")
    assert (ended.code, ended.err) == (2, "error: 2 ranks: a retrieval run has one\n")
    assert not (tmp_path / "run").exists()


def test_bad_input_ends_a_process_in_one_line() -> None:
    ended = finished_process(start("irgan", "irgan", "--data", "none.tsv"))
    said = "error: none.tsv: cannot be read: No such file or directory\n"
    assert (ended.code, ended.out, ended.err) == (2, "", said)
