"""Many frames over a bad line: ``python -m boards.stress --frames 1000000 --damaged 0.01``.

Random writes, reads and register accesses go through the link to the model of the bridge, or to
its circuit, while a share of the frames is damaged in both directions: bits flipped; bytes dropped
or inserted; frames lost, repeated, or cut at either end. Every word that is read is compared, the
memory as a whole at the end, and registers count the writes, so that one done twice is noticed.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence

import numpy as np

from boards.link import Link, Request
from hw.bus.protocol import MAX_WORDS, Command
from hw.options import Parser, command
from sim.link import REGISTERS, Damage, ModelPort, NativePort

__all__ = ["LEVELS", "stress"]

LEVELS = {"model": ModelPort, "rtl": NativePort}
_SIZES = (1, 1, 2, 3, 8, 20, MAX_WORDS)  # words of a frame
_BATCH = 24


def stress(level: str, frames: int, damaged: float, seed: int) -> dict:
    """Exchange at least ``frames`` frames; raises :exc:`AssertionError` at the first wrong word."""
    if level not in LEVELS:
        raise ValueError(f"level must be {' or '.join(LEVELS)}, not {level!r}")
    if frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    if not 0 <= damaged <= 0.5:
        raise ValueError(f"damaged must be 0 to 0.5, not {damaged}")
    rng = random.Random(seed)
    damage = Damage(damaged, seed)
    port = LEVELS[level](damage=damage)
    link = Link(port, attempts=100)
    shadow, total, writes, words = np.zeros(1024, np.uint32), 0, 0, 0
    while damage.frames < frames:
        kind = rng.choice((Command.WRITE, Command.READ, Command.READ, Command.WRITE_REGISTERS))
        batch, expected = [], []
        for _ in range(rng.randint(1, _BATCH)):
            count = 1 if kind == Command.WRITE_REGISTERS else rng.choice(_SIZES)
            first = rng.randrange(1025 - count)
            if kind == Command.READ:
                batch.append(Request(kind, 4 * first, count))
                expected.append(shadow[first:first + count].tolist())
                continue
            payload = tuple(rng.getrandbits(32) & rng.choice((0xffff_ffff, 0xff00, 0))
                            for _ in range(count))
            if kind == Command.WRITE:
                batch.append(Request(kind, 4 * first, count, payload))
                shadow[first:first + count] = payload
                words += count
            else:
                batch.append(Request(kind, REGISTERS["sum"], 1, payload))
                total, writes = (total + payload[0]) % 2**32, writes + 1
        answers = link.run(batch)
        for request, answer, right in zip(batch, answers, expected):
            assert list(answer.payload) == right, f"seed {seed}: read at {request.address:#x}"
    assert link.read_registers(0, 3) == [total, writes, words], f"seed {seed}: a write done twice"
    assert (port.memory() == shadow).all(), f"seed {seed}: memory differs"
    return {"level": level, "frames": damage.frames, "damaged": sum(damage.counts.values()),
            "ways": damage.counts, "words_written": words, "register_writes": writes,
            "sent_again": link.tally.again, "refusals": link.tally.refusals,
            "timeouts": link.tally.timeouts, "wrong": 0, "seed": seed}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m boards.stress", description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000, help="both ways (default: 100000)")
    parser.add_argument("--damaged", type=float, default=0.01, help="share (default: 0.01)")
    parser.add_argument("--level", default="model", help=f"{' or '.join(LEVELS)} (default: model)")
    parser.add_argument("--seed", type=int, default=0)
    options: argparse.Namespace = parser.parse_args(argv)
    start = time.perf_counter()
    result = stress(options.level, options.frames, options.damaged, options.seed)
    print(json.dumps(result | {"seconds": round(time.perf_counter() - start, 1)}))
    return 0


if __name__ == "__main__":
    command(main)()
