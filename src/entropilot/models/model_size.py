"""How large a language model is, from its files' headers: nothing is loaded."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

LONGEST_HEADER: Final = 100_000_000  # bytes; safetensors' own limit


class ModelSize(NamedTuple):
    """Parameters, and the width of the hidden states."""

    n_parameters: int
    width: int


SIZES: Final = {
    "tiny": ModelSize(8_800, 16),
    "smollm2": ModelSize(134_515_008, 576),
}


def model_size(name: str | Path) -> ModelSize | None:
    """Size of a model as ``load_model`` names it; None where nothing tells before it is loaded.

    Args:
        name: "smollm2", "tiny", a folder with safetensors, a GGUF file, or a Hugging Face id, whose
            name may hold the size ("Qwen/Qwen2.5-0.5B") where its files are not in the cache.

    Examples:
        >>> model_size("tiny")
        ModelSize(n_parameters=8800, width=16)
        >>> model_size("owner/some-0.5B").n_parameters
        500000000
    """
    label, path = str(name), Path(name)
    if label in SIZES:
        return SIZES[label]
    try:
        if path.is_dir() and list(path.glob("*.safetensors")):
            return _of_folder(path)
        if path.is_file() and path.suffix == ".gguf":
            return _with_width(_of_gguf(path))
    except (OSError, ValueError, KeyError, struct.error):
        return None  # it can't be read, which loading it says better
    found = re.search(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)\s*([bBmM])(?![A-Za-z0-9])", path.name)
    if found is None:
        return None
    return _with_width(round(float(found[1]) * (1e9 if found[2] in "bB" else 1e6)))


def _of_folder(folder: Path) -> ModelSize:
    n = sum(_parameters(file) for file in folder.glob("*.safetensors"))
    config: dict[str, Any] = {}
    if (folder / "config.json").is_file():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = config.get("hidden_size")
    return ModelSize(n, width) if isinstance(width, int) and width > 0 else _with_width(n)


def _parameters(file: Path) -> int:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > LONGEST_HEADER:
            raise ValueError("no safetensors header")
        header: dict[str, Any] = json.loads(stream.read(length))
    return sum(math.prod(x["shape"]) for name, x in header.items() if name != "__metadata__")


def _of_gguf(file: Path) -> int:
    try:
        from gguf import GGUFReader
    except ImportError:
        return file.stat().st_size  # eight bits a weight
    return sum(int(tensor.n_elements) for tensor in GGUFReader(str(file)).tensors)


def _with_width(n: int) -> ModelSize:
    """Models of this size are about this wide: 100 parameters a layer and unit, 12 D^2 a layer."""
    return ModelSize(n, max(16, 64 * round((n / 12 / 24) ** 0.5 / 64)))
