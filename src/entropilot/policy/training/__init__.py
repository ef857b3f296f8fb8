"""The built-in trainer: rollouts, updates, evaluation, checkpoints, metrics."""
