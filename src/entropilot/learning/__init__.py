"""Learning dynamics: how large a step is safe, and what training does to representations."""
