# amaranth: UnusedElaboratable=no
"""The bridge gives the model's answers, byte for byte, whatever comes over the line."""

import random

import numpy as np
import pytest

from hw.bus.bridge import Bridge
from hw.bus.protocol import (
    ANSWER,
    MAX_WORDS,
    VERSION,
    Command,
    Frame,
    Status,
    decode,
    encode,
)
from sim.link import BridgeBench, Damage, ModelPort, NativePort


@pytest.fixture(scope="module")
def circuit():
    return NativePort(gap=4)


def fresh(circuit):
    """The circuit as after power-up, and the model."""
    circuit.engine.restart()
    circuit.engine.reset()
    return circuit, ModelPort()


def talk(port, text):
    port.write(text)
    return port.read(1 << 16)


def answers(text):
    return [decode(part) for part in text.split(b"\0") if part]


SYNC = Frame(Command.SYNC, 9, address=77)
DATA = tuple(range(5, 5 + MAX_WORDS))


# What is sent; and the status of each answer to it.
CONVERSATIONS = [
    ([Frame(Command.READ, 0, 1)],                                        [Status.NO_SESSION]),
    ([SYNC, SYNC],                                                       [0, 0]),
    ([SYNC, Frame(Command.WRITE, 10, 3, address=8, payload=(1, 2, 3)),
      Frame(Command.READ, 11, 5, address=4)],                            [0, 0, 0]),
    ([SYNC, Frame(Command.WRITE, 10, MAX_WORDS, payload=DATA),
      Frame(Command.READ, 11, MAX_WORDS)],                               [0, 0, 0]),
    # One number left out; silence about the next one; then all is well.
    ([SYNC, *(Frame(Command.READ, number, 1) for number in (11, 12, 10))],
                                                                  [0, Status.OUT_OF_TURN, 0]),
    # The same write twice is one write, and is answered twice.
    ([SYNC, *[Frame(Command.WRITE_REGISTERS, 10, 1, payload=(5,))] * 2,
      Frame(Command.READ_REGISTERS, 11, 2)],                             [0, 0, 0, 0]),
    # A session begun again in mid-session begins nothing; another one does.
    ([SYNC, Frame(Command.WRITE_REGISTERS, 10, 1, payload=(5,)), SYNC,
      Frame(Command.WRITE_REGISTERS, 10, 1, payload=(5,)),
      Frame(Command.READ_REGISTERS, 11, 2)],                             [0] * 5),
    ([SYNC, Frame(Command.READ, 10, 1), Frame(Command.SYNC, 50, address=78),
      Frame(Command.READ, 51, 1)],                                       [0] * 4),
    # Beyond the memory; across its end; beyond the port.
    ([SYNC, Frame(Command.READ, 10, 1, address=4096), Frame(Command.READ, 11, 2, address=4092),
      Frame(Command.READ, 12, 1, address=1 << 20)],                      [0, 2, 2, 2]),
    ([SYNC, *[Frame(Command.WRITE, 10, 2, address=4092, payload=(8, 9))] * 2,
      Frame(Command.READ, 11, 1, address=4092)],                         [0, 2, 2, 0]),
    ([SYNC, Frame(Command.WRITE_REGISTERS, 10, 1, address=64, payload=(1,)),
      Frame(Command.READ_REGISTERS, 11, 1, address=64)],                 [0, 2, 2]),
    # Requests that are none.
    ([SYNC, Frame(Command.READ, 10, 0), Frame(Command.READ, 11, MAX_WORDS + 1),
      Frame(Command.READ, 12, 1, address=2), Frame(Command.READ, 13, 1, note=VERSION + 1),
      Frame(9, 14, 1), Frame(Command.WRITE, 15, 2, payload=(1,)),
      Frame(Command.READ, 16, 1, payload=(1,)), Frame(Command.WRITE, 17, 2),
      Frame(Command.REFUSED, 18)],                                       [0] + [1] * 9),
    ([Frame(Command.SYNC, 0, note=VERSION + 1), Frame(Command.READ, 1, 1)],
                                                                         [1, Status.NO_SESSION]),
    ([SYNC, Frame(Command.WRITE, 10, MAX_WORDS + 1, payload=(*DATA, 1))],  [0, Status.DAMAGED]),
    # Numbers begin again at 0.
    ([Frame(Command.SYNC, 254), Frame(Command.READ, 255, 1), Frame(Command.READ, 0, 1),
      Frame(Command.READ, 255, 1)],                                      [0] * 4),
]


