"""Folders and files that are there as a whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MARKS", "check_folder", "new_folder", "write_whole"]

MARKS = ("manifest.json", "report.json")  # a folder with one was written here: it may be replaced


def check_folder(path: str | Path) -> Path:
    """``path``, if :func:`new_folder` would take it; :exc:`ValueError` says why not."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"output must be a folder, not the file {str(path)!r}")
    if path.is_dir() and any(path.iterdir()) and not any((path / m).is_file() for m in MARKS):
        raise ValueError(f"output must be a new or an empty folder, or one with "
                         f"{' or '.join(MARKS)}, not {str(path)!r}")
    above = next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"output must be a folder that can be written, not {str(path)!r}")
    return path


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill; it becomes ``path`` when the block ends well, and is gone if it does not.

    A folder of that name that was written here before is replaced.
    """
    path = check_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        made.chmod(0o755)
        yield made
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            os.replace(path, old)
            os.replace(made, path)
            shutil.rmtree(old)
        else:
            os.replace(made, path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file under another name, then rename it."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
