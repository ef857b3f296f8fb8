"""Chains from a file: what a line may hold, and what a bad one is told."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from entropilot.errors import ConfigurationError, FormatError, InputError
from entropilot.traces.chains import ReasoningChain, chain_of_row, read_chains, stated_answer

ROW = {"question": "How many?", "steps": ["Two and two.", "So it is 4."], "answer": "4"}


def read(*rows: Any, **options: Any) -> list[ReasoningChain]:
    return read_chains(io.BytesIO("\n".join(map(json.dumps, rows)).encode()), **options)


def test_a_line_with_all_fields() -> None:
    [found] = read({**ROW, "correct": False, "category": "sums", "id": "c", "group": "p"})
    assert found == ReasoningChain(
        "c",
        "How many?",
        ("Two and two.", "So it is 4."),
        "Two and two.\nSo it is 4.",
        "4",
        "gold",
        False,
        "p",
        "sums",
    )


def test_other_names_and_defaults() -> None:
    row = {"problem": "How many?", "solution": "Two and two.\nSo it is 4.\nA: 4", "gold": 4}
    [found, other] = read(row, {**row, "is_correct": 1})
    assert found.steps == ("Two and two.", "So it is 4.")
    assert (found.answer, found.right, found.id, found.category) == ("4", None, "1", None)
    assert found.group == other.group == "How many?"  # chains of one question are one problem
    assert (other.id, other.right) == ("2", True)


def test_the_rule_cuts_a_chain() -> None:
    row = {"question": "?", "chain": "He pays 3 now. He pays 4 then.\nThat is all.", "answer": "7"}
    assert len(read(row, rule="line")[0].steps) == 2
    assert len(read(row, rule="sentence")[0].steps) == 3
    with pytest.raises(ConfigurationError, match="unknown rule 'lines'; did you mean 'line'"):
        read(row, rule="lines")


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({"own_answer": "2"}, "2"),
        ({"reference": "5"}, "4"),  # the answer stands beside a reference: it is the chain's
        ({"chain": "It is 3.\nA: 3", "answer": "9"}, "3"),  # the last line states it
        ({}, "4"),
    ],
)
def test_the_chains_own_answer(changes: dict[str, Any], own: str) -> None:
    row = {**ROW, "steps": ["Of 2 and 3.", "So it is 4."], **changes}
    if "chain" in changes:
        del row["steps"]
    assert chain_of_row(row, which="own").answer == own
    gold = changes.get("reference", changes.get("answer", "4"))
    assert chain_of_row(row).answer == gold


def test_stated_answers() -> None:
    assert stated_answer("x\n#### 1,250") == "1,250"
    assert stated_answer("x\nFinal answer: x + 1\n\n") == "x + 1"
    assert stated_answer("It is 4.") is None


@pytest.mark.parametrize(
    ("changes", "options", "kind", "message"),
    [
        ({"question": " "}, {}, InputError, "the question is missing or empty"),
        ({"answer": ""}, {}, InputError, "the answer is empty"),
        ({"answer": None}, {}, InputError, "there is no answer: expected one of reference, gold"),
        ({"answer": "8"}, {"which": "own"}, InputError, "'8' does not stand in the chain"),
        ({"steps": None}, {}, InputError, "neither steps nor one of chain, solution"),
        ({"steps": [15, 27]}, {}, FormatError, "step 1 is a number; give texts, not token ids"),
        ({"steps": [[15, 27]]}, {}, FormatError, "step 1 is a list; give texts, not token ids"),
        ({"steps": "all"}, {}, FormatError, "steps are a text; expected a list of texts"),
        ({"steps": ["a", " "]}, {}, InputError, "step 2 is empty"),
        ({"steps": None, "chain": [1]}, {}, FormatError, "chain is a list; expected a text"),
        ({"correct": "yes"}, {}, FormatError, "correct is a text 'yes'; expected true or false"),
    ],
)
def test_bad_lines_are_named(
    changes: dict[str, Any], options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"line 3: .*{message}"):
        read_chains(
            io.BytesIO(
                b"\n".join([json.dumps(ROW).encode(), b"", json.dumps(ROW | changes).encode()])
            ),
            **options,
        )


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="standard input holds no chains"):
        read_chains(io.BytesIO(b"\n\n"))
    with pytest.raises(FormatError, match=r"line 1: JSON is malformed.*one JSON object a line"):
        read_chains(io.BytesIO(b"question: x"))
    with pytest.raises(FormatError, match="line 1: a JSON list; expected an object"):
        read_chains(io.BytesIO(b"[1]"))
    with pytest.raises(InputError, match="line 2: the id 'a' stands in line 1 too"):
        read(ROW | {"id": "a"}, ROW | {"id": "a"})
    with pytest.raises(InputError, match=r"nothing\.jsonl can't be opened"):
        read_chains(tmp_path / "nothing.jsonl")


def test_a_chain_without_steps_is_fine() -> None:
    assert read(ROW | {"steps": []})[0].steps == ()
    assert read({"question": "?", "text": "A: 4", "answer": "4"})[0].steps == ()


def test_compressed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "chains.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ROW).encode()))
    assert read_chains(path)[0].answer == "4"
