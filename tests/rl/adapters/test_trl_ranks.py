"""TRL on two processes: its own launch, gloo, and one discriminator."""

import json
from pathlib import Path
from typing import Any

from tests.ranks import run_ranks

SCRIPT = """
import json, os, sys
from trl import GRPOConfig, GRPOTrainer
from rl.adapters.adversarial_reward import Learning
from rl.adapters.trl import AdversarialReward
from tests.rl.adapters.bags import Bag, equal, state_of
from tests.rl.adapters.tiny_lm import questions, tokenizer
from tests.rl.adapters.test_trl import SETTINGS

folder, rank = sys.argv[1], int(os.environ["RANK"])

def make():
    judge = Bag(seed=rank, dropout=0.3)  # attach gives all the first one's
    reward = AdversarialReward(judge, tokenizer(), demonstrations="answer", learning=Learning(rate=1e-2))
    settings = SETTINGS | {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps",
                           "eval_steps": 1, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4}
    trainer = GRPOTrainer(model=folder + "/policy", reward_funcs=reward, processing_class=tokenizer(),
                          train_dataset=questions(), eval_dataset=questions().select(range(2)),
                          args=GRPOConfig(output_dir=folder + "/out", **settings))
    reward.attach(trainer)
    return reward, trainer

reward, trainer = make()
start = state_of(reward.discriminator)
trainer.train()
resumed, other = make()
other.train(resume_from_checkpoint=folder + "/out/checkpoint-2")
told = {"generations": reward.generations, "moved": not equal(start, state_of(reward.discriminator)),
        "weights": [weight.tolist() for weight in reward.discriminator.parameters()],
        "repeats": equal(state_of(reward.discriminator), state_of(resumed.discriminator)),
        "said": reward.state_dict()["memory"]["ids"][rank].tolist(), "world": trainer.accelerator.num_processes}
print("told " + json.dumps(told))
"""


def test_two_processes_have_one_discriminator_and_resume_with_it(tmp_path: Path) -> None:
    from tests.rl.adapters.tiny_lm import saved_model

    saved_model(tmp_path / "policy")
    outputs = run_ranks(2, "-c", SCRIPT, tmp_path, HF_HUB_OFFLINE="1")
    lines = [next(line for line in out.splitlines() if line.startswith("told ")) for out in outputs]
    first, second = told = [json.loads(line.removeprefix("told ")) for line in lines]
    assert first["weights"] == second["weights"]
    assert first["said"] != second["said"]
    one: dict[str, Any]
    for one in told:
        assert one["world"] == 2
        assert one["generations"] == 4
        assert one["moved"]
        assert one["repeats"]
