import errno
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rl.runtime import checkpoints
from rl.runtime.checkpoints import Damaged, fingerprint, load, newest, restore, save, steps, verify
from rl.runtime.errors import InputError
from rl.runtime.state import decode, encode


class Held:
    """A part that is its state."""

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def same(a: Any, b: Any) -> bool:
    """Equal in type and value at every depth, nan equal to nan, tensors equal in dtype, shape and bits."""
    if type(a) is not type(b):
        return False
    match a:
        case Tensor():
            return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
        case dict():
            return list(map(repr, a)) == list(map(repr, b)) and all(
                same(x, y) for x, y in zip(a.values(), b.values(), strict=True)
            )
        case list() | tuple():
            return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
        case float():
            return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def trained(seed: int = 0, fused: bool = False) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=fused, betas=(0.5, 0.9))
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(4, 5)).square().sum().backward()
        optimizer.step()
    return net, optimizer


def two_checkpoints(run: Path) -> tuple[Path, Path]:
    made = []
    for step in (1, 2):
        net, optimizer = trained(step)
        made.append(save(run, step, {"net": net, "optimizer": optimizer, "rest": Held({"step": step, "text": "é"})}))
    return made[0], made[1]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fused", [False, True])
def test_a_net_and_its_optimizer_come_back_exactly(tmp_path: Path, fused: bool) -> None:
    net, optimizer = trained(fused=fused)
    folder = save(tmp_path, 3, {"net": net, "optimizer": optimizer})
    other, fresh = trained(1, fused=fused)
    restore(folder, {"net": other, "optimizer": fresh})
    assert same(dict(other.state_dict()), dict(net.state_dict()))
    assert same(fresh.state_dict(), optimizer.state_dict())
    for each, its in ((net, optimizer), (other, fresh)):
        its.zero_grad()
        each(torch.ones(4, 5)).square().sum().backward()
        its.step()
    assert same(dict(other.state_dict()), dict(net.state_dict()))


def test_odd_states_come_back_exactly(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    state = {
        0: (1, (2.5, None), [True, False]),
        -7: {"": "é\n", "1": 1, 2: "1", False: 0.0} | {None: -0.0, 2.5: "x", ("a", 1): []},
        "floats": [math.nan, math.inf, -math.inf, 1e-320, 0.1, -0.0, 1e308],
        "big": 2**80,
        "views": [base[2:4], base, base.reshape(2, 3).T, base],
        "kinds": [torch.tensor(True), torch.empty(0, 3), torch.tensor([1.5, math.nan]).bfloat16(), torch.tensor(3)],
        "a": {"b": torch.ones(1)},
        "a.b": torch.zeros(1),
        "halves": torch.tensor([2.0**-24, 65504.0]).half(),
        "doubles": torch.tensor([0.1, math.inf], dtype=torch.float64),
        "bytes": torch.arange(256, dtype=torch.uint8),
    }
    assert same(load(save(tmp_path, 1, {"odd": Held(state)}))["odd"], state)


tensors = st.lists(st.floats(width=32)).map(torch.tensor)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | tensors
keys = st.text() | st.integers() | st.booleans() | st.none()
states = st.recursive(
    leaves,
    lambda inside: st.lists(inside) | st.lists(inside).map(tuple) | st.dictionaries(keys, inside),
    max_leaves=12,
)


@settings(deadline=None, max_examples=100)
@given(states)
def test_any_state_survives_its_encoding(state: Any) -> None:
    text, tensors = encode(state, "part")
    assert same(decode(text, tensors), state)


def test_what_cannot_be_held_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"part\.a\.0: a state cannot hold object"):
        save(tmp_path, 1, {"part": Held({"a": [object()]})})
    for name in ("a/b", "", "manifest", "..", ".a"):
        with pytest.raises(ValueError, match="cannot name a part"):
            save(tmp_path, 1, {name: Held()})


