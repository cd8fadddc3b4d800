"""The choice of a schedule: all that fit, by the cost model."""

from collections.abc import Iterator
from dataclasses import replace

from hw.compiler.cost import Costs, estimate
from hw.compiler.schedule import Plan, Schedule
from hw.compiler.visits import Visit
from hw.vta.config import VtaConfig

__all__ = ["candidates", "choose"]

_chosen: dict[tuple, Schedule | None] = {}  # networks have many visits alike


def choose(visit: Visit, config: VtaConfig, costs: Costs | None = None) -> Plan:
    """The plan that costs least.

    Raises :exc:`ValueError` if the scratchpads hold no tile of the visit.
    """
    costs = costs or Costs()
    key = (visit.kind, config, costs)
    if key not in _chosen:
        best = min(candidates(visit, config), key=lambda plan: estimate(plan, costs).cycles,
                   default=None)
        _chosen[key] = best and best.schedule
    if _chosen[key] is None:
        raise ValueError(f"{visit.name} must fit the scratchpads in some tile, and does not; "
                         f"a smaller kernel, or larger buffers, would")
    return Plan(visit, _chosen[key], config)


def candidates(visit: Visit, config: VtaConfig) -> Iterator[Plan]:
    """Plans that fit; kernels are cut, and columns, only where whole ones do not fit."""
    for taps in _taps(visit):
        found = False
        for plan in _with_taps(visit, config, taps):
            found = True
            yield plan
        if found:
            return


def _taps(visit: Visit) -> list[tuple[int, int]]:
    kh, kw = visit.window.kernel
    return ([(n, kw) for n in _parts(kh)] + [(1, n) for n in _parts(kw)[1:]])


def _with_taps(visit, config, taps) -> Iterator[Plan]:
    channels, height, width = visit.shape
    products = visit.products
    outputs = products.outputs if products else -(-channels // config.block)
    inputs = [1] if products is None or products.diagonal else _parts(products.inputs)
    for areas in (2, 3, 1):
        found = False
        for cols in _parts(width):
            for rows in _parts(height):
                if rows * cols > config.depth("acc"):
                    continue
                for out in _parts(outputs):
                    for chunk in inputs:
                        for pixels_first in (True, False):
                            plan = Plan(visit, Schedule(out, rows, cols, chunk, taps,
                                                        pixels_first, areas), config)
                            if plan.excess() is not None:
                                break  # the order does not change what fits
                            found = True
                            yield plan
                            if products and plan.reused:
                                yield Plan(visit, replace(plan.schedule, keep=False), config)
            if found:
                break
        if found and areas == 3:
            return


def _parts(size: int) -> list[int]:
    """Sizes of the parts, largest first, when ``size`` is cut into 1, 2, ... parts."""
    return sorted({-(-size // n) for n in range(1, size + 1)}, reverse=True)
