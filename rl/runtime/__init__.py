"""Engine, checkpoints, logs: what every run needs and no algorithm knows."""

from rl.runtime.average import Average
from rl.runtime.errors import Diverged, InputError, Stopped, closest, exit_codes
from rl.runtime.position import Position
from rl.runtime.signals import Stop
