"""PEAR's phase entropies and reward for answers on disk (arXiv 2510.08026), without a trainer.

Two kinds of file. *Logs* of any dialect that the reader knows: the entropy of a token is that of
the whole vocabulary where the log has it, else a lower bound from the listed alternatives, else
the surprisal of the token, whose mean is an unbiased but noisy estimate of the mean entropy. And
*plain lines* of tokens and entropies as a trainer writes them.

The phases are those of the reward: thinking before the first end tag, the answer after it, the tag
in neither; without a tag all is thinking.

Legend: n answers, N tokens in all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.policy.phase_entropy_reward import (
    pear_penalty,
    pear_reward,
    penalty_variance_share,
)
from entropilot.traces.measures import token_measures
from entropilot.traces.steps.offsets import token_text
from entropilot.traces.table import Traces

END_TAG: Final = "</think>"
MOST_ENTROPY: Final = 25.0  # nats; a vocabulary of 72 thousand million tokens
NONE, FULL, LISTED, SURPRISAL = "none", "entropy", "entropy_lower", "surprisal"

#: Columns of the table of phases; entropies in nats, null for answers without a measure.
SCHEMA: Final[dict[str, Any]] = {
    "id": pl.String,
    "group": pl.String,
    "line": pl.Int64,
    "correct": pl.Boolean,
    "n_tokens": pl.Int64,
    "n_think": pl.Int64,
    "n_answer": pl.Int64,
    "has_tag": pl.Boolean,
    "measure": pl.String,
    "h_think": pl.Float64,
    "h_answer": pl.Float64,
}


def phase_table(
    traces: Traces, end_tag: str = END_TAG, start_tag: str | None = None
) -> pl.DataFrame:
    """Mean entropy of the two phases of every answer of a log.

    Args:
        traces: of ``load_traces`` or ``read_traces``.
        end_tag: text that ends thinking; a token that holds a part of it belongs to it.
        start_tag: left out of the thinking where an answer begins with it; None counts it, as the
            formula does.

    Returns:
        Frame of ``SCHEMA``; a phase without tokens has 0.

    Raises:
        InputError: an empty tag.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> phase_table(empty_traces()).height
        0
    """
    if not end_tag or start_tag == "":
        raise InputError("a tag is empty; name the text that ends (or begins) thinking")
    tokens, joined = traces.tokens, token_text(traces)
    values, measure = _measured(traces)
    think, answer = np.zeros(len(tokens), bool), np.zeros(len(tokens), bool)
    has_tag = []
    for i in range(len(traces)):
        span = slice(int(tokens.offsets[i]), int(tokens.offsets[i + 1]))
        start, stop = joined.token[:-1][span], joined.token[1:][span]
        text, base = joined.of(i), int(joined.trace[i])
        at = text.find(end_tag.encode())
        has_tag.append(at >= 0)
        if at < 0:
            think[span] = True
        else:
            think[span] = stop <= base + at
            answer[span] = start >= base + at + len(end_tag.encode())
        if start_tag is not None and text.lstrip().startswith(start_tag.encode()):
            opened = base + text.find(start_tag.encode()) + len(start_tag.encode())
            think[span] &= start >= opened
    owner = np.repeat(np.arange(len(traces)), tokens.lengths)
    columns = _means(values, think, answer, owner, len(traces))
    known = np.array([name != NONE for name in measure], bool)
    rows = traces.rows
    return pl.DataFrame(
        {
            "id": rows["id"],
            "group": rows["group"],
            "line": rows["line"],
            "correct": rows["correct"],
            "n_tokens": tokens.lengths,
            "n_think": columns.n_think,
            "n_answer": columns.n_answer,
            "has_tag": has_tag,
            "measure": measure,
            "h_think": [h if k else None for h, k in zip(columns.h_think, known, strict=True)],
            "h_answer": [h if k else None for h, k in zip(columns.h_answer, known, strict=True)],
        },
        schema=SCHEMA,
        strict=False,
    )


def read_phase_lines(
    path: Path, end_tag: str | Sequence[int] = END_TAG, n_vocab: int | None = None
) -> pl.DataFrame:
    r"""The same from JSON lines of {"tokens", "entropies"}, and "correct", "id", "group" if known.

    Args:
        path: the file.
        end_tag: text that ends thinking, where tokens are texts; its token ids, where they are ids.
        n_vocab: V, to recognise entropies above ln V (bits).

    Raises:
        InputError: names file, line and field.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "rollouts.jsonl"
        >>> line = {"tokens": ["a", "</think>", "b"], "entropies": [0.5, 0, 0.1], "correct": True}
        >>> _ = file.write_text(json.dumps(line))
        >>> read_phase_lines(file).select("h_think", "h_answer", "n_tokens").rows()
        [(0.5, 0.1, 3)]
    """
    rows = list(_plain_rows(Path(path), end_tag, n_vocab))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row", strict=False)


def is_phase_lines(path: Path) -> bool:
    """Whether the first line of a file is one that ``read_phase_lines`` reads."""
    try:
        with path.open("rb") as lines:
            first = next((line for line in lines if line.strip()), b"")
        row = json.loads(first)
    except (OSError, ValueError):
        return False
    return isinstance(row, dict) and {"tokens", "entropies"} <= set(row)


def with_pear_reward(
    phases: pl.DataFrame,
    alpha: float = 1.0,
    score: float = 1.0,
    format_score: float = 0.0,
    floor: float | None = None,
) -> pl.DataFrame:
    """The table with penalty and reward of each answer.

    Args:
        phases: of ``phase_table``, with ``correct`` filled in where it is known.
        alpha: see ``pear_penalty``.
        score: see ``pear_reward``.
        format_score: see ``pear_reward``.
        floor: see ``pear_reward``.

    Returns:
        The frame with ``penalty`` and ``reward``; the reward is null where ``correct`` is, and both
        are where an answer has no measure.

    Examples:
        >>> line = ["a", None, 1, True, 3, 1, 1, True, "entropy", 0.5, 0.1]
        >>> table = pl.DataFrame([line], schema=SCHEMA, orient="row")
        >>> with_pear_reward(table).select("penalty", "reward").rows()
        [(0.4, 0.6)]

    Source: arXiv 2510.08026.
    """
    known = phases["h_think"].is_not_null().to_numpy()
    think, answer = (
        torch.from_numpy(phases[name].fill_null(0.0).to_numpy().copy())
        for name in ("h_think", "h_answer")
    )
    penalty = pear_penalty(think, answer, alpha)
    correct = torch.from_numpy(phases["correct"].fill_null(value=False).to_numpy().copy())
    reward = pear_reward(correct, penalty, score, format_score, floor)
    judged = known & phases["correct"].is_not_null().to_numpy()
    return phases.with_columns(
        penalty=pl.Series(penalty.numpy()).set(pl.Series(~known), None),
        reward=pl.Series(reward.numpy()).set(pl.Series(~judged), None),
    )


def score_summary(scored: pl.DataFrame) -> dict[str, float | int | None]:
    """What to look at before a run: means, the share without a tag, and the penalty's weight.

    Args:
        scored: of ``with_pear_reward``.

    Returns:
        ``n``, ``n_scored``, ``missing_tag_share``, ``h_think``, ``h_answer``, ``penalty``,
        ``reward`` (means; None for none), ``variance_share`` of ``penalty_variance_share``.

    Examples:
        >>> score_summary(with_pear_reward(pl.DataFrame(schema=SCHEMA)))["n"]
        0
    """
    judged = scored.filter(pl.col("reward").is_not_null())
    share = None
    if judged.height:
        reward, correct = (
            torch.from_numpy(judged[name].to_numpy().copy()) for name in ("reward", "correct")
        )
        share = float(penalty_variance_share(reward, correct))
    means: dict[str, Any] = {
        name: scored[name].mean() for name in ("h_think", "h_answer", "penalty", "reward")
    }
    missing: Any = (~scored["has_tag"]).mean() if scored.height else None
    return {
        "n": scored.height,
        "n_scored": judged.height,
        "missing_tag_share": missing,
        **means,
        "variance_share": share,
    }


class _Phases(NamedTuple):
    n_think: NDArray[np.int64]
    n_answer: NDArray[np.int64]
    h_think: NDArray[np.float64]
    h_answer: NDArray[np.float64]


def _means(
    values: NDArray[np.float64],
    think: NDArray[np.bool_],
    answer: NDArray[np.bool_],
    owner: NDArray[np.int64],
    n: int,
) -> _Phases:
    def one(phase: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        count = np.bincount(owner[phase], minlength=n)
        total = np.bincount(owner[phase], weights=values[phase], minlength=n)
        return count, np.divide(total, count, out=np.zeros(n), where=count > 0)

    (n_think, h_think), (n_answer, h_answer) = one(think), one(answer)
    return _Phases(n_think, n_answer, h_think, h_answer)


def _measured(traces: Traces) -> tuple[NDArray[np.float64], list[str]]:
    """The best measure that each whole answer has, [N] nats, and its name."""
    tokens = traces.tokens
    measures = token_measures(traces)
    full = np.full(len(tokens), np.nan) if tokens.entropy is None else tokens.entropy
    candidates = (
        (FULL, full.astype(np.float64)),
        (LISTED, np.where(tokens.n_top > 0, measures.entropy_lower, np.nan)),
        (SURPRISAL, measures.surprisal),
    )
    values = np.zeros(len(tokens))
    names = []
    for i in range(len(traces)):
        span = slice(int(tokens.offsets[i]), int(tokens.offsets[i + 1]))
        name = NONE
        for kind, column in candidates:
            if span.stop > span.start and np.isfinite(column[span]).all():
                name, values[span] = kind, column[span]
                break
        names.append(name)
    return values, names


def _plain_rows(
    path: Path, end_tag: str | Sequence[int], n_vocab: int | None
) -> Iterator[tuple[Any, ...]]:
    limit = MOST_ENTROPY if n_vocab is None else math.log(n_vocab) + 1e-4
    with path.open("rb") as lines:  # so that a line which is not UTF-8 is named by its number
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{where}: {error}; expected one JSON object a line") from error
            yield _plain_row(row, number, where, end_tag, limit)


def _plain_row(
    row: Any, number: int, where: str, end_tag: str | Sequence[int], limit: float
) -> tuple[Any, ...]:
    tokens = row.get("tokens") if isinstance(row, Mapping) else None
    entropies = row.get("entropies") if isinstance(row, Mapping) else None
    if not isinstance(tokens, list) or not isinstance(entropies, list) or not tokens:
        raise InputError(f"{where}: expected lists tokens and entropies, one entry a token each")
    if len(tokens) != len(entropies):
        raise InputError(f"{where}: {len(tokens)} tokens and {len(entropies)} entropies")
    values = np.array([e if type(e) in (int, float) else np.nan for e in entropies], float)
    bad = np.flatnonzero(~((values >= -1e-4) & (values <= limit)))
    if bad.size:
        t = int(bad[0])
        raise InputError(
            f"{where}: entropies[{t}] is {entropies[t]!r}; entropies in nats lie between 0 and "
            f"{limit:.4g}. Below 0 they may be log-probs, above it bits: multiply by ln 2"
        )
    correct = row.get("correct")
    if correct is not None and not isinstance(correct, bool):
        raise InputError(f"{where}: correct is {correct!r}; expected true or false")
    first, after = _tag_span(tokens, end_tag, where)
    place = np.arange(len(tokens))
    found = _means(
        np.maximum(values, 0), place < first, place >= after, np.zeros(len(tokens), int), 1
    )
    name, group = (None if row.get(key) is None else str(row[key]) for key in ("id", "group"))
    return (
        name, group, number, correct, len(tokens), int(found.n_think[0]), int(found.n_answer[0]),
        first < len(tokens), FULL, float(found.h_think[0]), float(found.h_answer[0]),
    )  # fmt: skip


def _tag_span(tokens: list[Any], tag: str | Sequence[int], where: str) -> tuple[int, int]:
    """First token of the first tag and the token after it; both the end where there is none."""
    n = len(tokens)
    if all(isinstance(token, str) for token in tokens):
        if not isinstance(tag, str):
            raise InputError(f"{where}: tokens are texts, the end tag {tag!r} is token ids")
        ends = np.cumsum([len(token) for token in tokens])
        at = "".join(tokens).find(tag)
        if at < 0:
            return n, n
        starts = np.concatenate([[0], ends[:-1]])
        return int(np.searchsorted(ends, at, "right")), int(
            np.searchsorted(starts, at + len(tag), "left")
        )
    ids = list(tag) if not isinstance(tag, str) else []
    if not ids or any(isinstance(t, bool) or not isinstance(t, int) for t in tokens):
        raise InputError(
            f"{where}: tokens are neither all texts nor, with an end tag of token ids, all ids"
        )
    for t in range(n - len(ids) + 1):
        if tokens[t : t + len(ids)] == ids:
            return t, t + len(ids)
    return n, n
