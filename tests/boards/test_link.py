# amaranth: UnusedElaboratable=no
"""The host's end of the link: over bad lines, dead lines, and real ports."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from boards.link import Link, LinkError, Request
from boards.stress import main, stress
from hw.bus.protocol import MAX_WORDS, Command, Frame, encode
from sim.link import Damage, ModelPort


@pytest.mark.parametrize("level, frames, damaged", [
    ("model", 8_000, 0.01),
    ("model", 2_000, 0.3),
    ("rtl",   1_500, 0.05),
    ("rtl",     400, 0.3),
])
def test_bad_lines(level, frames, damaged):
    result = stress(level, frames, damaged, seed=1)
    assert result["frames"] >= frames
    assert all(result["ways"].values())
    assert result["sent_again"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("level", ["model", "rtl"])
def test_a_million_frames(level):
    assert stress(level, 1_000_000, 0.01, seed=0)["damaged"] > 9_000


def test_memory_and_registers():
    port = ModelPort()
    link = Link(port)
    words = np.arange(300, dtype=np.uint32) * 0x1234567
    link.write(64, words)
    np.testing.assert_array_equal(link.read(64, 300), words)
    np.testing.assert_array_equal(port.memory()[16:316], words)
    link.write_register(0, 7)
    assert link.read_registers(0, 3) == [7, 1, 300]
    assert link.read(0, 0).size == 0
    assert link.tally.sent == link.tally.answers == 1 + 3 + 3 + 1 + 1


class Port(ModelPort):
    """A port that dies, or whose board is reset, after ``left`` writes."""

    left = 3

    def write(self, data):
        self.left -= 1
        return super().write(data) if self.left >= 0 else len(data)


def test_a_dead_link_is_an_error():
    port = Port()
    link = Link(port, attempts=4)
    assert link.patience == pytest.approx(2 * 4 * (0.25 + 4 * 529 * 10e-6), rel=0.02)
    link.write(0, [1])
    with pytest.raises(LinkError, match="^no answer after 4 attempts$"):
        for _ in range(9):
            link.read(0, 1)
    assert port.left == 3 - 1 - 1 - 1 - 4  # session, write, read, and the attempts


@pytest.mark.parametrize("noise", [b"", b"noise\0", b"\xff"])
def test_the_stated_time(noise):
    """In real time: a board that says nothing, and ones that say nothing of use, with no end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        over = threading.Event()

        def babble():
            while noise and not over.is_set():
                with contextlib.suppress(OSError):
                    theirs.send(noise)
                over.wait(0.002)

        thread = threading.Thread(target=babble)
        thread.start()
        port = SocketPort(ours)
        start = time.monotonic()
        try:
            with pytest.raises(LinkError, match="^no answer after 3 attempts"):
                Link(port, timeout=0.05, attempts=3)
            assert time.monotonic() - start < 2 * 3 * (0.05 + 4 * 529 * 10e-6) + 0.5
        finally:
            over.set()
            thread.join()


class SocketPort:
    """A port in real time."""

    timeout: float | None = None

    def __init__(self, peer):
        self.peer = peer

    def write(self, data):
        return self.peer.send(data)

    def read(self, size):
        self.peer.settimeout(self.timeout)
        try:
            return self.peer.recv(size)
        except (TimeoutError, BlockingIOError):
            return b""


def test_nobody_there():
    port = Port()
    port.left = 0
    with pytest.raises(LinkError, match=r"^no answer after 3 attempts \(is the board connected"):
        Link(port, attempts=3)


def test_a_board_that_was_reset_is_an_error():
    port = ModelPort()
    link = Link(port)
    port.model._session = None
    with pytest.raises(LinkError, match="^the board was reset: its session is over$"):
        link.write(0, [1])


def test_two_hosts_one_after_the_other():
    port = ModelPort(damage=Damage(0.1, 5))
    for _ in range(20):
        link = Link(port)
        link.write_register(0, 1)
    assert link.read_register(4) == 20


@pytest.mark.parametrize("action, said", [
    (lambda link: link.read(2, 1), "address must be a multiple of 4 with 1 words below 2**32, "
                                   "not 0x2"),
    (lambda link: link.write(2**32 - 4, [1, 2]), "address must be a multiple of 4 with 2 words "
                                                 "below 2**32, not 0xfffffffc"),
    (lambda link: link.write(0, [-1]), "words must be a list of integers from 0 to 2**32 - 1"),
    (lambda link: link.write(0, np.zeros(3)), "words must be a list of integers from 0 to "
                                              "2**32 - 1"),
    (lambda link: link.run([Request(Command.READ, 0, 1), Request(Command.WRITE, 0, 1, (1,))]),
     "requests must be of one kind"),
])
def test_wrong(action, said):
    with pytest.raises(ValueError) as caught:
        action(Link(ModelPort()))
    assert str(caught.value) == said


def test_errors_of_the_bus():
    link = Link(ModelPort())
    with pytest.raises(LinkError, match="^READ of 2 words at 0xffc ended with bus error$"):
        link.read(4092, 2)
    link.write(0, [3])  # the link goes on
    assert link.read(0, 1).tolist() == [3]


@pytest.mark.parametrize("argv, said", [
    (["--frames", "0"], "frames must be at least 1, not 0"),
    (["--damaged", "0.7"], "damaged must be 0 to 0.5, not 0.7"),
    (["--level", "board"], "level must be model or rtl, not 'board'"),
])
def test_wrong_options(argv, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        main(argv)


def test_over_a_socket():
    """The same link through pyserial, in real time."""
    import serial

    server = socket.create_server(("127.0.0.1", 0))
    model = ModelPort()

    def serve():
        peer, _ = server.accept()
        with peer:
            while data := peer.recv(4096):
                model.write(data)
                peer.sendall(model.read(1 << 16))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = serial.serial_for_url(f"socket://127.0.0.1:{server.getsockname()[1]}")
    try:
        link = Link(port)
        words = np.arange(4 * MAX_WORDS + 1, dtype=np.uint32)[:1000]
        link.write(0, words)
        np.testing.assert_array_equal(link.read(0, len(words)), words)
        port.write(encode(Frame(Command.READ, 0, 1))[:-3])  # cut; the next frame is found
        assert link.read(4, 1).tolist() == [1]
    finally:
        port.close()
        thread.join(5)
        server.close()
