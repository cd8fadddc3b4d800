"""A visit's cycles, from its instructions: who waits for whom, without micro-operations.

The formulas of :mod:`hw.compiler.cost` rank thousands of schedules; of the one that is taken, this
replays the instructions against each other, in a few events each: queues, tokens, the read bus that
serves whole bursts in the order of their requests, the window of the compute unit. Of what
micro-operations decide, conflicts of banks, only the rate counts that ``cost`` gives.
"""

import heapq
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from hw.compiler.code import Constants, Place
from hw.compiler.cost import Costs, bank_waits
from hw.compiler.emit import emit
from hw.compiler.layout import blocks
from hw.compiler.schedule import Plan
from hw.compiler.stream import QUEUES, Stream
from hw.vta.accumulators import accumulator_banks
from hw.vta.alu_long import LONG
from hw.vta.config import VtaConfig
from hw.vta.fetch import FETCH_BURST
from hw.vta.isa import Memory, Opcode, Unit
from hw.vta.load import Transfer, write_lanes
from hw.vta.stages import Stages

__all__ = ["predict", "replay"]

_QUEUE = 4      # cycles from the end of one part to the beginning of the next, by way of a queue
_READ = 3       # from a beat on the bus to its write
_ELEMENTS = 16  # of STORE's buffer
_STRETCH = 64   # elements of a pass after which the ALU looks again whether GEMM works
_COSTS = Costs(banks=2.5)  # as counted; what ranks schedules has more, for what it leaves out
_Process = Generator["int | _Signal"]


