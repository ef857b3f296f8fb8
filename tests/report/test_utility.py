"""The document of a utility run, and what people read of it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from entropilot.errors import ConfigurationError, InputError
from entropilot.report.utility import print_utility, utility_markdown
from entropilot.report.utility_json import utility_json
from entropilot.traces.chains import ReasoningChain
from entropilot.traces.utility import Trajectory
from entropilot.traces.utility_run import MeasuredChains


def chain(name: str, h: list[float], right: bool | None, group: str = "p", **changes: Any) -> Any:
    values = np.array(h)
    fields = {
        "h": values,
        "nll": values,
        "per_token": values[:, None],
        "lower": values,
        "upper": values,
        "step_tokens": (5,) * (len(h) - 1),
        "leak_step": None,
        "which": "gold",
        "connector": " is ",
        "answer": "7",
    }
    steps = ("s",) * (len(h) - 1)
    category = changes.pop("category", None)
    return (
        ReasoningChain(name, "Q?", steps, "s", "7", "gold", right, group, category),
        Trajectory(**(fields | changes)),
    )


def measured(*pairs: Any, skipped: tuple[tuple[str, str], ...] = ()) -> MeasuredChains:
    found, trajectories = zip(*pairs, strict=True) if pairs else ((), ())
    return MeasuredChains(tuple(found), tuple(trajectories), skipped)


def both(n: int, right: list[float], wrong: list[float]) -> MeasuredChains:
    pairs = []
    for i in range(n):
        pairs += [chain(f"r{i}", right, True, f"p{i}"), chain(f"w{i}", wrong, False, f"p{i}")]
    return measured(*pairs)


def printed(document: dict[str, Any]) -> str:
    console = Console(color_system=None, width=160)
    with console.capture() as said:
        print_utility(document, console)
    return said.get()


def test_the_document_has_what_is_promised() -> None:
    found = utility_json(both(6, [2.0, 2.2, 0.5], [2.0, 1.9, 1.9]), inspector="m", source="c.jsonl")
    json.dumps(found, allow_nan=False)
    assert found["counts"] == {
        "chains": 12,
        "skipped": 0,
        "labelled": 12,
        "right": 6,
        "wrong": 6,
        "problems": 6,
    }
    assert found["verdicts"] == {"decreasing": 6, "flat": 6, "rising": 0}
    first = found["chains"][0]
    assert first["gains"] == pytest.approx([-0.2, 1.7])
    assert (first["idle_steps"], first["n_answer_tokens"], first["n_tokens"]) == ([1], 1, 10)
    assert found["ranking"][0] == {"group": "p0", "chosen": "r0", "order": ["r0", "w0"]}
    assert found["selection"] == {"problems": 6, "chosen": 6, "right": 6, "chance": 0.5}
    assert found["report"]["aucs"]["-drop"]["value"] == 1.0
    assert found["report"]["aucs"]["-drop_before_last"]["value"] == 0.0


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ([2.0, 2.2, 0.5], [2.0, 1.9, 1.9], "Without the last step nothing separates"),
        ([2.0, 1.2, 0.5], [2.0, 1.9, 1.9], "before the last step too"),
        ([2.0, 1.2, 1.9], [2.0, 1.9, 0.5], "does not separate right from wrong"),
    ],
)
def test_the_leak_control_says_what_is_left(
    right: list[float], wrong: list[float], words: str
) -> None:
    found = utility_json(both(10, right, wrong))
    assert words in found["leak_control"]["sentence"]
    assert words in " ".join(printed(found).split())  # lines are broken at the width
    assert words in utility_markdown(found)


def test_a_handful_of_chains_shows_no_separation() -> None:
    found = utility_json(both(9, [2.0, 1.2, 0.5], [2.0, 1.9, 1.9]))
    assert "at least 10 right and 10 wrong" in found["leak_control"]["sentence"]


def test_chains_without_steps_show_no_leak() -> None:
    found = utility_json(measured(chain("a", [1.0], True), chain("b", [2.0], False)))
    assert "Too few chains" in found["leak_control"]["sentence"]
    assert found["chains"][0]["slope"] is None
    assert "2 chains have no steps" in found["notes"][0]


def test_bits_are_nats_over_ln_2() -> None:
    chains = both(3, [2.0, 1.2, 0.5], [2.0, 1.9, 1.9])
    nats, bits = (utility_json(chains, unit=unit) for unit in ("nats", "bits"))
    for name in ("h_first", "h_last", "drop", "slope", "area", "early_drop", "drop_before_last"):
        assert bits["chains"][0][name] == pytest.approx(nats["chains"][0][name] / math.log(2))
    for name in ("h", "nll", "lower", "upper", "gains"):
        assert bits["chains"][0][name] == pytest.approx(
            np.array(nats["chains"][0][name]) / math.log(2)
        )
    assert bits["chains"][0]["relative_drop"] == nats["chains"][0]["relative_drop"]
    assert bits["chains"][0]["verdict"] == nats["chains"][0]["verdict"]
    curves = [found["report"]["curves"][0]["mean"] for found in (nats, bits)]
    assert curves[1] == pytest.approx(np.array(curves[0]) / math.log(2))
    assert bits["report"]["aucs"] == nats["report"]["aucs"]
    with pytest.raises(ConfigurationError, match="unknown unit 'bit'"):
        utility_json(chains, unit="bit")


@pytest.mark.parametrize("change", [{"connector": " = "}, {"which": "own"}])
def test_chains_measured_differently_are_not_compared(change: dict[str, str]) -> None:
    pair = (chain("a", [2.0, 1.0], None), chain("b", [2.0, 1.0], None, **change))
    with pytest.raises(InputError, match="mix answer modes or connectors"):
        utility_json(measured(*pair))


def test_notes_count_what_is_odd() -> None:
    long = chain("a", [2.0, 1.0], None, per_token=np.ones((2, 33)))
    found = utility_json(measured(long, chain("b", [2.0, 1.0], True), skipped=(("c", "too long"),)))
    said = " ".join(found["notes"])
    assert "1 answer has more than 32 tokens" in said
    assert "1 chain has no label" in said
    assert "1 chain does not fit the inspector's context" in said
    assert (found["report"], found["leak_control"], found["selection"]) == (None, None, None)
    assert found["skipped"] == [{"id": "c", "reason": "too long"}]


def test_categories_have_curves() -> None:
    found = utility_json(
        measured(
            chain("a", [2.0, 1.0], True, category="x"), chain("b", [2.0, 1.0], False, category="y")
        )
    )
    names = [(curve["category"], curve["right"]) for curve in found["report"]["curves"]]
    assert names == [("all", True), ("all", False), ("x", True), ("y", False)]


def test_hostile_names_are_shown_harmless() -> None:
    evil = "\x1b]0;x\x07<b>|`[red]"
    found = utility_json(
        measured(chain(evil, [2.0, 1.0], True, evil), chain("b", [2.0, 1.0], False, evil))
    )
    assert found["chains"][0]["id"] == evil
    text, markdown = printed(found), utility_markdown(found)
    assert "\x1b" not in text + markdown
    assert "\x07" not in text + markdown
    assert "[red]" in text  # not taken as a style
    assert "<b>" not in markdown
    rows = [line for line in markdown.splitlines() if "x␇" in line and line.startswith("|")]
    assert rows
    for row in rows:
        assert row.replace("\\|", "").count("|") in (11, 4)  # a cell stays one cell


def test_many_chains_are_cut_and_counted() -> None:
    found = utility_json(measured(*(chain(str(i), [2.0, 1.0], None, str(i)) for i in range(45))))
    assert "and 5 more chains; the JSON form has all" in printed(found)
    assert len(found["chains"]) == 45


def test_nothing_measured() -> None:
    found = utility_json(measured(skipped=(("a", "too long"),)))
    assert found["chains"] == []
    assert "0 chains settle" in printed(found)
