"""What is wrong with a command is said before hours of reading, and before a file is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from entropilot.errors import ConfigurationError, InputError

MOST_WORKERS: Final = 8  # for each processor; more only cost memory


def check_share(option: str, value: float | None, *, edges: bool = False) -> None:
    """A share lies between 0 and 1; the two themselves are fine where ``edges`` are.

    Raises:
        ConfigurationError: it does not.

    Examples:
        >>> check_share("--rate", 0.1)
    """
    if value is not None and not (0 < value < 1 or (edges and value in (0, 1))):
        raise ConfigurationError(
            f"{option} is {value:g}; expected a share between 0 and 1, such as 0.1"
        )


def check_workers(workers: int | None) -> None:
    """Processes on this machine are few, or memory ends before the work does.

    Raises:
        ConfigurationError: more than ``MOST_WORKERS`` a processor.

    Examples:
        >>> check_workers(1)
    """
    n = os.cpu_count() or 1
    if workers is not None and workers > MOST_WORKERS * n:
        raise ConfigurationError(
            f"--workers is {workers} on {n} processors; expected at most {MOST_WORKERS * n}. Leave "
            "it out to use every processor once"
        )


def check_signal(name: str) -> None:
    """A signal is a column that can flag traces, or auto.

    Raises:
        ConfigurationError: unknown; the near ones are named.

    Examples:
        >>> check_signal("entropy_mean")
    """
    from entropilot.diagnosis.signals import SIGNAL_LABELS
    from entropilot.errors import unknown_name
    from entropilot.traces.frame import FRAME_SCHEMA

    if name not in ("auto", *SIGNAL_LABELS, *FRAME_SCHEMA):
        raise ConfigurationError(unknown_name("signal", name, ["auto", *SIGNAL_LABELS]))


def gib(option: str, value: float) -> int:
    """Bytes of so many GiB.

    Raises:
        ConfigurationError: not a positive number below 2**33 GiB.

    Examples:
        >>> gib("--max-decompressed", 0.5)
        536870912
    """
    if not 0 < value < 1 << 33:
        raise ConfigurationError(f"{option} is {value:g}; expected GiB above 0, such as 256")
    return max(1, int(value * (1 << 30)))


def check_output(
    output: Path | None,
    sources: Sequence[Path],
    kept: Sequence[Path] = (),
    *,
    example: str = "report.html",
) -> None:
    """A report may neither replace what it is made from nor become a source of the next one.

    Args:
        output: file to write; None or ``-`` is standard output.
        sources: logs and folders of logs.
        kept: other files that are read.
        example: name of such a file, for the message.

    Raises:
        InputError: a folder, a file that is read, inside a file or a folder that can't be written,
            or a name that would be read as a log.

    Examples:
        >>> check_output(Path("report.html"), [Path("log.jsonl")])
    """
    if output is None or str(output) == "-":
        return
    if output.is_dir():
        raise InputError(f"the output {output} is a folder; name a file: {output / example}")
    for read in (*sources, *kept):
        if read.is_file() and os.path.exists(output) and output.samefile(read):
            raise InputError(f"the output {output} is read as well; name another file")
        if read.is_dir() and _would_be_read(output, read):
            raise InputError(
                f"the output {output} lies in {read}, where the next diagnosis would read it as a "
                "log; name a file in another folder"
            )
    parent = next(p for p in output.absolute().parents if os.path.exists(p))
    if not parent.is_dir():
        raise InputError(f"the output {output} can't be written: {parent} is no folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"the output {output} can't be written: no permission in {parent}")


def _would_be_read(output: Path, folder: Path) -> bool:
    from entropilot.traces.reading.sources import SUFFIXES

    inside = folder.resolve() in output.absolute().parent.resolve().parents
    inside = inside or folder.resolve() == output.absolute().parent.resolve()
    return inside and output.name.endswith(SUFFIXES)
