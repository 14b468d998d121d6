import gzip
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

from rl.runtime.errors import InputError
from seqgan.metrics.bleu import BleuIndex, self_bleu
from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy
from seqgan.metrics.text import evaluate_text, read_sentences, treebank

DATA = Path(__file__).parents[4] / "shared" / "data" / "text"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the captions are not beside this checkout")

TEXYGEN = {  # Texygen's table: BLEU-2 to BLEU-5 on the COCO test captions, Self-BLEU-2 to Self-BLEU-5
    "mle": (0.731, 0.497, 0.305, 0.189, 0.916, 0.769, 0.583, 0.408),
    "seq": (0.745, 0.498, 0.294, 0.180, 0.950, 0.840, 0.670, 0.489),
    "maligan": (0.673, 0.432, 0.257, 0.159, 0.918, 0.781, 0.606, 0.437),
    "rank": (0.743, 0.467, 0.264, 0.156, 0.959, 0.882, 0.762, 0.618),
    "leakgan": (0.746, 0.528, 0.355, 0.230, 0.966, 0.913, 0.848, 0.780),
    "textgan": (0.593, 0.463, 0.277, 0.207, 0.942, 0.931, 0.804, 0.746),
    "real": (0.740, 0.520, 0.337, 0.218, 0.892, 0.747, 0.574, 0.416),  # measured, not Texygen's
}


def corpus(rows: int, seed: int) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [[f"w{t}" for t in generator.geometric(0.2, generator.integers(1, 12))] for _ in range(rows)]


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("model", TEXYGEN)
def test_published_captions_table(model: str) -> None:
    file = DATA / ("coco_train.txt" if model == "real" else f"peer_samples/texygen_coco_{model}.txt.gz")
    samples = read_sentences(file, treebank, empty_allowed=True)  # TextGAN's hold four empty sentences
    scores = evaluate_text(samples, read_sentences(DATA / "coco_test.txt", treebank))
    ours = [scores[f"{name}_{n}"] for name in ("bleu", "self_bleu") for n in range(2, 6)]
    assert ours == pytest.approx(TEXYGEN[model], abs=0.002)


@needs_data
@pytest.mark.slow
def test_tokenised_captions() -> None:
    """The tokenised copy has other final periods and no split clitics: it scores up to .006 above the raw text."""
    scores = evaluate_text(read_sentences(DATA / "coco_train.tok.txt"), read_sentences(DATA / "coco_test.tok.txt"))
    ours = [scores[f"{name}_{n}"] for name in ("bleu", "self_bleu") for n in range(2, 6)]
    assert ours == pytest.approx([0.7434, 0.5255, 0.3434, 0.2216, 0.8941, 0.7505, 0.5799, 0.4217], abs=0.0001)


@needs_data
def test_collapse_shows_in_diversity() -> None:
    """SentiGAN's published record on the oracle task: its samples use 2,250 of 5,000 tokens."""
    with gzip.open(DATA / "peer_samples" / "sentigan_oracle20.txt.gz", "rt") as file:
        samples = np.loadtxt(file, dtype=np.int64)
    assert tokens_used(samples) == 2250
    assert distinct_n(samples, 2) == pytest.approx(0.041, abs=0.0005)
    assert unigram_entropy(samples) == pytest.approx(2.86, abs=0.005)


def test_keys_and_values() -> None:
    samples, references, train = corpus(50, 1), corpus(80, 2), corpus(20, 3) + corpus(50, 1)[:5]
    scores = evaluate_text(samples, references, train=train)
    for n in range(2, 6):
        assert scores[f"bleu_{n}"] == pytest.approx(BleuIndex(references).score(samples)[:, n - 1].mean(), abs=1e-12)
        assert scores[f"self_bleu_{n}"] == pytest.approx(self_bleu(samples)[:, n - 1].mean(), abs=1e-12)
        assert scores[f"train_bleu_{n}"] == pytest.approx(BleuIndex(train).score(samples)[:, n - 1].mean(), abs=1e-12)
    assert scores["distinct_2"] == distinct_n(samples, 2)
    assert scores["length_mean"] == pytest.approx(np.mean([len(sample) for sample in samples]))
    seen = {tuple(sentence) for sentence in train}
    assert scores["novel"] == pytest.approx(np.mean([tuple(sample) not in seen for sample in samples]))
    assert scores["novel"] <= 0.9
    assert all(type(value) is float for value in scores.values())


