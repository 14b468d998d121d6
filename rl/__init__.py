"""Learning from a learned reward: the ground floor of every family."""
