"""A two-layer perceptron: its weights, its file, its golden model."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw.formats import BFLOAT16, FLOAT32
from sim.golden.formats import convert, encode
from sim.golden.systolic import gemm

__all__ = ["Perceptron", "load", "save"]

_NAMES = ("w1", "b1", "w2", "b2")


@dataclass(frozen=True)
class Perceptron:
    """``logits = relu(x @ w1 + b1) @ w2 + b2``, float32.

    Shapes: w1 (inputs, hidden), b1 (hidden,), w2 (hidden, classes), b2 (classes,). A wrong shape,
    NaN or infinity raises :exc:`ValueError`.
    """

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    def __post_init__(self):
        for name, rank in zip(_NAMES, (2, 1, 2, 1)):
            array = getattr(self, name)
            if array.ndim != rank or 0 in array.shape or array.dtype.kind != "f":
                raise ValueError(f"{name} must be a {'matrix' if rank == 2 else 'vector'} of "
                                 f"floats, not {array.dtype} of shape {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} must have finite numbers only, "
                                 f"not {array[~np.isfinite(array)].flat[0]}")
            object.__setattr__(self, name, array.astype(np.float32))
        hidden, classes = self.w2.shape
        for name, shape in (("w1", (self.w1.shape[0], hidden)), ("b1", (hidden,)),
                            ("b2", (classes,))):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape} to fit w2 of shape "
                                 f"{self.w2.shape}, not {getattr(self, name).shape}")

    @property
    def inputs(self) -> int:
        return self.w1.shape[0]

    def check(self, x: np.ndarray) -> None:
        """The features must be as many as ``w1`` has rows."""
        if x.shape[1] != self.inputs:
            raise ValueError(f"w1 must have {x.shape[1]} rows, one for each feature of the data, "
                             f"not {self.inputs}")

    def logits(self, x: np.ndarray) -> np.ndarray:
        """float32 all the way: what the rounded network is compared with."""
        return np.maximum(x.astype(np.float32) @ self.w1 + self.b1, 0) @ self.w2 + self.b2

    def words(self) -> tuple[np.ndarray, ...]:
        """``w1, b1, w2, b2`` as the array takes them: weights bfloat16, biases float32."""
        return (encode(self.w1, BFLOAT16), encode(self.b1, FLOAT32),
                encode(self.w2, BFLOAT16), encode(self.b2, FLOAT32))

    def golden(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hidden values (bfloat16 words) and logits (float32 words), contract ``fma``.

        ``x``: bfloat16 words, (images, inputs). Hidden values are rounded to bfloat16.
        """
        w1, b1, w2, b2 = self.words()
        how = {"contract": "fma", "operand": BFLOAT16, "result": FLOAT32}
        hidden = convert(gemm(x, w1, bias=b1, relu=True, **how), FLOAT32, BFLOAT16)
        return hidden, gemm(hidden, w2, bias=b2, **how)


def save(path: Path, model: Perceptron) -> None:
    """Write ``model`` as an ``.npz`` of its four arrays; complete, or not at all."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        np.savez(file, **{name: getattr(model, name) for name in _NAMES})
    part.replace(path)


def load(path: str | Path) -> Perceptron:
    """Read an ``.npz`` with w1, b1, w2 and b2; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _NAMES if name not in file]
            if missing:
                raise ValueError(f"{path} must hold the arrays {', '.join(_NAMES)}, "
                                 f"but has no {', '.join(missing)}")
            arrays = {name: file[name] for name in _NAMES}
    except (zipfile.BadZipFile, EOFError):
        raise ValueError(f"{path} must be an .npz archive") from None
    except ValueError as error:
        if "pickle" in str(error):
            raise ValueError(f"{path} must hold plain arrays, not pickled objects") from None
        raise
    return Perceptron(**arrays)
