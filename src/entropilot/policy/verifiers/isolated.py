"""A verifier in a process of its own: a hard time limit, and no crash of it is a crash of ours.

The process lives on between answers. Where an answer takes longer than the limit the process is
killed, its children with it, and the next answer gets a new one. Messages are lines of JSON; no
object is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from typing import Any, Final, Literal

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.task import Problem, Verdict

START_LIMIT: Final = 180.0  # seconds to import a verifier; it may bring a whole framework

FailureKind = Literal["raised", "timed out", "died"]


class CallError(Exception):
    """One answer got no verdict; ``kind`` says why, the message is the verifier's own."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind


class IsolatedVerifier:
    """One verifier in one process; use from one thread at a time.

    Args:
        entry: "module:function".
        time_limit: seconds an answer may take, > 0.
        memory: bytes the process may use; 0 = no limit.

    Raises:
        ConfigurationError: the function can't be imported.

    Examples:
        >>> verifier = IsolatedVerifier("entropilot.policy.verifiers.matching:verify_number")
        >>> verifier(Problem("q", "1+1", "2"), "#### 2").correct
        True
        >>> verifier.close()
    """

    def __init__(self, entry: str, *, time_limit: float = 5.0, memory: int = 0) -> None:
        self.entry, self.time_limit, self.memory = entry, time_limit, memory
        self._rest = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one response.

        Raises:
            CallError: the verifier raised, took too long, or its process died.
        """
        process = self._start()
        asked = json.dumps({"problem": _as_json(problem), "text": text}) + "\n"
        try:
            assert process.stdin is not None
            process.stdin.write(asked.encode("ascii"))
            process.stdin.flush()
            line = self._line(process, self.time_limit)
        except (BrokenPipeError, EOFError) as error:
            self.close()
            code = process.returncode
            raise CallError("died", f"the process of {self.entry} ended with {code}") from error
        except TimeoutError as error:
            self.close()
            raise CallError(
                "timed out", f"{self.entry} took more than {self.time_limit:g} s"
            ) from error
        except BaseException:  # an interrupt: an answer that comes late must not meet the next one
            self.close()
            raise
        answer: dict[str, Any] = json.loads(line)
        if "raised" in answer:
            raise CallError("raised", answer["raised"])
        return Verdict(**answer)

    def close(self) -> None:
        """End the process; a later call starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            self._finalizer()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        path = os.pathsep.join(part or os.getcwd() for part in sys.path)
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "entropilot.policy.verifiers.worker"),
                *(self.entry, str(self.time_limit), str(self.memory)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # an interrupt is ours to handle, and its children die with it
        )
        self._process, self._rest = process, b""
        self._finalizer = weakref.finalize(self, _kill, process)
        try:
            said = json.loads(self._line(process, START_LIMIT))
        except (EOFError, TimeoutError) as error:
            self.close()
            raise ConfigurationError(
                f"the verifier {self.entry!r} can't be started: its process "
                + ("did not answer" if isinstance(error, TimeoutError) else "ended at once")
            ) from error
        if "failed" in said:
            self.close()
            message = said["failed"].removeprefix("ConfigurationError: ")
            raise ConfigurationError(f"the verifier {self.entry!r} can't be used: {message}")
        return process

    def _line(self, process: subprocess.Popen[bytes], limit: float) -> bytes:
        """The next line the process writes within ``limit`` seconds."""
        assert process.stdout is not None
        handle, until = process.stdout.fileno(), time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                read = os.read(handle, 65536)
                if not read:
                    raise EOFError
                self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "id": problem.id,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "tokens": problem.tokens,
        "meta": dict(problem.meta),
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, and take its pipes away."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()