def test_equal_states_give_equal_bytes_and_other_states_another_fingerprint(tmp_path: Path) -> None:
    folders = [two_checkpoints(tmp_path / name)[0] for name in "ab"]
    assert tree(folders[0]) == tree(folders[1])
    assert fingerprint(folders[0]) == fingerprint(folders[1]) != fingerprint(folders[0].with_name("step-2"))
    one = [fingerprint(save(tmp_path / str(i), 1, {"a": Held([torch.ones(2), i])})) for i in range(2)]
    assert one[0] == one[1]  # only tensors count: seconds may differ
    assert fingerprint(save(tmp_path / "c", 1, {"a": Held([torch.ones(1, 2), 0])})) != one[0]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = save(tmp_path, 1, {"a": Held(torch.ones(1))})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    assert folder.stat().st_mode & 0o777 == 0o750


def test_the_last_three_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 5, 10, 9):
        save(tmp_path, step, {"a": Held(step)})
        assert newest(tmp_path).name == f"step-{max(step, 10 if step == 9 else 0)}"
    assert steps(tmp_path) == [2, 5, 9, 10]  # 10 was made before 9 and is not 9's to push out or be pushed by
    save(tmp_path, 11, {"a": Held(0)}, keep=1)
    assert steps(tmp_path) == [11]
    with pytest.raises(ValueError, match="keep"):
        save(tmp_path, 12, {"a": Held(0)}, keep=0)


