"""Type relations: the types of a node's results, from those of its inputs, or why there are none.

One function an operator. Operators that are not in the table, and run on the host, take ONNX's own
shape inference. A relation that does not hold is a :exc:`Refusal` with the node's name and shapes.
"""

from collections.abc import Callable, Mapping
from copy import copy

import numpy as np

from hw.compiler.qlinear import QLINEAR
from hw.compiler.types import ELEMENTS, Format, Refusal, TensorType
from hw.compiler.windows import sliding

__all__ = ["infer", "format_of", "RELATIONS"]


class _Call:
    """A node with the types and, where they are known, the values of its inputs."""

    def __init__(self, node, types, constants):
        self.node, self.attributes = node, node.attributes
        self.types = [types[i] if i else None for i in node.inputs]
        self.values = [constants.get(i) if i else None for i in node.inputs]

    def type(self, index: int) -> TensorType:
        if not self.has(index):
            raise ValueError(f"input {index} must be given")
        return self.types[index]

    def has(self, index: int) -> bool:
        return index < len(self.types) and self.types[index] is not None

    def value(self, index: int, what: str) -> np.ndarray:
        self.type(index)
        if self.values[index] is None:
            raise ValueError(f"{what} must be a constant")
        return self.values[index]

    def rank(self, index: int, least: int, most: int | None = None) -> tuple[int, ...]:
        shape = self.type(index).shape
        if len(shape) < least or (most is not None and len(shape) > most):
            allowed = f"at least {least}" if most is None else f"{least} to {most}"
            raise ValueError(f"input {index} must have rank {allowed}, not shape {list(shape)}")
        return shape


def infer(node, types: Mapping[str, TensorType],
          constants: Mapping[str, np.ndarray]) -> list[TensorType]:
    """Types of the results of ``node``."""
    call = _Call(node, types, constants)
    shapes = " and ".join(str(t.element) + str(list(t.shape)) for t in call.types if t is not None)
    base = node.op.removeprefix("npu.")
    try:
        if base not in RELATIONS:
            return _by_schema(node, call)
        made = RELATIONS[base](call)
    except ValueError as error:
        if isinstance(error, Refusal):
            raise
        on = f" on {shapes}" if shapes else ""
        raise Refusal(f"{node.op} {node.name}{on}: {error}", node.name) from None
    if base != node.op:
        made = [TensorType("int8", kind.shape, node.attributes["format"]) for kind in made]
    return made


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all ``shapes`` stretch to, from the right, size 1 to any size."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = " and ".join(str(list(s)) for s in shapes)
        raise ValueError(f"shapes {shown} do not broadcast") from None


def _same(call: _Call) -> list[TensorType]:
    return [call.type(0)]


def _float_same(call: _Call) -> list[TensorType]:
    return [TensorType(call.type(0).element, call.type(0).shape)]


def _broadcast(call: _Call) -> list[TensorType]:
    kinds = [call.type(i) for i in range(len(call.types))]
    if len({k.element for k in kinds}) > 1 and not call.node.op.startswith("npu."):
        raise ValueError(f"elements must be of one type, not "
                         f"{' and '.join(k.element for k in kinds)}")
    return [TensorType(kinds[0].element, broadcast(*(k.shape for k in kinds)))]


def _conv(call: _Call) -> list[TensorType]:
    x, w = call.rank(0, 3), call.rank(1, 3)
    group = call.attributes.get("group", 1)
    if len(x) != len(w):
        raise ValueError(f"input {list(x)} and weights {list(w)} must have one rank")
    if group < 1 or x[1] != w[1] * group or w[0] % group:
        raise ValueError(f"weights {list(w)} in {group} groups must take the {x[1]} channels of "
                         f"input {list(x)}")
    if call.has(2) and call.type(2).shape != (w[0],):
        raise ValueError(f"bias must have shape {[w[0]]}, not {list(call.type(2).shape)}")
    window = sliding(call.attributes, w[2:], x[2:])
    return [TensorType(call.type(0).element, (x[0], w[0], *window.outputs))]


def _gemm(call: _Call) -> list[TensorType]:
    a, b = call.rank(0, 2, 2), call.rank(1, 2, 2)
    a = a[::-1] if call.attributes.get("transA") else a
    b = b[::-1] if call.attributes.get("transB") else b
    if a[1] != b[0]:
        raise ValueError(f"{list(a)} times {list(b)}: {a[1]} columns must meet {a[1]} rows, not "
                         f"{b[0]}")
    if call.has(2) and broadcast(call.type(2).shape, (a[0], b[1])) != (a[0], b[1]):
        raise ValueError(f"C must stretch to {[a[0], b[1]]}, not {list(call.type(2).shape)}")
    return [TensorType(call.type(0).element, (a[0], b[1]))]


