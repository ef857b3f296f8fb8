"""What a simulation is: a state of plain arrays, a step to the next frame, and what is recorded.

A state holds everything that the future depends on, the random generator's included, so that a run
that was cut off goes on to the same result, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError

State = dict[str, NDArray[Any]]
Frame = dict[str, NDArray[Any]]
Attributes = Mapping[str, str | int | float]

_WORD: Final = 1 << 64


@dataclass(frozen=True)
class Variable:
    """One quantity that every frame carries.

    ``dims`` are its dimensions without time; an empty tuple is a number a frame. Units are written
    as UDUNITS reads them, ``"1"`` for what has none.

    Examples:
        >>> Variable("polarization", (), "1", "length of the mean heading").dtype
        'f8'
    """

    name: str
    dims: tuple[str, ...]
    units: str
    long_name: str
    dtype: str = "f8"
    valid_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Process:
    """A simulation that can be recorded.

    Attributes:
        title: what it is, for the file and the page.
        n_frames: frames, the start included.
        sizes: length of every dimension that a variable names.
        variables: what ``observe`` returns, ``time`` apart, which is always there.
        start: the state at frame 0.
        advance: from the state of one frame to that of the next.
        observe: what is recorded of a state; ``time`` and one entry a variable.
        parameters: everything that makes the run what it is; written into the file, and compared
            before a run is continued.
        work: how much a frame is, for the rate: a number and its unit.
        time_units: units of ``time``.
        coordinates: values along a dimension, where they mean something.
        summarise: from the series of every variable without dimensions, and of the time, to further
            attributes of the file: means, last values.

    Examples:
        >>> walk = Process("walk", 3, {}, (Variable("x", (), "1", "place"),),
        ...     start=lambda: {"x": np.zeros(())}, advance=lambda s: {"x": s["x"] + 1},
        ...     observe=lambda s: {"time": s["x"], "x": s["x"]})
        >>> walk.n_frames
        3
    """

    title: str
    n_frames: int
    sizes: Mapping[str, int]
    variables: tuple[Variable, ...]
    start: Callable[[], State]
    advance: Callable[[State], State]
    observe: Callable[[State], Frame]
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    work: tuple[float, str] = (1.0, "frames")
    time_units: str = "1"
    coordinates: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    summarise: Callable[[Mapping[str, NDArray[Any]]], Attributes] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked before anything runs."""
        if self.n_frames < 1:
            raise InputError(f"n_frames = {self.n_frames}, expected at least 1")
        for variable in self.variables:
            missing = [name for name in variable.dims if name not in self.sizes]
            if missing:
                raise InputError(f"variable {variable.name!r} has no size for {missing}")


def generator_state(generator: np.random.Generator) -> NDArray[np.uint64]:
    """State of a PCG64 generator as six words.

    Raises:
        InputError: another kind of generator.

    Examples:
        >>> a = np.random.default_rng(3)
        >>> b = restored_generator(generator_state(a))
        >>> bool(a.random() == b.random())
        True
    """
    state = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise InputError(
            f"a {state['bit_generator']} generator, expected PCG64: use numpy.random.default_rng"
        )
    numbers = state["state"]
    words = [numbers[key] >> shift & (_WORD - 1) for key in ("state", "inc") for shift in (0, 64)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def restored_generator(words: NDArray[np.uint64]) -> np.random.Generator:
    """The generator that ``generator_state`` described.

    Examples:
        >>> int(restored_generator(generator_state(np.random.default_rng(0))).integers(10))
        8
    """
    low, high, inc_low, inc_high, has, half = (int(word) for word in words)
    generator = np.random.default_rng(0)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": low | high << 64, "inc": inc_low | inc_high << 64},
        "has_uint32": has,
        "uinteger": half,
    }
    return generator
