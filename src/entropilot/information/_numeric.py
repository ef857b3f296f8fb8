"""Exponentials that LLVM can vectorise, for the compiled kernels of this package.

A call of the C library's ``exp`` inside a loop stops the vectoriser. The polynomials here do not:
with AVX-512 they take sixteen float32 or eight float64 at a time. Arguments are <= about 1, because
every caller subtracts the maximum or holds log-probabilities.

numba's cache of a kernel does not see a change in this file: after one, remove
``__pycache__/*.nb?``.

Relative error: ``exp32`` 1.2e-7, ``exp64`` 3e-16, ``log1p32`` 1e-7 of the value at 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

LN2: Final = math.log(2.0)
TILE: Final = 1024  # elements a kernel works on at a time: 4 kB of float32

F32 = np.float32
LOG2E_32 = F32(1.4426950408889634)
LN2_32 = F32(LN2)
_LN2_HIGH_32 = F32(0.693359375)  # few bits, so that n * high is exact
_LN2_LOW_32 = F32(-2.12194440e-4)
_ONE_32 = F32(1.0)
FLOOR_32 = F32(-87.0)  # exp(-87) = 1.6e-38 is the last normal float32
# Minimax coefficients of (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, highest power first (Cephes).
_E0 = F32(1.9875691500e-4)
_E1 = F32(1.3981999507e-3)
_E2 = F32(8.3334519073e-3)
_E3 = F32(4.1665795894e-2)
_E4 = F32(1.6666665459e-1)
_E5 = F32(5.0000001201e-1)

_LOG2E_64 = 1.4426950408889634
_LN2_HIGH_64 = 6.93147180369123816490e-01
_LN2_LOW_64 = 1.90821492927058770002e-10
FLOOR_64: Final = -700.0


def _chebyshev_log1p(degree: int) -> tuple[np.float32, ...]:
    """Coefficients of log(1 + e) / e on [0, 1], lowest power first."""
    nodes = 0.5 + 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    fit = np.polynomial.Chebyshev.fit(nodes, np.log1p(nodes) / nodes, degree, domain=[0, 1])
    return tuple(F32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


def _chebyshev_exp2(degree: int) -> tuple[np.float32, ...]:
    """Coefficients of (2^f - 1) / f on [-1/2, 1/2], lowest power first."""
    nodes = 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    values = np.expm1(nodes * LN2) / nodes
    fit = np.polynomial.Chebyshev.fit(nodes, values, degree, domain=[-0.5, 0.5])
    return tuple(F32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


_P1, _P2, _P3, _P4, _P5 = _chebyshev_exp2(4)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8, _L9 = _chebyshev_log1p(9)


def _cast(result: Any, argument: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """A numba function of one scalar whose body is the LLVM instructions that ``emit`` writes."""

    @intrinsic
    def cast(_typing: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return emit(builder, context.cast(builder, arguments[0], value, argument))

        return result(value), codegen

    return cast


_I32, _I64, _HALF = ir.IntType(32), ir.IntType(64), ir.HalfType()
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()

# numba widens int32 arithmetic to int64, which halves the vector width; so integers stay in here.
trunc64 = _cast(types.int32, types.float64, lambda b, x: b.fptosi(x, _I32))
pow2_64 = _cast(
    types.float64,
    types.int32,
    lambda b, n: b.bitcast(b.shl(b.add(b.sext(n, _I64), _I64(1023)), _I64(52)), _DOUBLE),
)
bfloat16_bits = _cast(
    types.float32,
    types.uint16,
    lambda b, x: b.bitcast(b.shl(b.zext(x, _I32), _I32(16)), _FLOAT),
)


def _rounded(b: Any, x: Any) -> Any:
    """Bits of the nearest bfloat16, ties to even; nan stays nan."""
    bits = b.bitcast(x, _I32)
    odd = b.and_(b.lshr(bits, _I32(16)), _I32(1))
    near = b.lshr(b.add(b.add(bits, _I32(0x7FFF)), odd), _I32(16))
    return b.trunc(b.select(b.fcmp_unordered("uno", x, x), _I32(0x7FC0), near), ir.IntType(16))


bits_of_bfloat16 = _cast(types.uint16, types.float32, _rounded)
float16_bits = _cast(types.float32, types.uint16, lambda b, x: b.fpext(b.bitcast(x, _HALF), _FLOAT))


@intrinsic
def nearest32(_typing: Any, _x: Any) -> Any:
    """The nearest whole number of a float32, ties to even, as a float32."""

    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, [_FLOAT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.rint.f32")
        return builder.call(function, arguments)

    return types.float32(types.float32), codegen


@intrinsic
def times_pow2_32(_typing: Any, _x: Any, _n: Any) -> Any:
    """The product x 2^n, n a whole number as a float32, where the result is a normal number."""

    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, power = arguments
        steps = builder.shl(builder.fptosi(power, _I32), _I32(23))
        return builder.bitcast(builder.add(builder.bitcast(value, _I32), steps), _FLOAT)

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def prefetch(_typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of array[index], a 1-D array; nothing happens if it lies outside."""

    def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        view = context.make_array(array)(context, builder, arguments[0])
        address = builder.gep(view.data, [context.cast(builder, arguments[1], index, types.intp)])
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = _I32(0), _I32(3), _I32(1)
        builder.call(function, [builder.bitcast(address, pointer), read, keep, data])
        return context.get_dummy_value()

    return types.none(array, index), codegen


