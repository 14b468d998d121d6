"""What others found of text GANs at equal quality, as printed: tables in units of their own."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What others found of quality against diversity: a small table in its own units."""

    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    note: str = ""


FINDINGS = (
    Finding(
        "Oracle, 20 tokens: the temperature with the best sum",
        "GFS",
        ("nll_oracle", "nll_test", "best sum"),
        (
            ("MLE chosen on nll_test", (9.40, 7.61, 15.26)),
            ("MLE chosen on the sum", (8.28, 8.06, 16.03)),
            ("GAN chosen on the sum", (8.75, 8.06, 16.15)),
            ("GAN, by temperature", (9.20, 7.75, 15.72)),
            ("CoT", (9.38, 7.57, 15.40)),
            ("SeqGAN", (9.62, 9.22, 18.44)),
            ("LeakGAN", (10.59, 11.27, 19.45)),
        ),
        "The first two columns are at temperature 1. MLE's best sum is at inverse temperature 2.20: 5.99 + 9.27.",
    ),
    Finding(
        "EMNLP: reverse LM at equal LM score",
        "GFS",
        ("MLE", "GAN", "CoT"),
        (("LM 2.5", (4.54, 5.28, 6.15)), ("LM 3.0", (4.15, 4.73, 5.35))),
        "Scores of an LSTM language model of theirs: only differences in a row compare with ours.",
    ),
    Finding(
        "EMNLP: LM and reverse LM by temperature",
        "GFS",
        ("LM", "reverse LM"),
        (
            ("MLE, 1", (3.628, 3.991)),
            ("MLE, 1/1.5", (2.301, 4.832)),
            ("MLE, 1/2", (1.906, 5.739)),
            ("GAN", (3.389, 4.491)),
            ("GAN", (2.301, 5.562)),
            ("GAN", (1.974, 6.220)),
            ("CoT", (4.682, 4.390)),
        ),
    ),
    Finding(
        "EMNLP: BLEU-5 and Self-BLEU-5",
        "GFS",
        ("bleu_5", "self_bleu_5"),
        (
            ("training data", (0.23, 0.24)),
            ("SeqGAN", (0.09, 0.27)),
            ("MaliGAN", (0.08, 0.25)),
            ("RankGAN", (0.09, 0.30)),
            ("LeakGAN", (0.27, 0.51)),
            ("CoT", (0.20, 0.18)),
            ("FM-GAN", (0.372, 0.705)),
            *(
                (f"{name} over temperatures", pair)
                for name, sweep in (
                    ("MLE", ((0.19, 0.21), (0.23, 0.27), (0.27, 0.33), (0.30, 0.39), (0.34, 0.45), (0.38, 0.52))),
                    (
                        "RL-GAN",
                        (
                            (0.13, 0.14),
                            (0.19, 0.22),
                            (0.25, 0.32),
                            (0.34, 0.47),
                            (0.44, 0.65),
                            (0.53, 0.80),
                            (0.62, 0.92),
                        ),
                    ),
                )
                for pair in sweep
            ),
        ),
    ),
    Finding(
        "EMNLP: Fréchet distance of sentence embeddings, and perplexity",
        "ScratchGAN",
        ("FED", "±", "perplexity"),
        (
            ("random", (math.nan, math.nan, 5725)),
            ("MLE", (math.nan, math.nan, 42)),
            ("SeqGAN-step, no pretraining", (0.084, math.nan, math.nan)),
            ("ScratchGAN", (0.015, math.nan, 154)),
            ("ScratchGAN over hyperparameters", (0.021, 0.0056, math.nan)),
            ("ScratchGAN, 50 seeds", (0.018, 0.0008, math.nan)),
        ),
        "Embeddings of a pretrained encoder of theirs: not `fbd` here.",
    ),
)
