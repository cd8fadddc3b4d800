"""Schedules: in which pieces, and in which order, a visit is computed; never what.

A visit is cut into tiles of its result: a range of blocks of channels, of rows and of columns,
whose accumulators are there at the same time. A tile of products is summed up in steps, each with
a chunk of inputs and a chunk of weights in the scratchpads. Any schedule that fits gives the same
bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hw.compiler.operators import Tensor
from hw.compiler.visits import Visit
from hw.vta.config import VtaConfig

__all__ = ["Schedule", "Plan", "Region", "Weights", "Step", "Tile"]


@dataclass(frozen=True)
class Schedule:
    """How to cut a visit.

    Attributes
    ----------
    outputs, rows, cols : :class:`int`
        A tile's blocks of channels, and its size; those at the edges are smaller.
    inputs : :class:`int`
        Blocks of input channels of a step.
    taps : (vertical, horizontal)
        Kernel taps of a step; all of them, unless the inputs that they see do not fit.
    pixels_first : :class:`bool`
        Whether all tiles of a range of channels follow each other; else all channels of a place.
    areas : :class:`int`
        Into how many equal parts the accumulators are divided; tiles take them in turn. With two,
        one is computed while the other is drained.
    keep : :class:`bool`
        Whether as many inputs stay as fit, to be used again; else they are fetched again, and
        there are fewer kernels.
    """
    outputs: int
    rows: int
    cols: int
    inputs: int = 1
    taps: tuple[int, int] = (1, 1)
    pixels_first: bool = True
    areas: int = 2
    keep: bool = True

    def to_dict(self) -> dict:
        """For manifests."""
        return {**self.__dict__, "taps": list(self.taps)}


@dataclass(frozen=True)
class Region:
    """Rows, each ``step``-th, and columns of some blocks of a tensor.

    Beyond the tensor's edges there is padding; above and below it only if ``step`` is 1.
    """
    tensor: Tensor
    blocks: tuple[int, int]
    rows: tuple[int, int]
    cols: tuple[int, int]
    step: int = 1

    @property
    def height(self) -> int:
        return -(-(self.rows[1] - self.rows[0]) // self.step)

    @property
    def width(self) -> int:
        return self.cols[1] - self.cols[0]

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Rows above and below, columns left and right, that are not in the tensor."""
        return (min(max(-self.rows[0], 0), self.height),
                min(max(self.rows[1] - self.tensor.height, 0), self.height),
                min(max(-self.cols[0], 0), self.width),
                min(max(self.cols[1] - self.tensor.width, 0), self.width))


@dataclass(frozen=True)
class Weights:
    """Weights of some blocks of one group, for some taps, in the order in which they are used."""
    group: int
    outputs: tuple[int, int]
    inputs: tuple[int, int]
    taps: tuple[int, int, int, int]  # vertical from, to; horizontal from, to


@dataclass(frozen=True)
class Step:
    inputs: Region
    weights: Weights
    taps: tuple[int, int, int, int]
    first: bool


@dataclass(frozen=True)
class Tile:
    """Part of a visit's result; ``blocks`` count from the first channel, ``group`` is theirs."""
    group: int
    blocks: tuple[int, int]
    rows: tuple[int, int]
    cols: tuple[int, int]

    @property
    def outputs(self) -> int:
        return self.blocks[1] - self.blocks[0]

    @property
    def height(self) -> int:
        return self.rows[1] - self.rows[0]

    @property
    def width(self) -> int:
        return self.cols[1] - self.cols[0]

    @property
    def pixels(self) -> int:
        return self.height * self.width


