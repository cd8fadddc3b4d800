"""Instructions of one tile: what brings its data, computes it, and stores it; in no order yet."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hw.compiler.layout import parameters
from hw.compiler.operators import Tensor
from hw.compiler.schedule import Plan, Region, Step, Tile, Weights
from hw.compiler.stream import Touch
from hw.compiler.visits import Drain
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Isa, Memory, Opcode

__all__ = ["Place", "Constants", "Code", "Chunk", "Work", "Writer", "pools"]

_PAD_LIMIT, _ROW_LIMIT, _HEIGHT_LIMIT = 15, 65535, 255
_PIECE = 64   # weight elements of one LOAD: others get their turn in between


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
        return Touch("dram", write, self.base, self.base + size, self.shape, index, self.root)

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
class Code:
    """An instruction to be; its ``uop_bgn`` and ``uop_end`` count from the start of ``kernel``."""
    opcode: Opcode
    fields: dict
    touches: list[Touch]
    kernel: np.ndarray | None = None

    @property
    def cycles(self) -> int:
        """Of GEMM or ALU; 0 of others."""
        get = self.fields.get
        return get("iter_out", 0) * get("iter_in", 0) * (get("uop_end", 0) - get("uop_bgn", 0))


@dataclass
class Work:
    """A tile: its number, its accumulators from ``area`` on, and its steps with their chunks."""
    plan: Plan
    tile: Tile
    number: int
    area: int
    steps: list[tuple[Step, "Chunk", "Chunk"]] = field(default_factory=list)

    @property
    def pitch(self) -> int:
        """From block to block of the sums. GEMM goes from block to block, ALU along one; they
        should not follow each other through the banks."""
        pixels = self.tile.pixels
        return pixels + (3 - pixels) % 4 if self.plan.woven else pixels

    @property
    def pitches(self) -> list[int]:
        """The same of each region; what is loaded is dense."""
        return [self.pitch] + [self.tile.pixels] * (self.plan.visit.regions - 1)

    @property
    def regions(self) -> list[int]:
        """Where the visit's regions begin; and, at last, where they end."""
        return [self.area + self.tile.outputs * sum(self.pitches[:n])
                for n in range(self.plan.visit.regions + 1)]

    @property
    def first_parameter(self) -> int:
        return (self.area + self.plan.area
                - 2 * self.tile.outputs * len(self.plan.visit.parameters))


@dataclass
class Chunk:
    """Inputs or weights on their way to ``sram``.

    They are for step ``first``, may go where step ``after`` and those before it had theirs, and
    are what tile ``tile`` stores, and others before it.
    """
    sram: int
    first: int
    after: int
    tile: int
    pieces: list[Code]
    done: float = 0.0


def pools(plan: Plan) -> bool:
    """Whether the visit is a maximum under a window."""
    return plan.visit.x is not None and not plan.visit.products


