"""Agents in gymnasium: collecting, demonstrations, cloning, PPO, TRPO, SAC, TD3, and what they imitate with."""
