"""Sliding windows with ONNX's attributes, any number of spatial axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Sliding", "sliding"]


@dataclass(frozen=True)
class Sliding:
    """A window with everything explicit; ``pads`` are all begins, then all ends.

    Attributes
    ----------
    outputs : tuple
        Size of the result along each axis; ``beyond`` says by how many elements the last window
        reaches past the padding (``ceil_mode``).
    """
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    outputs: tuple[int, ...]
    beyond: tuple[int, ...]


def sliding(attributes: Mapping, kernel: Sequence[int], sizes: Sequence[int]) -> Sliding:
    """The window of a convolution or pool on spatial ``sizes``; a :exc:`ValueError` if none fits.

    ``outputs = (size + pads - dilation * (kernel - 1) - 1) // stride + 1``, rounded up with
    ``ceil_mode``, where a window that would start in the padding at the end is dropped.
    """
    axes = len(sizes)

    def listed(name, default):
        values = tuple(attributes.get(name) or (default,) * axes)
        if len(values) != axes or min(values) < 1:
            raise ValueError(f"{name} must be {axes} numbers of at least 1, not {list(values)}")
        return values

    kernel = tuple(kernel)
    if len(kernel) != axes or min(kernel, default=1) < 1:
        raise ValueError(f"kernel_shape must be {axes} numbers of at least 1, not {list(kernel)}")
    given = tuple(attributes.get("kernel_shape") or kernel)
    if given != kernel:
        raise ValueError(f"kernel_shape must be that of the weights, {list(kernel)}, not "
                         f"{list(given)}")
    strides, dilations = listed("strides", 1), listed("dilations", 1)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel)]
    auto = attributes.get("auto_pad", "NOTSET")
    pads = tuple(attributes.get("pads") or (0,) * 2 * axes)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [max((-(-size // s) - 1) * s + span - size, 0)
                  for size, s, span in zip(sizes, strides, spans)]
        small, large = [w // 2 for w in wanted], [w - w // 2 for w in wanted]
        pads = tuple(small + large if auto == "SAME_UPPER" else large + small)
    elif auto == "VALID":
        pads = (0,) * 2 * axes
    elif auto != "NOTSET":
        raise ValueError(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, not {auto!r}")
    if len(pads) != 2 * axes or min(pads, default=0) < 0:
        raise ValueError(f"pads must be {2 * axes} numbers of at least 0, not {list(pads)}")
    outputs, beyond = [], []
    for axis, size in enumerate(sizes):
        room = size + pads[axis] + pads[axis + axes] - spans[axis]
        if room < 0:
            raise ValueError(f"a window of {spans} must fit into {list(sizes)} with pads "
                             f"{list(pads)}")
        count = room // strides[axis] + 1
        if attributes.get("ceil_mode") and room % strides[axis] \
                and count * strides[axis] < size + pads[axis]:
            count += 1
        outputs.append(count)
        beyond.append(max((count - 1) * strides[axis] - room, 0))
    return Sliding(kernel, strides, dilations, pads, tuple(outputs), tuple(beyond))
