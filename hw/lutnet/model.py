"""A trained LUT network as data: encoder, layers of tables, head; and its file.

Nothing here computes the network: :mod:`sim.golden.lutnet` does for checks,
:mod:`hw.lutnet.network` as hardware, and both read this.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Encoder", "Layer", "Model", "ModelError", "save", "load"]

VERSION = 1


class ModelError(ValueError):
    """A model, or a model file, that contradicts itself; the message is one sentence."""


def _vector(value, dtype) -> np.ndarray:
    value = np.ascontiguousarray(value, dtype)
    value.setflags(write=False)
    return value


@dataclass(frozen=True, eq=False)
class Encoder:
    """Real features to codes, codes to bits.

    ``code[f] = clip(floor((x[f] - offset[f]) / step[f]), 0, 2**width - 1)``, which is what the
    hardware is given, and ``bit[e] = code[feature[e]] > threshold[e]``.

    Parameters
    ----------
    width : :class:`int`
        Bits of a code, 1 to 16.
    offset, step : float64 (features,)
        A step above 0 for every feature. Integers that already are codes have 0 and 1.
    feature, threshold : int32 (bits,)
        Which feature a bit looks at, and from where on it is set; 0 to ``2**width - 2``.
    """

    width: int
    offset: np.ndarray
    step: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray

    def __post_init__(self):
        for name, dtype in (("offset", np.float64), ("step", np.float64),
                            ("feature", np.int32), ("threshold", np.int32)):
            object.__setattr__(self, name, _vector(getattr(self, name), dtype))
        if self.width not in range(1, 17):
            raise ModelError(f"width must be 1 to 16, not {self.width!r}")
        if self.offset.ndim != 1 or self.offset.shape != self.step.shape or not self.offset.size:
            raise ModelError("offset and step must have one value for each feature, not "
                             f"{self.offset.shape} and {self.step.shape}")
        if not (np.isfinite(self.offset).all() and np.isfinite(self.step).all()):
            raise ModelError("offset and step must be finite numbers, not NaN or infinity")
        if (self.step <= 0).any():
            raise ModelError(f"step must be above 0, not {self.step.min()}")
        if self.feature.ndim != 1 or self.feature.shape != self.threshold.shape:
            raise ModelError("feature and threshold must have one value for each bit, not "
                             f"{self.feature.shape} and {self.threshold.shape}")
        for name, limit in (("feature", self.features - 1), ("threshold", 2 ** self.width - 2)):
            value = getattr(self, name)
            if value.size and (value.min() < 0 or value.max() > limit):
                wrong = value[(value < 0) | (value > limit)][0]
                raise ModelError(f"{name} must be 0 to {limit}, not {wrong}")

    @property
    def features(self) -> int:
        return len(self.offset)

    @property
    def bits(self) -> int:
        return len(self.feature)

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes of real features (samples, features): uint8 up to 8 bits, else uint16."""
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ModelError(f"data must have {self.features} columns, not "
                             f"{x.shape[1] if x.ndim == 2 else x.shape}")
        kind = np.uint8 if self.width <= 8 else np.uint16
        if x.dtype == np.uint8 and not self.offset.any() and (self.step == 1).all() \
                and self.width == 8:
            return x
        code = np.floor((x - self.offset) / self.step)
        return np.clip(code, 0, 2 ** self.width - 1).astype(kind)


@dataclass(frozen=True, eq=False)
class Layer:
    """Nodes of one layer: ``out[j] = tables[j, sum_i in[pins[j, i]] << i]``.

    Parameters
    ----------
    pins : int32 (nodes, n)
        The input of each pin; -1 is the constant 0. n is 2 to 6.
    tables : bool (nodes, 2**n)
    """

    pins: np.ndarray
    tables: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "pins", _vector(self.pins, np.int32))
        object.__setattr__(self, "tables", _vector(self.tables, np.bool_))
        if self.pins.ndim != 2 or self.n not in range(2, 7) or not self.nodes:
            raise ModelError("pins must be a matrix of 2 to 6 columns, not of shape "
                             f"{self.pins.shape}")
        if self.tables.shape != (self.nodes, 2 ** self.n):
            raise ModelError(f"tables of {self.nodes} nodes with {self.n} inputs must have shape "
                             f"{(self.nodes, 2 ** self.n)}, not {self.tables.shape}")
        if self.pins.min() < -1:
            raise ModelError(f"pins must be -1 or an input's index, not {self.pins.min()}")

    @property
    def nodes(self) -> int:
        return self.pins.shape[0]

    @property
    def n(self) -> int:
        return self.pins.shape[1]


