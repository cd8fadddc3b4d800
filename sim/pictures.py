"""Labelled pictures as inputs of a model: IDX folders, folders or archives of JPEG and PNG."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from hw.compiler.types import TensorType
from hw.lutnet import data as sets
from hw.tools import require

__all__ = ["load", "as_input"]

_KINDS = (".jpg", ".jpeg", ".png")


def load(source: str | Path, part: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, height, width, channels) uint8, and labels; ``part`` is ``test`` or ``train``.

    ``source``: a folder of IDX files, as MNIST's; or a folder or tar archive of ``PART/CLASS/*``
    pictures, all of one size, the classes in alphabetic order. An ``.npz`` with ``x`` (already as
    the model takes it) and ``labels``, too. A source without pictures to train with has none.
    """
    path = Path(source)
    assert part in ("test", "train")
    if path.is_file() and path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            names = [n for n in ("x", "input_int8") if n in file.files]
            if not names or "labels" not in file.files:
                raise ValueError(f"{path.name} must hold the arrays x and labels, not "
                                 f"{', '.join(file.files)}")
            count = len(file[names[0]]) if part == "test" else 0
            return file[names[0]][:count], file["labels"].astype(np.int64)[:count]
    if path.is_dir() and any(path.glob("*-ubyte*")):
        found = sets.load(str(path))
        x, y = (found.x_test, found.y_test) if part == "test" else (found.x_train, found.y_train)
        return x.reshape(-1, *found.image, 1), y
    if path.is_dir():
        files = ((PurePosixPath(f.relative_to(path)), f.read_bytes())
                 for f in sorted(path.glob(f"{part}/*/*")))
    elif path.is_file() and tarfile.is_tarfile(path):
        files = _members(path)
    else:
        raise ValueError(f"data must be a folder of IDX files, a folder or tar archive of "
                         f"test/CLASS/PICTURE, or an .npz, not {str(source)!r}")
    require("PIL", "pillow", "compile")
    from PIL import Image

    pictures = sorted((name, content) for name, content in files
                      if name.suffix.lower() in _KINDS and name.parts[-3:-2] == (part,))
    if not pictures and part == "train":
        return np.empty((0, 1, 1, 3), np.uint8), np.empty(0, np.int64)
    if not pictures:
        raise ValueError(f"{path.name} must hold pictures as test/CLASS/NAME.jpg or .png")
    classes = sorted({name.parts[-2] for name, _ in pictures})
    images = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
              for _, content in pictures]
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"pictures of {path.name} must be of one size")
    return np.stack(images), np.array([classes.index(name.parts[-2]) for name, _ in pictures])


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                yield PurePosixPath(member.name), archive.extractfile(member).read()


def as_input(pictures: np.ndarray, kind: TensorType, factor: float = 1.0) -> np.ndarray:
    """``pictures`` as the model takes them, samples in front, channels where ``kind`` has them.

    int8 inputs get pixel - 128, uint8 ones the pixel, float ones ``pixel * factor``. What has the
    shape already stays as it is.
    """
    if pictures.shape[1:] in (kind.shape, kind.shape[1:]) and pictures.dtype == kind.element:
        return pictures.reshape(-1, *kind.shape)
    if pictures.shape[1:] == kind.shape[1:]:
        arranged = pictures
    elif pictures.ndim == 4 and pictures.transpose(0, 3, 1, 2).shape[1:] == kind.shape[1:]:
        arranged = pictures.transpose(0, 3, 1, 2)
    elif pictures[0].size == np.prod(kind.shape):
        arranged = pictures
    else:
        raise ValueError(f"pictures of shape {pictures.shape[1:]} must fit the input, {kind}")
    if kind.element == "int8":
        arranged = arranged.astype(np.int16) - 128
    elif kind.element.startswith("float"):
        arranged = arranged * np.float32(factor)
    return arranged.astype(kind.element).reshape(-1, *kind.shape)
