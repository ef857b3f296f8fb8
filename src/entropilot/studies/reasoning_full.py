"""The reasoning-utility study at the paper's size: chains from a file, a large inspector, a GPU.

Two environment variables say what is read:

    ENTROPILOT_CHAINS      JSONL as ``entropilot utility`` takes it, with reference, answer (the
                           chain's own), correct and category, for example four sampled solutions
                           to each of the 5000 MATH test problems
    ENTROPILOT_INSPECTOR   as for ``load_model``; Qwen/Qwen3-8B unless set

Each chain's result is kept in the cache folder, so that a stopped run goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from entropilot.errors import InputError
from entropilot.models.inspector import NaiveInspector, TreeInspector
from entropilot.models.open_inspector import open_inspector
from entropilot.models.smollm2 import cache_folder
from entropilot.studies.chain_lengths import length_row
from entropilot.studies.study import Measurement, Progress
from entropilot.traces.chains import ReasoningChain, read_chains
from entropilot.traces.inspection import entropy_trajectory
from entropilot.traces.utility import Trajectory
from entropilot.traces.utility_run import measure_chains

CHAINS: Final = "ENTROPILOT_CHAINS"
INSPECTOR: Final = "ENTROPILOT_INSPECTOR"
DEFAULT_INSPECTOR: Final = "Qwen/Qwen3-8B"  # the paper's
DTYPE: Final = "bfloat16"
COMPARED: Final = 3  # chains that are read the naive way too


def measure_full(progress: Progress) -> Measurement:
    """Trajectories of all chains of the file with two steps or more, and their lengths.

    Args:
        progress: called after each chain.

    Returns:
        As ``measure`` of the study, with ``scale``, ``dtype`` and ``skipped`` (chains that do not
        fit the inspector's context); the category stands where the study has the source.

    Raises:
        InputError: a chain lacks what is needed; no right or no wrong chain is left.
    """
    named = os.environ.get(CHAINS)
    name = os.environ.get(INSPECTOR, DEFAULT_INSPECTOR)
    if not named:
        missing = (
            f"the chains are not part of the package: name a JSONL file in {CHAINS} (question, "
            "chain or steps, reference, answer, correct, category), and an inspector in "
            f"{INSPECTOR}"
        )
        return _nothing(name, missing)
    gold = [one for one in read_chains(Path(named)) if len(one.steps) > 1]
    wanted = {one.id for one in gold}
    own = [one for one in read_chains(Path(named), which="own") if one.id in wanted]
    _check_labels(gold, named)
    opened = open_inspector(name, dtype=_dtype(name), progress=lambda doing: progress(0.0, doing))
    tree = opened.inspector
    if not isinstance(tree, TreeInspector):
        raise InputError(
            f"{INSPECTOR} is {name!r}; the study needs a local model, all of its logits"
        )
    others = [o for g, o in zip(gold, own, strict=True) if o.answer != g.answer]
    total = len(gold) + len(others)
    found: list[dict[str, Trajectory]] = []
    n_skipped = 0
    for shift, chains in ((0, gold), (len(gold), others)):
        measured = measure_chains(
            chains,
            tree,
            identity=opened.identity,
            skip_long=True,
            resume=cache_folder() / "studies" / "reasoning-utility",
            progress=lambda at, shift=shift: progress(  # type: ignore[misc]
                (shift + at.done) / total, f"{shift + at.done:,}/{total:,} readings"
            ),
        )
        n_skipped += len(measured.skipped)
        ids = [chain.id for chain in measured.chains]
        found.append(dict(zip(ids, measured.trajectories, strict=True)))
    by_gold, by_own = found
    same = {g.id for g, o in zip(gold, own, strict=True) if o.answer == g.answer}
    groups = {group: k for k, group in enumerate(dict.fromkeys(one.group for one in gold))}
    entries = []
    for one in gold:
        here = by_gold.get(one.id)
        other = here if one.id in same else by_own.get(one.id)
        if here is not None and other is not None:
            entries.append(_entry(one, groups[one.group], here, other))
    return {
        "scale": "full",
        "inspector": opened.name,
        "dtype": _dtype(name),
        "chains": entries,
        "lengths": _lengths(gold),
        "tree_error": _tree_error(tree, gold, by_gold),
        "skipped": n_skipped,
        "missing": None,
    }


def _dtype(name: str) -> str:
    return "float32" if name in ("tiny", "smollm2") else DTYPE


def _nothing(name: str, missing: str) -> Measurement:
    return {
        "scale": "full",
        "inspector": name,
        "chains": [],
        "lengths": [],
        "tree_error": None,
        "missing": missing,
    }


def _check_labels(chains: Sequence[ReasoningChain], named: str) -> None:
    labels = [one.right for one in chains]
    if None in labels or not (True in labels and False in labels):
        raise InputError(
            f"{named} has {labels.count(True)} right, {labels.count(False)} wrong and "
            f"{labels.count(None)} unlabelled chains of two steps or more; the study needs right "
            "and wrong ones and a label on each"
        )


def _tree_error(
    tree: TreeInspector, chains: Sequence[ReasoningChain], found: dict[str, Trajectory]
) -> float | None:
    naive = NaiveInspector(tree.model)
    errors = [
        np.abs(
            entropy_trajectory(naive, one.question, one.steps, one.answer).per_token
            - found[one.id].per_token
        ).max()
        for one in chains[:COMPARED]
        if one.id in found
    ]
    return float(max(errors)) if errors else None


def _entry(one: ReasoningChain, problem: int, gold: Trajectory, own: Trajectory) -> dict[str, Any]:
    return {
        "problem": problem,
        "chain": one.id,
        "source": one.category or "all",
        "right": bool(one.right),
        "n_words": _n_words(one),
        "n_tokens": sum(gold.step_tokens),
        "leak_step": gold.leak_step,
        "gold": np.round(gold.h, 5).tolist(),
        "gold_nll": np.round(gold.nll, 5).tolist(),
        "own": np.round(own.h, 5).tolist(),
        "own_nll": np.round(own.nll, 5).tolist(),
    }


def _n_words(one: ReasoningChain) -> int:
    return sum(len(step.split()) for step in one.steps)


def _lengths(chains: Sequence[ReasoningChain]) -> list[dict[str, Any]]:
    """Words and steps of right and wrong chains, by category."""
    found = []
    for category in sorted({one.category or "all" for one in chains}):
        here = [one for one in chains if (one.category or "all") == category]
        words = np.array([_n_words(one) for one in here])
        steps = np.array([len(one.steps) for one in here])
        wrong = np.array([not one.right for one in here])
        if wrong.all() or not wrong.any():
            continue
        found.append(length_row(category, words, steps, wrong))
    return found
