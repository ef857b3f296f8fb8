"""The monitor says while a trace grows what the analysis says afterwards."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.instability import instability_trace
from entropilot.traces.monitor import InstabilityAlarm, InstabilityMonitor

KEYS = st.sampled_from("abcdefgh")


@st.composite
def trace(draw: Any) -> list[dict[str, float]]:
    steps = []
    for _ in range(draw(st.integers(2, 9))):
        keys = draw(st.lists(KEYS, min_size=2, max_size=5, unique=True))
        weights = np.array(draw(st.lists(st.floats(0.01, 1), min_size=6, max_size=6)))
        values = np.log(weights[: len(keys)] / weights.sum())
        steps.append(dict(zip(keys, values.tolist(), strict=True)))
    return steps


@given(trace(), st.sampled_from(["renormalise", "lump"]), st.sampled_from([0.0, 1.0, 2.0]))
@settings(max_examples=60, deadline=None)
def test_online_equals_offline(steps: list[dict[str, float]], mode: Any, lam: float) -> None:
    monitor = InstabilityMonitor(lam, mode)
    online = [monitor.push(step) for step in steps]
    offline = instability_trace(steps, lam, mode)
    assert math.isnan(online[0])
    assert online[1:] == pytest.approx(offline.I[1:].tolist(), rel=1e-12)  # ids are numbered anew
    assert monitor.n_tokens == len(steps)
    assert monitor.entropy == pytest.approx(offline.H[-1], rel=1e-12)


def test_memory_is_one_token() -> None:
    monitor = InstabilityMonitor()
    for i in range(50):
        monitor.push({f"a{i}": -0.5, f"b{i}": -1.0})
    assert list(monitor._before or ()) == ["a49", "b49"]


def test_chunks_of_a_stream() -> None:
    def entry(a: str, b: str) -> dict[str, Any]:
        top = [{"token": a, "logprob": -0.5}, {"token": b, "logprob": -1.2}]
        return {"token": a, "logprob": -0.5, "top_logprobs": top}

    entries = [entry("a", "b"), entry("b", "c"), entry("a", "c")]
    monitor = InstabilityMonitor()
    chunk = {"choices": [{"delta": {}, "logprobs": {"content": entries[:2]}}]}
    values = monitor.push_chunk(chunk)
    values += monitor.push_chunk({"choices": []})  # the last chunk carries the usage only
    sdk = SimpleNamespace(choices=[SimpleNamespace(logprobs=SimpleNamespace(content=entries[2:]))])
    values += monitor.push_chunk(sdk)
    assert values[1:] == pytest.approx(instability_trace(entries).I[1:].tolist())


def test_the_alarm_counts_and_waits() -> None:
    alarm = InstabilityAlarm(2.0, patience=3)
    values = [3, 3, 1, 2, 2, 2, 2, math.nan, 2, 2, 2]
    assert [i for i, value in enumerate(values) if alarm.update(value)] == [5, 10]
    assert (alarm.n_alarms, alarm.n_above, alarm.n_tokens, alarm.first_alarm) == (2, 9, 11, 5)
    silent = InstabilityAlarm(9.0)
    assert not any(silent.update(value) for value in values)
    assert (silent.n_alarms, silent.n_above, silent.first_alarm) == (0, 0, None)


def test_bad_arguments_and_steps() -> None:
    with pytest.raises(ConfigurationError, match="unknown mode 'bounds'"):
        InstabilityMonitor(mode="bounds")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="patience 0"):
        InstabilityAlarm(1.0, 0)
    with pytest.raises(ConfigurationError, match="threshold is nan"):
        InstabilityAlarm(math.nan)
    with pytest.raises(InputError, match="logprobs=True"):
        InstabilityMonitor().push({"token": "a", "logprob": -0.1})
    with pytest.raises(InputError, match="look like probabilities"):
        InstabilityMonitor().push({"a": 0.5, "b": 0.2})
