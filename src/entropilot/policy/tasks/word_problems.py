"""Generated one-step word problems of grade school, their few-shot prompt and their check.

Every number is at most ``LARGEST``, each problem takes one addition, subtraction or multiplication,
and the answer is a whole number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.tasks.task import Problem, Verdict

Operation = Literal["add", "sub", "mul"]
OPERATIONS: Final[tuple[Operation, ...]] = ("add", "sub", "mul")
LARGEST: Final = 20
LONGEST_TEXT: Final = 20_000  # characters of a response that are read

NAMES: Final = (
    *("Amy", "Ben", "Cara", "Dan", "Ella", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Leo"),
    *("Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tom", "Uma", "Vera", "Will", "Yara", "Zoe"),
)
OBJECTS: Final = (
    *(
        "apples",
        "pens",
        "books",
        "cards",
        "coins",
        "eggs",
        "shells",
        "stamps",
        "marbles",
        "stickers",
    ),
    *("cookies", "balloons", "pencils", "buttons", "oranges", "candles", "ribbons", "toys"),
)

#: {a}, {b}: the numbers (a > b where something is taken away); {x}, {y}: names; {o}: objects.
TEMPLATES: Final[dict[Operation, tuple[str, ...]]] = {
    "add": (
        "{x} has {a} {o}. {y} gives {x} {b} more {o}. How many {o} does {x} have now?",
        "There are {a} {o} on the table. {x} puts {b} more {o} on the table. "
        "How many {o} are on the table now?",
        "{x} picked {a} {o} and {y} picked {b} {o}. How many {o} did they pick together?",
        "{x} read {a} pages on Monday and {b} pages on Tuesday. "
        "How many pages did {x} read in total?",
        "A box holds {a} {o}. Another box holds {b} {o}. How many {o} are in the two boxes?",
        "{x} walked {a} minutes to school and {b} minutes to the park. "
        "How many minutes did {x} walk in all?",
        "{x} bought {a} {o} and then found {b} {o} at home. How many {o} does {x} have now?",
        "{a} children were on the bus. {b} more children got on. "
        "How many children are on the bus now?",
        "{x} is {a} years old. How old will {x} be in {b} years?",
        "{x} paid ${a} for a book and ${b} for a game. How many dollars did {x} pay in all?",
    ),
    "sub": (
        "{x} had {a} {o}. {x} gave {b} {o} to {y}. How many {o} does {x} have left?",
        "{x} had ${a}. {x} spent ${b} on a toy. How many dollars does {x} have left?",
        "There were {a} birds in a tree. {b} birds flew away. "
        "How many birds are still in the tree?",
        "{x} needs {a} {o} and has {b} {o} already. How many more {o} does {x} need?",
        "{x} has {a} {o} and {y} has {b} {o}. How many more {o} does {x} have than {y}?",
        "A rope is {a} meters long. {x} cuts off {b} meters. How many meters of rope are left?",
        "{x} baked {a} cakes and sold {b} of them. How many cakes are left?",
        "A class has {a} children. {b} of them are away today. "
        "How many children are in class today?",
        "{x} must read {a} pages and has read {b} pages. How many pages are left to read?",
        "{x} and {y} have {a} {o} together. {y} has {b} of them. How many {o} does {x} have?",
    ),
    "mul": (
        "Each bag holds {a} {o}. {x} has {b} bags. How many {o} does {x} have in all?",
        "{x} runs {a} miles every day. How many miles does {x} run in {b} days?",
        "One ticket costs ${a}. {x} buys {b} tickets. How many dollars does {x} pay?",
        "There are {b} rows of chairs with {a} chairs in each row. How many chairs are there?",
        "{x} has {b} boxes with {a} {o} in each box. How many {o} does {x} have?",
        "A fence has {a} posts on each side. It has {b} sides. How many posts does the fence have?",
        "{x} saves ${a} a week. How many dollars does {x} save in {b} weeks?",
        "{x} plants {b} rows of {a} flowers. How many flowers does {x} plant?",
        "{b} friends each bring {a} {o}. How many {o} do they bring in all?",
        "A shelf holds {a} {o}. How many {o} do {b} shelves hold?",
    ),
}

SHOTS: Final = (
    "Question: Nina has 5 plums. Oscar gives Nina 4 more plums. "
    "How many plums does Nina have now?\n"
    "Answer: Nina starts with 5 plums and gets 4 more. 5 + 4 = 9. The answer is 9.\n\n"
    "Question: A jar had 12 sweets. The children ate 7 sweets. "
    "How many sweets are left in the jar?\n"
    "Answer: From 12 sweets, 7 are eaten. 12 - 7 = 5. The answer is 5.\n\n"
    "Question: A car has 4 wheels. How many wheels do 3 cars have?\n"
    "Answer: There are 3 cars with 4 wheels each. 3 x 4 = 12. The answer is 12.\n\n"
)

_NUMBER: Final = r"-?\d[\d,]*(?:\.\d+)?"
_AFTER_MARK: Final = re.compile(rf"answer\s+is\s*:?\s*\$?\s*({_NUMBER})", re.IGNORECASE)
_ANY_NUMBER: Final = re.compile(_NUMBER)


@dataclass(frozen=True)
class WordProblem:
    """One problem with its answer."""

    id: str
    question: str
    answer: int
    operation: Operation
    a: int
    b: int


def word_problems(
    n: int, *, seed: int = 0, operations: Sequence[str] = OPERATIONS
) -> list[WordProblem]:
    """``n`` different problems, the operations in turn, equal for equal seeds.

    The first problems of a longer list are the shorter list.

    Args:
        n: how many, 1 to 5000.
        seed: of the numbers, names and templates.
        operations: some of "add", "sub", "mul".

    Returns:
        Problems with ids "word-<seed>-<number>".

    Raises:
        ConfigurationError: n out of range, or an unknown operation.

    Examples:
        >>> [p.operation for p in word_problems(4)]
        ['add', 'sub', 'mul', 'add']
    """
    if not 1 <= n <= 5000:
        raise ConfigurationError(f"{n} word problems asked for; there can be 1 to 5000")
    for name in operations:
        if name not in OPERATIONS:
            raise ConfigurationError(unknown_name("operation", name, OPERATIONS))
    if not operations:
        raise ConfigurationError(f"no operations given; choose from {', '.join(OPERATIONS)}")
    chosen: list[Operation] = [name for name in OPERATIONS if name in operations]
    random = np.random.default_rng([0x3A7B, seed])  # own stream, apart from other users of the seed
    problems: list[WordProblem] = []
    seen: set[str] = set()
    while len(problems) < n:
        problem = _one(random, chosen[len(problems) % len(chosen)], f"word-{seed}-{len(problems)}")
        if problem.question not in seen:
            seen.add(problem.question)
            problems.append(problem)
    return problems


def _one(random: np.random.Generator, operation: Operation, name: str) -> WordProblem:
    templates = TEMPLATES[operation]
    template = templates[random.integers(len(templates))]
    x, y = random.choice(len(NAMES), 2, replace=False)
    o = OBJECTS[random.integers(len(OBJECTS))]
    if operation == "mul":
        a, b = (int(v) for v in random.integers(2, 11, 2))
    else:
        a, b = (int(v) for v in random.integers(2, LARGEST + 1, 2))
    if operation == "sub":
        b = int(random.integers(2, a)) if a > 2 else 1
    answer = {"add": a + b, "sub": a - b, "mul": a * b}[operation]
    question = template.format(a=a, b=b, x=NAMES[x], y=NAMES[y], o=o)
    return WordProblem(name, question, answer, operation, a, b)


def few_shot_prompt(question: str) -> str:
    r"""Three worked examples, then the question, ready for a base or instruct model to continue.

    The answer is one line: stop at the first newline.

    Examples:
        >>> few_shot_prompt("How many?").endswith("Question: How many?\nAnswer:")
        True
    """
    return f"{SHOTS}Question: {question}\nAnswer:"


def parse_answer(text: str) -> str | None:
    """The number after "answer is", else the last number of the text, else None.

    Thousands commas, a dollar sign and trailing zeros of a decimal are taken off.

    Examples:
        >>> parse_answer("2 + 6 = 8. The answer is $1,008.00."), parse_answer("so 7 of 9")
        ('1008', '9')
    """
    marked = _AFTER_MARK.findall(text)
    found = marked or _ANY_NUMBER.findall(text)
    if not found:
        return None
    number: str = (found[0] if marked else found[-1]).replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number


def is_correct(text: str, answer: int) -> bool:
    """True where the text's parsed answer is the number.

    Examples:
        >>> is_correct("The answer is 8.", 8), is_correct("I do not know", 8)
        (True, False)
    """
    return parse_answer(text) == str(answer)


@dataclass(frozen=True)
class WordProblemTask:
    """The word problems as a text task: few-shot prompts, one line of answer.

    Args:
        operations: some of "add", "sub", "mul".

    Examples:
        >>> task = WordProblemTask()
        >>> problem = task.problems(1)[0]
        >>> task.verify_text(problem, f"The answer is {problem.answer}.").reward
        1.0
    """

    name: ClassVar[str] = "word-problems"
    stop: ClassVar[tuple[str, ...]] = ("\n",)
    operations: tuple[str, ...] = OPERATIONS

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` different problems; a longer list begins with the shorter one.

        Examples:
            >>> WordProblemTask().problems(2)[1].meta["operation"]
            'sub'
        """
        return [
            Problem(
                p.id,
                few_shot_prompt(p.question),
                str(p.answer),
                meta={"question": p.question, "operation": p.operation, "a": p.a, "b": p.b},
            )
            for p in word_problems(n, seed=seed, operations=self.operations)
        ]

    def verify_text(self, problem: Problem, text: str) -> Verdict:
        """Verdict by the number after "answer is", or else the last number of the text."""
        said = parse_answer(text[:LONGEST_TEXT])
        correct = said == problem.answer
        reason = "no answer" if said is None else "right" if correct else "wrong answer"
        return Verdict(float(correct), correct, said, reason)
