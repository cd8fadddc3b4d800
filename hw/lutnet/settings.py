"""What is trained and how: the configuration of :mod:`hw.lutnet.train`."""

import re
from dataclasses import dataclass

from .nodes import FAMILIES
from .thermometer import ENCODERS

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and how.

    Parameters
    ----------
    nodes : tuple of :class:`int`
        Nodes of each layer; the last is rounded down to a multiple of the classes.
    stages : tuple of :class:`str`
        Of a network for pictures, in front of the layers: ``conv24:5`` is a convolution of 24 nodes
        on windows of 5 x 5, ``conv24:5b`` one with a border, ``pool2`` the OR of tiles of 2 x 2.
    inputs : :class:`int`
        Inputs of a node, 2 to 6.
    narrow : :class:`float`
        Share of the last layer's nodes, 0 to 1, that use one input less: the carry-chain head
        takes such a node into its adder (:mod:`hw.lutnet.popcount`).
    family : :class:`str`
        ``dwn``, ``bb`` or ``hybrid``, see :mod:`hw.lutnet.nodes`.
    encoder, levels, width
        See :mod:`hw.lutnet.thermometer`; width is that of a code.
    candidates : :class:`int`
        Inputs that a pin can choose among; 0 is all of them.
    batch : :class:`int`
        Samples of a step; 0 chooses 256, fewer where that makes less than 40 steps of an epoch.
    tau : :class:`float`
        Divides the sums; 0 chooses ``sqrt(nodes per class) / 3.5``.
    shift, degrees, zoom : :class:`float`
        Augmentation of images, uniform in +- so many pixels, degrees, parts of 1.
    validation : :class:`float`
        Share of the training set that is held out to compare configurations, 0 to 0.5.
    """

    nodes: tuple[int, ...] = (300,)
    stages: tuple[str, ...] = ()
    inputs: int = 6
    narrow: float = 0.0
    family: str = "dwn"
    encoder: str = "distributive"
    levels: int = 3
    width: int = 8
    candidates: int = 128
    wiring_every: int = 4
    deep_wiring: bool = False
    tau: float = 0.0
    epochs: int = 30
    batch: int = 0
    rate: float = 0.01
    wiring_rate: float = 0.01
    shift: float = 0.0
    degrees: float = 0.0
    zoom: float = 0.0
    smooth: float = 0.0
    validation: float = 1 / 6
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "nodes", tuple(self.nodes))
        if not self.nodes or any(n not in range(1, 100_001) for n in self.nodes):
            raise ValueError(f"nodes must be 1 to 100000 in each layer, not {self.nodes!r}")
        object.__setattr__(self, "stages", tuple(self.stages))
        self.parsed_stages()
        if self.inputs not in range(2, 7):
            raise ValueError(f"inputs must be 2 to 6, not {self.inputs!r}")
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, "
                             f"not {self.family!r}")
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, "
                             f"not {self.encoder!r}")
        for name, low, high in (("narrow", 0, 1), ("validation", 0, 0.5), ("tau", 0, 1000),
                                ("rate", 0, 1), ("wiring_rate", 0, 1), ("shift", 0, 8),
                                ("degrees", 0, 90), ("zoom", 0, 0.5), ("smooth", 0, 1),
                                ("epochs", 1, 10_000), ("batch", 0, 65536), ("width", 1, 16),
                                ("wiring_every", 1, 1000), ("candidates", 0, 65536)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value!r}")

    def parsed_stages(self) -> list[tuple[int, int, bool]]:
        """Nodes (0 for a pooling), width of window or tile, border of each stage."""
        found = []
        for stage in self.stages:
            match = re.fullmatch(r"conv(\d{1,4}):(\d{1,2})(b?)|pool(\d{1,2})", stage)
            nodes, size, border, tile = match.groups() if match else ("0", "0", "", None)
            if not match or int(tile or size) not in range(1, 17) or (not tile and nodes == "0"):
                raise ValueError("stages must be like conv24:5, conv24:5b or pool2, with sizes of "
                                 f"1 to 16, not {stage!r}")
            found.append((int(nodes or 0), int(tile or size), border == "b"))
        return found
