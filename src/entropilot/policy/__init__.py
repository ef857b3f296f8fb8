"""Reinforcement learning of policies, and the tasks that reward them."""
