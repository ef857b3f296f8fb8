"""Make the tiny reasoner that ships with the package: a short supervised warm-up on addition.

    python scripts/train_reasoner.py [--folder src/entropilot/models/reasoner]

It stops early on purpose: right about two times in three, in many ways, so that reinforcement
learning has something to gain and something to lose. The same script on the same machine and torch
makes the same bytes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from entropilot.files import write_atomically
from entropilot.policy.tasks.addition import Addition
from entropilot.policy.training.warm_up import WarmUp, held_out, warm_up

TASK = Addition(digits=2)
SETTINGS = WarmUp(steps=250, batch_size=128, seed=0)
FOLDER = Path(__file__).parent.parent / "src" / "entropilot" / "models" / "reasoner"


def main() -> None:
    """Train, save, and write down how it was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    model = warm_up(TASK, SETTINGS, progress=lambda step, loss: step % 50 or print(step, loss))
    model.save(folder)
    cross_entropy, entropy = held_out(model, TASK)
    made = {
        "task": repr(TASK),
        "warm_up": {**asdict(SETTINGS), "network": dict(SETTINGS.network)},
        "held_out_cross_entropy": cross_entropy,
        "held_out_entropy": entropy,
        "torch": torch.__version__.partition("+")[0],
    }
    write_atomically(folder / "made.json", json.dumps(made, indent=1) + "\n")
    print(f"held-out cross-entropy {cross_entropy:.4f}, entropy {entropy:.4f} nats: {folder}")


if __name__ == "__main__":
    main()
