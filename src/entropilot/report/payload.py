"""The data that the page's script reads: compact JSON that can't break out of its element.

Tables are columns, repeated texts are stored once, measures are whole thousandths of a nat.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray

from entropilot.report.curves import pooled
from entropilot.report.tokens import LEVELS, Alternative, TraceView, shown_ranges
from entropilot.report.visible import visible
from entropilot.report.wording import known

TOKEN_CAP: Final = 600  # tokens shown of one trace
TOKEN_BUDGET: Final = 12_000  # tokens shown of all traces together
CURVE_POINTS: Final = 400

_T = TypeVar("_T", bound=Hashable)

# inside a script element these could end it, open a comment, or end a line of JavaScript
_ESCAPES: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def script_json(value: Any) -> Markup:
    r"""JSON for a script element: no character of it can end the element.

    Examples:
        >>> print(script_json({"text": "</script>"}))
        {"text":"\u003c/script\u003e"}
    """
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(written.translate(_ESCAPES))


def flagged_columns(flagged: pl.DataFrame, shown: Sequence[str]) -> dict[str, Any]:
    """Columns of the flagged table.

    Args:
        flagged: the frame of an ``Assessment``.
        shown: ids of the traces that the page holds in full, as they are displayed.

    Returns:
        ``id`` list; ``group``, ``timing`` and ``reason`` as {"values", "at"}; ``correct`` 1, 0
        or -1; numbers as whole thousandths or null; ``view`` place among the shown traces or -1.
    """
    names = [visible(name or "", limit=200) for name in flagged["id"]]
    place = {name: i for i, name in reversed(list(enumerate(shown)))}
    columns: dict[str, Any] = {"id": names, "view": [place.get(name, -1) for name in names]}
    for name in ("group", "timing", "reason"):
        texts = [visible(text or "", limit=300) for text in flagged[name]]
        values, at = _coded(texts)
        columns[name] = {"values": values, "at": at}
    columns["correct"] = [-1 if c is None else int(c) for c in flagged["correct"]]
    for name in ("score", "p_wrong", "p_wrong_low", "p_wrong_high", "peak_position"):
        columns[name] = _thousandths(flagged[name])
    for name in ("peak_token", "peak_step"):
        columns[name] = [int(v) if known(v) else None for v in flagged[name]]
    return columns


def views_payload(views: Sequence[TraceView]) -> dict[str, Any]:
    """All traces that the page holds in full, within the token budget."""
    cap = min(TOKEN_CAP, max(40, TOKEN_BUDGET // max(len(views), 1)))
    texts: dict[str, int] = {}
    traces = [_view(view, cap, texts) for view in views]
    levels = {name: list(edges) for name, edges in LEVELS.items()}
    return {"texts": list(texts), "traces": traces, "levels": levels}


def _view(view: TraceView, cap: int, texts: dict[str, int]) -> dict[str, Any]:
    ranges = shown_ranges(len(view), view.peak, cap)
    tokens = [t for start, stop in ranges for t in range(start, stop)]
    inside = set(tokens)
    listed = [_likely(view.alternatives[t]) for t in tokens]
    return {
        "id": view.id,
        "facts": view.facts,
        "prompt": view.prompt,
        "reference": view.reference,
        "answer": view.answer,
        "correct": -1 if view.correct is None else int(view.correct),
        "n": len(view),
        "ranges": ranges,
        "peak": view.peak,
        "steps": [start for start in view.step_starts if start in inside],
        "spans": [s for s in view.spans if s.first in inside and s.last in inside],
        "entropy": _thousandths(view.entropy[tokens]),
        "surprisal": _thousandths(view.surprisal[tokens]),
        "divergence": _thousandths(view.divergence[tokens]),
        "instability": _thousandths(view.instability[tokens]),
        # a token: text, probability in hundredths of a percent, text, probability and so on
        "alternatives": [
            [n for other, share in row for n in (_code(texts, other.text), share)] for row in listed
        ],
        "taken": [next((i for i, (a, _) in enumerate(row) if a.taken), -1) for row in listed],
        "curve": {
            name: [
                [t, round(1000 * v)] for t, v in pooled(view.measure(name).tolist(), CURVE_POINTS)
            ]
            for name in ("entropy", "instability")
        },
    }


def _likely(alternatives: Sequence[Alternative]) -> list[tuple[Alternative, int]]:
    """Alternatives of at least half a hundredth of a percent, in those; and the one taken."""
    rounded = [(other, round(1e4 * other.probability)) for other in alternatives]
    return [(other, share) for other, share in rounded if share or other.taken]


def _code(codes: dict[_T, int], value: _T) -> int:
    return codes.setdefault(value, len(codes))


def _coded(texts: Iterable[str]) -> tuple[list[str], list[int]]:
    codes: dict[str, int] = {}
    at = [_code(codes, text) for text in texts]
    return list(codes), at


def _thousandths(values: pl.Series | NDArray[np.float64]) -> list[int | None]:
    plain = values.to_list() if isinstance(values, pl.Series) else values.tolist()
    return [round(1000 * value) if known(value) else None for value in plain]
