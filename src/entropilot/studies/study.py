"""What a study is: a paper's claim, an experiment that measures it, and an honest judgement.

A study is data and three functions. ``measure`` runs one seed and returns plain numbers, which are
stored; ``judge`` and ``draw`` are pure functions of the stored numbers, so that a verdict or a
figure can be made again without the experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale = Literal["smoke", "quick", "full"]
Verdict = Literal["holds", "in part", "not here", "not run"]
Measurement = dict[str, Any]  # plain JSON values
Progress = Callable[[float, str], None]  # share done in [0, 1], and what is being done


@dataclass(frozen=True)
class Finding:
    """One statement of the claim beside what was measured.

    ``holds`` is None when the statement could not be tested at this scale; such a finding does not
    count for the verdict. ``measured`` and ``expected`` are sentences or numbers with their
    interval, for reading. ``check`` marks a regression check (a number set on the same data
    before): it is shown, and never counts as evidence for the claim.
    """

    statement: str
    measured: str
    expected: str
    holds: bool | None
    check: bool = False


@dataclass(frozen=True)
class Study:
    """One paper's central claim, as an experiment."""

    slug: str
    title: str
    paper: str  # arXiv id or DOI
    claim: str  # one or two sentences, as the paper puts it, in our words
    scales: Mapping[Scale, str]  # what each scale runs and about how long it takes
    measure: Callable[[Scale, int, Progress], Measurement]
    judge: Callable[[Sequence[Measurement]], list[Finding]]
    draw: Callable[[Sequence[Measurement]], Figure]
    seeds: Mapping[Scale, int] = field(default_factory=lambda: {"smoke": 1, "quick": 3, "full": 3})
    notes: str = ""  # what differs from the paper, and why


def verdict(findings: Sequence[Finding]) -> Verdict:
    """The verdict that follows from the findings that count.

    Examples:
        >>> verdict([Finding("a", "1", "1", True), Finding("b", "0", "1", False)])
        'in part'
    """
    counted = [f.holds for f in findings if f.holds is not None and not f.check]
    if not counted:
        return "not run"
    if all(counted):
        return "holds"
    return "in part" if any(counted) else "not here"
