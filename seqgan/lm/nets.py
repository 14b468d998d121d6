"""Who speaks and who judges: nets of our own, or transformers out of folders; each made fresh when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn

from rl.runtime import InputError
from rl.runtime.errors import one_line
from seqgan.corpus import Corpus
from seqgan.generators import build_generator
from seqgan.judges import ConvJudge, SequenceJudge, TokenJudge
from seqgan.lm.numbers import Numbers
from seqgan.packed import Packing
from seqgan.scratchgan import RecurrentDiscriminator

Build = Callable[[Numbers, Corpus], Any]


class RecurrentJudge(RecurrentDiscriminator):
    """An LSTM that gives each token a logit from the token and those before it; what is not there gets zero."""

    def forward(self, tokens: Int[Tensor, "rows time"], mask: Bool[Tensor, "rows time"]) -> Float[Tensor, "rows time"]:
        """Judge every token; padding may stand anywhere."""
        packing = Packing.of(mask)
        return packing.unpack(super().forward(tokens.gather(1, packing.order)), tokens.shape[1])


def own_policy(n: Numbers, corpus: Corpus) -> nn.Module:
    """Return the net of `n.generator`."""
    return build_generator(
        n.generator, len(corpus.vocabulary.words), corpus.length,
        embedding=n.embedding, hidden=n.hidden, layers=n.layers, dropout=n.dropout,
        end=corpus.end, prompt=corpus.prompt,
    )  # fmt: skip


def conv_judge(n: Numbers, corpus: Corpus) -> nn.Module:
    """Return SeqGAN's CNN."""
    return ConvJudge(len(corpus.vocabulary.words), corpus.length, embedding=n.d_embedding, dropout=n.d_dropout)


def recurrent_judge(n: Numbers, corpus: Corpus) -> nn.Module:
    """Return a judge of tokens."""
    return RecurrentJudge(
        len(corpus.vocabulary.words), corpus.length,
        embedding=n.d_embedding, hidden=2 * n.d_embedding, dropout=n.d_dropout,
    )  # fmt: skip


@dataclass(frozen=True)
class Nets:
    """Makers of a policy, a judge of whole rows and a judge of tokens."""

    policy: Build = own_policy
    of_rows: Build = conv_judge
    of_tokens: Build = recurrent_judge


def causal_lm(folder: Path, n: Numbers, corpus: Any) -> nn.Module:
    """Return a language model of transformers as a policy, with adapters of rank `n.lora` if that is not 0.

    Raises InputError for a folder without one, and for one that is no policy.
    """
    from transformers import AutoModelForCausalLM

    from seqgan.causal_lm import CausalLM
    from seqgan.lora import with_lora
    from seqgan.pretrained import register

    register()
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        policy = CausalLM(model, end=corpus.end, pad=corpus.end, prompt=corpus.prompt, start=corpus.start)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"--model {folder}: {one_line(error)[:200]}") from None
    return with_lora(policy, rank=n.lora) if n.lora else policy


def transformer_judge(folder: Path, kind: type[SequenceJudge] | type[TokenJudge], n: Numbers, corpus: Corpus) -> Any:
    """Return a head on the transformer of a folder. Raises InputError for a folder without one."""
    from transformers import AutoModel

    from seqgan.pretrained import register

    register()
    try:
        return kind(AutoModel.from_pretrained(folder, local_files_only=True), dropout=n.d_dropout)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"--judge {folder}: {one_line(error)[:200]}") from None


def nets_of(model: Path | None, judge: Path | None) -> Nets:
    """Return the makers that a command line asks for."""
    policy = partial(causal_lm, model) if model else own_policy
    if judge is None:
        return Nets(policy)
    return Nets(policy, partial(transformer_judge, judge, SequenceJudge), partial(transformer_judge, judge, TokenJudge))
