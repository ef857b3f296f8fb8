"""What ``--labels`` means: a file, or a field of the log."""

from __future__ import annotations

from pathlib import Path


def label_source(labels: str | None) -> tuple[str | None, Path | None]:
    """Field and file of a label option: a file when there is one, or it looks like one.

    Args:
        labels: as the user gives it.

    Returns:
        (field, None), (None, file), or (None, None).

    Examples:
        >>> label_source("evaluation.passed"), label_source("graded.csv")[1].name
        (('evaluation.passed', None), 'graded.csv')
    """
    if labels is None:
        return None, None
    path = Path(labels)
    if (
        path.is_file()
        or path.suffix in {".csv", ".json", ".jsonl", ".parquet", ".gz"}
        or "/" in labels
    ):
        return None, path
    return labels, None
