"""Judges out of folders: judge.json says what it is, safetensors hold the head or the CNN.

A transformer's `body/` is as transformers writes it: AutoModel loads it by itself.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from rl.runtime.errors import InputError, closest, one_line
from rl.runtime.weights import kept
from seqgan.judges import ConvJudge, SequenceJudge, TokenJudge

AnyJudge = SequenceJudge | TokenJudge | ConvJudge


def load_judge(folder: Path | str) -> AnyJudge:
    """Return the judge of a folder, in eval mode. Raises InputError naming the file that is missing or unfit."""
    path = Path(folder) / "judge.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        kind = told.pop("kind")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: not what a judge was saved as: {one_line(error)}") from None
    if kind not in KINDS:
        raise InputError(f"{path}: kind {kind!r} is not known{closest(str(kind), KINDS)}")
    weights = kept(path.with_suffix(".safetensors"))
    if not weights:
        raise InputError(f"{path.with_suffix('.safetensors')}: missing, or not what was written")
    try:
        judge, holder = KINDS[kind](Path(folder), told)
        holder.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: does not fit its weights: {one_line(error)[:200]}") from None
    return judge.eval()


def _conv(folder: Path, told: dict[str, Any]) -> tuple[ConvJudge, torch.nn.Module]:
    filters = tuple((width, count) for width, count in told.pop("filters"))
    judge = ConvJudge(filters=filters, **told)
    return judge, judge.net


def _sequence(folder: Path, told: dict[str, Any]) -> tuple[SequenceJudge, torch.nn.Module]:
    judge = SequenceJudge(_body(folder / "body"), pooling=told["pooling"], dropout=told["dropout"])
    return judge, judge.head


def _token(folder: Path, told: dict[str, Any]) -> tuple[TokenJudge, torch.nn.Module]:
    judge = TokenJudge(_body(folder / "body"), dropout=told["dropout"])
    return judge, judge.head


KINDS: dict[str, Callable[[Path, dict[str, Any]], tuple[AnyJudge, torch.nn.Module]]] = {
    "sequence": _sequence,
    "token": _token,
    "conv": _conv,
}


def _body(folder: Path) -> Any:
    from transformers import AutoModel  # slow to import

    from seqgan.pretrained import register

    register()
    try:
        return AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: transformers cannot load it: {one_line(error)[:200]}") from None


def of_classifier(model: Any) -> SequenceJudge:
    """Return a judge that begins as a reward model of one label: AutoModelForSequenceClassification on a decoder.

    Its answers are the model's own on rows padded on the right. Raises InputError for another head than one linear map.
    """
    score = getattr(model, "score", None)
    if not isinstance(score, torch.nn.Linear) or score.out_features != 1:
        raise InputError(f"{type(model).__name__}: needs one linear head `score` with one label (num_labels=1)")
    judge = SequenceJudge(model, pooling="last")
    with torch.no_grad():
        judge.head.weight.copy_(score.weight)
    return judge
