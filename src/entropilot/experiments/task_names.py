"""The tasks that an experiment file may name, without loading any of them."""

from __future__ import annotations

from typing import Final

from entropilot.errors import ConfigurationError, unknown_name

TOKEN_TASK_NAMES: Final = ("addition", "countdown", "digit-sums", "modular-paths")
TEXT_TASK_NAMES: Final = ("word-problems",)


def is_text_task(name: str) -> bool:
    """Whether a task is for language models.

    Raises:
        ConfigurationError: no task has the name.

    Examples:
        >>> is_text_task("mine.jsonl"), is_text_task("addition")
        (True, False)
    """
    if name in TEXT_TASK_NAMES or name.endswith(".jsonl"):
        return True
    if name in TOKEN_TASK_NAMES:
        return False
    known = [*TOKEN_TASK_NAMES, *TEXT_TASK_NAMES]
    raise ConfigurationError(
        f"task.name: {unknown_name('task', name, known)} A file of problems ends in .jsonl"
    )