def _matmul(call: _Call) -> list[TensorType]:
    a, b = call.rank(0, 1), call.rank(1, 1)
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        raise ValueError(f"{list(a)} times {list(b)}: {left[-1]} columns must meet {left[-1]} "
                         f"rows, not {right[-2]}")
    shape = broadcast(left[:-2], right[:-2])
    shape += (left[-2],) * (len(a) > 1) + (right[-1],) * (len(b) > 1)
    return [TensorType(call.type(0).element, shape)]


def _pool(call: _Call) -> list[TensorType]:
    x = call.rank(0, 3)
    kernel = call.attributes.get("kernel_shape")
    if kernel is None:
        raise ValueError("kernel_shape must be given")
    window = sliding(call.attributes, kernel, x[2:])
    made = [TensorType(call.type(0).element, (*x[:2], *window.outputs), call.type(0).format)]
    return made + [TensorType("int64", made[0].shape)] * (len(call.node.outputs) - 1)


def _average_pool(call: _Call) -> list[TensorType]:
    return [TensorType(kind.element, kind.shape) for kind in _pool(call)]


def _global_pool(call: _Call) -> list[TensorType]:
    x = call.rank(0, 3)
    return [TensorType(call.type(0).element, x[:2] + (1,) * (len(x) - 2))]


def _flatten(call: _Call) -> list[TensorType]:
    x = call.type(0)
    axis = call.attributes.get("axis", 1)
    axis = x.rank if axis == x.rank else _axis(axis, x.rank)
    sizes = [int(np.prod(part, dtype=np.int64)) for part in (x.shape[:axis], x.shape[axis:])]
    return [TensorType(x.element, tuple(sizes), x.format)]


def _reshape(call: _Call) -> list[TensorType]:
    x, wanted = call.type(0), call.value(1, "shape").tolist()
    sizes = [x.shape[i] if size == 0 and not call.attributes.get("allowzero") and i < x.rank
             else size for i, size in enumerate(wanted)]
    count = int(np.prod(x.shape, dtype=np.int64))
    rest = int(np.prod([s for s in sizes if s != -1], dtype=np.int64))
    if sizes.count(-1) == 1 and rest > 0 and count % rest == 0:
        sizes[sizes.index(-1)] = count // rest
    if min(sizes, default=0) < 0 or int(np.prod(sizes, dtype=np.int64)) != count:
        raise ValueError(f"{list(x.shape)} must keep its {count} elements, not become {wanted}")
    return [TensorType(x.element, tuple(sizes), x.format)]


def _transpose(call: _Call) -> list[TensorType]:
    x = call.type(0)
    perm = tuple(call.attributes.get("perm") or range(x.rank)[::-1])
    if sorted(perm) != list(range(x.rank)):
        raise ValueError(f"perm must order the axes of {list(x.shape)}, not be {list(perm)}")
    return [TensorType(x.element, tuple(x.shape[p] for p in perm), x.format)]


def _concat(call: _Call) -> list[TensorType]:
    kinds = [call.type(i) for i in range(len(call.types))]
    axis = _axis(call.attributes.get("axis", 1), kinds[0].rank)
    rest = {k.shape[:axis] + k.shape[axis + 1:] for k in kinds}
    if len(rest) > 1 or len({k.rank for k in kinds}) > 1:
        raise ValueError(f"shapes {' and '.join(str(list(k.shape)) for k in kinds)} must differ "
                         f"along axis {axis} only")
    shape = list(kinds[0].shape)
    shape[axis] = sum(k.shape[axis] for k in kinds)
    same = kinds[0].format if len({k.format for k in kinds}) == 1 else None
    return [TensorType(kinds[0].element, tuple(shape), same)]


def _pad(call: _Call) -> list[TensorType]:
    x = call.type(0)
    if "value" in call.attributes and "pads" in call.attributes:  # npu.Pad: spatial, attributes
        sides = np.reshape(call.attributes["pads"], (2, -1)).sum(0).tolist()
        spatial = tuple(size + more for size, more in zip(x.shape[2:], sides))
        return [TensorType(x.element, x.shape[:2] + spatial)]
    pads = call.value(1, "pads").tolist()
    axes = (call.value(3, "axes") % x.rank).tolist() if call.has(3) else list(range(x.rank))
    if len(pads) != 2 * len(axes):
        raise ValueError(f"pads must be {2 * len(axes)} numbers, not {pads}")
    shape = list(x.shape)
    for index, axis in enumerate(axes):
        shape[axis] += pads[index] + pads[index + len(axes)]
    return [TensorType(x.element, tuple(shape), x.format)]


def _squeeze(call: _Call) -> list[TensorType]:
    x = call.type(0)
    axes = [_axis(a, x.rank) for a in call.value(1, "axes").tolist()] if call.has(1) else \
        [i for i, size in enumerate(x.shape) if size == 1]
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {axes} of {list(x.shape)} must have size 1")
    return [TensorType(x.element, tuple(s for i, s in enumerate(x.shape) if i not in axes),
                       x.format)]


