"""Loads and stores at raw addresses, for the compiled kernels of this package.

numba counts references of every array that a function touches; in a scanner of single bytes this
took two thirds of the time. So the kernels get addresses, as C would, and the Python classes that
call them own the arrays. Nothing is checked here: each kernel says how far it may reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

_LLVM = {
    types.uint8: ir.IntType(8),
    types.int16: ir.IntType(16),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.uint64: ir.IntType(64),
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
}


def _loader(stored: Any, given: Any) -> Callable[[int], Any]:
    """A load of ``stored`` at an address, as a value of type ``given``."""

    @intrinsic
    def load(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            pointer = builder.inttoptr(arguments[0], _LLVM[stored].as_pointer())
            value = builder.load(pointer)
            value.align = 1
            return context.cast(builder, value, stored, given)

        return given(types.int64), codegen

    return load  # type: ignore[no-any-return]


def _storer(stored: Any, taken: Any) -> Callable[[int, Any], None]:
    """A store of ``stored`` at an address from a value of type ``taken``."""

    @intrinsic
    def store(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            pointer = builder.inttoptr(arguments[0], _LLVM[stored].as_pointer())
            value = context.cast(builder, arguments[1], taken, stored)
            builder.store(value, pointer).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, taken), codegen

    return store  # type: ignore[no-any-return]


byte_at = _loader(types.uint8, types.int64)
word_at = _loader(types.uint64, types.uint64)
int16_at = _loader(types.int16, types.int64)
int32_at = _loader(types.int32, types.int64)
int64_at = _loader(types.int64, types.int64)
float32_at = _loader(types.float32, types.float64)
float64_at = _loader(types.float64, types.float64)
put_byte = _storer(types.uint8, types.int64)
put_int16 = _storer(types.int16, types.int64)
put_int32 = _storer(types.int32, types.int64)
put_int64 = _storer(types.int64, types.int64)
put_word = _storer(types.uint64, types.uint64)
put_float32 = _storer(types.float32, types.float64)
put_float64 = _storer(types.float64, types.float64)


def as_word(text: bytes) -> np.uint64:
    """Up to eight bytes as the little-endian integer that a load of them gives."""
    return np.uint64(int.from_bytes(text.ljust(8, b"\0"), "little"))


@njit(cache=True, nogil=True, inline="always")
def first_bytes(word: np.uint64, n: int) -> np.uint64:
    """The word with all but its first n bytes cleared; 1 <= n <= 8."""
    return word & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * n))


@njit(cache=True, nogil=True)
def copy_bytes(source: int, target: int, n: int) -> None:
    """Copy n bytes."""
    i = 0
    while i + 8 <= n:
        put_word(target + i, word_at(source + i))
        i += 8
    while i < n:
        put_byte(target + i, byte_at(source + i))
        i += 1
