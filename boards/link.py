"""The host's end of the link: words of memory and registers, read and written over a port.

A port has pyserial's ``read``, ``write`` and ``timeout``, so whatever ``serial_for_url`` opens is
one. The frames are those of :mod:`hw.bus.protocol`.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hw.bus.protocol import (
    ANSWER,
    MAX_WORDS,
    VERSION,
    WINDOW,
    Command,
    Frame,
    FrameError,
    Status,
    decode,
    encode,
    line_bytes,
)

__all__ = ["Link", "LinkError", "Request", "Tally"]

_CHUNK = 4096  # bytes taken from the port at once


class LinkError(ConnectionError):
    """The other end does not answer, or refuses; the message is one sentence."""


@dataclass
class Tally:
    """What happened on a link: frames sent and sent again, answers, and what was no answer."""

    sent: int = 0
    again: int = 0
    answers: int = 0
    refusals: int = 0
    damaged: int = 0
    timeouts: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


@dataclass
class Request:
    """A frame to be sent; the link gives it its number, and its answer."""

    command: Command
    address: int
    words: int
    payload: tuple[int, ...] = ()
    sequence: int = 0
    answer: Frame | None = field(default=None)


class Link:
    """A session with one bridge.

    Parameters
    ----------
    port
        An open port; its ``timeout`` is set here.
    timeout : :class:`float`
        Seconds without a byte after which what is unanswered is sent again. The line's own time
        for the frames under way comes on top.
    attempts : :class:`int`
        How often in a row the same frame is sent without an answer.
    baud : :class:`int`
        Bits per second of the line, for the line's own time.

    A link that has died raises :class:`LinkError` within :attr:`patience` seconds.
    """

    def __init__(self, port: Any, *, timeout: float = 0.25, attempts: int = 12,
                 baud: int = 1_000_000):
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 s, not {timeout!r}")
        self.port = port
        self.attempts = attempts
        self.tally = Tally()
        self._silence = timeout + WINDOW * line_bytes(MAX_WORDS) * 10 / baud
        self._bytes = bytearray()
        self._sequence = 0
        self._begin()

    @property
    def patience(self) -> float:
        """Seconds within which a dead link is noticed.

        Each attempt waits for a byte, and then for a frame among what else may come.
        """
        return 2 * self.attempts * self._silence

    # Memory and registers -----------------------------------------------------------------------

    def write(self, address: int, words: np.ndarray) -> None:
        """Write uint32 ``words`` to memory from byte ``address`` on, which is a multiple of 4."""
        self.run(_split(Command.WRITE, address, _words(words)))

    def read(self, address: int, count: int) -> np.ndarray:
        """``count`` uint32 words of memory."""
        answers = self.run(_split_read(Command.READ, address, count))
        return np.array([word for answer in answers for word in answer.payload], np.uint32)

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Write registers from ``address`` on."""
        self.run(_split(Command.WRITE_REGISTERS, address, _words(values)))

    def write_register(self, address: int, value: int) -> None:
        """Write a register."""
        self.write_registers(address, [value])

    def read_registers(self, address: int, count: int = 1) -> list[int]:
        """``count`` registers from ``address`` on."""
        answers = self.run(_split_read(Command.READ_REGISTERS, address, count))
        return [word for answer in answers for word in answer.payload]

    def read_register(self, address: int) -> int:
        """A register."""
        return self.read_registers(address)[0]

    # Session ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        request = Request(Command.SYNC, secrets.randbits(32), 0)
        self._sequence = request.sequence = secrets.randbits(8)
        self._exchange([request])
        if request.answer.note != Status.DONE:
            raise LinkError(f"the bridge does not speak version {VERSION} of the protocol")

    def run(self, requests: list[Request]) -> list[Frame]:
        """Have all done, in order, and return the answers.

        Either all read or all write: a read may be done again, and would then see a later write.
        """
        if len({request.command for request in requests}) > 1:
            raise ValueError("requests must be of one kind")
        for request in requests:
            self._sequence = request.sequence = (self._sequence + 1) % 256
        self._exchange(requests)
        for request in requests:
            if request.answer.note != Status.DONE:
                what = Status(request.answer.note).name.lower().replace("_", " ")
                raise LinkError(f"{request.command.name} of {request.words} words at "
                                f"{request.address:#x} ended with {what}")
        return [request.answer for request in requests]

    def _exchange(self, requests: list[Request]) -> None:
        """Send all, at most a window ahead of the answers, until all are answered.

        The bridge answers in order. So when an answer comes, or a refusal, every answer that should
        have come before it is lost, and its request is sent again at once.
        """
        first, ahead, failures = 0, 0, 0  # unanswered; never sent; times without progress
        repeated = -1  # the request that was last sent again for want of its answer
        while first < len(requests):
            while ahead < len(requests) and ahead - first < WINDOW:
                self._send(requests[ahead])
                ahead += 1
            frame = self._receive()
            again = range(0)
            if frame is None or frame.command == Command.REFUSED | ANSWER:
                failures += 1
                self.tally.refusals += frame is not None
                if frame is not None and frame.note == Status.NO_SESSION \
                        and requests[first].command != Command.SYNC:
                    raise LinkError("the board was reset: its session is over")
                if failures >= self.attempts:
                    raise LinkError(f"no answer after {failures} attempts"
                                    + (" (is the board connected and configured?)"
                                       if not self.tally.answers else ""))
                again = range(first, ahead)
            else:
                found = next((n for n in range(first, ahead) if _answers(frame, requests[n])), None)
                if found is None:
                    continue  # it was answered before
                self.tally.answers += 1
                failures = 0
                requests[found].answer = frame
                if found > first and repeated < first:
                    again, repeated = range(first, found), first
                while first < ahead and requests[first].answer is not None:
                    first += 1
            for n in again:
                if requests[n].answer is None:
                    self.tally.again += 1
                    self._send(requests[n])

    def _send(self, request: Request) -> None:
        text = encode(Frame(request.command, request.sequence, request.words,
                            address=request.address, payload=request.payload))
        self.tally.sent += 1
        self.tally.bytes_out += len(text)
        self.port.write(text)

    def _receive(self) -> Frame | None:
        """The next frame that is whole; none when nothing comes, or nothing but noise."""
        began = None  # of what is no frame
        while True:
            end = self._bytes.find(0)
            if end >= 0:
                text = bytes(self._bytes[:end])
                del self._bytes[:end + 1]
                if text:
                    try:
                        return decode(text)
                    except FrameError:
                        self.tally.damaged += 1
                continue
            if began is not None and time.monotonic() - began > self._silence:
                return None
            self.port.timeout = self._silence
            data = self.port.read(1)
            if not data:
                self.tally.timeouts += 1
                return None
            began = began or time.monotonic()
            self.port.timeout = 0
            data += self.port.read(_CHUNK)
            self.tally.bytes_in += len(data)
            self._bytes += data


