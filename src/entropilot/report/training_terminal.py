"""The live table of a training run: a row an arm, fed with its rows of metrics.

It is a ``rich`` renderable, so that ``rich.live.Live`` can show it; off a terminal, ``line`` gives
one arm as a plain line. Time comes in as a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from entropilot.report.visible import visible
from entropilot.report.wording import duration, plural

HEAD: Final = (
    *("recipe", "seed", "step", "reward", "pass@1", "entropy", "length", "tokens/s", "left"),
)


@dataclass
class ArmProgress:
    """What is known of one arm.

    Args:
        label, seed: of the arm.
        began: when its first row came, seconds.
        first: step of that row, above 0 where an arm goes on.
        heard: when its last row came, seconds.
        row: the latest value of every metric.
        n_tokens: answer tokens of the rows after the first.
    """

    label: str
    seed: int
    began: float
    first: int
    heard: float
    row: dict[str, Any] = field(default_factory=dict)
    n_tokens: float = 0.0

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.row.get("step", 0))

    def left(self, steps: int) -> float | None:
        """Seconds to the last step at the pace so far; None before the second row."""
        done = self.step - self.first
        return (steps - self.step) * (self.heard - self.began) / done if done > 0 else None


@dataclass
class TrainingTable:
    """A row an arm: step, reward, latest pass@1, entropy, length, rate, time left.

    Args:
        steps: of every arm.
        n_arms: of the run, those that have not begun included; None where it is not known.
        clock: seconds, from any beginning.

    Examples:
        >>> table = TrainingTable(10, clock=iter([0.0, 4.0]).__next__)
        >>> table.update("grpo", 0, {"step": 0, "eval/pass@1": 0.25})
        >>> table.update("grpo", 0, {"step": 2, "reward": 0.5, "entropy": 0.61, "n_tokens": 800})
        >>> print(table.line("grpo", 0))
        grpo, seed 0: step 2/10, reward 0.500, pass@1 0.250, entropy 0.610, tokens/s 200, left 16 s
    """

    steps: int
    n_arms: int | None = None
    clock: Callable[[], float] = time.monotonic
    arms: dict[tuple[str, int], ArmProgress] = field(default_factory=dict)

    def update(self, label: str, seed: int, row: Mapping[str, Any]) -> None:
        """Take one row of metrics of an arm; values that are null leave the last ones standing."""
        now = self.clock()
        key = (label, seed)
        known = key in self.arms
        arm = self.arms.setdefault(key, ArmProgress(label, seed, now, int(row["step"]), now))
        arm.row |= {name: value for name, value in row.items() if value is not None}
        arm.heard = now
        if known:
            arm.n_tokens += row.get("n_tokens") or 0

    def line(self, label: str, seed: int) -> str:
        """One arm as a plain line, with what is known of it."""
        arm = self.arms[(label, seed)]
        cells = zip(HEAD[2:], self._cells(arm)[2:], strict=True)
        known = ", ".join(f"{name} {cell}" for name, cell in cells if cell)
        return f"{visible(label)}, seed {seed}: {known}"

    def __rich__(self) -> Table:
        """The table, arms in the order in which they began."""
        table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left")
        for name in HEAD:
            left = name == "recipe"
            table.add_column(name, justify="left" if left else "right", no_wrap=not left)
        for arm in self.arms.values():
            style = "dim" if arm.step >= self.steps else ""
            table.add_row(*(Text(cell) for cell in self._cells(arm)), style=style)
        table.caption = Text(self._caption(), "dim")
        return table

    def _cells(self, arm: ArmProgress) -> tuple[str, ...]:
        row, left = arm.row, arm.left(self.steps)
        spent = arm.heard - arm.began
        rate = arm.n_tokens / spent if spent > 0 and arm.n_tokens else row.get("tokens_per_second")
        return (
            visible(arm.label),
            str(arm.seed),
            f"{arm.step}/{self.steps}",
            _number(row.get("reward"), 3),
            _number(row.get("eval/pass@1"), 3),
            _number(row.get("entropy", row.get("eval/entropy")), 3),
            _number(row.get("length", row.get("eval/length")), 1),
            _number(rate, 0),
            "done" if arm.step >= self.steps else "" if left is None else duration(left),
        )

    def _caption(self) -> str:
        done = sum(arm.step >= self.steps for arm in self.arms.values())
        total = max(self.n_arms or 0, len(self.arms))
        return f"{done} of {plural(total, 'arm')} done"


def _number(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else ""
