"""Training dynamics: what a network's layers do from step to step, and what steers its learning."""
