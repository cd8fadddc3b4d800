"""Who talks to a design in a bench: sources, sinks and monitors of streams, and pipelines.

Inputs change just after the clock has risen; everything is looked at when it falls, once all has
settled. The seed of a run (``python -m sim.bench NAME --seed S``) decides every pause.
"""

import random
from collections.abc import Mapping, Sequence

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

__all__ = ["Monitor", "Sink", "Source", "exchange", "pipeline", "rng", "start", "stalls"]

PERIOD = 10  # ns

stalls = cocotb.parametrize(stall=[0.0, 0.3, 0.8])
"""Decorator: the test once for each stall probability."""


def rng(*names: object) -> random.Random:
    """Generator that depends on the run's seed and on ``names`` only."""
    return random.Random(" ".join(map(str, (cocotb.RANDOM_SEED, *names))))


async def start(dut) -> None:
    """Start the clock, hold reset for two cycles, and leave just after a rising edge."""
    Clock(dut.clk, PERIOD, "ns").start()
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


class _Agent:
    def __init__(self, dut, name: str, stall: float):
        self.clk, self.name, self.stall = dut.clk, name, stall
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.rng = rng(type(self).__name__, name, stall)

    def pauses(self) -> bool:
        return self.rng.random() < self.stall


class Source(_Agent):
    """Offers beats on input stream ``name``, pausing with probability ``stall`` before each."""

    def __init__(self, dut, name: str, *, stall: float = 0.0):
        super().__init__(dut, name, stall)

    async def send(self, beats: Sequence[int]) -> None:
        """Offer ``beats``, packed as integers; returns when the last one was taken."""
        for beat in beats:
            while self.pauses():
                await RisingEdge(self.clk)
            self.payload.value = int(beat)
            self.valid.value = 1
            taken = False
            while not taken:
                await FallingEdge(self.clk)
                taken = self.ready.value == 1
                await RisingEdge(self.clk)
            # Nobody may look at the payload now.
            self.valid.value = 0
            self.payload.value = self.rng.getrandbits(len(self.payload))


class Sink(_Agent):
    """Takes beats from output stream ``name``; not ready with probability ``stall`` in a cycle."""

    def __init__(self, dut, name: str, *, stall: float = 0.0):
        super().__init__(dut, name, stall)

    async def receive(self, count: int) -> list[int]:
        """The next ``count`` beats, packed as integers."""
        beats = []
        while len(beats) < count:
            ready = not self.pauses()
            self.ready.value = ready
            await FallingEdge(self.clk)
            if ready and self.valid.value == 1:
                beats.append(int(self.payload.value))
            await RisingEdge(self.clk)
        self.ready.value = 0
        return beats


class Monitor(_Agent):
    """Watches stream ``name``: fails the test when a rule is broken, counts what passes.

    ``cycles`` holds the cycle of every transfer, counted from when the monitor was made.
    """

    def __init__(self, dut, name: str):
        super().__init__(dut, name, 0.0)
        self.cycles: list[int] = []
        self._task = cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        waiting, cycle = None, 0
        while True:
            await FallingEdge(self.clk)
            valid, ready = self.valid.value == 1, self.ready.value == 1
            payload = int(self.payload.value) if valid else None
            assert waiting is None or payload == waiting, \
                f"{self.name} offered {waiting:#x}, then " + (
                    f"{payload:#x}" if valid else "took it back")
            if valid and ready:
                self.cycles.append(cycle)
            waiting = payload if valid and not ready else None
            cycle += 1


Rows = Mapping[str, Sequence[int]]


async def exchange(dut, inputs: Rows, outputs: Rows, *, stall: float = 0.0,
                   linger: int = 10) -> dict[str, Monitor]:
    """Send ``inputs`` into the streams of those names and expect exactly ``outputs``.

    Both sides pause with probability ``stall``; every stream has a monitor; nothing more may be
    offered for ``linger`` cycles after the last beat. Returns the monitors by name.
    """
    await start(dut)
    monitors = {name: Monitor(dut, name) for name in (*inputs, *outputs)}
    senders = [cocotb.start_soon(Source(dut, name, stall=stall).send(beats))
               for name, beats in inputs.items()]
    takers = {name: cocotb.start_soon(Sink(dut, name, stall=stall).receive(len(beats)))
              for name, beats in outputs.items()}
    for task in (*senders, *takers.values()):
        await task
    for name, task in takers.items():
        _same(name, task.result(), outputs[name])
    for _ in range(linger):
        await FallingEdge(dut.clk)
        for name in outputs:
            assert getattr(dut, f"{name}__valid").value == 0, \
                f"{name} offers a beat more than the {len(outputs[name])} expected"
    return monitors


async def pipeline(dut, inputs: Rows, outputs: Rows, *, latency: int) -> None:
    """Drive a row of ``inputs`` per cycle; ``latency`` cycles later that row of ``outputs`` is due.

    A design without a clock has a latency of 0.
    """
    clocked = hasattr(dut, "clk")
    if clocked:
        Clock(dut.clk, PERIOD, "ns").start()
        await RisingEdge(dut.clk)
    rows = len(next(iter(inputs.values())))
    seen = {name: [] for name in outputs}
    for cycle in range(rows + latency):
        for name, values in inputs.items():
            port = getattr(dut, name)
            port.value = int(values[min(cycle, rows - 1)]) & (1 << len(port)) - 1
        await (FallingEdge(dut.clk) if clocked else Timer(PERIOD, "ns"))
        if cycle >= latency:
            for name, values in seen.items():
                values.append(int(getattr(dut, name).value))
        if clocked:
            await RisingEdge(dut.clk)
    for name, values in seen.items():
        _same(name, values, outputs[name])


def _same(name: str, got: Sequence[int], expected: Sequence[int]) -> None:
    for n, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a == int(b), f"{name}, number {n}: {a:#x} instead of {int(b):#x}"
