"""Measurements of studies on disk: one JSON file a study and scale, one entry a seed.

Measurements that came with the package (``recorded/``) are read when the reader has run nothing
himself; a file in the reader's own folder hides the recorded one of the same study and scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from entropilot import __version__
from entropilot.errors import FormatError
from entropilot.files import write_atomically
from entropilot.studies.study import Measurement, Scale

RECORDED: Final = Path(__file__).parent / "recorded"
DEFAULT_FOLDER: Final = Path("runs") / "studies"


class SeedRun(msgspec.Struct, frozen=True):
    """What one seed measured, and how long it took."""

    seed: int
    seconds: float
    measurement: Measurement


class StudyRun(msgspec.Struct, frozen=True):
    """All seeds of one study at one scale."""

    slug: str
    scale: Scale
    version: str
    seeds: tuple[SeedRun, ...] = ()

    @property
    def measurements(self) -> list[Measurement]:
        """What the seeds measured, in the order of the seeds."""
        return [run.measurement for run in sorted(self.seeds, key=lambda run: run.seed)]


@dataclass(frozen=True)
class Store:
    """Where measurements of this reader lie."""

    folder: Path = DEFAULT_FOLDER

    def path(self, slug: str, scale: Scale) -> Path:
        """File of one study and scale."""
        return self.folder / f"{slug}.{scale}.json"

    def own(self, slug: str, scale: Scale) -> StudyRun:
        """What this reader has measured; no seeds when nothing."""
        path = self.path(slug, scale)
        return _read(path) if path.exists() else StudyRun(slug, scale, __version__)

    def best(self, slug: str) -> StudyRun | None:
        """The measurements to report: the largest scale that has any, own before recorded."""
        scales: tuple[Scale, ...] = ("full", "quick", "smoke")
        for scale in scales:
            for folder in (self.folder, RECORDED):
                path = folder / f"{slug}.{scale}.json"
                if path.exists() and (run := _read(path)).seeds:
                    return run
        return None

    def add(self, slug: str, scale: Scale, run: SeedRun) -> StudyRun:
        """Store one more seed; the same seed again replaces what it measured before."""
        kept = [old for old in self.own(slug, scale).seeds if old.seed != run.seed]
        whole = StudyRun(slug, scale, __version__, (*kept, run))
        text = msgspec.json.encode(whole, order="deterministic")
        write_atomically(self.path(slug, scale), text)
        return whole


def _read(path: Path) -> StudyRun:
    try:
        return msgspec.json.decode(path.read_bytes(), type=StudyRun)
    except msgspec.DecodeError as error:
        raise FormatError(
            f"{path} does not hold the measurements of a study: {error}. "
            "Delete it and run the study again."
        ) from error
