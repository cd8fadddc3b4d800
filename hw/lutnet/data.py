"""Data sets for LUT networks: scikit-learn's digits, IDX folders such as MNIST's, NumPy archives.

A data set is a matrix of features and a vector of labels (or of real targets), in two parts. The
test part is only ever read to report; a trainer takes its validation set from the training part.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Dataset", "DataError", "load", "split"]


class DataError(ValueError):
    """A data file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """``x_*``: (samples, features), uint8 or float64; ``y_*``: (samples,), int64 or float64.

    ``image``: (height, width) when the features are the pixels of an image, row by row.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    image: tuple[int, int] | None = None

    def __post_init__(self):
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            if x.ndim != 2 or len(x) != len(y) or not len(x):
                raise DataError(f"{self.name}: the {part} part must be a matrix with one label "
                                f"for each row, not {x.shape} and {y.shape}")
            if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
                row, column = np.argwhere(~np.isfinite(x))[0]
                raise DataError(f"{self.name}: every feature must be a finite number, not "
                                f"{x[row, column]} ({part} row {row}, column {column})")
            if np.issubdtype(y.dtype, np.floating) and not np.isfinite(y).all():
                raise DataError(f"{self.name}: every target must be a finite number")
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise DataError(f"{self.name}: train has {self.x_train.shape[1]} columns, "
                            f"test has {self.x_test.shape[1]}")

    @property
    def features(self) -> int:
        return self.x_train.shape[1]

    @property
    def regression(self) -> bool:
        return bool(np.issubdtype(self.y_train.dtype, np.floating))

    @property
    def classes(self) -> int:
        return int(max(self.y_train.max(), self.y_test.max())) + 1


def split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sorted index vectors, the second with ``round(fraction * count)`` random members."""
    order = np.random.default_rng(seed).permutation(count)
    cut = round(fraction * count)
    return np.sort(order[cut:]), np.sort(order[:cut])


def _idx(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    rank = raw[3] if len(raw) > 3 else 0
    shape = tuple(int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(rank))
    if raw[:3] != b"\0\0\x08" or len(raw) != 4 + 4 * rank + int(np.prod(shape)):
        raise DataError(f"{path.name} must be an IDX file of unsigned bytes")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _folder(folder: Path) -> Dataset:
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        for kind, suffix in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte")):
            found = [p for p in (folder / f"{prefix}-{suffix}", folder / f"{prefix}-{suffix}.gz")
                     if p.exists()]
            if not found:
                raise DataError(f"{folder} must hold {prefix}-{suffix} or {prefix}-{suffix}.gz")
            parts[f"{kind}_{part}"] = _idx(found[0])
    image = parts["x_train"].shape[1:]
    for part in ("train", "test"):
        parts[f"x_{part}"] = parts[f"x_{part}"].reshape(len(parts[f"x_{part}"]), -1)
        parts[f"y_{part}"] = parts[f"y_{part}"].astype(np.int64)
    return Dataset(folder.name, image=tuple(int(n) for n in image), **parts)


def _labels(y: np.ndarray) -> np.ndarray:
    if np.issubdtype(y.dtype, np.floating):
        return y.astype(np.float64)
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise DataError("labels must be integers from 0 upward, or real targets")
    return y.astype(np.int64)


def _archive(path: Path) -> Dataset:
    with np.load(path, allow_pickle=False) as file:
        names = set(file.files)
        if {"x_train", "y_train", "x_test", "y_test"} <= names:
            return Dataset(path.stem, file["x_train"], _labels(file["y_train"]),
                           file["x_test"], _labels(file["y_test"]))
        if {"X", "y"} <= names:
            return _halves(path.stem, file["X"], _labels(file["y"]))
    raise DataError(f"{path.name} must hold the arrays X and y, or x_train, y_train, x_test and "
                    f"y_test, not {', '.join(sorted(names))}")


def _halves(name: str, x: np.ndarray, y: np.ndarray, image=None) -> Dataset:
    """A fifth of the rows, chosen by seed 0, is the test part."""
    if x.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise DataError(f"{name}: X must be a matrix with one label in y for each row, not "
                        f"{x.shape} and {y.shape}")
    train, test = split(len(x), 0.2, 0)
    return Dataset(name, x[train], y[train], x[test], y[test], image)


def _openml(name: str) -> Dataset:
    """OpenML's set ``name`` through scikit-learn; of MNIST, the last 10,000 are the test part."""
    import sklearn.datasets  # only who asks for its data needs it

    try:
        x, y = sklearn.datasets.fetch_openml(name, version=1, return_X_y=True, as_frame=False)
    except (OSError, ValueError) as error:
        raise DataError(f"openml:{name} could not be fetched: {error}") from None
    y = np.unique(y, return_inverse=True)[1].astype(np.int64)
    if name == "mnist_784":
        x = x.astype(np.uint8)
        return Dataset(name, x[:60_000], y[:60_000], x[60_000:], y[60_000:], (28, 28))
    return _halves(name, x, y)


def load(source: str) -> Dataset:
    """``digits``, ``diabetes`` (scikit-learn), ``openml:NAME``, a folder of IDX files, ``.npz``."""
    if source in ("digits", "diabetes"):
        import sklearn.datasets  # only who asks for its data needs it

        bunch = getattr(sklearn.datasets, f"load_{source}")()
        if source == "digits":
            return _halves(source, bunch.data.astype(np.uint8), bunch.target.astype(np.int64),
                           (8, 8))
        return _halves(source, bunch.data, bunch.target.astype(np.float64))
    if source.startswith("openml:"):
        return _openml(source.removeprefix("openml:"))
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.is_file() and path.suffix == ".npz":
        try:
            return _archive(path)
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path.name} cannot be read as a NumPy archive: {error}") from None
    raise DataError(f"data must be digits, diabetes, a folder with the four IDX files of MNIST, "
                    f"an .npz file, or openml:NAME, not {source!r}")
