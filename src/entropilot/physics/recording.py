"""Record a simulation into a folder: in blocks, so that a run that was cut off goes on.

A block of frames and the state after it are on disk before the next block begins. When all frames
are there they become one trajectory file, and the blocks go.
"""

from __future__ import annotations

import errno
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, EntropilotError, InputError
from entropilot.files import replacing, write_atomically
from entropilot.physics.process import Frame, Process, State
from entropilot.physics.trajectory_file import FORMATS, write_trajectory

BLOCKS: Final = ".frames"
STATE: Final = "state.npz"
PARAMETERS: Final = "simulation.json"
BLOCK_BYTES: Final = 32_000_000
BLOCK_SECONDS: Final = 10.0

Progress = Callable[[float, str], None]


def record(
    process: Process,
    folder: str | Path,
    *,
    form: str = ".nc",
    progress: Progress = lambda _share, _doing: None,
    clock: Callable[[], float] = time.monotonic,
    block_bytes: int = BLOCK_BYTES,
    block_seconds: float = BLOCK_SECONDS,
) -> Path:
    """Run a process to its end and return the trajectory file ``folder/trajectory<form>``.

    A folder that holds a part of the same process is continued, to the same result; one that holds
    the whole of it is left as it is.

    Args:
        process: what to run.
        folder: where the trajectory goes; made when it is not there.
        form: ``.nc`` or ``.zarr``.
        progress: called with the share done and a rate.
        clock: seconds.
        block_bytes: a block ends when its frames take this much memory,
        block_seconds: or after this time; what a kill can cost.

    Raises:
        ConfigurationError: the folder holds another process.
        InputError: a frame has a value that is missing, of a wrong shape, or not finite in time.
        EntropilotError: the disk is full; what is recorded stays and is continued.

    Examples:
        >>> import tempfile
        >>> from entropilot.physics.process import Variable
        >>> walk = Process("walk", 3, {}, (Variable("x", (), "1", "place"),),
        ...     start=lambda: {"x": np.zeros(())}, advance=lambda s: {"x": s["x"] + 1},
        ...     observe=lambda s: {"time": s["x"], "x": s["x"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record(walk, folder).name
        'trajectory.nc'
    """
    folder = Path(folder)
    if form not in FORMATS:
        raise ConfigurationError(f"form = {form!r}, expected one of {', '.join(FORMATS)}")
    _check_folder(process, folder)
    result = folder / f"trajectory{form}"
    blocks = folder / BLOCKS
    if result.exists() and not blocks.exists():
        return result
    try:
        blocks.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PARAMETERS, _written(process))
        for done, doing in _fill(process, blocks, clock, block_bytes, block_seconds):
            progress(0.98 * done, doing)
        write_trajectory(result, process, _read_blocks(blocks, process.n_frames))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EntropilotError(
                f"the disk of {folder} is full. What is recorded so far is safe: free some space "
                "and run the same command again; it goes on from there."
            ) from error
        raise
    shutil.rmtree(blocks)
    progress(1.0, "recorded")
    return result


def _check_folder(process: Process, folder: Path) -> None:
    """Reject a folder that another process was recorded in."""
    file = folder / PARAMETERS
    if not file.is_file():
        return
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = {}
    now = json.loads(_written(process))
    if earlier == now:
        return
    old = earlier.get("parameters", {}) if isinstance(earlier, dict) else {}
    names = [
        k
        for k in now["parameters"]
        if not isinstance(old, dict) or old.get(k) != now["parameters"][k]
    ]
    raise ConfigurationError(
        f"the folder {folder} holds another simulation (it differs in "
        f"{', '.join(names) or 'title, frames or variables'}). Choose another folder, or delete "
        "this one."
    )


def _written(process: Process) -> str:
    return json.dumps(
        {
            "title": process.title,
            "n_frames": process.n_frames,
            "variables": [variable.name for variable in process.variables],
            "parameters": dict(process.parameters),
        },
        indent=1,
    )


def _fill(
    process: Process,
    blocks: Path,
    clock: Callable[[], float],
    block_bytes: int,
    block_seconds: float,
) -> Iterator[tuple[float, str]]:
    """Make the blocks that are missing; yields the share done and a rate."""
    found, done = _resume(blocks)
    if done >= process.n_frames:
        return
    state = found if done else process.start()
    began, at_start = clock(), done
    frames: list[Frame] = []
    block_began = began
    while done < process.n_frames:
        if done:
            state = process.advance(state)
        frames.append(_checked(process, process.observe(state), done))
        done += 1
        size = len(frames) * sum(value.nbytes for value in frames[-1].values())
        now = clock()
        full = size >= block_bytes or now - block_began >= block_seconds
        if full or done == process.n_frames:
            _save_block(blocks, done, frames, state)
            frames, block_began = [], now
        rate = (done - at_start) * process.work[0] / max(now - began, 1e-9)
        yield (
            done / process.n_frames,
            f"frame {done}/{process.n_frames}, {_short(rate)} {process.work[1]}/s",
        )


def _checked(process: Process, frame: Frame, number: int) -> Frame:
    """The frame as arrays of the stated kind, or an error that names the variable."""
    made: Frame = {"time": np.asarray(frame["time"], dtype=np.float64)}
    if not np.isfinite(made["time"]):
        raise InputError(f"time of frame {number} is {frame['time']}, expected a finite number")
    for variable in process.variables:
        value = np.asarray(frame[variable.name], dtype=variable.dtype)
        shape = tuple(process.sizes[name] for name in variable.dims)
        if value.shape != shape:
            raise InputError(
                f"{variable.name} of frame {number} has shape {value.shape}, expected {shape}"
            )
        made[variable.name] = value
    return made


def _save_block(blocks: Path, done: int, frames: list[Frame], state: State) -> None:
    """Frames first, the state after them last: a block counts when the state names it."""
    stacked = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    _save(blocks / f"{done:09d}.npz", stacked)
    _save(blocks / STATE, {**{f"s_{k}": v for k, v in state.items()}, "done": np.array(done)})


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} can't be read ({error}). Delete the folder {path.parent} to start again."
        ) from error


def _resume(blocks: Path) -> tuple[State, int]:
    """The state that the recorded part ended with, and its number of frames."""
    if not (blocks / STATE).is_file():
        for left in blocks.glob("*.npz"):
            left.unlink()
        return {}, 0
    held = _load(blocks / STATE)
    done = int(held.pop("done"))
    for block in blocks.glob("*.npz"):
        if block.name != STATE and int(block.stem) > done:
            block.unlink()  # its state was not written any more
    return {name.removeprefix("s_"): value for name, value in held.items()}, done


def _read_blocks(blocks: Path, n_frames: int) -> Iterator[dict[str, NDArray[Any]]]:
    done = 0
    for path in sorted(p for p in blocks.glob("*.npz") if p.name != STATE):
        block = _load(path)
        done += len(block["time"])
        yield block
    if done != n_frames:
        raise InputError(f"{blocks} holds {done} of {n_frames} frames. Delete it and run again.")


def _short(rate: float) -> str:
    """A rate with three digits.

    Examples:
        >>> _short(1234567.0), _short(12.345)
        ('1.23M', '12.3')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.3g}{letter}"
    return f"{rate:.3g}"
