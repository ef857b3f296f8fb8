"""Train the network of time steps that the package ships: 400 episodes of deep Q-learning.

    python scripts/train_step_network.py                # about a minute and a half on one core

The same seed gives the same file on one machine; starts from 100000 on are never trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from entropilot.physics.step_learning import TRAINED, save_network, train_network
from entropilot.physics.step_policies import evaluate

EPISODES, SEED = 400, 0


def main() -> None:
    """Train, say how it does, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TRAINED, help="file to write")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    arguments = parser.parse_args()
    network = train_network(episodes=arguments.episodes, seed=SEED)
    found = evaluate(network, range(100_000, 100_030)).summary()
    print({name: round(value, 3) for name, value in found.items()})
    about = {"episodes": arguments.episodes, "seed": SEED, "integrator": "hermite"}
    print(save_network(arguments.out, network, about | found))


if __name__ == "__main__":
    main()