@intrinsic
def tile_maximum(_typing: Any, tile: Any) -> Any:
    """Maximum of the first TILE elements of a 1-D array; nan is passed over.

    Written in vector instructions, because the compiler does not vectorise a maximum that must
    pass over nan: this takes a quarter of the time of a loop over independent lanes.
    """

    def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        element = _FLOAT if tile.dtype == types.float32 else _DOUBLE
        width = 16 if tile.dtype == types.float32 else 8
        vector = ir.VectorType(element, width)
        view = context.make_array(tile)(context, builder, arguments[0])
        first = builder.bitcast(view.data, vector.as_pointer())
        lowest = ir.Constant(vector, [ir.Constant(element, float("-inf"))] * width)
        best = [lowest] * 4  # four chains hide the latency of the comparison
        for block in range(TILE // width):
            x = builder.load(builder.gep(first, [_I64(block)]), align=element_bytes(element))
            is_larger = builder.fcmp_ordered(">", x, best[block % 4])
            best[block % 4] = builder.select(is_larger, x, best[block % 4])
        while len(best) > 1:
            a, b = best.pop(), best.pop()
            best.insert(0, builder.select(builder.fcmp_ordered(">", a, b), a, b))
        top = builder.extract_element(best[0], _I32(0))
        for lane in range(1, width):
            x = builder.extract_element(best[0], _I32(lane))
            top = builder.select(builder.fcmp_ordered(">", x, top), x, top)
        return top

    return tile.dtype(tile), codegen


def element_bytes(element: Any) -> int:
    """Size of a float or double of LLVM."""
    return 4 if element == _FLOAT else 8


@njit(cache=True, nogil=True, fastmath={"contract"})
def exp32(x: Any) -> Any:
    """exp(x) of a float32 in [-87, 88]; not checked."""
    n = nearest32(x * LOG2E_32)
    r = x - n * _LN2_HIGH_32
    r = r - n * _LN2_LOW_32
    p = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r + _E5
    return times_pow2_32(p * r * r + r + _ONE_32, n)


@njit(cache=True, nogil=True, fastmath={"contract"})
def exp2_32(y: Any) -> Any:
    """2^y of a float32 in [-125.6, 127], relative error 2.5e-7, exact at whole numbers; unchecked.

    Fewer instructions than ``exp32``: no reduction in two parts, two powers less. The rounding of
    y itself counts too: where y stands for x log2(e), 6e-8 |x|.
    """
    n = nearest32(y)
    f = y - n
    return times_pow2_32(((((_P5 * f + _P4) * f + _P3) * f + _P2) * f + _P1) * f + _ONE_32, n)


@njit(cache=True, nogil=True, fastmath={"contract"})
def exp64(x: Any) -> Any:
    """exp(x) of a float64 in [-700, 700]; not checked. Taylor to r^13, |r| <= ln(2) / 2."""
    n = trunc64(x * _LOG2E_64 + (0.5 if x > 0.0 else -0.5))
    k = float(n)
    r = x - k * _LN2_HIGH_64
    r = r - k * _LN2_LOW_64
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    return (p * r * r + r + 1.0) * pow2_64(n)


@njit(cache=True, nogil=True, fastmath={"contract"})
def log1p32(e: Any) -> Any:
    """log(1 + e) of a float32 in [0, 1]; not checked."""
    p = ((((_L9 * e + _L8) * e + _L7) * e + _L6) * e + _L5) * e + _L4
    p = (((p * e + _L3) * e + _L2) * e + _L1) * e + _L0
    return p * e


# The check for division by zero of the default error model would stop the vectoriser.
@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def log1p64(e: Any) -> Any:
    """log(1 + e) of a float64 in [0, 1], as 2 atanh(w) with w = e / (2 + e) <= 1/3; not checked."""
    w = e / (2.0 + e)
    square = w * w
    p = 1.0 / 35.0
    p = p * square + 1.0 / 33.0
    p = p * square + 1.0 / 31.0
    p = p * square + 1.0 / 29.0
    p = p * square + 1.0 / 27.0
    p = p * square + 1.0 / 25.0
    p = p * square + 1.0 / 23.0
    p = p * square + 1.0 / 21.0
    p = p * square + 1.0 / 19.0
    p = p * square + 1.0 / 17.0
    p = p * square + 1.0 / 15.0
    p = p * square + 1.0 / 13.0
    p = p * square + 1.0 / 11.0
    p = p * square + 1.0 / 9.0
    p = p * square + 1.0 / 7.0
    p = p * square + 1.0 / 5.0
    p = p * square + 1.0 / 3.0
    return 2.0 * w * (p * square + 1.0)


def exponential(x: Any) -> Any:
    """Exponential of the argument in its own precision.

    A name for the compiler alone: inside kernels the overload below stands in its place.
    """
    raise NotImplementedError


def log_one_plus(x: Any) -> Any:
    """Logarithm of 1 + x, x in [0, 1], in the argument's own precision.

    A name for the compiler alone: inside kernels the overload below stands in its place.
    """
    raise NotImplementedError


@overload(exponential, strict=False)
def _exponential(x: Any) -> Any:
    return (lambda x: exp32(x)) if x == types.float32 else (lambda x: exp64(x))  # noqa: PLW0108


@overload(log_one_plus, strict=False)
def _log_one_plus(x: Any) -> Any:
    return (lambda x: log1p32(x)) if x == types.float32 else (lambda x: log1p64(x))  # noqa: PLW0108
