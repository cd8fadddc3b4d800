"""Rewrite rules of our own, for onnxscript's rewriter: other spellings of the core's operators."""

from onnxscript.rewriter import pattern

__all__ = ["RULES"]


def _sum(op, x, y):
    return op.Sum(x, y)


def _add(op, x, y):
    return op.Add(x, y)


def _mean(op, x, axes):
    return op.ReduceMean(x, axes, keepdims=1)


def _pool(op, x, **_):
    return op.GlobalAveragePool(x)


def _spatial(context, x, axes, **_) -> bool:
    """Whether the mean is over all axes but the first two."""
    if x.shape is None or axes.const_value is None:
        return False
    rank = len(x.shape)
    chosen = {int(a) % rank for a in axes.const_value.numpy().reshape(-1)}
    return rank > 2 and chosen == set(range(2, rank))


RULES = (pattern.RewriteRule(_sum, _add), pattern.RewriteRule(_mean, _pool, _spatial))
