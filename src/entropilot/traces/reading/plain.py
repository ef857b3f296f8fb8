"""From SDK objects to plain dicts, lists, strings and numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from entropilot.errors import FormatError

MAX_DEPTH: Final = 100


def to_plain(value: Any, depth: int = 0) -> Any:
    """What ``json.loads`` would give for an object that an SDK returned.

    Takes anything with ``model_dump()`` (pydantic), ``to_dict()``, dataclass fields or attributes;
    numpy numbers and arrays become Python's.

    Examples:
        >>> import numpy as np
        >>> to_plain({"logprob": np.float32(-0.5), "ids": (1, 2)})
        {'logprob': -0.5, 'ids': [1, 2]}
    """
    if depth > MAX_DEPTH:
        raise FormatError(f"the object is nested more than {MAX_DEPTH} levels deep")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: to_plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, depth + 1) for item in value]
    if isinstance(value, type):
        raise FormatError(f"the class {value.__name__} is not a record; hand in an object of it")
    for name in ("model_dump", "to_dict", "tolist"):
        method = getattr(value, name, None)
        if callable(method):
            return to_plain(method(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return to_plain(fields, depth + 1)
    if hasattr(value, "__dict__"):
        return to_plain(vars(value), depth + 1)
    return str(value)