class Plan:
    """A visit with a schedule and a configuration: sizes, tiles and steps.

    Attributes
    ----------
    area : :class:`int`
        Accumulators that a tile may use.
    input_size, weight_size : :class:`int`
        Largest chunks, in elements.
    """

    def __init__(self, visit: Visit, schedule: Schedule, config: VtaConfig):
        self.visit, self.schedule, self.config = visit, schedule, config
        channels, self.height, self.width = visit.shape
        products = visit.products
        self.groups = products.groups if products else 1
        self.group_outputs = products.outputs if products else -(-channels // config.block)
        self.area = config.depth("acc") // schedule.areas
        kh, kw = schedule.taps
        window = visit.window
        # Rows that no tap sees are left out.
        self.skips = bool(products and window.kernel[0] == 1 and not (window.pads[0]
                                                                       or window.pads[2]))
        self.row_stride = 1 if self.skips else window.stride[0]
        self.seen = ((schedule.rows - 1) * self.row_stride + (kh - 1) * window.dilation[0] + 1,
                     (schedule.cols - 1) * window.stride[1] + (kw - 1) * window.dilation[1] + 1)
        self.input_size = self.weight_size = self.kernel_size = 0
        if products:
            self.input_size = self.chunk_inputs * self.seen[0] * self.seen[1]
            self.weight_size = self.weights_of(schedule.outputs, schedule.inputs, kh * kw)
            pairs = 1 if products.diagonal else schedule.inputs
            self.kernel_size = schedule.outputs * pairs * kh * kw

    @property
    def chunk_inputs(self) -> int:
        """Blocks of inputs that a step loads."""
        products = self.visit.products
        return self.schedule.outputs if products.diagonal else self.schedule.inputs

    def weights_of(self, outputs: int, inputs: int, taps: int) -> int:
        """Weight elements for that many blocks and taps."""
        products = self.visit.products
        if products.depthwise:
            return 1 if products.ones else outputs * products.weights.shape[2]
        return outputs * taps * (1 if products.diagonal else inputs)

    @property
    def pool_size(self) -> int:
        """Accumulators that a tile of a maximum needs for what it looks at."""
        pools = self.visit.x is not None and self.visit.products is None
        return self.schedule.outputs * self.seen[0] * self.seen[1] if pools else 0

    @property
    def weight_depth(self) -> int:
        """Weight elements that micro-operations can name: DEPTHWISE counts rows."""
        depth = self.config.depth("wgt")
        return depth // self.config.block if self.visit.products.depthwise else depth

    @property
    def woven(self) -> bool:
        """Whether GEMM goes from block to block of the sums."""
        return bool(self.visit.products) and self.schedule.outputs > 1

    def excess(self) -> str | None:
        """What does not fit; or none."""
        s, config, visit = self.schedule, self.config, self.visit
        need = (s.outputs * (visit.regions * s.rows * s.cols + 3 * self.woven)
                + 2 * s.outputs * len(visit.parameters) + self.pool_size)
        if need > self.area:
            return f"acc: {need} of {self.area}"
        if not visit.products:
            # kernels of a maximum name every block and tap
            kernel = s.outputs * s.taps[0] * s.taps[1] if visit.x is not None else 0
            return f"uop: {kernel}" if 4 * kernel > config.depth("uop") else None
        for name, size, depth in (("inp", self.input_size, config.depth("inp")),
                                  ("wgt", self.weight_size, self.weight_depth),
                                  ("uop", 4 * self.kernel_size, config.depth("uop"))):
            if size > depth:
                return f"{name}: {size} of {depth}"
        return None

    @cached_property
    def input_slots(self) -> int:
        """Chunks of inputs that are there at the same time.

        As many as fit, if they are used again. Else enough to fetch ahead: the fewer places, the
        fewer kernels.
        """
        again = self.reused and self.schedule.keep
        return self._slots(self.config.depth("inp") // self.input_size, self.input_chunks, again)

    @property
    def reused(self) -> bool:
        """Whether several tiles use the same inputs."""
        return not self.visit.products.diagonal and self.ranges > self.groups

    @cached_property
    def weight_slots(self) -> int:
        """The same of weights."""
        return self._slots(self.weight_depth // self.weight_size, self.weight_chunks,
                           self.places > 1)

    def _slots(self, fit: int, chunks: int, again: bool) -> int:
        if again or chunks <= self.schedule.areas:
            return max(1, min(fit, chunks))
        few = min(fit, 2 * self.schedule.areas)
        return few // self.schedule.areas * self.schedule.areas or few

    @property
    def ranges(self) -> int:
        """Ranges of output channels."""
        return self.groups * -(-self.group_outputs // self.schedule.outputs)

    @property
    def places(self) -> int:
        return -(-self.height // self.schedule.rows) * -(-self.width // self.schedule.cols)

    @property
    def tap_chunks(self) -> int:
        kernel, taps = self.visit.window.kernel, self.schedule.taps
        return -(-kernel[0] // taps[0]) * -(-kernel[1] // taps[1])

    @property
    def steps_per_tile(self) -> int:
        products = self.visit.products
        if not products:
            return 0
        chunks = 1 if products.diagonal else -(-products.inputs // self.schedule.inputs)
        return chunks * self.tap_chunks

    @property
    def input_chunks(self) -> int:
        """Different chunks of inputs of the visit."""
        products = self.visit.products
        per_place = self.steps_per_tile * (self.ranges if products.diagonal else self.groups)
        return self.places * per_place

    @property
    def weight_chunks(self) -> int:
        products = self.visit.products
        if products.ones:
            return 1
        return self.ranges * (1 if products.depthwise else self.steps_per_tile)

    def tiles(self) -> Iterator[Tile]:
        """Tiles in their order."""
        s = self.schedule
        channels = [(g, (g * self.group_outputs + o,
                         g * self.group_outputs + min(o + s.outputs, self.group_outputs)))
                    for g in range(self.groups) for o in range(0, self.group_outputs, s.outputs)]
        places = [((y, min(y + s.rows, self.height)), (x, min(x + s.cols, self.width)))
                  for y in range(0, self.height, s.rows) for x in range(0, self.width, s.cols)]
        if s.pixels_first:
            yield from (Tile(g, b, *place) for g, b in channels for place in places)
        else:
            yield from (Tile(g, b, *place) for place in places for g, b in channels)

    def taps(self) -> Iterator[tuple[int, int, int, int]]:
        """Chunks of the kernel: vertical from, to; horizontal from, to."""
        (kh, kw), (th, tw) = self.visit.window.kernel, self.schedule.taps
        for y in range(0, kh, th):
            for x in range(0, kw, tw):
                yield y, min(y + th, kh), x, min(x + tw, kw)

    def region(self, tile: Tile, blocks: tuple[int, int], taps) -> Region:
        """What ``taps`` see when ``tile`` is computed."""
        window = self.visit.window
        spans = []
        for axis, (bgn, end) in enumerate((tile.rows, tile.cols)):
            stride, dilation = window.stride[axis], window.dilation[axis]
            first, last = taps[2 * axis] * dilation, (taps[2 * axis + 1] - 1) * dilation
            pad = window.pads[axis]
            spans.append((bgn * stride + first - pad, (end - 1) * stride + last - pad + 1))
        return Region(self.visit.x, blocks, *spans, window.stride[0] if self.skips else 1)

    def steps(self, tile: Tile) -> Iterator[Step]:
        """Steps of a tile of products."""
        products, s = self.visit.products, self.schedule
        bgn = tile.group * self.group_outputs
        outputs = (tile.blocks[0] - bgn, tile.blocks[1] - bgn)
        if products.diagonal:
            chunks = [outputs]
        else:
            chunks = [(i, min(i + s.inputs, products.inputs))
                      for i in range(0, products.inputs, s.inputs)]
        first, (kh, kw) = True, self.visit.window.kernel
        for inputs in chunks:
            for taps in self.taps():
                offset = 0 if products.diagonal else tile.group * products.inputs
                blocks = (inputs[0] + offset, inputs[1] + offset)
                if products.ones:
                    weights = Weights(0, (0, 1), (0, 1), (0, 1, 0, 1))
                else:
                    weights = Weights(tile.group, outputs, inputs,
                                      (0, kh, 0, kw) if products.depthwise else taps)
                yield Step(self.region(tile, blocks, taps), weights, taps, first)
                first = False
