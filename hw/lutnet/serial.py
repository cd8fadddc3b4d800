"""A LUT network that is given its sample one feature after the other."""

from dataclasses import replace

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import NetworkConfig
from .model import Model
from .network import Network

__all__ = ["SerialNetwork"]


class SerialNetwork(wiring.Component):
    """Collects the features of a sample, then gives its label: pixel by pixel, as a camera sends.

    Parameters
    ----------
    model : :class:`Model`
    config : :class:`NetworkConfig`
        ``stream`` is taken as set.

    Members
    -------
    i : ``In(stream.Signature(unsigned(model.encoder.width)))``
        Codes of the features, the first one first, sample after sample.
    o : ``Out(stream.Signature(...))``
        As :class:`Network`; one beat for each ``model.features`` beats of ``i``.

    Timing
    ------
    Latency: :attr:`latency` cycles from the last feature of a sample to its result. Throughput: one
    feature per cycle, without a pause between samples, for as long as ``o`` is ready. Reset: what
    has been collected is lost.
    """

    def __init__(self, model: Model, config: NetworkConfig | None = None):
        self.network = Network(model, replace(config or NetworkConfig(), stream=True))
        self.model, self.config = model, self.network.config
        self.latency = 1 + self.network.latency
        super().__init__({
            "i": In(stream.Signature(unsigned(model.encoder.width))),
            "o": Out(self.network.o.signature),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.network = network = self.network
        features, width = self.model.features, self.model.encoder.width
        wiring.connect(m, network.o, wiring.flipped(self.o))

        # The sample moves down by one feature per beat; full: its first feature is at the bottom.
        sample = Signal(features * width, reset_less=True)
        count, full = Signal(range(features)), Signal()
        m.d.comb += [
            network.i.payload.eq(sample),
            network.i.valid.eq(full),
            self.i.ready.eq(~full | network.i.ready),
        ]
        with m.If(network.i.ready):
            m.d.sync += full.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += sample.eq(Cat(sample, self.i.payload)[width:])
            with m.If(count == features - 1):
                m.d.sync += [count.eq(0), full.eq(1)]
            with m.Else():
                m.d.sync += count.eq(count + 1)
        return m
