"""How long sentences are, and whether they are as long as they should be."""

import numpy as np

from seqgan.metrics.grams import Sentences


def lengths(samples: Sentences, references: Sentences) -> dict[str, float]:
    """Return `length_p10`, `length_p50`, `length_p90` of the samples, in tokens, and `length_tv`.

    `length_tv`: total variation between the distributions of both sets' lengths; 0 the same, 1 no length shared.
    """
    ours, theirs = (np.fromiter(map(len, rows), np.int64, len(rows)) for rows in (samples, references))
    most = max(ours.max(), theirs.max())
    ours_share, theirs_share = (np.bincount(rows, minlength=most + 1) / len(rows) for rows in (ours, theirs))
    p10, p50, p90 = np.percentile(ours, [10, 50, 90], method="lower").tolist()
    apart = float(np.abs(ours_share - theirs_share).sum() / 2)
    return {"length_p10": float(p10), "length_p50": float(p50), "length_p90": float(p90), "length_tv": apart}
