"""The utility of reasoning steps for people: in a terminal, and as Markdown.

Both are made from the document of ``utility_json``. What a file brought (ids, problems) is shown
without control codes, and escaped in Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from entropilot.report.markdown import escaped
from entropilot.report.visible import prose, visible
from entropilot.report.wording import ABSENT, count, decimal, percent, plural

MOST_CHAINS: Final = 40
MOST_PROBLEMS: Final = 20
_COLUMNS: Final = (
    "chain",
    "label",
    "h_0",
    "h_K-1",
    "h_K",
    "drop",
    "slope",
    "verdict",
    "leak step",
    "idle steps",
)
_TEXTS: Final = ("chain", "label", "verdict", "idle steps")
_AREAS: Final = {
    "-drop": "small fall",
    "-drop_before_last": "small fall, last step left out",
    "slope": "flat slope",
    "h_last": "entropy at the end",
    "nll_last": "answer's surprisal at the end",
    "nll_before_last": "answer's surprisal, last step left out",
    "n_tokens": "tokens",
    "n_steps": "steps",
}


def print_utility(document: Mapping[str, Any], console: Console) -> None:
    """Print chains, right beside wrong, the ranking and what to know.

    Args:
        document: of ``utility_json``.
        console: where to.
    """
    console.print(Text(prose(_headline(document)), "bold"))
    console.print(Text(prose(_setting(document)), "dim"))
    for title, columns, rows, rest in _tables(document):
        if title:
            console.print()
            console.print(Text(title, "bold"))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column, is_text in columns:
            table.add_column(
                Text(column),
                justify="left" if is_text else "right",
                overflow="fold",
                no_wrap=column in ("verdict", "label", "leak step"),
            )
        for row in rows:
            table.add_row(*(Text(visible(cell, limit=60)) for cell in row))
        console.print(table)
        if rest:
            console.print(Text(rest, "dim"))
    for sentence in _closing(document):
        console.print(Text(f"\n{prose(sentence)}"))


def utility_markdown(document: Mapping[str, Any]) -> str:
    """The same as Markdown.

    Args:
        document: of ``utility_json``.
    """
    parts = ["# Utility of reasoning steps", prose(_headline(document)), prose(_setting(document))]
    for title, columns, rows, rest in _tables(document):
        if title:
            parts.append(f"## {title}")
        lines = ["| " + " | ".join(name for name, _ in columns) + " |"]
        lines.append("|" + "|".join("---" if text else "---:" for _, text in columns) + "|")
        lines += ["| " + " | ".join(escaped(cell, limit=60) for cell in row) + " |" for row in rows]
        parts.append("\n".join(lines))
        if rest:
            parts.append(rest)
    return "\n\n".join([*parts, *(prose(sentence) for sentence in _closing(document))]) + "\n"


_Rows = Sequence[Sequence[str]]
_Part = tuple[str, Sequence[tuple[str, bool]], _Rows, str]


def _tables(document: Mapping[str, Any]) -> list[_Part]:
    """Title, columns (name, is text), rows, and what is not shown."""
    parts = [_chains(document)]
    if document["report"] is not None:
        parts += [_curves(document), _areas(document)]
    if any(len(one["order"]) > 1 for one in document["ranking"]):
        parts.append(_ranking(document))
    return parts


def _headline(document: Mapping[str, Any]) -> str:
    n, verdicts = document["counts"]["chains"], document["verdicts"]
    settled = plural(verdicts["decreasing"], "chain settles", "chains settle")
    return (
        f"{settled} the answer, of {count(n)}; {count(verdicts['flat'])} stay flat and "
        f"{count(verdicts['rising'])} rise."
    )


def _setting(document: Mapping[str, Any]) -> str:
    whose = {"gold": "the reference answer", "own": "each chain's own answer", None: "no answer"}
    said = f"Entropy of {whose[document['mode']]} in {document['unit']}"
    if document["inspector"]:
        said += f", read by {visible(document['inspector'], limit=120)}"
    if document["estimate"]:
        said += f"; the server shows the likeliest tokens only, estimate {document['estimate']!r}"
    return said + "."


def _chains(document: Mapping[str, Any]) -> _Part:
    label = {None: ABSENT, True: "right", False: "wrong"}
    rows = [
        (
            one["id"],
            label[one["correct"]],
            *(
                decimal(one[name], 3)
                for name in ("h_first", "h_before_last", "h_last", "drop", "slope")
            ),
            one["verdict"],
            ABSENT if one["leak_step"] is None else f"{one['leak_step']} of {one['n_steps']}",
            ", ".join(map(str, one["idle_steps"])) or ABSENT,
        )
        for one in document["chains"][:MOST_CHAINS]
    ]
    columns = [(name, name in _TEXTS) for name in _COLUMNS]
    return "", columns, rows, _more(len(document["chains"]), MOST_CHAINS, "chains")


def _curves(document: Mapping[str, Any]) -> _Part:
    rows = [
        (
            one["category"],
            "right" if one["right"] else "wrong",
            count(one["n"]),
            *(decimal(one["mean"][i], 3) for i in (0, len(one["mean"]) // 2, -1)),
            decimal(one["n_steps"], 1),
            decimal(one["n_tokens"], 0),
        )
        for one in document["report"]["curves"]
    ]
    names = ("category", "label", "chains", "h at 0", "h at 1/2", "h at 1", "steps", "tokens")
    return "Right beside wrong", [(n, n in ("category", "label")) for n in names], rows, ""


def _areas(document: Mapping[str, Any]) -> _Part:
    aucs = document["report"]["aucs"]
    rows = [
        (words, decimal(aucs[name]["value"]), _between(aucs[name]))
        for name, words in _AREAS.items()
    ]
    columns = [("sign of a wrong chain", True), ("AUC", False), ("95 %", False)]
    return "What points at wrong chains", columns, rows, ""


def _between(area: Mapping[str, Any]) -> str:
    if area["low"] is None or area["high"] is None:
        return ABSENT
    return f"{decimal(area['low'])} to {decimal(area['high'])}"


def _ranking(document: Mapping[str, Any]) -> _Part:
    ranked = [one for one in document["ranking"] if len(one["order"]) > 1]
    rows = [
        (
            one["group"],
            one["chosen"] or "none decreases",
            ", ".join(one["order"][:8]) + (", ..." if len(one["order"]) > 8 else ""),
        )
        for one in ranked[:MOST_PROBLEMS]
    ]
    columns = [("problem", True), ("trust", True), ("order", True)]
    return "Ranking", columns, rows, _more(len(ranked), MOST_PROBLEMS, "problems")


def _more(n: int, most: int, what: str) -> str:
    return f"and {count(n - most)} more {what}; the JSON form has all" if n > most else ""


def _closing(document: Mapping[str, Any]) -> list[str]:
    said = []
    if document["leak_control"] is not None:
        control = document["leak_control"]
        areas = " and ".join(
            f"{decimal(control[name]['value'])} ({_between(control[name])}) {words}"
            for name, words in (("with_last", "with"), ("without_last", "without the last step"))
        )
        said.append(f"Leak control: AUC of the fall {areas}. {control['sentence']}")
    selected = document["selection"]
    if selected is not None and selected["chosen"]:
        share = selected["right"] / selected["chosen"]
        said.append(
            f"The chosen chain is right in {count(selected['right'])} of "
            f"{plural(selected['chosen'], 'problem')} ({percent(share)}) with right and wrong "
            f"chains; a draw by lot in {percent(selected['chance'])}."
        )
        if document["mode"] == "gold":
            said.append(
                "The ranking knows the reference answer: it is no way to choose an answer without "
                "one."
            )
    return [*said, *document["notes"]]
