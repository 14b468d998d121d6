"""Engine, checkpoints, logs: what every run needs and no algorithm knows."""
