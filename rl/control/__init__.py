"""Agents in gymnasium: collecting, demonstrations, behaviour cloning, PPO, TRPO, SAC, TD3, and what they imitate with."""