def test_nothing_is_deleted_before_its_successor_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the save at each of its system calls in turn: a good checkpoint of step 1 or 2 stands at each."""
    calls: list[str] = []

    def count_down(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == limit:
                raise _Killed
            return real(*args, **kwargs)

        return call

    class _Killed(BaseException):
        pass

    limit = -1
    real_rename, real_fsync, real_rmtree = Path.rename, os.fsync, shutil.rmtree
    for second in (2, 1):  # a new step, and the same step again
        for limit in range(1, 40):
            run = tmp_path / f"{second}-{limit}"
            save(run, 1, {"a": Held(torch.ones(3))}, keep=1)
            calls.clear()
            with monkeypatch.context() as patch:
                patch.setattr(Path, "rename", count_down("rename", real_rename))
                patch.setattr(os, "fsync", count_down("fsync", real_fsync))
                patch.setattr(shutil, "rmtree", count_down("rmtree", real_rmtree))
                try:
                    save(run, second, {"a": Held(torch.zeros(3))}, keep=1)
                except _Killed:
                    finished = False
                else:
                    finished = True
            verify(newest(run))
            assert load(newest(run))["a"].tolist() in ([1.0] * 3, [0.0] * 3)
            save(run, 3, {"a": Held(3)}, keep=1)  # and the next save tidies up
            assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-3"]
            if finished:
                break
        else:
            pytest.fail("the save never finished")
        assert {"rename", "fsync", "rmtree"} <= set(calls)


def test_strays_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    save(tmp_path, 1, {"a": Held(1)})
    stray = tmp_path / "checkpoints" / ".step-2.tmp-123"
    stray.mkdir()
    (stray / "a.json").write_text("half")
    assert steps(tmp_path) == [1]
    save(tmp_path, 2, {"a": Held(2)})
    assert not stray.exists()


def test_an_old_folder_without_successor_counts(tmp_path: Path) -> None:
    folder = save(tmp_path, 1, {"a": Held(1)})
    folder.rename(folder.with_name("step-1.old"))
    assert steps(tmp_path) == [1]
    assert load(newest(tmp_path)) == {"a": 1}
    save(tmp_path, 2, {"a": Held(2)})
    assert steps(tmp_path) == [1, 2]
    assert load(folder) == {"a": 1}


@pytest.mark.parametrize(
    ("flips", "cuts", "blocks"), [(100, 100, 20), pytest.param(1000, 1000, 200, marks=pytest.mark.slow)]
)
def test_all_damage_is_detected_and_the_checkpoint_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flips: int, cuts: int, blocks: int
) -> None:
    first, second = two_checkpoints(tmp_path)
    files = sorted(second.iterdir())
    assert [path.name for path in files] == [
        "manifest.json", "net.json", "net.safetensors", "optimizer.json", "optimizer.safetensors", "rest.json",
    ]  # fmt: skip
    chance = random.Random(0)
    for kind in ["flip"] * flips + ["cut"] * cuts + ["block"] * blocks:
        file = chance.choice(files)
        good = file.read_bytes()
        bad = bytearray(good)
        if kind == "flip":
            bad[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del bad[chance.randrange(len(good)) :]
        else:
            start = 512 * chance.randrange((len(good) + 511) // 512)
            bad[start : start + 512] = bytes(len(bad[start : start + 512]))
        assert bytes(bad) != good
        file.write_bytes(bad)
        with pytest.raises(Damaged, match=f"^{file}: "):
            verify(second)
        with pytest.raises(Damaged, match=f"^{file}: "):
            restore(second, {})
        assert newest(tmp_path) == first
        warning = capsys.readouterr().err
        assert warning.startswith(f"warning: {file}: ")
        assert warning.count("\n") == 1
        file.write_bytes(good)
    assert newest(tmp_path) == second


def test_missing_files_and_misleading_manifests(tmp_path: Path) -> None:
    first, second = two_checkpoints(tmp_path)
    for file in second.iterdir():
        aside = file.rename(tmp_path / "aside")
        with pytest.raises(Damaged, match=f"^{file}: cannot be read: No such file"):
            verify(second)
        aside.rename(file)
    renamed = first.rename(first.with_name("step-7"))
    with pytest.raises(Damaged, match="says step 1, the folder says 7"):
        verify(renamed)
    outside = checkpoints._manifest({"step": 2, "files": {"../../secret": {"bytes": 1, "sha256": ""}}})
    (second / "manifest.json").write_bytes(outside)
    with pytest.raises(Damaged, match=r"manifest\.json"):
        verify(second)
    with pytest.raises(InputError, match="no good checkpoint"):
        newest(tmp_path)
    with pytest.raises(InputError, match="no good checkpoint"):
        newest(tmp_path / "nowhere")


def test_well_signed_nonsense_is_refused(tmp_path: Path) -> None:
    """Files whose hashes are right and whose content is no state."""
    folder = tmp_path / "step-1"
    deep = b"[" * 100_000
    for text in (b"", b"{", b'{"a": 1}', b'{"tensor": "x"}', b'{"dict": [1]}', b'{"dict": [[[], 1]]}', deep, b"\xff"):
        sealed(folder, {"a.json": text})
        with pytest.raises(Damaged, match=r"a\.json: not a state"):
            load(folder)
    sealed(folder, {"a.json": b"1", "a.safetensors": b"\x80\x04cos\nsystem\n(S'exit 1'\ntR."})
    with pytest.raises(Damaged, match=r"a\.safetensors: not a safetensors file"):
        load(folder)
    with pytest.raises(Damaged, match=r"a\.safetensors: not a safetensors file"):
        fingerprint(folder)


def sealed(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    listed = {name: checkpoints._put(folder / name, data) for name, data in files.items()}
    (folder / "manifest.json").write_bytes(checkpoints._manifest({"step": 1, "files": listed}))


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    net, optimizer = trained()
    folder = save(tmp_path, 1, {"net": net, "optimizer": optimizer})
    with pytest.raises(InputError, match=r"step-1/optimizer\.json: this run has no such part$"):
        restore(folder, {"net": net})
    with pytest.raises(InputError, match=r"step-1/judge\.json: the checkpoint lacks this part$"):
        restore(folder, {"net": net, "optimizer": optimizer, "judge": net})
    wide = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    with pytest.raises(InputError, match=r"step-1/net\.json: does not fit this run: .* 2\.weight") as caught:
        restore(folder, {"net": wide, "optimizer": optimizer})
    assert "\n" not in str(caught.value)
    short = torch.optim.Adam([nn.Parameter(torch.ones(1))])
    with pytest.raises(InputError, match=r"step-1/optimizer\.json: does not fit this run"):
        restore(folder, {"net": net, "optimizer": short})


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, {"a": Held(1)})
    before = tree(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6 - 70_000, 70_000))
    save(tmp_path / "small", 1, {"a": Held(torch.ones(10))})
    with pytest.raises(InputError, match=r"step-2: the disk is full: .* needs 1\d\d,\d{3} bytes, 70,000 are free"):
        save(tmp_path, 2, {"a": Held(torch.ones(10_000))})
    shutil.rmtree(tmp_path / "small")
    assert tree(tmp_path) == before


def test_a_disk_that_fills_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, {"a": Held(1)})
    before = tree(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=f"^{tmp_path}/checkpoints/step-2: cannot write .*: No space left on device$"):
        save(tmp_path, 2, {"a": Held(torch.ones(10))})
    assert tree(tmp_path) == before


SAVING = """
import os, resource, sys, torch
from pathlib import Path
from rl.runtime import exit_codes, save
class Held:
    def __init__(self, state): self.state = state
    def state_dict(self): return self.state
    def load_state_dict(self, state): pass
