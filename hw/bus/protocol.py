"""The link's frames: their one definition, for the bridge, its model, the host and the C header.

A frame is a header, ``words`` words of payload where the command or its answer has them, and the
CRC-32 of both (that of zlib), all little-endian. On the line it is coded by COBS, so that 0 occurs
in no frame, and stands between two zeros: whatever was lost, the next frame is found again. Empty
frames are ignored.

Requests
--------
Each has the next sequence number, modulo 256; up to :data:`WINDOW` may be unanswered. ``SYNC``
begins a session: its address is a number drawn by the host, and its sequence number the one before
that of the first request. A ``SYNC`` with the number of the running session changes nothing.
``note`` is :data:`VERSION`.

Answers
-------
Command with :data:`ANSWER` added, sequence number and address of the request; ``note`` is a
:class:`Status`. A request that was answered already is answered again: a write is not done again,
a read is, so a host leaves no write unanswered when it sends a read, and no read when it writes.
``REFUSED`` answers what cannot be placed: a damaged frame, a number out of turn, or any request
before the first ``SYNC``. Its sequence number is the one that is expected. After one refusal the
bridge is silent about further such frames until a frame is in order, so a burst of frames behind a
lost one costs one answer.
"""

import enum
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from amaranth.lib import data

__all__ = ["ANSWER", "CRC_BYTES", "Command", "Frame", "FrameError", "HEADER_BYTES", "Header",
           "MAX_WORDS", "Status", "VERSION", "WINDOW", "cobs_decode", "cobs_encode", "decode",
           "encode", "line_bytes"]

VERSION = 1
MAX_WORDS = 128  # of a payload
WINDOW = 4       # requests under way
ANSWER = 0x80
CRC_BYTES = 4
_RUN = 254       # bytes of a COBS block that has no zero at its end


class Command(enum.IntEnum):
    """What a frame asks for. The value says where and which way."""

    SYNC = 1
    READ = 2          # words of memory
    WRITE = 3
    READ_REGISTERS = 4
    WRITE_REGISTERS = 5
    REFUSED = 0x7f    # only as an answer

    @property
    def reads(self) -> bool:
        return self in (Command.READ, Command.READ_REGISTERS)

    @property
    def writes(self) -> bool:
        return self in (Command.WRITE, Command.WRITE_REGISTERS)


class Status(enum.IntEnum):
    """How a request ended; the last three come with ``REFUSED``."""

    DONE = 0
    BAD_REQUEST = 1   # command, version, number of words, or an address that is no multiple of 4
    BUS_ERROR = 2     # the bus said so; of a write, words before the one in error are written
    BUS_TIMEOUT = 3   # the bus said nothing
    DAMAGED = 4
    OUT_OF_TURN = 5
    NO_SESSION = 6


class Header(data.Struct):
    """The first eight bytes; ``address`` counts bytes."""

    command:  8
    sequence: 8
    words:    8
    note:     8
    address: 32


_FIELDS = {name: field.width for name, field in Header.as_shape()}
_HEADER = struct.Struct("<" + "".join({8: "B", 32: "I"}[width] for width in _FIELDS.values()))
HEADER_BYTES = _HEADER.size


class FrameError(ValueError):
    """Bytes that are no frame; the message says why."""


@dataclass(frozen=True)
class Frame:
    """A frame; ``payload`` has its words. ``words`` may be asked for without being there."""

    command: int
    sequence: int
    words: int = 0
    note: int = VERSION
    address: int = 0
    payload: tuple[int, ...] = ()

    @property
    def body(self) -> bytes:
        """Header and payload."""
        return (_HEADER.pack(*(getattr(self, name) for name in _FIELDS))
                + np.array(self.payload, "<u4").tobytes())


def encode(frame: Frame) -> bytes:
    """The frame as it goes over the line, with the zeros around it."""
    body = frame.body
    return b"\0" + cobs_encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")) + b"\0"


def decode(text: bytes) -> Frame:
    """The frame whose COBS-coded bytes, without zeros, are ``text``."""
    raw = cobs_decode(text)
    size = len(raw) - CRC_BYTES
    if size < HEADER_BYTES or size % 4:
        raise FrameError(f"a frame must have {HEADER_BYTES + CRC_BYTES} bytes and whole words, "
                         f"not {len(raw)} bytes")
    body = raw[:size]
    if zlib.crc32(body).to_bytes(CRC_BYTES, "little") != raw[size:]:
        raise FrameError("the check sum of a frame is wrong")
    fields = dict(zip(_FIELDS, _HEADER.unpack(body[:HEADER_BYTES])))
    return Frame(**fields, payload=tuple(np.frombuffer(body[HEADER_BYTES:], "<u4").tolist()))


def line_bytes(words: int) -> int:
    """Most bytes that a frame with ``words`` words takes on the line."""
    raw = HEADER_BYTES + 4 * words + CRC_BYTES
    return 2 + raw + 1 + raw // _RUN


def cobs_encode(raw: bytes) -> bytes:
    """Bytes without a zero: each block begins with its length and stands for a zero at its end.

    A block of 254 bytes has no zero at its end, and another block always follows it.
    """
    out = bytearray()
    for segment in raw.split(b"\0"):
        while len(segment) >= _RUN:
            out.append(_RUN + 1)
            out += segment[:_RUN]
            segment = segment[_RUN:]
        out.append(len(segment) + 1)
        out += segment
    return bytes(out)


def cobs_decode(text: bytes) -> bytes:
    """What :func:`cobs_encode` made ``text`` of."""
    out, at = bytearray(), 0
    while at < len(text):
        code = text[at]
        block = text[at + 1:at + code]
        if code == 0 or len(block) != code - 1 or 0 in block:
            raise FrameError("a frame was cut or has a zero inside")
        out += block
        at += code
        if code <= _RUN and at < len(text):
            out.append(0)
    return bytes(out)
