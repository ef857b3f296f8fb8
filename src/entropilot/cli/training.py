"""The live table of a training run, and its plain form off a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from entropilot.cli.console import err, interrupt_at_once


@contextmanager
def training_table(
    steps: int, n_arms: int | None = None
) -> Iterator[Callable[[str, int, Mapping[str, Any]], None]]:
    """A live table: the block gets ``update(label, seed, row)``.

    Off a terminal, a line is printed for each evaluation of an arm and for each tenth of its steps.

    Args:
        steps: of every arm.
        n_arms: of the run.
    """
    interrupt_at_once()
    from rich.live import Live

    from entropilot.report.training_terminal import TrainingTable

    table = TrainingTable(steps, n_arms)
    console = err()
    if not console.is_terminal:
        tenth = max(2, -(-steps // 10))  # of a run of a few steps not every one

        def plain(label: str, seed: int, row: Mapping[str, Any]) -> None:
            table.update(label, seed, row)
            if "eval/pass@1" in row or int(row["step"]) % tenth == 0:
                console.print(table.line(label, seed), markup=False, soft_wrap=True)

        yield plain
        return
    with Live(table, console=console, refresh_per_second=4):
        yield table.update
