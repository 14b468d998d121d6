"""The reward that learns, without any library: what is paid, what is learned from, and what never moves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from rl import R1, Equilibrium, Every, Minimax, NonSaturating, Relativistic, SeqGAN
from rl.adapters.adversarial_reward import AdversarialReward, Learning
from rl.adapters.demonstrated import is_held_out
from rl.adapters.lessons import judge_pairs, lesson_loss, step
from rl.adapters.memory import Pair
from rl.adapters.rows import Row
from rl.discriminator import ranked_right
from rl.runtime import Diverged, InputError, newest, restore, save
from tests.ranks import run_ranks
from tests.rl.adapters.bags import END, Bag, Each, Words, equal, state_of

COLUMNS: dict[str, Any] = {
    "prompts": ["a b", "a b", "c", "c"],
    "completions": ["x"] * 4,
    "completion_ids": [[5, END], [6, 7], [8, END], [5, 5, 5]],
    "answer": ["d", "d", "e e", "e e"],
}
PLAIN = Learning(replay=0, held_out=0)


def reward(**changes: Any) -> AdversarialReward:
    given: dict[str, Any] = {"demonstrations": "answer", "learning": PLAIN} | changes
    judge = given.pop("judge", None) or Bag()
    return AdversarialReward(judge, Words(), **given)


def logits(judge: torch.nn.Module, rows: list[list[int]]) -> torch.Tensor:
    return torch.cat([judge(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool)) for row in rows])


FAKES = [[3, 4, 5, END], [3, 4, 6, 7], [5, 8, END], [5, 5, 5, 5]]
REALS = [[3, 4, 6, END], [3, 4, 6, END], [5, 7, 7, END], [5, 7, 7, END]]


@torch.no_grad()
def test_a_completion_earns_what_the_objective_says_of_its_logit() -> None:
    judge = Bag()
    fake, real = logits(judge, FAKES), logits(judge, REALS)
    for objective in (SeqGAN(), Minimax(), Relativistic()):
        paid = reward(judge=judge, objective=objective).score(COLUMNS)
        torch.testing.assert_close(paid, objective.reward(fake, real))
    assert fake.std() > 0.01


@torch.no_grad()
def test_a_judge_of_tokens_pays_the_mean_over_what_was_said() -> None:
    judge = Each()
    at = judge.words.weight[:, 0].sigmoid()
    paid = reward(judge=judge).score(COLUMNS)
    by_hand = [at[[5, END]].mean(), at[[6, 7]].mean(), at[[8, END]].mean(), at[5]]
    torch.testing.assert_close(paid, torch.stack(by_hand))
    with pytest.raises(ValueError, match="compares fake with real"):
        reward(judge=judge, objective=Relativistic()).score(COLUMNS)


def test_scores_come_before_the_update() -> None:
    judge = Bag()
    before, asked = reward(judge=judge).score(COLUMNS), reward(judge=judge)
    paid, _ = asked.score_and_update(COLUMNS)
    assert torch.equal(paid, before)
    assert not torch.equal(asked.score(COLUMNS), before)


def test_scoring_never_changes_anything_and_dropout_is_off() -> None:
    asked = reward(judge=Bag(dropout=0.5).train())
    before, random = state_of(asked.discriminator), torch.get_rng_state()
    first = asked.score(COLUMNS)
    assert torch.equal(asked.score(COLUMNS), first)
    assert equal(state_of(asked.discriminator), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert asked.generations == 0
    assert not asked.optimizer.state


def test_learning_leaves_the_trainers_random_numbers_alone() -> None:
    random = torch.get_rng_state()
    reward(judge=Bag(dropout=0.5), learning=Learning()).score_and_update(COLUMNS)
    assert torch.equal(torch.get_rng_state(), random)


def test_one_update_is_a_step_of_adamw_down_the_objectives_loss() -> None:
    asked, by_hand = reward(), Bag()
    _, metrics = asked.score_and_update(COLUMNS)
    optimizer = torch.optim.AdamW(by_hand.parameters(), PLAIN.rate)
    loss = F.softplus(-logits(by_hand, REALS)).mean() + F.softplus(logits(by_hand, FAKES)).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(by_hand.parameters(), PLAIN.clip)
    optimizer.step()
    assert metrics["d/loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert metrics["d/grad_norm"] == pytest.approx(norm.item(), abs=1e-6)
    for ours, theirs in zip(asked.discriminator.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)


def test_a_generation_in_minibatches_makes_as_many_steps() -> None:
    asked = reward(learning=Learning(replay=0, held_out=0, batch=3, passes=2))
    asked.score_and_update(COLUMNS)
    assert asked.optimizer.state[asked.optimizer.param_groups[0]["params"][0]]["step"] == 4


def test_a_demonstration_that_many_share_is_judged_once_in_a_pass_with_the_fakes() -> None:
    seen: list[torch.Tensor] = []

    class Shows(Bag):
        def forward(self, tokens, mask):
            seen.append(tokens)
            return super().forward(tokens, mask)

    judge = Shows()
    pairs = [Pair(Row(tuple(f), ()), Row(tuple(r), ())) for f, r in zip(FAKES, REALS, strict=True)]
    orders = set()
    for seed in range(8):
        torch.manual_seed(seed)
        seen.clear()
        real, fake = judge_pairs(judge, pairs, torch.device("cpu"), chunk=8, shuffled=True)
        assert [len(tokens) for tokens in seen] == [6]
        orders.add(tuple(map(tuple, seen[0].tolist())))
        torch.testing.assert_close(real.logits[:, 0], logits(judge, REALS))
        torch.testing.assert_close(fake.logits[:, 0], logits(judge, FAKES))
    assert len(orders) > 4
    judge_pairs(judge, pairs, torch.device("cpu"), chunk=2, shuffled=False)
    assert max(len(tokens) for tokens in seen[-3:]) == 2


VERDICTS = [1.0, 0.0, 0.5, 0.0]


def half(prompts: list[str], answer: list[str], **columns: Any) -> list[float]:
    assert columns.keys() == {"completions", "completion_ids"}
    return VERDICTS


@torch.no_grad()
def test_the_gate_multiplies_and_add_adds() -> None:
    judge = Bag()
    paid = logits(judge, FAKES).sigmoid()
    told = torch.tensor(VERDICTS)
    torch.testing.assert_close(reward(judge=judge, verifier=half).score(COLUMNS), told * paid)
    added = reward(judge=judge, verifier=half, compose="add", weight=0.25).score(COLUMNS)
    torch.testing.assert_close(added, told + 0.25 * paid)


@pytest.mark.parametrize("compose", ["gate", "add"])
def test_behind_a_gate_only_what_passes_teaches(compose: str) -> None:
    shown: list[int] = []

    class Notes(Bag):
        def forward(self, tokens, mask):
            if self.training:
                shown.extend(tuple(row[there].tolist()) for row, there in zip(tokens, mask, strict=True))
            return super().forward(tokens, mask)

    reward(judge=Notes(), verifier=half, compose=compose).score_and_update(COLUMNS)
    taught = {tuple(fake) for fake in FAKES} & set(shown)
    assert taught == {tuple(FAKES[n]) for n in ([0, 2] if compose == "gate" else range(4))}


def test_nothing_passes_nothing_is_learned() -> None:
    asked = reward(verifier=lambda **columns: [0.0] * 4)
    before = state_of(asked.discriminator)
    paid, metrics = asked.score_and_update(COLUMNS)
    assert paid.tolist() == [0.0] * 4
    assert equal(state_of(asked.discriminator), before)
    assert "d/loss" not in metrics
    assert metrics["d/verified"] == 0


def test_a_gate_refuses_rewards_and_verdicts_below_nothing() -> None:
    for objective in (NonSaturating(), Relativistic()):
        with pytest.raises(ValueError, match="pays less than a wrong answer's zero at times: use SeqGAN"):
            reward(objective=objective, verifier=half)
        reward(objective=objective, verifier=half, compose="add")
        reward(objective=objective)
    with pytest.raises(ValueError, match="neither 'gate' nor 'add'"):
        reward(compose="product")
    with pytest.raises(ValueError, match=r"gave -1 to 1; a gate is 0 \(wrong\) to 1"):
        reward(verifier=lambda **columns: [1.0, -1.0, 0.0, 0.0]).score(COLUMNS)
    with pytest.raises(ValueError, match="expected 4 finite numbers"):
        reward(verifier=lambda **columns: [1.0]).score(COLUMNS)
    with pytest.raises(ValueError, match="expected 4 finite numbers"):
        reward(verifier=lambda **columns: [1.0, float("nan"), 1.0, 1.0], compose="add").score(COLUMNS)


def test_while_it_warms_up_it_learns_and_pays_nothing() -> None:
    asked = reward(learning=Learning(warm_up=2, held_out=0))
    before = state_of(asked.discriminator)
    for _ in range(2):
        assert asked.score_and_update(COLUMNS)[0].tolist() == [0.0] * 4
    assert not equal(state_of(asked.discriminator), before)
    assert asked.score_and_update(COLUMNS)[0].min() > 0


def test_held_out_demonstrations_never_teach_and_are_measured() -> None:
    share = next(s / 100 for s in range(100) if is_held_out(Row((3, 4), (6, END)), s / 100))
    other = is_held_out(Row((5,), (7, 7, END)), share)
    asked = reward(learning=Learning(replay=0, held_out=share))
    seen = [state_of(asked.discriminator)["words.weight"].clone()]
    _, metrics = asked.score_and_update(COLUMNS)
    assert "d/auc_held_out" in metrics
    if not other:
        moved = (asked.discriminator.words.weight - seen[0]).abs().amax(1) > 2e-6  # AdamW's decay moves all a little
        assert moved[[5, 7, 8]].all()
        assert not moved[[3, 4, 6]].any()


def test_old_completions_are_learned_from_again() -> None:
    shown: list[set[tuple[int, ...]]] = []

    class Notes(Bag):
        def forward(self, tokens, mask):
            if self.training:
                shown.append({tuple(row[there].tolist()) for row, there in zip(tokens, mask, strict=True)})
            return super().forward(tokens, mask)

    asked = reward(judge=Notes(), learning=Learning(replay=0.5, held_out=0))
    asked.score_and_update(COLUMNS)
    later = COLUMNS | {"completion_ids": [[9, END]] * 4}
    asked.score_and_update(later)
    old = {tuple(fake) for fake in FAKES}
    assert shown[0] >= old
    assert len(shown[1] & old) == 2
    never = reward(judge=Notes(), learning=PLAIN)
    shown.clear()
    never.score_and_update(COLUMNS)
    never.score_and_update(later)
    assert not shown[1] & old


def test_a_pool_has_prompts_of_its_own() -> None:
    pool = [{"prompt": "h", "completion": word} for word in "abc"]
    asked = reward(demonstrations=pool, learning=Learning(held_out=0, rate=0.05))
    columns = {name: column for name, column in COLUMNS.items() if name != "answer"}
    for _ in range(30):
        _, metrics = asked.score_and_update(columns)
    assert metrics["d/auc"] == 1.0
    assert metrics["d/real"] > metrics["d/fake"] + 1


def test_ranked_right_counts_pairs_and_ties_half() -> None:
    real, fake = torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.tensor([0.0, 2.0, 9.0, 2.0])
    assert ranked_right(real, fake) == (1 + 0.5 + 0 + 1) / 4


@pytest.mark.parametrize(("held_out", "name"), [(0.0, "d/auc"), (1.0, "d/auc_held_out")])
def test_what_a_prompt_adds_to_all_logits_moves_no_measure(held_out: float, name: str) -> None:
    """The odds of fake and real to one another are all that a relativistic objective knows."""

    class Shifted(Bag):
        def forward(self, tokens, mask):
            return super().forward(tokens, mask) + 100 * tokens[:, 0]

    learning = Learning(replay=0, held_out=held_out)
    asked = [reward(judge=judge, objective=Relativistic(), learning=learning) for judge in (Bag(), Shifted())]
    plain, shifted = (one.score_and_update(COLUMNS)[1][name] for one in asked)
    assert plain == shifted
    before = Bag()
    with torch.no_grad():
        assert plain == (logits(before, REALS) > logits(before, FAKES)).float().mean().item()


def test_logits_that_are_no_numbers_stop_the_run() -> None:
    asked = reward()
    with torch.no_grad():
        asked.discriminator.line.bias.fill_(float("nan"))
    with pytest.raises(Diverged, match="pays 4 of 4 no finite number"):
        asked.score(COLUMNS)
    bag = Bag()
    optimizer = torch.optim.AdamW(bag.parameters())
    with pytest.raises(Diverged, match="the loss is inf"):
        step(optimizer, bag.line.weight.sum() * 0 + float("inf"), 2, 1.0)


def test_a_step_is_bounded() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], 1.0)
    assert step(optimizer, (weight * torch.tensor([30.0, 40.0])).sum(), 3, 0.5) == pytest.approx((0, 50))
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.3, -0.4]), atol=1e-5, rtol=0)


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="no column 'reply'"):
        reward(demonstrations="reply").score(COLUMNS)


def test_no_pairs_cost_nothing() -> None:
    assert lesson_loss(Bag(), SeqGAN(), R1(), [], torch.device("cpu")).item() == 0


@pytest.mark.parametrize("objective", [SeqGAN(), Equilibrium()])
def test_going_on_from_a_state_gives_the_same_bits(objective: Any, tmp_path: Path) -> None:
    def make() -> AdversarialReward:
        lazy = Every(2, lambda judge, real, fake: judge.words.weight.square().sum())
        made = type(objective)()
        return reward(
            judge=Bag(dropout=0.3), learning=Learning(batch=3, held_out=0.2), objective=made, penalty=lazy,
            demonstrations=[{"prompt": "h", "completion": word} for word in "abcdefg"],
        )  # fmt: skip

    one = make()
    for _ in range(3):
        one.score_and_update(COLUMNS)
    save(tmp_path, 3, {"reward": one})
    expected = [one.score_and_update(COLUMNS) for _ in range(3)]
    other = make()
    other.score_and_update(COLUMNS)
    restore(newest(tmp_path), {"reward": other})
    assert other.generations == 3
    again = [other.score_and_update(COLUMNS) for _ in range(3)]
    for (paid, told), (paid_again, told_again) in zip(expected, again, strict=True):
        assert torch.equal(paid, paid_again)
        assert told == told_again
    assert equal(state_of(one.discriminator), state_of(other.discriminator))


SCRIPT = """
import json, os, sys
import torch, torch.distributed as dist
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
if world > 1:
    dist.init_process_group("gloo")
