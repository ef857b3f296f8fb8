"""Summarise many shards of traces: in processes on one machine, or with Ray Data on many.

Each shard becomes a ``Summary``; summaries merge in whatever order they arrive to the same result.
With a folder for the results, a run that was stopped goes on where it was: finished shards are not
read again, and the result is that of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from entropilot import errors
from entropilot.errors import (
    ConfigurationError,
    FormatError,
    InputError,
    LimitError,
    require,
    unknown_name,
)
from entropilot.files import write_atomically
from entropilot.traces.log_summary import LogSettings, read_and_summarise
from entropilot.traces.reading.options import Shard
from entropilot.traces.reading.shards import plan_shards
from entropilot.traces.reading.sources import Source, shards_of
from entropilot.traces.summary import (
    Summary,
    canonical_summary,
    empty_summary,
    merge_summaries,
)
from entropilot.traces.summary_file import FORMAT, summary_from_bytes, summary_to_bytes

ENGINES: Final = ("local", "ray")
SHARD_BYTES: Final = 128 << 20  # half a second of work, and what a stopped run may lose
WAKE_SECONDS: Final = 0.3
_DEFAULT: Final = LogSettings()


class Progress(NamedTuple):
    """How far a run is; handed to the progress function after each shard."""

    done: int  # shards
    total: int
    resumed: int  # of the done ones, read from an earlier run
    traces: int
    tokens: int
    bytes_read: int
    seconds: float  # since the start of this run


class _Outcome(NamedTuple):
    summary: Summary | bytes  # bytes where it comes from another process
    unreadable: str  # why nothing of the shard could be read, or ""


def summarise_logs(
    shards: Source,
    *,
    engine: Literal["local", "ray"] = "local",
    n_workers: int | None = None,
    settings: LogSettings = _DEFAULT,
    progress: Callable[[Progress], None] | None = None,
    resume: str | Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Summary:
    """One summary of all shards.

    Args:
        shards: files, folders or ``Shard`` ranges; a range is read by one worker. ``-`` is standard
            input, which this process reads.
        engine: "local" (processes) or "ray" (tasks; every node must see the files).
        n_workers: processes at work, this one among them, or shards in flight on Ray; None takes
            the processors of this machine (of the Ray cluster). With one worker, or one shard, all
            happens in this process.
        settings: what is done to each shard.
        progress: called after each shard.
        resume: folder for the result of each shard. A result is used again only for the same
            range, file size, modification time and settings.
        shard_bytes: larger files of lines are cut into ranges of this size, > 0.

    Returns:
        ``Summary`` in its canonical form. A shard in which nothing can be read is counted in its
        report as long as another one can.

    Raises:
        InputError, FormatError, LimitError: as ``read_traces``; finished shards stay in ``resume``.
        ConfigurationError: unknown engine, or n_workers < 1.
        MissingExtraError: Ray is not installed.

    Examples:
        >>> import json, tempfile
        >>> best = [{"token": "Hi", "logprob": -0.5}, {"token": "No", "logprob": -1.0}]
        >>> answer = {"logprobs": {"content": [{**best[0], "top_logprobs": best}]}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "log.jsonl")
        ...     _ = path.write_text(json.dumps({"id": "a", "choices": [answer]}))
        ...     summary = summarise_logs(path)
        >>> summary.counts["tokens"]
        1
    """
    if engine not in ENGINES:
        raise ConfigurationError(unknown_name("engine", engine, ENGINES))
    if n_workers is not None and n_workers < 1:
        raise ConfigurationError(f"n_workers is {n_workers}; at least one is needed")
    folder = None if resume is None else Path(resume)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; finished parts are kept in a folder")
    todo = [part for shard in shards_of(shards) for part in _cut(shard, shard_bytes)]
    n_stdin = sum(map(_is_stdin, todo))
    if n_stdin > 1 or (n_stdin and engine == "ray"):
        raise InputError(
            "standard input is named twice; it can be read once"
            if n_stdin > 1
            else "workers on Ray can't read standard input; save it to a file, or use the engine "
            "local"
        )
    whole, unreadable = empty_summary(settings.summary), []
    began, resumed = time.monotonic(), 0
    outcomes = _outcomes(todo, engine, n_workers, settings, folder)
    for done, (shard, outcome) in enumerate(outcomes, 1):
        part = outcome.value.summary
        keeps = folder is not None and not _is_stdin(shard)
        if folder is not None and keeps and outcome.fresh and not outcome.value.unreadable:
            write_atomically(folder / _key(shard, settings), _as_bytes(part))
        part = summary_from_bytes(part, str(shard.path)) if isinstance(part, bytes) else part
        whole = merge_summaries([whole, part])
        unreadable += [outcome.value.unreadable] if outcome.value.unreadable else []
        resumed += not outcome.fresh
        if progress is not None:
            report = whole.report
            progress(
                Progress(
                    done,
                    len(todo),
                    resumed,
                    len(whole),
                    whole.counts["tokens"],
                    report.bytes_read,
                    time.monotonic() - began,
                )
            )
    if unreadable and not len(whole):
        raise FormatError(unreadable[0])
    return canonical_summary(whole)


def _cut(shard: Shard, n_bytes: int) -> list[Shard]:
    """Ranges of a whole file that is larger than ``n_bytes``; anything else as it is."""
    whole = shard.start == 0 and shard.stop is None and shard.path.is_file()
    large = whole and shard.path.stat().st_size > n_bytes
    return plan_shards(shard.path, n_bytes) if large else [shard]


class _Done(NamedTuple):
    value: _Outcome
    fresh: bool  # made in this run


def _outcomes(
    shards: Sequence[Shard],
    engine: str,
    n_workers: int | None,
    settings: LogSettings,
    folder: Path | None,
) -> Iterator[tuple[Shard, _Done]]:
    """Each shard with its outcome: the kept ones first, then the others as they are finished."""
    left = []
    for shard in shards:
        if _is_stdin(shard):  # no other process can read it, and nothing tells one from the next
            yield shard, _Done(_Outcome(*read_and_summarise(shard, settings)), True)
            continue
        kept = None if folder is None else folder / _key(shard, settings)
        if kept is not None and kept.is_file():
            yield shard, _Done(_Outcome(kept.read_bytes(), ""), False)
        else:
            left.append(shard)
    run = _in_processes if engine == "local" else _on_ray
    for shard, outcome in run(left, n_workers, settings):
        yield shard, _Done(outcome, True)


def _key(shard: Shard, settings: LogSettings) -> str:
    """File name of a shard's result; another name whenever the result may differ."""
    try:
        status = shard.path.stat()
        version: tuple[int, ...] = (status.st_size, status.st_mtime_ns)
    except OSError:  # gone; reading it will say so
        version = ()
    identity = (FORMAT, str(shard.path.absolute()), *version, shard.start, shard.stop, settings)
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=12).hexdigest()
    return f"{shard.path.name[:80]}-{shard.start}-{digest}.summary"


