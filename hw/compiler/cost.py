"""What things cost in cycles."""

from dataclasses import dataclass

from hw.compiler.schedule import Plan
from hw.vta.config import VtaConfig
from hw.vta.isa import Memory

__all__ = ["Costs", "Clock", "Estimate", "estimate"]


@dataclass(frozen=True)
class Costs:
    """Cycles of the core and of its memory."""
    latency: int = 16   # of memory
    start:   int = 24   # from a token that is awaited to the first beat on the bus, without latency
    end:     int = 12   # from the last cycle of work to the token's arrival


class Clock:
    """When each part of the core is through with what it has been given so far, about."""

    def __init__(self, config: VtaConfig, costs: Costs):
        self.config, self.costs = config, costs
        self.load = self.gemm = self.alu = self.store = 0.0
        self._steps: list[float] = []
        self._tiles: dict[int, float] = {}
        self._free = 0.0

    def loads(self, fields: dict, step: int, tile: int) -> float:
        """A LOAD, not before the end of ``step`` and the stores of ``tile``; when it is there."""
        costs = self.costs
        ready = max(self._steps[step] + costs.end if step >= 0 else 0.0,
                    self._tiles[tile] + costs.end if tile >= 0 else 0.0)
        size = self.config.element_bytes(Memory(fields["memory_type"]).dram_element)
        beats = fields["y_size"] * -(-fields["x_size"] * size // (self.config.bus_width // 8))
        pads = fields.get("y_size", 0) * bool(fields.get("x_pad_0") or fields.get("x_pad_1"))
        self.load = max(self.load, ready + costs.start) + beats + pads
        return self.load + costs.latency

    def tile(self, number: int, areas: int):
        """Tile ``number`` begins; its accumulators are those of the one ``areas`` before."""
        self._free = self._tiles.get(number - areas, 0.0)

    def products(self, uops: int, ready: float):
        """A step, not before its chunks are ``ready``."""
        self.gemm = max(self.gemm, ready + self.costs.end, self._free + self.costs.end) + uops
        self._steps.append(self.gemm)

    def drain(self, number: int, passes: int, stores: int):
        """The ALU's micro-operations, and the elements stored, of tile ``number``."""
        beats = -(-self.config.element_bytes("out") * stores // (self.config.bus_width // 8))
        self.alu = max(self.alu, self.gemm + self.costs.end) + passes
        self.store = max(self.store, self.alu + self.costs.start) + beats
        self._tiles[number] = self.store + self.costs.latency


@dataclass(frozen=True)
class Estimate:
    """Cycles of a visit by resource, and in all."""
    gemm: int
    alu: int
    read: int
    write: int
    cycles: int


def estimate(plan: Plan, costs: Costs) -> Estimate:
    """What ``plan`` costs: the busiest resource, and what does not overlap with it."""
    visit, s, config = plan.visit, plan.schedule, plan.config
    channels, height, width = visit.shape
    blocks = plan.groups * plan.group_outputs
    elements = blocks * height * width
    beats = -(-config.element_bytes("out") // (config.bus_width // 8))
    tiles = plan.ranges * plan.places
    gemm = read = 0
    first = 0
    if visit.products:
        products = visit.products
        taps = visit.window.kernel[0] * visit.window.kernel[1]
        gemm = elements * taps * (1 if products.diagonal else products.inputs)
        # Inputs: once, or once for each range of channels.
        shares = (min(s.rows, height) / height) * (min(s.cols, width) / width)
        per_place = plan.seen[0] * plan.seen[1] * plan.tap_chunks
        in_blocks = blocks if products.diagonal else products.inputs * plan.groups
        once = per_place * plan.places * in_blocks
        ranges = 1 if products.diagonal else plan.ranges // plan.groups
        stays = (plan.input_slots >= plan.input_chunks if s.pixels_first
                 else plan.input_slots > plan.steps_per_tile)
        read += beats * once * (1 if stays else ranges)
        # Weights: once, or once for each place.
        weight_beats = -(-config.element_bytes("wgt") // (config.bus_width // 8))
        total = plan.ranges * plan.weight_size * (1 if products.depthwise
                                                  else plan.steps_per_tile)
        stays = (plan.weight_slots >= plan.steps_per_tile if s.pixels_first
                 else plan.weight_slots >= plan.weight_chunks)
        read += weight_beats * total * (1 if stays else plan.places)
        first = beats * plan.input_size + weight_beats * plan.weight_size
        if plan.input_slots == 1 and plan.input_chunks > 1:
            gemm += read
        del shares
    elif visit.x is not None:
        read += beats * plan.pool_size * tiles * plan.tap_chunks
        first = beats * plan.pool_size
    read += beats * elements * len(visit.loads)
    read += 4 * beats * 2 * blocks * len(visit.parameters) * (1 if s.pixels_first
                                                               else plan.places)
    passes = sum(d.operation is not None for d in visit.drain)
    if visit.x is not None and not visit.products:
        passes += visit.window.kernel[0] * visit.window.kernel[1]
    alu = passes * elements
    write = beats * elements * len(visit.stores)
    tile = s.outputs * s.rows * s.cols
    tail = passes * tile + beats * tile + costs.latency + costs.start
    steps = tiles * max(1, plan.steps_per_tile)
    busy = max(gemm, alu, read, write)
    if s.areas == 1:
        busy = gemm + alu + write
    cycles = busy + min(first, read) + tail + 12 * steps
    return Estimate(gemm, alu, read, write, int(cycles))