from rl.adapters.adversarial_reward import AdversarialReward, Learning
from tests.rl.adapters.test_adversarial_reward import COLUMNS
from tests.rl.adapters.bags import Bag, Words
double = {name: column * 2 for name, column in COLUMNS.items()}
double["completion_ids"] = [[5, 1], [6, 7], [8, 1], [5, 5], [9, 1], [9, 9], [10, 1], [3]]
told = {}
def finished(completion_ids, **others):
    return [float(1 in ids and ids[0] < 9) for ids in completion_ids]

def every_other(prompts, **others):
    return [1.0, 0.0] * (len(prompts) // 2)

numbers = Learning(replay=0, held_out=0, rate=1e-2, batch=8)
for name, changes in {"all": {}, "gate": {"verifier": every_other}, "uneven": {"verifier": finished}}.items():
    judge = Bag(seed=3 + rank)  # the first process's counts
    reward = AdversarialReward(judge, Words(), demonstrations="answer", learning=numbers, **changes)
    mine = {key: column[rank * (8 // world):(rank + 1) * (8 // world)] for key, column in double.items()}
    for _ in range(5):
        reward.score_and_update(mine)
    told[name] = [weight.tolist() for weight in reward.discriminator.parameters()]
reward = AdversarialReward(Bag(seed=3, dropout=0.5), Words(), demonstrations="answer", learning=Learning())
for _ in range(3):
    reward.score_and_update(mine)
state = reward.state_dict()
told["memories"] = len(state["memory"]["ids"])
told["dropout"] = [weight.tolist() for weight in reward.discriminator.parameters()]
other = AdversarialReward(Bag(seed=9), Words(), demonstrations="answer", learning=Learning())
other.load_state_dict(state)
told["same memory"] = other._memory._pairs == reward._memory._pairs and len(other._memory) > 0
told["mine"] = [list(pair.fake.said) for pair in other._memory._pairs]
print(json.dumps(told))
"""


def run(world: int) -> list[dict[str, Any]]:
    return [json.loads(out.splitlines()[-1]) for out in run_ranks(world, "-c", SCRIPT)]


def flat(nested: Any) -> list[float]:
    return [number for item in nested for number in flat(item)] if isinstance(nested, list) else [nested]


def test_two_processes_learn_what_one_does() -> None:
    """Whoever has more completions that pass weighs more; a process without any waits for the other."""
    (alone,), (first, second) = run(1), run(2)
    for name in ("all", "gate", "uneven"):
        assert first[name] == second[name]
        assert flat(first[name]) == pytest.approx(flat(alone[name]), abs=2e-6)
        assert flat(first[name]) != flat(first["dropout"])
    assert first["dropout"] == second["dropout"]
    assert (first["memories"], alone["memories"]) == (2, 1)
    assert first["same memory"]
    assert second["same memory"]
    assert first["mine"] != second["mine"]