class Writer:
    """Makes instructions of tiles.

    ``places``: where each tensor is; ``constants`` collects weights and parameters.
    """

    def __init__(self, config: VtaConfig, places: dict[str, Place], constants: Constants):
        self.config, self.places, self.constants = config, places, constants
        self.isa = Isa(config)
        self._in_area: dict[int, tuple] = {}  # area -> whose parameters it holds

    # Loads of the load unit, and of accumulators

    def weights(self, plan: Plan, key: Weights, sram: int, known) -> list[Code]:
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
        return [Code(Opcode.LOAD, {"memory_type": Memory.WGT, "sram_base": sram + n,
                                    "dram_base": at + n, "section": "weights", "y_size": 1,
                                    "x_size": min(_PIECE, count - n)},
                      [Touch("wgt", True, sram + n, sram + min(n + _PIECE, count))])
                for n in range(0, count, _PIECE)]

    def region(self, memory: Memory, region: Region, sram: int, pad_value: int) -> list[Code]:
        """LOADs of a region, dense, block by block."""
        place, (b0, b1) = self.places[region.tensor.name], region.blocks
        _, height, width = place.shape
        top, bottom, left, right = region.pads
        rows = (region.rows[0] + top, region.rows[1] - bottom)
        cols = (region.cols[0] + left, region.cols[1] - right)
        high, wide = -(-(rows[1] - rows[0]) // region.step), cols[1] - cols[0]
        size, step = region.height * region.width, region.step
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
            return Code(opcode, fields, touches)

        if inside and not any(pads) and wide == width and step == 1:
            if high == height and (b1 - b0) * high * wide <= _ROW_LIMIT:
                return [load(sram, (b1 - b0) * size, (b0, b1), 1, (b1 - b0) * high * wide,
                             place.element(b0, 0, 0), 0)]
            if max(height * width, high * wide) <= _ROW_LIMIT:
                return [load(sram, (b1 - b0) * size, (b0, b1), b1 - b0, high * wide,
                             place.element(b0, rows[0], 0), height * width)]
        if (inside and max(pads) <= _PAD_LIMIT and high <= _HEIGHT_LIMIT
                and step * width <= _ROW_LIMIT):
            return [load(sram + n * size, size, (b, b + 1), high, wide,
                         place.element(b, rows[0], cols[0]), step * width, pads)
                    for n, b in enumerate(range(b0, b1))]
        loads = []
        for n, b in enumerate(range(b0, b1)):  # row by row, padding on its own
            for y in range(region.height):
                at = sram + n * size + y * region.width
                runs = [(False, region.width)]
                if inside and top <= y < top + high:
                    runs = [(False, left), (True, wide), (False, right)]
                for data, count in runs:
                    row = region.rows[0] + y * step
                    if data:
                        loads.append(load(at, count, (b, b + 1), 1, count,
                                          place.element(b, row, cols[0]), 0,
                                          seen=((row, row + 1), cols)))
                    elif count:
                        loads.append(load(at, count, (b, b + 1), 0, count, 0, 0, (1, 0, 0, 0)))
                    at += count
        return loads

    # Products

    def _uops(self, dst, src, wgt=0) -> np.ndarray:
        words = np.zeros(np.broadcast(dst, src, wgt).shape, np.int64)
        for value, (offset, _, width) in zip((dst, src, wgt), self.isa.uop_places.values()):
            assert np.max(value) < 1 << width
            words |= np.asarray(value, np.int64) << offset
        return words.ravel().astype(np.uint32)

    def kernel(self, work: Work, step: Step, inp: int, wgt: int) -> np.ndarray:
        """Kernel of a step: first tap and input of each output, then the rest, by outputs."""
        tile, area = work.tile, work.area
        products, window = work.plan.visit.products, work.plan.visit.window
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
        words = self._uops(area + o * work.pitch, src, weight).reshape(tile.outputs, -1)
        return np.concatenate([words[:, 0], words[:, 1:].ravel()])

    def products(self, work: Work, step: Step, inp: int, wgt: int, kernel: np.ndarray,
                 piece: int, pieces: int) -> list[Code]:
        """A step; its first ``pieces`` instructions, if it has so many, take ``piece`` cycles."""
        plan, tile, area = work.plan, work.tile, work.area
        window, outputs = plan.visit.window, tile.outputs
        per_output = len(kernel) // outputs
        region, key = step.inputs, step.weights
        touches = [
            Touch("acc", True, area, area + outputs * work.pitch),
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
            "src_factor_out": plan.row_stride * step.inputs.width,
            "src_factor_in": window.stride[1],
        }
        spans = []
        if step.first or per_output == 1:
            spans.append((0, outputs, step.first))
        rest = outputs
        if per_output > 1:
            size = max(1, piece // tile.pixels)
            start = rest if step.first else 0
            cuts = [start, *range(start + size, len(kernel), size)][:pieces + 1]
            spans += [(a, b, False) for a, b in zip(cuts, [*cuts[1:], len(kernel)])]
        return [Code(Opcode.DEPTHWISE if depthwise else Opcode.GEMM,
                      fields | {"uop_bgn": a, "uop_end": b, "overwrite": int(overwrite)},
                      touches, kernel)
                for a, b, overwrite in spans]

    # Around the products: parameters and other tensors in, results out

    def before(self, work: Work) -> list[Code]:
        """What the tile needs in the accumulators; to be asked once for each, in their order."""
        loads = self._parameters(work)
        for region, tensor in work.plan.visit.loads:
            tile = work.tile
            loads += self.region(Memory.ACC_8BIT,
                                 Region(tensor, tile.blocks, tile.rows, tile.cols),
                                 work.regions[region], 0)
        if pools(work.plan):
            loads += next(self._pool(work))[0]
        return loads

    def after(self, work: Work) -> list[Code]:
        """From sums to what is in DRAM."""
        codes, later = [], []
        for number, (loads, passes) in enumerate(self._pool(work) if pools(work.plan) else ()):
            codes += (loads if number else []) + passes
        kernel, number = self.drain_kernel(work), 0
        for d in work.plan.visit.drain:
            if d.operation is None:
                later += self._stores(work.tile, d.tensor, work.regions[d.dst], work.pitches[d.dst])
            else:
                (codes if d.early else later).append(self._pass(work, d, kernel, number))
                number += 1
        return codes + later

    def drain_kernel(self, work: Work) -> np.ndarray:
        """Destination and source of every pass."""
        visit, regions = work.plan.visit, work.regions
        uops = [(regions[d.dst],
                 work.first_parameter + 2 * work.tile.outputs * d.value
                 if d.operation == AluOp.RQT else regions[d.src])
                for d in visit.drain if d.operation is not None]
        return self._uops(*np.array(uops or [(0, 0)]).T)

    def _parameters(self, work: Work) -> list[Code]:
        plan, tile, at, area = work.plan, work.tile, work.first_parameter, work.area
        if not plan.visit.parameters:
            return []
        key = (id(plan), tile.blocks, at)
        if self._in_area.get(area) == key:
            return []
        self._in_area[area] = key
        pairs = [parameters(r, self.config)[slice(*tile.blocks)]
                 for r in plan.visit.parameters]
        elements = np.concatenate(pairs).reshape(-1, self.config.batch, self.config.block)
        dram = self.constants.add("parameters", elements, shared=True)
        return [Code(Opcode.LOAD, {"memory_type": Memory.ACC, "sram_base": at, "dram_base": dram,
                                    "section": "parameters", "y_size": 1,
                                    "x_size": len(elements)},
                      [Touch("acc", True, at, at + len(elements))])]

    def _pass(self, work: Work, d: Drain, kernel: np.ndarray, uop: int) -> Code:
        tile, visit, regions = work.tile, work.plan.visit, work.regions
        dst, src = work.pitches[d.dst], work.pitches[d.src]
        fields = {"alu_opcode": d.operation, "uop_bgn": uop, "uop_end": uop + 1,
                  "iter_out": tile.outputs, "iter_in": tile.pixels,
                  "dst_factor_out": dst, "dst_factor_in": 1}
        touches = [Touch("acc", True, regions[d.dst], regions[d.dst] + tile.outputs * dst)]
        if d.operation == AluOp.RQT:
            r = visit.parameters[d.value]
            packed = (r.high & 0xff) << 8 | r.low & 0xff
            fields |= {"src_factor_out": 2, "bias": 1, "imm": packed - (packed >> 15 << 16)}
            at = work.first_parameter + 2 * tile.outputs * d.value
            touches.append(Touch("acc", False, at, at + 2 * tile.outputs))
        elif d.operation == AluOp.MUL:
            fields |= {"use_imm": 1, "imm": d.value}
        else:
            fields |= {"src_factor_out": src, "src_factor_in": 1}
            touches.append(Touch("acc", False, regions[d.src],
                                 regions[d.src] + tile.outputs * src))
        return Code(Opcode.ALU, fields, touches, kernel)

    def _pool(self, work: Work) -> Iterator[tuple[list[Code], list[Code]]]:
        """The maximum under the window: for each chunk of taps its LOADs and its passes."""
        plan, tile = work.plan, work.tile
        window, area = plan.visit.window, work.area
        base = work.regions[-1]
        for number, taps in enumerate(plan.taps()):
            region = plan.region(tile, tile.blocks, taps)
            loads = self.region(Memory.ACC_8BIT, region, base, -128)
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
            yield loads, [Code(Opcode.ALU, fields | {"alu_opcode": operation, "uop_bgn": a,
                                                      "uop_end": b}, touches, kernel)
                          for operation, a, b in spans if b > a]

    def _stores(self, tile: Tile, tensor: Tensor, at: int, pitch: int) -> list[Code]:
        place = self.places[tensor.name]
        _, height, width = place.shape
        fixed = {"memory_type": Memory.OUT, "section": "activations"}
        if tile.width == width and max(height * width, tile.pixels) <= _ROW_LIMIT:
            return [Code(Opcode.STORE, fixed | {
                "sram_base": at, "dram_base": place.element(tile.blocks[0], tile.rows[0], 0),
                "y_size": tile.outputs, "x_size": tile.pixels, "x_stride": height * width,
                "sram_stride": pitch,
            }, [Touch("acc", False, at, at + tile.outputs * pitch),
                place.touch(True, tile.blocks, tile.rows, tile.cols)])]
        return [Code(Opcode.STORE, fixed | {
            "sram_base": at + n * pitch,
            "dram_base": place.element(b, tile.rows[0], tile.cols[0]),
            "y_size": tile.height, "x_size": tile.width, "x_stride": width,
        }, [Touch("acc", False, at + n * pitch, at + n * pitch + tile.pixels),
            place.touch(True, (b, b + 1), tile.rows, tile.cols)])
            for n, b in enumerate(range(*tile.blocks))]
