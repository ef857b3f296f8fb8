"""A place for compiled code, where the usual two can't be written."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def make_room_for_kernels(package: Path) -> None:
    """Name a folder of this user's in NUMBA_CACHE_DIR when numba would find none.

    numba keeps compiled code beside the source, else in the user's cache folder, and refuses to
    import a module when it can write neither: a package that root installed, run by a user without
    a home. Compiled code is run when it is read, so the folder must be the user's own.

    Args:
        package: folder of the source.

    Examples:
        >>> make_room_for_kernels(Path(tempfile.gettempdir()))  # can be written: nothing to do
    """
    if "NUMBA_CACHE_DIR" in os.environ or os.name != "posix" or os.access(package, os.W_OK):
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")).absolute()
    nearest = next(folder for folder in (cache, *cache.parents) if os.path.exists(folder))
    if os.access(nearest, os.W_OK | os.X_OK):
        return
    own = Path(tempfile.gettempdir()) / f"entropilot-kernels-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    trusted = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not trusted or found.st_mode & 0o077:
        own = Path(tempfile.mkdtemp(prefix="entropilot-kernels-"))
    os.environ["NUMBA_CACHE_DIR"] = str(own)
