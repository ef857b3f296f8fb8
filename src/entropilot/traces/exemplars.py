"""A bounded choice of traces to show in full: the most suspicious, and some at random.

The choice keeps the first N by a total order for each criterion, so that choosing from parts and
joining the choices gives the choice from the whole, whatever the parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.traces.frame import FRAME_SCHEMA, FULL_COLUMNS
from entropilot.traces.table import (
    Steps,
    Traces,
    concatenate,
    empty_traces,
    ragged_offsets,
)

#: Traces are chosen by the largest values of these, and by the smallest hash of their identity.
CRITERIA: Final = ("entropy_mean", "instability_peak")
_IDENTITY: Final = ("source", "line", "id")
_TIES: Final = ("hash", *_IDENTITY, "n_tokens", "entropy_mean", "surprisal_mean")


@dataclass(frozen=True)
class Exemplars:
    """Chosen traces, kept as they came in, and their rows of the trace frame.

    ``rows`` has the columns of the frame and ``hash``, ``part`` and ``place``: the row's trace is
    number ``place`` of ``parts[part]``.
    """

    parts: tuple[Traces, ...]
    rows: pl.DataFrame

    def __len__(self) -> int:
        return self.rows.height

    @property
    def traces(self) -> Traces:
        """The chosen traces in the order of ``rows``; joined anew at each call."""
        return _assemble(self.parts, self.rows)


def no_exemplars() -> Exemplars:
    """No traces chosen yet.

    Examples:
        >>> len(no_exemplars())
        0
    """
    places = {"hash": pl.UInt64, "part": pl.Int64, "place": pl.Int64}
    return Exemplars((), pl.DataFrame(schema={**FRAME_SCHEMA, **places}))


def identity_hash(frame: pl.DataFrame) -> pl.Series:
    """A 64-bit number a row from source, line and id, equal in every process and version.

    Examples:
        >>> row = pl.DataFrame({"source": ["a"], "line": [1], "id": ["x"]})
        >>> identity_hash(row).to_list() == identity_hash(row).to_list()
        True
    """
    rows = zip(*(frame[name].to_list() for name in _IDENTITY), strict=True)
    numbers = [
        int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=8).digest()) for row in rows
    ]
    return pl.Series("hash", numbers, dtype=pl.UInt64)


def add_exemplars(
    old: Exemplars, traces: Traces, frame: pl.DataFrame, n_each: int, max_tokens: int
) -> Exemplars:
    """Choose again from what was chosen and new traces.

    Args:
        old: what was chosen so far.
        traces: the new traces.
        frame: of the new traces.
        n_each: traces kept a criterion, >= 0; at most three times as many in all.
        max_tokens: tokens kept of one trace; a longer one is cut after them.

    Returns:
        ``Exemplars``.

    Examples:
        >>> none = no_exemplars()
        >>> len(add_exemplars(none, empty_traces(), none.rows.drop("hash", "part", "place"), 3, 9))
        0
    """
    fresh = _placed(frame.hstack([identity_hash(frame)]), len(old.parts))
    hopeful = _hopeful(old.rows, fresh, n_each)
    if not len(hopeful):
        return old
    both = _join(old.rows, fresh[hopeful])
    kept = both[_keep(both, n_each)]
    part, place = kept["part"].to_numpy(), kept["place"].to_numpy().copy()
    new = part == len(old.parts)
    if not new.any():
        return old
    copied = head_tokens(traces.take(place[new]), max_tokens)
    place[new] = np.arange(new.sum())
    return _tidy(Exemplars((*old.parts, copied), _with_places(kept, part, place)))


def _hopeful(old: pl.DataFrame, fresh: pl.DataFrame, n_each: int) -> NDArray[np.int64]:
    """Rows that some criterion might keep: a quick test, so that most batches need no more."""
    rows = _keep(fresh, n_each)  # first among the new
    if old.height < n_each or not n_each:
        return rows
    hashes = np.sort(old["hash"].to_numpy())
    stays = fresh["hash"].to_numpy()[rows] <= hashes[n_each - 1]
    for name in CRITERIA:
        values = np.sort(-old[name].drop_nulls().to_numpy())
        least = -values[n_each - 1] if len(values) >= n_each else -np.inf
        stays |= fresh[name].to_numpy()[rows] >= least  # False for nan
    hopeful: NDArray[np.int64] = rows[stays]
    return hopeful


def merge_exemplars(a: Exemplars, b: Exemplars, n_each: int) -> Exemplars:
    """Choose again from two choices.

    Examples:
        >>> len(merge_exemplars(no_exemplars(), no_exemplars(), 3))
        0
    """
    if not len(a) or not len(b):
        return a if len(a) else b
    shifted = b.rows["part"].to_numpy() + len(a.parts)
    both = _join(a.rows, _with_places(b.rows, shifted, b.rows["place"].to_numpy()))
    return _tidy(Exemplars(a.parts + b.parts, both[_keep(both, n_each)]))


def canonical_exemplars(exemplars: Exemplars) -> Exemplars:
    """The same choice in the one order, with the one vocabulary, that all routes to it share.

    Examples:
        >>> len(canonical_exemplars(no_exemplars()))
        0
    """
    if not len(exemplars):
        return no_exemplars()
    rows = exemplars.rows.sort(*_TIES, nulls_last=True)
    traces = concatenate([_assemble(exemplars.parts, rows)])  # merges equal vocabulary entries
    vocabulary, tokens = traces.vocabulary, traces.tokens
    keys = list(zip(vocabulary.token_id.tolist(), vocabulary.pieces(), strict=True))
    ranked = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    rank = np.full(len(keys) + 1, -1, dtype=np.int32)  # the last entry answers for the empty slot
    rank[ranked] = np.arange(len(keys), dtype=np.int32)
    width = int((tokens.top_piece >= 0).sum(axis=1).max(initial=0))
    tokens = replace(
        tokens,
        piece=rank[tokens.piece],
        top_piece=rank[tokens.top_piece[:, :width]],
        top_logprob=np.ascontiguousarray(tokens.top_logprob[:, :width]),
        entropy=_known(tokens.entropy),
        jsd=_known(tokens.jsd),
    )
    traces = replace(traces, tokens=tokens, vocabulary=vocabulary.take(ranked))
    columns = [*FRAME_SCHEMA, *known_full_columns(rows), "hash"]
    return Exemplars((traces,), _placed(rows.select(columns), 0))


def known_full_columns(frame: pl.DataFrame) -> list[str]:
    """Columns of full-vocabulary entropies that hold a value; a shard may bring empty ones.

    Examples:
        >>> known_full_columns(pl.DataFrame({"entropy_full_mean": [None, 1.0]}))
        ['entropy_full_mean']
    """
    present = [name for name in FULL_COLUMNS if name in frame.columns]
    return [name for name in present if frame[name].null_count() < frame.height]


def _known(values: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if values is None or np.isnan(values).all() else values


def head_tokens(traces: Traces, limit: int) -> Traces:
    """The first ``limit`` tokens of each trace; a step that crosses the limit is cut there.

    Examples:
        >>> len(head_tokens(empty_traces(), 3))
        0
    """
    tokens, steps = traces.tokens, traces.steps
    lengths = tokens.lengths
    if lengths.max(initial=0) <= limit:
        return traces
    kept = np.minimum(lengths, limit)
    offsets = ragged_offsets(kept)
    positions = np.arange(offsets[-1]) + np.repeat(tokens.offsets[:-1] - offsets[:-1], kept)

    def cut(values: NDArray[Any] | None) -> Any:
        return None if values is None else values[positions]

    short = replace(
        tokens,
        offsets=offsets,
        **{
            name: cut(getattr(tokens, name))
            for name in ("piece", "logprob", "top_piece", "top_logprob", "n_top", "entropy", "jsd")
        },
    )
    if steps is not None:
        owner = np.repeat(np.arange(len(traces)), steps.lengths)
        start = steps.start - tokens.offsets[owner]
        stop = np.minimum(steps.stop - tokens.offsets[owner], limit)
        left = start < limit
        steps = Steps(
            ragged_offsets(np.bincount(owner[left], minlength=len(traces))),
            (start + offsets[owner])[left],
            (stop + offsets[owner])[left],
            steps.phase[left],
        )
    return replace(traces, tokens=short, steps=steps)


def _placed(rows: pl.DataFrame, part: int) -> pl.DataFrame:
    places = np.arange(rows.height)
    return _with_places(rows, np.full(rows.height, part), places)


def _with_places(
    rows: pl.DataFrame, part: NDArray[np.int64], place: NDArray[np.int64]
) -> pl.DataFrame:
    bare = [column for column in rows.get_columns() if column.name not in ("part", "place")]
    return pl.DataFrame([*bare, pl.Series("part", part), pl.Series("place", place)])


def _keep(rows: pl.DataFrame, n_each: int) -> NDArray[np.int64]:
    """Positions of the rows that some criterion keeps, ascending."""
    numbers = {name: rows[name].to_numpy() for name in (*CRITERIA, "n_tokens", "surprisal_mean")}
    ties = (*reversed(numbers.values()), rows["hash"].to_numpy())  # the last key comes first
    chosen = [np.lexsort(ties)[:n_each]]
    for name in CRITERIA:
        order = np.lexsort((*ties, -numbers[name]))  # nan last
        chosen.append(order[: min(n_each, int((~np.isnan(numbers[name])).sum()))])
    return np.unique(np.concatenate(chosen))


def _tidy(exemplars: Exemplars) -> Exemplars:
    """Let go of parts, and of most of a part, that no row needs; so there are no more than rows."""
    part = exemplars.rows["part"].to_numpy().copy()
    place = exemplars.rows["place"].to_numpy().copy()
    parts: list[Traces] = []
    for number in np.unique(part):
        mine = part == number
        traces, needed = exemplars.parts[number], place[mine]
        if 2 * len(needed) < len(traces):
            traces, place[mine] = traces.take(needed), np.arange(len(needed))
        part[mine] = len(parts)
        parts.append(traces)
    return Exemplars(tuple(parts), _with_places(exemplars.rows, part, place))


def _assemble(parts: tuple[Traces, ...], rows: pl.DataFrame) -> Traces:
    """The traces of ``rows``, in that order."""
    if not rows.height:
        return empty_traces()
    part, place = rows["part"].to_numpy(), rows["place"].to_numpy()
    used = np.unique(part)
    taken = [parts[i].take(place[part == i]) for i in used]
    if any(t.steps is None for t in taken):
        taken = [replace(t, steps=None) for t in taken]
    joined = taken[0] if len(taken) == 1 else concatenate(taken)
    order = np.empty(rows.height, dtype=np.int64)
    order[np.concatenate([np.flatnonzero(part == i) for i in used])] = np.arange(rows.height)
    return joined if np.array_equal(order, np.arange(rows.height)) else joined.take(order)


def _join(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([a, b], how="vertical" if a.columns == b.columns else "diagonal")
