"""What things cost in cycles."""

from dataclasses import dataclass

from hw.compiler.schedule import Plan
from hw.vta.config import VtaConfig
from hw.vta.isa import Memory

__all__ = ["Costs", "Clock", "Estimate", "bank_waits", "estimate"]


@dataclass(frozen=True)
class Costs:
    """Cycles of the core and of its memory."""
    latency: int = 16   # of memory
    start:   int = 24   # from a token that is awaited to the first beat on the bus, without latency
    end:     int = 12   # from the last cycle of work to the token's arrival
    issue:   int = 12   # from instruction to instruction of the compute unit
    drain:   int = 40   # of a drain: tokens, and the bus that confirms
    scan:  float = 0.5  # of a micro-operation before it executes
    kernel:  int = 100  # of a LOAD of micro-operations
    tile:    int = 8    # of a tile, lost by whatever is busiest
    alone:   int = 48   # the same, where there are no products to hide behind
    weave:   int = 6    # the same of a pass of the ALU beyond the first
    step:    int = 2    # the same of a step
    fresh:   int = 4    # and of one with a kernel of its own
    hold:    float = 0.05  # of many passes: one waits for what the compute unit loads
    between: int = 8    # from pass to pass of the ALU
    follow:  float = 2.0  # what a pass waits for banks, when GEMM goes along a block, too
    banks:   float = 4.0  # the same, when GEMM goes from block to block
    even:    int = 8    # of two parts that share the work, how hard the busier one sets the pace
    chain:   float = 1.25  # of a drain of many passes, that have to find their turns
    crowd:   float = 0.25  # and at most, or a little more, when the ALU has many passes


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
    beats = -(-config.element_bytes("out") // (config.bus_width // 8))
    elements = plan.groups * plan.group_outputs * plan.height * plan.width
    tiles, tile = plan.ranges * plan.places, s.outputs * s.rows * s.cols
    passes, taps = sum(d.operation is not None for d in visit.drain), _taps(visit)
    issued, gemm, alu = passes + len(visit.loads), 0, passes * elements
    parameters = 8 * beats * len(visit.parameters)
    others = beats * elements * len(visit.loads)
    others += parameters * plan.groups * plan.group_outputs * (1 if s.pixels_first else plan.places)
    if visit.products:
        run = taps * (1 if visit.products.diagonal else visit.products.inputs)
        gemm = elements * run
        read, first, alone, fresh = _fetched(plan, beats, gemm, others)
        products, gemm = gemm, gemm + alone
        steps = plan.steps_per_tile
        issued += 1 + max(steps, min(passes, tile * run // max(1, tile)))
        issued += steps * costs.scan * plan.kernel_size / costs.issue
        kernels = fresh * steps * (costs.kernel + plan.kernel_size / 2)
        kernels -= min(kernels, first / tiles)  # beside the first inputs
        waits = bank_waits(plan, costs)
        if plan.woven:
            waits = min(waits, costs.crowd + 0.6 / s.outputs if passes > 2 else 2.0)
    else:
        steps, products, waits, fresh, kernels = 1, 0, 0.0, 0.0, 0.0
        read, first = 0, costs.latency + costs.start
        if visit.x is not None:
            read = first = beats * plan.pool_size * plan.tap_chunks
            read *= tiles
            alu, issued = alu + taps * elements, issued + 2 * plan.tap_chunks
        first += beats * tile * len(visit.loads)
    read += others
    first += parameters * s.outputs + plan.kernel_size / 2
    write = beats * elements * len(visit.stores)
    work = alu * (1 + waits * min(1.0, products / max(alu, 1)) + costs.hold * (passes > 2))
    drain = (work / tiles + beats * len(visit.stores) * elements / tiles
             + costs.drain + costs.issue * passes)
    if passes > 2:
        drain *= costs.chain
    load = 0 if visit.products else first
    bus = max(0, read - first)  # close to as busy as GEMM, it delays what is needed next
    both = (gemm ** costs.even + bus ** costs.even) ** (1 / costs.even)
    pace = max(both / tiles + costs.weave * max(0, passes - 1),
               work / tiles + costs.between * passes + costs.weave * (passes > 2),
               write / tiles, issued * costs.issue + kernels,
               (gemm / tiles + load + drain) / s.areas)
    pace += costs.tile if visit.products else costs.alone
    pace += (costs.step + costs.fresh * fresh) * steps
    last = tile * (passes * (1 + waits) + beats * len(visit.stores))
    ends = (first + costs.latency + costs.start + last + costs.drain + costs.issue * passes)
    return Estimate(gemm, alu, int(read), write, int(tiles * pace + ends))


def _taps(visit) -> int:
    return visit.window.kernel[0] * visit.window.kernel[1] if visit.x is not None else 1


def bank_waits(plan: Plan, costs: Costs) -> float:
    """Cycles that an element of a pass waits for banks that GEMM uses.

    GEMM uses a bank whenever it goes from one sum to the next.
    """
    if not plan.visit.products:
        return 0.0
    s, diagonal = plan.schedule, plan.visit.products.diagonal
    passes = sum(d.operation is not None for d in plan.visit.drain)
    run = s.taps[0] * s.taps[1] * (1 if diagonal else s.inputs)
    if not plan.woven:
        return min(costs.follow / run ** 3, costs.crowd if passes > 2 else 2.0)
    return costs.banks / run * min(1.0, 4 / s.outputs)


def _fetched(plan: Plan, beats: int, gemm: int, others: int
             ) -> tuple[float, float, float, float]:
    """Of inputs, weights and kernels: cycles of the read bus; those before the first tiles have
    what they need; those in which GEMM waits because there is no second place; and the share of
    steps that need a new kernel."""
    products, s, config = plan.visit.products, plan.schedule, plan.config
    tiles, steps, places = plan.ranges * plan.places, plan.steps_per_tile, plan.places
    size = -(-config.element_bytes("wgt") // (config.bus_width // 8))
    # Inputs: the tiles at the edges are smaller, and padding is not read.
    x, shares = plan.visit.x, (plan.height / s.rows / -(-plan.height // s.rows)
                               * plan.width / s.cols / -(-plan.width // s.cols))
    once = (beats * min(plan.seen[0], x.height) * min(plan.seen[1], x.width) * shares
            * places * plan.tap_chunks * products.inputs * plan.groups)
    again = 1 if products.diagonal else plan.ranges // plan.groups
    stay = (plan.input_slots * plan.groups >= plan.input_chunks if s.pixels_first
            else plan.input_slots >= steps)
    inputs = once * (1 if stay else again)
    # Weights: once, or once for each place.
    weights = size if products.ones else size * plan.groups * plan.weights_of(
        plan.group_outputs, products.inputs, _taps(plan.visit))
    stay = (plan.weight_slots >= steps if s.pixels_first
            else plan.weight_slots >= plan.weight_chunks)
    weights *= 1 if stay else places
    step = min(beats * plan.input_size + size * plan.weight_size, inputs + weights)
    rounds = 1 if s.pixels_first else plan.ranges
    busy = rounds * gemm / tiles  # with all that the first place needs, or the first range
    first = max(step, (weights / (1 if stay else places) * rounds / plan.ranges
                       + once / places + others * rounds / tiles
                       - busy + busy / (rounds * steps)))
    lost = 0.0
    if s.pixels_first and inputs == once and again > 1:  # all of them beside the first range
        rest = (weights / plan.ranges + once) / places - gemm / tiles
        lost += max(0.0, rest) * places * plan.groups
    if plan.input_slots == 1 and plan.input_chunks > 1:
        lost += inputs
    if plan.weight_slots == 1 and plan.weight_chunks > 1:
        lost += weights
    kernels = min(tiles * steps, s.areas * plan.input_slots * max(1, plan.weight_slots // steps))
    return (inputs + weights + kernels * plan.kernel_size / 2, first, lost,
            kernels / (tiles * steps))
