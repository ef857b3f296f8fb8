"""The study of reasoning utility: fair pairs, an honest verdict, a figure of stored numbers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.errors import FormatError, InputError
from entropilot.studies.reasoning_chains import (
    FILE_NAME,
    SOURCES,
    balanced_pairs,
    chain,
    read_rows,
)
from entropilot.studies.reasoning_utility import STUDY
from entropilot.studies.runner import plain
from entropilot.studies.study import verdict


def row(right: str, solution: str = "1 + 1 = <<1+1=2>>2\n2 + 1 = 3\nA: 3") -> dict[str, object]:
    sources = {s: {"is_correct": s == right, "solution": solution} for s in SOURCES}
    return {"question": "How many?", "ground_truth": "x\nA: 1,003", **sources}


def test_a_chain_loses_marks_and_answer_line() -> None:
    found = chain(row(SOURCES[0]), 4, SOURCES[0])
    assert found is not None
    assert found.steps == ("1 + 1 = 2", "2 + 1 = 3")
    assert (found.answer, found.gold, found.right, found.n_words) == ("3", "1003", True, 10)
    assert chain(row(SOURCES[0], "1 + 1 = 2\nso it is"), 0, SOURCES[0]) is None


def test_every_source_is_as_often_right_as_wrong() -> None:
    rows = [row(SOURCES[i % 4]) for i in range(80)]
    pairs = balanced_pairs(rows, 24, np.random.default_rng(0))
    assert len({right.problem for right, _ in pairs}) == 24
    assert all(r.right and not w.right and r.problem == w.problem for r, w in pairs)
    assert set(Counter((r.source, w.source) for r, w in pairs).values()) == {2}
    again = balanced_pairs(rows, 24, np.random.default_rng(0))
    assert again == pairs
    assert balanced_pairs(rows, 24, np.random.default_rng(1)) != pairs


def test_too_few_problems_are_named() -> None:
    with pytest.raises(InputError, match="multiple of 12"):
        balanced_pairs([], 10, np.random.default_rng(0))
    with pytest.raises(InputError, match="only 0 of 1 problems have a right chain of 6b_verif"):
        balanced_pairs([row(SOURCES[0])] * 9, 12, np.random.default_rng(0))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"question": "q"}\n')
    with pytest.raises(FormatError, match=r"line 1: 'ground_truth'; expected question"):
        read_rows(tmp_path / FILE_NAME)


def test_real_chains_can_be_paired(test_data: Path) -> None:
    pairs = balanced_pairs(read_rows(test_data / FILE_NAME), 60, np.random.default_rng(0))
    assert len(pairs) == 60
    assert all(len(one.steps) >= 2 for pair in pairs for one in pair)


def test_without_the_chains_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTROPILOT_TEST_DATA", raising=False)
    measured = STUDY.measure("quick", 0, lambda _share, _doing: None)
    findings = STUDY.judge([measured])
    assert verdict(findings) == "not run"
    assert all("not part of the package" in f.measured for f in findings)
    assert STUDY.draw([measured]).axes


def math_like(path: Path, n: int = 6) -> None:
    rows = [
        {
            "id": f"{i}-{is_right}",
            "question": f"What is {i} + 1?",
            "steps": [f"We add one to {i}.", "We look again.", f"So it is {i + 2 - is_right}."],
            "reference": str(i + 1),
            "answer": str(i + 2 - is_right),
            "correct": bool(is_right),
            "category": "algebra" if i % 2 else "geometry",
        }
        for i in range(n)
        for is_right in (0, 1)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))


def test_the_full_scale_runs_on_a_file_of_chains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "math.jsonl"
    math_like(path)
    monkeypatch.setenv("ENTROPILOT_CHAINS", str(path))
    monkeypatch.setenv("ENTROPILOT_INSPECTOR", "tiny")
    monkeypatch.setenv("ENTROPILOT_CACHE", str(tmp_path / "cache"))
    measured = plain(STUDY.measure("full", 0, lambda _share, _doing: None))
    assert len(measured["chains"]) == 12
    assert {one["source"] for one in measured["chains"]} == {"algebra", "geometry"}
    for one in measured["chains"]:
        assert (one["own_nll"] == one["gold_nll"]) is one["right"]  # a right chain's own answer
    kept = sorted((tmp_path / "cache" / "studies" / "reasoning-utility").iterdir())
    assert len(kept) == 18  # 12 references, 6 other own answers
    again = plain(STUDY.measure("full", 0, lambda _share, _doing: None))
    assert again == measured
    findings = {f.statement: f for f in STUDY.judge([measured])}
    tree = next(f for name, f in findings.items() if "tree" in name)
    assert (tree.holds, tree.check) == (True, True)
    below = next(f for name, f in findings.items() if "every category" in name)
    assert "algebra" in below.measured
    assert below.holds in (True, False)
    assert not any("a leak" in name for name in findings)  # set on another inspector
    assert len(STUDY.draw([measured]).axes) == 3


def test_the_full_scale_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTROPILOT_CHAINS", raising=False)
    measured = STUDY.measure("full", 0, lambda _share, _doing: None)
    findings = STUDY.judge([measured])
    assert verdict(findings) == "not run"
    assert all("name a JSONL file in ENTROPILOT_CHAINS" in f.measured for f in findings)
    path = tmp_path / "math.jsonl"
    path.write_text('{"question": "?", "steps": ["So.", "It is 1."], "answer": "1"}')
    monkeypatch.setenv("ENTROPILOT_CHAINS", str(path))
    with pytest.raises(InputError, match="0 right, 0 wrong and 1 unlabelled chains"):
        STUDY.measure("full", 0, lambda _share, _doing: None)


def test_the_recorded_run_has_its_chains_and_says_where_the_answer_leaks(
    recorded: Any, by_statement: Any
) -> None:
    measurements = recorded("reasoning-utility")
    assert all(len(m["chains"]) == 120 for m in measurements)
    findings = STUDY.judge(measurements)
    assert all(f.holds for f in findings if f.check)
    assert by_statement(findings, "before the last step").holds is False