run = Path(sys.argv[1])
"""


def python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SAVING + textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_file_size_limit_ends_with_one_line_and_the_old_checkpoint(tmp_path: Path) -> None:
    done = python(
        """
        save(run, 1, {"a": Held(torch.ones(100))})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with exit_codes():
            save(run, 2, {"a": Held(torch.ones(10_000))})
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}/checkpoints/step-2: cannot write the checkpoint: File too large\n"
    assert steps(tmp_path) == [1]
    assert load(newest(tmp_path))["a"].sum() == 100
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_a_forbidden_folder_ends_with_one_line() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to the user that root becomes
        run = Path(name)
        run.chmod(0o755)
        (run / "checkpoints").mkdir(mode=0o555)
        done = python(
            """
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write anywhere
            with exit_codes():
                save(run, 1, {"a": Held(1)})
            """,
            run,
        )
        left = list((run / "checkpoints").iterdir())
    assert (done.returncode, done.stdout, left) == (2, "", [])
    stray = f"{run}/checkpoints/.step-1.tmp-{_pid(done.stderr)}"
    assert done.stderr == f"error: {stray}: cannot write the checkpoint: Permission denied\n"


def _pid(text: str) -> str:
    return text.partition(".tmp-")[2].partition(":")[0]


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(InputError, match=r"checkpoints: cannot write the checkpoint: File exists"):
        save(tmp_path, 1, {"a": Held(1)})


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_while_saving_always_leaves_the_last_good_checkpoint(tmp_path: Path, kills: int) -> None:
    """Children save without pause and are killed at random times; none loses a checkpoint that had been reported."""
    done = python(
        """
        import random, signal, time
        from rl.runtime import newest, load
        chance = random.Random(0)
        reported = run / "reported"
        last = 0
        for kill in range(int(sys.argv[2])):
            child = os.fork()
            if child == 0:
                step = last
                while True:
                    step += chance.random() < 0.8  # sometimes the same step again
                    save(run, step, {"g": Held(torch.full((3000,), float(step))), "d": Held(torch.full((9,), step))})
                    reported.with_suffix(".new").write_text(str(step))
                    reported.with_suffix(".new").replace(reported)
            chance.random()
            time.sleep(0.03 + 0.06 * chance.random())
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if not reported.exists():
                continue
            folder = newest(run)
            state = load(folder)
            last = int(state["d"][0])
            assert folder.name.removesuffix(".old") == f"step-{last}" and (state["g"] == last).all(), folder
            assert last >= int(reported.read_text()), (last, reported.read_text())
        print(last)
        """,
        tmp_path,
        kills,
    )
    assert (done.returncode, done.stderr) == (0, "")  # no warning: no checkpoint was ever torn
    assert int(done.stdout) > kills // 4
    save(tmp_path, 10**6, {"a": Held(1)})
    assert all(path.name.startswith("step-") for path in (tmp_path / "checkpoints").iterdir())


def test_the_manifest_lists_sizes_and_hashes(tmp_path: Path) -> None:
    import hashlib

    folder = save(tmp_path, 4, {"a": Held(torch.ones(2))})
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["step"] == 4
    data = (folder / "a.safetensors").read_bytes()
    assert manifest["files"]["a.safetensors"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_an_optimizer_goes_on_where_weights_lie_as_channels_last(tmp_path: Path, kind: str) -> None:
    """A fused step reads weights and its own memory in the order of their bytes; files hold the plain order alone."""

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        settings: dict[str, Any] = {"fused": True} if kind == "Adam" else {}
        return net, getattr(torch.optim, kind)(net.parameters(), 0.1, **settings)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    torch.manual_seed(0)
    x, (net, optimizer) = torch.randn(2, 3, 5, 5), made()
    step(net, optimizer)
    save(tmp_path, 1, {"net": net, "optimizer": optimizer})
    other, its_optimizer = made()
    restore(newest(tmp_path), {"net": other, "optimizer": its_optimizer})
    for _ in range(2):
        step(net, optimizer)
        step(other, its_optimizer)
    assert all(bits(a) == bits(b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
