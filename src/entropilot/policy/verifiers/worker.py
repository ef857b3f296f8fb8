"""The other process: runs one verifier on what comes in, one line of JSON an answer.

Started by :mod:`entropilot.policy.verifiers.isolated` as ``python -m``. What the verifier prints
goes to the standard error stream, so that it can't be taken for a verdict.

Examples:
    >>> verdict_of(True), verdict_of(0.5).correct
    (Verdict(reward=1.0, correct=True, answer=None, reason='right'), False)
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any, Final

from entropilot.errors import InputError
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.verifiers.registry import import_verifier

LONGEST_MESSAGE: Final = 500  # characters of an error or a reason
GRACE: Final = 2.0  # seconds after the limit, when a worker whose caller is gone ends itself


def verdict_of(returned: object) -> Verdict:
    """The verdict of what a verifier returned: a bool, a number or a verdict.

    A number is the reward; the answer counts as right where it is 1 or more.

    Raises:
        InputError: anything else, or a number that is not finite.
    """
    if isinstance(returned, Verdict):
        checked = verdict_of(float(returned.reward))
        return dataclasses.replace(returned, reward=checked.reward, correct=bool(returned.correct))
    if isinstance(returned, bool) or type(returned).__name__ in ("bool_", "bool"):
        right = bool(returned)
        return Verdict(float(right), right, None, "right" if right else "wrong answer")
    try:
        reward = float(returned)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"the verifier returned {type(returned).__name__} {str(returned)[:60]!r}; it must "
            "return True or False, a number, or a Verdict"
        ) from None
    if not math.isfinite(reward):
        raise InputError(f"the verifier returned {reward}; a reward must be finite")
    right = reward >= 1
    return Verdict(reward, right, None, "right" if right else "wrong answer")


def main() -> None:
    """Read settings from the command line, say "ready", then answer line by line until the end."""
    entry, time_limit, memory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    questions = os.fdopen(os.dup(0), "r", encoding="ascii")
    os.dup2(2, 1)  # a print in a verifier must not become an answer
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.append(os.getcwd())
    try:
        function = import_verifier(entry)
    except BaseException as error:
        _say(answers, failed=_message(error))
        return
    if memory:
        _limit_memory(memory)
    _say(answers, ready=True)
    for line in questions:
        signal.setitimer(signal.ITIMER_REAL, time_limit + GRACE)
        _say(answers, **_answered(function, line))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answered(function: Callable[[Problem, str], object], line: str) -> dict[str, Any]:
    asked = json.loads(line)
    try:
        verdict = verdict_of(function(Problem(**asked["problem"]), asked["text"]))
        return {
            "reward": verdict.reward,
            "correct": verdict.correct,
            "answer": None if verdict.answer is None else str(verdict.answer)[:LONGEST_MESSAGE],
            "reason": str(verdict.reason)[:LONGEST_MESSAGE],
        }
    except BaseException as error:  # sys.exit and time-outs of libraries are no Exceptions
        return {"raised": _message(error)}


def _limit_memory(n_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]


def _say(stream: IO[str], **values: Any) -> None:
    stream.write(json.dumps(values) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
