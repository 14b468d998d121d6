"""Our reward inside other people's loops: gymnasium, Stable-Baselines3, TorchRL, TRL, OpenRLHF, verl, HTTP."""
