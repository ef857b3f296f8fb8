"""Measuring many chains, one after another, so that a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from entropilot.errors import FormatError, InputError, LimitError
from entropilot.files import write_atomically
from entropilot.traces.chains import ReasoningChain
from entropilot.traces.inspection import CONNECTOR, entropy_trajectory
from entropilot.traces.inspectors import Inspector, ListingInspector
from entropilot.traces.utility import SpanMode, Trajectory

FORMAT: Final = 1  # of the kept results; older ones are not used again
_ARRAYS: Final = ("h", "nll", "per_token", "lower", "upper")


class UtilityProgress(NamedTuple):
    """How far a run is; handed to the progress function after each chain."""

    done: int  # chains, skipped ones too
    total: int
    reused: int  # of the done ones, kept from an earlier run
    tokens: int  # of steps that were read in this run
    seconds: float  # since the start of this run


@dataclass(frozen=True)
class MeasuredChains:
    """Chains with their trajectories, and those that were left out."""

    chains: tuple[ReasoningChain, ...]
    trajectories: tuple[Trajectory, ...]
    skipped: tuple[tuple[str, str], ...] = ()  # id and reason


def measure_chains(
    chains: Sequence[ReasoningChain],
    inspector: Inspector | ListingInspector,
    *,
    identity: str = "",
    connector: str = CONNECTOR,
    estimate: SpanMode = "lump",
    skip_long: bool = False,
    resume: Path | None = None,
    progress: Callable[[UtilityProgress], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> MeasuredChains:
    """The trajectory of every chain.

    Args:
        chains: what to read.
        inspector: the model that reads.
        identity: what tells this inspector from others: name, file, precision. A kept result is
            used again only for the same one.
        connector: text between chain and answer.
        estimate: of truncated lists, see ``answer_entropy_of_span``.
        skip_long: leave out chains that do not fit the inspector's context instead of ending.
        resume: folder for the result of each chain, written as soon as it is there. A run that
            goes on from it gives the result of one that was never stopped, bit for bit.
        progress: called after each chain.
        clock: seconds.

    Returns:
        Trajectories in the order of the chains.

    Raises:
        LimitError: a chain does not fit the context; the message names chain and tokens.
        InputError: what ``entropy_trajectory`` rejects, with the chain's name.
        FormatError: a kept result is damaged.
        ModelError: a server fails.

    Examples:
        >>> from entropilot.traces.chains import chain_of_row
        >>> class Uniform:
        ...     def tokenize(self, text): return list(text.encode())
        ...     def logits(self, ids, last): return np.zeros((last, 256))
        >>> chain = chain_of_row({"question": "?", "steps": ["So 1."], "answer": "1"})
        >>> measure_chains([chain], Uniform()).trajectories[0].h.round(3).tolist()
        [5.545, 5.545]
    """
    began, tokens, reused = clock(), 0, 0
    kept: list[tuple[ReasoningChain, Trajectory]] = []
    skipped: list[tuple[str, str]] = []
    for done, chain in enumerate(chains, 1):
        path = None
        if resume is not None:
            path = resume / f"{_digest(chain, identity, connector, estimate)}.json"
        try:
            if path is not None and path.is_file():
                trajectory = trajectory_from_json(path.read_bytes(), str(path))
                reused += 1
            else:
                trajectory = _measure(chain, inspector, connector, estimate)
                tokens += sum(trajectory.step_tokens)
                if path is not None:
                    write_atomically(path, trajectory_to_json(trajectory))
            kept.append((chain, trajectory))
        except LimitError as error:
            if not skip_long:
                raise
            skipped.append((chain.id, str(error)))
        progress(UtilityProgress(done, len(chains), reused, tokens, clock() - began))
    return MeasuredChains(
        tuple(chain for chain, _ in kept),
        tuple(trajectory for _, trajectory in kept),
        tuple(skipped),
    )


def trajectory_to_json(trajectory: Trajectory) -> str:
    """A trajectory as text, from which it comes back bit for bit.

    Examples:
        >>> from entropilot.traces.utility import answer_entropy_of_span, trajectory_of_spans
        >>> span = answer_entropy_of_span(np.zeros((1, 4)), [0])
        >>> one = trajectory_of_spans([span], connector=" is ", answer="7")
        >>> trajectory_from_json(trajectory_to_json(one)).answer
        '7'
    """
    values: dict[str, Any] = {"format": FORMAT}
    values |= {name: getattr(trajectory, name).tolist() for name in _ARRAYS}
    values |= {
        "step_tokens": list(trajectory.step_tokens),
        "leak_step": trajectory.leak_step,
        "which": trajectory.which,
        "connector": trajectory.connector,
        "answer": trajectory.answer,
    }
    return json.dumps(values)


def trajectory_from_json(text: str | bytes, name: str = "the text") -> Trajectory:
    """The trajectory that ``trajectory_to_json`` wrote.

    Raises:
        FormatError: it is something else.

    Examples:
        >>> trajectory_from_json("{}")
        Traceback (most recent call last):
        entropilot.errors.FormatError: the text is no kept trajectory; delete it and run again
    """
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError("another format")
        arrays = [np.array(values[name], dtype=np.float64) for name in _ARRAYS]
        h, nll, per_token, lower, upper = arrays
        if per_token.ndim != 2 or any(len(array) != len(h) for array in arrays):
            raise ValueError("lengths that do not fit")
        return Trajectory(
            h,
            nll,
            per_token,
            lower,
            upper,
            tuple(map(int, values["step_tokens"])),
            values["leak_step"],
            values["which"],
            values["connector"],
            values["answer"],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{name} is no kept trajectory; delete it and run again") from error


def _measure(
    chain: ReasoningChain,
    inspector: Inspector | ListingInspector,
    connector: str,
    estimate: SpanMode,
) -> Trajectory:
    try:
        with warnings.catch_warnings():
            # answers that are too long are counted by the report, not told one by one
            warnings.filterwarnings("ignore", message=".*tokens; the mean entropy over so long")
            return entropy_trajectory(
                inspector,
                chain.question,
                chain.steps,
                chain.answer,
                connector=connector,
                which=chain.which,
                chain=chain.text,
                estimate=estimate,
            )
    except InputError as error:
        raise type(error)(f"chain {chain.id!r}: {error}") from error


def _digest(chain: ReasoningChain, identity: str, connector: str, estimate: str) -> str:
    """Name of a chain's result: of all that it depends on, and of nothing else."""
    parts = [FORMAT, identity, connector, estimate, chain.which, chain.question, chain.answer]
    content = json.dumps([*parts, list(chain.steps)])
    return hashlib.sha256(content.encode()).hexdigest()[:32]
