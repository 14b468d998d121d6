"""A generator with a relational memory: slots that attend to each other and to what is read."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan.generators import State, fork_rows, shifted

FORGET_BIAS = 1.0  # of the gate that keeps the memory, as in the paper's code


class RelationalGenerator(nn.Module):
    """A relational memory core; Santoro et al. 2018 (1806.01822), section 3; RelGAN's generator.

    Memory [slots, heads * head_size] attends to itself and to the token read, passes a two-layer net, and is kept or
    replaced number by number ("unit" gates). The features are the whole new memory. `prompt` is the number of given
    tokens, `end` the token that ends a sentence and then fills its row, -1 where all sentences have one length.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: int = 32,
        slots: int = 1,
        heads: int = 2,
        head_size: int = 32,
        start: int = 0,
        end: int = -1,
        prompt: int = 0,
    ) -> None:
        super().__init__()
        self.start, self.end, self.prompt = start, end, prompt
        self.slots, self.heads, self.width = slots, heads, heads * head_size
        width = self.width
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.read = nn.Linear(embedding, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.forward_up, self.forward_down = nn.Linear(width, width), nn.Linear(width, width)
        self.gates_of_input = nn.Linear(width, 2 * width)
        self.gates_of_memory = nn.Linear(width, 2 * width, bias=False)
        self.head = nn.Linear(slots * width, vocabulary)
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)

    def init(self, rows: int) -> State:
        """Return the memory before the first token: rows of the identity, so that slots differ."""
        memory = torch.eye(self.slots, self.width, device=self.head.weight.device, dtype=self.head.weight.dtype)
        return (memory.repeat(rows, 1, 1),)

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next."""
        return self.step_embedded(state, self.embedding(tokens))

    def step_embedded(
        self, state: State, embedded: Float[Tensor, "rows embedding"]
    ) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read what is already embedded, a token or a mixture of tokens."""
        memory = self.remember(state[0], *self.perceive(embedded))
        return memory.flatten(1), (memory,)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        """Return the features that predict each token, teacher forced."""
        (memory,) = self.init(len(tokens))
        memories = []
        perceived = (part.unbind(1) for part in self.perceive(self.embedding(shifted(tokens, self.start))))
        for key_value, gates in zip(*perceived, strict=True):
            memory = self.remember(memory, key_value, gates)
            memories.append(memory.flatten(1))
        return torch.stack(memories, 1)

    def perceive(
        self, embedded: Float[Tensor, "*places embedding"]
    ) -> tuple[Float[Tensor, "*places key_value"], Float[Tensor, "*places gates"]]:
        """Return what tokens offer to attention and say to the gates: for all places at once where these are known."""
        read = self.read(embedded)
        return self.key_value(read), self.gates_of_input(read)

    def remember(
        self,
        memory: Float[Tensor, "rows slots width"],
        key_value: Float[Tensor, "rows key_value"],
        gates: Float[Tensor, "rows gates"],
    ) -> Float[Tensor, "rows slots width"]:
        """Return the next memory."""
        rows, slots, _ = memory.shape
        both = torch.cat([self.key_value(memory), key_value[:, None].to(memory.dtype)], 1)
        key, value = both.view(rows, slots + 1, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = self.query(memory).view(rows, slots, self.heads, -1).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(memory.shape)
        x = self.norm_attention(memory + attended)
        x = self.norm_forward(x + self.forward_down(F.relu(self.forward_up(x))))
        take, keep = (gates[:, None] + self.gates_of_memory(memory.tanh())).chunk(2, -1)
        return torch.sigmoid(keep + FORGET_BIAS) * memory + torch.sigmoid(take) * x.tanh()
