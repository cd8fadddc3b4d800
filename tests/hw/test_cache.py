import os
import threading

import pytest

from hw.cache import cache_root, cached_dir, digest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NPUGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_root(monkeypatch, cache):
    assert cache_root() == cache
    monkeypatch.delenv("NPUGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_root()) == "/somewhere/npugen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/x")
    assert str(cache_root()) == "/home/x/.cache/npugen"


def test_digest_depends_on_every_part_and_on_where_it_ends():
    digests = [digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("ab", b"d"),
               digest("ab", 3), digest("ab", ["c"])]
    assert len(set(digests)) == len(digests)
    assert digest("ab", "c") == digests[0]
    assert digest("ab", b"c") == digests[0]


def test_made_once():
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "result").write_text("42")

    first = cached_dir("kind", "x", make=make)
    assert cached_dir("kind", "x", make=make) == first
    assert (first / "result").read_text() == "42"
    assert len(calls) == 1
    assert cached_dir("kind", "y", make=make) != first
    assert cached_dir("other", "x", make=make) != first
    assert len(calls) == 3


def test_failure_leaves_its_log_and_no_result():
    def fail(folder):
        assert not list(folder.iterdir())  # nothing of the attempt before
        (folder / "log").write_text("why")
        raise RuntimeError("failed")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="^failed$"):
            cached_dir("kind", "x", make=fail)
    [part] = cache_root().glob("kind/*.part")
    assert (part / "log").read_text() == "why"
    assert cached_dir("kind", "x", make=lambda folder: None).is_dir()
    assert not part.exists()


def test_others_wait_for_the_first():
    """Two threads lock as two processes do: each opens the lock for itself."""
    inside, calls = threading.Barrier(2, timeout=10), []

    def make(folder):
        calls.append(folder)
        inside.wait()  # released when the other thread is on its way to the lock

    def other():
        inside.wait()
        cached_dir("kind", "x", make=make)

    threads = [threading.Thread(target=cached_dir, args=("kind", "x"), kwargs={"make": make}),
               threading.Thread(target=other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NPUGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=f"^cannot write the cache '{tmp_path}/file/kind' "
                                      r"\(Not a directory\); set NPUGEN_CACHE to a folder that can "
                                      r"be written$"):
        cached_dir("kind", "x", make=os.mkdir)
