"""From a few means to a distribution, and from a driving force to fluctuations and response.

python examples/maximum_entropy.py
"""

import numpy as np

from entropilot.information import (
    entropy_production,
    max_caliber,
    maxent,
    maxent_ladder,
    path_free_energy,
    temperature_for_entropy,
)

faces = np.arange(1, 7)
die = maxent(faces, 4.5)
print(f"a die with mean 4.5: {die.p.round(3)}, {die.entropy:.4f} nats (gap {die.gap:.0e})")

ladder = maxent_ladder([faces, faces == 6], [4.5, 0.4], names=["mean", "sixes"])
print(f"the mean tells {ladder.information[0]:.4f} nats, sixes {ladder.information[1]:.4f} more")
try:
    maxent(np.stack([faces, faces == 6], 1), [4.5, 0.9], names=["mean", "sixes"])
except ValueError as error:
    print(f"a mean of 4.5 with 90 % sixes: {error}")

logits = np.random.default_rng(0).standard_normal(1000) * 4
print(f"temperature for 3 nats: {temperature_for_entropy(logits, 3.0):.4f}")

gate, is_open = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0.0, 1.0])
for force in (0.0, 1.0):
    psi, mean, var = path_free_energy(gate, is_open, force)
    h = 1e-4
    sides = [path_free_energy(gate, is_open, force + s * h).mean for s in (1, -1)]
    print(
        f"force {force:g}: open {mean:.4f} of the time, fluctuations {var:.4f}, "
        f"response {(sides[0] - sides[1]) / (2 * h):.4f}"
    )
half = max_caliber(gate, is_open, 0.5)
print(f"open half the time: force {half.lam[0]:.4f}, {half.information:.4f} nats a step away")

ring = 0.6 * np.eye(3) + 0.3 * np.roll(np.eye(3), 1, 1) + 0.1 * np.roll(np.eye(3), -1, 1)
print(f"a ring driven 3 to 1 produces {entropy_production(ring).rate:.6f} nats a step")
