"""All papers beside what was measured: rows for machines, Markdown for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from entropilot.studies.catalogue import PAPERS, Paper
from entropilot.studies.registry import load_study, study_names
from entropilot.studies.store import Store, StudyRun
from entropilot.studies.study import Finding, Scale, Study, Verdict, verdict


@dataclass(frozen=True)
class StudyRow:
    """One paper in the table; ``scale`` is None when nothing was run."""

    slug: str
    title: str
    paper: str
    claim: str
    scale: Scale | None
    seeds: tuple[int, ...]
    seconds: float
    verdict: Verdict
    findings: tuple[Finding, ...]
    built: bool  # whether the project has a study of it


def study_row(paper: Paper, store: Store) -> StudyRow:
    """Judge what is stored of one paper."""
    if paper.slug not in study_names():
        return StudyRow(paper.slug, paper.title, paper.paper, paper.idea, None, (), 0.0,
                        "not run", (), built=False)  # fmt: skip
    study = load_study(paper.slug)
    run = store.best(paper.slug)
    if run is None:
        return StudyRow(paper.slug, study.title, paper.paper, study.claim, None, (), 0.0,
                        "not run", (), built=True)  # fmt: skip
    return run_row(study, run)


def run_row(study: Study, run: StudyRun) -> StudyRow:
    """Judge one run of a study."""
    findings = tuple(study.judge(run.measurements))
    return StudyRow(
        study.slug,
        study.title,
        study.paper,
        study.claim,
        run.scale,
        tuple(sorted(seed.seed for seed in run.seeds)),
        sum(seed.seconds for seed in run.seeds),
        verdict(findings),
        findings,
        built=True,
    )


def study_rows(store: Store) -> list[StudyRow]:
    """Every paper of the catalogue, those with a study first."""
    rows = [study_row(paper, store) for paper in PAPERS]
    return sorted(rows, key=lambda row: not row.built)


def as_records(rows: list[StudyRow]) -> list[dict[str, object]]:
    """Rows as plain values, with the keys that ``study table --format json`` promises."""
    return [asdict(row) for row in rows]


def as_markdown(rows: list[StudyRow]) -> str:
    """The text of RESULTS.md."""
    built = [row for row in rows if row.built]
    lines = [
        "# Results",
        "",
        "Each row is one paper's central claim, measured again by `entropilot study run`. This "
        "page is written by `entropilot study table --write RESULTS.md` from stored measurements; "
        "a claim that does not hold stays in.",
        "",
        "| study | paper | scale | seeds | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in built:
        link = f"[{row.paper}](https://arxiv.org/abs/{row.paper})"
        lines.append(
            f"| [{row.title}](#{row.slug}) | {link} | {row.scale or '-'} | {len(row.seeds) or '-'} "
            f"| {row.verdict} |"
        )
    for row in built:
        lines += ["", f"## {row.slug}", "", f"**Claim.** {row.claim}", ""]
        if row.scale is None:
            lines.append(f"Not run yet: `entropilot study run {row.slug}`.")
            continue
        seeds = ", ".join(str(seed) for seed in row.seeds)
        lines += [
            f"**Verdict: {row.verdict}.** Scale {row.scale}, seeds {seeds}, "
            f"{row.seconds:.0f} s in all.",
            "",
            "| statement | measured | expected | holds |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {_cell(f.statement)}{' (regression check)' if f.check else ''} "
            f"| {_cell(f.measured)} | {_cell(f.expected)} | {_answer(f.holds)} |"
            for f in row.findings
        ]
    missing = [row for row in rows if not row.built]
    if missing:
        names = ", ".join(f"{row.title} ({row.paper})" for row in missing)
        lines += ["", "## Not built yet", "", f"{len(missing)} papers: {names}."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _answer(holds: bool | None) -> str:
    return "not tested" if holds is None else "yes" if holds else "no"
