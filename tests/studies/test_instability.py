"""The instability study: planted traces, the judgement of stored numbers, the figure."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.studies.instability import STUDY, judge, measure
from entropilot.studies.instability_numbers import measure_traces
from entropilot.studies.instability_traces import (
    N_STATES,
    SMOLLM2_VOCABULARY,
    planted_traces,
    recorded_traces,
)
from entropilot.studies.runner import plain
from entropilot.studies.study import Measurement, verdict


def quiet(_share: float, _doing: str) -> None:
    pass


@pytest.fixture(scope="module")
def smoke() -> Measurement:
    return plain(measure("smoke", 0, quiet))


def fresh(smoke: Measurement, **changes: Any) -> Measurement:
    """The planted numbers, passed off as those of fresh traces."""
    part = copy.deepcopy(smoke["parts"]["planted"]) | changes
    return {"parts": {"sampled": part}}


def test_smoke_measures_plain_numbers(smoke: Measurement) -> None:
    part = smoke["parts"]["planted"]
    assert json.loads(json.dumps(smoke)) == smoke
    assert part["n_traces"] == 240
    assert set(part["roc"]) == {"instability_peak", "entropy_mean"}
    assert len(part["buckets"]["instability_peak"]) == 5
    assert sum(row[2] for row in part["timing"]) == 240
    assert [e["kind"] for e in part["examples"]] == [
        "early peak, right",
        "late peak, wrong",
        "stable, right",
        "stable, wrong",
    ]


def test_smoke_is_deterministic(smoke: Measurement) -> None:
    assert plain(measure("smoke", 0, quiet)) == smoke
    assert plain(measure("smoke", 1, quiet)) != smoke


def test_smoke_gives_checks_and_no_verdict(smoke: Measurement) -> None:
    findings = judge([smoke])
    assert all(f.check for f in findings)
    assert all(f.holds for f in findings)
    assert verdict(findings) == "not run"


def test_planted_traces_carry_exact_values() -> None:
    traces = planted_traces(10, 4, seed=0)
    tokens = traces.tokens
    assert tokens.entropy is not None
    assert tokens.jsd is not None
    assert (tokens.entropy >= 0).all()
    assert (tokens.entropy <= np.log(N_STATES) + 1e-6).all()
    first = np.isnan(tokens.jsd)
    assert first.nonzero()[0].tolist() == tokens.offsets[:-1].tolist()
    assert tokens.jsd[~first].max() <= np.log(2) + 1e-6
    listed = np.exp(tokens.top_logprob.astype(np.float64)).sum(axis=1)
    assert listed.max() <= 1 + 1e-6
    assert (np.diff(tokens.top_logprob, axis=1) <= 0).all()


def test_fresh_traces_are_judged(smoke: Measurement, by_statement: Any) -> None:
    findings = judge([fresh(smoke), fresh(smoke)])
    counted = [f for f in findings if not f.check and f.holds is not None]
    assert by_statement(findings, "without training").holds is True
    assert by_statement(findings, "plain mean entropy").holds is None
    assert by_statement(findings, "weight of the entropy").holds is None
    assert len(counted) >= 4
    assert verdict(findings) in ("holds", "in part")


def test_a_signal_at_chance_is_not_called_a_signal(smoke: Measurement, by_statement: Any) -> None:
    auc = smoke["parts"]["planted"]["auc"] | {"instability_peak": [0.51, 0.44, 0.58]}
    findings = judge([fresh(smoke, auc=auc)])
    assert by_statement(findings, "without training").holds is False


def test_an_auc_outside_the_range_fails_its_finding(smoke: Measurement, by_statement: Any) -> None:
    auc = smoke["parts"]["planted"]["auc"] | {"instability_peak": [0.86, 0.8, 0.9]}
    findings = judge([fresh(smoke), fresh(smoke, auc=auc)])
    assert by_statement(findings, "lies where that of the recorded").holds is False


def test_accuracy_that_rises_once_is_not_monotone(smoke: Measurement, by_statement: Any) -> None:
    rows = [[0, 1, 50, right] for right in (40, 30, 20, 10, 12)]
    buckets = {"instability_peak": rows, "entropy_mean": rows}
    findings = judge([fresh(smoke, buckets=buckets)])
    found = by_statement(findings, "Accuracy falls")
    assert found.holds is False
    assert found.measured.startswith("0.80, 0.60, 0.40, 0.20, 0.24")


def test_timing_is_pooled_over_fifths_and_seeds(smoke: Measurement, by_statement: Any) -> None:
    def cells(early: int, late: int) -> list[list[Any]]:
        return [
            [fifth, timing, 100, right]
            for fifth in range(5)
            for timing, right in (("early", early), ("middle", 50), ("late", late))
        ]

    def holds(early: int, late: int) -> bool | None:
        findings = judge([fresh(smoke, timing=cells(early, late))] * 2)
        return by_statement(findings, "At equal size").holds

    assert holds(60, 30) is True
    assert holds(30, 60) is False
    assert holds(50, 50) is None


def test_seeds_narrow_the_interval(smoke: Measurement, by_statement: Any) -> None:
    def width(n: int) -> float:
        words = by_statement(judge([fresh(smoke)] * n), "without training").measured
        low, high = words.split("[")[1].split("]")[0].split(", ")
        return float(high) - float(low)

    assert width(4) < width(1)


def test_the_figure_has_its_four_panels(smoke: Measurement, tmp_path: Path) -> None:
    figure = STUDY.draw([smoke])
    assert [axis.get_title(loc="left")[:8] for axis in figure.axes] == [
        "How well",
        "Accuracy",
        "Four tra",
        "Early ag",
    ]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert not STUDY.draw([{"parts": {}}]).axes


def test_recorded_traces_need_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTROPILOT_TEST_DATA", raising=False)
    assert recorded_traces() is None
    monkeypatch.setenv("ENTROPILOT_TEST_DATA", "/nowhere")
    assert recorded_traces() is None


def test_recorded_traces_pass_the_checks(real_traces: Path) -> None:
    assert real_traces.exists()
    traces = recorded_traces()
    assert traces is not None
    found = plain(measure_traces(traces, 0, SMOLLM2_VOCABULARY))
    findings = judge([{"parts": {"recorded": found}}])
    assert len(findings) == 4
    assert all(f.holds and f.check for f in findings)
    gap = found["mean_entropy_minus_peak"]
    assert gap[0] == pytest.approx(0.103, abs=0.002)
    assert gap[1] > 0  # on these traces the mean entropy is the better signal


def test_the_recorded_run_says_that_it_works_without_training(
    recorded: Any, by_statement: Any
) -> None:
    assert by_statement(judge(recorded("instability")), "without training").holds is True


@pytest.mark.model
@pytest.mark.slow
def test_fresh_traces_have_answers_and_labels() -> None:
    from entropilot.studies.instability_traces import sampled_traces

    traces = sampled_traces(3, 2, 0, quiet)
    assert len(traces) == 6
    assert traces.rows["correct"].null_count() == 0
    assert traces.rows["logprobs_kind"].unique().to_list() == ["raw"]
    assert traces.rows["temperature"].to_list() == [0.0, 0.7] * 3
