"""The memory of an objective beside a host's checkpoint: one JSON file, whole or not at all."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Final

from entropilot.errors import InputError
from entropilot.files import write_atomically
from entropilot.policy.objective import Objective, ObjectiveState

STATE_FILE: Final = "entropilot_objective.json"


def save_state(folder: Path, objective: Objective, state: ObjectiveState) -> Path:
    """Write the state of an objective's terms into the folder of a checkpoint.

    Args:
        folder: made where it is missing.
        objective: whose state it is.
        state: plain JSON values.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = save_state(folder, Objective(), {"siren": {"anchor": 1.25}})
        >>> load_state(folder, Objective())
        {'siren': {'anchor': 1.25}}
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"objective": objective.describe(), "state": state}
    file = folder / STATE_FILE
    write_atomically(file, json.dumps(kept))
    return file


def load_state(folder: Path, objective: Objective) -> ObjectiveState:
    """The state that was saved with a checkpoint; empty, with a warning, where there is none.

    Args:
        folder: of the checkpoint.
        objective: that goes on; where another one was saved, a warning names both.

    Raises:
        InputError: the file can't be read.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        warnings.warn(
            f"the checkpoint {folder} holds no {STATE_FILE}: it was saved by another trainer, so "
            "the terms of the objective begin anew",
            stacklevel=2,
        )
        return {}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        state, said = dict(kept["state"]), str(kept["objective"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file} can't be read: {error!r}. Resume from the checkpoint before, or delete the "
            "file to let the terms begin anew"
        ) from error
    if said != objective.describe():
        warnings.warn(
            f"the checkpoint {folder} was trained with the objective {said}; it goes on with "
            f"{objective.describe()}. Terms of one name keep their state",
            stacklevel=2,
        )
    return state
