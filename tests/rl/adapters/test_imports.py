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
