"""Cut traces into steps, by named rules, without losing a byte.

Steps are cut on token borders: a step starts with the token that holds its first byte. So a cut
inside a token goes before that token, two cuts inside one token are one, and a token without text
stays with the step before it. The steps of a trace, joined, are the trace byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.information.topk_sequence import sequence_signal
from entropilot.traces.steps.cuts import (
    MARKERS,
    RegexCuts,
    line_cuts,
    marker_cuts,
    sentence_cuts,
    tool_cuts,
)
from entropilot.traces.steps.offsets import UNITS, TokenText, characters_to_bytes, token_text
from entropilot.traces.steps.phases import log_phases, phase_spans
from entropilot.traces.table import Steps, Traces

Integers = NDArray[np.int64]
Spans = Sequence[Sequence[tuple[int, int]]]

#: What each rule cuts at.
RULES: Final = {
    "auto": "blank lines; where a trace has none, lines; where it is one line, sentences",
    "blank-line": "after each blank line",
    "line": "after each line",
    "sentence": "after each sentence",
    "tool-call": "before and after each tool call",
    "think": "where thinking begins and ends",
    "marker": "before words such as Wait, Hmm or But that open a line or a sentence",
    "fixed": "after every n tokens",
    "regex": "after each match of a pattern",
    "entropy-peak": "before tokens at which the entropy peaks",
    "spans": "where given spans begin and end",
}
_TOKEN_RULES: Final = ("fixed", "entropy-peak", "spans")


@dataclass(frozen=True)
class _Options:
    pattern: str | None
    markers: Sequence[str]
    n_tokens: int
    spans: Spans | None
    unit: str
    entropy: NDArray[Any] | None
    quantile: float


def split_steps(
    traces: Traces,
    rule: str = "auto",
    *,
    min_tokens: int = 1,
    pattern: str | None = None,
    markers: Sequence[str] = MARKERS,
    n_tokens: int = 64,
    spans: Spans | None = None,
    unit: str = "characters",
    entropy: NDArray[Any] | None = None,
    quantile: float = 0.9,
) -> Traces:
    """Split each trace into steps, each of one phase (think, answer or neither).

    Every rule also cuts where thinking begins and ends, see ``phase_spans``.

    Args:
        traces: any; steps that they already have are replaced.
        rule: a name of ``RULES``.
        min_tokens: >= 1; a shorter step is joined to the next of its phase, the last to the one
            before.
        pattern: for "regex": what separates steps; see ``RegexCuts``.
        markers: for "marker": words that open a step.
        n_tokens: for "fixed": tokens a step, >= 1.
        spans: for "spans": a list of (start, stop) for each trace, ascending, without overlap; what
            lies between two spans becomes a step too.
        unit: of ``spans``: "characters", "bytes" or "tokens", from the start of the trace.
        entropy: for "entropy-peak": [N] nats; None takes the full-vocabulary entropies of the log,
            or else the renormalised top-k ones.
        quantile: for "entropy-peak": a peak is a local maximum at or above this quantile of its
            trace, in (0, 1). Raised: fewer, longer steps.

    Returns:
        The traces with ``steps``. A trace without tokens has none.

    Raises:
        ConfigurationError: unknown rule, or an option that the rule needs is missing or wrong.
        InputError: spans outside the trace, or entropies of another length.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> len(split_steps(empty_traces(), "line").steps)
        0

    Source: arXiv 2602.02863 uses tokens as they come; the default rule and ``min_tokens`` are those
    of step-entropy analyses (blank lines, then lines, then sentences).
    """
    _check_rule(rule, RULES)
    if min_tokens < 1:
        raise ConfigurationError(f"min_tokens is {min_tokens}; a step has at least one token")
    options = _Options(pattern, markers, n_tokens, spans, unit, entropy, quantile)
    joined = token_text(traces)
    starts = _token_starts(traces, joined, rule, options)
    phase_at, phase = log_phases(joined.text, joined.trace)
    phase_token = _holding_token(joined, phase_at)
    steps = _steps(traces.tokens.offsets, starts, phase_token, phase)
    if min_tokens > 1:
        keep = np.ones(len(steps), dtype=np.bool_)
        _join_short(steps.offsets, steps.start, steps.stop, steps.phase, min_tokens, keep)
        start = steps.start[keep]
        stop = np.append(start[1:], len(traces.tokens))[: len(start)]
        steps = Steps(np.searchsorted(start, traces.tokens.offsets), start, stop, steps.phase[keep])
    return replace(traces, steps=steps)


def split_text(
    text: str,
    rule: str = "auto",
    *,
    pattern: str | None = None,
    markers: Sequence[str] = MARKERS,
) -> list[str]:
    r"""Split one text into steps; joined they are the text.

    Args:
        text: any.
        rule: a name of ``RULES`` that needs no tokens.
        pattern: as for ``split_steps``.
        markers: as for ``split_steps``.

    Returns:
        Steps, none empty; no steps for an empty text.

    Raises:
        ConfigurationError: unknown rule, or one that needs tokens.

    Examples:
        >>> split_text("First.\n\nSecond, e.g. this. Third.")
        ['First.\n\n', 'Second, e.g. this. Third.']
        >>> split_text("One. Two.", "sentence")
        ['One. ', 'Two.']
    """
    _check_rule(rule, [name for name in RULES if name not in _TOKEN_RULES])
    raw = text.encode("utf-8", "surrogatepass")
    joined = TokenText(
        np.frombuffer(raw, dtype=np.uint8), np.array([0, len(raw)]), np.array([0, len(raw)])
    )
    cuts = {at for at, _ in phase_spans(raw)} | {0, len(raw)}
    if rule == "regex":  # on the text itself, so that no cut lies inside a character
        found = RegexCuts(pattern).in_text(text)
        cuts |= {len(text[:at].encode("utf-8", "surrogatepass")) for at in found}
    else:
        options = _Options(pattern, markers, 1, None, "bytes", None, 0.5)
        cuts |= set(_byte_cuts(joined, rule, options).tolist())
    ends = sorted(cuts)
    parts = [raw[a:b] for a, b in pairwise(ends)]
    return [part.decode("utf-8", "surrogatepass") for part in parts]


def _check_rule(rule: str, known: Any) -> None:
    if rule not in known:
        hint = " It cuts at tokens; use split_steps." if rule in _TOKEN_RULES else ""
        raise ConfigurationError(unknown_name("rule", rule, known) + hint)


def _token_starts(traces: Traces, joined: TokenText, rule: str, options: _Options) -> Integers:
    """Tokens at which a step begins, in any order; the first tokens of traces may be left out."""
    offsets = traces.tokens.offsets
    if rule == "fixed":
        if options.n_tokens < 1:
            raise ConfigurationError(f"n_tokens is {options.n_tokens}; a step has at least one")
        place = np.arange(len(traces.tokens)) - np.repeat(offsets[:-1], traces.tokens.lengths)
        return np.flatnonzero(place % options.n_tokens == 0)
    if rule == "entropy-peak":
        return _peaks(traces, options)
    if rule == "spans":
        return _span_tokens(traces, joined, options)
    return _holding_token(joined, _byte_cuts(joined, rule, options))


def _byte_cuts(joined: TokenText, rule: str, options: _Options) -> Integers:
    n = len(joined.trace) - 1
    everywhere = np.arange(n)
    if rule == "think":
        return np.zeros(0, np.int64)
    if rule == "marker":
        return np.array(marker_cuts(joined.text.tobytes(), options.markers), dtype=np.int64)
    if rule == "sentence":
        return _each(joined, everywhere, sentence_cuts)
    if rule == "tool-call":
        return _each(joined, everywhere, tool_cuts)
    if rule == "regex":
        return _each(joined, everywhere, RegexCuts(options.pattern).of)
    cuts, level = line_cuts(joined.text, joined.trace)
    if rule == "line":
        return cuts
    if rule == "blank-line":
        blank: Integers = cuts[level == 2]
        return blank
    owner = np.searchsorted(joined.trace, cuts, side="right") - 1
    has_blank = np.bincount(owner[level == 2], minlength=n) > 0
    has_line = np.bincount(owner, minlength=n) > 0
    chosen = cuts[(level == 2) | ~has_blank[owner]]
    return np.concatenate([chosen, _each(joined, np.flatnonzero(~has_line), sentence_cuts)])


def _each(joined: TokenText, traces: Integers, rule: Callable[[bytes], list[int]]) -> Integers:
    parts = [np.array(rule(joined.of(i)), dtype=np.int64) + joined.trace[i] for i in traces]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _holding_token(joined: TokenText, cuts: Integers) -> Integers:
    """The token that holds the byte at each cut; cuts at the very end are beyond the last token."""
    tokens: Integers = np.searchsorted(joined.token[1:], cuts, side="right").astype(np.int64)
    return tokens


def _peaks(traces: Traces, options: _Options) -> Integers:
    tokens = traces.tokens
    if not 0 < options.quantile < 1:
        raise ConfigurationError(f"quantile is {options.quantile}; it lies between 0 and 1")
    h = options.entropy if options.entropy is not None else tokens.entropy
    if h is None:
        h = sequence_signal(
            tokens.offsets, tokens.top_piece, tokens.top_logprob, tokens.n_top
        ).entropy
    if np.shape(h) != (len(tokens),):
        raise InputError(f"entropy has shape {np.shape(h)}; the traces have {len(tokens)} tokens")
    starts = []
    for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        x = np.nan_to_num(np.asarray(h[a:b], dtype=np.float64), nan=-1.0)
        if len(x) < 2:
            continue
        after = np.append(x[2:], -1.0)
        floor = np.quantile(x[x >= 0], options.quantile) if (x >= 0).any() else 0.0
        starts.append(
            a + 1 + np.flatnonzero((x[1:] >= floor) & (x[1:] > x[:-1]) & (x[1:] >= after))
        )
    return np.concatenate([np.zeros(0, np.int64), *starts])


def _span_tokens(traces: Traces, joined: TokenText, options: _Options) -> Integers:
    if options.unit not in UNITS:
        raise ConfigurationError(unknown_name("unit", options.unit, UNITS))
    if options.spans is None or len(options.spans) != len(traces):
        n = "no" if options.spans is None else f"{len(options.spans)} lists of"
        raise ConfigurationError(f"got {n} spans for {len(traces)} traces; pass a list a trace")
    starts = []
    for i, spans in enumerate(options.spans):
        ends = np.array(spans, dtype=np.int64).reshape(-1)
        if options.unit == "characters":
            ends = characters_to_bytes(joined.of(i), ends)
        tokens = options.unit == "tokens"
        bounds = (traces.tokens.offsets if tokens else joined.trace)[i : i + 2]
        ends = ends + bounds[0]
        if len(ends) and ((np.diff(ends) < 0).any() or ends[0] < bounds[0] or ends[-1] > bounds[1]):
            raise InputError(
                f"the spans of trace {i} are {list(spans)}; they must ascend without overlap "
                f"inside its {bounds[1] - bounds[0]} {options.unit if tokens else 'bytes'}"
            )
        starts.append(ends if tokens else _holding_token(joined, ends))
    return np.concatenate([np.zeros(0, np.int64), *starts])


def _steps(
    offsets: Integers, starts: Integers, phase_token: Integers, phase: NDArray[np.int8]
) -> Steps:
    """The step table, with cuts added at the first token of each trace and of each phase."""
    n_tokens = int(offsets[-1])
    first = offsets[:-1][np.diff(offsets) > 0]
    begins = np.zeros(n_tokens + 1, dtype=np.bool_)
    begins[first] = begins[starts] = begins[phase_token] = True
    start = np.flatnonzero(begins[:-1])
    stop = np.append(start[1:], n_tokens)[: len(start)]
    # Each trace begins without a phase; among marks on one token the last one holds.
    mark = np.concatenate([first, phase_token])
    order = np.argsort(mark, kind="stable")
    value = np.concatenate([np.zeros(len(first), np.int8), phase])[order]
    where = np.searchsorted(mark[order], start, side="right") - 1
    return Steps(np.searchsorted(start, offsets), start, stop, value[where])


@njit(cache=True, nogil=True)
def _join_short(offsets: Any, start: Any, stop: Any, phase: Any, shortest: int, keep: Any) -> None:
    for i in range(offsets.size - 1):
        begin = before = offsets[i]  # the kept step that is being built, and the one before it
        for j in range(offsets[i] + 1, offsets[i + 1] + 1):
            over = j == offsets[i + 1]
            end = stop[j - 1] if over else start[j]
            if end - start[begin] >= shortest or over or phase[j] != phase[begin]:
                short = begin > before and end - start[begin] < shortest
                if short and phase[before] == phase[begin]:
                    keep[begin] = False
                    begin = before
                before, begin = begin, j
            else:
                keep[j] = False
