"""Emission: tiles and steps become one stream of instructions.

Three things happen side by side in the core, and the order of the stream lets them:

- LOAD fetches chunks for coming steps as soon as their places in the scratchpads are free, that of
  the nearest step first;
- GEMM goes from step to step;
- the drain of a tile (ALU, STORE) is woven in between the products of the next tile.

Nothing here is about what depends on what between units: :class:`hw.compiler.stream.Stream` orders
that. But a tile is drained before another one gets its accumulators, or reads what it stores.
"""

from collections.abc import Sequence

import numpy as np

from hw.compiler.code import Chunk, Code, Constants, Place, Work, Writer, pools
from hw.compiler.cost import Clock, Costs
from hw.compiler.schedule import Plan, Region
from hw.compiler.slots import assign
from hw.compiler.stream import Stream
from hw.vta.config import VtaConfig
from hw.vta.isa import Memory, Opcode

__all__ = ["emit"]

_LEAD = 1500   # cycles that micro-operations are loaded ahead: longer than reads are held up


def emit(plans: Sequence[Plan], places: dict[str, Place], constants: Constants, config: VtaConfig,
         dram: int, costs: Costs | None = None) -> tuple[Stream, list[int]]:
    """Stream of one launch, and the index of the instruction with which each visit ends.

    ``places``: where each tensor is; ``dram``: elements of activations.
    """
    writer = Writer(config, places, constants)
    works, queues, makers = _Layout(writer, places, config).of(plans)
    return _Emitter(writer, works, queues, makers, dram, costs or Costs()).run()


class _Layout:
    """All tiles, their chunks, and where those go."""

    def __init__(self, writer: Writer, places: dict[str, Place], config: VtaConfig):
        self.writer, self.places, self.config = writer, places, config
        self.works: list[Work] = []
        self.makers: dict[str, np.ndarray] = {}  # of each tensor's elements: the tile
        self.queues: dict[str, list[Chunk]] = {"inp": [], "wgt": []}
        self._steps = 0
        self._base = dict.fromkeys(self.queues, 0)
        self._used = {name: np.full(config.depth(name), -1) for name in self.queues}

    def of(self, plans: Sequence[Plan]):
        for plan in plans:
            self._tiles(plan)
        return self.works, self.queues, self.makers

    def _tiles(self, plan: Plan):
        areas, first = plan.schedule.areas, 0
        if self.works:  # not where the last tile is
            last = self.works[-1]
            first = next((n for n in range(areas) if (n + 1) * plan.area <= last.area
                          or n * plan.area >= last.area + last.plan.area), 0)
        number = len(self.works)
        mine = [Work(plan, tile, number + n, (first + n) % areas * plan.area)
                for n, tile in enumerate(plan.tiles())]
        self.works += mine
        if plan.visit.products:
            self._chunks(plan, mine)
        for work in mine:
            tile = work.tile
            for tensor in plan.visit.stores:
                place = self.places[tensor.name]
                makers = self.makers.setdefault(place.root, np.full(place.shape, -1, np.int32))
                makers[place.touch(True, tile.blocks, tile.rows, tile.cols).index] = work.number

    def _chunks(self, plan: Plan, works: list[Work]):
        steps = [(work, step) for work in works for step in plan.steps(work.tile)]
        known: dict = {}
        inputs = self._placed(
            "inp", [step.inputs for _, step in steps], plan.input_size, plan.input_slots,
            self.config.depth("inp"),
            lambda key, sram: self.writer.region(Memory.INP, key, sram, plan.visit.pad_value),
            lambda key: made(key, self.places, self.makers))
        weights = self._placed(
            "wgt", [step.weights for _, step in steps], plan.weight_size, plan.weight_slots,
            plan.weight_depth, lambda key, sram: self.writer.weights(plan, key, sram, known),
            lambda key: -1)
        for (work, step), *chunks in zip(steps, inputs, weights):
            work.steps.append((step, *chunks))
        self._steps += len(steps)

    def _placed(self, memory, keys, size, slots, depth, pieces, tile) -> list[Chunk]:
        """The chunk of each step."""
        base = self._base[memory]
        if base + size * slots > depth:
            base = 0
        self._base[memory] = base + size * slots
        current: dict[int, Chunk] = {}
        result = []
        for n, (slot, fresh, last) in enumerate(assign(keys, slots)):
            if fresh:
                sram = base + slot * size
                span = self._used[memory][sram:sram + size]
                chunk = Chunk(sram, self._steps + n, int(span.max()), tile(keys[n]),
                              pieces(keys[n], sram))
                span[:] = self._steps + last
                self.queues[memory].append(chunk)
                current[slot] = chunk
            result.append(current[slot])
        return result


