"""hw.memory.Scratchpad: four banks, halves written on their own, two reads in every cycle."""

import cocotb
import numpy as np

from hw.memory import Scratchpad
from sim.benches.agents import pipeline

WIDTH, DEPTH, BANKS, CHUNKS, READS = 12, 64, 4, 2, 2
CYCLES = 2000


def component():
    return Scratchpad(WIDTH, DEPTH, banks=BANKS, chunks=CHUNKS, reads=READS)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_was_written_is_read(dut):
    """Any row but the one that is being written; contents begin as 0."""
    draw, rows, part = np.random.default_rng(cocotb.RANDOM_SEED), DEPTH // BANKS, WIDTH // CHUNKS
    inputs, outputs = {}, {}
    for bank in range(BANKS):
        mask, row = draw.integers(0, 1 << CHUNKS, CYCLES), draw.integers(0, rows, CYCLES)
        word = draw.integers(0, 1 << WIDTH, CYCLES)
        inputs |= {f"write__{bank}__en": mask, f"write__{bank}__address": row,
                   f"write__{bank}__data": word}
        memory, states = np.zeros((rows, CHUNKS), np.int64), []
        for cycle in range(CYCLES):
            states.append(memory.copy())
            for chunk in range(CHUNKS):
                if mask[cycle] >> chunk & 1:
                    memory[row[cycle], chunk] = word[cycle] >> part * chunk & (1 << part) - 1
        states = np.array(states) @ (1 << part * np.arange(CHUNKS))
        for read in range(READS):
            address = (row + draw.integers(1, rows, CYCLES)) % rows
            inputs |= {f"read__{read}__{bank}__en": np.ones(CYCLES, int),
                       f"read__{read}__{bank}__address": address}
            outputs[f"read__{read}__{bank}__data"] = states[np.arange(CYCLES), address]
    await pipeline(dut, inputs, outputs, latency=1)
