"""The alternatives of one token, from the shapes in which servers and libraries list them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information import IMPOSSIBLE
from entropilot.traces.reading.options import MISSING_LOGPROBS

_ROUNDING = 1e-3  # a log-probability in (0, 1e-3] is a rounded 0


def listed_alternatives(step: Any) -> dict[Hashable, float]:
    """Token keys and log-probabilities of one token's alternatives, as they are listed.

    Keys are token ids where the entries name them, else the bytes, else the text. Probabilities of
    entries with one key (two ids may decode to the same text) are summed.

    Args:
        step: {token: logprob}; an entry of an OpenAI-like response with ``top_logprobs`` (dict or
            object); a list of such alternatives; or a pair (ids [k], logprobs [k]).

    Returns:
        {key: logprob}, nats; values <= -100 become -inf.

    Raises:
        InputError: no log-probabilities, nan, or positive ones.

    Examples:
        >>> listed_alternatives({"top_logprobs": [{"token": "a", "bytes": [97], "logprob": -0.5}]})
        {b'a': -0.5}
        >>> listed_alternatives(([3, 5], [-0.1, -9999.0]))
        {3: -0.1, 5: -inf}
    """
    summed: dict[Hashable, float] = {}
    for key, value in _entries(step):
        logprob = -np.inf if value <= IMPOSSIBLE else float(value)
        summed[key] = float(np.logaddexp(summed[key], logprob)) if key in summed else logprob
    check_logprobs(list(summed.values()))
    return {key: min(value, 0.0) for key, value in summed.items()}


def check_logprobs(values: ArrayLike) -> None:
    """Reject what cannot be log-probabilities, and say what it looks like.

    Raises:
        InputError: nan or positive values.

    Examples:
        >>> check_logprobs([-0.1, -2.0])
    """
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).any():
        raise InputError(
            "a list of alternatives has nan for a log-probability; leave that token out"
        )
    positive = array > _ROUNDING
    if positive.any():
        looks = (array >= 0).all() and (array <= 1).all()
        hint = "these look like probabilities; take np.log first" if looks else "check the source"
        raise InputError(
            f"{int(positive.sum())} of {array.size} log-probabilities are positive (largest "
            f"{array.max():.4g}); natural-log probabilities are <= 0; {hint}"
        )


def _entries(step: Any) -> Iterable[tuple[Hashable, float]]:
    if isinstance(step, tuple) and len(step) == 2 and np.ndim(step[0]) == 1:
        ids, logprobs = np.asarray(step[0]), np.asarray(step[1])
        if ids.shape != logprobs.shape:
            raise InputError(f"{ids.shape[0]} ids and {logprobs.shape[0]} log-probabilities differ")
        return [(k, v) for k, v in zip(ids.tolist(), logprobs.tolist(), strict=True) if k != -1]
    top = _field(step, "top_logprobs")
    if top is not None:
        step = top
    if isinstance(step, Mapping) and "logprob" not in step:
        pairs = [(key, _value(value)) for key, value in step.items()]
        if all(value is not None for _, value in pairs):
            return pairs
    if isinstance(step, Sequence) and not isinstance(step, str | bytes) and len(step):
        values = [_field(entry, "logprob") for entry in step]
        if all(value is not None for value in values):
            return zip([_key(entry) for entry in step], values, strict=True)
    raise InputError(
        f"a token of the trace does {MISSING_LOGPROBS.replace('carry no', 'not carry')}"
    )


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def _value(value: Any) -> Any:
    """A log-probability, given as a number or as an object that holds one (vLLM)."""
    return value if isinstance(value, int | float | np.floating) else _field(value, "logprob")


def _key(entry: Any) -> Hashable:
    for name in ("id", "token_id"):
        token_id = _field(entry, name)
        if isinstance(token_id, int):
            return token_id
    raw = _field(entry, "bytes")
    token = _field(entry, "token")
    return bytes(raw) if raw is not None else str(token)


def to_columns(
    steps: Sequence[Mapping[Any, float]], k: int | None
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int16]]:
    """Lists of several tokens as columns: ids [T, K], logprobs [T, K] and top-k sizes [T].

    Args:
        steps: from ``listed_alternatives``.
        k: alternatives that were asked for; an entry beyond is the sampled token, appended. None
            takes all as the top-k proper.

    Examples:
        >>> ids, logprobs, n_top = to_columns([{"a": -0.1}, {"b": -0.2, "a": -2.0}], None)
        >>> ids.tolist(), n_top.tolist()
        ([[0, -1], [1, 0]], [1, 2])
    """
    width = max((len(step) for step in steps), default=0)
    ids = np.full((len(steps), width), -1, dtype=np.int32)
    logprobs = np.full((len(steps), width), -np.inf)
    numbers: dict[Hashable, int] = {}
    for t, step in enumerate(steps):
        # Most likely first, so that a sampled token outside the top-k comes last.
        ranked = sorted(step.items(), key=lambda item: -item[1])
        ids[t, : len(ranked)] = [numbers.setdefault(key, len(numbers)) for key, _ in ranked]
        logprobs[t, : len(ranked)] = [value for _, value in ranked]
    listed = np.array([len(step) for step in steps], dtype=np.int16)
    return ids, logprobs, listed if k is None else np.minimum(listed, k).astype(np.int16)
