# amaranth: UnusedElaboratable=no
# Who only asks for the latency leaves the parts unused.
"""A LUT network for pictures that come pixel by pixel: convolutions, poolings, dense layers.

Nothing keeps the picture. A convolution holds the lines that its window still needs, a pooling one
line of its tiles, and the dense layers the bits of the last map that they read.
"""

from dataclasses import replace

import numpy as np
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .circuit import Circuit
from .config import NetworkConfig
from .encode import encode
from .layers import Layer, Pooling
from .model import Encoder, Model
from .network import Network
from .pool import Pool
from .window import Windows

__all__ = ["LastMap", "StreamingNetwork"]


def _plain(bits: int) -> Encoder:
    """Inputs that are bits already."""
    return Encoder(1, np.zeros(bits), np.ones(bits), np.arange(bits), np.zeros(bits, np.int32))


def _nodes(layer: Layer, bits: int, config: NetworkConfig) -> Network:
    """The nodes of a convolution on a window of ``bits``."""
    model = Model(_plain(bits), (layer,), np.zeros(layer.nodes, np.int32), 1)
    places = tuple(place for place in config.registers if place == "layers")
    return Network(model, replace(config, head="none", registers=places, stream=True))


def _dense(model: Model, config: NetworkConfig) -> Network:
    """The layers and the head, on the bits of the last map that are read."""
    used = model.used_bits()
    place = np.full(model.bits + 1, -1, np.int32)  # the last entry serves pin -1
    place[used] = np.arange(len(used))
    first = Layer(place[model.layers[0].pins], model.layers[0].tables)
    dense = Model(_plain(len(used)), (first, *model.layers[1:]), model.group, model.classes,
                  shift=model.shift)
    places = tuple(place for place in config.registers if place != "encode")
    return Network(dense, replace(config, registers=places, stream=True))


class LastMap(wiring.Component):
    """Collects the bits of a map that somebody reads.

    Parameters
    ----------
    picture : (:class:`int`, :class:`int`, :class:`int`)
        Channels, height and width of the map.
    used : sequence of :class:`int`
        Which bits, ``(k * height + r) * width + c``, ascending.

    Members
    -------
    i : ``In(stream.Signature(channels))``
        Places of the map, row by row, map after map.
    o : ``Out(stream.Signature(ArrayLayout(1, len(used))))``
        The bits ``used`` of a map.

    Timing
    ------
    Latency: 1 cycle from the last place of a map. Throughput: 1 place per cycle, for as long as
    ``o`` is ready. Reset: what has been collected is lost.
    """

    latency = 1

    def __init__(self, picture: tuple[int, int, int], used):
        self.picture, self.used = picture, [int(bit) for bit in used]
        super().__init__({
            "i": In(stream.Signature(picture[0])),
            "o": Out(stream.Signature(data.ArrayLayout(1, len(self.used)))),
        })

    def elaborate(self, platform):
        m = Module()
        channels, rows, columns = self.picture
        places = rows * columns
        count = Signal(range(places))
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.i.ready),
        ]
        # Each channel moves down by one place per beat; complete: the first is at the bottom.
        line = [Signal(places, name=f"channel_{k}", reset_less=True) for k in range(channels)]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(taken & (count == places - 1))
        with m.If(taken):
            m.d.sync += [bits.eq(Cat(bits, self.i.payload[k])[1:]) for k, bits in enumerate(line)]
            m.d.sync += count.eq(Mux(count == places - 1, 0, count + 1))
        m.d.comb += Value.cast(self.o.payload).eq(
            Cat(line[bit // places][bit % places] for bit in self.used))
        return m


class StreamingNetwork(wiring.Component):
    """The label of a picture, which comes one pixel per clock.

    Parameters
    ----------
    model : :class:`Model`
        With a front.
    config : :class:`NetworkConfig`
        ``stream`` is taken as set. The place "encode" has no register: those of the first window
        are behind the encoder.

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(unsigned(model.encoder.width), colours)))``
        Codes of a pixel, row by row, picture after picture.
    o : ``Out(stream.Signature(...))``
        As :class:`Network`, one beat for each picture.

    Timing
    ------
    Latency: :attr:`latency` cycles from the pixel :attr:`deciding` of a picture, counted from 0, to
    its result, unless ``o`` waited meanwhile. That is the last pixel, or an earlier one if a
    pooling does not look at the last rows. Throughput: one pixel per cycle, for as long as ``o`` is
    ready, without a pause between pictures. Reset: the next pixel is the first of a picture.
    """

    def __init__(self, model: Model, config: NetworkConfig | None = None):
        if model.front is None:
            raise ValueError("model must be one for pictures, with convolutions or poolings")
        self.model, self.config = model, replace(config or NetworkConfig(), stream=True)
        front = model.front
        shapes = front.shapes(model.encoder.bits)
        self.parts = []
        for stage, shape in zip(front.stages, shapes):
            if isinstance(stage, Pooling):
                self.parts.append(Pool(shape, stage.height, stage.width))
            else:
                self.parts.append(Windows(shape, stage.height, stage.width, stage.border))
                bits = shape[0] * stage.height * stage.width
                self.parts.append(_nodes(stage.layer, bits, self.config))
        self.parts += [LastMap(shapes[-1], model.used_bits()), _dense(model, self.config)]
        self.latency = sum(part.latency for part in self.parts)
        self.deciding = self._deciding(shapes[-1])
        self._circuit = Circuit(self.config.tables, self.config.fabric)
        pixel = data.ArrayLayout(unsigned(model.encoder.width), model.encoder.features)
        super().__init__({
            "i": In(stream.Signature(pixel)),
            "o": Out(self.parts[-1].o.signature),
        })

    def _deciding(self, shape: tuple[int, int, int]) -> int:
        row, column = shape[1] - 1, shape[2] - 1
        for stage in reversed(self.model.front.stages):
            if isinstance(stage, Pooling):
                row, column = (row + 1) * stage.height - 1, (column + 1) * stage.width - 1
            elif not stage.border:
                row, column = row + stage.height - 1, column + stage.width - 1
        return row * self.model.front.width + column

    def elaborate(self, platform):
        m = Module()
        encoder = self.model.encoder
        wires = encode(self._circuit, list(self.i.payload), encoder, range(encoder.bits))
        self._circuit.emit(m)
        valid, ready = self.i.valid, self.i.ready
        payload = Cat(wires[e].value for e in range(encoder.bits))
        for index, part in enumerate(self.parts):
            m.submodules[f"part_{index}"] = part
            m.d.comb += [
                Value.cast(part.i.payload).eq(payload),
                part.i.valid.eq(valid),
                ready.eq(part.i.ready),
            ]
            valid, ready, payload = part.o.valid, part.o.ready, Value.cast(part.o.payload)
        wiring.connect(m, self.parts[-1].o, wiring.flipped(self.o))
        return m