def _answers(frame: Frame, request: Request) -> bool:
    return (request.answer is None and frame.sequence == request.sequence
            and frame.command == request.command | ANSWER and frame.address == request.address
            and len(frame.payload) == frame.words
            and frame.words == (request.words if request.command.reads
                                and frame.note == Status.DONE else 0))


def _words(values: Sequence[int] | np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (
            array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**32):
        raise ValueError("words must be a list of integers from 0 to 2**32 - 1")
    return array.astype(np.uint32)


def _check(address: int, count: int) -> None:
    if address % 4 or not 0 <= address <= 2**32 - 4 * count:
        raise ValueError(f"address must be a multiple of 4 with {count} words below 2**32, "
                         f"not {address:#x}")


def _split(command: Command, address: int, words: np.ndarray) -> list[Request]:
    _check(address, len(words))
    parts = [words[n:n + MAX_WORDS] for n in range(0, len(words), MAX_WORDS)]
    return [Request(command, address + 4 * MAX_WORDS * n, len(part), tuple(part.tolist()))
            for n, part in enumerate(parts)]


def _split_read(command: Command, address: int, count: int) -> list[Request]:
    _check(address, count)
    return [Request(command, address + 4 * n, min(MAX_WORDS, count - n))
            for n in range(0, count, MAX_WORDS)]
