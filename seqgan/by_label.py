"""Several generators as one: the label that a row begins with says which of them speaks the rest."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan.generators import Generator, State, fork_rows

NEVER = -30.0  # logit of a word that is not said: 1e-13 of a likely word's mass, and no infinity in a mean


class ByLabel(nn.Module):
    """A SequencePolicy of rows [label | sentence] made of one generator for each label; they share no weight.

    A member reads the sentence alone: its own start token where the row has the label. The features are the members'
    side by side, [rows, members * (hidden + 1)], all zero but those of the row's own member, with a one for its bias;
    so one matrix is the head of all, and a batch may mix labels. Label i is the token labels[i]. The label itself is
    given, not said: its features are zeros. `prompt` counts the given columns, the label among them.

    A state begins with the tokens that stood before the sentence, [rows, 0] to [rows, 2], then come the members'.
    """

    labels: Tensor

    def __init__(self, members: Sequence[Generator], labels: Sequence[int], *, prompt: int = 1) -> None:
        super().__init__()
        heads = [member.head for member in members]
        hidden, vocabulary = heads[0].in_features, heads[0].out_features
        self.start, self.end, self.prompt = members[0].start, members[0].end, prompt
        self.head = nn.Linear(len(members) * (hidden + 1), vocabulary)
        self.register_buffer("labels", torch.tensor(labels), persistent=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([torch.cat([head.weight, head.bias[:, None]], 1) for head in heads], 1))
            self.head.bias.zero_()
        self.head.bias.requires_grad_(False)  # the members' own biases are columns of the weight
        self.members = nn.ModuleList(members)
        for member in members:
            member.head = self.head

    def kinds(self, labels: Int[Tensor, "rows"]) -> Float[Tensor, "rows members"]:
        """Return a one for the member of each row's label; zeros for a token that is no label."""
        return (labels[:, None] == self.labels).to(self.head.weight.dtype)

    def joined(
        self, features: Sequence[Float[Tensor, "rows *time hidden"]], kinds: Float[Tensor, "rows members"]
    ) -> Float[Tensor, "rows *time joined"]:
        """Return the members' features side by side, those of other kinds than the row's set to zero."""
        extended = torch.stack([F.pad(part, (0, 1), value=1.0) for part in features], -2)
        weights = kinds.to(extended.dtype).view(len(kinds), *[1] * (extended.dim() - 3), -1, 1)
        return (extended * weights).flatten(-2)

    def init(self, rows: int) -> State:
        """Return no tokens read, and the states of the members."""
        read = torch.empty(rows, 0, dtype=torch.long, device=self.labels.device)
        return (read, *(part for member in self.members for part in member.init(rows)))

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows joined"], State]:
        """Read one token a row: the start, the label, then the sentence; return the features that predict the next."""
        read, held = state[0], list(state[1:])
        if read.shape[1] < 2:
            read = torch.cat([read, tokens[:, None]], 1)
            if read.shape[1] == 1:
                zeros = self.head.weight.new_zeros(len(tokens), self.head.in_features)
                return zeros, (read, *held)
            tokens = torch.full_like(tokens, self.start)
        features, after = [], list[Tensor]()
        parts = len(held) // len(self.members)
        for member in self.members:
            feature, later = member.step(tuple(held[len(after) : len(after) + parts]), tokens)
            features.append(feature)
            after += later
        return self.joined(features, self.kinds(read[:, 1])), (read, *after)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time joined"]:
        """Return the features that predict each token, teacher forced; zeros for the label."""
        joined = self.joined([member.features(tokens[:, 1:]) for member in self.members], self.kinds(tokens[:, 0]))
        return F.pad(joined, (0, 0, 1, 0))


@torch.no_grad()
def silence(head: nn.Linear, words: Sequence[int]) -> None:
    """Make words that are read but never said, such as labels, as good as impossible."""
    head.weight[list(words)] = 0
    head.bias[list(words)] = NEVER