@pytest.mark.parametrize("requests, statuses", CONVERSATIONS)
def test_conversations(circuit, requests, statuses):
    bridge, model = fresh(circuit)
    said = []
    for request in requests:
        expected = talk(model, encode(request))
        assert talk(bridge, encode(request)) == expected, request
        said += answers(expected)
    assert [answer.note for answer in said] == statuses
    np.testing.assert_array_equal(bridge.memory(), model.memory())


def test_what_is_read_is_what_was_written(circuit):
    bridge, _ = fresh(circuit)
    for request, expected in (
        (SYNC, ()),
        (Frame(Command.WRITE, 10, 3, address=8, payload=(1, 2**32 - 1, 3)), ()),
        (Frame(Command.READ, 11, 5, address=4), (0, 1, 2**32 - 1, 3, 0)),
        (Frame(Command.WRITE_REGISTERS, 12, 2, payload=(5, 0)), ()),
        (Frame(Command.READ_REGISTERS, 13, 3), (5, 1, 3)),
    ):
        answer, = answers(talk(bridge, encode(request)))
        assert (answer.command, answer.payload) == (request.command | ANSWER, expected)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_frames(circuit, seed):
    bridge, model = fresh(circuit)
    rng, damage = random.Random(seed), Damage(0.5, seed)
    sequence, text = 9, encode(SYNC)
    for _ in range(60):
        expected = talk(model, text)
        assert talk(bridge, text) == expected
        sequence = (sequence + rng.choice((0, 1, 1, 1, 2))) % 256
        words = rng.choice((1, 2, 60, MAX_WORDS))
        kind = rng.choice((Command.READ, Command.WRITE, Command.WRITE_REGISTERS))
        if kind == Command.WRITE_REGISTERS:
            words = 1
        payload = tuple(rng.getrandbits(32) for _ in range(words)) if kind.writes else ()
        address = 0 if kind == Command.WRITE_REGISTERS else 4 * rng.randrange(1100)
        text = damage(encode(Frame(kind, sequence, words, VERSION, address, payload))) + b"\0"
    assert sum(damage.counts.values()) > 20
    np.testing.assert_array_equal(bridge.memory(), model.memory())


@pytest.mark.parametrize("data_width", [32, 128])
def test_width_of_memory(data_width):
    port, model = NativePort(BridgeBench(data_width=data_width), gap=4), ModelPort()
    for request in (SYNC, Frame(Command.WRITE, 10, 9, address=12, payload=tuple(range(9))),
                    Frame(Command.READ, 11, 12)):
        assert talk(port, encode(request)) == talk(model, encode(request))


def test_a_dead_memory_is_an_answer_and_registers_still_work():
    port = NativePort(BridgeBench(patience=100), gap=4, quiet=400)
    talk(port, encode(SYNC))
    port.engine.set("dead", 1)
    for sequence, kind, status in ((10, Command.WRITE, Status.BUS_TIMEOUT),
                                   (11, Command.READ, Status.BUS_TIMEOUT),
                                   (12, Command.WRITE_REGISTERS, Status.BUS_TIMEOUT)):
        payload = (3,) if kind.writes else ()
        answer, = answers(talk(port, encode(Frame(kind, sequence, 1, payload=payload))))
        assert answer.note == status
    port.engine.set("dead", 0)
    answer, = answers(talk(port, encode(Frame(Command.READ, 13, 1))))
    assert (answer.note, answer.payload) == (Status.DONE, (3,))  # the write was under way


def test_bursts_use_the_line():
    """At ten bits of eight cycles for a byte, payload takes over 90 % of the line's time."""
    gap = 80
    port = NativePort(gap=gap, quiet=3000)
    talk(port, encode(SYNC))
    rng = np.random.default_rng(0)
    writes = [Frame(Command.WRITE, 10 + n, MAX_WORDS, address=0,
                    payload=tuple(rng.integers(0, 2**32, MAX_WORDS).tolist())) for n in range(6)]
    reads = [Frame(Command.READ, 16 + n, MAX_WORDS) for n in range(3)]
    for requests in (writes, reads):
        before = port.cycles
        said = answers(talk(port, b"".join(map(encode, requests))))
        assert [answer.note for answer in said] == [Status.DONE] * len(requests)
        cycles = port.cycles - before - port.quiet
        assert len(requests) * MAX_WORDS * 4 * gap / cycles > 0.9


@pytest.mark.parametrize("wrong, said", [
    ({"data_width": 16}, "data_width must be a power of two from 32 on, not 16"),
    ({"address_width": 33}, "address_width must be 3 to 32, not 33"),
    ({"register_width": 2}, "register_width must be 3 to 32, not 2"),
])
def test_wrong(wrong, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        Bridge(**{"address_width": 16, "data_width": 64, "register_width": 12} | wrong)
