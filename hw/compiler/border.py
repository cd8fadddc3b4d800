"""Where the host hands tensors over: inputs of few channels get taps of the kernel as channels.

A convolution of three channels would leave most lanes empty. The host, which rearranges the
input anyway, can put what neighbouring taps see into the lanes: the horizontal ones, or all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.compiler.cost import Costs, estimate
from hw.compiler.layout import patch_conv, patches
from hw.compiler.operators import Conv, Host, Network, Operator, Tensor, Window
from hw.compiler.schedule import Plan
from hw.compiler.visits import Visit, group
from hw.vta.config import VtaConfig

__all__ = ["Patch", "pack_inputs"]


@dataclass(frozen=True)
class Patch:
    """``tensor`` is :func:`hw.compiler.layout.patches` of ``source``, which has ``shape``."""
    source: str
    shape: tuple[int, int, int]
    tensor: Tensor
    window: Window
    both: bool
    pad_value: int

    def of(self, x: np.ndarray) -> np.ndarray:
        return patches(x, self.window, self.both, self.pad_value)


def pack_inputs(network: Network, config: VtaConfig, schedule: Callable[[Visit, VtaConfig], Plan]
                ) -> tuple[list[Operator | Host], list[Patch]]:
    """Steps of ``network`` in which convolutions of what the host gives may see patches of it."""
    given = {name for name in network.inputs if name in network.tensors}
    for step in network.steps:
        if isinstance(step, Host):
            given.update(step.ys)
    steps, made = [], []
    for step in network.steps:
        if isinstance(step, Conv) and step.x.name in given:
            both = _best(step, config, schedule)
            if both is not None:
                packed = patch_conv(step, both)
                made.append(Patch(step.x.name, step.x.shape, packed.x, step.window, both,
                                  step.pad_value))
                step = packed
        steps.append(step)
    return steps, made


def _best(conv: Conv, config, schedule) -> bool | None:
    """Whether patches of both directions cost least; none, if the tensor itself does."""
    if conv.groups != 1 or conv.x.channels >= config.block or conv.window.kernel == (1, 1):
        return None

    def cycles(conv):
        visit, = group([conv], [conv.y.name], config)
        return estimate(schedule(visit, config), Costs()).cycles

    costs = {None: cycles(conv), False: cycles(patch_conv(conv, False)),
             True: cycles(patch_conv(conv, True))}
    return min(costs, key=lambda both: costs[both])
