"""The comparison of two models in sentences, the plainest first."""

from __future__ import annotations

from collections.abc import Sequence

from entropilot.diagnosis.support_report import CurvePoint, SupportReport


def support_headline(report: SupportReport) -> tuple[str, ...]:
    """What a comparison says, in sentences: the verdict first, then pass@k and the crossing.

    Args:
        report: of ``compare_support``.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.support_compare import compare_support
        >>> from entropilot.diagnosis.support_samples import support_samples
        >>> base = support_samples(pl.DataFrame({"problem": ["a", "b"], "correct": [True, False]}))
        >>> support_headline(compare_support(base, base, n_resamples=9))[0][:21]
        'No change beyond nois'
    """
    c, test = report.counts, report.exchange
    digits = 1 if report.rule == "expected" else 0
    first = report.verdict[0].upper() + report.verdict[1:]
    if report.verdict == "undetermined":
        why = "neither model has a hit" if report.rule != "certified" else "nothing is certified"
        sentences = [f"{first}: {why} within {report.k} samples of any problem."]
    else:
        sentences = [
            f"{first}: with {report.k} samples, {c['S']:.{digits}f} of {report.n_problems} "
            f"problems are lost and {c['E']:.{digits}f} are won; were both the same model, "
            f"{test.null_shrunk:.1f} and {test.null_expanded:.1f} would be "
            f"(p = {test.p_shrunk:.2g} and {test.p_expanded:.2g})."
        ]
    one = report.curve[0]
    at_k = next(p for p in report.curve if p.k == report.k)
    sentences += [_change(one)] + ([_change(at_k)] if at_k is not one else [])
    if report.crossing_k is not None:
        sentences.append(f"The base overtakes at about {report.crossing_k:.3g} samples.")
    return tuple(sentences)


def _change(point: CurvePoint) -> str:
    d = point.difference
    moved = "does not move beyond noise"
    if d.low > 0 or d.high < 0:
        moved = "rises" if d.value > 0 else "falls"
    return (
        f"pass@{point.k} {moved}: {point.base.value:.1%} to {point.new.value:.1%}, "
        f"difference {100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}] points."
    )


def missing_sentences(names: Sequence[str], where: str, most: int = 5) -> str:
    """One sentence that lists problems that a model lacks.

    Args:
        names: ids of the problems.
        where: "base" or "new".
        most: ids that are listed.

    Examples:
        >>> missing_sentences(["a", "b"], "new")
        "2 problems are missing in the new run and are left out: 'a', 'b'."
    """
    shown = ", ".join(repr(x) for x in names[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    one = len(names) == 1
    return (
        f"{len(names)} {'problem is' if one else 'problems are'} missing in the {where} run and "
        f"{'is' if one else 'are'} left out: {shown}{more}."
    )
