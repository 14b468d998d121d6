"""SeqGAN written the plain way: the loops, samplers and layers of public PyTorch ports; what we are measured against.

For every rollout and every prefix length the prefix is read again token by token, the rest is drawn with softmax and
`torch.multinomial`, and the discriminator (conv2d, max_pool1d, highway, log-softmax) judges one batch at a time in
training mode. Autograd is on throughout. The networks are ours in size, so weights can be taken over.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import LSTMGenerator


class NaiveGenerator(nn.Module):
    """An LSTM language model with the weights of ours."""

    def __init__(self, ours: LSTMGenerator) -> None:
        super().__init__()
        vocabulary, embedding = ours.embedding.weight.shape
        self.start, self.hidden = ours.start, ours.lstm.hidden_size
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, self.hidden, batch_first=True)
        self.head = nn.Linear(self.hidden, vocabulary)
        self.load_state_dict(ours.state_dict())

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Return log-probabilities of the token after each of `tokens`."""
        outputs, _ = self.lstm(self.embedding(tokens))
        return F.log_softmax(self.head(outputs), dim=-1)

    def step(
        self, token: Int[Tensor, "batch 1"], h: Tensor, c: Tensor
    ) -> tuple[Float[Tensor, "batch vocabulary"], Tensor, Tensor]:
        """Read one token; return the probabilities of the next and the state."""
        output, (h, c) = self.lstm(self.embedding(token), (h, c))
        return F.softmax(self.head(output[:, 0]), dim=-1), h, c

    def sample(
        self, batch: int, length: int, prefix: Int[Tensor, "batch given"] | None = None
    ) -> Int[Tensor, "batch length"]:
        """Draw sentences, token by token, after reading the prefix token by token."""
        weight = self.head.weight
        h, c = weight.new_zeros(1, batch, self.hidden), weight.new_zeros(1, batch, self.hidden)
        token = torch.full((batch, 1), self.start, device=weight.device)
        given = 0 if prefix is None else prefix.shape[1]
        said = []
        for time in range(length):
            probabilities, h, c = self.step(token, h, c)
            token = prefix[:, time : time + 1] if prefix is not None and time < given else probabilities.multinomial(1)
            said.append(token)
        return torch.cat(said, dim=1)


class NaiveDiscriminator(nn.Module):
    """The paper's CNN with the weights of ours; a two-way log-softmax, class 1 = real."""

    def __init__(self, ours: ConvDiscriminator) -> None:
        super().__init__()
        vocabulary, embedding = ours.embedding.weight.shape
        shapes = [(width, len(weight)) for width, weight in ours.filters()]
        size = sum(count for _, count in shapes)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.convs = nn.ModuleList(nn.Conv2d(1, count, (width, embedding)) for width, count in shapes)
        self.highway = nn.Linear(size, size)
        self.gate = self.highway if ours.gate is ours.transform else nn.Linear(size, size)
        self.dropout = nn.Dropout(ours.dropout.p)
        self.output = nn.Linear(size, 2)
        self.take(ours, shapes)

    @torch.no_grad()
    def take(self, ours: ConvDiscriminator, shapes: list[tuple[int, int]]) -> None:
        """Copy weights; the one logit becomes half of it for and half of it against."""
        self.embedding.load_state_dict(ours.embedding.state_dict())
        biases = ours.bias.split([count for _, count in shapes])
        for conv, bias, (width, weight) in zip(self.convs, biases, ours.filters(), strict=True):
            conv.load_state_dict({"weight": weight.view(len(weight), 1, width, -1), "bias": bias})
        self.highway.load_state_dict(ours.transform.state_dict())
        self.gate.load_state_dict(ours.gate.state_dict())
        self.output.weight.copy_(torch.cat([-ours.output.weight, ours.output.weight]) / 2)
        self.output.bias.copy_(torch.cat([-ours.output.bias, ours.output.bias]) / 2)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch 2"]:
        """Return log-probabilities of fake and real."""
        embedded = self.embedding(tokens).unsqueeze(1)
        convolved = [F.relu(conv(embedded)).squeeze(3) for conv in self.convs]
        x = torch.cat([F.max_pool1d(part, part.shape[2]).squeeze(2) for part in convolved], dim=1)
        highway = self.highway(x)
        gate = torch.sigmoid(highway if self.gate is self.highway else self.gate(x))
        x = gate * F.relu(highway) + (1 - gate) * x
        return F.log_softmax(self.output(self.dropout(x)), dim=1)


def shifted(tokens: Int[Tensor, "batch time"], start: int) -> Int[Tensor, "batch time"]:
    """Return what the generator reads to say `tokens`."""
    return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], dim=1)


def rollout_rewards(
    generator: NaiveGenerator, discriminator: NaiveDiscriminator, tokens: Int[Tensor, "batch time"], rollouts: int
) -> Float[Tensor, "batch time"]:
    """Return the mean probability of being real over completions of each prefix; whole sentences are judged N times."""
    batch, length = tokens.shape
    rewards = torch.zeros(batch, length, device=tokens.device)
    for _ in range(rollouts):
        for given in range(1, length):
            completed = generator.sample(batch, length, tokens[:, :given])
            rewards[:, given - 1] += discriminator(completed)[:, 1].detach().exp()
        rewards[:, length - 1] += discriminator(tokens)[:, 1].detach().exp()
    return rewards / rollouts


def generator_step(
    generator: NaiveGenerator,
    discriminator: NaiveDiscriminator,
    optimizer: torch.optim.Optimizer,
    *,
    batch: int,
    length: int,
    rollouts: int,
) -> None:
    """Make one policy-gradient step."""
    tokens = generator.sample(batch, length)
    rewards = rollout_rewards(generator, discriminator, tokens, rollouts)
    log_probs = generator(shifted(tokens, generator.start)).gather(2, tokens.unsqueeze(2)).squeeze(2)
    loss = -(log_probs * rewards).sum() / batch
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def mle_step(generator: NaiveGenerator, tokens: Int[Tensor, "batch time"], optimizer: torch.optim.Optimizer) -> None:
    """Make one step of maximum likelihood."""
    log_probs = generator(shifted(tokens, generator.start))
    loss = F.nll_loss(log_probs.flatten(0, 1), tokens.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def discriminator_step(
    discriminator: NaiveDiscriminator,
    tokens: Int[Tensor, "batch time"],
    labels: Int[Tensor, "batch"],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Make one step towards telling real (label 1) from fake (0)."""
    loss = F.nll_loss(discriminator(tokens), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def sample_many(generator: NaiveGenerator, sentences: int, length: int, batch: int) -> Int[Tensor, "sentences length"]:
    """Draw many sentences, batch by batch."""
    parts = [generator.sample(batch, length) for _ in range(-(-sentences // batch))]
    return torch.cat(parts)[:sentences]
