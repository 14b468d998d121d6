"""A command as several processes that find each other, as torchrun starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def run_ranks(world: int, *arguments: object, seconds: float = 240, **settings: str) -> list[str]:
    """Run Python with these arguments as each of `world` ranks, one thread each; what they print, if all end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(world)}
    common = os.environ | meeting | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)} | settings
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=CHECKOUT,
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        outputs = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * world, [errors[-2000:] for _, errors in outputs]
    return [out for out, _ in outputs]
