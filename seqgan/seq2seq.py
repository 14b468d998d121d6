"""Endings to what is given: an encoder-decoder speaks, and is paid for endings that fit.

Li, Ding & Liu 2018, "Generating Reasonable and Diversified Story Ending Using Sequence to Sequence Model with
Adversarial Training" (COLING). A row is [prompt | ending].
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.estimators import reinforce
from rl.objectives import Objective
from rl.policies import categorical_log_prob
from rl.rollout import Rollout
from rl.runtime import Engine, InputError
from seqgan.adversarial import Baseline
from seqgan.attention import EncoderDecoder
from seqgan.corpus import Corpus
from seqgan.generators import State, fork_rows, shifted
from seqgan.likelihood import counted, mle_loss
from seqgan.numbers import Numbers
from seqgan.players import Duo, Metrics, PolicyPlayers, RewardOf
from seqgan.sampling import speak


class Seq2SeqGenerator(nn.Module):
    """Encodes the prompt, then says the ending with attention to it; stepwise as every generator.

    The first `prompt` columns of a row are read by the encoder, after the start token. The decoder begins in its last
    state, with the start token again. How much was read is how long the memory is: no counter stands in the state.
    What prompts are padded with on the left is read like any word.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        prompt: int,
        embedding: int = 32,
        hidden: int = 32,
        layers: int = 1,
        dropout: float = 0.0,
        start: int = 0,
        end: int = -1,
    ) -> None:
        super().__init__()
        self.start, self.end, self.prompt = start, end, prompt
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.net = EncoderDecoder(embedding, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        for weight in (self.embedding.weight, self.head.weight, self.head.bias):
            nn.init.normal_(weight, std=0.1)

    def init(self, rows: int) -> State:
        """Return the state before anything was read: (h, c) [rows, layers, hidden], a memory [rows, 0, hidden]."""
        return *self.net.start(rows), self.head.weight.new_zeros(rows, 0, self.head.in_features)

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next, zeros as long as the next is given."""
        h, c, memory = state
        embedded = self.dropout(self.embedding(tokens[:, None]))
        if memory.shape[1] <= self.prompt:
            fresh, (h, c) = self.net.encode(embedded, (h, c))
            memory = torch.cat([memory.to(fresh), fresh], 1)
            if memory.shape[1] <= self.prompt:
                return torch.zeros_like(fresh[:, 0]), (h, c, memory)
            embedded = self.dropout(self.embedding(torch.full_like(tokens, self.start)[:, None]))
        features, after = self.net.decode(embedded, (h, c), memory)
        return self.dropout(features[:, 0]), (*after, memory)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        """Return the features that predict each token of the ending, teacher forced; zeros for the prompt."""
        prompts, endings = tokens[:, : self.prompt], tokens[:, self.prompt :]
        read = self.dropout(self.embedding(F.pad(prompts, (1, 0), value=self.start)))
        memory, state = self.net.encode(read, self.net.start(len(tokens)))
        features, _ = self.net.decode(self.dropout(self.embedding(shifted(endings, self.start))), state, memory)
        return F.pad(self.dropout(features), (0, 0, self.prompt, 0))


def speaker_of_endings(n: Numbers, corpus: Corpus) -> Seq2SeqGenerator:
    """Return the generator that a run's numbers ask for."""
    return Seq2SeqGenerator(
        len(corpus.vocabulary.words), prompt=corpus.prompt,
        embedding=n.embedding, hidden=n.hidden, layers=n.layers, dropout=n.dropout, end=corpus.end,
    )  # fmt: skip


class Seq2SeqPlayers(PolicyPlayers):
    """A speaker of endings; the discriminator judges the whole row, so that an ending is judged with its prompt.

    Beside its reward the generator climbs the likelihood of real endings, `teacher_weight` nats per token: without
    it only what the generator says by itself is ever paid (Li et al. 2017, 1701.06547, section 3.2).
    """

    def __init__(
        self, n: Numbers, corpus: Corpus, engine: Engine, *, objective: Objective, reward: RewardOf, baseline: Baseline
    ) -> None:
        if not corpus.prompt:
            raise InputError("seq2seq: speaks endings of prompts: --prompt, or a corpus of prompts and endings")
        super().__init__(
            n, corpus, engine, objective=objective, reward=reward, baseline=baseline, speaks=speaker_of_endings
        )

    begin = Duo.begin  # no distance to the start is climbed, so nothing is sharpened

    def improve(self, progress: float) -> Metrics:
        """Say endings, be paid, and make one step along the policy gradient and the likelihood of real endings."""
        n, net = self.n, self.generator.eval()
        given = self.given(n.batch // self.engine.world)
        lesson = self.some_real(len(given))
        with self.engine.autocast():
            tokens = speak(net, *given.shape, given=given)
            rollout = Rollout.of(tokens, counted(tokens, net.end, net.prompt)).relabel(self.goal.reward)
            chosen = categorical_log_prob(net.head(net.features(tokens)), tokens)
            taught = mle_loss(net, lesson)
        loss = (
            reinforce(chosen, self.goal.baseline(rollout.rewards, rollout.mask), rollout.mask)
            + n.teacher_weight * taught
        )
        norm = self.engine.update(self.g_optimizer, loss, name="g/loss", clip=n.g_clip)
        return {
            "g/reward": rollout.rewards[rollout.mask].mean(),
            "g/length": rollout.mask.float().sum(1).mean(),
            "g/nll": taught.detach(),
            "g/loss": loss.detach(),
            "g/grad_norm": norm,
        }
