"""Results of slow tools, kept in folders that are named by the hash of what went in.

A folder is either complete or not there: it is filled under the name ``*.part`` and renamed when it
is done. A lock lets several processes that want the same result wait for the first one instead of
repeating its work.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_root", "digest", "cached_dir"]


def cache_root() -> Path:
    """``$NPUGEN_CACHE``, or ``~/.cache/npugen`` (under ``$XDG_CACHE_HOME`` where that is set)."""
    if root := os.environ.get("NPUGEN_CACHE"):
        return Path(root).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npugen"


def digest(*parts: object) -> str:
    """24 hexadecimal digits of SHA-256 over ``parts``.

    Text and bytes count as they are, anything else by its ``repr``. Each part is preceded by its
    length, so that ``("ab", "c")`` and ``("a", "bc")`` differ.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        elif not isinstance(part, bytes):
            part = repr(part).encode()
        total.update(b"%d:" % len(part) + part)
    return total.hexdigest()[:24]


def cached_dir(kind: str, *parts: object, make: Callable[[Path], object]) -> Path:
    """Folder of the result of ``make``, which is called only when it is not there yet.

    Parameters
    ----------
    kind : :class:`str`
        First level of the cache: what the result is, and a name as a folder may have.
    parts
        Everything that the result depends on; see :func:`digest`.
    make : ``make(folder)``
        Fills the empty folder it is given. What it leaves may not contain the folder's own path,
        because it is renamed afterwards. When it raises, the folder stays as it is, under the name
        ``*.part``, so that logs can be read; the next attempt begins with an empty one.
    """
    final = cache_root() / kind / digest(*parts)
    if final.is_dir():
        return final
    part = final.with_suffix(".part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = open(final.with_suffix(".lock"), "w")
    except OSError as error:
        raise OSError(f"cannot write the cache {str(final.parent)!r} ({error.strerror}); "
                      f"set NPUGEN_CACHE to a folder that can be written") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.is_dir():  # another process may have made it while this one waited
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(final)
    return final
