"""One trace made ready to be looked at: whole characters, measures of each token, alternatives.

Legend: T tokens of the trace, k alternatives shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from entropilot.report.visible import Span, spans, visible
from entropilot.traces.table import Traces

#: Upper edges of the colour levels, in nats; level 0 is left uncoloured. They are fixed, so that
#: colours mean the same in every report.
LEVELS: Final[dict[str, tuple[float, ...]]] = {
    "entropy": (0.05, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 2.5),
    "surprisal": (0.05, 0.2, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0),
    "divergence": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.685),
    "instability": (0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0),
}
TEXT_LIMIT: Final = 6000  # characters of a prompt, reference or answer that a report shows


class TokenMeasures(Protocol):
    """Measures of every token of a set of traces, in the order of its token table; nats.

    Examples:
        >>> from entropilot.traces.measures import token_measures
        >>> from entropilot.traces.table import empty_traces
        >>> measures: TokenMeasures = token_measures(empty_traces())
        >>> measures.instability.shape
        (0,)
    """

    @property
    def entropy(self) -> NDArray[Any]:
        """[N] renormalised top-k entropy."""

    @property
    def jsd(self) -> NDArray[Any]:
        """[N] divergence to the token before; nan at the first."""

    @property
    def instability(self) -> NDArray[Any]:
        """[N] divergence plus entropy; nan at the first token."""


class Alternative(NamedTuple):
    """A token that could have been taken.

    Examples:
        >>> Alternative("·so", 0.25, True).probability
        0.25
    """

    text: str
    probability: float
    taken: bool


@dataclass(frozen=True)
class TraceView:
    """One trace as it is shown. Measures are in nats, nan where they are not known.

    Examples:
        >>> none = np.zeros(0)
        >>> len(TraceView("t", (), "", "", "", None, (), none, none, none, none, (), (), None))
        0
    """

    id: str
    facts: tuple[tuple[str, str], ...]  # (label, value) for reading
    prompt: str
    reference: str
    answer: str
    correct: bool | None
    spans: tuple[Span, ...]
    entropy: NDArray[np.float64]  # [T]
    surprisal: NDArray[np.float64]  # [T]
    divergence: NDArray[np.float64]  # [T]
    instability: NDArray[np.float64]  # [T]
    alternatives: tuple[tuple[Alternative, ...], ...]  # T tuples of at most k
    step_starts: tuple[int, ...]  # first token of each step; empty where traces aren't split
    peak: int | None  # token of the largest instability, first on ties

    def __len__(self) -> int:
        return len(self.entropy)

    def measure(self, name: str) -> NDArray[np.float64]:
        """[T] one of the measures by which tokens can be coloured, a key of ``LEVELS``."""
        values: NDArray[np.float64] = getattr(self, name)
        return values


def trace_view(
    traces: Traces,
    trace: int,
    measures: TokenMeasures,
    *,
    n_alternatives: int = 8,
    most_tokens: int = 2000,
) -> TraceView:
    """The view of one trace.

    Args:
        traces: where it stands.
        trace: its row.
        measures: of all tokens of ``traces``.
        n_alternatives: alternatives kept a token, at most; the token taken is kept besides.
        most_tokens: tokens whose alternatives are kept, at most: those of ``shown_ranges``.

    Examples:
        >>> from entropilot.traces.measures import token_measures
        >>> from entropilot.traces.table import Tokens, Vocabulary, trace_rows
        >>> traces = Traces(
        ...     trace_rows({"id": ["t"]}, 1),
        ...     Tokens(np.array([0, 1]), np.array([0]), np.array([-0.1]), np.array([[0, 1]]),
        ...         np.log([[0.9, 0.1]]), np.array([2])),
        ...     Vocabulary.from_pieces([b"yes", b"no"]),
        ... )
        >>> trace_view(traces, 0, token_measures(traces)).alternatives[0][1].text
        'no'
    """
    start, stop = (int(edge) for edge in traces.tokens.offsets[trace : trace + 2])
    row = traces.rows.row(trace, named=True)
    instability = np.asarray(measures.instability[start:stop], dtype=np.float64)
    known = np.isfinite(instability)
    peak = int(np.argmax(np.where(known, instability, -np.inf))) if known.any() else None
    ranges = shown_ranges(stop - start, peak, most_tokens)
    return TraceView(
        id=visible(row["id"] or f"row {trace + 1}", limit=200),
        facts=_facts(row, stop - start),
        prompt=_long(row["prompt"]),
        reference=_long(row["reference"]),
        answer=_long(row["answer"]),
        correct=row["correct"],
        spans=tuple(spans(traces.token_pieces(trace))),
        entropy=np.asarray(measures.entropy[start:stop], dtype=np.float64),
        surprisal=-np.asarray(traces.tokens.logprob[start:stop], dtype=np.float64) + 0.0,
        divergence=np.asarray(measures.jsd[start:stop], dtype=np.float64),
        instability=instability,
        alternatives=_alternatives(traces, start, stop, ranges, n_alternatives),
        step_starts=_step_starts(traces, trace, start),
        peak=peak,
    )


def levels(values: NDArray[np.float64], measure: str = "entropy") -> NDArray[np.int64]:
    """[T] colour level of each value, 0 (calm) to 8; -1 where it is not known.

    Examples:
        >>> levels(np.array([0.0, 0.3, 9.0, np.nan])).tolist()
        [0, 2, 8, -1]
    """
    found = np.digitize(np.nan_to_num(values, nan=0.0), LEVELS[measure])
    return np.where(np.isnan(values), -1, found)


def span_levels(view: TraceView, measure: str = "entropy") -> list[int]:
    """Colour level of each span: the highest among the tokens that wrote it."""
    of_token = levels(view.measure(measure), measure)
    return [int(of_token[span.first : span.last + 1].max(initial=-1)) for span in view.spans]


def shown_ranges(n_tokens: int, peak: int | None, cap: int) -> tuple[tuple[int, int], ...]:
    """Token ranges that a report shows of a long trace: its start, and what surrounds its peak.

    Examples:
        >>> shown_ranges(100, 5, 200), shown_ranges(1000, 50, 200), shown_ranges(1000, 700, 200)
        (((0, 100),), ((0, 200),), ((0, 50), (625, 775)))
    """
    if n_tokens <= cap:
        return ((0, n_tokens),)
    if peak is None or peak < cap:
        return ((0, cap),)
    head = cap // 4
    start = min(peak - (cap - head) // 2, n_tokens - (cap - head))
    if start <= head:
        return ((0, cap),)
    return ((0, head), (start, start + cap - head))


def _long(text: str | None) -> str:
    return visible(text or "", newline="\n", limit=TEXT_LIMIT)


def _facts(row: dict[str, Any], n_tokens: int) -> tuple[tuple[str, str], ...]:
    place = "/".join(PurePath(row["source"]).parts[-2:]) if row["source"] else None
    if place and row["line"] is not None:
        place = f"{place}, line {row['line']}"
    labelled = [
        ("Problem", row["group"]),
        ("Tokens", f"{n_tokens:,}"),
        ("Finished by", row["finish_reason"]),
        ("Reward", None if row["reward"] is None else f"{row['reward']:g}"),
        ("Model", row["model"]),
        ("Temperature", None if row["temperature"] is None else f"{row['temperature']:g}"),
        ("Log-probabilities", row["logprobs_kind"]),
        ("From", place),
    ]
    return tuple((label, visible(str(value), limit=200)) for label, value in labelled if value)


def _step_starts(traces: Traces, trace: int, start: int) -> tuple[int, ...]:
    steps = traces.steps
    if steps is None:
        return ()
    chosen = slice(int(steps.offsets[trace]), int(steps.offsets[trace + 1]))
    return tuple(int(position) - start for position in steps.start[chosen])


def _alternatives(
    traces: Traces, start: int, stop: int, ranges: Sequence[tuple[int, int]], most: int
) -> tuple[tuple[Alternative, ...], ...]:
    tokens, texts = traces.tokens, dict[int, str]()

    def named(piece: int, probability: float, taken: int) -> Alternative:
        if piece not in texts:
            texts[piece] = piece_text(traces.vocabulary.piece(piece))
        return Alternative(texts[piece], probability, piece == taken)

    found: list[tuple[Alternative, ...]] = [()] * (stop - start)
    for first, last in ranges:
        rows = slice(start + first, start + last)
        own = np.exp(tokens.logprob[rows].astype(np.float64)).tolist()
        listed = zip(
            tokens.top_piece[rows].tolist(),
            np.exp(tokens.top_logprob[rows].astype(np.float64)).tolist(),
            strict=True,
        )
        taken_pieces = tokens.piece[rows].tolist()
        for t, (pieces, chances) in enumerate(listed):
            taken = taken_pieces[t]
            kept = [
                (piece, chance)
                for rank, (piece, chance) in enumerate(zip(pieces, chances, strict=True))
                if piece >= 0 and (rank < most or piece == taken)
            ]
            if taken not in pieces and np.isfinite(own[t]):
                kept.append((taken, own[t]))
            found[first + t] = tuple(named(piece, chance, taken) for piece, chance in kept)
    return tuple(found)


def piece_text(piece: bytes) -> str:
    r"""Text of one token alone: spaces made visible, bytes that are no character in hexadecimal.

    Examples:
        >>> piece_text(b" the"), piece_text(b"\xf0\x9f"), piece_text(b"")
        ('·the', '⟨0xF0⟩⟨0x9F⟩', '∅')
    """
    cut = "".join(span.text for span in spans([piece], limit=80))
    return cut.replace(" ", "·").replace("⏎\n", "⏎")