def test_max_order_and_limit() -> None:
    samples, references = corpus(30, 1), corpus(30, 2)
    scores = evaluate_text(samples, references, max_order=2, self_bleu_limit=10)
    assert "bleu_3" not in scores
    assert scores["self_bleu_2"] == pytest.approx(self_bleu(samples[:10])[:, 1].mean(), abs=1e-12)
    assert scores["sacrebleu_corpus"] == evaluate_text(samples, references)["sacrebleu_corpus"]


def test_corpus_bleu_is_sacrebleus() -> None:
    samples, references = corpus(30, 1), corpus(12, 2)
    streams = [[" ".join(reference)] * len(samples) for reference in references]
    expected = sacrebleu.corpus_bleu([" ".join(sample) for sample in samples], streams, tokenize="none", force=True)
    assert expected.score > 1
    assert evaluate_text(samples, references)["sacrebleu_corpus"] == pytest.approx(expected.score, abs=1e-9)


def test_evaluation_refuses_too_little() -> None:
    with pytest.raises(InputError, match=r"^samples: .*at least two"):
        evaluate_text([["a"]], [["a"]])
    with pytest.raises(InputError, match=r"^references: "):
        evaluate_text([["a"], ["a"]], [])


def test_reads_lower_case_and_gzip(tmp_path: Path) -> None:
    data = "A b\u00c4\tC\r\nd \n".encode()
    (tmp_path / "plain.txt").write_bytes(data)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(data))
    expected = [["a", "b\u00e4", "c"], ["d"]]
    assert read_sentences(tmp_path / "plain.txt") == expected
    assert read_sentences(str(tmp_path / "packed.txt.gz")) == expected


@pytest.mark.parametrize("data", [b"a\nb", b"a\nb\n", b"a\nb\n\n", b"\xef\xbb\xbfa\nb\n  "])
def test_the_last_line_may_be_blank(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.txt").write_bytes(data)
    assert read_sentences(tmp_path / "s.txt") == [["a"], ["b"]]


def test_samples_may_be_empty_sentences(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_bytes(b"\na\n\nb\n")
    assert read_sentences(tmp_path / "s.txt", empty_allowed=True) == [[], ["a"], [], ["b"]]


@pytest.mark.parametrize(
    ("name", "data", "place"),
    [
        ("s.txt", b"a\n \nb\n", ":2: empty sentence"),
        ("s.txt", b"a\n\n\n", ":2: empty sentence"),
        ("s.txt", b"", ": nothing in it"),
        ("s.txt", b"\n", ": nothing in it"),
        ("s.txt", "a\nb\u00e4c".encode() + b"\xff\n", ":2:4: not UTF-8 (byte 0xff)"),
        ("s.txt", b"\xff", ":1:1: not UTF-8 (byte 0xff)"),
        ("s.txt.gz", b"not gzip", ": damaged gzip"),
        ("s.txt.gz", gzip.compress(b"a\n" * 100, mtime=0)[:-9], ": damaged gzip"),
    ],
)
def test_malformed_files_name_the_place(tmp_path: Path, name: str, data: bytes, place: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_sentences(path)
    assert str(caught.value).startswith(f"{path}{place}")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.txt: no such file"):
        read_sentences(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="directory"):
        read_sentences(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a dog, a cat.", "a dog , a cat ."),
        ("u.s. mail at 5:30, or 1,000 (more).", "u.s. mail at 5:30 , or 1,000 ( more ) ."),
        ("the dog's owners' can't say i'm", "the dog 's owners ' ca n't say i 'm"),
        ('a "stop" sign', "a `` stop '' sign"),
        ("already '' split , 's fine .", "already '' split , 's fine ."),
        ("they cannot wait...", "they can not wait ..."),
    ],
)
def test_treebank(line: str, words: str) -> None:
    assert treebank(line) == words.split()
