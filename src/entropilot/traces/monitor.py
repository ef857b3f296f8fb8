"""Instability while the model writes: one value a token, and an alarm.

The memory is the list of the token before, so that a monitor costs O(k) however long the trace is.

Source: arXiv 2602.02863; the alarm is ours. Instability goes with wrong answers, it does not prove
one wrong: choose the threshold on recorded traces first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.traces.alternatives import listed_alternatives, to_columns
from entropilot.traces.instability import listed_signal

MODES = ("renormalise", "lump")


class InstabilityMonitor:
    """I_t of one token after another; equal to what ``instability_trace`` says afterwards.

    Args:
        lam: weight of the entropy, >= 0.
        mode: "renormalise" (the paper) or "lump".
        k: alternatives that were asked for, where the server may append the sampled token.

    Raises:
        ConfigurationError: unknown mode, or lam < 0.

    Examples:
        >>> monitor = InstabilityMonitor()
        >>> [round(monitor.push(s), 3) for s in ({"a": -0.7, "b": -0.7}, {"c": -0.1, "a": -2.4})]
        [nan, 0.871]
    """

    def __init__(
        self,
        lam: float = 1.0,
        mode: Literal["renormalise", "lump"] = "renormalise",
        k: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise ConfigurationError(unknown_name("mode", mode, MODES))
        if not lam >= 0:
            raise ConfigurationError(f"lam is {lam}; the weight of the entropy is a number >= 0")
        self.lam, self.mode, self.k = lam, mode, k
        self.n_tokens = 0
        self.entropy = self.jsd = float("nan")  # of the last token
        self._before: Mapping[Hashable, float] | None = None

    def push(self, step: Any) -> float:
        """Take the alternatives of one more token; see ``listed_alternatives`` for their shapes.

        Returns:
            I_t, nats; nan for the first token.

        Raises:
            InputError: the token has no log-probabilities, or their mass exceeds 1.001.
        """
        listed = listed_alternatives(step)
        steps = [listed] if self._before is None else [self._before, listed]
        ids, logprobs, n_top = to_columns(steps, self.k)
        H, D = listed_signal(np.array([0, len(steps)]), ids, logprobs, n_top, self.mode)
        self._before = listed
        self.n_tokens += 1
        self.entropy, self.jsd = float(H[-1]), float(D[-1])
        return self.jsd + self.lam * self.entropy

    def push_chunk(self, chunk: Any) -> list[float]:
        """Take the tokens of one chunk of a stream (``choices[0].logprobs.content``), if any.

        Examples:
            >>> InstabilityMonitor().push_chunk({"choices": [{"delta": {}, "logprobs": None}]})
            []
        """
        return [self.push(entry) for entry in chunk_entries(chunk)]


def chunk_entries(chunk: Any) -> list[Any]:
    """Tokens of one chunk of an OpenAI-like stream, given as a dict or an SDK object.

    Examples:
        >>> chunk_entries({"choices": [{"logprobs": {"content": [{"token": "a"}]}}]})
        [{'token': 'a'}]
    """
    choices = _field(chunk, "choices") or []
    logprobs = _field(choices[0], "logprobs") if choices else None
    return list(_field(logprobs, "content") or []) if logprobs is not None else []


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


class InstabilityAlarm:
    """Rings when a signal has been at or above a threshold for some tokens on end.

    The counters say whether it is active at all: an alarm that never saw a value above its
    threshold saves nothing.

    Args:
        threshold: nats.
        patience: tokens on end, >= 1. Raised: fewer alarms, later.

    Raises:
        ConfigurationError: patience < 1 or a threshold that is nan.

    Examples:
        >>> alarm = InstabilityAlarm(threshold=1.0, patience=2)
        >>> [alarm.update(value) for value in (float("nan"), 1.2, 0.3, 1.1, 1.4, 1.5)]
        [False, False, False, False, True, False]
        >>> alarm.n_alarms, alarm.n_above, alarm.n_tokens
        (1, 4, 6)
    """

    def __init__(self, threshold: float, patience: int = 1) -> None:
        if patience < 1 or np.isnan(threshold):
            raise ConfigurationError(
                f"threshold is {threshold} and patience {patience}; a number of nats and at least "
                "one token are needed"
            )
        self.threshold, self.patience = threshold, patience
        self.n_tokens = self.n_above = self.n_alarms = 0
        self.first_alarm: int | None = None  # token at which it first rang
        self._run = 0

    def update(self, value: float) -> bool:
        """Take one more value; True at the token at which the alarm starts to ring."""
        above = value >= self.threshold  # False for nan
        self._run = self._run + 1 if above else 0
        rings = self._run == self.patience
        if rings and self.first_alarm is None:
            self.first_alarm = self.n_tokens
        self.n_tokens += 1
        self.n_above += above
        self.n_alarms += rings
        return rings
