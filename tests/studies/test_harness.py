"""The harness: resume, judge, table. The studies' own tests are beside this file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from entropilot.errors import ConfigurationError, FormatError
from entropilot.studies.catalogue import PAPERS
from entropilot.studies.registry import load_study, study_names
from entropilot.studies.runner import run_study
from entropilot.studies.store import Store
from entropilot.studies.study import Finding, Measurement, Progress, Scale, Study, verdict
from entropilot.studies.table import as_markdown, as_records, study_rows


def coin_study(calls: list[int], fail_at: int | None = None) -> Study:
    def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
        if seed == fail_at:
            raise KeyboardInterrupt
        calls.append(seed)
        progress(0.5, "tossing")
        return {"heads": np.random.default_rng(seed).random(4) < 0.5}

    def judge(measurements: Sequence[Measurement]) -> list[Finding]:
        heads = [sum(m["heads"]) for m in measurements]
        return [Finding("some heads", str(heads), "> 0", sum(heads) > 0)]

    return Study("coin", "Coin", "0000.00000", "A coin has two sides.", {"quick": "seconds"},
                 measure, judge, lambda _: Figure())  # fmt: skip


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_equal(tmp_path: Path) -> None:
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run_study(coin_study(calls, fail_at=2), "quick", Store(tmp_path / "a"))
    resumed = run_study(coin_study(calls), "quick", Store(tmp_path / "a"))
    whole = run_study(coin_study([]), "quick", Store(tmp_path / "b"))
    assert calls == [0, 1, 2]
    assert resumed.measurements == whole.measurements


def test_again_replaces_what_was_measured(tmp_path: Path) -> None:
    calls: list[int] = []
    store = Store(tmp_path)
    run_study(coin_study(calls), "quick", store, n_seeds=1)
    run = run_study(coin_study(calls), "quick", store, n_seeds=1, again=True)
    assert calls == [0, 0]
    assert len(run.seeds) == 1


def test_progress_runs_from_zero_to_one(tmp_path: Path) -> None:
    seen: list[float] = []
    run_study(coin_study([]), "quick", Store(tmp_path), progress=lambda s, _: seen.append(s))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        ([True, True], "holds"),
        ([True, False], "in part"),
        ([False], "not here"),
        ([None], "not run"),
        ([True, None], "holds"),
    ],
)
def test_verdict(holds: list[bool | None], expected: str) -> None:
    assert verdict([Finding("s", "m", "e", h) for h in holds]) == expected


def test_regression_checks_are_no_evidence() -> None:
    assert verdict([Finding("s", "m", "e", True, check=True)]) == "not run"
    assert verdict([Finding("s", "m", "e", True, check=True), Finding("s", "m", "e", False)]) == (
        "not here"
    )


def test_unknown_names_say_what_is_near() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'instability'"):
        load_study("instabilty")


def test_unknown_scale(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Known: quick"):
        run_study(coin_study([]), "full", Store(tmp_path))


def test_a_broken_store_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "coin.quick.json").write_text("{")
    with pytest.raises(FormatError, match="Delete it"):
        Store(tmp_path).own("coin", "quick")


def test_the_catalogue_has_39_distinct_papers_and_every_study_is_in_it() -> None:
    slugs = [paper.slug for paper in PAPERS]
    assert len(slugs) == len(set(slugs)) == 39
    assert set(study_names()) <= set(slugs)


@pytest.mark.parametrize("name", study_names())
def test_every_study_is_whole(name: str) -> None:
    study = load_study(name)
    assert study.slug == name
    assert {"smoke", "quick"} <= set(study.scales)
    assert study.paper in {paper.paper for paper in PAPERS}


def test_table_rows_have_the_promised_keys(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = json.loads(json.dumps(as_records(study_rows(Store(tmp_path)))))
    assert len(records) == 39
    for record in records:
        assert {"slug", "title", "scale", "seeds", "verdict", "findings"} <= set(record)
        assert record["verdict"] in {"holds", "in part", "not here", "not run"}
        for finding in record["findings"]:
            assert {"statement", "measured", "expected", "holds"} <= set(finding)


def test_results_page_names_every_finding(tmp_path: Path) -> None:
    rows = study_rows(Store(tmp_path))
    page = as_markdown(rows)
    for row in rows:
        assert row.title in page
        for finding in row.findings:
            assert finding.statement.replace("|", "\\|") in page
