"""Emission: tiles and steps become one stream of instructions.

Three things happen side by side in the core, and the order of the stream lets them:

- LOAD fetches chunks for coming steps as soon as their places in the scratchpads are free, that of
  the nearest step first;
- GEMM goes from step to step;
- the drain of a tile (ALU, STORE) is woven in between the products of the next tile.

Nothing here is about correctness: :class:`hw.compiler.stream.Stream` orders what depends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.compiler.cost import Clock, Costs
from hw.compiler.layout import parameters
from hw.compiler.schedule import Plan, Region, Step, Tile, Weights
from hw.compiler.slots import assign
from hw.compiler.stream import Stream, Touch
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Isa, Memory, Opcode

__all__ = ["Place", "Constants", "emit"]

_PAD_LIMIT, _ROW_LIMIT, _HEIGHT_LIMIT = 15, 65535, 255
_PIECE = 64   # weight elements of one LOAD: others get their turn in between
_AHEAD = 2    # instructions that wait in front of the ALU without holding up others


@dataclass(frozen=True)
class Place:
    """Where a tensor is: block ``offset`` of ``shape`` (blocks, height, width) from ``base`` on."""
    root: str
    base: int
    shape: tuple[int, int, int]
    offset: int

    def touch(self, write, blocks, rows, cols) -> Touch:
        """Those blocks, rows and columns of the tensor."""
        index = (slice(blocks[0] + self.offset, blocks[1] + self.offset), slice(*rows),
                 slice(*cols))
        size = self.shape[0] * self.shape[1] * self.shape[2]
        return Touch("dram", write, self.base, self.base + size, self.shape, index)

    def element(self, block, row, col) -> int:
        _, height, width = self.shape
        return self.base + ((block + self.offset) * height + row) * width + col


class Constants:
    """What the compiler puts into DRAM: elements in the order in which they were added."""

    def __init__(self):
        self.parts: dict[str, list[np.ndarray]] = {}
        self._sizes: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, section: str, elements: np.ndarray, *, shared: bool = False) -> int:
        """Index in ``section`` of the first of ``elements`` (first axis); ``shared``: once."""
        key = (section, elements.tobytes()) if shared else None
        if key in self._known:
            return self._known[key]
        at = self._sizes.get(section, 0)
        self.parts.setdefault(section, []).append(elements)
        self._sizes[section] = at + len(elements)
        if key is not None:
            self._known[key] = at
        return at


@dataclass
class _Load:
    """An instruction to be; its ``uop_bgn`` and ``uop_end`` count from the start of ``kernel``."""
    opcode: Opcode
    fields: dict
    touches: list[Touch]
    kernel: np.ndarray | None = None


@dataclass
class _Fetch:
    """A chunk on its way into a scratchpad."""
    first: int                # step that needs it
    after: int                # step that must have been emitted, since it uses what was there
    tile: int                 # tile that must have been stored, since it makes the contents
    pieces: list[_Load]
    done: float = 0.0


@dataclass
class _Work:
    """A tile and what its steps need."""
    plan: Plan
    tile: Tile
    number: int
    steps: list[tuple[Step, int, int, _Fetch, _Fetch]] = field(default_factory=list)


def emit(plans: Sequence[Plan], places: dict[str, Place], constants: Constants, config: VtaConfig,
         dram: int, costs: Costs | None = None) -> tuple[Stream, list[int]]:
    """Stream of one launch, and the index of the instruction with which each visit ends.

    ``places``: where each tensor is; ``dram``: elements of activations.
    """
    return _Emitter(places, constants, config, dram, costs or Costs()).run(plans)


class _Emitter:
    def __init__(self, places, constants, config, dram, costs):
        self.places, self.constants, self.config = places, constants, config
        self.stream = Stream(config, dram)
        self.isa = Isa(config)
        self.clock = Clock(config, costs)
        self.kernels: dict[bytes, int] = {}
        self.free_uop = 0
        self.pending: list[_Load] = []      # of the tile before
        self.pending_tile = -1
        self.stored = -1                    # last tile whose stores are in the stream
        self.emitted = -1                   # last step in the stream
        self.queues: dict[str, list[_Fetch]] = {}
        self.heads: dict[str, int] = {}
        self.in_area: dict[int, tuple] = {}  # area -> whose parameters it holds

    def run(self, plans):
        works = self._works(plans)
        ends, number = [], 0
        for n, work in enumerate(works):
            self._tile(work, works[n + 1] if n + 1 < len(works) else None, number)
            number += len(work.steps)
            if n + 1 == len(works) or works[n + 1].plan is not work.plan:
                ends.append(len(self.stream) - 1)
        self._flush()
        self.stream.finish()
        return self.stream, ends

    # Planning: all tiles, their chunks, and where those go

    def _works(self, plans) -> list[_Work]:
        works, writers, step_number = [], {}, 0
        used = {"inp": np.full(self.config.depth("inp"), -1),
                "wgt": np.full(self.config.depth("wgt"), -1)}
        bases = {"inp": 0, "wgt": 0}
        for plan in plans:
            mine = [_Work(plan, tile, len(works) + n) for n, tile in enumerate(plan.tiles())]
            works += mine
            if plan.visit.products:
                step_number = self._fetches(plan, mine, step_number, used, bases, writers)
            for work in mine:
                tile = work.tile
                for tensor in plan.visit.stores:
                    place = self.places[tensor.name]
                    writer = writers.setdefault(place.root, np.full(place.shape, -1, np.int32))
                    touch = place.touch(True, tile.blocks, tile.rows, tile.cols)
                    writer[touch.index] = work.number
        self.writers = writers
        for queue in self.queues.values():
            queue.sort(key=lambda fetch: fetch.first)
        return works

    def _fetches(self, plan: Plan, works, number, used, bases, writers) -> int:
        steps = [(work, step) for work in works for step in plan.steps(work.tile)]
        events = {}
        weights_at: dict[Weights, int] = {}
        for memory, keys, size, slots, depth in (
            ("inp", [step.inputs for _, step in steps], plan.input_size, plan.input_slots,
             self.config.depth("inp")),
            ("wgt", [step.weights for _, step in steps], plan.weight_size, plan.weight_slots,
             plan.weight_depth),
        ):
            base = bases[memory]
            if base + size * slots > depth:
                base = 0
            bases[memory] = base + size * slots
            chosen = assign(keys, slots)
            queue = self.queues.setdefault(memory, [])
            self.heads.setdefault(memory, 0)
            events[memory] = []
            current: dict[int, _Fetch] = {}
            for n, (slot, fresh, last) in enumerate(chosen):
                bgn = base + slot * size
                if fresh:
                    if memory == "inp":
                        pieces = self._region(Memory.INP, keys[n], bgn, plan.visit.pad_value)
                        ready = self._ready(keys[n], writers)
                    else:
                        pieces, ready = self._weights(plan, keys[n], bgn, weights_at), -1
                    end = max(touch.end for piece in pieces for touch in piece.touches
                              if touch.memory == memory)
                    span = used[memory][bgn:end]
                    fetch = _Fetch(number + n, int(span.max()), ready, pieces)
                    span[:] = number + last
                    queue.append(fetch)
                    current[slot] = fetch
                events[memory].append((bgn, current[slot]))
        for n, (work, step) in enumerate(steps):
            (inp, fetch), (wgt, weights) = events["inp"][n], events["wgt"][n]
            work.steps.append((step, inp, wgt, fetch, weights))
        return number + len(steps)

    def _ready(self, region: Region, writers) -> int:
        place = self.places[region.tensor.name]
        if place.root not in writers:
            return -1
        top, bottom, left, right = region.pads
        touch = place.touch(False, region.blocks,
                            (region.rows[0] + top, region.rows[1] - bottom),
                            (region.cols[0] + left, region.cols[1] - right))
        part = writers[place.root][touch.index]
        return int(part.max()) if part.size else -1

    def _weights(self, plan: Plan, key: Weights, sram: int, known) -> list[_Load]:
        if key not in known:
            products = plan.visit.products
            (o0, o1), (i0, i1), (y0, y1, x0, x1) = key.outputs, key.inputs, key.taps
            if products.depthwise:
                part = products.weights[0, o0:o1]
            elif products.diagonal:
                part = products.weights[0, o0:o1, 0, y0:y1, x0:x1]
            else:
                part = products.weights[key.group, o0:o1, i0:i1, y0:y1, x0:x1]
            part = part.reshape(-1, *part.shape[-2:])
            known[key] = (self.constants.add("weights", part), len(part))
        at, count = known[key]
        return [_Load(Opcode.LOAD, {"memory_type": Memory.WGT, "sram_base": sram + n,
                                    "dram_base": at + n, "section": "weights", "y_size": 1,
                                    "x_size": min(_PIECE, count - n)},
                      [Touch("wgt", True, sram + n, sram + min(n + _PIECE, count))])
                for n in range(0, count, _PIECE)]

    def _region(self, memory: Memory, region: Region, sram: int, pad_value: int) -> list[_Load]:
        """LOADs of a region, dense, block by block."""
        place, (b0, b1) = self.places[region.tensor.name], region.blocks
        _, height, width = place.shape
        top, bottom, left, right = region.pads
        rows = (region.rows[0] + top, region.rows[1] - bottom)
        cols = (region.cols[0] + left, region.cols[1] - right)
        high, wide, size = rows[1] - rows[0], cols[1] - cols[0], region.height * region.width
        pads, inside = (top, bottom, left, right), high > 0 and wide > 0
        fixed = {"memory_type": memory, "section": "activations"}
        name = "inp" if memory == Memory.INP else "acc"

        def load(at, count, blocks, y, x, element, stride, pads=(0, 0, 0, 0), seen=None):
            fields = fixed | dict(zip(("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"), pads))
            fields |= {"sram_base": at, "dram_base": element, "y_size": y, "x_size": x,
                       "x_stride": stride}
            opcode = Opcode.LOAD
            if any(pads) and pad_value:
                opcode, fields["pad_value"] = Opcode.LOAD_PAD, pad_value
            touches = [Touch(name, True, at, at + count)]
            if y:
                touches.append(place.touch(False, blocks, *(seen or (rows, cols))))
            return _Load(opcode, fields, touches)

        if inside and not any(pads) and wide == width:
            if high == height and (b1 - b0) * high * wide <= _ROW_LIMIT:
                return [load(sram, (b1 - b0) * size, (b0, b1), 1, (b1 - b0) * high * wide,
                             place.element(b0, 0, 0), 0)]
            if max(height * width, high * wide) <= _ROW_LIMIT:
                return [load(sram, (b1 - b0) * size, (b0, b1), b1 - b0, high * wide,
                             place.element(b0, rows[0], 0), height * width)]
        if inside and max(pads) <= _PAD_LIMIT and high <= _HEIGHT_LIMIT:
            return [load(sram + n * size, size, (b, b + 1), high, wide,
                         place.element(b, rows[0], cols[0]), width, pads)
                    for n, b in enumerate(range(b0, b1))]
        loads = []
        for n, b in enumerate(range(b0, b1)):  # row by row, padding on its own
            for y in range(region.height):
                at = sram + n * size + y * region.width
                runs = [(False, region.width)]
                if inside and top <= y < top + high:
                    runs = [(False, left), (True, wide), (False, right)]
                for data, count in runs:
                    row = region.rows[0] + y
                    if data:
                        loads.append(load(at, count, (b, b + 1), 1, count,
                                          place.element(b, row, cols[0]), 0,
                                          seen=((row, row + 1), cols)))
                    elif count:
                        loads.append(load(at, count, (b, b + 1), 0, count, 0, 0, (1, 0, 0, 0)))
                    at += count
        return loads

    # The stream

    def _tile(self, work: _Work, following: _Work | None, number: int):
        plan, tile = work.plan, work.tile
        area = work.number % plan.schedule.areas * plan.area
        before, after = self._around(work, area)
        if self._needs_pending(work):
            self._flush()
        for load in before:
            self._add(load)
        self.clock.tile(work.number, plan.schedule.areas)
        for n, (step, inp, wgt, fetch, weights) in enumerate(work.steps):
            self._fetch(number + n)
            kernel = self._kernel(plan, tile, step, area, inp, wgt)
            self._load_kernel(kernel)
            if n + 1 < len(work.steps):
                step_2, inp_2, wgt_2, *_ = work.steps[n + 1]
                self._load_kernel(self._kernel(plan, tile, step_2, area, inp_2, wgt_2))
            products = self._products(plan, tile, step, (area, inp, wgt), kernel,
                                      len(self.pending))
            self._drain(_AHEAD)
            for load in products:
                self._add(load)
                self._drain(1)
            uops = sum(load.fields["iter_out"] * load.fields["iter_in"]
                       * (load.fields["uop_end"] - load.fields["uop_bgn"]) for load in products)
            self.clock.products(uops, max(fetch.done, weights.done))
            self.emitted = number + n
            self._prefetch(number + n)
        self._flush()
        self.pending, self.pending_tile = after, work.number
        size = tile.outputs * tile.pixels
        self.clock.drain(work.number, size * sum(load.opcode == Opcode.ALU for load in after),
                         size * len(plan.visit.stores))

    def _add(self, load: _Load):
        fields = load.fields
        if load.kernel is not None:
            at = self._load_kernel(load.kernel)
            fields = fields | {name: at + fields[name] for name in ("uop_bgn", "uop_end")}
        self.stream.add(load.opcode, fields, load.touches)

    def _drain(self, count: int):
        for load in self.pending[:count]:
            self._add(load)
        del self.pending[:count]
        while self.pending and self.pending[0].opcode == Opcode.STORE:
            self._add(self.pending.pop(0))
        if not self.pending:
            self.stored = max(self.stored, self.pending_tile)

    def _flush(self):
        self._drain(len(self.pending))

    def _needs_pending(self, work: _Work) -> bool:
        """Whether the tile loads accumulators that the one before is still to store."""
        if not self.pending:
            return False
        regions = [Region(tensor, work.tile.blocks, work.tile.rows, work.tile.cols)
                   for _, tensor in work.plan.visit.loads]
        if work.plan.visit.x is not None and not work.plan.visit.products:
            regions += [work.plan.region(work.tile, work.tile.blocks, taps)
                        for taps in work.plan.taps()]
        return any(self._ready(region, self.writers) >= self.pending_tile for region in regions)

    # Fetching

    def _fetch(self, step: int):
        """All that ``step`` needs."""
        while True:
            heads = [fetch for fetch in self._candidates() if fetch.first <= step]
            if not heads:
                return
            self._issue(min(heads, key=lambda fetch: fetch.first))

    def _prefetch(self, step: int):
        """What the load unit can do while ``step`` is computed."""
        while self.clock.load < self.clock.gemm:
            heads = [fetch for fetch in self._candidates()
                     if fetch.after <= self.emitted and fetch.tile <= self.stored]
            if not heads:
                return
            self._issue(min(heads, key=lambda fetch: fetch.first))

    def _candidates(self) -> list[_Fetch]:
        return [queue[self.heads[memory]] for memory, queue in self.queues.items()
                if self.heads[memory] < len(queue)]

    def _issue(self, fetch: _Fetch):
        if fetch.tile > self.stored:
            self._flush()
        piece = fetch.pieces.pop(0)
        self._add(piece)
        fetch.done = self.clock.loads(piece.fields, fetch.after, fetch.tile)
        if not fetch.pieces:
            for memory, queue in self.queues.items():
                head = self.heads[memory]
                if head < len(queue) and queue[head] is fetch:
                    self.heads[memory] += 1

    # Micro-operations

    def _load_kernel(self, words: np.ndarray) -> int:
        """Index of micro-operations in their scratchpad; loads them if they are not there."""
        key = words.tobytes()
        if key not in self.kernels:
            if self.free_uop + len(words) > self.config.depth("uop"):
                self.kernels.clear()
                self.free_uop = 0
            at = self.constants.add("uops", words, shared=True)
            self.stream.add(Opcode.LOAD, {
                "memory_type": Memory.UOP, "sram_base": self.free_uop, "dram_base": at,
                "section": "uops", "y_size": 1, "x_size": len(words)})
            self.kernels[key] = self.free_uop
            self.free_uop += len(words)
        return self.kernels[key]

    def _uops(self, dst, src, wgt=0) -> np.ndarray:
        words = np.zeros(np.broadcast(dst, src, wgt).shape, np.int64)
        for value, (offset, _, width) in zip((dst, src, wgt), self.isa.uop_places.values()):
            assert np.max(value) < 1 << width
            words |= np.asarray(value, np.int64) << offset
        return words.ravel().astype(np.uint32)

    def _kernel(self, plan, tile, step, area, inp, wgt) -> np.ndarray:
        """Kernel of a step: first tap and input of each output, then the rest, by outputs."""
        products, window = plan.visit.products, plan.visit.window
        ky, kx = step.taps[1] - step.taps[0], step.taps[3] - step.taps[2]
        block, width = step.inputs.height * step.inputs.width, step.inputs.width
        o, i, y, x = np.ix_(range(tile.outputs),
                            range(1 if products.diagonal
                                  else step.inputs.blocks[1] - step.inputs.blocks[0]),
                            range(ky), range(kx))
        inputs = i.size
        seen = o if products.diagonal else i
        src = (inp + seen * block + y * window.dilation[0] * width + x * window.dilation[1]
               + 0 * o)
        if products.ones:
            weight = np.full(src.shape, wgt * self.config.block)
        elif products.depthwise:
            kernel_width = window.kernel[1]
            row = (step.taps[0] + y) * kernel_width + step.taps[2] + x
            weight = (wgt + o * products.weights.shape[2]) * self.config.block + row
        else:
            weight = wgt + ((o * inputs + i) * ky + y) * kx + x
        words = self._uops(area + o * tile.pixels, src, weight).reshape(tile.outputs, -1)
        return np.concatenate([words[:, 0], words[:, 1:].ravel()])

    def _products(self, plan, tile, step, places, kernel, parts) -> list[_Load]:
        window, outputs = plan.visit.window, tile.outputs
        per_output = len(kernel) // outputs
        area, inp, wgt = places
        region, key = step.inputs, step.weights
        touches = [
            Touch("acc", True, area, area + outputs * tile.pixels),
            Touch("inp", False, inp, inp + (region.blocks[1] - region.blocks[0])
                  * region.height * region.width),
            Touch("wgt", False, wgt, wgt + plan.weights_of(
                outputs, key.inputs[1] - key.inputs[0],
                (key.taps[1] - key.taps[0]) * (key.taps[3] - key.taps[2]))),
        ]
        depthwise = plan.visit.products.depthwise
        fields = {
            "iter_out": tile.height, "iter_in": tile.width,
            "dst_factor_out": tile.width, "dst_factor_in": 1,
            "src_factor_out": window.stride[0] * step.inputs.width,
            "src_factor_in": window.stride[1],
        }
        spans = []
        if step.first or per_output == 1:
            spans.append((0, outputs, step.first))
        rest = outputs
        if per_output > 1:
            start = rest if step.first else 0
            parts = max(1, min(parts, outputs))
            cuts = [rest + (per_output - 1) * (outputs * n // parts) for n in range(parts + 1)]
            cuts[0] = start
            spans += [(a, b, False) for a, b in zip(cuts, cuts[1:])]
        return [_Load(Opcode.DEPTHWISE if depthwise else Opcode.GEMM,
                      fields | {"uop_bgn": a, "uop_end": b, "overwrite": int(overwrite)},
                      touches, kernel)
                for a, b, overwrite in spans]

    # Around the products: parameters and other tensors in, results out

    def _around(self, work: _Work, area: int) -> tuple[list[_Load], list[_Load]]:
        plan, tile = work.plan, work.tile
        visit, size = plan.visit, tile.outputs * tile.pixels
        before, early, after = [], [], []
        regions = [area + n * size for n in range(visit.regions)]
        # (destination, source) of every pass, as one kernel
        pool = list(self._pool(work, area + visit.regions * size)) if self._pools(plan) else []
        first_parameter = area + plan.area - 2 * tile.outputs * len(visit.parameters)
        uops = [(regions[d.dst], self._source(d, regions, first_parameter, tile))
                for d in visit.drain if d.operation is not None]
        kernel = self._uops(*np.array(uops or [(0, 0)]).T)
        self._load_kernel(kernel)
        if visit.parameters:
            before += self._parameters(work, area, first_parameter)
        for region, tensor in visit.loads:
            before += self._region(Memory.ACC_8BIT,
                                   Region(tensor, tile.blocks, tile.rows, tile.cols),
                                   regions[region], 0)
        if pool:
            before += pool[0][0]
            after += pool[0][1]
            for loads, passes in pool[1:]:
                after += loads + passes
        number = 0
        for d in visit.drain:
            if d.operation is None:
                after += self._stores(tile, d.tensor, regions[d.dst])
            else:
                load = self._pass(tile, d, kernel, number, visit, regions, first_parameter)
                (early if d.early else after).append(load)
                number += 1
        return before + early, after

    @staticmethod
    def _pools(plan) -> bool:
        return plan.visit.x is not None and not plan.visit.products

    @staticmethod
    def _source(d, regions, first_parameter, tile):
        if d.operation == AluOp.RQT:
            return first_parameter + 2 * tile.outputs * d.value
        return regions[d.src]

    def _parameters(self, work, area, at) -> Iterator[_Load]:
        plan, tile = work.plan, work.tile
        key = (id(plan), tile.blocks, at)
        if self.in_area.get(area) == key:
            return []
        self.in_area[area] = key
        pairs = [parameters(r, self.config)[slice(*tile.blocks)]
                 for r in plan.visit.parameters]
        elements = np.concatenate(pairs).reshape(-1, self.config.batch, self.config.block)
        dram = self.constants.add("parameters", elements, shared=True)
        return [_Load(Opcode.LOAD, {"memory_type": Memory.ACC, "sram_base": at, "dram_base": dram,
                                    "section": "parameters", "y_size": 1,
                                    "x_size": len(elements)},
                      [Touch("acc", True, at, at + len(elements))])]

    def _pass(self, tile, d, kernel, uop, visit, regions, first_parameter) -> _Load:
        size = tile.outputs * tile.pixels
        fields = {"alu_opcode": d.operation, "uop_bgn": uop, "uop_end": uop + 1,
                  "iter_out": 1, "iter_in": size, "dst_factor_in": 1}
        touches = [Touch("acc", True, regions[d.dst], regions[d.dst] + size)]
        if d.operation == AluOp.RQT:
            r = visit.parameters[d.value]
            packed = (r.high & 0xff) << 8 | r.low & 0xff
            fields |= {"iter_out": tile.outputs, "iter_in": tile.pixels,
                       "dst_factor_out": tile.pixels, "src_factor_out": 2, "bias": 1,
                       "imm": packed - (packed >> 15 << 16)}
            at = first_parameter + 2 * tile.outputs * d.value
            touches.append(Touch("acc", False, at, at + 2 * tile.outputs))
        elif d.operation == AluOp.MUL:
            fields |= {"use_imm": 1, "imm": d.value}
        else:
            fields["src_factor_in"] = 1
            touches.append(Touch("acc", False, regions[d.src], regions[d.src] + size))
        return _Load(Opcode.ALU, fields, touches, kernel)

    def _pool(self, work, base) -> Iterator[tuple[list[_Load], list[_Load]]]:
        """The maximum under the window: for each chunk of taps its LOADs and its passes."""
        plan, tile = work.plan, work.tile
        window, area = plan.visit.window, base - plan.visit.regions * tile.outputs * tile.pixels
        for number, taps in enumerate(plan.taps()):
            region = plan.region(tile, tile.blocks, taps)
            loads = self._region(Memory.ACC_8BIT, region, base, -128)
            o, y, x = np.ix_(range(tile.outputs), range(taps[1] - taps[0]),
                             range(taps[3] - taps[2]))
            src = (base + (o * region.height + y * window.dilation[0]) * region.width
                   + x * window.dilation[1])
            words = self._uops(area + o * tile.pixels, src).reshape(tile.outputs, -1)
            kernel, split = words.T.ravel(), tile.outputs
            fields = {"iter_out": tile.height, "iter_in": tile.width,
                      "dst_factor_out": tile.width, "dst_factor_in": 1,
                      "src_factor_out": window.stride[0] * region.width,
                      "src_factor_in": window.stride[1]}
            seen = tile.outputs * region.height * region.width
            touches = [Touch("acc", True, area, area + tile.outputs * tile.pixels),
                       Touch("acc", False, base, base + seen)]
            spans = [(AluOp.MAX, 0, words.size)]
            if number == 0:
                spans = [(AluOp.MOV, 0, split), (AluOp.MAX, split, words.size)]
            yield loads, [_Load(Opcode.ALU, fields | {"alu_opcode": operation, "uop_bgn": a,
                                                      "uop_end": b}, touches, kernel)
                          for operation, a, b in spans if b > a]

    def _stores(self, tile: Tile, tensor, at: int) -> list[_Load]:
        place, size = self.places[tensor.name], tile.outputs * tile.pixels
        _, height, width = place.shape
        fixed = {"memory_type": Memory.OUT, "section": "activations"}
        if tile.width == width and max(height * width, tile.pixels) <= _ROW_LIMIT:
            return [_Load(Opcode.STORE, fixed | {
                "sram_base": at, "dram_base": place.element(tile.blocks[0], tile.rows[0], 0),
                "y_size": tile.outputs, "x_size": tile.pixels, "x_stride": height * width,
            }, [Touch("acc", False, at, at + size),
                place.touch(True, tile.blocks, tile.rows, tile.cols)])]
        return [_Load(Opcode.STORE, fixed | {
            "sram_base": at + n * tile.pixels,
            "dram_base": place.element(b, tile.rows[0], tile.cols[0]),
            "y_size": tile.height, "x_size": tile.width, "x_stride": width,
        }, [Touch("acc", False, at + n * tile.pixels, at + (n + 1) * tile.pixels),
            place.touch(True, (b, b + 1), tile.rows, tile.cols)])
            for n, b in enumerate(range(*tile.blocks))]
