"""Engine, checkpoints, logs: what every run needs and no algorithm knows."""

from rl.runtime.average import Average
from rl.runtime.checkpoints import Damaged, Stateful, fingerprint, load, newest, restore, save, steps, verify
from rl.runtime.engine import Engine, Runtime
from rl.runtime.errors import Diverged, InputError, Stopped, closest, exit_codes, warn
from rl.runtime.generators import seeded
from rl.runtime.keeper import Keeper
from rl.runtime.logs import Log
from rl.runtime.meter import Meter
from rl.runtime.position import Position, turns_begun
from rl.runtime.rundir import create, lock, read_config, write_json
from rl.runtime.shuffled import Shuffled
from rl.runtime.signals import Stop
