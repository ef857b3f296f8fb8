r"""Problems of your own: a file with a prompt and an answer in every line.

    {"prompt": "Ann has 3 pens and buys 4. How many has she?", "answer": "7"}

The columns may have other names, and an answer may be the last line "#### 7" of a solution. A file
that holds one JSON array of such objects is read as well.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from entropilot.errors import ConfigurationError, FormatError, InputError, LimitError
from entropilot.policy.tasks.task import Problem, Verdict, problem_generator
from entropilot.policy.verifiers.verifier import Verifier

PROMPTS: Final = ("prompt", "question", "problem", "Question", "query", "instruction", "input")
ANSWERS: Final = ("answer", "Answer", "final_answer", "ground_truth", "reference", "target")
IDS: Final = ("id", "ID", "idx", "uid")
LONGEST_LINE: Final = 1_000_000  # characters; a prompt that fills it is no prompt
LARGEST_ARRAY: Final = 500_000_000  # bytes of a file that is one JSON array
MARK: Final = "####"  # before the answer at the end of a solution


def read_problems(
    path: str | Path,
    *,
    prompt_column: str | Sequence[str] | None = None,
    answer_column: str | None = None,
) -> list[Problem]:
    r"""The problems of a JSONL file, in its order.

    Args:
        path: UTF-8; one JSON object a line, or one JSON array of objects. Empty lines are skipped.
        prompt_column: where the prompt stands; several columns are joined by a space. None = the
            first of ``PROMPTS`` that the first object has.
        answer_column: where the answer stands, text or a number; None as above, of ``ANSWERS``.

    Returns:
        Problems; the other columns are in ``meta``. Where the answer column holds a solution that
        ends with "#### answer", the solution is in ``meta["solution"]``. A problem that comes twice
        is kept once, and a warning says how many were left out.

    Raises:
        ConfigurationError: no such file.
        FormatError: a line that is not a JSON object.
        LimitError: a line or the file is too long.
        InputError: a missing column, a prompt or an answer that is empty or no text, or one prompt
            with two different answers; with file, line and what was found.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.jsonl"
        >>> _ = file.write_text('{"question": "1+1?", "answer": "One more than 1.\\n#### 2"}\n')
        >>> read_problems(file)[0].answer
        '2'
    """
    path = Path(path)
    chosen: tuple[tuple[str, ...], str] | None = None
    problems: dict[str, tuple[str, Problem]] = {}
    ids: dict[str, str] = {}
    n_twice = 0
    for number, (place, row) in enumerate(_rows(path), 1):
        where = f"{path}, {place}"
        if chosen is None:
            prompts = (prompt_column,) if isinstance(prompt_column, str) else prompt_column
            chosen = (
                tuple(prompts) if prompts else (_guess("prompt", PROMPTS, row, where),),
                answer_column or _guess("answer", ANSWERS, row, where),
            )
        problem = _problem(row, *chosen, where=where, name=f"{path.stem}-{number}")
        first, known = problems.setdefault(problem.prompt, (place, problem))
        if known is problem:
            if (earlier := ids.setdefault(problem.id, place)) != place:
                raise InputError(
                    f"{where} has the id {problem.id[:60]!r}, as {earlier} has. Give each problem "
                    "an id of its own, or none."
                )
            continue
        if known.answer != problem.answer:
            raise InputError(
                f"{where} asks the same as {first}, but its answer is "
                f"{problem.answer[:60]!r} and not {known.answer[:60]!r}. Keep one of the two."
            )
        n_twice += 1
    if not problems:
        raise InputError(f"{path} holds no problems; expected one JSON object a line")
    if n_twice:
        warnings.warn(f"{path}: {n_twice} problems come twice and are kept once", stacklevel=2)
    return [problem for _, problem in problems.values()]


@dataclass(frozen=True)
class JsonlProblems:
    """Problems of a file as a text task.

    Args:
        path: of the file; see ``read_problems`` for it and the columns.
        verifier: what decides, a name, an entry point or a :class:`Verifier` with its own limits.
        template: of the prompt; "{prompt}" in it stands for the problem's own.
        prompt_column: where the prompt stands.
        answer_column: where the answer stands.
    """

    path: str | Path
    verifier: str | Verifier = "number"
    template: str = "{prompt}"
    prompt_column: str | Sequence[str] | None = None
    answer_column: str | None = None
    name: str = "jsonl"
    all_problems: tuple[Problem, ...] = field(init=False, repr=False)
    verify: Verifier = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise ConfigurationError(
                f"the template {self.template[:60]!r} has no {{prompt}} in it; every prompt would "
                "be the same"
            )
        verify = self.verifier if isinstance(self.verifier, Verifier) else Verifier(self.verifier)
        object.__setattr__(self, "verify", verify)
        read = read_problems(
            self.path, prompt_column=self.prompt_column, answer_column=self.answer_column
        )
        object.__setattr__(self, "all_problems", tuple(read))

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` problems in an order drawn from the seed; a longer list begins with the shorter.

        Raises:
            ConfigurationError: the file has fewer.
        """
        random = problem_generator(self.name, n, seed)
        there = self.all_problems
        if n > len(there):
            raise ConfigurationError(
                f"{n} problems asked for; {self.path} has {len(there)}. Ask for at most as many."
            )
        order: list[int] = random.permutation(len(there))[:n].tolist()
        return [_in_template(there[i], self.template) for i in order]

    def verify_text(self, problem: Problem, text: str) -> Verdict:
        """The verifier's verdict; failures are counted in ``verify.counts``."""
        return self.verify(problem, text)

    def verify_texts(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Verdicts on many responses; ``texts[b]`` answers ``problems[b]``."""
        return self.verify.verify_many(problems, texts)


def _in_template(problem: Problem, template: str) -> Problem:
    prompt = template.replace("{prompt}", problem.prompt)
    return Problem(problem.id, prompt, problem.answer, meta=problem.meta)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("line 3", object), or ("element 3", object) where the file is one array."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = file.read(200).lstrip()[:1]
            file.seek(0)
            yield from _array(path, file) if start == "[" else _lines(path, file)
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 text: {error.reason} at {error.start}") from error
    except OSError as error:
        raise ConfigurationError(
            f"the problems {path} can't be read: {error.strerror}. Give the path of a JSONL file."
        ) from error


def _lines(path: Path, file: IO[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise LimitError(
                f"{path}, line {number} is longer than {LONGEST_LINE} characters; is it one JSON "
                "object a line?"
            )
        if line.strip():
            yield f"line {number}", _object(line, f"{path}, line {number}")


def _array(path: Path, file: IO[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.stat().st_size > LARGEST_ARRAY:
        raise LimitError(
            f"{path} is one JSON array of more than {LARGEST_ARRAY} bytes; write one object a line"
        )
    for number, row in enumerate(_parsed(file.read(), str(path)), 1):
        if not isinstance(row, dict):
            raise FormatError(
                f"{path}, element {number} is {type(row).__name__}; expected an object"
            )
        yield f"element {number}", row


def _object(line: str, where: str) -> Mapping[str, Any]:
    row = _parsed(line, where)
    if not isinstance(row, dict):
        raise FormatError(
            f"{where} is {type(row).__name__}; expected an object with a prompt and an answer"
        )
    return row


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not JSON: {error}") from error


def _guess(kind: str, known: Sequence[str], row: Mapping[str, Any], where: str) -> str:
    for name in known:
        if name in row:
            return name
    raise InputError(
        f"{where} has no {kind}: its columns are {_columns(row)}. Name the one that holds the "
        f"{kind} with {kind}_column, or call it {kind!r}."
    )


def _problem(
    row: Mapping[str, Any], prompts: tuple[str, ...], answer: str, *, where: str, name: str
) -> Problem:
    parts = [_text(row, column, "prompt", where) for column in prompts]
    solution = _text(row, answer, "answer", where)
    before, mark, after = solution.rpartition(MARK)
    reference = after.strip() if mark else solution
    if not reference:
        raise InputError(f"{where}: nothing follows the last {MARK} of {answer!r}")
    meta = {key: value for key, value in row.items() if key not in (*prompts, answer)}
    if mark and before.strip():
        meta["solution"] = before.strip()
    given = next((row[key] for key in IDS if isinstance(row.get(key), str | int)), None)
    return Problem(name if given is None else str(given), " ".join(parts), reference, meta=meta)


def _text(row: Mapping[str, Any], column: str, kind: str, where: str) -> str:
    if column not in row:
        raise InputError(
            f"{where} has no column {column!r} for the {kind}: its columns are {_columns(row)}. "
            f"Name the one that holds the {kind} with {kind}_column."
        )
    value = row[column]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = str(int(value)) if value == int(value) else repr(value)
    if not isinstance(value, str):
        raise InputError(
            f"{where}: {column!r} is {json.dumps(value)[:60]}; expected the {kind} as text"
            + (" or a number" if kind == "answer" else "")
        )
    if not value.strip():
        raise InputError(f"{where}: {column!r} is empty; expected the {kind}")
    return value.strip()


def _columns(row: Mapping[str, Any]) -> str:
    names = [repr(name[:40]) for name in list(row)[:20]]
    return ", ".join(names) or "none"
