"""Frames as bytes: by hand, and there and back."""

import random
import zlib

import pytest

from hw.bus.protocol import (
    MAX_WORDS,
    Command,
    Frame,
    FrameError,
    cobs_decode,
    cobs_encode,
    decode,
    encode,
    line_bytes,
)

RUN = bytes(range(1, 255))


@pytest.mark.parametrize("raw, coded", [
    (b"",              b"\x01"),
    (b"\0",            b"\x01\x01"),
    (b"\x11\0\x22",    b"\x02\x11\x02\x22"),
    (b"\x11\x22\0",    b"\x03\x11\x22\x01"),
    (RUN,              b"\xff" + RUN + b"\x01"),          # another block follows a full one
    (RUN + b"\0",      b"\xff" + RUN + b"\x01\x01"),
    (RUN + b"\x07",    b"\xff" + RUN + b"\x02\x07"),
])
def test_cobs(raw, coded):
    assert cobs_encode(raw) == coded
    assert cobs_decode(coded) == raw


def test_there_and_back():
    rng = random.Random(1)
    for _ in range(300):
        words = rng.choice((0, 1, 2, 63, 64, MAX_WORDS))
        payload = tuple(rng.getrandbits(32) * rng.getrandbits(1) for _ in range(words))
        frame = Frame(rng.randrange(256), rng.randrange(256), words, 1, rng.getrandbits(32),
                      payload)
        text = encode(frame)
        assert text[0] == text[-1] == 0 and 0 not in text[1:-1]
        assert len(text) <= line_bytes(words)
        assert decode(text[1:-1]) == frame


def test_a_frame_by_hand():
    text = encode(Frame(Command.READ, 7, 2, 1, 0x1000))
    assert cobs_decode(text[1:-1])[:8] == bytes.fromhex("02 07 02 01 00100000")
    assert cobs_decode(text[1:-1])[8:] == zlib.crc32(bytes.fromhex("0207020100100000")).to_bytes(
        4, "little")


@pytest.mark.parametrize("text, said", [
    (b"\x05\x01",                             "cut"),
    (cobs_encode(b"abc"),                     "12 bytes and whole words, not 3 bytes"),
    (cobs_encode(bytes(13)),                  "whole words, not 13 bytes"),
    (cobs_encode(bytes(12)),                  "check sum"),
])
def test_no_frame(text, said):
    with pytest.raises(FrameError, match=said):
        decode(text)
