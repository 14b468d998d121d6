import subprocess
import sys


def test_adapters_import_only_their_own_library():
    code = """
import sys, rl.adapters
print("gymnasium" in sys.modules)
import rl.adapters.gymnasium, rl.adapters.torchrl
print(*({"stable_baselines3", "torchrl", "tensordict", "trl"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", ""]


def test_the_learning_reward_needs_no_library_until_a_loop_has_one():
    code = """
import sys, rl.adapters.adversarial_reward, rl.adapters.client, rl.adapters.openrlhf, rl.adapters.verl
print(*({"gymnasium", "transformers", "datasets", "trl", "fastapi", "uvicorn", "seqgan"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [""]
