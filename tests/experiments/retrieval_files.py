"""Small files of ratings, of documents with features, and of questions with answers."""

import random
from pathlib import Path

USERS, ITEMS = 12, 20
WORDS = ("apple", "bread", "cloud", "delta", "earth", "flame", "grass", "house", "inlet", "joker")


def rating_files(folder: Path) -> list[str]:
    """Write ratings of users who like even or odd items; the flags that name them."""
    chance = random.Random(0)
    train, test = [], []
    for user in range(USERS):
        liked = [item for item in range(ITEMS) if item % 2 == user % 2]
        other = [item for item in range(ITEMS) if item % 2 != user % 2]
        chance.shuffle(liked)
        train += [(user, item, 5) for item in liked[:6]] + [(user, item, 1) for item in other[:3]]
        test += [(user, item, 4) for item in liked[6:8]]
    for name, lines in (("train", train), ("test", test)):
        (folder / f"{name}.tsv").write_text("".join("{}\t{}\t{}\n".format(*line) for line in lines))
    return ["--data", str(folder / "train.tsv"), "--test", str(folder / "test.tsv")]


def letor_files(folder: Path) -> list[str]:
    """Write documents whose first feature says how good they are."""
    chance = random.Random(1)
    for name, queries in (("train", range(8)), ("test", range(8, 12))):
        lines = []
        for query in queries:
            for place, grade in enumerate((0, 0, 1, 2, 0)):
                features = [grade / 2 + chance.random() / 4, chance.random(), chance.random()]
                written = " ".join(f"{number}:{value:.4f}" for number, value in enumerate(features, start=1))
                lines.append(f"{grade} qid:{query} {written} #docid = D{query}-{place}\n")
        (folder / f"{name}.txt").write_text("".join(lines))
    return ["--data", str(folder / "train.txt"), "--test", str(folder / "test.txt")]


def qa_files(folder: Path) -> list[str]:
    """Write questions that share a word with their answer."""
    chance = random.Random(2)
    for name, queries in (("train", range(8)), ("test", range(8, 12))):
        lines = ["qid\tcand_id\tlabel\tquestion\tanswer\n"]
        for query in queries:
            word, *others = chance.sample(WORDS, 4)
            for place, answer in enumerate((word, *others)):
                text = f"{answer} is {chance.choice(WORDS)}"
                lines.append(f"{query}\t{query}-{place}\t{int(place == 0)}\twhat is {word}\t{text}\n")
        (folder / f"{name}.tsv").write_text("".join(lines))
    return ["--data", str(folder / "train.tsv"), "--test", str(folder / "test.tsv")]
