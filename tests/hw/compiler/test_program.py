"""Compiled networks against the model of the operators, bit for bit."""

import numpy as np
import pytest

from hw.compiler.link import compile_network
from hw.compiler.operators import Tensor
from hw.compiler.proof import prove
from hw.compiler.schedule import Plan, Schedule
from hw.compiler.search import candidates
from hw.compiler.zoo import Builder
from hw.vta.config import PRESETS, preset
from sim.golden.compiler.operators import run

CONFIGS = tuple(PRESETS)


def check(builder, network, config, schedule=None, level="iss"):
    """Compile and run; every stored tensor must be the model's. Races raise."""
    options = {} if schedule is None else {"schedule": schedule}
    program = compile_network(network, config, keep=True, **options)
    values = builder.values(config.batch)
    results, expected = program.run(values, level=level), run(network, values, None)
    prove(program)
    for name, got in results.items():
        np.testing.assert_array_equal(got, expected[name], name)
    return program


#   channels, height, width, outputs, kernel, stride, dilation, pads, groups, pad value
CONVS = [
    (20, 9, 11, 40, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 5),     # blocks filled in part
    (1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, 0),        # smallest
    (37, 1, 1, 70, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, 0),      # dense layer
    (3, 23, 20, 18, (7, 7), (2, 2), (1, 1), (3, 3, 3, 3), 1, -7),    # a network's first
    (33, 12, 7, 16, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 1, 0),     # skips pixels
    (16, 15, 13, 16, (3, 2), (2, 1), (2, 3), (2, 0, 1, 3), 1, 1),    # nothing is square
    (40, 10, 10, 40, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 40, 3),   # depthwise
    (40, 9, 9, 40, (5, 5), (2, 2), (1, 1), (2, 2, 2, 2), 40, 0),     # more taps than a block
    (64, 6, 5, 32, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2, 0),      # groups fill blocks
    (64, 6, 5, 64, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 16, 0),     # groups within blocks
    (32, 6, 5, 128, (3, 1), (1, 1), (1, 1), (1, 0, 1, 0), 32, 2),    # depth multiplier
    (18, 6, 5, 27, (1, 3), (1, 1), (1, 1), (0, 1, 0, 1), 9, 0),      # groups that share blocks
    (2, 5, 4, 3, (3, 3), (1, 1), (1, 1), (18, 17, 19, 20), 1, 9),    # more padding than LOAD has
    (300, 4, 4, 20, (4, 4), (1, 1), (1, 1), (0, 0, 0, 0), 1, 0),     # many inputs
]


@pytest.mark.parametrize("name, case", [
    (CONFIGS[(n + shift) % len(CONFIGS)], case) for n, case in enumerate(CONVS)
    for shift in (0, 1, 3)], ids=str)
def test_conv(name, case):
    channels, height, width, outputs, kernel, stride, dilation, pads, groups, pad_value = case
    builder = Builder(1, Tensor("x", channels, height, width))
    builder.conv(builder.inputs[0], outputs, kernel, stride=stride, dilation=dilation, pads=pads,
                 groups=groups, pad_value=pad_value)
    check(builder, builder.network(), preset(name))


