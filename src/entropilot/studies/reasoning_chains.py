"""Real reasoning chains with labels: four published model solutions to each GSM8K test problem.

The file is not part of the package; it is grade_school_math/data/example_model_solutions.jsonl of
the public repository openai/grade-school-math (MIT), 1319 problems. $ENTROPILOT_TEST_DATA names the
folder in which it lies as ``gsm8k_example_model_solutions.jsonl``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from entropilot.errors import FormatError, InputError

FILE_NAME: Final = "gsm8k_example_model_solutions.jsonl"
SOURCES: Final = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")

_MARK: Final = re.compile(r"<<[^>\n]*>>")
_ANSWER: Final = re.compile(r"A: *(-?\d[\d,]*(?:\.\d+)?) *$")


@dataclass(frozen=True)
class Chain:
    """One solution of one problem."""

    problem: int
    question: str
    gold: str
    source: str
    right: bool
    steps: tuple[str, ...]  # without calculator marks and without the answer line
    text: str
    answer: str  # the chain's own

    @property
    def n_words(self) -> int:
        """Words of the steps."""
        return sum(len(step.split()) for step in self.steps)


def chains_file() -> Path | None:
    """Where the chains lie; None where the folder is not named or lacks the file."""
    folder = os.environ.get("ENTROPILOT_TEST_DATA")
    path = Path(folder) / FILE_NAME if folder else None
    return path if path is not None and path.is_file() else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The problems of the file, as they are.

    Raises:
        FormatError: a line is not JSON or lacks a field.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = msgspec.json.decode(line)
            row = {
                "question": str(row["question"]),
                "ground_truth": str(row["ground_truth"]),
                **{
                    source: {
                        "is_correct": bool(row[source]["is_correct"]),
                        "solution": str(row[source]["solution"]),
                    }
                    for source in SOURCES
                },
            }
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise FormatError(
                f"{path}, line {number}: {error}; expected question, ground_truth and "
                f"{', '.join(SOURCES)} with is_correct and solution. Take the file as published."
            ) from error
        rows.append(row)
    return rows


def chain(row: dict[str, Any], problem: int, source: str) -> Chain | None:
    r"""One chain; None where it or the problem states no numeric answer.

    Examples:
        >>> row = {"question": "?", "ground_truth": "A: 3", "x": {"is_correct": True,
        ...        "solution": "1 + 2 = <<1+2=3>>3\nA: 3"}}
        >>> found = chain(row, 0, "x")
        >>> found.steps, found.answer
        (('1 + 2 = 3',), '3')
    """
    text = _MARK.sub("", row[source]["solution"]).strip()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    gold = _ANSWER.search(row["ground_truth"].strip())
    own = _ANSWER.search(lines[-1]) if lines else None
    if gold is None or own is None:
        return None
    return Chain(
        problem,
        row["question"].strip(),
        gold[1].replace(",", ""),
        source,
        row[source]["is_correct"],
        tuple(lines[:-1]),
        text,
        own[1].replace(",", ""),
    )


def balanced_pairs(
    rows: Sequence[dict[str, Any]], n_pairs: int, rng: np.random.Generator
) -> list[tuple[Chain, Chain]]:
    """Right and wrong chains of one problem each, every source as often right as wrong.

    A source gives one chain a problem, so the two chains of a pair have two sources. Each of the
    twelve ordered pairs of sources is used equally often: neither the problem nor the source then
    tells right from wrong. Chains have at least two steps, so that one can be left out.

    Args:
        rows: of the file.
        n_pairs: a multiple of twelve.
        rng: of the choice.

    Raises:
        InputError: too few problems for one of the ordered pairs.
    """
    combinations = list(permutations(SOURCES, 2))
    each, rest = divmod(n_pairs, len(combinations))
    if rest or not each:
        raise InputError(f"{n_pairs} pairs asked for; expected a multiple of {len(combinations)}")
    chosen: list[tuple[Chain, Chain]] = []
    used: set[int] = set()
    for right_source, wrong_source in combinations:
        found = 0
        for problem in rng.permutation(len(rows)).tolist():
            row = rows[problem]
            if problem in used or not row[right_source]["is_correct"]:
                continue
            right, wrong = (chain(row, problem, s) for s in (right_source, wrong_source))
            if right is None or wrong is None or wrong.right:
                continue
            if min(len(right.steps), len(wrong.steps)) < 2:
                continue
            chosen.append((right, wrong))
            used.add(problem)
            found += 1
            if found == each:
                break
        else:
            raise InputError(
                f"only {found} of {each} problems have a right chain of {right_source} and a wrong "
                f"one of {wrong_source}; ask for fewer pairs"
            )
    return chosen
