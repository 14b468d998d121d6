"""Encoder and decoder: one LSTM reads, another speaks and looks back at every place that was read."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Hidden = tuple[Tensor, Tensor]  # (h, c) of an LSTM, each [rows, layers, hidden]


class Attention(nn.Module):
    """Look back at a memory; Luong et al. 2015 (1508.04025), eq. 5, 7 and the general score of eq. 8.

    score(h, m) = h W m, weights = softmax over the places, and the answer is tanh(V [sum of weights * m; h]).
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden, bias=False)

    def forward(
        self, states: Float[Tensor, "rows time hidden"], memory: Float[Tensor, "rows places hidden"]
    ) -> Float[Tensor, "rows time hidden"]:
        """Return the attentional states."""
        weights = (self.query(states) @ memory.transpose(1, 2)).float().softmax(-1).to(memory.dtype)
        return torch.tanh(self.combine(torch.cat([weights @ memory, states], -1)))


class EncoderDecoder(nn.Module):
    """Two LSTMs of one size with attention between them; the decoder begins in the encoder's last state.

    There is no feedback of the attentional state into the decoder (Luong's input feeding), so that teacher forcing is
    one pass. Every initial weight is drawn from N(0, 1 / hidden), biases are zero.
    """

    def __init__(self, embedding: int, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.encoder = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=between)
        self.decoder = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=between)
        self.attention = Attention(hidden)
        for weight in self.parameters():
            nn.init.normal_(weight, std=hidden**-0.5) if weight.dim() > 1 else nn.init.zeros_(weight)

    def start(self, rows: int) -> Hidden:
        """Return the state before anything was read: zeros."""
        zeros = self.attention.query.weight.new_zeros(rows, self.encoder.num_layers, self.encoder.hidden_size)
        return zeros, zeros

    def encode(
        self, embedded: Float[Tensor, "rows places embedding"], state: Hidden
    ) -> tuple[Float[Tensor, "rows places hidden"], Hidden]:
        """Read on; return what the decoder can look at, a memory of each place, and the state."""
        return run(self.encoder, embedded, state)

    def decode(
        self,
        embedded: Float[Tensor, "rows time embedding"],
        state: Hidden,
        memory: Float[Tensor, "rows places hidden"],
    ) -> tuple[Float[Tensor, "rows time hidden"], Hidden]:
        """Read on and look back; return the features of each place and the state."""
        states, state = run(self.decoder, embedded, state)
        return self.attention(states, memory), state


def run(
    lstm: nn.LSTM, embedded: Float[Tensor, "rows time embedding"], state: Hidden
) -> tuple[Float[Tensor, "rows time hidden"], Hidden]:
    """Run an LSTM on a state that has its rows in dimension 0, not its layers."""
    h, c = (part.transpose(0, 1).contiguous() for part in state)
    outputs, (h, c) = lstm(embedded, (h, c))
    return outputs, (h.transpose(0, 1), c.transpose(0, 1))
