"""An assessment as Markdown, for pull requests, issues and logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from entropilot.diagnosis.assessment import Assessment
from entropilot.files import write_atomically
from entropilot.report import sentences
from entropilot.report.html import Meta, Reading, remarks, skip_reasons
from entropilot.report.visible import prose, visible
from entropilot.report.wording import ABSENT, count, decimal, estimate, percent, plural

MOST_FLAGGED: Final = 20

# what Markdown or the HTML inside it would act on; "@" and "#" call people and issues on some sites
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&@:])")


def escaped(text: str | None, *, limit: int = 120) -> str:
    r"""Foreign text as Markdown that shows it letter by letter.

    Examples:
        >>> print(escaped("<b>*a*|\x1b"))
        \<b\>\*a\*\|␛
    """
    return _SPECIAL.sub(r"\\\1", visible(text or "", limit=limit))


def render_markdown(
    assessment: Assessment,
    *,
    reading: Reading | None = None,
    meta: Meta | None = None,
    most: int = MOST_FLAGGED,
) -> str:
    """The assessment as one Markdown text.

    Args:
        assessment: what to say.
        reading: what was read and skipped.
        meta: title, date, version, command.
        most: flagged traces listed, at most.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> print(render_markdown(assess(frame)).splitlines()[2])
        1 of 2 traces look suspicious, by mean entropy.
    """
    meta = meta or Meta()
    parts = [f"# {escaped(meta.title)}", *_paragraphs(assessment.headline)]
    parts += _flagged(assessment, most)
    parts += _evidence(assessment)
    if assessment.replays:
        parts.append("## What acting on the signal would have saved")
        parts.append(
            _list(
                f"{escaped(sentences.replay(assessment, replay))}: {own_sentence(replay.verdict)}"
                for replay in assessment.replays
            )
        )
    if assessment.next_steps:
        steps = (f"{i}. {own_sentence(step)}" for i, step in enumerate(assessment.next_steps, 1))
        parts += ["## What to do next", "\n".join(steps)]
    notes = [own_sentence(note) for note in remarks(assessment, reading)]
    if reading is not None:
        formats = ", ".join(f"{count(n)} of {escaped(name)}" for name, n in reading.formats.items())
        notes.insert(0, f"Read {count(reading.traces)} traces: {formats}.")
        notes += [
            f"Skipped {plural(n, 'line')}: {escaped(reason)}."
            for reason, n in skip_reasons(reading)
        ]
    if notes:
        parts += ["## Notes", _list(notes)]
    made = f"Made by entropilot {meta.version}".rstrip() + (f", {meta.made}" if meta.made else "")
    parts.append(f"{own_sentence(made)}. Intervals are 95%.")
    return "\n\n".join(part for part in parts if part) + "\n"


def write_markdown(
    path: str | Path,
    assessment: Assessment,
    *,
    reading: Reading | None = None,
    meta: Meta | None = None,
) -> Path:
    """Write the assessment as Markdown; the file appears whole or not at all.

    Examples:
        >>> import tempfile
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_markdown(f"{folder}/a.md", assess(frame)).read_text()[:14]
        '# Trace report'
    """
    write_atomically(Path(path), render_markdown(assessment, reading=reading, meta=meta))
    return Path(path)


def _flagged(assessment: Assessment, most: int) -> list[str]:
    frame = assessment.flagged
    if not frame.height:
        return ["## Flagged traces", "No trace is flagged."]
    rows = [
        (
            escaped(row["id"]),
            decimal(row["score"]),
            _chance(row["p_wrong"], row["p_wrong_low"], row["p_wrong_high"]),
            ABSENT if row["peak_token"] is None else count(row["peak_token"]),
            percent(row["peak_position"]),
            ABSENT if row["peak_step"] is None else count(row["peak_step"]),
            escaped(row["timing"]),
            {None: "unlabelled", True: "right", False: "wrong"}[row["correct"]],
            escaped(row["reason"]),
        )
        for row in frame.head(most).iter_rows(named=True)
    ]
    head = ("trace", "score", "P(wrong)", "peak token", "at", "step", "time", "outcome", "why")
    parts = ["## Flagged traces", table(head, "lrlrrrlll", rows)]
    if frame.height > most:
        parts.append(f"The first {most} of {count(frame.height)}.")
    return parts


def _evidence(assessment: Assessment) -> list[str]:
    parts = []
    if assessment.signals:
        parts += ["## Signals", own_sentence(sentences.best_signal(assessment))]
        rows = [
            (
                f"**{escaped(s.label)}**" if s.name == assessment.signal else escaped(s.label),
                estimate(s.auc),
                f"{count(s.n_right)} / {count(s.n_wrong)}",
            )
            for s in assessment.signals
        ]
        parts.append(table(("signal", "AUC", "right / wrong"), "lrr", rows))
    if assessment.buckets:
        parts += ["## Accuracy by bucket", f"{sentences.buckets(assessment)}."]
        rows = [
            (
                f"{decimal(b.low)} to {decimal(b.high)}",
                count(b.n),
                estimate(b.accuracy, share=True),
            )
            for b in assessment.buckets
        ]
        name = escaped(sentences.with_unit(assessment, assessment.signal))
        parts.append(table((name, "traces", "accuracy"), "lrr", rows))
    if assessment.timing is not None:
        ratio = estimate(assessment.timing.odds_ratio)
        parts += [
            "## Time of the peak",
            f"{sentences.timing(assessment)} (odds ratio, early against late: {ratio}).",
        ]
    if assessment.groups is not None and assessment.groups.pass_at_k:
        solved = [(str(k), estimate(e, share=True)) for k, e in assessment.groups.pass_at_k]
        parts += ["## Problems solved in k samples", table(("k", "solved"), "rr", solved)]
    return parts


def _chance(value: float | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return percent(value)
    return f"{percent(value)} [{100 * low:.0f}, {100 * high:.0f}]"


def own_sentence(sentence: str) -> str:
    r"""A sentence of ours: names inside it are foreign, so only what could act is escaped.

    Examples:
        >>> print(own_sentence("trace <b> is wrong."))
        trace \<b\> is wrong.
    """
    return re.sub(r"([\\`*_\[\]<>|&@])", r"\\\1", prose(sentence))


def _paragraphs(lines: Iterable[str]) -> list[str]:
    return [own_sentence(line) for line in lines]


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], sides: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; ``sides`` has l or r for each column.

    Examples:
        >>> print(table(("k", "solved"), "rr", [("1", "40%")]))
        | k | solved |
        | ---: | ---: |
        | 1 | 40% |
    """
    rule = ["---:" if side == "r" else ":---" for side in sides]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
