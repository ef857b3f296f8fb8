"""What stands at the edges of every report that a command writes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entropilot.report import Meta


def report_meta(title: str, sources: Sequence[str]) -> Meta:
    """Title, time, version, and the line that makes the report again."""
    from datetime import datetime

    from entropilot import __version__
    from entropilot.report import Meta

    return Meta(
        title=title,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        command=shlex.join(["entropilot", *sys.argv[1:]]),
        sources=list(sources),
    )
