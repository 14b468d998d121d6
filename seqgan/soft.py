"""Soft sentences: every place a distribution over the vocabulary, so that a reward reaches the generator through them.

A sentence is int64 [time] or float32 [time vocabulary]; the one-hot rows of a sentence are judged as its tokens are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.estimators import gumbel_softmax, straight_through_gumbel
from rl.policies import SequencePolicy
from seqgan.discriminators import SMALL_FILTERS, ConvDiscriminator
from seqgan.generators import State
from seqgan.likelihood import action_log_probs, counted
from seqgan.sampling import BLANK, begun

Soft = Float[Tensor, "batch time vocabulary"]
Sentences = Int[Tensor, "batch time"] | Soft
Relax = Callable[[Float[Tensor, "rows vocabulary"], float], Float[Tensor, "rows vocabulary"]]


class SoftPolicy(SequencePolicy[State], Protocol):
    """A generator that also reads mixtures of tokens."""

    embedding: nn.Embedding
    prompt: int

    def features(self, tokens: Int[Tensor, "batch time"], /) -> Float[Tensor, "batch time hidden"]:
        """Predict each token, teacher forced."""
        ...

    def step_embedded(self, state: State, embedded: Float[Tensor, "rows embedding"], /) -> tuple[Tensor, State]:
        """Read what is already embedded; the features predict the next token."""
        ...


def one_hot(tokens: Int[Tensor, "batch time"], vocabulary: int) -> Soft:
    """Return each token as a row of the vocabulary with all mass on it."""
    return F.one_hot(tokens, vocabulary).float()


def hardened(soft: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
    """Put all mass on the likeliest token forward, pass the gradient unchanged; Bengio et al. 2013 (1308.3432)."""
    return one_hot(soft.argmax(-1), soft.shape[-1]) + (soft - soft.detach())


def speak_softly(
    policy: SoftPolicy, given: Int[Tensor, "rows length"], temperature: float, relax: Relax = gumbel_softmax
) -> tuple[Soft, Int[Tensor, "rows length"]]:
    """Return soft sentences, differentiable in the policy's weights, and their likeliest tokens.

    `relax` draws each place from its logits at a temperature (rl.estimators: gumbel_softmax, straight_through_gumbel).
    The policy then reads the likeliest token itself, so that the tokens are exact draws of the policy at any
    temperature; the gradient also flows into what is said later. What follows an end token is the end token, and
    `given` holds tokens that are read, not drawn, and BLANK elsewhere: no gradient flows to either. Memory: some four
    times rows * length * vocabulary floats.
    """
    state, vocabulary = policy.init(len(given)), policy.head.out_features
    said = torch.full_like(given[:, 0], policy.start)
    embedded, places, ended = policy.embedding(said), [], torch.zeros_like(said, dtype=torch.bool)
    for known, spoken in zip(given.unbind(1), begun(given).unbind(1), strict=True):
        features, state = policy.step_embedded(state, embedded)
        forced = torch.where(ended & (known == BLANK), policy.end, known)
        place = relax(policy.head(features), temperature)
        if (forced != BLANK).any():
            place = torch.where((forced == BLANK)[:, None], place, one_hot(forced.clamp(min=0), vocabulary))
        said = place.argmax(-1)
        ended = spoken & (said == policy.end)
        embedded = hardened(place).to(features.dtype) @ policy.embedding.weight.to(features.dtype)
        places.append(place)
    soft = torch.stack(places, 1)
    return soft, soft.argmax(-1)


@torch.no_grad()
def soften(policy: SoftPolicy, tokens: Int[Tensor, "rows time"], temperature: float) -> Soft:
    """Return what `speak_softly` would have said where it said these tokens, in one pass without a gradient.

    The noise is drawn given its winner: the first arrival of a race, X_k with X ~ Exp(1), comes from the winner k, and
    everybody else arrives X_i / p_i after it; Maddison, Tarlow & Minka 2014 (1411.0030), section 3.
    """
    log_probs = action_log_probs(policy, tokens)
    waits = torch.empty_like(log_probs).exponential_().clamp(min=torch.finfo(log_probs.dtype).tiny)
    first = waits.gather(2, tokens[..., None])
    arrivals = (first + waits * (-log_probs).exp()).scatter(2, tokens[..., None], first)
    scores = (first.log() - arrivals.log()) / temperature
    soft = scores.clamp(min=-50).softmax(-1)  # subnormal numbers slow down everything after them
    fixed = ~counted(tokens, policy.end, policy.prompt)
    return torch.where(fixed[..., None], one_hot(tokens, soft.shape[-1]), soft)


@dataclass(frozen=True)
class Relaxation:
    """What stands for a sentence where it is judged: how the generator says it, how the discriminator hears tokens."""

    relax: Relax
    hear: Callable[[SoftPolicy, Int[Tensor, "rows time"], float], Sentences]


RELAXATIONS = {
    "hard": Relaxation(straight_through_gumbel, lambda policy, tokens, temperature: tokens),
    "soft": Relaxation(gumbel_softmax, soften),
}


class SoftEmbedding(nn.Module):
    """Several embeddings of a sentence of either kind, as so many rows of a batch: tokens looked up, mixtures mixed."""

    def __init__(self, vocabulary: int, embedding: int, representations: int) -> None:
        super().__init__()
        self.embedding_dim = embedding
        self.weight = nn.Parameter(torch.empty(vocabulary, representations * embedding).uniform_(-1, 1))

    def forward(self, sentences: Sentences) -> Float[Tensor, "batch_representations time embedding"]:
        """Return the rows: all representations of the first sentence, then those of the second."""
        batch, time = sentences.shape[:2]
        soft = sentences.is_floating_point()
        embedded = sentences.to(self.weight.dtype) @ self.weight if soft else F.embedding(sentences, self.weight)
        return embedded.view(batch, time, -1, self.embedding_dim).transpose(1, 2).flatten(0, 1)


class SoftDiscriminator(ConvDiscriminator):
    """The CNN over one or several embeddings of a sentence, one logit for each; the filters are shared.

    With 64 representations of size 1 it is RelGAN's (Nie, Narodytska & Patel, ICLR 2019, section 2.2), whose last two
    layers have no nonlinearity between them and are one here.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        representations: int = 1,
        embedding: int = 64,
        filters: tuple[tuple[int, int], ...] = SMALL_FILTERS,
        dropout: float = 0.25,
    ) -> None:
        super().__init__(1, length, embedding=embedding, filters=filters, dropout=dropout)
        self.embedding = SoftEmbedding(vocabulary, embedding, representations)  # type: ignore[assignment]

    def forward(self, tokens: Sentences) -> Float[Tensor, "batch representations"]:
        """Return a logit for each representation of each sentence."""
        return self.judge_represented(self.represent(tokens))

    def represent(self, sentences: Sentences) -> Float[Tensor, "batch representations features"]:
        """Return what the output layer reads."""
        return self.features(self.pooled(sentences)).unflatten(0, (len(sentences), -1))

    def judge_represented(
        self, features: Float[Tensor, "batch representations features"]
    ) -> Float[Tensor, "batch representations"]:
        """Return the logits of features: dropout, output."""
        logits: Tensor = self.output(self.dropout(features))[..., 0]
        return logits
