# amaranth: UnusedElaboratable=no
# A network is also made for what it says of itself.
"""A LUT network as a design of the command line: options in, component and facts out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hw.options import option

from .config import NetworkConfig
from .model import load
from .network import Network
from .report import figures
from .streaming import StreamingNetwork

__all__ = ["LutnetConfig", "lutnet", "lutnet_facts", "lutnet_report"]

DEFAULT = Path(__file__).parent / "models" / "digits.npz"


@dataclass(frozen=True, kw_only=True)
class LutnetConfig:
    """What to build from which model file."""

    model:        str = option("", "file of the trained network; none is the one for digits")
    fabric:       str = option("xc7", "xc7 (6 inputs per table), ecp5 or ice40 (4)")
    head:         str = option("", "counters: carry or compressor")
    registers:    str = option("layers,sums,label", "places of registers, of encode, layers, sums "
                               "and label; none for no register")
    sum_levels:   int = option(0, "cells between registers inside the counters, 0 for none")
    label_levels: int = option(0, "comparisons between registers inside the maximum, 0 for none")
    tables:       str = option("rtl", "rtl, or cells for primitives of the fabric")
    form:         str = option("stream", "stream (with back-pressure) or bare")

    def __post_init__(self):
        if self.form not in ("stream", "bare"):
            raise ValueError(f"form must be one of stream, bare, not {self.form!r}")
        self.network()

    def network(self) -> NetworkConfig:
        places = () if self.registers in ("", "none") else tuple(self.registers.split(","))
        return NetworkConfig(fabric=self.fabric, head=self.head, registers=places,
                             sum_levels=self.sum_levels, label_levels=self.label_levels,
                             tables=self.tables, stream=self.form == "stream")


def lutnet(config: LutnetConfig) -> Network | StreamingNetwork:
    """The component that ``config`` describes: pixel by pixel for a model with convolutions."""
    model = load(config.model or DEFAULT)
    if model.front is None:
        return Network(model, config.network())
    if config.form != "stream":
        raise ValueError(f"form must be stream for a network of pictures, not {config.form!r}")
    return StreamingNetwork(model, config.network())


def _picture_facts(network: StreamingNetwork) -> dict[str, Any]:
    model, front = network.model, network.model.front
    pixels = front.height * front.width
    return {
        "interval": pixels, "picture": [front.height, front.width], "deciding": network.deciding,
        "maps": front.shapes(model.encoder.bits), "encoder_bits": model.encoder.bits,
    }


def lutnet_facts(network: Network | StreamingNetwork) -> dict[str, Any]:
    """What the manifest says of it.

    ``latency``: cycles from the sample to its result, or from the pixel ``deciding`` of a picture,
    which is the last one unless a pooling leaves some out; ``interval``: cycles between results.
    """
    model = network.model
    return {
        "latency": network.latency, "interval": 1, "features": model.features,
        "feature_bits": model.encoder.width, "encoder_bits": len(model.used_bits()),
        "nodes": [layer.nodes for layer in model.layers],
        "inputs": [layer.n for layer in model.layers], "classes": model.classes,
        **(_picture_facts(network) if isinstance(network, StreamingNetwork) else {}),
    }


def lutnet_report(config: LutnetConfig) -> tuple[dict[str, Any], list[str]]:
    """LUTs of core, encoder and all, by synthesis for the fabric, and lines that say so."""
    found = figures(load(config.model or DEFAULT), config.network())
    lines = [f"{part:8} {getattr(found, f'lut_{part}'):6} LUT"
             for part in ("core", "encoder", "total", "memory")]
    lines += [f"{found.carry} carry cells, {found.ff} flip-flops, {found.blocks} block RAMs, "
              f"latency {found.latency} cycles", f"{found.fabric}: {found.tool}"]
    return asdict(found), lines
