import subprocess
import sys

import rl

HEAVY = {
    "gymnasium",
    "transformers",
    "datasets",
    "matplotlib",
    "tensorboard",
    "torchmetrics",
    "sacrebleu",
    "rich",
    "tyro",
}


def test_rl_imports_nothing_heavy():
    code = "import sys, rl; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & HEAVY


def test_every_public_name_exists_once():
    assert len(set(rl.__all__)) == len(rl.__all__)
    assert all(hasattr(rl, name) for name in rl.__all__)
