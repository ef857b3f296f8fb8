"""Arms in several processes, one thread each; rows of metrics come back as they are made."""

from __future__ import annotations

import functools
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from entropilot.errors import EntropilotError
from entropilot.experiments.arms import ArmPlan, run_arm
from entropilot.experiments.config import ExperimentConfig
from entropilot.policy.training.threads import one_thread

#: Called with an arm and its row of metrics after each step.
Heard = Callable[[ArmPlan, Mapping[str, Any]], None]

_POLL: Final = 0.2  # seconds


def run_arms(config: ExperimentConfig, arms: Sequence[ArmPlan], heard: Heard) -> dict[str, str]:
    """Run arms side by side, ``train.workers`` at a time.

    An arm that fails does not stop the others. When this is interrupted, the processes are stopped;
    their checkpoints stay.

    Args:
        config: the experiment.
        arms: those to run.
        heard: called in this process.

    Returns:
        Why arms failed, by their name; empty where all went well.
    """
    if config.train.workers == 1 or len(arms) == 1:
        return _in_this_process(config, arms, heard)
    context = multiprocessing.get_context("spawn")
    rows: Any = context.Queue()
    todo: Any = context.Queue()
    for number in range(len(arms)):
        todo.put(number)
    text = config.model_dump_json()
    state = _State(set(range(len(arms))))
    processes: list[Any] = []
    try:
        while state.left:
            processes = [p for p in processes if p.is_alive()]
            while len(processes) < min(config.train.workers, len(state.left)):
                process = context.Process(
                    target=_work, args=(text, list(arms), todo, rows), daemon=True
                )
                process.start()
                processes.append(process)
            _listen(rows, arms, heard, state)
            _bury(processes, arms, state)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)
    return state.failed


@dataclass
class _State:
    """What this process knows of the others."""

    left: set[int]  # arms that have not ended
    failed: dict[str, str] = field(default_factory=dict)
    working: dict[int, int] = field(default_factory=dict)  # process id -> arm


def _bury(processes: Sequence[Any], arms: Sequence[ArmPlan], state: _State) -> None:
    """An arm whose process has died (killed for memory, say) has failed; the others go on."""
    for process in processes:
        number = state.working.get(process.pid)
        if process.is_alive() or number is None or number not in state.left:
            continue
        state.left.discard(number)
        state.failed[arms[number].name] = (
            f"its process ended with code {process.exitcode}; run again to go on from its last "
            "checkpoint"
        )


def _in_this_process(
    config: ExperimentConfig, arms: Sequence[ArmPlan], heard: Heard
) -> dict[str, str]:
    failed: dict[str, str] = {}
    with one_thread():
        for arm in arms:
            try:
                run_arm(config, arm, functools.partial(heard, arm))
            except EntropilotError as error:
                failed[arm.name] = str(error)
    return failed


def _work(text: str, arms: Sequence[ArmPlan], todo: Any, rows: Any) -> None:
    """Arms one after the other in a process of its own, until none is left."""
    with one_thread():
        _work_alone(text, arms, todo, rows)


def _work_alone(text: str, arms: Sequence[ArmPlan], todo: Any, rows: Any) -> None:
    config = ExperimentConfig.model_validate_json(text)
    me = os.getpid()
    while True:
        try:
            number = todo.get_nowait()
        except queue.Empty:
            return
        rows.put((me, number, "begins", None))

        def tell(row: Mapping[str, Any], number: int = number) -> None:
            rows.put((me, number, "row", dict(row)))

        try:
            run_arm(config, arms[number], tell)
            rows.put((me, number, "ended", None))
        except KeyboardInterrupt:
            return  # the parent says what happened
        except EntropilotError as error:
            rows.put((me, number, "failed", str(error)))
        except Exception as error:
            rows.put((me, number, "failed", f"{type(error).__name__}: {error}"))


def _listen(rows: Any, arms: Sequence[ArmPlan], heard: Heard, state: _State) -> None:
    """Hand on what has come, waiting a moment for the first."""
    until = time.monotonic() + _POLL
    while time.monotonic() < until:
        try:
            process, number, kind, what = rows.get(timeout=_POLL)
        except queue.Empty:
            return
        if kind == "begins":
            state.working[process] = number
        elif kind == "row":
            heard(arms[number], what)
        else:
            state.left.discard(number)
            if kind == "failed":
                state.failed[arms[number].name] = str(what)
