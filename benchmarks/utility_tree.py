"""Does reading all prefixes of a chain in one pass beat one pass a prefix, and by how much?

Question: time of a trajectory with K = 8 steps, tree attention against naive, same numbers.
Bound: the naive way reads sum_k (L_k + S) tokens, the tree L + (K+1) S; matrix products are
proportional to tokens, so their ratio is the speed-up that is to be had.

    python benchmarks/utility_tree.py [--model smollm2] [--repeats 5]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import transformers

from entropilot.models.inspector import NaiveInspector, TreeInspector
from entropilot.models.loaders import load_model
from entropilot.traces.inspection import CONNECTOR, answer_tokens, entropy_trajectory

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?"
)
STEPS = [
    "In April Natalia sold clips to 48 friends, one clip to each of them.",
    "So she sold 48 clips in April.",
    "In May she sold half as many clips as in April.",
    "Half of 48 is 48 / 2 = 24, which is the number of clips in May.",
    "We now have the clips of both months, 48 and 24.",
    "The question asks for the clips of April and May together.",
    "So the two numbers must be added.",
    "Altogether she sold 48 + 24 = 72 clips.",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    model = load_model(options.model)
    tree, naive = TreeInspector(model), NaiveInspector(model)
    times: dict[str, list[float]] = {"tree": [], "naive": []}
    found = {}
    for _ in range(options.repeats + 1):  # the first round warms up; rounds alternate
        for name, inspector in (("tree", tree), ("naive", naive)):
            start = time.perf_counter()
            found[name] = entropy_trajectory(inspector, QUESTION, STEPS, "72")
            times[name].append(time.perf_counter() - start)
    best = {name: min(values[1:]) for name, values in times.items()}
    lengths = np.cumsum([len(tree.tokenize(QUESTION)), *found["tree"].step_tokens])
    link, answer = answer_tokens(tree.tokenize, CONNECTOR, "72")
    suffix = len(link) + len(answer) - 1
    bound = (lengths + suffix).sum() / (lengths[-1] + len(lengths) * suffix)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {model.name}")
    print(f"{torch.get_num_threads()} threads; K = {len(STEPS)}, L = {lengths[-1]}, S = {suffix}")
    print(f"tree {best['tree']:.3f} s, naive {best['naive']:.3f} s (best of {options.repeats})")
    print(f"speed-up {best['naive'] / best['tree']:.1f}, token bound {bound:.1f}")
    error = np.abs(found["tree"].per_token - found["naive"].per_token).max()
    print(f"largest difference {error:.1e} nats")


if __name__ == "__main__":
    main()
