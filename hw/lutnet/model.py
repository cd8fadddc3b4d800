"""A trained LUT network as data: encoder, layers of tables, head; and its file.

Nothing here computes the network: :mod:`sim.golden.lutnet` does for checks,
:mod:`hw.lutnet.network` as hardware, and both read this.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .layers import Convolution, Front, Layer, ModelError, Pooling, vector

__all__ = ["Encoder", "Layer", "Model", "ModelError", "save", "load"]

VERSIONS = {False: 1, True: 2}  # of the file: without and with a front


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
            object.__setattr__(self, name, vector(getattr(self, name), dtype))
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

    def tiled(self, pixels: int) -> "Encoder":
        """This encoder, which is one pixel's, for a picture.

        Features are those of the first pixel, of the second, and so on; bits are bit 0 of all
        pixels, bit 1 of all pixels, and so on.
        """
        first = np.arange(pixels) * self.features
        return Encoder(self.width, np.tile(self.offset, pixels), np.tile(self.step, pixels),
                       (self.feature[:, None] + first).reshape(-1),
                       np.repeat(self.threshold, pixels))


@dataclass(frozen=True, eq=False)
class Model:
    """Encoder, layers, head; for a picture, convolutions and poolings between encoder and layers.

    Parameters
    ----------
    encoder : :class:`Encoder`
        With a front, that of one pixel.
    layers : tuple of :class:`Layer`
        The first reads the encoder's bits, or the front's; each other the nodes of the one before.
    group : int32 (nodes of the last layer,)
        The sum to which a node counts.
    classes : :class:`int`
        2 to 256 groups: the label is the group with the largest sum, the lowest of equals.
        1: a regression, whose value is ``scale * sum + bias``.
    scale, bias : :class:`float`
        Of a regression.
    front : :class:`Front` or ``None``
    shift : int32 (nodes of the last layer,)
        A node that is 1 counts ``2**shift``, 0 to 30; empty: all 0.
    """

    encoder: Encoder
    layers: tuple[Layer, ...]
    group: np.ndarray
    classes: int
    scale: float = 1.0
    bias: float = 0.0
    front: Front | None = None
    shift: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __post_init__(self):
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "group", vector(self.group, np.int32))
        shift = self.shift if np.size(self.shift) else np.zeros(self.group.shape)
        object.__setattr__(self, "shift", vector(shift, np.int32))
        if not self.layers:
            raise ModelError("layers must hold at least one layer")
        if self.classes not in range(1, 257):
            raise ModelError(f"classes must be 1 to 256, not {self.classes!r}")
        width = self.bits
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
        if self.shift.shape != (width,):
            raise ModelError(f"shift must have one value for each of the {width} last nodes, not "
                             f"{self.shift.shape}")
        if self.shift.min() < 0 or self.shift.max() > 30:
            raise ModelError(f"shift must be 0 to 30, not "
                             f"{self.shift.min() if self.shift.min() < 0 else self.shift.max()}")
        if not np.isfinite([self.scale, self.bias]).all():
            raise ModelError("scale and bias must be finite numbers")

    @property
    def features(self) -> int:
        pixels = self.front.height * self.front.width if self.front else 1
        return self.encoder.features * pixels

    @property
    def bits(self) -> int:
        """What the first layer can read: the encoder's bits, or those of the last map."""
        if self.front is None:
            return self.encoder.bits
        return int(np.prod(self.front.shapes(self.encoder.bits)[-1]))

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes of real features (samples, features), see :meth:`Encoder.codes`."""
        encoder = self.encoder
        if self.front:
            encoder = encoder.tiled(self.front.height * self.front.width)
        return encoder.codes(x)

    def used_bits(self) -> np.ndarray:
        """Indices of the bits that some pin of the first layer reads, ascending."""
        used = np.unique(self.layers[0].pins)
        return used[used >= 0]


def _pack(layer: Layer, name: str) -> dict[str, np.ndarray]:
    return {f"pins_{name}": layer.pins,
            f"tables_{name}": np.packbits(layer.tables, axis=1, bitorder="little")}


def _unpack(a: dict[str, np.ndarray], name: str, what: str) -> Layer:
    pins, packed = a[f"pins_{name}"], a[f"tables_{name}"]
    n = pins.shape[1] if pins.ndim == 2 else 0
    length = max(2 ** n // 8, 1)
    if packed.shape != (len(pins), length):
        raise ModelError(f"tables of {what} must be {length} bytes for each of {len(pins)} nodes, "
                         f"not of shape {packed.shape}")
    return Layer(pins, np.unpackbits(packed.astype(np.uint8), axis=1,
                                     bitorder="little")[:, :2 ** n])


def _arrays(model: Model) -> dict[str, np.ndarray]:
    encoder = model.encoder
    arrays = {
        "version": np.int32(VERSIONS[model.front is not None]), "width": np.int32(encoder.width),
        "offset": encoder.offset, "step": encoder.step,
        "feature": encoder.feature, "threshold": encoder.threshold,
        "layers": np.int32(len(model.layers)), "group": model.group,
        "classes": np.int32(model.classes), "scale": np.float64(model.scale),
        "bias": np.float64(model.bias),
    }
    if model.shift.any():
        arrays["shift"] = model.shift
    for index, layer in enumerate(model.layers):
        arrays |= _pack(layer, str(index))
    if model.front:
        front = model.front
        arrays["picture"] = np.array([front.height, front.width], np.int32)
        kinds = [[stage.height, stage.width, stage.border if isinstance(stage, Convolution) else -1]
                 for stage in front.stages]
        arrays["stages"] = np.array(kinds, np.int32).reshape(-1, 3)
        for index, stage in enumerate(front.stages):
            if isinstance(stage, Convolution):
                arrays |= _pack(stage.layer, f"stage_{index}")
    return arrays


def _front(a: dict[str, np.ndarray]) -> Front | None:
    if int(a["version"]) == VERSIONS[False]:
        return None
    if a["picture"].shape != (2,) or a["stages"].shape[1:] != (3,):
        raise ModelError("picture and stages must have 2 values and 3 columns, not shapes "
                         f"{a['picture'].shape} and {a['stages'].shape}")
    stages = []
    for index, (height, width, border) in enumerate(a["stages"].tolist()):
        stages.append(Pooling(height, width) if border < 0 else Convolution(
            height, width, bool(border), _unpack(a, f"stage_{index}", f"stage {index}")))
    height, width = a["picture"].tolist()
    return Front(height, width, tuple(stages))


def compact(model: Model) -> Model:
    """The same network without the encoder bits that nobody reads; one with a front stays."""
    if model.front:
        return model
    used = model.used_bits()
    place = np.full(model.encoder.bits + 1, -1, np.int32)  # the last entry serves pin -1
    place[used] = np.arange(len(used))
    encoder = model.encoder
    first = Layer(place[model.layers[0].pins], model.layers[0].tables)
    return Model(
        Encoder(encoder.width, encoder.offset, encoder.step, encoder.feature[used],
                encoder.threshold[used]),
        (first, *model.layers[1:]), model.group, model.classes, model.scale, model.bias,
        shift=model.shift)


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
        if int(a["version"]) not in VERSIONS.values():
            raise ModelError(f"version must be 1 or 2, not {int(a['version'])}")
        layers = [_unpack(a, str(index), f"layer {index}") for index in range(int(a["layers"]))]
        return Model(
            Encoder(int(a["width"]), a["offset"], a["step"], a["feature"], a["threshold"]),
            tuple(layers), a["group"], int(a["classes"]), float(a["scale"]), float(a["bias"]),
            _front(a), a.get("shift", np.zeros(0)))
    except KeyError as error:
        raise ModelError(f"{path.name} must hold the array {error.args[0]!r}".replace("'", "")) \
            from None
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from None


def note_of(path: str | Path) -> str:
    """The note that :func:`save` was given."""
    with np.load(path, allow_pickle=False) as file:
        return str(file["note"])