def made(region: Region, places: dict[str, Place], makers: dict[str, np.ndarray]) -> int:
    """The last tile that stores elements of ``region``; -1 if they are there from the start."""
    place = places[region.tensor.name]
    if place.root not in makers:
        return -1
    top, bottom, left, right = region.pads
    touch = place.touch(False, region.blocks, (region.rows[0] + top, region.rows[1] - bottom),
                        (region.cols[0] + left, region.cols[1] - right))
    part = makers[place.root][touch.index]
    return int(part.max()) if part.size else -1


class _Emitter:
    def __init__(self, writer, works, queues, makers, dram, costs):
        self.writer, self.works, self.makers = writer, works, makers
        self.config = writer.config
        self.stream = Stream(self.config, dram)
        self.clock = Clock(self.config, costs)
        self.kernels: dict[bytes, int] = {}
        self.free_uop = 0
        self.queues: dict[str, list[Chunk]] = queues
        self.heads = dict.fromkeys(queues, 0)
        self.pending: list[Code] = []   # what drains the tile before
        self.stored = -1                # the last tile whose stores are in the stream
        self.begun = 0                  # the first tile whose loads are not
        self.emitted = -1               # the last step in the stream
        self.ahead = 0                  # the first tile whose kernels are not loaded ahead
        self.alu = 0                    # cycles of the passes among a tile's products
        self.lead = 0                   # micro-operations of those that are, not yet emitted

    def run(self) -> tuple[Stream, list[int]]:
        ends, number = [], 0
        for n, work in enumerate(self.works):
            self._tile(work, number)
            number += len(work.steps)
            if n + 1 == len(self.works) or self.works[n + 1].plan is not work.plan:
                ends.append(len(self.stream) - 1)
        self._flush()
        self.stream.finish()
        return self.stream, ends

    def _tile(self, work: Work, number: int):
        plan, tile = work.plan, work.tile
        self._begin(work.number, must=True)
        self.clock.tile(work.number, plan.schedule.areas)
        gemm, self.alu = 0, 0
        for n, (step, inp, wgt) in enumerate(work.steps):
            self._fetch(number + n)
            kernel = self.writer.kernel(work, step, inp.sram, wgt.sram)
            self._load_kernel(kernel)
            self._load_ahead(work.number)
            products = self.writer.products(work, step, inp.sram, wgt.sram, kernel,
                                            max((code.cycles for code in self.pending),
                                                default=0), len(self.pending))
            for code in products:
                self._weave(gemm)
                self._add(code)
                gemm += code.cycles
                if n + 1 == len(work.steps) and not self.pending:
                    self._begin(work.number + 1)
            count = len(kernel) * tile.pixels
            self.lead -= count
            self.clock.products(count, max(inp.done, wgt.done))
            self.emitted = number + n
            self._prefetch()
        self._flush()
        self.pending = self.writer.after(work)
        passes = sum(d.operation is not None for d in plan.visit.drain)
        size = tile.outputs * tile.pixels
        self.clock.drain(work.number, passes * size, len(plan.visit.stores) * size)

    def _add(self, code: Code):
        fields = code.fields
        if code.kernel is not None:
            at = self._load_kernel(code.kernel)
            fields = fields | {name: at + fields[name] for name in ("uop_bgn", "uop_end")}
        self.stream.add(code.opcode, fields, code.touches)

    # Accumulators

    def _begin(self, number: int, must: bool = False):
        """Loads of accumulators for a tile, as soon as that is possible; or now."""
        if number != self.begun or number == len(self.works):
            return
        work = self.works[number]
        if self._meets_pending(work):
            if not must:
                return
            self._flush()
        self.begun += 1
        for code in self.writer.before(work):
            self._add(code)

    def _meets_pending(self, work: Work) -> bool:
        """Whether the tile needs the accumulators of one not yet drained, or what that stores."""
        if self.stored >= work.number - 1:
            return False
        for last in self.works[self.stored + 1:work.number]:
            if work.area < last.area + last.plan.area and last.area < work.area + work.plan.area:
                return True
        visit, tile = work.plan.visit, work.tile
        regions = [Region(tensor, tile.blocks, tile.rows, tile.cols) for _, tensor in visit.loads]
        if pools(work.plan):
            regions += [work.plan.region(tile, tile.blocks, taps) for taps in work.plan.taps()]
        return any(made(region, self.writer.places, self.makers) > self.stored
                   for region in regions)

    def _weave(self, gemm: int):
        """Passes of the tile before, as many as the ALU does beside ``gemm`` products and two more.

        With more of them, those in front of the ALU would hold up what comes behind.
        """
        while self.pending and (self.pending[0].opcode == Opcode.STORE
                                or self.alu <= gemm + self.pending[0].cycles):
            self._drain()

    def _drain(self):
        """The next instruction that drains the tile before."""
        code = self.pending.pop(0)
        self._add(code)
        self.alu += code.cycles
        if not self.pending:
            self.stored += 1

    def _flush(self):
        while self.pending:
            self._drain()

    # Chunks

    def _fetch(self, step: int):
        """All that ``step`` needs."""
        while heads := [chunk for chunk in self._candidates() if chunk.first <= step]:
            self._issue(min(heads, key=lambda chunk: chunk.first))

    def _prefetch(self):
        """What the load unit can do while the last step is computed."""
        while self.clock.load < self.clock.gemm:
            heads = [chunk for chunk in self._candidates()
                     if chunk.after <= self.emitted and chunk.tile <= self.stored]
            if not heads:
                return
            self._issue(min(heads, key=lambda chunk: chunk.first))

    def _candidates(self) -> list[Chunk]:
        return [queue[self.heads[memory]] for memory, queue in self.queues.items()
                if self.heads[memory] < len(queue)]

    def _issue(self, chunk: Chunk):
        if chunk.tile > self.stored:
            self._flush()
        code = chunk.pieces.pop(0)
        self._add(code)
        chunk.done = self.clock.loads(code.fields, chunk.after, chunk.tile)
        if not chunk.pieces:
            for memory, queue in self.queues.items():
                if self.heads[memory] < len(queue) and queue[self.heads[memory]] is chunk:
                    self.heads[memory] += 1

    # Micro-operations

    def _load_ahead(self, number: int):
        """Kernels of the tiles from ``number`` on: other reads may hold them up for long."""
        self.ahead = max(self.ahead, number)
        words = 0
        while (self.ahead < len(self.works) and self.lead < _LEAD
               and words < self.config.depth("uop") // 4):
            work = self.works[self.ahead]
            kernels = [self.writer.kernel(work, step, inp.sram, wgt.sram)
                       for step, inp, wgt in work.steps]
            self.lead += work.tile.pixels * sum(map(len, kernels))
            for kernel in [*kernels, self.writer.drain_kernel(work)]:
                self._load_kernel(kernel)
                words += len(kernel)
            self.ahead += 1

    def _load_kernel(self, kernel: np.ndarray) -> int:
        """Index of micro-operations in their scratchpad; loads them if they are not there."""
        key = kernel.tobytes()
        if key not in self.kernels:
            if self.free_uop + len(kernel) > self.config.depth("uop"):
                self.kernels.clear()
                self.free_uop = 0
            at = self.writer.constants.add("uops", kernel, shared=True)
            self.stream.add(Opcode.LOAD, {
                "memory_type": Memory.UOP, "sram_base": self.free_uop, "dram_base": at,
                "section": "uops", "y_size": 1, "x_size": len(kernel)})
            self.kernels[key] = self.free_uop
            self.free_uop += len(kernel)
        return self.kernels[key]