def predict(plan: Plan, latency: int = 16) -> int:
    """Cycles of ``plan`` in a launch of its own."""
    config, places, free = plan.config, {}, 0
    for tensor in (*plan.visit.reads, *plan.visit.stores):
        shape = blocks(tensor.channels, config), tensor.height, tensor.width
        if tensor.name not in places:
            places[tensor.name] = Place(tensor.name, free, shape, 0)
            free += -(-shape[0] * shape[1] * shape[2] // 4) * 4
    stream, _ = emit([plan], places, Constants(), config, free)
    return replay(stream, config, bank_waits(plan, _COSTS), latency)


def replay(stream: Stream, config: VtaConfig, waits: float = 0.0, latency: int = 16) -> int:
    """Cycles of the instructions; beside GEMM an element of the ALU takes ``waits`` cycles more."""
    return _Core(stream, config, waits, latency).run()


class _Signal:
    """What processes wait for."""

    def __init__(self):
        self.waiting: list[_Process] = []


class _Queue(_Signal):
    def __init__(self, depth: int):
        super().__init__()
        self.depth, self.items = depth, deque()


class _Tokens(_Signal):
    count = 0


@dataclass(eq=False)
class _Task:
    """An instruction."""
    unit: Unit
    opcode: Opcode
    fields: dict
    spans: tuple
    engine: str = ""
    done: bool = False
    ranged: bool = False

    def meets(self, other: "_Task") -> bool:
        return any(a < d and c < b and (v or w) for a, b, v in self.spans
                   for c, d, w in other.spans)


class _Reader:
    """One client of the read bus: a buffer, and bursts under way."""

    def __init__(self, longest: int, config: VtaConfig):
        self.block = 1 << min(longest, 4096 * 8 // config.bus_width).bit_length() - 1
        self.free = max(2 * self.block, 16)
        self.rows, self.asks = _Queue(1), _Queue(1)
        self.room, self.come = _Signal(), _Signal()
        self.arrived: deque[tuple[int, int]] = deque()  # beats, cycle of the last of them


@dataclass(eq=False)
class _Loader:
    """Part of the load unit, and of the compute unit."""
    reader: _Reader
    plans: _Queue = field(default_factory=lambda: _Queue(4))


class _Core:
    def __init__(self, stream: Stream, config: VtaConfig, waits: float, latency: int):
        self.config, self.waits, self.latency, self.stages = config, waits, latency, Stages()
        self.now, self._order, self._heap = 0, 0, []
        self.tasks = [_Task(unit, opcode, fields, spans)
                      for (unit, opcode, fields), spans in zip(stream.insns, stream.spans)]
        self.queues = {unit: _Queue(config.queue_depth) for unit in Unit}
        self.tokens = {ends: _Tokens() for ends in QUEUES}
        self.readers = [_Reader(min(FETCH_BURST, config.burst_beats), config),
                        *(_Reader(config.burst_beats, config) for _ in range(2))]
        self.load, self.compute = (_Loader(reader) for reader in self.readers[1:])
        self.window, self.changed = deque(), _Signal()
        self.gemm, self.alu = _Queue(self.stages.waiting), _Queue(self.stages.waiting)
        self.rows, self.labels = _Queue(4), _Queue(8)
        self.bus = _Signal()
        self.gemm_works, self.writing = False, 0  # until when elements are stored
        self.kinds = {memory: Transfer.of(config, memory) for memory in Memory}
        self.lanes = {memory: write_lanes(config, memory.scratchpad).members["data"].shape.length
                      for memory in Memory}
        # STORE reads an element in some beats, each time from one of the banks.
        self.meets = 1 / (accumulator_banks(config) * self.kinds[Memory.OUT].beats)

    def run(self) -> int:
        for process in (self._fetch(), self._distribute(), self._arbiter(),
                        *map(self._bursts, self.readers), self._load_unit(),
                        self._writer(self.load), self._compute_unit(), self._writer(self.compute),
                        self._engine(self.gemm), self._engine(self.alu), self._leave(),
                        self._store_unit(), self._store_bus(), self._confirm()):
            self._later(process, 0)
        while self._heap:
            self.now, _, process = heapq.heappop(self._heap)
            for wish in process:
                if isinstance(wish, _Signal):
                    wish.waiting.append(process)
                else:
                    self._later(process, wish)
                break
        return self.now

    def _later(self, process: _Process, cycles: int):
        self._order += 1
        heapq.heappush(self._heap, (self.now + cycles, self._order, process))

    def _wake(self, signal: _Signal):
        for process in signal.waiting:
            self._later(process, 0)
        signal.waiting = []

    def _put(self, queue: _Queue, item) -> _Process:
        while len(queue.items) >= queue.depth:
            yield queue
        queue.items.append(item)
        self._wake(queue)

    def _head(self, queue: _Queue) -> _Process:
        while not queue.items:
            yield queue
        return queue.items[0]

    def _pop(self, queue: _Queue):
        queue.items.popleft()
        self._wake(queue)

    def _take(self, task: _Task) -> _Process:
        """Wait for its tokens."""
        for ends, (_, pop) in QUEUES.items():
            if ends[1] == task.unit and task.fields.get(pop):
                while not self.tokens[ends].count:
                    yield self.tokens[ends]
                self.tokens[ends].count -= 1

    def _post(self, task: _Task):
        for ends, (push, _) in QUEUES.items():
            if ends[0] == task.unit and task.fields.get(push):
                self.tokens[ends].count += 1
                self._wake(self.tokens[ends])

    # The read bus

    def _bursts(self, reader: _Reader) -> _Process:
        while True:
            beat, beats = yield from self._head(reader.rows)
            self._pop(reader.rows)
            while beats:
                size = min(beats, reader.block - beat % reader.block)
                while reader.free < size:
                    yield reader.room
                reader.free -= size
                yield from self._put(reader.asks, size)
                self._wake(self.bus)
                beat, beats = beat + size, beats - size

    def _arbiter(self) -> _Process:
        """Bursts in turn, each after the one before."""
        last, end, ends = 0, 0, deque()
        while True:
            asks = [(n - last - 1) % 3 for n, x in enumerate(self.readers) if x.asks.items]
            while ends and ends[0] <= self.now:
                ends.popleft()
            if not asks:
                yield self.bus
            elif len(ends) == self.config.reads:
                yield ends[0] - self.now
            else:
                last = (min(asks) + last + 1) % 3
                reader = self.readers[last]
                size = reader.asks.items[0]
                self._pop(reader.asks)
                end = max(self.now + 1 + self.latency, end) + size
                ends.append(end)
                reader.arrived.append((size, end))
                self._wake(reader.come)
                yield 1

    def _consume(self, reader: _Reader, beats: int) -> _Process:
        """Beats leave the buffer, one in each cycle."""
        while beats:
            while not reader.arrived:
                yield reader.come
            size, end = reader.arrived[0]
            part = min(size, beats)
            yield max(part, end - (size - part) + _READ - self.now)
            if part == size:
                reader.arrived.popleft()
            else:
                reader.arrived[0] = size - part, end
            beats -= part
            reader.free += part
            self._wake(reader.room)

    # Instructions

    def _fetch(self) -> _Process:
        yield 2
        yield from self._put(self.readers[0].rows,
                             (0, len(self.tasks) * -(-128 // self.config.bus_width)))

    def _distribute(self) -> _Process:
        for task in self.tasks:
            yield from self._consume(self.readers[0], -(-128 // self.config.bus_width))
            yield from self._put(self.queues[task.unit], (task, self.now + _QUEUE))

    def _next(self, unit: Unit) -> _Process:
        task, when = yield from self._head(self.queues[unit])
        if when > self.now:
            yield when - self.now
        return task

    # LOADs

    def _rows(self, loader: _Loader, task: _Task) -> _Process:
        """Ask for the rows of ``task``."""
        f, kind = task.fields, self.kinds[task.fields["memory_type"]]
        element = f["dram_base"]
        for _ in range(f["y_size"]):
            row = (element * kind.element_bytes * 8 // self.config.bus_width,
                   self._beats(kind, element, f["x_size"]))
            yield from self._put(loader.reader.rows, row)
            yield 1
            element += f.get("x_stride", 0)

    @staticmethod
    def _beats(kind, element: int, count: int) -> int:
        if kind.beats > 1:
            return count * kind.beats
        return -(-(element % kind.elements + count) // kind.elements)

    def _writer(self, loader: _Loader) -> _Process:
        while True:
            task = yield from self._head(loader.plans)
            yield from self._free(task)
            self._pop(loader.plans)
            f, memory = task.fields, Memory(task.fields["memory_type"])
            kind, rows, element = self.kinds[memory], f["y_size"], f["dram_base"]
            top, bottom, left, right = (f.get(name, 0) for name in
                                        ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"))
            width = left + f["x_size"] + right
            pads = width * top + (left if rows else width * bottom)
            for n in range(rows):
                yield -(-pads // self.lanes[memory])
                yield from self._consume(loader.reader, self._beats(kind, element, f["x_size"]))
                element += f.get("x_stride", 0)
                pads = left + right if n + 1 < rows else width * bottom + right
            yield -(-pads // self.lanes[memory]) + 1
            yield from self._done(task, 0)
            if loader is self.load:
                self._post(task)

    def _load_unit(self) -> _Process:
        while True:
            task = yield from self._next(Unit.LOAD)
            yield from self._take(task)
            self._pop(self.queues[Unit.LOAD])
            yield self.stages.load_prepare
            yield from self._put(self.load.plans, task)
            yield from self._rows(self.load, task)
            yield 1

    # The compute unit

    def _compute_unit(self) -> _Process:
        preparing = False

        def prepare(task):
            nonlocal preparing
            yield from self._rows(self.compute, task)
            preparing = False
            self._wake(self.changed)

        while True:
            task = yield from self._next(Unit.COMPUTE)
            yield from self._take(task)
            f = task.fields
            if "uop_bgn" in f:
                task.engine = "alu" if task.opcode == Opcode.ALU else "gemm"
            elif f.get("x_size"):
                task.engine = "loader"  # else it only passes tokens on
            queue = {"gemm": self.gemm, "alu": self.alu}.get(task.engine)
            while (len(self.window) == self.stages.window
                   or queue is not None and len(queue.items) == queue.depth
                   or task.engine == "loader" and preparing):
                yield self.changed
            self._pop(self.queues[Unit.COMPUTE])
            self.window.append(task)
            if not task.engine:
                yield from self._done(task, 1)
            elif task.engine == "loader":
                preparing = True
                yield self.stages.load_prepare
                task.ranged = True
                yield from self._put(self.compute.plans, task)
                self._later(prepare(task), 0)
                yield 1
            else:
                yield from self._put(queue, task)
                count = f["uop_end"] - f["uop_bgn"]
                rows = -(-count // self.lanes[Memory.UOP])
                yield from self._kernel(task)
                yield max(self.stages.scan_turns, rows + self.lanes[Memory.UOP] + 2) + 3
                task.ranged = True
                self._wake(self.changed)

    def _kernel(self, task: _Task) -> _Process:
        """Wait for micro-operations that are being loaded."""
        f = task.fields
        while any(x.engine == "loader" and not x.done and x.fields["memory_type"] == Memory.UOP
                  and x.fields["sram_base"] < f["uop_end"]
                  and f["uop_bgn"] < x.fields["sram_base"] + x.fields["x_size"]
                  for x in self.window if x is not task):
            yield self.changed

    def _free(self, task: _Task) -> _Process:
        """Wait for parts that use the same accumulators, or may: its ranges take time to find."""
        if task.unit == Unit.LOAD:
            return
        entries = list(self.window)
        before = [x for x in entries[:entries.index(task)] if x.engine != task.engine]
        while any(not x.done and (not task.ranged or x.meets(task) or self._overwrites(task, x))
                  for x in before):
            yield self.changed

    @staticmethod
    def _overwrites(task: _Task, other: _Task) -> bool:
        """Whether a LOAD brings micro-operations in the place of those of ``other``."""
        f, g = task.fields, other.fields
        return (f.get("memory_type") == Memory.UOP and "uop_bgn" in g
                and f["sram_base"] < g["uop_end"] and g["uop_bgn"] < f["sram_base"] + f["x_size"])

    def _engine(self, queue: _Queue) -> _Process:
        while True:
            task = yield from self._head(queue)
            yield from self._free(task)
            self._pop(queue)
            self._wake(self.changed)
            f = task.fields
            left = (f["uop_end"] - f["uop_bgn"]) * f["iter_out"] * f["iter_in"]
            if queue is self.gemm:
                self.gemm_works = True
                yield left
                self.gemm_works = False
                stages = self.stages.gemm_write
            else:
                late = 0.0
                while left:
                    part = min(left, _STRETCH)
                    late += part * (1 + self.waits * self.gemm_works
                                    + self.meets * (self.writing > self.now))
                    yield int(late)
                    late -= int(late)
                    left -= part
                stages = (self.stages.alu_long if f["alu_opcode"] in LONG
                          else self.stages.alu_short)
            self._later(self._done(task, 0), self.stages.loops + stages)

    def _done(self, task: _Task, cycles: int) -> _Process:
        if cycles:
            yield cycles
        task.done = True
        self._wake(self.changed)

    def _leave(self) -> _Process:
        """In the order of the instructions, one in each cycle."""
        while True:
            while not self.window or not self.window[0].done:
                yield self.changed
            yield 1
            self._post(self.window.popleft())
            self._wake(self.changed)

    # STOREs

    def _store_unit(self) -> _Process:
        while True:
            task = yield from self._next(Unit.STORE)
            yield from self._take(task)
            self._pop(self.queues[Unit.STORE])
            yield self.stages.store_prepare + 1
            rows = task.fields["y_size"]
            for n in range(rows):
                yield 1
                yield from self._put(self.rows, (task, task.fields["x_size"], n + 1 == rows))

    def _store_bus(self) -> _Process:
        """Rows that are read, and written to DRAM."""
        kind, idle = self.kinds[Memory.OUT], True
        while True:
            idle = not self.rows.items
            task, count, last = yield from self._head(self.rows)
            self._pop(self.rows)
            taken = (2 * _QUEUE if idle else 0) + self._beats(kind, 0, count)
            self.writing = self.now + taken
            yield taken
            if last:
                yield from self._put(self.labels, (task, self.now + 1 + self.latency))

    def _confirm(self) -> _Process:
        while True:
            task, when = yield from self._head(self.labels)
            if when > self.now:
                yield when - self.now
            self._pop(self.labels)
            yield 1
            self._post(task)
