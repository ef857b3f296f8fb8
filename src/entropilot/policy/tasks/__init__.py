"""Tasks with answers that can be checked."""
