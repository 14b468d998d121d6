"""LeakGAN's generator: a Manager that reads the discriminator's features and sets goals, a Worker that says words."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import State, fork_rows, shifted
from seqgan.kernels import windows


class LeakGenerator(nn.Module):
    """Manager and Worker; Guo et al. 2018 (1709.08624), section 3.

    At t the Manager, an LSTM, reads the discriminator's features F of the tokens before t and sets a goal g_t of length
    one in the space of F (eq. 4). The last `goal_steps` goals, g_t included, are added up and taken to a vector w of
    size `goal` by one matrix without a bias (eq. 5). The Worker, an LSTM over the tokens, gives a matrix O of
    vocabulary * goal numbers, linear in its state h, and logits are O w (eq. 6): so they are linear in the outer
    product of h and w, which are the features of this generator, and `head` holds all of O.

    `judge` is the discriminator itself, and part of the state: as it learns, the generator reads other features. No
    gradient flows into it, none from the Worker into the goals.
    """

    def __init__(
        self,
        vocabulary: int,
        judge: ConvDiscriminator,
        *,
        embedding: int = 32,
        hidden: int = 32,
        goal: int = 16,
        goal_steps: int = 4,
        dropout: float = 0.0,
        start: int = 0,
        end: int = -1,
        prompt: int = 0,
        deviation: float = 0.1,
    ) -> None:
        super().__init__()
        self.start, self.end, self.prompt, self.goal_steps = start, end, prompt, goal_steps
        size = len(judge.bias)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.worker = nn.LSTM(embedding, hidden, batch_first=True)
        self.manager = nn.LSTM(size, hidden, batch_first=True)
        self.to_goal = nn.Linear(hidden, size)
        self.project = nn.Linear(size, goal, bias=False)
        self.head = nn.Linear(hidden * goal, vocabulary)
        self.dropout = nn.Dropout(dropout)
        for weight in self.parameters():
            nn.init.normal_(weight, std=deviation)
        self.judge = judge

    def learned(self) -> list[nn.Parameter]:
        """Return the weights of Manager and Worker; the judge learns elsewhere."""
        return [weight for name, weight in self.named_parameters() if not name.startswith("judge.")]

    def init(self, rows: int) -> State:
        """Return the state before the first token.

        (h, c) of the Worker and of the Manager; the newest tokens as the judge embeds them, as many as its widest
        filter spans less one; each filter's maximum so far; the newest goals, projected.
        """
        zeros = self.head.weight.new_zeros
        cells = zeros(rows, self.worker.hidden_size)
        silent = cells.new_full((rows, len(self.judge.bias)), -torch.inf)
        recent = zeros(rows, 0, self.judge.embedding.embedding_dim)
        return cells, cells, cells, cells, recent, silent, zeros(rows, 0, self.project.out_features)

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden_goal"], State]:
        """Read one token a row; return the features that predict the next."""
        worker_h, worker_c, manager_h, manager_c, recent, pooled, goals = state
        if goals.shape[1]:  # else this is the start token, no part of the sentence
            recent, pooled = read_token(self.judge, recent, pooled, tokens)
        hidden, (worker_h, worker_c) = one_step(self.worker, self.dropout(self.embedding(tokens)), worker_h, worker_c)
        with torch.no_grad():
            leaked = self.judge.features(pooled)
            plan, (manager_h, manager_c) = one_step(self.manager, leaked, manager_h, manager_c)
            goal = F.normalize(self.to_goal(plan), dim=-1)
        goals = torch.cat([goals, self.project(goal)[:, None]], 1)[:, -self.goal_steps :]
        features = outer(self.dropout(hidden), goals.sum(1))
        return features, (worker_h, worker_c, manager_h, manager_c, recent, pooled, goals)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden_goal"]:
        """Return the features that predict each token, teacher forced."""
        with torch.no_grad():
            _, goals = self.plan(tokens)
        projected = F.pad(self.project(goals), (0, 0, self.goal_steps - 1, 0))
        hidden, _ = self.worker(self.dropout(self.embedding(shifted(tokens, self.start))))
        return outer(self.dropout(hidden), projected.unfold(1, self.goal_steps, 1).sum(-1))

    def plan(
        self, tokens: Int[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time_and_one size"], Float[Tensor, "batch time size"]]:
        """Return the judge's features of every prefix, the empty one first, and the goal set at each place."""
        leaked = prefix_features(self.judge, tokens)
        plans, _ = self.manager(leaked[:, :-1])
        return leaked, F.normalize(self.to_goal(plans), dim=-1)


def outer(hidden: Float[Tensor, "*rows hidden"], goals: Float[Tensor, "*rows goal"]) -> Float[Tensor, "*rows both"]:
    """Return all products of a number of the one and a number of the other."""
    return (hidden[..., :, None] * goals[..., None, :]).flatten(-2)


def one_step(lstm: nn.LSTM, read: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Advance an LSTM of one layer by one input a row; return its output and (h, c)."""
    output, (h, c) = lstm(read[:, None], (h[None], c[None]))
    return output[:, 0], (h[0], c[0])


@torch.no_grad()
def prefix_features(
    judge: ConvDiscriminator, tokens: Int[Tensor, "batch time"]
) -> Float[Tensor, "batch time_and_one size"]:
    """Return the features that the judge's output layer would read of each prefix, the empty one first.

    A filter answers to the windows that lie inside the prefix, and is silent, 0 after the ReLU, while none fits.
    """
    embedded, (batch, time) = judge.embedding(tokens), tokens.shape
    pooled = embedded.new_full((batch, time + 1, len(judge.bias)), -torch.inf)
    column = 0
    for width, weight in judge.filters():
        if width <= time:
            responses = (windows(embedded, width) @ weight.t()).view(batch, -1, len(weight))
            pooled[:, width:, column : column + len(weight)] = responses.cummax(1).values
        column += len(weight)
    return judge.features(pooled)


@torch.no_grad()
def read_token(
    judge: ConvDiscriminator,
    recent: Float[Tensor, "rows some embedding"],
    pooled: Float[Tensor, "rows size"],
    tokens: Int[Tensor, "rows"],
) -> tuple[Float[Tensor, "rows some embedding"], Float[Tensor, "rows size"]]:
    """Take one more token into each filter's maximum: only the windows that end there are new."""
    seen = torch.cat([recent, judge.embedding(tokens)[:, None]], 1)
    columns, widest = [], 1
    for (width, weight), best in zip(judge.filters(), pooled.split([len(w) for w in judge.weights], 1), strict=True):
        fits = width <= seen.shape[1]
        columns.append(torch.maximum(best, seen[:, -width:].flatten(1) @ weight.t()) if fits else best)
        widest = max(widest, width)
    return seen[:, max(0, seen.shape[1] - widest + 1) :], torch.cat(columns, 1)
