"""A verifier as a run uses it: by name, over many responses, counting what goes wrong.

A response whose verifier raises, hangs or dies is worth 0 and the run goes on; how often that
happened, by kind, and the first error are kept for the report.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

from entropilot.errors import ConfigurationError, InputError, require
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.verifiers.isolated import CallError, IsolatedVerifier
from entropilot.policy.verifiers.matching import LONGEST_TEXT
from entropilot.policy.verifiers.registry import NamedVerifier, VerifierFunction, named_verifier
from entropilot.policy.verifiers.worker import verdict_of

MOST_WORKERS: Final = 256


@dataclass(frozen=True)
class VerifierCounts:
    """What became of the responses so far.

    ``n_truncated`` responses were longer than is read; their beginning was left out.
    ``first_error`` is the message of the first that raised, took too long or died.
    """

    n_answers: int = 0
    n_correct: int = 0
    n_raised: int = 0
    n_timed_out: int = 0
    n_died: int = 0
    n_truncated: int = 0
    first_error: str | None = None

    @property
    def n_failed(self) -> int:
        """Responses without a verdict, which got the reward 0."""
        return self.n_raised + self.n_timed_out + self.n_died


class Verifier:
    """A verifier with limits; close it, or use it in a ``with`` block.

    Args:
        verifier: a name ("exact", "number", "math", "countdown"), an entry point
            "module:function", or a function of (problem, text). A function is called in this
            process and without a time limit, as are the built-in verifiers that are known to be
            quick; all others run in processes of their own.
        time_limit: seconds an answer may take there, > 0.
        n_workers: processes; more than one only pays for slow verifiers and ``verify_many``.

    Raises:
        ConfigurationError: an unknown name, a function that can't be imported, or a limit that is
            out of range.
        MissingExtraError: the verifier needs a package that is not installed.

    Examples:
        >>> with Verifier("number") as verify:
        ...     verdicts = verify.verify_many([Problem("q", "1+1", "2")] * 2, ["2", "so 3"])
        >>> [v.reward for v in verdicts], verify.counts.n_correct
        ([1.0, 0.0], 1)
    """

    def __init__(
        self,
        verifier: str | VerifierFunction,
        *,
        time_limit: float = 5.0,
        n_workers: int = 1,
    ) -> None:
        if not 0 < time_limit <= 3600:
            raise ConfigurationError(
                f"the time limit of the verifier is {time_limit}; it must be above 0 and at most "
                "3600 seconds"
            )
        if not 1 <= n_workers <= MOST_WORKERS:
            raise ConfigurationError(f"n_workers is {n_workers}; it must be 1 to {MOST_WORKERS}")
        named = (
            named_verifier(verifier)
            if isinstance(verifier, str)
            else NamedVerifier(getattr(verifier, "__qualname__", repr(verifier)), verifier)
        )
        if named.needs:
            require(named.needs, extra=named.extra, purpose=f"the verifier {verifier!r}")
        self.name = verifier if isinstance(verifier, str) else named.entry
        self.counts = VerifierCounts()
        self._lock = threading.Lock()
        self._function = named.function
        self._workers: list[IsolatedVerifier] = []
        self._locks = [threading.Lock() for _ in range(n_workers)]
        if named.function is None:
            self._workers = [
                IsolatedVerifier(named.entry, time_limit=time_limit, memory=named.memory)
                for _ in range(n_workers)
            ]

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one response; a failure is a verdict with reward 0."""
        return self._counted(problem, text, worker=0)

    def verify_many(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Verdicts on responses; ``texts[b]`` answers ``problems[b]``.

        Raises:
            InputError: as many problems as responses are needed.
        """
        if len(problems) != len(texts):
            raise InputError(
                f"{len(problems)} problems for {len(texts)} responses; give each response its "
                "problem, repeated where a problem has several"
            )
        n_workers = min(len(self._workers), len(texts))
        if n_workers < 2:
            return [self(problem, text) for problem, text in zip(problems, texts, strict=True)]

        def share(worker: int) -> list[Verdict]:
            mine = range(worker, len(texts), n_workers)
            return [self._counted(problems[i], texts[i], worker) for i in mine]

        verdicts: list[Verdict | None] = [None] * len(texts)
        with ThreadPoolExecutor(n_workers) as pool:
            for worker, found in enumerate(pool.map(share, range(n_workers))):
                verdicts[worker::n_workers] = found
        return [verdict for verdict in verdicts if verdict is not None]

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Verifier:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _counted(self, problem: Problem, text: str, worker: int) -> Verdict:
        cut = len(text) > LONGEST_TEXT
        read = text[-LONGEST_TEXT:] if cut else text
        failure: CallError | None = None
        try:
            if self._function is not None:
                verdict = _direct(self._function, problem, read)
            else:
                with self._locks[worker]:
                    verdict = self._workers[worker](problem, read)
        except CallError as error:
            failure = error
            verdict = Verdict(0.0, False, None, f"the verifier {error.kind}")
        with self._lock:
            kind = failure.kind if failure else ""
            now = self.counts
            self.counts = replace(
                now,
                n_answers=now.n_answers + 1,
                n_correct=now.n_correct + verdict.correct,
                n_raised=now.n_raised + (kind == "raised"),
                n_timed_out=now.n_timed_out + (kind == "timed out"),
                n_died=now.n_died + (kind == "died"),
                n_truncated=now.n_truncated + cut,
                first_error=now.first_error or (str(failure) if failure else None),
            )
        return verdict


def _direct(function: VerifierFunction, problem: Problem, text: str) -> Verdict:
    try:
        return verdict_of(function(problem, text))
    except Exception as error:
        raise CallError("raised", f"{type(error).__name__}: {error}"[:500]) from error
