"""Traces for the instability study: planted ones, recorded ones, and freshly sampled ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.studies.study import Progress
from entropilot.traces.reading.sources import load_traces
from entropilot.traces.table import Tokens, Traces, Vocabulary, ragged_offsets, trace_rows

Floats = NDArray[np.float64]

N_STATES: Final = 64  # of the planted process
K: Final = 20  # listed alternatives, as chat servers give at most
SMOLLM2_VOCABULARY: Final = 49_152
RECORDED_VARIABLE: Final = "ENTROPILOT_TEST_DATA"
RECORDED_PATH: Final = Path("traces") / "smollm2_onestep.jsonl.gz"


def planted_traces(n_problems: int, n_samples: int, seed: int) -> Traces:
    """Traces of a Markov chain whose errors go with its entropy and with late bursts.

        p_t        = softmax(logits[state] / heat_t)
        heat_t     = exp(0.3 z), doubled during a burst of five tokens that starts at u T
        P(wrong)   = 1 / (1 + exp(-1.5 z - [u >= 1/2] + [u < 1/4]))

    Args:
        n_problems: groups.
        n_samples: traces a group.
        seed: of everything.

    Returns:
        Traces with lists of 20 of 64 alternatives, exact entropies and exact divergences.

    Examples:
        >>> traces = planted_traces(3, 2, seed=0)
        >>> len(traces), traces.tokens.top_piece.shape[1]
        (6, 20)
    """
    rng = np.random.default_rng([seed, 0x1257])
    n = n_problems * n_samples
    length = rng.integers(20, 41, n)
    z, u = rng.normal(size=n), rng.uniform(0.05, 0.85, n)
    wrong = rng.random(n) < 1 / (1 + np.exp(-1.5 * z - (u >= 0.5) + (u < 0.25)))
    logits = 2.5 * rng.normal(size=(N_STATES, N_STATES))
    state = rng.integers(0, N_STATES, n)
    burst = (u * length).astype(np.int64)
    columns = []
    before: Floats | None = None
    for t in range(int(length.max())):
        hot = (t >= burst) & (t < burst + 5)
        log_p = _log_softmax(logits[state] / (np.exp(0.3 * z) * (1 + hot))[:, None])
        state = _draw(log_p, rng)
        columns.append(_token_row(log_p, state, before))
        before = log_p
    alive = np.arange(len(columns)) < length[:, None]  # [n, T]
    token, logprob, piece, top, entropy, jsd = (
        np.stack(parts, axis=1)[alive] for parts in zip(*columns, strict=True)
    )
    tokens = Tokens(
        ragged_offsets(length),
        token.astype(np.int32),
        logprob.astype(np.float32),
        piece.astype(np.int32),
        top.astype(np.float32),
        np.full(len(token), K, dtype=np.int16),
        entropy.astype(np.float32),
        jsd.astype(np.float32),
    )
    group = [f"planted-{seed}-{i // n_samples}" for i in range(n)]
    rows = trace_rows(
        {
            "id": [f"{g}-s{i % n_samples}" for i, g in enumerate(group)],
            "group": group,
            "correct": ~wrong,
            "logprobs_kind": ["raw"] * n,
        },
        n,
    )
    pieces = [f"<{i}>".encode() for i in range(N_STATES)]
    return Traces(rows, tokens, Vocabulary.from_pieces(pieces, np.arange(N_STATES)))


def recorded_traces() -> Traces | None:
    """The 256 recorded traces on which the checks were set; None where they are not at hand.

    The folder is named by the environment variable ENTROPILOT_TEST_DATA.

    Examples:
        >>> found = recorded_traces()
        >>> found is None or len(found) == 256
        True
    """
    folder = os.environ.get(RECORDED_VARIABLE)
    path = Path(folder) / RECORDED_PATH if folder else None
    return load_traces(path) if path is not None and path.is_file() else None


def sampled_traces(n_problems: int, n_samples: int, seed: int, progress: Progress) -> Traces:
    """Fresh answers of SmolLM2-135M-Instruct to one-step word problems.

    Sample 0 of each problem takes the most likely token, the others draw at temperature 0.7.

    Args:
        n_problems: problems, chosen by the seed.
        n_samples: answers a problem, >= 1.
        seed: of problems and draws.
        progress: called with the share done.

    Returns:
        Traces with top-20 lists, exact entropies and divergences, answers and labels.

    Raises:
        ModelError: the weights are not at hand.
        MissingExtraError: torch is not installed.
    """
    from entropilot.models.loaders import load_model
    from entropilot.models.sampler import sample
    from entropilot.policy.tasks.word_problems import (
        few_shot_prompt,
        is_correct,
        parse_answer,
        word_problems,
    )

    problems = word_problems(n_problems, seed=seed)
    traces = sample(
        load_model("smollm2"),
        [few_shot_prompt(problem.question) for problem in problems],
        n_samples=n_samples,
        temperature=[0.0] + [0.7] * (n_samples - 1),
        max_tokens=64,
        stop=("\n",),
        seed=seed,
        top_k_logprobs=K,
        groups=[problem.id for problem in problems],
        progress=progress,
    )
    right_answer = {problem.id: problem.answer for problem in problems}
    texts, groups = traces.rows["text"].to_list(), traces.rows["group"].to_list()
    references = [right_answer[group] for group in groups]
    labels = [is_correct(text, ref) for text, ref in zip(texts, references, strict=True)]
    rows = traces.rows.with_columns(
        pl.Series("answer", [parse_answer(text) for text in texts], dtype=pl.String),
        pl.Series("reference", [str(ref) for ref in references], dtype=pl.String),
        pl.Series("correct", labels, dtype=pl.Boolean),
    )
    labelled: Traces = replace(traces, rows=rows)
    return labelled


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _draw(log_p: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Gumbel's trick: the argmax of noisy log-probabilities is a draw."""
    return np.asarray((log_p + rng.gumbel(size=log_p.shape)).argmax(axis=1), dtype=np.int64)


def _token_row(
    log_p: Floats, token: NDArray[np.int64], before: Floats | None
) -> tuple[NDArray[np.int64] | Floats, ...]:
    rows = np.arange(len(token))
    piece = np.argsort(-log_p, axis=1, kind="stable")[:, :K]
    p = np.exp(log_p)
    jsd = np.full(len(token), np.nan)
    if before is not None:
        q = np.exp(before)
        log_m = np.log((p + q) / 2)
        jsd = (p * (log_p - log_m)).sum(axis=1) / 2 + (q * (before - log_m)).sum(axis=1) / 2
    entropy = -(p * log_p).sum(axis=1)
    return (
        token,
        log_p[rows, token],
        piece,
        np.take_along_axis(log_p, piece, axis=1),
        entropy,
        jsd,
    )
