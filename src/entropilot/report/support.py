"""A comparison of two models' support: in the terminal, as Markdown, and as plain JSON.

Keys of the JSON are stable within one ``schema`` number; new ones may be added. An interval is
``{"value", "low", "high"}``, a quantity that could not be computed is null.

    schema      "entropilot/support/1"
    verdict     "no change beyond noise", "shrinkage beyond noise", "expansion beyond noise",
                "shrinkage and expansion beyond noise" or "undetermined"
    headline    sentences
    k, rule, confidence
    counts      problems, base_samples and new_samples as [fewest, most] of a problem
    missing     {base, new}: ids of the problems that one model lacks
    curve       list of {k, base, new, difference}: intervals of pass@k
    crossing_k  number or null
    support     {P, E, S, O, U}: numbers of problems
    metrics     {SRR, NDR, SDS, NSCR}: intervals
    noise       {base_null, exchange: {expanded, shrunk, null_expanded, null_shrunk, p_expanded,
                p_shrunk, p_net}, sign_p}
    token_entropy, answer_entropy   {base, new, difference}: intervals in nats, or null
    warnings    sentences
    problems    list of {problem, c_base, n_base, c_new, n_new, category}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from entropilot.diagnosis.assessment import Interval
from entropilot.diagnosis.support_headline import missing_sentences
from entropilot.diagnosis.support_report import Pair, SupportReport
from entropilot.report.json import finite
from entropilot.report.markdown import own_sentence, table
from entropilot.report.visible import prose
from entropilot.report.wording import decimal, estimate

SCHEMA: Final = "entropilot/support/1"

MEANING: Final = {
    "P": "preserved: both reach it",
    "E": "expanded: only the new model does",
    "S": "shrunk: only the base does",
    "O": "out: neither does",
    "U": "undecided",
    "SRR": "support retained, P/(P+S)",
    "NDR": "newly discovered, E/(P+E)",
    "SDS": "harmonic mean of the two",
    "NSCR": "net change, (E-S)/(P+E+S)",
}


def support_json(report: SupportReport) -> dict[str, Any]:
    """Plain values of a comparison; the keys stand at the top of this module.

    Args:
        report: of ``compare_support``.

    Returns:
        Values that ``json.dumps`` takes with ``allow_nan=False``.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis import compare_support, support_samples
        >>> base = support_samples(pl.DataFrame({"problem": ["a", "b"], "correct": [True, False]}))
        >>> support_json(compare_support(base, base, n_resamples=9))["verdict"]
        'no change beyond noise'
    """
    plain = {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "headline": report.headline,
        "k": report.k,
        "rule": report.rule,
        "confidence": report.confidence,
        "counts": {
            "problems": report.n_problems,
            "base_samples": report.n_base,
            "new_samples": report.n_new,
        },
        "missing": {"base": report.missing_in_base, "new": report.missing_in_new},
        "curve": [
            {
                "k": p.k,
                "base": _interval(p.base),
                "new": _interval(p.new),
                "difference": _interval(p.difference),
            }
            for p in report.curve
        ],
        "crossing_k": report.crossing_k,
        "support": report.counts,
        "metrics": {name: _interval(value) for name, value in report.metrics.items()},
        "noise": {
            "base_null": report.null,
            "exchange": report.exchange._asdict(),
            "sign_p": report.sign_p,
        },
        "token_entropy": _pair(report.token_entropy),
        "answer_entropy": _pair(report.answer_entropy),
        "warnings": report.warnings,
        "problems": report.problems.to_dicts(),
    }
    found: dict[str, Any] = finite(plain)
    return found


def support_markdown(report: SupportReport) -> str:
    """The comparison as Markdown, verdict first.

    Args:
        report: of ``compare_support``.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis import compare_support, support_samples
        >>> base = support_samples(pl.DataFrame({"problem": ["a", "b"], "correct": [True, False]}))
        >>> support_markdown(compare_support(base, base, n_resamples=9)).splitlines()[0]
        '# Support: no change beyond noise'
    """
    parts = [f"# Support: {report.verdict}", *map(own_sentence, report.headline)]
    parts += ["## Problems solved in k samples", table(*_curve(report))]
    parts += [f"## Support within {report.k} samples", table(*_support(report))]
    parts.append(own_sentence(_noise(report)))
    head, sides, rows = _entropies(report)
    if rows:
        parts += ["## Entropy, nats", table(head, sides, rows)]
    notes = _notes(report)
    if notes:
        parts += ["## What to know", "\n".join(f"- {own_sentence(x)}" for x in notes)]
    return "\n\n".join(parts) + "\n"


def print_support(report: SupportReport, console: Console) -> None:
    """Print the verdict, the curves, the support, the entropies, and what to know.

    Args:
        report: of ``compare_support``.
        console: where to.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis import compare_support, support_samples
        >>> base = support_samples(pl.DataFrame({"problem": ["a", "b"], "correct": [True, False]}))
        >>> console = Console(color_system=None, width=100)
        >>> with console.capture() as said:
        ...     print_support(compare_support(base, base, n_resamples=9), console)
        >>> said.get()[:23]
        'No change beyond noise:'
    """
    for i, sentence in enumerate(report.headline):
        console.print(Text(prose(sentence), "bold" if i == 0 else ""))
    for name, part in (
        ("solved in k samples", _curve(report)),
        (f"support within {report.k} samples, rule '{report.rule}'", _support(report)),
        ("entropy, nats", _entropies(report)),
    ):
        head, sides, rows = part
        if not rows:
            continue
        shown = Table(
            title=name, title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for title, side in zip(head, sides, strict=True):
            shown.add_column(title, justify="right" if side == "r" else "left")
        for row in rows:
            shown.add_row(*map(Text, row))
        console.print()
        console.print(shown)
    console.print()
    console.print(Text(prose(_noise(report))))
    for sentence in _notes(report):
        console.print(Text(prose(sentence), "yellow"))


Part = tuple[Sequence[str], str, Sequence[tuple[str, ...]]]


def _curve(report: SupportReport) -> Part:
    rows = [
        (
            str(p.k),
            estimate(p.base, digits=3),
            estimate(p.new, digits=3),
            estimate(p.difference, digits=3),
        )
        for p in report.curve
    ]
    return ("k", "base", "new", "difference"), "rrrr", rows


def _support(report: SupportReport) -> Part:
    digits = 1 if report.rule == "expected" else 0
    rows = [
        (name, decimal(value, digits), MEANING[name])
        for name, value in report.counts.items()
        if name != "U" or report.rule == "certified"
    ]
    rows += [
        (name, estimate(value, digits=3), MEANING[name]) for name, value in report.metrics.items()
    ]
    return ("", "value", "meaning"), "lrl", rows


def _entropies(report: SupportReport) -> Part:
    pairs = (("token", report.token_entropy), ("answer", report.answer_entropy))
    rows = [
        (name, *(estimate(x, digits=3) for x in pair)) for name, pair in pairs if pair is not None
    ]
    return ("entropy", "base", "new", "difference"), "lrrr", rows


def _noise(report: SupportReport) -> str:
    test = report.exchange
    of = " (of the first k samples)" if report.rule == "expected" else ""
    return (
        f"Noise: the base against itself shows E = S = {report.null:.1f}; with samples of both "
        f"exchanged, E = {test.null_expanded:.1f} and S = {test.null_shrunk:.1f}. Exchange test: "
        f"p = {test.p_expanded:.2g} for E, {test.p_shrunk:.2g} for S, {test.p_net:.2g} for E - S; "
        f"sign test{of}: p = {report.sign_p:.2g}."
    )


def _notes(report: SupportReport) -> list[str]:
    lacks = (("base", report.missing_in_base), ("new", report.missing_in_new))
    found = [missing_sentences(names, where) for where, names in lacks if names]
    if report.token_entropy is None:
        found.append("Token entropies are not compared: a run has none, or they are of two kinds.")
    if report.answer_entropy is None:
        found.append("Answer entropies are not compared: a run names no answers.")
    return [*found, *report.warnings]


def _interval(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else {"value": value.value, "low": value.low, "high": value.high}


def _pair(pair: Pair | None) -> dict[str, Any] | None:
    return None if pair is None else {name: _interval(x) for name, x in pair._asdict().items()}
