"""One thread for small networks: faster than several, and the same bits in every process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread in torch and in compiled kernels inside the block.

    Sums over several threads differ in the last bit with their number, and threads of two pools
    that wait for each other cost a small network several times its arithmetic.

    Examples:
        >>> import torch
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    import numba
    import torch

    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
