"""The choice of a schedule: all that fit, by the cost model; of short visits the best by replay."""

import heapq
from collections.abc import Iterator
from dataclasses import replace

from hw.compiler.cost import Costs, estimate
from hw.compiler.replay import predict
from hw.compiler.schedule import Plan, Schedule
from hw.compiler.visits import Visit
from hw.vta.config import VtaConfig

__all__ = ["candidates", "choose"]

_SHORT = 20_000  # cycles of visits whose beginning, end and instructions count as much as the rest
_REPLAYED = 60   # their schedules that are replayed: the formulas are some % off
_CLEARLY = 1.02  # what the formulas prefer stays unless another one is so much better: among
                 # other visits, ends and beginnings overlap

_chosen: dict[tuple, Schedule | None] = {}  # networks have many visits alike


def choose(visit: Visit, config: VtaConfig, costs: Costs | None = None) -> Plan:
    """The plan that costs least: by formulas, and for short visits the best of those by replay.

    Raises :exc:`ValueError` if the scratchpads hold no tile of the visit.
    """
    costs = costs or Costs()
    key = (visit.kind, config, costs)
    if key not in _chosen:
        best = heapq.nsmallest(_REPLAYED, ((estimate(plan, costs).cycles, n, plan) for n, plan
                                           in enumerate(candidates(visit, config))))
        if best and best[0][0] < _SHORT:
            best = [(predict(plan, costs.latency) * (_CLEARLY if n else 1), n, plan)
                    for n, (*_, plan) in enumerate(best)]
        _chosen[key] = min(best)[2].schedule if best else None
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
