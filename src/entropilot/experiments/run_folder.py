"""The folder of a run: an experiment is continued only by itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from entropilot.errors import ConfigurationError
from entropilot.experiments.config import ExperimentConfig

CONFIG_FILE: Final = "experiment.json"
LOCK_FILE: Final = ".lock"
FREE: Final = ("report", "run", "log")  # sections that may change when a run goes on


def snapshot(config: ExperimentConfig) -> str:
    """The experiment as it is kept in its folder."""
    return config.model_dump_json(indent=1)


def check_folder(config: ExperimentConfig, folder: Path) -> None:
    """Reject a folder that holds another experiment; report and trackers may change.

    Raises:
        ConfigurationError: names the sections that differ.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        return
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = {}
    now = json.loads(snapshot(config))
    differing = [name for name in now if name not in FREE and earlier.get(name) != now[name]]
    differing += [
        f"run.{key}"
        for key in ("seed", "n_seeds")
        if earlier.get("run", {}).get(key) != now["run"][key]
    ]
    if differing:
        raise ConfigurationError(
            f"the folder {folder} holds another experiment (it differs in "
            f"{', '.join(differing)}). Choose another run.name, or delete the folder."
        )


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the folder of a run alone; the system lets go of it however the process ends.

    Raises:
        ConfigurationError: another process is at it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / LOCK_FILE).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"the run in {folder} is under way in another process. Wait for it, stop it, or "
                "choose another run.name."
            ) from error
        except OSError:
            pass  # a file system without locks
        yield
