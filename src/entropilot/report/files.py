"""Write a text so that it appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

from entropilot.files import write_atomically


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text; what is no text, as in some file names, becomes a question mark.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "a.txt", "whole").read_text()
        'whole'
    """
    path = Path(path)
    write_atomically(path, text.encode(errors="replace"))
    return path
