"""The processor's own arithmetic, as a second opinion on the golden models.

The code is in ``sim/native/processor.cpp``, compiled once and kept in the cache.
"""

import ctypes
import functools

import numpy as np

from hw.cache import cached_dir
from hw.tools import run
from sim.tools import NATIVE, require_native, versions

__all__ = ["INSTRUCTIONS", "instructions", "multiply", "fma"]

#: x86 instructions that are a bfloat16 multiply-add with one rounding. The second adds a pair of
#: products, of which one is zero here.
INSTRUCTIONS = ("FMA3", "VDPBF16PS")

_FLAGS = ("-std=gnu++17", "-O3", "-w", "-shared", "-fPIC")


@functools.cache
def _library() -> ctypes.CDLL:
    require_native("g++")
    source = (NATIVE / "processor.cpp").read_text()

    def make(folder):
        (folder / "processor.cpp").write_text(source)
        run("g++", ["g++", *_FLAGS, "processor.cpp", "-o", "processor.so"],
            folder=folder, log="processor.log")

    folder = cached_dir("processor", versions(), _FLAGS, source, make=make)
    lib = ctypes.CDLL(str(folder / "processor.so"))
    integer, wide, pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    lib.npu_multiply.argtypes = [wide, pointer, pointer, pointer]
    lib.npu_fma.argtypes = [integer, wide, pointer, pointer, pointer, pointer]
    return lib


def instructions() -> tuple[str, ...]:
    """Those of `INSTRUCTIONS` that this processor has."""
    return tuple(name for number, name in enumerate(INSTRUCTIONS) if _library().npu_has(number))


def _words(*arrays) -> list[np.ndarray]:
    """``arrays`` of one length as the library reads them: bfloat16, bfloat16, float32."""
    if len({array.size for array in arrays}) != 1:
        raise ValueError(f"operands must have one length, not {[a.size for a in arrays]!r}")
    return [np.ascontiguousarray(array, kind).ravel()
            for array, kind in zip(arrays, (np.uint16, np.uint16, np.uint32))]


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 words of the products of bfloat16 words, by the processor's multiplication.

    Subnormal operands and results are zero, every NaN is the one NaN.
    """
    a, b = _words(a, b)
    y = np.empty(a.size, np.uint32)
    _library().npu_multiply(a.size, *(x.ctypes.data for x in (a, b, y)))
    return y


def fma(instruction: str, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """float32 words of ``c + a * b``, by one of the `instructions` of this processor.

    ``a``, ``b``: bfloat16 words, ``c``: float32 words; otherwise as :func:`multiply`.
    """
    if instruction not in instructions():
        raise ValueError(f"instruction must be one of this processor "
                         f"({', '.join(instructions()) or 'it has none'}), not {instruction!r}")
    a, b, c = _words(a, b, c)
    y = np.empty(a.size, np.uint32)
    _library().npu_fma(INSTRUCTIONS.index(instruction), a.size,
                       *(x.ctypes.data for x in (a, b, c, y)))
    return y