def _unsqueeze(call: _Call) -> list[TensorType]:
    x, given = call.type(0), call.value(1, "axes").tolist()
    axes = [_axis(a, x.rank + len(given)) for a in given]
    shape = list(x.shape)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return [TensorType(x.element, tuple(shape), x.format)]


def format_of(scale: np.ndarray, zero_point: np.ndarray | None, axis: int, rank: int) -> Format:
    """Format of constants as QuantizeLinear and DequantizeLinear have them."""
    scale = np.atleast_1d(scale)
    if scale.ndim != 1:
        raise ValueError(f"scale must be one number or one per channel, not of shape "
                         f"{list(scale.shape)}")
    zero = np.zeros(scale.shape, np.int64) if zero_point is None else np.atleast_1d(zero_point)
    per_channel = len(scale) > 1
    return Format(tuple(scale.astype(np.float64).tolist()), tuple(zero.astype(np.int64).tolist()),
                  _axis(axis, rank) if per_channel else None)


def _quantise(call: _Call, rank_of: int = 0) -> Format | None:
    """Format of a Quantize or DequantizeLinear; None when it is blocked or not a constant."""
    x, scale = call.type(rank_of), call.type(1)
    if call.values[1] is None or call.has(2) and call.values[2] is None \
            or call.attributes.get("block_size", 0):
        return None
    axis = call.attributes.get("axis", 1)
    if scale.rank == 1 and scale.shape[0] > 1:
        size = x.shape[_axis(axis, x.rank)]
        if scale.shape[0] != size:
            raise ValueError(f"scale must have {size} values for axis {axis} of {list(x.shape)}, "
                             f"not {scale.shape[0]}")
    return format_of(call.values[1], call.values[2] if call.has(2) else None, axis, x.rank)


def _quantize_linear(call: _Call) -> list[TensorType]:
    code = call.attributes.get("output_dtype", 0)
    names = {code: name for name, code in ELEMENTS.items()}
    element = call.type(2).element if call.has(2) else names.get(code, "uint8")
    return [TensorType(element, call.type(0).shape, _quantise(call))]


def _dequantize_linear(call: _Call) -> list[TensorType]:
    _quantise(call)
    return [TensorType(call.type(1).element, call.type(0).shape)]


def _qlinear(call: _Call) -> list[TensorType]:
    """The type of the operator on floats, in the result's element and format."""
    form = QLINEAR[call.node.op]
    if call.attributes.get("channels_last"):
        raise ValueError("channels_last must be 0")
    values = [call.type(value) for value, _, _ in form.places(call.types)]
    inner = copy(call)
    inner.types = [TensorType("float32", kind.shape) for kind in values]
    if form.bias is not None and call.has(form.bias):
        inner.types.append(TensorType("float32", call.type(form.bias).shape))
    inner.values = [None] * len(inner.types)
    (made,) = RELATIONS[form.op](inner)
    scale, zero = (call.values[p] if p < len(call.values) else None for p in form.result)
    known = None if scale is None else format_of(scale, zero, 1, made.rank)
    return [TensorType(call.type(form.result[1]).element, made.shape, known)]


def _batch_norm(call: _Call) -> list[TensorType]:
    x = call.rank(0, 2)
    for index in range(1, 5):
        if call.type(index).shape != (x[1],):
            raise ValueError(f"input {index} must have shape {[x[1]]}, not "
                             f"{list(call.type(index).shape)}")
    if len(call.node.outputs) > 1:
        raise ValueError("training mode must be off")
    return [TensorType(call.type(0).element, x)]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis must be {-rank} to {rank - 1}, not {axis}")
    return axis % rank


def _by_schema(node, call: _Call) -> list[TensorType]:
    """ONNX's own inference, for operators that only the host executes."""
    from hw.compiler import onnx_io  # the table below needs no ONNX

    return onnx_io.infer(node, call.types, call.values)


RELATIONS: dict[str, Callable[[_Call], list[TensorType]]] = {
    "Conv": _conv, "Gemm": _gemm, "MatMul": _matmul, "BatchNormalization": _batch_norm,
    "Add": _broadcast, "Sub": _broadcast, "Mul": _broadcast, "Div": _broadcast,
    "Scale": _float_same,  # npu.Scale: the constants are attributes
    "Relu": _float_same, "Softmax": _float_same, "Sigmoid": _float_same, "Tanh": _float_same,
    "Clip": _same, "Identity": _same,
    "MaxPool": _pool, "AveragePool": _average_pool, "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Flatten": _flatten, "Reshape": _reshape, "Transpose": _transpose, "Concat": _concat,
    "Pad": _pad, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "QuantizeLinear": _quantize_linear, "DequantizeLinear": _dequantize_linear,
    **dict.fromkeys(QLINEAR, _qlinear),
}
