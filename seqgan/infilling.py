"""Filling in: the net that fills what is missing from sentences, and the one that judges every place."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.policies import categorical_log_prob
from seqgan.attention import EncoderDecoder
from seqgan.generators import State, fork_rows, shifted
from seqgan.likelihood import counted, mean_nll
from seqgan.masks import Filled, blanked
from seqgan.sampling import BLANK, SPEAKERS, speak


class InfillingGenerator(nn.Module):
    """Reads a sentence with blanks, then says it from the left; Fedus et al. 2018 (1801.07736), section 2.2.

    `given(context)` is the policy for sentences whose blanks are to be filled. The net itself is the policy of a
    context of `length` blanks: it speaks freely. The symbol of a blank is one more row of the embedding.
    """

    prompt = 0

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        embedding: int = 32,
        hidden: int = 32,
        layers: int = 1,
        dropout: float = 0.0,
        start: int = 0,
        end: int = -1,
    ) -> None:
        super().__init__()
        self.length, self.start, self.end = length, start, end
        self.embedding = nn.Embedding(vocabulary + 1, embedding)
        self.net = EncoderDecoder(embedding, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        for weight in (self.embedding.weight, self.head.weight, self.head.bias):
            nn.init.normal_(weight, std=0.1)

    def given(self, context: Int[Tensor, "rows time"]) -> "Given":
        """Return the policy that has read `context`, its blanks BLANK."""
        return Given(self, context)

    def read(self, context: Int[Tensor, "rows time"]) -> State:
        """Return the state before the first token: (h, c) [rows, layers, hidden], the memory [rows, time, hidden]."""
        symbols = context.masked_fill(context == BLANK, self.head.out_features)
        memory, state = self.net.encode(self.dropout(self.embedding(symbols)), self.net.start(len(context)))
        return *state, memory

    def init(self, rows: int) -> State:
        """Return the state before the first token of sentences of which nothing is given."""
        return tuple(part.expand(rows, *part.shape[1:]) for part in self.read(self.nothing()))

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next."""
        h, c, memory = state
        features, after = self.net.decode(self.dropout(self.embedding(tokens[:, None])), (h, c), memory)
        return self.dropout(features[:, 0]), (*after, memory)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "rows time"]) -> Float[Tensor, "rows time hidden"]:
        """Return the features that predict each token of free speech, teacher forced."""
        return self.features_given(self.init(len(tokens)), tokens)

    def features_given(self, state: State, tokens: Int[Tensor, "rows time"]) -> Float[Tensor, "rows time hidden"]:
        """Return the features that predict each token from a state before the first, teacher forced."""
        h, c, memory = state
        features, _ = self.net.decode(self.dropout(self.embedding(shifted(tokens, self.start))), (h, c), memory)
        return self.dropout(features)

    def nothing(self) -> Int[Tensor, "1 length"]:
        """Return a context of blanks alone."""
        return torch.full((1, self.length), BLANK, device=self.head.weight.device)


class Given:
    """A generator that has read what is given; a SequencePolicy for exactly these rows."""

    def __init__(self, generator: InfillingGenerator, context: Int[Tensor, "rows time"]) -> None:
        self.generator, self.context, self.head = generator, context, generator.head
        self.start, self.end, self.prompt = generator.start, generator.end, 0

    def init(self, rows: int) -> State:
        """Return the state before the first token; raise ValueError for another number of rows than was given."""
        if rows != len(self.context):
            raise ValueError(f"Given: a context of {len(self.context)} rows cannot start {rows}")
        return self.generator.read(self.context)

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next."""
        return self.generator.step(state, tokens)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return self.generator.fork(state, rows)

    def features(self, tokens: Int[Tensor, "rows time"]) -> Float[Tensor, "rows time hidden"]:
        """Return the features that predict each token, teacher forced."""
        return self.generator.features_given(self.init(len(tokens)), tokens)


class InfillingDiscriminator(nn.Module):
    """Gives every place a logit: is this the real token, knowing what was given? Fedus et al. 2018, section 2.2.

    The form is the generator's: the masked sentence is read first, so that a place can be judged against what was
    given, then the filled one. The logit of a place has seen the filled sentence up to and including that place.
    """

    def __init__(
        self, vocabulary: int, *, embedding: int = 64, hidden: int = 64, layers: int = 1, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.blank = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, embedding)
        self.net = EncoderDecoder(embedding, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def states(self, filled: Filled) -> Float[Tensor, "rows time_and_one hidden"]:
        """Return what is known before each place, and last what is known after all of them."""
        context = self.embedding(filled.tokens.masked_fill(filled.missing, self.blank))
        memory, state = self.net.encode(self.dropout(context), self.net.start(len(context)))
        read = F.pad(filled.tokens, (1, 0), value=self.blank)
        states, _ = self.net.decode(self.dropout(self.embedding(read)), state, memory)
        return self.dropout(states)

    def forward(self, filled: Filled) -> Float[Tensor, "rows time"]:
        """Return one logit a place."""
        return self.judge(self.states(filled))

    def judge(self, states: Float[Tensor, "rows time_and_one hidden"]) -> Float[Tensor, "rows time"]:
        """Return the logits of all places from `states`."""
        logits: Tensor = self.output(states[:, 1:])[..., 0]
        return logits


def filling_log_probs(generator: InfillingGenerator, filled: Filled) -> Float[Tensor, "rows time"]:
    """Return the log-probability of each missing token that was said, given the rest; zero at all other places."""
    asked = filled.missing & counted(filled.tokens, generator.end)
    features = generator.given(blanked(filled)).features(filled.tokens)[asked]  # what was given costs no logits
    chosen = categorical_log_prob(generator.head(features), filled.tokens[asked])
    return torch.zeros(asked.shape, device=chosen.device).masked_scatter(asked, chosen)


def filling_nll(generator: InfillingGenerator, filled: Filled) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of the missing tokens that were said, given the rest; nats per token."""
    asked = filled.missing & counted(filled.tokens, generator.end)
    features = generator.given(blanked(filled)).features(filled.tokens)[asked]
    return mean_nll(generator.head, features, filled.tokens[asked])


@torch.no_grad()
def fill(
    generator: InfillingGenerator, context: Int[Tensor, "rows time"], *, words_only: bool = False
) -> Int[Tensor, "rows time"]:
    """Return sentences with the blanks filled by the generator, in the mode it is in; what was given stays.

    `words_only` bars the end token, so that each blank becomes a word.
    """
    parts = []
    for part in context.split(SPEAKERS):
        policy = generator.given(part)
        if words_only and generator.end >= 0:
            policy.head = without(generator.head, generator.end)
        parts.append(speak(policy, len(part), part.shape[1], given=part))
    return torch.cat(parts)


def without(head: nn.Linear, token: int) -> nn.Linear:
    """Return a copy of the head under which the token has probability zero."""
    head = copy.deepcopy(head)
    with torch.no_grad():
        head.bias[token] = -torch.inf
    return head