def residual(b):
    """A block whose sum others read, and one after it whose first convolution comes later."""
    x, = b.inputs
    a = b.conv(x, x.channels, (3, 3), pads=(1, 1, 1, 1))
    a = b.add(x, b.conv(a, x.channels, (3, 3), pads=(1, 1, 1, 1)))
    c = b.conv(a, 24, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    c = b.conv(c, 24, (3, 3), pads=(1, 1, 1, 1))
    d = b.conv(a, 24, (1, 1), stride=(2, 2))
    return b.add(c, d),


def preactivation(b):
    """Sums are kept as they are, and scaled anew for the convolutions."""
    x, = b.inputs
    for _ in range(2):
        y = b.conv(b.scale(x), 12)
        y = b.conv(b.scale(y), x.channels)
        x = b.add(y, x)
    return b.scale(b.sum_pool(b.scale(x), (8, 9))), x


def inception(b):
    """Branches side by side, and a sum of three."""
    x, = b.inputs
    parts = [b.conv(x, 32), b.max_pool(x, (3, 3), pads=(1, 1, 1, 1)), b.scale(x)]
    y = b.concat(*parts[:1], *parts[2:])
    return b.add(b.add(b.conv(y, 7), b.conv(parts[1], 7)), b.conv(x, 7)), y


def untidy(b):
    """Joined parts that fill no blocks, are the same, or in two results."""
    x, = b.inputs
    parts = [b.conv(x, 5), b.scale(x), b.conv(x, 18)]
    y = b.concat(parts[0], parts[1], parts[0], parts[2])
    return b.conv(y, 9), b.concat(parts[1], x), b.concat(parts[1], parts[0])


def lonely(b):
    """Nothing to fuse: a tensor plus itself, pools in a row, a sum of inputs."""
    x, = b.inputs
    y = b.add(x, x)
    y = b.max_pool(y, (2, 3), stride=(2, 2), dilation=(1, 2))
    return b.sum_pool(y, (2, 2), stride=(1, 2), pads=(1, 1, 0, 0), pad_value=11), b.add(x, x)


@pytest.mark.parametrize("make", [residual, preactivation, inception, untidy, lonely])
@pytest.mark.parametrize("name", CONFIGS)
def test_network(name, make):
    config = preset(name)
    builder = Builder(2, Tensor("x", 32, 8, 9))
    check(builder, builder.network(*make(builder)), config)


@pytest.mark.parametrize("seed", range(4))
def test_schedule_changes_no_bits(seed):
    builder = Builder(seed, Tensor("x", 40, 11, 9))
    y = builder.conv(builder.inputs[0], 50, (3, 3), stride=(1, 2), pads=(1, 1, 1, 1))
    builder.add(builder.conv(y, 50, (1, 1)), y)
    config = preset("small")
    rng = np.random.default_rng(seed)

    def any_schedule(visit, config):
        plans = list(candidates(visit, config))
        return plans[rng.integers(len(plans))]

    for _ in range(4):
        check(builder, builder.network(), config, any_schedule)


def test_taps_can_be_cut():
    builder = Builder(0, Tensor("x", 17, 9, 9))
    builder.conv(builder.inputs[0], 20, (5, 4), pads=(2, 2, 2, 1), pad_value=4)
    config = preset("default")
    for taps in ((5, 4), (2, 4), (1, 3), (1, 1)):
        check(builder, builder.network(), config,
              lambda visit, config, taps=taps: Plan(visit, Schedule(1, 4, 9, 1, taps), config))


def random_network(seed):
    """A window, and what may follow it: scales, sums, convolutions."""
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(map(int, rng.choice(of, 2))) for of in ([1, 1, 2, 3, 5], [1, 1, 2, 3]))
    dilation = tuple(map(int, rng.choice([1, 1, 2], 2)))
    pads = tuple(map(int, rng.integers(0, 3, 4)))
    height, width = (int(size) for size in rng.integers(9, 18, 2))
    groups = int(rng.choice([1, 1, 1, 4]))
    channels, outputs = (groups * int(n) for n in rng.integers(1, 80 // groups, 2))
    if rng.random() < 0.2:
        groups = outputs = channels
    b = Builder(seed, Tensor("x", channels, height, width))
    y = b.conv(b.inputs[0], outputs, kernel, stride=stride, dilation=dilation, pads=pads,
               groups=groups, pad_value=int(rng.integers(-128, 128)))
    for choice in rng.integers(0, 3, rng.integers(0, 4)):
        y = (b.scale(y) if choice == 0 else b.add(b.conv(y, y.channels), y) if choice == 1
             else b.conv(y, int(rng.integers(1, 60)), (3, 3), pads=(1, 1, 1, 1)))
    return b, rng


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_random_networks(seed):
    builder, rng = random_network(seed)

    def any_schedule(visit, config):
        plans = list(candidates(visit, config))
        return plans[rng.integers(len(plans))]

    check(builder, builder.network(), preset(CONFIGS[seed % len(CONFIGS)]), any_schedule)


@pytest.mark.slow
@pytest.mark.parametrize("make", [residual, preactivation, inception, untidy, lonely])
def test_network_in_hardware(make):
    config = preset("small")
    builder = Builder(3, Tensor("x", 32, 8, 9))
    check(builder, builder.network(*make(builder)), config, level="rtl")
