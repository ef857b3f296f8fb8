"""An assessment as plain JSON, for other programs.

Keys are stable within one ``schema`` number; new ones may be added. An interval is
``{"value", "low", "high"}``, a quantity that could not be computed is null.

    schema      "entropilot/assessment/1"
    title, made, version, command, sources
    headline    sentences
    counts      traces, tokens, labelled, wrong, flagged
    signal      column by which traces are flagged;  threshold: at or above it they are
    flagged     list of {id, group, correct, score, p_wrong, p_wrong_low, p_wrong_high, peak_token,
                peak_step, peak_position, timing, reason}
    signals     list of {name, label, auc, n_right, n_wrong, roc, note}
    prefix      list of {tokens, name, label, auc, n_right, n_wrong, roc, note}
    buckets     list of {low, high, n, n_right, accuracy}
    timing      {cells: [{fifth, timing, n, n_right}], odds_ratio, n_corrective, n_destructive,
                n_stable_wrong, note} or null
    groups      {problems, pass_at_k: [{k, estimate}], majority_accuracy, answer_entropy_auc,
                n_all_right, n_all_wrong} or null
    replays     list of {policy, signal, baseline, random, curve, chosen, threshold, verdict}
    histograms  {name: {edges, counts}}
    exemplars   ids of the traces that a report shows in full
    next_steps, notes   sentences
    reading     {traces, formats, skipped_lines, skipped, sentences} or null
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from entropilot.diagnosis.assessment import Assessment
from entropilot.files import write_atomically
from entropilot.report.html import Meta, Reading

SCHEMA: Final = "entropilot/assessment/1"


def assessment_json(
    assessment: Assessment, *, reading: Reading | None = None, meta: Meta | None = None
) -> dict[str, Any]:
    """Plain values of an assessment; the keys stand at the top of this module.

    Args:
        assessment: what to say.
        reading: what was read and skipped.
        meta: title, date, version, command.

    Returns:
        Values that ``json.dumps`` takes with ``allow_nan=False``. Texts are as the log has them.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> assessment_json(assess(frame))["counts"]["flagged"]
        1
    """
    about = asdict(meta or Meta())
    groups = assessment.groups
    plain = {
        "schema": SCHEMA,
        **about,
        "headline": assessment.headline,
        "counts": {
            "traces": assessment.n_traces,
            "tokens": assessment.n_tokens,
            "labelled": assessment.n_labelled,
            "wrong": assessment.n_wrong,
            "flagged": assessment.flagged.height,
        },
        "signal": assessment.signal,
        "threshold": assessment.threshold,
        "flagged": assessment.flagged.to_dicts(),
        "signals": [asdict(signal) for signal in assessment.signals],
        "prefix": [{"tokens": w, **asdict(signal)} for w, signal in assessment.prefix],
        "buckets": [asdict(bucket) for bucket in assessment.buckets],
        "timing": None if assessment.timing is None else asdict(assessment.timing),
        "groups": None
        if groups is None
        else {
            "problems": groups.frame.to_dicts(),
            "pass_at_k": [{"k": k, "estimate": asdict(e)} for k, e in groups.pass_at_k],
            "majority_accuracy": groups.majority_accuracy and asdict(groups.majority_accuracy),
            "answer_entropy_auc": groups.answer_entropy_auc and asdict(groups.answer_entropy_auc),
            "n_all_right": groups.n_all_right,
            "n_all_wrong": groups.n_all_wrong,
        },
        "replays": [asdict(replay) for replay in assessment.replays],
        "histograms": {
            name: {"edges": edges, "counts": counts}
            for name, (edges, counts) in assessment.histograms.items()
        },
        "exemplars": assessment.exemplars.rows["id"].to_list(),
        "next_steps": assessment.next_steps,
        "notes": assessment.notes,
        "reading": None
        if reading is None
        else {
            "traces": reading.traces,
            "formats": dict(reading.formats),
            "skipped_lines": reading.skipped_lines,
            "skipped": [str(line) for line in reading.skipped],
            "sentences": reading.sentences(),
        },
    }
    found: dict[str, Any] = finite(plain)
    return found


def write_json(
    path: str | Path,
    assessment: Assessment,
    *,
    reading: Reading | None = None,
    meta: Meta | None = None,
) -> Path:
    """Write the assessment as JSON, all in ASCII; the file appears whole or not at all.

    Examples:
        >>> import tempfile
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     json.loads(write_json(f"{folder}/a.json", assess(frame)).read_text())["signal"]
        'entropy_mean'
    """
    write_atomically(Path(path), json_text(assessment, reading=reading, meta=meta))
    return Path(path)


def json_text(
    assessment: Assessment, *, reading: Reading | None = None, meta: Meta | None = None
) -> str:
    """The assessment as a JSON text, all in ASCII.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> json.loads(json_text(assess(frame)))["signal"]
        'entropy_mean'
    """
    plain = assessment_json(assessment, reading=reading, meta=meta)
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same with lists for tuples, and None for what JSON has no number for.

    Examples:
        >>> finite({"a": (1.0, float("nan"))})
        {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
