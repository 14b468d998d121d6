from pathlib import Path

import numpy as np
import pytest

from seqgan.metrics.collapse import collapse_warnings
from seqgan.metrics.diversity import distinct_n
from seqgan.metrics.text import read_sentences, treebank

DATA = Path(__file__).parents[4] / "shared" / "data" / "text"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the captions are not beside this checkout")


def real(seed: int, rows: int = 400) -> list[list[int]]:
    return np.random.default_rng(seed).integers(0, 200, (rows, 10)).tolist()


def test_real_text_has_no_sign() -> None:
    for seed in range(20):
        assert collapse_warnings(real(seed), real(seed + 100)) == []
        assert collapse_warnings(real(seed, 10), real(seed + 100)) == []
        assert collapse_warnings(real(seed), real(seed + 100, 30)) == []


def test_few_tokens() -> None:
    few = [[token % 90 for token in row] for row in real(1)]
    effective = "87 effective tokens (exp of their entropy), as much real text has 195"
    assert collapse_warnings(few, real(2)) == ["90 different tokens, as much real text has 200", effective]
    assert collapse_warnings([[token % 110 for token in row] for row in real(1)], real(2)) == []


def test_few_pairs() -> None:
    chains = [[row[0], *((row[1] + i) % 200 for i in range(9))] for row in real(1)]
    # one free pair a sentence, at most 200 in the chains: of 3,600
    warning = (
        f"{1000 * distinct_n(chains, 2):.0f} different pairs among 1,000 pairs of neighbours, as much real text has "
    )
    assert 150 < 1000 * distinct_n(chains, 2) <= 600 / 3.6
    assert collapse_warnings(chains, real(2)) == [f"{warning}{1000 * distinct_n(real(2), 2):.0f}"]


@pytest.mark.parametrize(("share", "flagged"), [(0.04, False), (0.2, True)])
def test_one_token_too_often(share: float, flagged: bool) -> None:
    mixed = np.array(real(1))
    mixed[np.random.default_rng(5).random(mixed.shape) < share] = 7
    warnings = collapse_warnings(mixed.tolist(), real(2))
    assert [warning.startswith("token 7 is 2") for warning in warnings] == [True] * flagged


def test_repeated_sentences() -> None:
    repeated = real(1, 340) + real(1, 60)
    assert collapse_warnings(repeated, real(2)) == ["15.0% of the sentences were said before, of real text 0.0%"]
    assert collapse_warnings(real(1, 370) + real(1, 30), real(2)) == []
    assert collapse_warnings(repeated, real(2, 340) + real(2, 60)) == []  # real text repeats itself as often


def test_one_sentence_too_often() -> None:
    said = real(1, 375) + real(1, 1) * 25
    assert collapse_warnings(said, real(2)) == [
        f"sentence {' '.join(map(str, said[0]))!r} is 6.5% of all sentences, of real text 0.00%"
    ]


def test_no_more_than_three_are_named() -> None:
    warnings = collapse_warnings([[1, 2, 3, 4, 5]] * 100, [[*range(6, 16)]] * 100)
    named = [warning for warning in warnings if warning.startswith("token")]
    assert named == [f"token {token} is 20.0% of all tokens, of real text 0.00%" for token in (1, 2, 3)]


@needs_data
def test_released_samples_of_the_oracle_task() -> None:
    """SentiGAN's published record on the oracle task is a collapse; the oracle's own samples are none."""
    sentigan, oracle = (
        [list(map(int, row)) for row in read_sentences(DATA / "peer_samples" / f"{name}.txt.gz")]
        for name in ("sentigan_oracle20", "seqgan_oracle20_real")
    )
    warnings = collapse_warnings(sentigan, oracle)
    assert "2,250 different tokens, as much real text has 4,949" in warnings
    assert "41 different pairs among 1,000 pairs of neighbours, as much real text has 865" in warnings
    assert "token 396 is 24.0% of all tokens, of real text 0.22%" in warnings
    assert collapse_warnings(oracle[5000:], oracle[:5000]) == []


@needs_data
@pytest.mark.parametrize(
    ("model", "signs"),
    [
        ("mle", ()),
        ("maligan", ()),
        ("textgan", ("107 different tokens", "96.8% of the sentences", "sentence 'a motor")),
    ],
)
def test_released_captions(model: str, signs: tuple[str, ...]) -> None:
    samples = read_sentences(DATA / f"peer_samples/texygen_coco_{model}.txt.gz", treebank, empty_allowed=True)
    warnings = collapse_warnings(samples, read_sentences(DATA / "coco_train.txt", treebank))
    assert bool(warnings) == bool(signs)
    assert all(any(warning.startswith(sign) for warning in warnings) for sign in signs)


@needs_data
def test_real_captions() -> None:
    train, test = (read_sentences(DATA / f"coco_{name}.txt", treebank) for name in ("train", "test"))
    assert collapse_warnings(test, train) == []
