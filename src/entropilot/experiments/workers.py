"""Arms in several processes, one thread each; rows of metrics come back as they are made.

Each process has a pipe of its own and nothing in common with the others: one that is killed at any
moment, for memory say, takes its own arm with it and no other. A process ends with its parent.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from entropilot.errors import EntropilotError
from entropilot.experiments.arms import ArmPlan, run_arm
from entropilot.experiments.config import ExperimentConfig
from entropilot.policy.training.threads import one_thread

#: Called with an arm and its row of metrics after each step.
Heard = Callable[[ArmPlan, Mapping[str, Any]], None]
#: Called with an arm and a sentence of warning.
Warned = Callable[[ArmPlan, str], None]

_POLL: Final = 0.5  # seconds between looks at processes that say nothing


def run_arms(
    config: ExperimentConfig,
    arms: Sequence[ArmPlan],
    heard: Heard,
    warned: Warned = lambda _arm, _sentence: None,
) -> dict[str, str]:
    """Run arms side by side, ``train.workers`` at a time.

    An arm that fails, or whose process dies, does not stop the others. When this is interrupted,
    the processes are stopped; their checkpoints stay.

    Args:
        config: the experiment.
        arms: those to run.
        heard: called in this process.
        warned: called in this process, once for each warning of an arm.

    Returns:
        Why arms failed, by their name; empty where all went well.
    """
    if config.train.workers == 1 or len(arms) == 1:
        return _in_this_process(config, arms, heard, warned)
    context = multiprocessing.get_context("spawn")
    text = config.model_dump_json()
    todo = list(reversed(arms))
    failed: dict[str, str] = {}
    at_work: list[_Worker] = []
    leaving: list[_Worker] = []
    try:
        while todo or at_work:
            while todo and len(at_work) < config.train.workers:
                at_work.append(_hired(context, text, todo.pop()))
            wait([worker.pipe for worker in at_work], timeout=_POLL)
            for worker in list(at_work):
                if _listen(worker, heard, warned, failed):
                    continue
                if todo and worker.process.is_alive():
                    _give(worker, todo.pop())
                else:
                    at_work.remove(worker)
                    leaving.append(worker)
                    worker.pipe.close()  # it ends by itself, while the others are listened to
    finally:
        for worker in at_work:
            worker.process.terminate()
            worker.pipe.close()
        for worker in (*at_work, *leaving):
            worker.process.join(timeout=10)
    return failed


@dataclass
class _Worker:
    """One process, and the arm that it is at."""

    process: Any
    pipe: Connection
    arm: ArmPlan
    is_over: bool = field(default=False)  # the arm has ended, well or not


def _hired(context: Any, text: str, arm: ArmPlan) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(text, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is seen here when the process dies
    worker = _Worker(process, ours, arm)
    _give(worker, arm)
    return worker


def _give(worker: _Worker, arm: ArmPlan) -> None:
    worker.arm, worker.is_over = arm, False
    with contextlib.suppress(OSError):  # it has died; that is seen at the next look
        worker.pipe.send(arm)


def _listen(worker: _Worker, heard: Heard, warned: Warned, failed: dict[str, str]) -> bool:
    """Hand on what has come of a worker; False where it has no arm any more."""
    try:
        while worker.pipe.poll():
            kind, what = worker.pipe.recv()
            if kind == "row":
                heard(worker.arm, what)
            elif kind == "warned":
                warned(worker.arm, what)
            else:
                worker.is_over = True
                if kind == "failed":
                    failed[worker.arm.name] = str(what)
    except (EOFError, OSError):
        worker.process.join(timeout=10)
        if not worker.is_over:
            failed[worker.arm.name] = _death(worker.process.exitcode)
        return False
    return not worker.is_over


def _death(code: int | None) -> str:
    """Why a process may have ended, in words.

    Examples:
        >>> _death(-11)
        'its process died of SIGSEGV'
    """
    if code is None or code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        return (
            f"its process was killed ({name}), as systems do that run out of memory. Then lower "
            "train.workers, or train.micro_tokens, which changes no result"
        )
    return f"its process died of {name}"


def _in_this_process(
    config: ExperimentConfig, arms: Sequence[ArmPlan], heard: Heard, warned: Warned
) -> dict[str, str]:
    failed: dict[str, str] = {}
    with one_thread():
        for arm in arms:
            try:
                with _warnings_to(functools.partial(warned, arm)):
                    run_arm(config, arm, functools.partial(heard, arm))
            except Exception as error:
                failed[arm.name] = _reason(error)
    return failed


def _reason(error: Exception) -> str:
    """Why an arm failed; an error that nobody foresaw bears its kind.

    Examples:
        >>> _reason(ValueError("odd"))
        'ValueError: odd'
    """
    if isinstance(error, EntropilotError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return f"{type(error).__name__}: {error}"


def _work(text: str, pipe: Connection) -> None:
    """Arms one after the other in a process of its own, until the pipe is closed."""
    _end_with_parent()
    config = ExperimentConfig.model_validate_json(text)

    def tell(kind: str, what: Any = None) -> None:
        pipe.send((kind, what))

    with one_thread(), contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            arm = pipe.recv()
            try:
                with _warnings_to(functools.partial(tell, "warned")):
                    run_arm(config, arm, lambda row: tell("row", dict(row)))
                tell("ended")
            except BrokenPipeError:
                return  # nobody is left to hear
            except Exception as error:
                tell("failed", _reason(error))


def _end_with_parent() -> None:
    """Die when the parent does, however it dies: else two processes would write one folder."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: Any) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


@contextlib.contextmanager
def _warnings_to(say: Callable[[str], None]) -> Iterator[None]:
    """Hand each warning of the block on, once, as a sentence; those for programmers are dropped."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_place: Any, **_more: Any) -> None:
        sentence = str(message)
        if sentence not in said and not issubclass(category, DeprecationWarning | FutureWarning):
            said.add(sentence)
            say(sentence)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield
