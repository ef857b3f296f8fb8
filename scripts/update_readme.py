"""Write the table of papers into README.md, from the catalogue and the recorded studies.

python scripts/update_readme.py
"""

from __future__ import annotations

from pathlib import Path

from entropilot.files import write_atomically
from entropilot.studies.catalogue import PAPERS
from entropilot.studies.store import RECORDED, Store
from entropilot.studies.table import study_row

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- papers: written by scripts/update_readme.py -->\n", "<!-- end of papers -->"


def papers_table() -> str:
    """One line a paper: method, field, what it does with entropy, state."""
    lines = ["| method | paper | steps of | entropy | state |", "|---|---|---|---|---|"]
    for paper in PAPERS:
        row = study_row(paper, Store(RECORDED))
        state = f"works; claim **{row.verdict}**" if row.built else "planned"
        link = f"[{paper.paper}](https://arxiv.org/abs/{paper.paper})"
        lines.append(f"| {paper.title} | {link} | {paper.field} | {paper.role} it | {state} |")
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The page with the present table between the marks."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{papers_table()}{END}{after}"


if __name__ == "__main__":
    write_atomically(README, updated(README.read_text()))