def _is_stdin(shard: Shard) -> bool:
    return str(shard.path) == "-"


def _shard_outcome(shard: Shard, settings: LogSettings) -> _Outcome:
    summary, unreadable = read_and_summarise(shard, settings)
    return _Outcome(_as_bytes(summary), unreadable)


def _as_bytes(summary: Summary | bytes) -> bytes:
    return summary if isinstance(summary, bytes) else summary_to_bytes(summary)


def _use_one_thread() -> None:
    """A worker is one of many: its libraries must not start a thread a processor each."""
    for name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import numba
    import pyarrow

    numba.set_num_threads(1)
    pyarrow.set_cpu_count(1)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _use_one_thread()


def _leave_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that start inside inherit a blocked SIGINT: Ctrl-C finds them ready for it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(
    shards: list[Shard], n_workers: int | None, settings: LogSettings
) -> Iterator[tuple[Shard, _Outcome]]:
    n = min(n_workers or _n_processors(), len(shards))
    if n <= 1:
        for shard in shards:
            yield shard, _Outcome(*read_and_summarise(shard, settings))
        return
    context = multiprocessing.get_context("spawn")  # safe whatever threads this process has
    pool = ProcessPoolExecutor(n - 1, mp_context=context, initializer=_start_worker)
    waiting = iter(shards)
    running: dict[Future[_Outcome], Shard] = {}
    try:
        while True:
            with _interrupts_held():
                for shard in islice(waiting, n - 1 - len(running)):
                    running[pool.submit(_shard_outcome, shard, settings)] = shard
            mine = next(waiting, None)  # this process works too: it has all code loaded already
            if mine is not None:
                yield mine, _Outcome(*read_and_summarise(mine, settings))
            elif not running:
                break
            # Another thread may get the signal of Ctrl-C; it is acted on when this one wakes.
            timeout = WAKE_SECONDS if mine is None else 0
            for future in wait(running, timeout, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise LimitError(
            "a worker process died, most likely for want of memory; use fewer workers or a smaller "
            "batch_bytes. With a resume folder, finished shards are kept"
        ) from error
    finally:  # also on Ctrl-C, or when the caller stops early: no worker outlives the call
        workers = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=not running, cancel_futures=True)
        for worker in workers if running else ():
            worker.terminate()
            worker.join()


def _on_ray(
    shards: list[Shard], n_workers: int | None, settings: LogSettings
) -> Iterator[tuple[Shard, _Outcome]]:
    ray = require("ray", extra="ray", purpose="diagnosing shards on Ray")
    require("ray.data", extra="ray", purpose="diagnosing shards on Ray")
    if not shards:
        return
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        numbers = ray.data.from_items(list(range(len(shards))), override_num_blocks=len(shards))
        work = partial(_ray_row, shards=shards, settings=settings)
        for row in numbers.map(work, num_cpus=1, concurrency=n_workers).iter_rows():
            if row["error"]:
                raise getattr(errors, row["error"])(row["message"])
            yield shards[row["item"]], _Outcome(row["summary"], row["message"])
    finally:
        if started:
            ray.shutdown()


def _ray_row(
    row: dict[str, Any], *, shards: Sequence[Shard], settings: LogSettings
) -> dict[str, Any]:
    """A shard's outcome as a row; an error of ours travels as its name, to be raised once more."""
    _use_one_thread()
    try:
        summary, unreadable = _shard_outcome(shards[row["item"]], settings)
    except errors.EntropilotError as error:
        return {**row, "summary": b"", "message": str(error), "error": type(error).__name__}
    return {**row, "summary": _as_bytes(summary), "message": unreadable, "error": ""}
