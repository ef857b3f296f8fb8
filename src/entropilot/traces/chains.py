r"""Chains of reasoning from a JSONL file: question, steps, answer, and what is known of them.

A line is one chain:

    question             the problem (also: problem, prompt)
    steps                list of texts, or in its place
    chain                the whole text, to be split (also: solution, text, response)
    reference            the right answer (also: gold, ground_truth)
    answer               the chain's own answer where a reference stands beside it, else the
                         reference
    own_answer           the chain's own answer, whatever stands beside it
    correct              true or false: the label (also: is_correct, right)
    id, group, category  names; a chain without a group belongs to its question
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from entropilot.errors import FormatError, InputError
from entropilot.traces.inspection import leak_step, utility_steps
from entropilot.traces.reading.compressed import open_stream
from entropilot.traces.reading.lines import blocks
from entropilot.traces.reading.options import ReadOptions
from entropilot.traces.utility import Which

_QUESTION: Final = ("question", "problem", "prompt")
_CHAIN: Final = ("chain", "solution", "text", "response")
_REFERENCE: Final = ("reference", "gold", "ground_truth")
_LABEL: Final = ("correct", "is_correct", "right")
_STATED: Final = re.compile(
    r"(?:^\s*(?:A|Answer|Final answer)\s*:\s*(?P<marked>\S.*?)"
    r"|\#{2,}\s*(?P<hashed>\S.*?)|\\boxed\{(?P<boxed>[^{}]+)\}\$?\.?)\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ReasoningChain:
    """One chain, with the answer whose entropy is asked for."""

    id: str
    question: str
    steps: tuple[str, ...]
    text: str  # the whole chain, with the line that states its answer
    answer: str  # the reference, or the chain's own
    which: Which  # whose answer it is
    right: bool | None = None
    group: str = ""  # the problem; chains of one problem are ranked together
    category: str | None = None


def read_chains(
    source: Path | IO[bytes], *, which: Which = "gold", rule: str = "auto"
) -> list[ReasoningChain]:
    r"""Chains of a JSONL file, plain or compressed; the keys stand at the top of this module.

    Args:
        source: a path, or an open binary stream.
        which: "gold" takes the reference, "own" the chain's own answer: from ``own_answer``, else
            from ``answer`` beside a reference, else as its last line states it ("A: 18", "#### 18",
            "boxed"), else from ``answer``.
        rule: of ``utility_steps``, for chains that are one text.

    Returns:
        The chains in the order of the file.

    Raises:
        FormatError: a line is not a JSON object, or a value has the wrong type.
        InputError: a line lacks a question, steps or an answer; token ids for steps; an own answer
            that does not stand in its chain; an id used twice; a file without chains.

    Examples:
        >>> import io
        >>> line = b'{"question": "1 + 2?", "chain": "One and two.\\nA: 3", "answer": 3}'
        >>> [chain] = read_chains(io.BytesIO(line))
        >>> chain.steps, chain.answer, chain.right
        (('One and two.',), '3', None)
    """
    name = str(source) if isinstance(source, Path) else "standard input"
    chains: list[ReasoningChain] = []
    lines: dict[str, int] = {}
    for number, raw in _lines(source):
        try:
            row = msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            raise FormatError(
                f"{name}, line {number}: {error}; expected one JSON object a line (JSONL)"
            ) from error
        if not isinstance(row, dict):
            raise FormatError(
                f"{name}, line {number}: a JSON {type(row).__name__}; expected an object with "
                "question, steps and answer"
            )
        try:
            chain = chain_of_row(row, number, which=which, rule=rule)
        except InputError as error:
            raise type(error)(f"{name}, line {number}: {error}") from error
        if chain.id in lines:
            raise InputError(
                f"{name}, line {number}: the id {chain.id!r} stands in line {lines[chain.id]} too; "
                "ids name chains, groups name problems"
            )
        lines[chain.id] = number
        chains.append(chain)
    if not chains:
        raise InputError(f"{name} holds no chains; expected one JSON object a line")
    return chains


def chain_of_row(
    row: Mapping[str, Any], number: int = 1, *, which: Which = "gold", rule: str = "auto"
) -> ReasoningChain:
    r"""One chain from the values of a line; ``number`` names it where it has no id.

    Raises:
        InputError, FormatError: as ``read_chains``.

    Examples:
        >>> chain_of_row({"question": "?", "steps": ["So 3."], "answer": "3"}).steps
        ('So 3.',)
    """
    question = _text(row, _QUESTION)
    if question is None or not question.strip():
        raise InputError("the question is missing or empty; the inspector needs the problem")
    steps, text = _steps(row, rule)
    answer = _answer(row, which, text)
    if which == "own" and leak_step([text], answer) is None:
        raise InputError(
            f"the answer {answer[:40]!r} does not stand in the chain; for the mode 'own' give the "
            "chain's own final answer as own_answer"
        )
    return ReasoningChain(
        id=_text(row, ("id",)) or str(number),
        question=question.strip(),
        steps=steps,
        text=text,
        answer=answer,
        which=which,
        right=_label(row),
        group=_text(row, ("group",)) or question.strip(),
        category=_text(row, ("category",)),
    )


def stated_answer(text: str) -> str | None:
    r"""The answer that the last line of a chain states by a marker; None without one.

    Examples:
        >>> [stated_answer(text) for text in ("So it is.\nA: 18", r"It is $\boxed{7}$.", "7")]
        ['18', '7', None]
    """
    found = _STATED.search(text.rstrip().rpartition("\n")[2])
    return next((part.strip() for part in found.groups() if part), None) if found else None


def _lines(source: Path | IO[bytes]) -> Iterator[tuple[int, bytes]]:
    options = ReadOptions()
    stream = open_stream(source, options)
    number = 0
    try:
        for block in blocks(stream, options):
            for line in bytes(block.buffer[block.start : block.stop]).split(b"\n"):
                number += 1
                if line.strip():
                    yield number, line.removeprefix(b"\xef\xbb\xbf")
            number -= not block.is_last  # what follows the last newline of a block opens the next
    finally:
        stream.close()


def _steps(row: Mapping[str, Any], rule: str) -> tuple[tuple[str, ...], str]:
    given, text = row.get("steps"), _text(row, _CHAIN)
    if given is None:
        if text is None:
            raise InputError(f"there are neither steps nor one of {', '.join(_CHAIN)}")
        return tuple(utility_steps(text, rule)), text
    if not isinstance(given, list):
        raise FormatError(f"steps are {_kind(given)}; expected a list of texts")
    for k, step in enumerate(given, 1):
        if not isinstance(step, str):
            raise FormatError(
                f"step {k} is {_kind(step)}; give texts, not token ids: the inspector has its own "
                "tokens"
            )
        if not step.strip():
            raise InputError(f"step {k} is empty; leave it out")
    return tuple(step.strip() for step in given), "\n".join(given) if text is None else text


def _answer(row: Mapping[str, Any], which: Which, text: str) -> str:
    names: Sequence[str] = (*_REFERENCE, "answer")
    found = None
    if which == "own":
        names = ("own_answer", "answer")
        beside = any(row.get(name) is not None for name in _REFERENCE)
        found = _text(row, names if beside else names[:1])
        found = stated_answer(text) if found is None else found
    found = _text(row, names) if found is None else found
    if found is None:
        raise InputError(f"there is no answer: expected one of {', '.join(names)}")
    if not found.strip():
        raise InputError("the answer is empty; give the text whose entropy is asked for")
    return found.strip()


def _label(row: Mapping[str, Any]) -> bool | None:
    for name in _LABEL:
        value = row.get(name)
        if value is not None:
            if value not in (0, 1):
                raise FormatError(f"{name} is {_kind(value)} {value!r}; expected true or false")
            return bool(value)
    return None


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the fields that is there; a number becomes its text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            raise FormatError(f"{name} is {_kind(value)}; expected a text")
    return None


def _kind(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a text")
