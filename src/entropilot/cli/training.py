"""The live table of a training run, and its plain form off a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from entropilot.cli.console import err, interrupt_at_once, printable

if TYPE_CHECKING:
    from rich.table import Table

HEAD: Final = (
    *("recipe", "seed", "step", "reward", "pass@1", "entropy", "length", "tokens/s", "left"),
)


@dataclass
class ArmState:
    """What is shown of one arm."""

    label: str
    seed: int
    steps: int
    began: float
    first: int  # step of the first row, above 0 where an arm was resumed
    row: dict[str, Any] = field(default_factory=dict)

    def cells(self, now: float) -> tuple[str, ...]:
        """The row of the table."""
        step = int(self.row.get("step", 0))
        done = step - self.first
        left = (self.steps - step) * (now - self.began) / done if done > 0 else None
        return (
            printable(self.label),
            str(self.seed),
            f"{step}/{self.steps}",
            _number(self.row.get("reward"), 3),
            _number(self.row.get("eval/pass@1"), 3),
            _number(self.row.get("entropy", self.row.get("eval/entropy")), 3),
            _number(self.row.get("length", self.row.get("eval/length")), 1),
            _number(self.row.get("tokens_per_second"), 0),
            "done" if step == self.steps else "" if left is None else _left(left),
        )


@contextmanager
def training_table(steps: int) -> Iterator[Callable[[str, int, Mapping[str, Any]], None]]:
    """A live table: the block gets ``update(label, seed, row)``.

    Off a terminal, a line is printed for each evaluation of an arm.

    Args:
        steps: of every arm.
    """
    interrupt_at_once()
    from rich.live import Live

    arms: dict[tuple[str, int], ArmState] = {}

    def note(label: str, seed: int, row: Mapping[str, Any]) -> ArmState:
        fresh = ArmState(label, seed, steps, time.monotonic(), int(row["step"]))
        arm = arms.setdefault((label, seed), fresh)
        arm.row |= {name: value for name, value in row.items() if value is not None}
        return arm

    console = err()
    if not console.is_terminal:

        def plain(label: str, seed: int, row: Mapping[str, Any]) -> None:
            arm = note(label, seed, row)
            if "eval/pass@1" in row:
                cells = zip(HEAD[2:], arm.cells(time.monotonic())[2:], strict=True)
                shown = ", ".join(f"{name} {cell}" for name, cell in cells if cell)
                said = f"{printable(label)}, seed {seed}: {shown}"
                console.print(said, markup=False, soft_wrap=True)

        yield plain
        return
    with Live(console=console, refresh_per_second=4) as live:

        def update(label: str, seed: int, row: Mapping[str, Any]) -> None:
            note(label, seed, row)
            live.update(_table(list(arms.values())))

        yield update


def _table(arms: list[ArmState]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in HEAD:
        table.add_column(name, justify="left" if name == "recipe" else "right")
    now = time.monotonic()
    for arm in arms:
        table.add_row(*arm.cells(now))
    return table


def _number(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else ""


def _left(seconds: float) -> str:
    """Time left.

    Examples:
        >>> _left(42.0), _left(200.0)
        ('42 s', '3 min')
    """
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
