"""Every chi-squared comparison here raises a false alarm with probability 1e-6; the seeds are fixed."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from rl.objectives import AIRL
from rl.rewards import MonteCarlo
from rl.rollout import Rollout
from seqgan import sampling
from seqgan.generators import Generator, LSTMGenerator, TransformerGenerator
from seqgan.likelihood import action_log_probs, counted, token_log_probs
from seqgan.sampling import BLANK, Sampler, complete, speak

ALARM = 1e-6


def chi_squared(counts: Tensor, probabilities: Tensor) -> float:
    """P-value of the counts; cells of less than five expected are pooled, an impossible cell must be empty."""
    counts, probabilities = counts.double().flatten(), probabilities.double().flatten()
    assert not counts[probabilities == 0].any(), "an impossible outcome was drawn"
    expected = counts.sum() * probabilities / probabilities.sum()
    rare = expected < 5
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    kept = expected > 0
    statistic = ((counts - expected).square() / expected)[kept].sum()
    freedom = torch.tensor((int(kept.sum()) - 1) / 2, dtype=torch.float64)
    return torch.special.gammaincc(freedom, statistic / 2).item() if freedom > 0 else 1.0


def head_of(vocabulary: int, hidden: int = 3, spread: float = 1.5) -> nn.Linear:
    head = nn.Linear(hidden, vocabulary)
    nn.init.normal_(head.weight, std=spread)
    nn.init.normal_(head.bias, std=spread)
    return head


# ---------------------------------------------------------------------------------------------- one token


@pytest.mark.parametrize("vocabulary", [2, 3, 101, 4999, 5000])
@pytest.mark.parametrize("draws", [1, 20_000])
def test_draws_follow_the_softmax(vocabulary: int, draws: int) -> None:
    torch.manual_seed(vocabulary + draws)
    head, rows = head_of(vocabulary), torch.randn(2, 3)
    repeats = 1 if draws > 1 else 20_000
    drawn = Sampler(head)(rows.repeat_interleave(repeats, 0), draws)
    assert drawn.shape == (2 * repeats, draws)
    assert drawn.dtype == torch.long
    for row, mine in zip(rows, drawn.view(2, -1), strict=True):
        p = head(row).softmax(-1).detach()
        assert chi_squared(mine.bincount(minlength=vocabulary), p) > ALARM


def test_a_vocabulary_of_one() -> None:
    assert Sampler(head_of(1))(torch.randn(5, 3), 4).eq(0).all()


def test_inverse_temperature_sharpens() -> None:
    torch.manual_seed(1)
    head, row = head_of(101), torch.randn(1, 3)
    for factor in (0.3, 2.5):
        drawn = Sampler(head, inverse_temperature=factor)(row, 40_000)
        assert chi_squared(drawn.flatten().bincount(minlength=101), (factor * head(row)).softmax(-1).detach()) > ALARM


def test_impossible_tokens_are_never_drawn() -> None:
    torch.manual_seed(2)
    head = head_of(101)  # blocks of 11: the first, the last, and holes elsewhere are impossible
    holes = torch.zeros(101, dtype=torch.bool)
    holes[:11] = holes[88:] = holes[20:24] = holes[54] = holes[33] = True
    head.bias.data[holes] = -torch.inf
    drawn = Sampler(head)(torch.randn(50, 3), 2000)
    assert not holes[drawn].any()


def test_draws_of_a_row_and_of_its_neighbour_are_independent() -> None:
    torch.manual_seed(3)
    head, row = head_of(4), torch.randn(1, 3)
    p = head(row)[0].softmax(-1).detach()
    joint = p[:, None] * p
    drawn = Sampler(head)(row.expand(20_000, 3), 2)
    same_row = (drawn[:, 0] * 4 + drawn[:, 1]).bincount(minlength=16)
    neighbours = (drawn[:-1:2, 0] * 4 + drawn[1::2, 0]).bincount(minlength=16)
    assert chi_squared(same_row, joint) > ALARM
    assert chi_squared(neighbours, joint) > ALARM


def test_every_row_is_drawn_from_its_own_features_across_chunks() -> None:
    head = nn.Linear(300, 300, bias=True)
    with torch.no_grad():
        head.weight.copy_(1000 * torch.eye(300))
        head.bias.zero_()
    sampler, wanted = Sampler(head), torch.randperm(300)
    for rows in (300, 7, 129, 0):  # buffers that are longer than the rows are reused
        drawn = sampler(torch.eye(300)[wanted[:rows]], 3)
        assert drawn.equal(wanted[:rows, None].expand(rows, 3))


def test_features_of_another_dtype_are_projected_in_it() -> None:
    torch.manual_seed(4)
    head, row = head_of(50), torch.randn(1, 3)
    sampler = Sampler(head)
    for dtype in (torch.bfloat16, torch.float32):
        drawn = sampler(row.to(dtype), 40_000).flatten()
        # bfloat16 has 8 bits: its softmax is what is sampled, not float32's
        logits = nn.functional.linear(*(part.to(dtype) for part in (row, head.weight, head.bias)))
        assert chi_squared(drawn.bincount(minlength=50), logits.float().softmax(-1).detach()) > ALARM


@pytest.mark.parametrize("call", [0, 1], ids=["tail in other blocks", "tail in the same block"])
def test_the_tail_beside_a_token_of_nearly_all_mass(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look only at uniforms from the far end of [0, 1), where the tail is: its tokens appear in proportion."""
    torch.manual_seed(5)
    vocabulary, tail = 4999, 1e-7
    p = torch.rand(vocabulary, dtype=torch.float64) + 0.5
    p[0] = 0
    p *= tail / p.sum()
    p[0] = 1 - tail
    head = nn.Linear(1, vocabulary)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(p.log())
    sampler = Sampler(head)
    p = head.bias.detach().double().softmax(-1)
    near = sampler.block  # tokens of the block of token 0
    seen = p[near:].sum() if call == 0 else p[1:near].sum()
    real, calls = torch.rand, itertools.count()

    def rand(*shape: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
        u = real(*shape, dtype=torch.float64)
        return (1 - 0.9 * seen * u if next(calls) == call else u).to(dtype).to(device)

    monkeypatch.setattr(torch, "rand", rand)
    drawn = sampler(torch.zeros(1, 1), 60_000).flatten()
    if call == 0:
        places, drawn = p[near:], drawn - near
    else:  # nearly all draws take the block of token 0
        places, drawn = p[1:near], drawn[drawn < near] - 1
    assert (drawn >= 0).all()
    # the far 90 % of the tail's mass: the tokens that this cuts off whole do not appear, one is cut in two
    upto = places.flip(0).cumsum(0).flip(0)
    visible = (0.9 * seen - (upto - places)).clamp(min=0).minimum(places)
    counts = drawn.bincount(minlength=len(places)).double()
    edge = int(visible.nonzero()[0]) + (sampler.block if call == 0 else 1)  # leave out the block or token that was cut
    assert chi_squared(counts[edge:], visible[edge:]) > ALARM


# ---------------------------------------------------------------------------------------------- sentences


def tiny(kind: str, vocabulary: int, length: int, end: int) -> Generator:
    torch.manual_seed(11)
    if kind == "transformer":
        return TransformerGenerator(vocabulary, length=length, width=8, heads=2, end=end).eval()
    layers = 2 if kind == "lstm2" else 1
    return LSTMGenerator(vocabulary, embedding=4, hidden=5, layers=layers, end=end, deviation=1.2).eval()


def all_sentences(vocabulary: int, length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length)))


