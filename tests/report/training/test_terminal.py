"""The live table of a training run."""

from __future__ import annotations

from rich.console import Console

from entropilot.report.training_terminal import TrainingTable


def shown(table: TrainingTable) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def clocked(times: list[float], steps: int = 10, n_arms: int | None = None) -> TrainingTable:
    return TrainingTable(steps, n_arms, clock=iter(times).__next__)


def test_an_arm_shows_its_latest_numbers_and_the_time_left() -> None:
    table = clocked([0.0, 5.0, 6.0])
    table.update("grpo", 0, {"step": 0, "eval/pass@1": 0.25, "eval/entropy": 0.7})
    table.update("grpo", 0, {"step": 2, "reward": 0.5, "entropy": 0.61, "n_tokens": 900})
    table.update("grpo", 0, {"step": 3, "reward": 0.6, "entropy": None, "n_tokens": 900})
    said = table.line("grpo", 0)
    assert "step 3/10, reward 0.600, pass@1 0.250, entropy 0.610, tokens/s 300, left 14 s" in said
    assert "3/10" in shown(table)


def test_an_arm_that_goes_on_counts_from_where_it_began() -> None:
    table = clocked([100.0, 110.0])
    table.update("grpo", 0, {"step": 6})
    table.update("grpo", 0, {"step": 8})
    assert "left 10 s" in table.line("grpo", 0)


def test_arms_that_have_not_begun_are_counted() -> None:
    table = clocked([0.0, 1.0, 2.0], steps=1, n_arms=4)
    table.update("a", 0, {"step": 0})
    table.update("a", 0, {"step": 1})
    table.update("b", 0, {"step": 0})
    assert "1 of 4 arms done" in shown(table)
    assert "done" in table.line("a", 0)


def test_labels_can_neither_move_the_cursor_nor_add_markup() -> None:
    table = clocked([0.0])
    table.update("\x1b[31m[bold]x[/bold]", 0, {"step": 0})
    assert "\x1b" not in shown(table)
    assert "[bold]" in shown(table)


def test_an_empty_table_can_be_shown() -> None:
    assert "recipe" in shown(TrainingTable(10))
