"""What the commands share: where text goes, how progress looks, how an error ends.

Results go to standard output; progress, notes and errors go to standard error, so that a result
can be piped. Text that a model or a file brought is stripped of control codes before it reaches a
terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

#: Exit codes: fine; more traces flagged than allowed; bad input; interrupted.
FINE, FOUND, BAD, INTERRUPTED = 0, 1, 2, 130


class PlainFormat(StrEnum):
    """How one value is printed."""

    TEXT = "text"
    JSON = "json"


class TableFormat(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    JSON = "json"
    MD = "md"


def out() -> Console:
    """Console on standard output."""
    return _console(stderr=False)


def err() -> Console:
    """Console on standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich itself would end with code 1, which means something else

    return Ours(stderr=stderr, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output; nan and infinity become null."""
    import msgspec

    print_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def print_bytes(content: bytes) -> None:
    """A file on standard output; text in it is UTF-8, whatever the terminal's encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def close_streams() -> None:
    """Send what is still to be written nowhere: who read it has closed the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def fail(message: str, code: int = BAD) -> NoReturn:
    """Print an error and end."""
    from rich.text import Text

    text = Text("error: ", style="bold red")
    text.append(printable(message), style="not bold default")
    err().print(text, soft_wrap=True)
    raise SystemExit(code)


def printable(text: str) -> str:
    r"""Text without control codes, so that it can't move the cursor or recolour a terminal.

    Examples:
        >>> printable("a\x1b[31mb\nc")
        'a�[31mb\nc'
    """
    bidi = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    return "".join(
        "\ufffd"
        if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or ord(c) in bidi
        else c
        for c in text
    )


def interrupt_at_once() -> None:
    """Let Ctrl-C end a read that waits, on a pipe for example.

    polars installs a handler at its import after which the system starts such a read again.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def progress_bar(label: str, unit: str = "") -> Iterator[Callable[[float, str], None]]:
    """A bar with time left: the block gets ``update(share, doing)``.

    Off a terminal, one line is printed for each tenth done. Import before what the block needs.
    """
    interrupt_at_once()
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = err()
    if not console.is_terminal:
        shown = -1

        def plain(share: float, doing: str) -> None:
            nonlocal shown
            if int(share * 10) > shown:
                shown = int(share * 10)
                console.print(f"{label}: {share:4.0%} {printable(doing)}", markup=False)

        yield plain
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[doing]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=1.0, doing="")

        def update(share: float, doing: str) -> None:
            bar.update(task, completed=share, doing=f"{printable(doing)}{unit}")

        yield update
