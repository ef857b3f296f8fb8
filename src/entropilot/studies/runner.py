"""Run a study seed by seed: what is measured already is not measured again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.studies.store import SeedRun, Store, StudyRun
from entropilot.studies.study import Progress, Scale, Study


def run_study(
    study: Study,
    scale: Scale,
    store: Store,
    *,
    n_seeds: int | None = None,
    again: bool = False,
    progress: Progress = lambda _share, _doing: None,
    clock: Callable[[], float] = time.perf_counter,
) -> StudyRun:
    """Measure every seed that has no stored measurement yet, and return all of them.

    Each seed is stored as soon as it is done, so an interrupted run loses at most the seed at work.

    Args:
        study: what to run.
        scale: one of the study's scales.
        store: where measurements lie.
        n_seeds: seeds 0 .. n_seeds - 1; the study's own number by default.
        again: measure also what is stored, and replace it.
        progress: called with the share done and what is being done.
        clock: seconds, for the time that a seed took.

    Raises:
        ConfigurationError: the study has no such scale, or no seed is asked for.
    """
    if scale not in study.scales:
        raise ConfigurationError(unknown_name(f"scale of {study.slug}", scale, study.scales))
    wanted = study.seeds.get(scale, 1) if n_seeds is None else n_seeds
    if wanted < 1:
        raise ConfigurationError(f"seeds = {wanted}, expected at least 1")
    stored = store.own(study.slug, scale)
    known = set() if again else {run.seed for run in stored.seeds}
    todo = [seed for seed in range(wanted) if seed not in known]
    for done, seed in enumerate(todo):

        def share(part: float, doing: str, done: int = done, seed: int = seed) -> None:
            progress((done + part) / len(todo), f"seed {seed}: {doing}")

        started = clock()
        measurement = plain(study.measure(scale, seed, share))
        stored = store.add(study.slug, scale, SeedRun(seed, clock() - started, measurement))
    progress(1.0, "done")
    return stored


def plain(value: Any) -> Any:
    """The same value in plain JSON types; numpy scalars and arrays become numbers and lists.

    Examples:
        >>> plain({"a": np.arange(2), "b": (np.float64(0.5), None)})
        {'a': [0, 1], 'b': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value
