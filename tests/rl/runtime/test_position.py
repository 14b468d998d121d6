import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.runtime.errors import InputError
from rl.runtime.position import Position, turns_begun

Script = Callable[[Position, Callable[[Any], None], Callable[[], None]], None]


class _Enough(Exception):
    pass


def three_levels(at: Position, work: Callable[[Any], None], save: Callable[[], None]) -> None:
    for a in at.loop("pretrain", 2):
        work(("pretrain", a))
        save()
    save()
    for s in at.loop("outer", 3):
        for j in at.loop("judge", s):  # no turn at all in the first step
            work((s, "judge", j))
            save()
        for p in at.loop("speak", 2):
            for k in at.loop("inner", 2):
                work((s, p, "first", k))
                save()
            for k in at.loop("inner", 3):  # a sibling of the same name
                work((s, p, "second", k))
                if k == 1:
                    break
                save()
            work((s, p, "end"))
            save()
        for j in at.loop("judge", 1):
            work((s, "judge again", j))
            save()
        work((s, "end"))
        save()
    save()
    for a in at.loop("last", 1):
        work(("last", a))
        save()


def run(script: Script, at: Position, stop_at: int) -> tuple[list[Any], dict[str, Any] | None]:
    """The work done until the given place of saving, and the state saved there (None: no such place, all is done)."""
    done: list[Any] = []
    places, state = 0, None

    def save() -> None:
        nonlocal places, state
        if places == stop_at:
            state = at.state_dict()
            raise _Enough
        places += 1

    with suppress(_Enough):
        script(at, done.append, save)
    return done, state


def resumed(state: dict[str, Any]) -> Position:
    at = Position()
    at.load_state_dict(json.loads(json.dumps(state)))
    return at


def every_stop_goes_on_alike(script: Script, stops: int = 2) -> int:
    """Stop at every place, resume, stop there at every place again...; the number of first places."""
    straight, _ = run(script, Position(), -1)

    def check(before: list[Any], state: dict[str, Any], left: int) -> None:
        assert before + run(script, resumed(state), -1)[0] == straight
        assert resumed(state).state_dict() == state
        place = 0
        while left:
            work, again = run(script, resumed(state), place)
            if again is None:
                break
            check(before + work, again, left - 1)
            place += 1

    place = 0
    while True:
        work, state = run(script, Position(), place)
        if state is None:
            return place
        check(work, state, stops - 1)
        place += 1


def test_every_place_of_a_three_level_nest_resumes_exactly() -> None:
    assert every_stop_goes_on_alike(three_levels) == 2 + 1 + (0 + 1 + 2) + 3 * 2 * (2 + 1 + 1) + 3 * (1 + 1) + 1 + 1


Tree = list[tuple[str, int, "Tree"]]
trees = st.recursive(
    st.just([]),
    lambda inside: st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), inside), max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=40)
@given(trees)
def test_any_nest_resumes_exactly(tree: Tree) -> None:
    def script(at: Position, work: Callable[[Any], None], save: Callable[[], None]) -> None:
        def enter(nodes: Tree, path: tuple[Any, ...]) -> None:
            for index, (name, turns, inside) in enumerate(nodes):
                for turn in at.loop(name, turns):
                    enter(inside, (*path, index, turn))
                    work((*path, index, turn))
                    save()

        enter(tree, ())

    every_stop_goes_on_alike(script, stops=1)


def test_the_state_is_plain_and_readable() -> None:
    at = Position()
    for _ in at.loop("pretrain", 2):
        pass
    for step in at.loop("outer", 5):
        for k in at.loop("judge", 3):
            if (step, k) == (1, 1):
                assert at.state_dict() == {
                    "path": [
                        {"finished": [["pretrain", 2]], "loop": "outer", "turn": 1},
                        {"finished": [], "loop": "judge", "turn": 2},
                    ]
                }


def test_a_longer_run_continues_the_last_loop() -> None:
    at = Position()
    for _ in at.loop("pretrain", 2):
        pass
    for _ in at.loop("outer", 3):
        during = at.state_dict()
    for state in (during, at.state_dict()):
        again = resumed(state)
        assert list(again.loop("pretrain", 9)) == []  # long past: another number does not bring it back
        assert list(again.loop("outer", 5)) == [3, 4]
        assert list(again.loop("new", 2)) == [0, 1]


def test_another_script_is_refused() -> None:
    at = Position()
    for _ in at.loop("outer", 3):
        state = at.state_dict()
        break
    with pytest.raises(InputError, match="stood at loop 'outer', the script enters 'other'"):
        next(resumed(state).loop("other", 3))


def test_a_loop_left_by_an_exception_does_not_stay_active() -> None:
    at = Position()
    with suppress(ZeroDivisionError):
        for _ in at.loop("a", 3):
            for _ in at.loop("b", 3):
                raise ZeroDivisionError
    assert at.state_dict() == {"path": [{"finished": [["a", -1]], "loop": None, "turn": 0}]}


def test_turns_begun_count_the_one_under_way() -> None:
    at, counts = Position(), []
    for _ in at.loop("before", 2):
        counts.append(turns_begun(at.state_dict(), "argue"))
    for _ in at.loop("argue", 2):
        for _ in at.loop("judge", 2):
            counts.append(turns_begun(at.state_dict(), "argue"))  # as a save in the middle of a turn does
        counts.append(turns_begun(at.state_dict(), "argue"))  # and at its end
    counts.append(turns_begun(at.state_dict(), "argue"))
    assert counts == [0, 0, 1, 1, 1, 2, 2, 2, 2]