@dataclass(frozen=True, eq=False)
class Model:
    """Encoder, layers, head.

    Parameters
    ----------
    encoder : :class:`Encoder`
    layers : tuple of :class:`Layer`
        The first reads the encoder's bits, each other the nodes of the one before.
    group : int32 (nodes of the last layer,)
        The sum to which a node counts.
    classes : :class:`int`
        2 to 256 groups: the label is the group with the largest sum, the lowest of equals.
        1: a regression, whose value is ``scale * sum + bias``.
    scale, bias : :class:`float`
        Of a regression.
    """

    encoder: Encoder
    layers: tuple[Layer, ...]
    group: np.ndarray
    classes: int
    scale: float = 1.0
    bias: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "group", _vector(self.group, np.int32))
        if not self.layers:
            raise ModelError("layers must hold at least one layer")
        if self.classes not in range(1, 257):
            raise ModelError(f"classes must be 1 to 256, not {self.classes!r}")
        width = self.encoder.bits
        for index, layer in enumerate(self.layers):
            if layer.pins.max() >= width:
                raise ModelError(f"pins of layer {index} must be below {width}, not "
                                 f"{layer.pins.max()}")
            width = layer.nodes
        if self.group.shape != (width,):
            raise ModelError(f"group must have one value for each of the {width} last nodes, not "
                             f"{self.group.shape}")
        if self.group.min() < 0 or self.group.max() >= self.classes:
            raise ModelError(f"group must be 0 to {self.classes - 1}, not "
                             f"{self.group.min() if self.group.min() < 0 else self.group.max()}")
        if not np.isfinite([self.scale, self.bias]).all():
            raise ModelError("scale and bias must be finite numbers")

    @property
    def features(self) -> int:
        return self.encoder.features

    def used_bits(self) -> np.ndarray:
        """Indices of the encoder's bits that some pin of the first layer reads, ascending."""
        used = np.unique(self.layers[0].pins)
        return used[used >= 0]


def _arrays(model: Model) -> dict[str, np.ndarray]:
    encoder = model.encoder
    arrays = {
        "version": np.int32(VERSION), "width": np.int32(encoder.width),
        "offset": encoder.offset, "step": encoder.step,
        "feature": encoder.feature, "threshold": encoder.threshold,
        "layers": np.int32(len(model.layers)), "group": model.group,
        "classes": np.int32(model.classes), "scale": np.float64(model.scale),
        "bias": np.float64(model.bias),
    }
    for index, layer in enumerate(model.layers):
        arrays[f"pins_{index}"] = layer.pins
        arrays[f"tables_{index}"] = np.packbits(layer.tables, axis=1, bitorder="little")
    return arrays


def compact(model: Model) -> Model:
    """The same network without the encoder bits that nobody reads."""
    used = model.used_bits()
    place = np.full(model.encoder.bits + 1, -1, np.int32)  # the last entry serves pin -1
    place[used] = np.arange(len(used))
    encoder = model.encoder
    first = Layer(place[model.layers[0].pins], model.layers[0].tables)
    return Model(
        Encoder(encoder.width, encoder.offset, encoder.step, encoder.feature[used],
                encoder.threshold[used]),
        (first, *model.layers[1:]), model.group, model.classes, model.scale, model.bias)


def save(path: str | Path, model: Model, note: str = "") -> None:
    """Write ``model`` without unread encoder bits; ``note``: how it was made.

    The file is a compressed NumPy archive; tables are packed, lowest address in the lowest bit.
    """
    small = {name: (a.astype(np.int16) if a.dtype == np.int32 and a.ndim
                    and abs(a).max(initial=0) < 2 ** 15 else a)
             for name, a in _arrays(compact(model)).items()}
    with open(path, "wb") as file:  # a name without .npz stays as it was given
        np.savez_compressed(file, note=np.array(note), **small)


def load(path: str | Path) -> Model:
    """The model in ``path``; :class:`ModelError` says what is wrong with a file that is."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            a = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ModelError(f"{path.name} does not exist") from None
    except Exception as error:  # whatever a damaged archive makes zipfile or NumPy raise
        raise ModelError(f"{path.name} cannot be read as a model: {error}") from None
    try:
        if int(a["version"]) != VERSION:
            raise ModelError(f"version must be {VERSION}, not {int(a['version'])}")
        layers = []
        for index in range(int(a["layers"])):
            pins, packed = a[f"pins_{index}"], a[f"tables_{index}"]
            n = pins.shape[1] if pins.ndim == 2 else 0
            length = max(2 ** n // 8, 1)
            if packed.shape != (len(pins), length):
                raise ModelError(f"tables of layer {index} must be {length} bytes for each of "
                                 f"{len(pins)} nodes, not of shape {packed.shape}")
            layers.append(Layer(pins, np.unpackbits(packed.astype(np.uint8), axis=1,
                                                    bitorder="little")[:, :2 ** n]))
        return Model(
            Encoder(int(a["width"]), a["offset"], a["step"], a["feature"], a["threshold"]),
            tuple(layers), a["group"], int(a["classes"]), float(a["scale"]), float(a["bias"]))
    except KeyError as error:
        raise ModelError(f"{path.name} must hold the array {error.args[0]!r}".replace("'", "")) \
            from None
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from None


def note_of(path: str | Path) -> str:
    """The note that :func:`save` was given."""
    with np.load(path, allow_pickle=False) as file:
        return str(file["note"])
