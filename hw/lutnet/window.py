"""Windows of a picture that comes pixel by pixel: line buffers and a window of registers."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Place", "Windows"]


class Place:
    """Row and column of the next pixel of a picture, row by row; ``following`` is its successor.

    ``advance(m)`` within a condition moves on; after the last pixel the next picture begins.
    """

    def __init__(self, m: Module, height: int, width: int):
        self.row, self.column = Signal(range(height)), Signal(range(width))
        self.following = Signal(range(width))
        self.row_ends, self.ends = self.column == width - 1, self.row == height - 1
        m.d.comb += self.following.eq(Mux(self.row_ends, 0, self.column + 1))

    def advance(self, m: Module) -> None:
        m.d.sync += self.column.eq(self.following)
        with m.If(self.row_ends):
            m.d.sync += self.row.eq(Mux(self.ends, 0, self.row + 1))


class Windows(wiring.Component):
    """Every window of a picture, as :class:`hw.lutnet.layers.Convolution` defines them.

    Parameters
    ----------
    picture : (:class:`int`, :class:`int`, :class:`int`)
        Channels, height and width of the pictures.
    height, width : :class:`int`
        Of the window.
    border : :class:`bool`
        Rows and columns of 0 above and to the left; without, only windows inside the picture.

    Members
    -------
    i : ``In(stream.Signature(channels))``
        Pixels, row by row, picture after picture.
    o : ``Out(stream.Signature(channels * height * width))``
        Windows, row by row; bit ``(k * height + y) * width + x`` is channel k at (y, x).

    Timing
    ------
    Latency: 1 cycle from the lower right pixel of a window. Throughput: 1 pixel per cycle, for as
    long as ``o`` is ready, without a pause between pictures. Reset: the next pixel is the first of
    a picture. Memory: ``height - 1`` lines of the picture, read a cycle ahead.
    """

    latency = 1

    def __init__(self, picture: tuple[int, int, int], height: int, width: int, border: bool):
        self.picture, self.height, self.width, self.border = picture, height, width, border
        super().__init__({
            "i": In(stream.Signature(picture[0])),
            "o": Out(stream.Signature(picture[0] * height * width)),
        })

    def elaborate(self, platform):
        m = Module()
        channels, rows, columns = self.picture
        place = Place(m, rows, columns)
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.i.ready),
        ]

        # The pixels above the one that comes, the highest first, and that one.
        above = self._lines(m, place, taken) if self.height > 1 else Const(0, 0)
        pixels = Cat(above, self.i.payload)
        seen = [pixels[channels * y:channels * (y + 1)] for y in range(self.height)]
        if self.border:
            seen = [pixel & (place.row >= self.height - 1 - y).replicate(channels)
                    for y, pixel in enumerate(seen)]

        complete = Const(1)
        if not self.border:
            complete = (place.row >= self.height - 1) & (place.column >= self.width - 1)
        window = [[Signal(channels, name=f"pixel_{y}_{x}", reset_less=True)
                   for x in range(self.width)] for y in range(self.height)]
        for y, line in enumerate(window):
            with m.If(taken):
                for left, right in zip(line, line[1:]):
                    if self.border:
                        right = Mux(place.column == 0, 0, right)
                    m.d.sync += left.eq(right)
                m.d.sync += line[-1].eq(seen[y])
        m.d.comb += self.o.payload.eq(Cat(
            window[y][x][k] for k in range(channels)
            for y in range(self.height) for x in range(self.width)))
        with m.If(taken):
            place.advance(m)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(taken & complete)
        return m

    def _lines(self, m: Module, place: Place, taken: Value) -> Value:
        channels, _, columns = self.picture
        size = channels * (self.height - 1)
        m.submodules.lines = lines = Memory(shape=size, depth=columns, init=[])
        write = lines.write_port()
        # In a picture of one column the pixel just written is the next one above.
        read = lines.read_port(transparent_for=[write] if columns == 1 else [])
        m.d.comb += [
            read.addr.eq(place.following), read.en.eq(taken),
            write.addr.eq(place.column), write.en.eq(taken),
            write.data.eq(Cat(read.data, self.i.payload)[channels:]),
        ]
        return read.data
