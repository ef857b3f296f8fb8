"""How every command ends: with its result, or with one message and a code; never a traceback."""

from __future__ import annotations

import sys
from typing import Any, Final

from typer.core import TyperGroup

from entropilot.cli.console import FINE, INTERRUPTED, close_streams, fail
from entropilot.errors import EntropilotError

#: What the Python functions call by their own names, in the words of the command line.
IN_OPTIONS: Final = (
    ("with truncate_top_k(traces, {})", "with --top-k {}"),
    ("pass force=True", "pass --force"),
    ("pass partial=True to go on", "pass --partial-labels to go on"),
    ("Name it with label_column=", "Rename the column"),
    ("Name the column with id_column=, or use by='order'", "Call the right column id"),
    (
        "Name it with id_column=, or use by='order' when line i labels trace i",
        "Call the right column id",
    ),
    ("For graded rewards give reward_threshold=", "For graded rewards give --reward-threshold"),
    ("an answer is right: reward_threshold=", "an answer is right: --reward-threshold"),
    ("Use reward_field for a graded score", "For a graded score add --reward-threshold"),
    ("Choose signal='auto' or 'n_tokens'", "Choose --signal auto or n_tokens"),
    ("Name another one in run.folder", "Name another one with --folder"),
    ("Choose another run.name", "Choose another --name"),
)


class Ending(TyperGroup):
    """The root of the commands; catches what a command raises before typer does."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that ``ctx`` holds."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # so that a closed pipe is met here, not at the very end
        except EntropilotError as error:
            fail(in_options(str(error)))
        except KeyboardInterrupt:
            fail(
                "interrupted; what is finished is kept, the same command goes on from there",
                INTERRUPTED,
            )
        except BrokenPipeError:  # the reader, `head` for example, has seen enough
            close_streams()
            raise SystemExit(FINE) from None
        except OSError as error:
            fail(file_trouble(error))
        except MemoryError:
            fail("out of memory; take fewer --workers, a part of the log, or fewer particles")


def in_options(message: str) -> str:
    """A message of a Python function, with options in place of parameters.

    Examples:
        >>> in_options("Cut all to the smallest with truncate_top_k(traces, 3), or pass force=True")
        'Cut all to the smallest with --top-k 3, or pass --force'
    """
    for python, option in IN_OPTIONS:
        before, found, after = message.partition(python.partition("{}")[0])
        if not found:
            continue
        if "{}" in python:
            value, _, after = after.partition(python.partition("{}")[2])
            option = option.format(value)
        message = f"{before}{option}{after}"
    return message


def file_trouble(error: OSError) -> str:
    """What the system said of a file, in a sentence.

    Examples:
        >>> file_trouble(PermissionError(13, "Permission denied", "r.html"))
        "'r.html': permission denied"
    """
    said = (error.strerror or str(error) or type(error).__name__).lower()
    names = [str(name) for name in (error.filename2 or error.filename,) if name is not None]
    return ": ".join([*map(repr, names), said])
