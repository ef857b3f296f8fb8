"""An inspector by its name: a local model, or a server by its address."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from entropilot.errors import ConfigurationError, ModelError, unknown_name
from entropilot.traces.inspectors import Inspector, ListingInspector

Device = Literal["auto", "cpu", "cuda"]


class OpenInspector(NamedTuple):
    """An inspector ready to read."""

    inspector: Inspector | ListingInspector
    name: str  # for people
    identity: str  # what its results depend on
    listed: int  # alternatives that it shows; 0: it shows all


def open_inspector(
    name: str,
    *,
    dtype: str = "float32",
    device: Device = "auto",
    server_model: str | None = None,
    listed: int = 20,
    vocab_size: int = 0,
    timeout: float = 120.0,
    progress: Callable[[str], None] = lambda _: None,
) -> OpenInspector:
    """Load a model, or connect to a server.

    Args:
        name: as for ``load_model``, or an address that begins with http:// or https://.
        dtype: of a local model's weights.
        device: of a local model; "auto" takes a GPU where there is one.
        server_model: name of the model at the server, where it has several.
        listed: alternatives to ask a server for.
        vocab_size: of the server's model; gives upper bounds.
        timeout: seconds for one reply of a server. $ENTROPILOT_API_KEY is its key.
        progress: called with a sentence before each long step.

    Raises:
        ModelError, ConfigurationError, MissingExtraError: as ``load_model`` and ``connect``.

    Examples:
        >>> open_inspector("tiny", device="cpu").name
        'tiny'
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(unknown_name("device", device, ["auto", "cpu", "cuda"]))
    if name.startswith(("http://", "https://")):
        from entropilot.models.http_inspector import connect

        progress(f"asking {name}")
        found = connect(
            name,
            model=server_model,
            listed=listed,
            vocab_size=vocab_size,
            api_key=os.environ.get("ENTROPILOT_API_KEY"),
            timeout=timeout,
        )
        label = f"{found.model} at {found.server.url}"
        identity = f"{label} {found.dialect} {listed} {vocab_size}"
        return OpenInspector(found, label, identity, listed)
    from entropilot.models.inspector import TreeInspector
    from entropilot.models.loaders import load_model

    progress(f"loading {name}")
    model = load_model(name, dtype=dtype, progress=progress)
    place = _place(device)
    if place != "cpu":
        model.model.to(place)
    identity = f"{name} {_file_state(name)} {dtype} {place}"
    return OpenInspector(TreeInspector(model), model.name, identity, 0)


def _place(device: Device) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "the device is 'cuda', and torch sees no GPU; install a build of torch with CUDA, or "
            "take the device 'cpu'"
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _file_state(name: str) -> str:
    """Size and time of a model's files, so that results of a replaced model are not used again."""
    path = Path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    return " ".join(
        f"{file.resolve()}:{file.stat().st_size}:{file.stat().st_mtime_ns}"
        for file in files
        if file.suffix in (".safetensors", ".gguf", ".json")
    )
