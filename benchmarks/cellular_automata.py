"""How fast are elementary cellular automata beside rolls in numpy, and what does teaching cost?

    python benchmarks/cellular_automata.py [--repeats 5]

One thread, CPU seconds, median of the repeats. The rival rolls the state to both sides, forms the
index of each neighbourhood and looks the next cell up, as the released generator of the paper does.
Then the overhead of requential coding: a teacher, its average, sampling and a student, beside the
prequential run of the same observer on the same data.
"""

import argparse
import platform
from collections.abc import Callable
from dataclasses import replace

import numba
import numpy as np
import torch

from _timing import seconds_of
from entropilot.information import eca, kt_epiplexity
from entropilot.studies.automaton_observer import (
    ObserverSettings,
    learn_as_student,
    learn_online,
)
from entropilot.studies.epiplexity import SETTINGS, automaton_pairs


def seconds(work: Callable[[], object], repeats: int) -> float:
    return seconds_of(work, repeats, warm=False)[0]


def rolled(state: np.ndarray, steps: int, rule: int) -> np.ndarray:
    table = np.array([rule >> i & 1 for i in range(8)], np.uint8)
    for _ in range(steps):
        left, right = np.roll(state, 1, axis=-1), np.roll(state, -1, axis=-1)
        state = table[(left << 2) + (state << 1) + right]
    return state


def race(rows: int, width: int, steps: int, repeats: int) -> None:
    state = np.random.default_rng(0).integers(0, 2, (rows, width), dtype=np.uint8)
    same = (rolled(state, 50, 30) == eca(state, 50, 30)).all()
    ours = seconds(lambda: [eca(state, steps, 30) for _ in range(10)], repeats) / 10
    theirs = seconds(lambda: rolled(state, steps, 30), min(repeats, 3))
    per_cell = ours / (rows * width * steps) * 1e9
    words = rows * -(-width // 64)
    word_ns = ours / (words * steps) * 1e9
    print(
        f"{rows} x {width}, {steps} steps: numpy {theirs:.3f} s, eca {ours * 1e3:.2f} ms, "
        f"{theirs / ours:.0f}x; {per_cell:.4f} ns a cell, {word_ns:.2f} ns a word of 64 "
        f"(about 24 operations); same cells: {same}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(
        f"python {platform.python_version()}, numba {numba.__version__}, numpy {np.__version__}, "
        f"torch {torch.__version__}, {platform.machine()}, one thread"
    )
    eca(np.zeros((1, 3), np.uint8), 1, 30)
    eca(np.zeros((1, 99), np.uint8), 1, 30)
    for rows, width, steps in ((1536, 64, 1000), (1536, 32, 1000), (384, 1000, 1000)):
        race(rows, width, steps, repeats)

    observer = replace(ObserverSettings(), n_steps=100)
    source = automaton_pairs(SETTINGS["quick"], 54)
    made = seconds(lambda: source(100 * 32, np.random.default_rng(0)), repeats)
    alone = seconds(lambda: learn_online(source, observer, 0), repeats)
    taught = seconds(lambda: learn_as_student(source, observer, 0), repeats)
    print(
        f"100 updates of the study's observer: prequential {alone:.2f} s (data {made * 1e3:.1f} ms "
        f"of it, {made / alone:.2%}), requential {taught:.2f} s, {taught / alone:.2f}x"
    )

    stream = np.random.default_rng(0).integers(0, 256, 1_000_000)
    kt_epiplexity(stream[:100], 256, 1)
    took = seconds(lambda: kt_epiplexity(stream, 256, 1), repeats)
    print(f"KT code of 1,000,000 bytes, order 1: {took * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
