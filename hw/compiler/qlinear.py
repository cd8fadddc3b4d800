"""Operators that quantise by themselves (QOperator form): what they do, where their formats are.

ONNX has two, onnxruntime's domain ``com.microsoft`` the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["QLinear", "QLINEAR"]


@dataclass(frozen=True)
class QLinear:
    """``op`` on dequantised operands, quantised again.

    Attributes
    ----------
    operands : tuple
        Positions of (value, scale, zero point) of each; all from ``rest`` on when there are any
        number.
    result : tuple
        Positions of the result's scale and zero point.
    bias : :class:`int` or None
        Position of an int32 bias in the scale of the product.
    """
    op: str
    operands: tuple[tuple[int, int, int], ...]
    result: tuple[int, int]
    bias: int | None = None
    rest: int | None = None
    microsoft: bool = True

    def places(self, inputs: Sequence) -> tuple[tuple[int, int, int], ...]:
        if self.rest is None:
            return self.operands
        return tuple((i, i + 1, i + 2) for i in range(self.rest, len(inputs) - 2, 3))

    def channel_axis(self, operand: int, attributes) -> int:
        """Axis of scales per channel: weights' outputs."""
        if operand == 0 or self.op == "Conv":
            return 0
        return 0 if attributes.get("transB") else -1


_ONE, _TWO = ((0, 1, 2),), ((0, 1, 2), (3, 4, 5))

QLINEAR = {
    "QLinearConv": QLinear("Conv", _TWO, (6, 7), bias=8, microsoft=False),
    "QLinearMatMul": QLinear("MatMul", _TWO, (6, 7), microsoft=False),
    "QLinearAdd": QLinear("Add", _TWO, (6, 7)),
    "QLinearMul": QLinear("Mul", _TWO, (6, 7)),
    "QGemm": QLinear("Gemm", _TWO, (7, 8), bias=6),
    "QLinearAveragePool": QLinear("AveragePool", _ONE, (3, 4)),
    "QLinearGlobalAveragePool": QLinear("GlobalAveragePool", _ONE, (3, 4)),
    "QLinearConcat": QLinear("Concat", (), (0, 1), rest=2),
    "QLinearSoftmax": QLinear("Softmax", _ONE, (3, 4)),
    "QLinearSigmoid": QLinear("Sigmoid", _ONE, (3, 4)),
}
