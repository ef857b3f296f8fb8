"""The study of an expanding gas: judgements that can fail."""

from __future__ import annotations

import copy
from typing import Any

from entropilot.studies.boltzmann_gas_judge import judge


def test_each_item_can_fail(recorded: Any) -> None:
    held = recorded("boltzmann-gas")
    good = {f.statement: f.holds for f in judge(held)}
    spoiled = copy.deepcopy(held)
    run = spoiled[0]
    for one in run["ideal"]:
        one["gain"] = [2 * g for g in one["gain"]]
    for one in run["discs"]:
        one["gain"] = [[0.5 * g for g in row] for row in one["gain"]]
    for case in run["reversal"]["positions"]:
        case["error"] = 1.0
    for case in run["reversal"]["entropies"]:
        case["left"] = 0.1 * case["gain"]
    for pair in run["scaling"]:
        pair["gain"] = [0.1 for _ in pair["gain"]]
    bad = {f.statement: f.holds for f in judge(spoiled)}
    failed = [name for name in bad if bad[name] is False]
    assert len(failed) >= 8
    assert any(good[name] for name in failed)
