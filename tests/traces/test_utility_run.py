"""Many chains: a stopped run goes on to the same result; the ranking; the reports' document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.errors import FormatError, InputError, LimitError
from entropilot.traces.chains import ReasoningChain, chain_of_row
from entropilot.traces.utility import Trajectory
from entropilot.traces.utility_ranking import rank_chains, selection_accuracy
from entropilot.traces.utility_run import (
    MeasuredChains,
    UtilityProgress,
    measure_chains,
    trajectory_from_json,
    trajectory_to_json,
)


class Letters:
    """An inspector over 256 bytes that expects a letter again once it was read."""

    def __init__(self, context: int = 1000) -> None:
        self.context, self.n_read = context, 0

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def logits(self, ids: Sequence[int], last: int) -> Any:
        self.n_read += 1
        if len(ids) > self.context:
            raise LimitError(f"question, steps and answer are {len(ids)} tokens to the inspector")
        ends = range(len(ids) - last, len(ids))
        return np.log([np.bincount(ids[: e + 1], minlength=256) + 0.01 for e in ends])


def chains(n: int = 4) -> list[ReasoningChain]:
    rows = [
        {"question": f"Q{i // 2}?", "steps": ["So " + "7" * i, f"It is {i}7."], "answer": f"{i}7"}
        for i in range(n)
    ]
    return [chain_of_row(row, i) for i, row in enumerate(rows)]


def same(one: MeasuredChains, other: MeasuredChains) -> bool:
    texts = [[trajectory_to_json(t) for t in found.trajectories] for found in (one, other)]
    return texts[0] == texts[1] and one.chains == other.chains and one.skipped == other.skipped


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = measure_chains(chains(), Letters())

    def stop(progress: UtilityProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_chains(chains(), Letters(), resume=tmp_path, progress=stop)
    assert len(list(tmp_path.iterdir())) == 2  # and no half-written file
    seen: list[UtilityProgress] = []
    inspector = Letters()
    rest = measure_chains(chains(), inspector, resume=tmp_path, progress=seen.append)
    assert same(whole, rest)
    assert inspector.n_read == 2 * 3  # the other two chains, three prefixes each
    assert [(p.done, p.total, p.reused) for p in seen] == [(i, 4, min(i, 2)) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("change", ["identity", "connector", "steps"])
def test_a_result_of_something_else_is_not_used(tmp_path: Path, change: str) -> None:
    measure_chains(chains(1), Letters(), resume=tmp_path)
    options: dict[str, Any] = {}
    again = chains(1)
    if change == "steps":
        again = [chain_of_row({"question": "Q0?", "steps": ["So it is 07."], "answer": "07"}, 0)]
    else:
        options = {change: "\nother "}
    inspector = Letters()
    measure_chains(again, inspector, resume=tmp_path, **options)
    assert inspector.n_read > 0


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    measure_chains(chains(1), Letters(), resume=tmp_path)
    [kept] = tmp_path.iterdir()
    values = json.loads(kept.read_text())
    for damaged in ("{", "[]", json.dumps(values | {"h": [1.0]}), json.dumps({"format": 0})):
        kept.write_text(damaged)
        with pytest.raises(FormatError, match="no kept trajectory; delete it"):
            measure_chains(chains(1), Letters(), resume=tmp_path)


def test_infinite_bounds_and_unknown_likelihoods_come_back() -> None:
    n = np.array
    one = Trajectory(
        n([1.0, 0.1]),
        n([np.nan, 0.3]),
        n([[1.0], [0.1]]),
        n([0.5, 0.0]),
        n([np.inf, 1 / 3]),
        (4,),
        1,
        "own",
        " is ",
        "7",
    )
    again = trajectory_from_json(trajectory_to_json(one))
    np.testing.assert_array_equal(again.nll, one.nll)
    np.testing.assert_array_equal(again.upper, one.upper)
    assert (again.step_tokens, again.leak_step, again.which) == ((4,), 1, "own")


def test_a_chain_that_does_not_fit_ends_the_run_or_is_counted(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"chain '2': .* are 35 tokens"):
        measure_chains(chains(), Letters(34))
    found = measure_chains(chains(), Letters(34), skip_long=True, resume=tmp_path)
    assert [chain.id for chain in found.chains] == ["0", "1"]
    assert [name for name, _ in found.skipped] == ["2", "3"]
    assert "are 35 tokens" in found.skipped[0][1]
    assert same(found, measure_chains(chains(), Letters(34), skip_long=True, resume=tmp_path))


def test_an_error_names_the_chain() -> None:
    one = ReasoningChain("x", "Q?", ("",), "", "7", "gold")
    with pytest.raises(InputError, match="chain 'x': step 1 is empty"):
        measure_chains([one], Letters())


def test_ranking_and_selection() -> None:
    h = [[2.0, 1.0], [2.0, 0.2], [2.0, 2.5], [2.0], [1.0, 1.0]]
    first, second = rank_chains(h, ["p", "p", "p", "p", "q"])
    assert (first.order, first.chosen) == ((1, 0, 2, 3), 1)
    assert (second.order, second.chosen) == ((4,), None)
    found = selection_accuracy([first, second], [True, False, False, True, True])
    assert (found.n_problems, found.n_chosen, found.n_right, found.chance) == (1, 1, 0, 0.5)
    # one label is missing, so the problem does not count
    nothing = selection_accuracy([first], [True, None, False, True, True])
    assert nothing.n_problems == 0
    assert np.isnan(nothing.chance)
    with pytest.raises(InputError, match="5 trajectories have 1 groups"):
        rank_chains(h, ["p"])
