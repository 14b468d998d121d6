import json
from pathlib import Path
from typing import Any

import pytest

from rl.runtime.checkpoints import load, newest
from tests.ranks import run_ranks

SCRIPT = """
import json, math, os, random, signal, sys
from pathlib import Path
import numpy as np
import torch
from torch import nn
from rl.runtime import Diverged, Engine, InputError, Log, Runtime, Stop, create, lock, restore, save

out = Path(sys.argv[1])
engine = Engine(Runtime(device="cpu", precision="fp32"), seed=0)
rank, told = engine.rank, {}
torch.manual_seed(10 + rank)  # ranks start from other weights: place makes them equal
net = engine.place(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)).eval())
net.register_buffer("flag", torch.tensor([rank == 0, False]))
net = engine.place(net)
told["flag"] = net.flag.tolist()
step = torch.optim.Adam(net.parameters(), 0.05)
rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(5))
mine = engine.shard(rows)

def loss(x):
    x = x.clone().requires_grad_(True)
    logits = net(x)
    slope, = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return nn.functional.softplus(logits).mean() + slope.square().sum(1).mean()

norms = [float(engine.update(step, loss(mine), name="net", clip=0.5)) for _ in range(5)]
told["norms"] = norms
told["weights"] = [weight.tolist() for weight in net.parameters()]
told["gather"] = engine.gather({"a": float(rank), "b": torch.tensor(3.0)})
told["rows"] = torch.equal(engine.gather_rows(mine), rows)
told["uneven"] = engine.gather_rows(torch.full((rank, 2), rank) > 0).tolist()
told["none"] = engine.gather_rows(torch.empty(0, 2)).shape
before = [weight.clone() for weight in net.parameters()]
try:  # only the last rank's loss is bad, all must stop
    bad = math.nan if rank == engine.world - 1 else 1.0
    engine.update(step, loss(mine) * 0 + torch.tensor(bad), name="net")
except Diverged as error:
    told["diverged"] = str(error)
told["untouched"] = all(torch.equal(a, b) for a, b in zip(before, net.parameters()))

run = create(out / "run", "family", "variant", {}, 0)
told["run"] = run.name
try:
    create(out / "run", "family", "variant", {}, 0)
except InputError as error:
    told["refused"] = str(error)
with lock(run), Log(run, 10) as log, Stop() as stop:
    log.log(1, {"a": float(rank)})
    random.gauss(0, 1) if rank == 0 else None
    folder = save(run, 1, {"engine": engine, "net": net, "step": step, "log": log})
    told["there"] = folder.exists()
    draw = lambda: [torch.rand(1).item(), np.random.rand(), random.gauss(0, 1)]
    told["draws"] = draw()
    restore(folder, {"engine": engine, "net": net, "step": step, "log": log})
    told["again"] = draw() == told["draws"]
    if rank == engine.world - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    told["stop"] = stop.requested
(out / f"rank-{rank}.json").write_text(json.dumps(told))
"""


def run(folder: Path, world: int) -> list[dict[str, Any]]:
    folder.mkdir()
    run_ranks(world, "-c", SCRIPT, folder)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(world)]


def flat(nested: Any) -> list[float]:
    return [number for item in nested for number in flat(item)] if isinstance(nested, list) else [nested]


def test_two_ranks_do_what_one_does(tmp_path: Path) -> None:
    (alone,), (first, second) = run(tmp_path / "one", 1), run(tmp_path / "two", 2)
    assert first["weights"] == second["weights"]
    assert flat(first["weights"]) == pytest.approx(flat(alone["weights"]), abs=1e-6)
    assert first["norms"] == pytest.approx(alone["norms"], abs=1e-6)
    for told in (first, second):
        assert told["flag"] == [True, False]
        assert told["gather"] == {"a": 0.5, "b": 3.0}
        assert told["uneven"] == [[True, True]]
        assert told["none"] == [0, 2]
        assert told["rows"]
        assert told["diverged"] == "net: update 6: the loss is nan"
        assert told["untouched"]
        assert told["run"] == "run"
        assert "holds a run" in told["refused"]
        assert told["there"]
        assert told["again"]
        assert told["stop"] == 15
    assert first["draws"] != second["draws"]
    run_dir = tmp_path / "two" / "run"
    assert len(load(newest(run_dir))["engine"]["generators"]["torch"]) == 2
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 1
