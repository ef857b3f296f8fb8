"""What does a diagnosis cost after reading? Steps, measures, frame and summary, CPU time a token.

    python benchmarks/summarise_traces.py --tokens 500000

One thread, on a synthetic log (20 alternatives a token, traces of 100 to 500 tokens, lines, blank
lines). Each stage runs once to compile, then three times; the best counts. The last row summarises
the same log in batches of 9000 tokens, about what 16 MiB of chat completions hold, where the choice
of exemplars costs more. The monitor row is the online form, one token at a time.
"""
# ruff: noqa: E402 - thread counts must be set before the libraries load

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

for _name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

import numba
import numpy as np
import polars as pl

from entropilot.traces.frame import trace_frame
from entropilot.traces.measures import token_measures
from entropilot.traces.monitor import InstabilityMonitor
from entropilot.traces.steps import RULES, split_steps
from entropilot.traces.summary import Summary, summarise
from entropilot.traces.table import Tokens, Traces, Vocabulary, ragged_offsets, trace_rows

K, WORDS = 20, 20_000
FREQUENT = [b" the", b".", b". ", b"\n", b"\n\n", b" Wait", b",", b" =", b" <", b" \\frac", b"["]


def synthetic(n_tokens: int, seed: int = 0) -> Traces:
    """A log shaped like real ones: gamma-distributed sharpness, a fifth of frequent pieces."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(100, 500, size=n_tokens // 100)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), n_tokens))]
    n = int(lengths.sum())
    words = [b" " + rng.integers(97, 123, rng.integers(1, 9)).astype("u1").tobytes()
             for _ in range(WORDS - len(FREQUENT))]  # fmt: skip
    piece = rng.integers(len(FREQUENT), WORDS, n)
    frequent = rng.random(n) < 0.2
    piece[frequent] = rng.integers(0, len(FREQUENT), int(frequent.sum()))
    logits = rng.normal(size=(n, K + 5)) * rng.gamma(2, 1.5, size=(n, 1))
    logits = np.sort(logits, axis=1)[:, ::-1]
    logprob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    top = (piece[:, None] + np.arange(K) * rng.integers(1, 97, (n, 1))) % WORDS
    tokens = Tokens(
        ragged_offsets(lengths),
        piece.astype(np.int32),
        logprob[:, 0].astype(np.float32),
        top.astype(np.int32),
        np.ascontiguousarray(logprob[:, :K], dtype=np.float32),
        np.full(n, K, np.int16),
    )
    rows = {"id": [f"t{i}" for i in range(len(lengths))], "line": list(range(len(lengths)))}
    vocabulary = Vocabulary.from_pieces(FREQUENT + words, np.arange(WORDS))
    return Traces(trace_rows(rows, len(lengths)), tokens, vocabulary)


def race(name: str, n_tokens: int, function: Callable[[], Any], repeats: int = 3) -> None:
    function()
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        function()
        best = min(best, time.process_time() - began)
    print(f"{name:28s} {best / n_tokens * 1e6:7.3f} us/token")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=500_000)
    traces = synthetic(parser.parse_args().tokens)
    n = len(traces.tokens)
    print(f"{n} tokens, {len(traces)} traces; Python {platform.python_version()}, numpy "
          f"{np.__version__}, numba {numba.__version__}, polars {pl.__version__}")  # fmt: skip
    for rule in RULES:
        if rule not in ("regex", "spans"):
            race(f"split_steps {rule}", n, lambda rule=rule: split_steps(traces, rule))
    split = split_steps(traces)
    measures = token_measures(split, WORDS)
    race("token_measures", n, lambda: token_measures(split, WORDS))
    race("trace_frame", n, lambda: trace_frame(split, measures))
    race("summarise, measured already", n, lambda: summarise(split, measures=measures))
    race("steps + measures + summary", n, lambda: summarise(split_steps(traces)))
    size = max(1, round(9000 / (n / len(traces))))
    batches = [traces.take(np.arange(i, min(i + size, len(traces))))
               for i in range(0, len(traces), size)]  # fmt: skip

    def fold() -> None:
        summary = Summary()
        for batch in batches:
            summary = summarise(split_steps(batch), onto=summary)

    race("the same in batches", n, fold)
    lists = [
        (ids, values)
        for ids, values in zip(
            traces.tokens.top_piece[:2000], traces.tokens.top_logprob[:2000], strict=True
        )
    ]

    def watch() -> None:
        monitor = InstabilityMonitor()
        for step in lists:
            monitor.push(step)

    race("InstabilityMonitor.push", len(lists), watch, 1)


if __name__ == "__main__":
    main()
