"""Two processes play one game: the same weights, the same memory, the same number of steps whatever passes where."""

import json
from pathlib import Path

from tests.ranks import run_ranks

SCRIPT = """
import json, sys
from dataclasses import replace
import torch
from rl.objectives import SeqGAN
from rl.runtime import Engine, Runtime
from seqgan.lm.earning import gated
from seqgan.lm.rewarded import RewardedPlayers
from tests.seqgan.lm.toys import TINY, task

engine = Engine(Runtime(device="cpu", precision="fp32"), seed=0)
n = replace(TINY, advantage="gae", batch=16, group=4, minibatch=8, warm_sft=True)
the = task(prompt=2)
if engine.rank == 1:  # nothing passes here
    the = replace(the, verifier=lambda rollout: torch.zeros(len(rollout.mask)))
learner = RewardedPlayers(n, the, engine, objective=SeqGAN(), compose=gated, passing_only=True)
learner.begin()
learner.warm()
for _ in range(3):
    learner.round()
nets = (learner.generator, learner.discriminator, learner.start, learner.values.head)
told = {"weights": [w.flatten().tolist() for net in nets for w in net.parameters()],
        "memory": learner.memory.rows.tolist(), "seen": learner.memory.seen,
        "drawn": torch.rand(1).item()}
open(f"{sys.argv[1]}/{engine.rank}.json", "w").write(json.dumps(told))
"""


def test_two_ranks_stay_one(tmp_path: Path) -> None:
    run_ranks(2, "-c", SCRIPT, tmp_path)
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one["drawn"] != two["drawn"], "each rank draws its own"
    assert one["weights"] == two["weights"]
    assert one["memory"] == two["memory"]
    assert one["seen"] == two["seen"] > 0
