from seqgan.metrics.lengths import lengths


def of(*counts: int) -> list[list[str]]:
    return [["w"] * count for count in counts]


def test_by_hand() -> None:
    # half have one token, a quarter two, a quarter none; of the others half have one, half three.
    scores = lengths(of(1, 2, 1, 0), of(1, 3))
    assert scores == {"length_p10": 0, "length_p50": 1, "length_p90": 1, "length_tv": (1 / 4 + 1 / 4 + 1 / 2) / 2}


def test_the_same_and_nothing_shared() -> None:
    assert lengths(of(3, 4, 4), of(4, 3, 4) * 5)["length_tv"] == 0
    assert lengths(of(3, 3), of(9))["length_tv"] == 1
    assert lengths(of(9), of(3, 3))["length_tv"] == 1


def test_percentiles_are_lengths_that_occur() -> None:
    scores = lengths(of(*range(10, 21)), of(1))
    assert (scores["length_p10"], scores["length_p50"], scores["length_p90"]) == (11, 15, 19)
    assert lengths([[7, 7], [7] * 5], [[7]])["length_p50"] == 2
