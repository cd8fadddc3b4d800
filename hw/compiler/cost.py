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
    issue:   int = 12   # from instruction to instruction of the compute unit
    drain:   int = 28   # of a drain: tokens, and the bus that confirms
    waiting: int = 2    # instructions in front of the ALU
    scan:  float = 0.5  # of a micro-operation before it executes
    kernel:  int = 100  # of a LOAD of micro-operations
    tile:    int = 8    # of a tile, lost by whatever is busiest
    weave:   int = 6    # the same of a pass of the ALU beyond the first
    step:    int = 2    # the same of a step


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
    """What ``plan`` costs: its tiles at the pace of the busiest part, its beginning and its end.

    A tile's pace is also that of the instructions it needs, and of the chain from its first
    product to its last stored element, of which there can be as many as there are areas.
    """
    visit, s, config = plan.visit, plan.schedule, plan.config
    _, height, width = visit.shape
    blocks = plan.groups * plan.group_outputs
    elements = blocks * height * width
    beats = -(-config.element_bytes("out") // (config.bus_width // 8))
    tiles, steps = plan.ranges * plan.places, plan.steps_per_tile
    share = elements / tiles  # accumulators of an average tile
    passes = sum(d.operation is not None for d in visit.drain)
    issued = passes + len(visit.loads)
    gemm = read = first = 0
    if visit.products:
        products = visit.products
        taps = visit.window.kernel[0] * visit.window.kernel[1]
        gemm = elements * taps * (1 if products.diagonal else products.inputs)
        inputs, weights = _fetched(plan, beats)
        read += inputs + weights
        # Until the first tiles have their chunks, or at least the first step.
        step = beats * plan.input_size + plan.weight_size * -(
            -config.element_bytes("wgt") // (config.bus_width // 8))
        rounds = 1 if s.pixels_first else plan.ranges
        busy = rounds * gemm / tiles
        first = max(min(step, inputs + weights),
                    weights * rounds / plan.ranges
                    + inputs / plan.places - busy + busy / (rounds * steps))
        kernels = min(tiles * steps, s.areas * plan.input_slots
                      * max(1, plan.weight_slots // steps))
        fresh = kernels / (tiles * steps)
        read += kernels * plan.kernel_size / 2
        pieces = steps + 1 + min(s.outputs, max(0, passes - costs.waiting))
        step = costs.scan * plan.kernel_size + fresh * (costs.kernel + plan.kernel_size / 2)
        issued += pieces + steps * step / costs.issue
    elif visit.x is not None:
        read += beats * plan.pool_size * tiles * plan.tap_chunks
        first = beats * plan.pool_size
        window = visit.window.kernel[0] * visit.window.kernel[1]
        passes, issued = passes + window, issued + 2 * plan.tap_chunks
    read += beats * elements * len(visit.loads)
    read += 8 * beats * blocks * len(visit.parameters) * (1 if s.pixels_first else plan.places)
    alu, write = passes * elements, beats * elements * len(visit.stores)
    drain = (s.outputs * s.rows * s.cols * (passes + beats * len(visit.stores))
             + costs.drain + costs.issue * passes)
    if visit.products is None:
        drain += share * beats * len(visit.loads) + costs.latency + costs.start
    pace = max(gemm / tiles, alu / tiles, read / tiles, write / tiles, issued * costs.issue,
               (gemm / tiles + drain) / s.areas)
    if plan.visit.products and (plan.input_slots == 1 or plan.weight_slots == 1):
        if plan.input_chunks > 1 and plan.input_slots == 1:
            pace += read / tiles
    pace += costs.tile + costs.weave * max(0, passes - 1) + costs.step * steps
    ends = first + costs.latency + costs.start + drain
    return Estimate(gemm, alu, int(read), write, int(tiles * pace + ends))


def _fetched(plan: Plan, beats: int) -> tuple[float, float]:
    """Cycles of the read bus for inputs and for weights."""
    products, s, config = plan.visit.products, plan.schedule, plan.config
    places = plan.places
    rows, cols = plan.seen  # the last tiles are smaller, and padding is not read
    shares = (plan.height / s.rows / -(-plan.height // s.rows)
              * plan.width / s.cols / -(-plan.width // s.cols))
    shape = plan.visit.x
    seen = (min(rows, shape.height) * min(cols, shape.width)) * places * shares
    blocks = products.inputs * plan.groups
    ranges = 1 if products.diagonal else plan.ranges // plan.groups
    if s.pixels_first:
        stays = plan.input_slots * plan.groups >= plan.input_chunks
    else:
        stays = plan.input_slots > plan.steps_per_tile
    inputs = beats * seen * plan.tap_chunks * blocks * (1 if stays else ranges)
    size = -(-config.element_bytes("wgt") // (config.bus_width // 8))
    if products.ones:
        return inputs, size
    weights = size * plan.groups * plan.weights_of(
        plan.group_outputs, products.inputs,
        plan.visit.window.kernel[0] * plan.visit.window.kernel[1])
    if s.pixels_first:
        stays = plan.weight_slots >= plan.steps_per_tile
    else:
        stays = plan.weight_slots >= plan.weight_chunks
    return inputs, weights * (1 if stays else places)
