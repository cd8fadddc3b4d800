"""Pooling of a map that comes place by place: the OR of tiles."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .window import Place

__all__ = ["Pool"]


class Pool(wiring.Component):
    """The OR of each tile, as :class:`hw.lutnet.layers.Pooling` defines it.

    Parameters
    ----------
    picture : (:class:`int`, :class:`int`, :class:`int`)
        Channels, height and width of the map.
    height, width : :class:`int`
        Of a tile, which fits into the map.

    Members
    -------
    i : ``In(stream.Signature(channels))``
        Places of the map, row by row, map after map.
    o : ``Out(stream.Signature(channels))``
        Tiles, row by row.

    Timing
    ------
    Latency: 1 cycle from the lower right place of a tile. Throughput: 1 place per cycle, for as
    long as ``o`` is ready, without a pause between maps. Reset: the next place is the first of a
    map. Memory: the ORs of the tiles of one row, read a cycle ahead.
    """

    latency = 1

    def __init__(self, picture: tuple[int, int, int], height: int, width: int):
        self.picture, self.height, self.width = picture, height, width
        super().__init__({
            "i": In(stream.Signature(picture[0])),
            "o": Out(stream.Signature(picture[0])),
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

        # y, x: place within the tile; tile: its column. Beyond the last tile x stays 0.
        y, x = Signal(range(self.height)), Signal(range(self.width))
        tile, next_tile = (Signal(range(columns // self.width + 1), name=name)
                           for name in ("tile", "next_tile"))
        right, lower = x == self.width - 1, y == self.height - 1
        inside = (tile < columns // self.width) & (place.row < rows // self.height * self.height)
        m.d.comb += next_tile.eq(Mux(place.row_ends, 0, tile + (right & inside)))

        left = Signal(channels, reset_less=True)  # the OR of this row of the tile so far
        total = Signal(channels)
        line = self.i.payload | Mux(x == 0, 0, left)
        if self.height > 1:
            above = self._above(m, tile, next_tile, taken, taken & right & inside, total)
            line |= Mux(y == 0, 0, above)
        m.d.comb += total.eq(line)
        with m.If(taken):
            place.advance(m)
            m.d.sync += [
                tile.eq(next_tile), left.eq(self.i.payload | Mux(x == 0, 0, left)),
                x.eq(Mux(right | place.row_ends | ~inside, 0, x + 1)),
            ]
            with m.If(place.row_ends):
                m.d.sync += y.eq(Mux(lower | place.ends, 0, y + 1))
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(taken & right & lower & inside),
                self.o.payload.eq(total),
            ]
        return m

    def _above(self, m, tile, next_tile, taken, done, total) -> Value:
        """The OR of the tile's rows above."""
        channels, _, columns = self.picture
        depth = columns // self.width
        m.submodules.lines = lines = Memory(shape=channels, depth=depth, init=[])
        write = lines.write_port()
        # With one tile in a row the OR just written is the next one above.
        read = lines.read_port(transparent_for=[write] if depth == 1 else [])
        m.d.comb += [
            read.addr.eq(next_tile), read.en.eq(taken),
            write.addr.eq(tile), write.en.eq(done), write.data.eq(total),
        ]
        return read.data
