import itertools
from collections import Counter

import pytest
import torch

from rl.runtime import InputError
from seqgan.corpus import Vocabulary
from seqgan.likelihood import counted
from seqgan.masks import Filled, blanked, blanks, draw_missing
from seqgan.sampling import BLANK

WORDS = Vocabulary.of([["a", "man", "rides", "horse"]], "word")


def all_said(rows: int, time: int) -> torch.Tensor:
    return torch.ones(rows, time, dtype=torch.bool)


def test_blanked_keeps_what_is_given() -> None:
    filled = Filled(torch.tensor([[5, 6, 7]]), torch.tensor([[False, True, False]]))
    assert blanked(filled).tolist() == [[5, BLANK, 7]]
    assert filled.tokens.tolist() == [[5, 6, 7]]


def test_every_span_is_equally_likely() -> None:
    """4 of 6 places: three spans. With 30,000 rows six standard errors of a third are 0.016."""
    torch.manual_seed(0)
    missing = draw_missing(all_said(30_000, 6), share=0.7, whole=0.0, mask="contiguous")  # 4.2 rounds to 4
    shares = Counter(tuple(row) for row in missing.int().tolist())
    assert set(shares) == {(1, 1, 1, 1, 0, 0), (0, 1, 1, 1, 1, 0), (0, 0, 1, 1, 1, 1)}
    for count in shares.values():
        assert count / 30_000 == pytest.approx(1 / 3, abs=0.017)


def test_every_random_set_of_that_size_is_equally_likely() -> None:
    """2 of 4 places: six sets; six standard errors of a sixth are 0.013."""
    torch.manual_seed(0)
    missing = draw_missing(all_said(30_000, 4), share=0.5, whole=0.0, mask="random")
    shares = Counter(tuple(row.nonzero()[:, 0].tolist()) for row in missing)
    assert set(shares) == set(itertools.combinations(range(4), 2))
    for count in shares.values():
        assert count / 30_000 == pytest.approx(1 / 6, abs=0.014)


@pytest.mark.parametrize("mask", ["contiguous", "random"])
def test_the_share_is_of_what_was_said_and_never_nothing(mask: str) -> None:
    """Sentences of 6, 3 and 1 tokens and their ends; what stands after an end is missing if the end is."""
    torch.manual_seed(0)
    rows = torch.tensor([[5, 5, 5, 5, 5, 5, 0, 0], [5, 5, 5, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0]])
    said = counted(rows, 0)
    for share, sizes in ((0.5, [4, 2, 1]), (0.01, [1, 1, 1]), (1.0, [7, 4, 2])):  # 3.5 rounds to 4, to even
        for _ in range(50):
            missing = draw_missing(said, share=share, whole=0.0, mask=mask)  # type: ignore[arg-type]
            assert (missing & said).sum(1).tolist() == sizes
            ends = [row[length - 1] for row, length in zip(missing, said.sum(1), strict=True)]
            for row, was_said, end in zip(missing, said, ends, strict=True):
                assert (row[~was_said] == end).all()


def test_whole_rows() -> None:
    torch.manual_seed(0)
    said = counted(torch.tensor([[5, 5, 0, 0]]).expand(20_000, 4), 0)
    missing = draw_missing(said, share=0.3, whole=0.25, mask="contiguous")  # one of three places
    assert missing.all(1).float().mean().item() == pytest.approx(0.25, abs=6 * 0.0031)
    assert draw_missing(said, share=0.3, whole=1.0, mask="contiguous").all()
    assert not draw_missing(said, share=0.3, whole=0.0, mask="contiguous").all(1).any()


def test_masks_differ_between_rows() -> None:
    torch.manual_seed(0)
    for mask in ("contiguous", "random"):
        missing = draw_missing(all_said(100, 10), share=0.5, whole=0.0, mask=mask)
        assert len({tuple(row) for row in missing.tolist()}) > 4


def test_a_line_with_blanks() -> None:
    ids = {word: number for number, word in enumerate(WORDS.words)}
    context = blanks("a man ___ _ horse", WORDS, 7, 0)
    assert context.tolist() == [[ids["a"], ids["man"], BLANK, BLANK, ids["horse"], 0, 0]]
    numbers = blanks("3 _ 7", Vocabulary.numbers(10), 5, -1)
    assert numbers.tolist() == [[3, BLANK, 7, BLANK, BLANK]]
    letters = Vocabulary.of([list("abc")], "char")
    assert blanks("a_c", letters, 3, 0).tolist() == [[letters.words.index("a"), BLANK, letters.words.index("c")]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a man rids ___", "--fill 'a man rids ___':3: 'rids' is no word of the corpus; did you mean 'rides'?"),
        ("a zebra ___", "--fill 'a zebra ___':2: 'zebra' is no word of the corpus"),
        ("a </s> ___", "--fill 'a </s> ___':2: '</s>' is no word of the corpus"),
        ("a man rides", "--fill 'a man rides': no blank (___) in it"),
        ("a a a a ___", "--fill 'a a a a ___': 5 tokens, the length is 4"),
    ],
)
def test_lines_that_cannot_be_filled(line: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        blanks(line, WORDS, 4, 0)
    assert str(caught.value) == reason
