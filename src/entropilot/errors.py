"""The errors that entropilot raises, all below one root.

EntropilotError
├── InputError            something a user handed in is wrong: a file, an array, a label
│   ├── BrokenNumbersError  numbers are nan or infinite where they must not be
│   ├── FormatError       the file is not in a shape that any reader knows
│   └── LimitError        the input is larger than a stated limit (line, file, decompressed size)
├── ConfigurationError    an option or an experiment file is wrong
├── MissingExtraError     a feature needs a package that is not installed
└── ModelError            a model can't be found, loaded or run

A message has three parts: what was found, what was expected, what to do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class EntropilotError(Exception):
    """Root of every error that entropilot raises on purpose."""


class InputError(EntropilotError, ValueError):
    """A value, array or file that was handed in is wrong."""


class BrokenNumbersError(InputError):
    """Numbers are nan or infinite where they must not be; what made them is broken."""


class FormatError(InputError):
    """A file is not in a shape that any reader knows."""


class LimitError(InputError):
    """The input is larger than a stated limit."""


class ConfigurationError(EntropilotError, ValueError):
    """An option or an experiment file is wrong."""


class MissingExtraError(EntropilotError, ImportError):
    """A feature needs a package that is not installed."""


class ModelError(EntropilotError, RuntimeError):
    """A model can't be found, loaded or run."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        module: dotted name, for example ``"torch"``.
        extra: the extra of this package that installs it.
        purpose: what needs it, as the start of the sentence ("loading a model").

    Raises:
        MissingExtraError: with the exact install line.

    Examples:
        >>> require("math", extra="torch", purpose="an example").sqrt(4.0)
        2.0
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {module.partition('.')[0]!r}, which is not installed. "
            f"Run: pip install 'entropilot[{extra}]'"
        ) from error


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Sentence for a name that isn't in a list, with the nearest ones.

    Examples:
        >>> unknown_name("rule", "sentense", ["line", "sentence"])
        "unknown rule 'sentense'; did you mean 'sentence'? Known: line, sentence."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(names)}."
