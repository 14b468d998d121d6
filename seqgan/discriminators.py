"""The discriminator of sentences: convolutions of many widths over token embeddings, the maximum over time of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan.kernels import max_conv, memory_for_windows, windows_in

# (width, filters), SeqGAN's code for sentences of 20 tokens: 1,720 features
PAPER_FILTERS = (
    (1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100),
    (7, 100), (8, 100), (9, 100), (10, 100), (15, 160), (20, 160),
)  # fmt: skip
SMALL_FILTERS = ((1, 32), (2, 64), (3, 64), (4, 32), (5, 32), (8, 32))


class ConvDiscriminator(nn.Module):
    """SeqGAN's CNN (Yu et al. 2017, section 3.2 and appendix): embedding, convolutions, highway, dropout, one logit.

    A sentence is always `length` tokens long; what stands after its end token is part of what is judged. Filters wider
    than a sentence are left out. The paper's two-way softmax is written as its one free logit, high = real. With
    `shared_gate` one matrix serves both halves of the highway, as in the public ports.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        embedding: int = 64,
        filters: tuple[tuple[int, int], ...] = PAPER_FILTERS,
        dropout: float = 0.25,
        shared_gate: bool = False,
    ) -> None:
        super().__init__()
        filters = tuple((width, count) for width, count in filters if width <= length)
        size = sum(count for _, count in filters)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.weights = nn.ParameterList(torch.empty(count, width * embedding) for width, count in filters)
        self.bias = nn.Parameter(torch.full((size,), 0.1))
        self.transform = nn.Linear(size, size)
        self.gate = self.transform if shared_gate else nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(size, 1)
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for weight in (*self.weights, self.output.weight):
            nn.init.trunc_normal_(weight, std=0.1, a=-0.2, b=0.2)
        for layer in (self.transform, self.gate):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.output.bias, 0.1)

    def filters(self) -> Iterator[tuple[int, Float[Tensor, "filters taps"]]]:
        """Yield each filter width with its weights [filters, width * embedding]."""
        for weight in self.weights:
            yield weight.shape[1] // self.embedding.embedding_dim, weight

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch"]:
        """Return one logit a sentence."""
        return self.judge_pooled(self.pooled(tokens))

    def pooled(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch features"]:
        """Return every filter's maximum over time, before bias and ReLU (both are monotone and commute with it)."""
        embedded = self.embedding(tokens)
        if embedded.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            if torch.is_grad_enabled():
                return max_conv(embedded, *self.weights)
            memory = memory_for_windows(embedded, (width for width, _ in self.filters()))
            rows = ((windows_in(memory, embedded, width), weight) for width, weight in self.filters())
            return torch.cat([(x @ w.t()).view(len(embedded), -1, len(w)).amax(1) for x, w in rows], 1)
        return self.pooled_embedded(embedded)

    def pooled_embedded(self, embedded: Float[Tensor, "batch time embedding"]) -> Float[Tensor, "batch features"]:
        """Return the same of tokens that are embedded already; with derivatives of every order."""
        channels = embedded.transpose(1, 2)
        return torch.cat(
            [
                F.conv1d(channels, weight.view(len(weight), width, -1).transpose(1, 2)).amax(2)
                for width, weight in self.filters()
            ],
            1,
        )

    def features(self, pooled: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows features"]:
        """Return what the output layer reads: bias, ReLU, highway (Srivastava et al. 2015)."""
        x = F.relu(pooled + self.bias)
        transformed = self.transform(x)
        gate = torch.sigmoid(transformed if self.gate is self.transform else self.gate(x))
        return x + gate * (F.relu(transformed) - x)

    def judge_pooled(self, pooled: Float[Tensor, "batch features"]) -> Float[Tensor, "batch"]:
        """Return the logit of pooled features: their features, dropout, output."""
        logits: Tensor = self.output(self.dropout(self.features(pooled)))[:, 0]
        return logits


@dataclass(frozen=True)
class OutputL2:
    """The paper's L2 on the output layer alone, as a penalty.

    The paper adds weight * |W|^2 / 2 over a two-way output; for its one free logit, w = W_1 - W_0 and W_1 = -W_0,
    that is weight * |w|^2 / 4.
    """

    weight: float = 0.2

    def __call__(self, discriminator: ConvDiscriminator, real: Tensor, fake: Tensor) -> Float[Tensor, ""]:
        """Return the penalty; the samples play no part in it."""
        return sum(
            (self.weight * parameter.float().square().sum() / 4 for parameter in discriminator.output.parameters()),
            start=torch.zeros((), device=real.device),
        )
