"""Where a run stands in its loops, so that a resumed run goes on in the middle of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rl.runtime.errors import InputError


@dataclass
class _Level:
    """One turn of a loop (or the script itself): what ran inside it so far, and what a checkpoint says did."""

    finished: list[list[Any]] = field(default_factory=list)  # [name, turns]; turns -1 after a break
    loop: str | None = None
    turn: int = 0
    replay: list[list[Any]] = field(default_factory=list)
    resume: list[dict[str, Any]] = field(default_factory=list)  # the active loop of the checkpoint, and those inside it


class Position:
    """Nested loops that a checkpoint can enter again: `for step in at.loop("adversarial", 200): ...`.

    The law: a save is made at the END of the body of the innermost active loop, or outside all loops. Then that turn
    is done, the turns of the outer loops are under way, and after `load_state_dict` the script enters those turns
    again: loops that had finished in them yield nothing, the active one goes on at its next turn, others start at 0.
    Code between loops runs again, so it must be free of effects or stand in a loop of one turn. A `break` stands before
    the save. Loops of one turn are told apart by their order, so two of them may share a name.

    A longer `turns` than before continues a loop; this holds also for a loop that was the last to finish.
    """

    def __init__(self) -> None:
        self._levels = [_Level()]

    def loop(self, name: str, turns: int) -> Iterator[int]:
        """Yield the turns still to do, out of 0 .. turns-1. Raises InputError if the checkpoint stood elsewhere."""
        depth = len(self._levels)
        level = self._levels[-1]
        start, inside, skipped = _enter(level, name, turns)
        done = skipped if skipped is not None else -1
        try:
            if skipped is not None:
                return
            level.loop = name
            for turn in range(start, turns):
                level.turn = turn
                self._levels.append(_level(inside if turn == start else []))
                yield turn
                self._levels.pop()
            done = turns
        finally:
            del self._levels[depth:]
            level.loop, level.turn = None, 0
            level.finished.append([name, done])

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON: for each level the loops that finished and the one that is active, with the turn to go on at."""
        root = self._levels[0]
        if root.loop is None and (root.replay or root.resume):  # loaded, and nothing done since
            ahead = root.resume or [{"loop": None, "turn": 0}]
            return {"path": [ahead[0] | {"finished": root.finished + root.replay}, *ahead[1:]]}
        path: list[dict[str, Any]] = [
            {"finished": [list(entry) for entry in level.finished], "loop": level.loop, "turn": level.turn}
            for level in self._levels
            if level.loop is not None or level is root
        ]
        if root.loop is not None:
            path[-1]["turn"] += 1
        return {"path": path}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where the state was saved; before the first loop is entered."""
        self._levels = [_level(state["path"])]


def _level(path: list[dict[str, Any]]) -> _Level:
    if not path:
        return _Level()
    return _Level(replay=[list(entry) for entry in path[0]["finished"]], resume=path if path[0]["loop"] else [])


def _enter(level: _Level, name: str, turns: int) -> tuple[int, list[dict[str, Any]], int | None]:
    """First turn, what the checkpoint knows of that turn's inside, and the turns done if the loop is to be skipped."""
    if level.replay:
        recorded, done = level.replay.pop(0)
        _check(name, recorded)
        last = not level.replay and not level.resume
        return (done, [], None) if last and 0 <= done < turns else (0, [], done)
    if level.resume:
        here, *inside = level.resume
        level.resume = []
        _check(name, here["loop"])
        return here["turn"], inside, None
    return 0, [], None


def _check(entered: str, recorded: str) -> None:
    if entered != recorded:
        raise InputError(f"checkpoint: position: the run stood at loop {recorded!r}, the script enters {entered!r}")


def turns_begun(state: Mapping[str, Any], loop: str) -> int:
    """Return the turns of an outermost loop that a saved position has made, one under way included."""
    outer = state["path"][0]
    if outer["loop"] == loop:
        return int(outer["turn"]) + (len(state["path"]) > 1)
    return int(dict(outer["finished"]).get(loop, 0))
