"""The kept answers of a training run as a table of traces, before and after each arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from entropilot.experiments.arms import plan_arms, read_answers
from entropilot.experiments.config import ExperimentConfig
from entropilot.traces.parquet import write_parquet
from entropilot.traces.table import Tokens, Traces, Vocabulary, ragged_offsets, trace_rows

TRACES_FILE: Final = "traces.parquet"


def write_traces(config: ExperimentConfig, folder: Path) -> Path:
    """Write ``traces.parquet``; the source of a trace names its arm and whether it is before."""
    answers: list[dict[str, Any]] = []
    for plan in plan_arms(config):
        for when, kept in read_answers(config, plan).items():
            source = f"{plan.name}: {'before' if when == 'start' else 'after'} training"
            answers += [{**answer, "source": source} for answer in kept]
    path = folder / TRACES_FILE
    write_parquet(answer_traces(answers, config.model.name, config.train.temperature), path)
    return path


def answer_traces(answers: list[dict[str, Any]], model: str, temperature: float) -> Traces:
    """Traces of kept answers.

    Args:
        answers: with "id", "prompt", "reference", "tokens", "logprob", "entropy", "correct",
            "truncated" and "source".
        model: name of the model.
        temperature: that they were drawn at.

    Examples:
        >>> answer = {"id": "p", "prompt": "1+1=", "reference": "2", "tokens": ["2"],
        ...     "logprob": [-0.1], "entropy": [0.2], "correct": True, "truncated": False,
        ...     "answer": "2", "source": "grpo"}
        >>> len(answer_traces([answer], "reasoner", 1.0))
        1
    """
    pieces = [text.encode() for answer in answers for text in answer["tokens"]]
    entries = list(dict.fromkeys(pieces))
    place = {piece: i for i, piece in enumerate(entries)}
    n = len(pieces)
    tokens = Tokens(
        ragged_offsets([len(answer["tokens"]) for answer in answers]),
        np.array([place[piece] for piece in pieces], dtype=np.int32),
        np.array([x for a in answers for x in a["logprob"]], dtype=np.float32),
        np.full((n, 0), -1, dtype=np.int32),
        np.full((n, 0), -np.inf, dtype=np.float32),
        np.zeros(n, dtype=np.int16),
        np.array([x for a in answers for x in a["entropy"]], dtype=np.float32),
    )
    columns = {
        "id": [f"{a['source']}, {a['id']}, {i}" for i, a in enumerate(answers)],
        "group": [f"{a['source']}, {a['id']}" for a in answers],
        "prompt": [a["prompt"] for a in answers],
        "text": ["".join(a["tokens"]) for a in answers],
        "reference": [a["reference"] for a in answers],
        "answer": [a["answer"] for a in answers],
        "correct": [a["correct"] for a in answers],
        "reward": [float(a["correct"]) for a in answers],
        "finish_reason": ["length" if a["truncated"] else "stop" for a in answers],
        "model": [model] * len(answers),
        "temperature": [temperature] * len(answers),
        "logprobs_kind": ["raw" if temperature == 1 else "sampling"] * len(answers),
        "source": [a["source"] for a in answers],
    }
    rows = trace_rows(columns, len(answers))
    return Traces(rows, tokens, Vocabulary.from_pieces(entries))
