"""Model of :class:`hw.bus.bridge.Bridge`: the same answers, byte for byte."""

from collections.abc import Callable

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
)

__all__ = ["BridgeModel"]


class BridgeModel:
    """A bridge that finishes each request before the next one comes.

    ``memory``: uint32 words from address 0 on; an address beyond them is a bus error.
    ``read_register(address)`` and ``write_register(address, word)`` are the register port.
    ``writes`` counts the words written, in memory and registers.
    """

    def __init__(self, memory: np.ndarray, read_register: Callable[[int], int],
                 write_register: Callable[[int, int], None]):
        self.memory = memory
        self._read_register, self._write_register = read_register, write_register
        self.writes = 0
        self._session: int | None = None
        self._expected = 0
        self._ends: dict[int, Status] = {}
        self._refused = False
        self._line = bytearray()

    def receive(self, line: bytes) -> bytes:
        """The answers to what comes over the line; a frame may come in several pieces."""
        answers = b""
        self._line += line
        *texts, self._line = self._line.split(b"\0")
        for text in texts:
            if text:
                answers += self._answer(bytes(text))
        return answers

    def _answer(self, text: bytes) -> bytes:
        try:
            frame = decode(text)
        except FrameError:
            return self._refuse(Status.DAMAGED)
        if len(frame.payload) > MAX_WORDS:
            return self._refuse(Status.DAMAGED)
        if frame.command == Command.SYNC:
            return self._sync(frame)
        if self._session is None:
            return self._refuse(Status.NO_SESSION)
        age = (self._expected - frame.sequence) % 256
        if age > WINDOW:
            return self._refuse(Status.OUT_OF_TURN)
        self._refused = False
        place = frame.sequence % WINDOW
        payload: tuple[int, ...] = ()
        if not self._fits(frame):
            status = Status.BAD_REQUEST
        elif Command(frame.command).writes and age:
            return _answer(frame, self._ends.get(place, Status.DONE))
        else:
            status, payload = self._access(frame)
        if not age:
            self._expected = (frame.sequence + 1) % 256
            self._ends[place] = status
        return _answer(frame, status, payload)

    def _sync(self, frame: Frame) -> bytes:
        if frame.note != VERSION or frame.payload:
            return _answer(frame, Status.BAD_REQUEST)
        self._refused = False
        if self._session != frame.address:
            self._session, self._expected = frame.address, (frame.sequence + 1) % 256
        return _answer(frame, Status.DONE)

    def _refuse(self, reason: Status) -> bytes:
        silent, self._refused = self._refused, True
        return b"" if silent else encode(Frame(Command.REFUSED | ANSWER, self._expected,
                                               note=reason))

    @staticmethod
    def _fits(frame: Frame) -> bool:
        try:
            command = Command(frame.command)
        except ValueError:
            return False
        return (frame.note == VERSION and (command.reads or command.writes)
                and 1 <= frame.words <= MAX_WORDS and frame.address % 4 == 0
                and len(frame.payload) == (frame.words if command.writes else 0))

    def _access(self, frame: Frame) -> tuple[Status, tuple[int, ...]]:
        command, result = Command(frame.command), []
        registers = command in (Command.READ_REGISTERS, Command.WRITE_REGISTERS)
        for n in range(frame.words):
            address = (frame.address + 4 * n) % 2**32
            try:
                if command.writes:
                    if registers:
                        self._write_register(address, frame.payload[n])
                    elif address // 4 >= len(self.memory):
                        return Status.BUS_ERROR, ()
                    else:
                        self.memory[address // 4] = frame.payload[n]
                    self.writes += 1
                elif registers:
                    result.append(self._read_register(address))
                elif address // 4 >= len(self.memory):
                    return Status.BUS_ERROR, ()
                else:
                    result.append(int(self.memory[address // 4]))
            except IndexError:  # no such register
                return Status.BUS_ERROR, ()
        return Status.DONE, tuple(result)


def _answer(frame: Frame, status: Status, payload: tuple[int, ...] = ()) -> bytes:
    return encode(Frame(frame.command | ANSWER, frame.sequence, len(payload), status,
                        frame.address, payload))