@torch.no_grad()
def truth(policy: Generator, sentences: Tensor) -> Tensor:
    """Probability of each sentence by teacher forcing; none for one that goes on after its end."""
    said = counted(sentences, policy.end)
    p = (token_log_probs(policy, sentences).double() * said).sum(1).exp()
    return p * (said | (sentences == policy.end)).all(1)


def numbered(sentences: Tensor, vocabulary: int) -> Tensor:
    """The row of a sentence in `all_sentences`."""
    return (sentences * vocabulary ** torch.arange(sentences.shape[-1] - 1, -1, -1)).sum(-1)


KINDS = [(kind, end) for kind in ("lstm", "lstm2", "transformer") for end in (-1, 0)]


@pytest.mark.parametrize(("kind", "end"), KINDS)
def test_speaking_follows_the_exact_distribution(kind: str, end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SPEAKERS", 7000)  # groups of unequal size
    policy, sentences = tiny(kind, 3, 4, end), all_sentences(3, 4)
    p = truth(policy, sentences)
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    torch.manual_seed(12)
    said = speak(policy, 20_000, 4)
    assert said.shape == (20_000, 4)
    assert chi_squared(numbered(said, 3).bincount(minlength=81), p) > ALARM


def test_speaking_at_a_temperature() -> None:
    policy, sentences = tiny("lstm", 3, 3, -1), all_sentences(3, 3)
    torch.manual_seed(13)
    said = speak(policy, 20_000, 3, inverse_temperature=2.0)
    with torch.no_grad():
        policy.head.weight.mul_(2)
        policy.head.bias.mul_(2)
    assert chi_squared(numbered(said, 3).bincount(minlength=27), truth(policy, sentences)) > ALARM


def test_a_start_token_that_is_also_the_end_does_not_end_a_sentence() -> None:
    policy = tiny("lstm", 3, 6, end=0)
    assert policy.start == policy.end
    assert (speak(policy, 200, 6)[:, 0] != 0).any()


def test_what_fills_up_a_prompt_ends_nothing() -> None:
    """After a prompt of end tokens alone the first word is as the policy says; an end that was said ends."""
    policy, rows = tiny("lstm", 3, 4, end=0), 20_000
    given = torch.tensor([[0, 0, BLANK, BLANK]]).repeat(rows, 1)
    with torch.no_grad():
        expected = action_log_probs(policy, torch.zeros(1, 4, dtype=torch.long))[0, 2].double().exp()
    torch.manual_seed(14)
    said = speak(policy, rows, 4, given=given)
    assert said[:, :2].eq(0).all()
    assert chi_squared(said[:, 2].bincount(minlength=3), expected) > ALARM
    assert said[said[:, 2] == 0, 3].eq(0).all()
    assert (said[said[:, 2] != 0, 3] != 0).any()


# ---------------------------------------------------------------------------------------------- the sweep


def check_completions(policy: Generator, tokens: Tensor, completions: Tensor, vocabulary: int) -> None:
    """Each prefix's completions against the exact conditional probabilities; the prefix itself is kept."""
    length = tokens.shape[1]
    everything = all_sentences(vocabulary, length)
    p = truth(policy, everything)
    assert completions.shape[0] == length - 1
    for prefix, of_prefix in enumerate(completions):
        for sentence, mine in zip(tokens, of_prefix, strict=True):
            kept = sentence[: prefix + 1]
            assert (mine[:, : prefix + 1] == kept).all()
            possible = p * (everything[:, : prefix + 1] == kept).all(1)
            counts = numbered(mine, vocabulary).bincount(minlength=len(everything))
            assert chi_squared(counts, possible) > ALARM, (prefix, sentence)


@pytest.mark.parametrize(("kind", "end"), KINDS)
def test_completions_follow_the_exact_conditional_distribution(kind: str, end: int) -> None:
    policy = tiny(kind, 3, 4, end)
    # with an end token, the last two have ended inside; all of them are sentences that can be said
    tokens = torch.tensor([[1, 2, 1, 2], [2, 1, 0, 0], [1, 0, 0, 0]])
    torch.manual_seed(14)
    check_completions(policy, tokens, complete(policy, tokens, 8000), 3)


def test_groups_change_nothing_in_distribution() -> None:
    policy, tokens = tiny("lstm", 3, 4, 0), torch.tensor([[1, 2, 1, 2], [2, 1, 0, 0], [1, 0, 0, 0]])
    torch.manual_seed(15)
    check_completions(policy, tokens, complete(policy, tokens, 5000, max_rows=30_000), 3)  # groups of two and one


def reroll(policy: Generator, tokens: Tensor, samples: int) -> Tensor:
    """The plain way: for every prefix read it from the start, and go on token by token, each from the whole softmax."""
    batch, length = tokens.shape
    result = torch.empty(length - 1, batch, samples, length, dtype=torch.long)
    with torch.no_grad():
        for prefix in range(length - 1):
            for row in range(batch):
                said = tokens[row : row + 1, : prefix + 1].repeat(samples, 1)
                while said.shape[1] < length:
                    features = policy.features(torch.cat([said, said[:, :1]], 1))[:, -1]
                    drawn = policy.head(features).softmax(-1).multinomial(1)
                    drawn[said[:, -1:] == policy.end] = policy.end
                    said = torch.cat([said, drawn], 1)
                result[prefix, row] = said
    return result


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_the_sweep_equals_plain_rerolling(kind: str) -> None:
    """Two-sample chi-squared, per prefix and sentence."""
    policy = tiny(kind, 4, 4, 0)
    torch.manual_seed(16)
    tokens = speak(policy, 2, 4)
    swept, plain = (numbered(done, 4) for done in (complete(policy, tokens, 6000), reroll(policy, tokens, 6000)))
    for prefix, row in itertools.product(range(3), range(2)):
        a, b = (done[prefix, row].bincount(minlength=256).double() for done in (swept, plain))
        frequent = a + b >= 10
        assert frequent.any()
        statistic = ((a - b).square() / (a + b))[frequent].sum()
        p = torch.special.gammaincc(frequent.sum().double() / 2, statistic / 2).item()
        assert p > ALARM, (prefix, row)


class Named:
    """A policy that knows who each row is: (prefix, sentence, sample), -1 for prefix and sample of a sentence itself.

    What a row says next is a fixed function of its name and the time, so that any shuffled row shows. Its state also
    carries all that the row has read.
    """

    start, end = 6, -1

    def __init__(self, vocabulary: int = 7) -> None:
        self.head = nn.Linear(vocabulary, vocabulary)
        with torch.no_grad():
            self.head.weight.copy_(1000 * torch.eye(vocabulary))
            self.head.bias.zero_()
        self.names: list[Tensor] = []
        self.read: list[Tensor] = []
        self.forks = 0

    def says(self, names: Tensor, time: int) -> Tensor:
        """What a row of this name says at this time."""
        prefix, sentence, sample = names.unbind(-1)
        return (3 * prefix + 5 * sentence + 2 * sample + 4 * time + prefix * sample + sentence * time) % 7

    def init(self, rows: int) -> tuple[Tensor, ...]:
        absent = torch.full((rows,), -1)
        self.forks = 0
        return torch.stack([absent, torch.arange(rows), absent], 1), torch.empty(rows, 0, dtype=torch.long)

    def step(self, state: tuple[Tensor, ...], tokens: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        names, read = state[0], torch.cat([state[1], tokens[:, None]], 1)
        self.names.append(names)
        self.read.append(read)
        time = read.shape[1] - 1  # the place that is predicted
        return nn.functional.one_hot(self.says(names, time), 7).float(), (names, read)

    def fork(self, state: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
        names, read = state
        assert (names[rows, 0] == -1).all(), "only sentences are forked"
        fresh, seen = names[rows].clone(), dict.fromkeys(range(len(names)), 0)
        for name in fresh:
            name[0], name[2] = self.forks, seen[int(name[1])]
            seen[int(name[1])] += 1
        self.forks += 1
        return torch.cat([names, fresh]), torch.cat([read, read[rows]])

    def features(self, tokens: Tensor) -> Tensor:
        raise AssertionError("nothing is read by teacher forcing")


@pytest.mark.parametrize("shape", [(3, 5, 2), (1, 4, 3), (2, 6, 1), (4, 2, 3), (1, 2, 1), (1, 3, 1)])
def test_every_row_of_the_sweep_is_who_it_should_be(shape: tuple[int, int, int]) -> None:
    batch, length, samples = shape
    policy, tokens = Named(), torch.randint(7, (batch, length))
    completions = complete(policy, tokens, samples)
    assert completions.shape == (length - 1, batch, samples, length)
    for prefix, sentence, sample in itertools.product(range(length - 1), range(batch), range(samples)):
        row = completions[prefix, sentence, sample]
        assert row[: prefix + 1].equal(tokens[sentence, : prefix + 1])
        itself, rollout = torch.tensor([-1, sentence, -1]), torch.tensor([prefix, sentence, sample])
        assert row[prefix + 1] == policy.says(itself, prefix + 1), "the first token comes from the sentence's own state"
        for time in range(prefix + 2, length):
            assert row[time] == policy.says(rollout, time), (prefix, sentence, sample, time)

    # one step a place; every row stood once at each, read what its completion says, and no prefix twice
    assert len(policy.names) == length
    for time, (names, read) in enumerate(zip(policy.names, policy.read, strict=True)):
        rollouts = max(time - 1, 0) * batch * samples
        assert len(names) == batch + rollouts
        assert len(set(map(tuple, names.tolist()))) == len(names)
        for name, said in zip(names.tolist(), read, strict=True):
            prefix, sentence, sample = name
            whole = tokens[sentence] if prefix < 0 else completions[prefix, sentence, sample]
            assert prefix < max(time - 1, 0)
            assert said.tolist() == [policy.start, *whole[:time].tolist()]


class ByContent(Named):
    """What a row says next depends on what it has read, not on its place in a group; counts the rows."""

    def step(self, state: tuple[Tensor, ...], tokens: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        _, state = super().step(state, tokens)
        code = (state[1] * torch.tensor([3, 5, 2, 4, 6])[: state[1].shape[1]]).sum(1) % 7
        return nn.functional.one_hot(code, 7).float(), state


@pytest.mark.parametrize("max_rows", [1, 8, 9, 16, 25, 1000])
def test_groups_keep_the_layout_and_bound_the_rows(max_rows: int) -> None:
    tokens = torch.randint(7, (5, 5))
    policy = ByContent()
    together, grouped = complete(ByContent(), tokens, 2), complete(policy, tokens, 2, max_rows=max_rows)
    assert grouped.equal(together)
    rollouts = max(int((names[:, 0] >= 0).sum()) for names in policy.names)
    assert rollouts <= max(max_rows, 8)  # one sentence has eight rollouts, and stands whole


def test_sentences_of_one_token_have_nothing_to_complete() -> None:
    policy = Named()
    assert complete(policy, torch.tensor([[3], [4]]), 5).shape == (0, 2, 5, 1)
    assert not policy.names


def test_a_completion_keeps_its_end() -> None:
    policy = tiny("lstm", 3, 7, end=0)
    tokens = speak(policy, 30, 7)
    completions = complete(policy, tokens, 4)
    ended = (completions == 0).cummax(-1).values
    assert ((completions == 0) == ended).all()
    assert (completions[:-1] == 0).any()


def test_sweeping_leaves_the_sentences_and_makes_no_graph() -> None:
    policy = tiny("lstm", 3, 5, -1)
    tokens = torch.randint(3, (4, 5))
    before = tokens.clone()
    completions = complete(policy, tokens, 2)
    assert tokens.equal(before)
    completions.zero_()
    assert tokens.equal(before)  # no shared memory either


# ---------------------------------------------------------------------------------------------- rewards end to end


@pytest.mark.parametrize(("kind", "end"), KINDS)
def test_rollout_rewards_are_the_expected_worth_of_each_prefix(kind: str, end: int) -> None:
    """Six standard errors a number: false alarms below 1e-7."""
    policy, everything = tiny(kind, 3, 4, end), all_sentences(3, 4)
    p, samples = truth(policy, everything), 4000

    def worth(sentences: Tensor) -> Tensor:
        return (sentences * torch.tensor([0.3, -1.0, 0.7, 0.4])).sum(-1) + (sentences[..., 1] == sentences[..., 3])

    def judge(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        return worth(tokens), worth(completions)

    tokens = torch.tensor([[1, 2, 1, 2], [2, 1, 0, 0], [1, 0, 0, 0]])
    rollout = Rollout.of(tokens, counted(tokens, end))
    torch.manual_seed(17)
    rewards = MonteCarlo(lambda t, n: complete(policy, t, n), judge, AIRL(), samples)(rollout)
    for row, time in itertools.product(range(3), range(4)):
        match = p * (everything[:, : time + 1] == tokens[row, : time + 1]).all(1)
        mean = (match * worth(everything)).sum() / match.sum()
        variance = (match * (worth(everything) - mean).square()).sum() / match.sum()
        if not rollout.mask[row, time]:
            assert rewards[row, time] == 0
        else:
            tolerance = 6 * math.sqrt(variance / samples) + 1e-5
            assert rewards[row, time].item() == pytest.approx(mean.item(), abs=tolerance)


def test_rollout_rewards_of_one_token() -> None:
    tokens = torch.tensor([[1], [2]])
    reward = MonteCarlo(
        lambda t, n: complete(tiny("lstm", 3, 1, -1), t, n),
        lambda t, c: (t[:, 0].float(), c.sum(-1).float()),
        AIRL(),
        4,
    )
    assert reward(Rollout.of(tokens, torch.ones(2, 1, dtype=torch.bool))).tolist() == [[1.0], [2.0]]
