import copy

import pytest
import torch
from torch import Tensor

from seqgan.by_label import NEVER, ByLabel, silence
from seqgan.generators import Generator, build_generator, sharpen
from seqgan.likelihood import action_log_probs, mle_loss, nll, token_log_probs
from seqgan.sampling import complete, speak
from seqgan.speakers import PolicySpeaker

KINDS = ["lstm", "transformer"]
LABELS = (5, 6)


def members(kind: str, dropout: float = 0.0) -> list[Generator]:
    torch.manual_seed(1)
    return [
        build_generator(kind, 7, 6, embedding=4, hidden=8, layers=2, dropout=dropout, end=-1)  # type: ignore[arg-type]
        for _ in LABELS
    ]


def mixed(rows: int = 6, time: int = 5) -> Tensor:
    """Return rows of both labels in turn."""
    torch.manual_seed(2)
    tokens = torch.randint(5, (rows, time))
    tokens[:, 0] = torch.tensor(LABELS).repeat(rows)[:rows]
    return tokens


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_said_by_the_member_of_its_label(kind: str) -> None:
    alone = members(kind)
    expected = copy.deepcopy(alone)
    net, tokens = ByLabel(alone, LABELS), mixed()
    found = token_log_probs(net, tokens)[:, 1:]
    for number, member in enumerate(expected):
        torch.testing.assert_close(found[number::2], token_log_probs(member, tokens[number::2, 1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_is_teacher_forcing(kind: str) -> None:
    net, tokens = ByLabel(members(kind), LABELS).eval(), mixed()
    state, said, features = net.init(len(tokens)), tokens.new_full((len(tokens),), net.start), []
    for time in range(tokens.shape[1]):
        feature, state = net.step(state, said)
        features.append(feature)
        said = tokens[:, time]
    torch.testing.assert_close(torch.stack(features, 1), net.features(tokens))
    assert not features[0].any()  # nobody says a label


def test_a_label_inside_a_sentence_is_a_word_like_others() -> None:
    net, tokens = ByLabel(members("lstm"), LABELS), mixed()
    tokens[:, 3] = LABELS[1]
    assert net.features(tokens).flatten(0, 1)[:: tokens.shape[1]].eq(0).all()
    for number in range(2):
        block = net.features(tokens[number::2])[:, 1:].unflatten(-1, (2, -1))
        assert not block[:, :, 1 - number].any()
        assert block[:, :, number, -1].eq(1).all()  # the bias


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_rows(kind: str) -> None:
    net, tokens = ByLabel(members(kind), LABELS).eval(), mixed()
    rows = torch.cat([net.features(row[None]) for row in tokens])
    torch.testing.assert_close(net.features(tokens), rows)


@pytest.mark.parametrize("kind", KINDS)
def test_rollouts_stay_with_their_member(kind: str) -> None:
    """Each member knows one word only, so that what it says is known."""
    net = ByLabel(members(kind), LABELS).eval()
    with torch.no_grad():
        net.head.weight.zero_()
        for number in range(2):
            net.head.weight[1 + number, (number + 1) * 9 - 1] = 100.0
    given = mixed(4, 6)
    given[:, 1:] = -1
    said = speak(net, 4, 6, given=given)
    assert said.tolist() == [[5, *[1] * 5], [6, *[2] * 5]] * 2
    completions = complete(net, said, 3)
    assert completions.equal(said[None, :, None].expand(5, -1, 3, -1))


def test_a_label_teaches_its_own_member_alone() -> None:
    net = ByLabel(members("lstm"), LABELS)
    loss = mle_loss(net, mixed()[::2])
    gradients = torch.autograd.grad(
        loss, [net.head.weight, *(member.embedding.weight for member in net.members)], materialize_grads=True
    )
    blocks = gradients[0].unflatten(1, (2, -1))
    assert blocks[:, 0].any()
    assert gradients[1].any()
    assert not blocks[:, 1].any()
    assert not gradients[2].any()


def test_a_state_dict_and_a_copy_keep_one_head() -> None:
    net, other = ByLabel(members("lstm"), LABELS), ByLabel(members("transformer"), LABELS)
    again = copy.deepcopy(net)
    assert all(member.head is again.head for member in again.members)
    with torch.no_grad():
        for weight in again.parameters():
            weight.add_(1)
    again.load_state_dict(net.state_dict())
    assert again.features(mixed()).equal(net.features(mixed()))
    assert sum(weight.numel() for weight in net.parameters() if weight.requires_grad) == 2 * sum(
        weight.numel() for weight in members("lstm")[0].parameters()
    )
    with pytest.raises(RuntimeError):
        other.load_state_dict(net.state_dict())


def test_a_temperature_is_that_of_each_member() -> None:
    net, tokens = ByLabel(members("lstm"), LABELS), mixed()
    before = net.head(net.features(tokens)).detach()
    alone = nll(net, tokens)
    sharpen(net, 2.0)
    torch.testing.assert_close(net.head(net.features(tokens)), 2 * before)
    assert PolicySpeaker(net, 5, tokens[:, :1]).likelihood(tokens, 0.5)["nll"] == pytest.approx(alone, rel=1e-5)


def test_silenced_words_are_not_said() -> None:
    alone = members("lstm")
    for member in alone:
        silence(member.head, LABELS)
    net = ByLabel(alone, LABELS)
    log_probs = action_log_probs(net, mixed())[:, 1:]
    assert (log_probs[..., 5:] < NEVER + 1).all()
    assert log_probs.isfinite().all()
    assert net.prompt == 1
    assert ByLabel(members("lstm"), LABELS, prompt=3).prompt == 3
