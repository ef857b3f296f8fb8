"""Films: pictures in a row as one MP4 or GIF file, through ffmpeg.

The program is taken from the path, or from the package imageio-ffmpeg, which brings one.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import EntropilotError, InputError, MissingExtraError
from entropilot.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTALL: Final = (
    "films need ffmpeg, which is not on the path. Install it with the system's package manager "
    "(`apt-get install ffmpeg`, `brew install ffmpeg`), or run: pip install 'entropilot[physics]'"
)
#: By the ending of a film, what ffmpeg is told of its pictures.
ENCODING: Final = {
    ".mp4": (
        *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-pix_fmt", "yuv420p"),
        *("-crf", "20", "-movflags", "+faststart", "-f", "mp4"),
    ),
    ".gif": (
        "-vf",
        "scale='min(640,iw)':-1:flags=lanczos,split[a][b];[a]palettegen=stats_mode=diff[p];"
        "[b][p]paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle",
        *("-loop", "0", "-f", "gif"),
    ),
}


def find_ffmpeg() -> str:
    """The ffmpeg program.

    Raises:
        MissingExtraError: there is none; says how to get one.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(INSTALL) from error


def write_film(path: str | Path, frames: Iterable[NDArray[np.uint8]], *, fps: float = 25.0) -> Path:
    """Write a film that browsers and players show; whole or not at all.

    Args:
        path: ``.mp4`` (H.264), or ``.gif`` for pages that show no video: at most 640 pixels wide,
            with colours of its own.
        frames: pictures [height, width, 3], all of one size.
        fps: pictures a second.

    Raises:
        MissingExtraError: no ffmpeg.
        InputError: another ending, no frame, or frames of several shapes.
        EntropilotError: ffmpeg failed, for example because the disk is full; its words are quoted.
    """
    path, program = Path(path), find_ffmpeg()
    if path.suffix not in ENCODING:
        raise InputError(f"{path.name} ends in {path.suffix!r}, expected .mp4 or .gif")
    if not 0 < fps <= 240:
        raise InputError(f"fps = {fps}, expected a number in (0, 240]")
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise InputError("a film needs at least one frame")
    shape = _shape(first, None)
    command = [program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{shape[1]}x{shape[0]}", "-r", f"{fps:g}", "-i", "-", "-an"]
    command += ENCODING[path.suffix]
    with replacing(path) as temporary, tempfile.TemporaryFile() as said:
        running = subprocess.Popen(
            [*command, str(temporary)], stdin=subprocess.PIPE, stdout=said, stderr=said
        )
        assert running.stdin is not None
        try:
            for picture in chain([first], pictures):
                _shape(picture, shape)
                running.stdin.write(np.ascontiguousarray(picture, dtype=np.uint8).tobytes())
            running.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg has ended; what it said is read below
        except BaseException:
            running.kill()
            raise
        finally:
            code = running.wait()
        if code:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise EntropilotError(
                f"ffmpeg could not write {path}: {words[-1] if words else f'exit code {code}'}"
            )
    return path


def figure_frames(
    figure: Figure, update: Callable[[int], None], n_frames: int
) -> Iterator[NDArray[np.uint8]]:
    """Pictures of a matplotlib figure: ``update(i)`` changes it, then it is drawn.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> pictures = list(figure_frames(Figure(figsize=(1, 1), dpi=50), lambda i: None, 2))
        >>> pictures[0].shape
        (50, 50, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    for number in range(n_frames):
        update(number)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _shape(picture: NDArray[np.uint8], expected: tuple[int, int] | None) -> tuple[int, int]:
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"a frame has shape {picture.shape}, expected [height, width, 3]")
    shape = (int(picture.shape[0]), int(picture.shape[1]))
    if expected is not None and shape != expected:
        raise InputError(f"a frame has shape {shape}, expected {expected} like the first")
    return shape
