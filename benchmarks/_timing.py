"""How the scripts beside this file take time: CPU seconds of this process, a list of repeats."""

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def cpu_times(
    work: Callable[[], T], repeats: int, *, times: int = 1, warm: bool = True
) -> tuple[list[float], T]:
    """CPU seconds of each repeat, and what the last one returned.

    Args:
        work: what is measured.
        repeats: at least 1.
        times: calls in a repeat, for work that the clock can't resolve; the seconds are of one.
        warm: call it once before, so that compilation and caches are not measured.
    """
    if warm:
        work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(times):
            value = work()
        seconds.append((time.process_time() - start) / times)
    return seconds, value


def seconds_of(
    work: Callable[[], T], repeats: int, *, times: int = 1, warm: bool = True
) -> tuple[float, T]:
    """Median of ``cpu_times``, and what the last call returned."""
    seconds, value = cpu_times(work, repeats, times=times, warm=warm)
    return statistics.median(seconds), value
