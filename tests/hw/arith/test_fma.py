# amaranth: UnusedElaboratable=no
"""The fused multiply-add: hand-worked vectors, exact fractions, the processor, and the circuit."""

import ctypes
import shutil
import subprocess
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module
from amaranth.sim import Simulator

from hw.arith.fma import FusedMultiplyAdd, MultiplyAdd
from hw.arith.operand import OperandLayout
from hw.arith.sum import PackSum, SumLayout, UnpackSum
from hw.formats import BFLOAT16, FLOAT8_E4M3, FLOAT16, FLOAT32, FloatFormat
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import class_names, directed
from sim.golden.formats import decode
from sim.verilated import Engine

TINY6  = FloatFormat("tiny6",  exponent=3, fraction=2)
TINY8  = FloatFormat("tiny8",  exponent=4, fraction=3)
TINY10 = FloatFormat("tiny10", exponent=4, fraction=5)
TINY12 = FloatFormat("tiny12", exponent=5, fraction=6)
NARROW = FloatFormat("narrow", exponent=4, fraction=3)  # less fraction than a product of TINY6B
TINY6B = FloatFormat("tiny6b", exponent=2, fraction=3)

# The product is narrower than the sum, as wide, wider; exponents of any size; no infinity.
PAIRS = [
    (BFLOAT16, FLOAT32),
    (TINY8, TINY12),
    (FLOAT8_E4M3, FLOAT16),
    (FloatFormat("fine", exponent=3, fraction=4), FloatFormat("coarse", exponent=5, fraction=3)),
]
IDS = [f"{operand.name}-{sum.name}" for operand, sum in PAIRS]

#     a       b       c           a * b + c
VECTORS = [
    (0x3f80, 0x4000, 0x40400000, 0x40a00000),  # 1 * 2 + 3 = 5
    (0x3f80, 0xbf80, 0x3f800000, 0x00000000),  # an exact zero is +0
    (0x0000, 0x3f80, 0x80000000, 0x00000000),  # +0 - 0 = +0
    (0x8000, 0x3f80, 0x80000000, 0x80000000),  # -0 - 0 = -0
    (0x8000, 0x3f80, 0x00000000, 0x00000000),  # -0 + 0 = +0
    (0x3f80, 0x3380, 0x3f800000, 0x3f800000),  # 1 + 2**-24: a tie, down to even
    (0x3f80, 0x3380, 0x3f800001, 0x3f800002),  # a tie, up to even
    (0x3f81, 0x3380, 0x3f800000, 0x3f800001),  # just above the tie
    (0x3f80, 0xb300, 0x3f800000, 0x3f800000),  # 1 - 2**-25: a tie in the binade below, to even
    (0x3f80, 0xb301, 0x3f800000, 0x3f7fffff),  # just below that tie
    (0x3f80, 0xb380, 0x3f800000, 0x3f7fffff),  # 1 - 2**-24 is a number
    (0x3fff, 0x3fff, 0xc07e0100, 0x00000000),  # (2 - 2**-7)**2 leaves nothing
    (0x3fff, 0x3fff, 0xc07e00ff, 0x34800000),  # 23 leading bits cancel
    (0x0001, 0x7f7f, 0x3f800000, 0x3f800000),  # a subnormal operand is zero
    (0x0001, 0x7f80, 0x3f800000, 0x7fc00000),  # so, times infinity, it is NaN
    (0x3f80, 0x8000, 0x00000001, 0x00000000),  # a subnormal addend is zero: 0 - 0
    (0x3f80, 0x8000, 0x80000001, 0x80000000),  # and keeps its sign
    (0x2000, 0x2000, 0x00000000, 0x00800000),  # 2**-126 is normal
    (0x2000, 0x1f80, 0x00000000, 0x00000000),  # 2**-127 is flushed
    (0x2000, 0x9f80, 0x00000000, 0x80000000),  # with its sign
    (0x2000, 0x9380, 0x00800000, 0x00800000),  # 2**-126 - 2**-151: a tie, kept, for rounding first
    (0x2000, 0x93a0, 0x00800000, 0x00000000),  # beyond the tie: rounded below 2**-126, flushed
    (0x7f00, 0x3f80, 0x7f7fffff, 0x7f800000),  # overflow
    (0x3f80, 0x7300, 0x7f7fffff, 0x7f800000),  # a tie with 2**128
    (0x3f80, 0x72ff, 0x7f7fffff, 0x7f7fffff),  # just below it
    (0x7f00, 0x4000, 0xff7fffff, 0x73800000),  # the product overflows, the sum does not
    (0x7f80, 0xbf80, 0x3f800000, 0xff800000),  # infinity has the product's sign
    (0x7f00, 0x7f00, 0xff800000, 0xff800000),  # a finite product does not undo an infinite addend
    (0x7f80, 0x3f80, 0xff800000, 0x7fc00000),  # infinity - infinity
    (0x7f80, 0x0000, 0x3f800000, 0x7fc00000),  # infinity * 0
    (0xffc1, 0x3f80, 0x3f800000, 0x7fc00000),  # every NaN is the one NaN
    (0x3f80, 0x3f80, 0xff800001, 0x7fc00000),
]


def exact_fma(a: int, b: int, c: int, operand: FloatFormat, sum: FloatFormat) -> int:
    """The contract once more, on one triple, with fractions of integers."""
    (sign_a, x, kind_a), (sign_b, y, kind_b), (sign_c, z, kind_c) = (
        _parse(a, operand), _parse(b, operand), _parse(c, sum))
    sign_p = sign_a ^ sign_b
    infinite_p = "infinity" in (kind_a, kind_b)
    if "nan" in (kind_a, kind_b, kind_c) or (infinite_p and 0 in (x, y)):
        return sum.nan
    if infinite_p or kind_c == "infinity":
        if infinite_p and kind_c == "infinity" and sign_p != sign_c:
            return sum.nan
        return (sign_p if infinite_p else sign_c) << (sum.width - 1) | sum.infinity
    total = (-1) ** sign_p * x * y + (-1) ** sign_c * z
    if total == 0:
        return (sign_p & sign_c if x * y == 0 else 0) << (sum.width - 1)
    sign = int(total < 0)
    exponent = _exponent(abs(total))
    steps = round(abs(total) / Fraction(2) ** (exponent - sum.fraction))  # ties to even
    if steps == 2 << sum.fraction:
        steps, exponent = 1 << sum.fraction, exponent + 1
    if exponent < sum.min_exponent:
        word = 0
    elif exponent > sum.max_exponent:
        word = sum.infinity
    else:
        word = (exponent + sum.bias) << sum.fraction | steps - (1 << sum.fraction)
    return sign << (sum.width - 1) | word


def _parse(word: int, fmt: FloatFormat):
    sign, magnitude = word >> (fmt.width - 1), word & (fmt.sign_mask - 1)
    exponent, fraction = magnitude >> fmt.fraction, magnitude & ((1 << fmt.fraction) - 1)
    if magnitude == fmt.nan if fmt.finite else magnitude > fmt.infinity:
        return sign, Fraction(1), "nan"
    if not fmt.finite and magnitude == fmt.infinity:
        return sign, Fraction(1), "infinity"
    if exponent == 0:
        return sign, Fraction(0), "finite"
    unit = Fraction(2) ** (exponent - fmt.bias - fmt.fraction)
    return sign, ((1 << fmt.fraction) + fraction) * unit, "finite"


def _exponent(x: Fraction) -> int:
    """Of the leading one of ``x > 0``."""
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= x else exponent - 1


# The model ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("a, b, c, expected", VECTORS)
def test_model_and_fractions_agree_with_hand_worked_vectors(a, b, c, expected):
    assert f"{fma(*map(np.array, (a, b, c))):08x}" == f"{expected:08x}"
    assert f"{exact_fma(a, b, c, BFLOAT16, FLOAT32):08x}" == f"{expected:08x}"


@pytest.mark.parametrize("operand, sum", PAIRS, ids=IDS)
def test_model_agrees_with_fractions(operand, sum):
    a, b, c, _ = directed(np.random.default_rng(1), 5000, operand, sum)
    expected = [exact_fma(*map(int, row), operand, sum) for row in zip(a, b, c)]
    np.testing.assert_array_equal(fma(a, b, c, operand, sum), expected)


_PROCESSOR = r"""
#include <cstdint>
#include <cstring>
#include <immintrin.h>
extern "C" void run(int64_t n, const uint16_t* a, const uint16_t* b, const float* c, float* y) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // flush results to zero, take subnormal operands as zero
    for (int64_t i = 0; i < n; ++i) {
        uint32_t ua = uint32_t(a[i]) << 16, ub = uint32_t(b[i]) << 16;
        float fa, fb;
        memcpy(&fa, &ua, 4);
        memcpy(&fb, &ub, 4);
        y[i] = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(fa), _mm_set_ss(fb), _mm_set_ss(c[i])));
    }
    _mm_setcsr(before);
}
"""


def test_model_agrees_with_the_processor(tmp_path):
    """FMA3 with subnormal numbers off is the contract, but for the NaN's payload."""
    cpuinfo = Path("/proc/cpuinfo")
    if not shutil.which("g++") or not cpuinfo.exists() or " fma " not in cpuinfo.read_text():
        pytest.skip("needs g++ and a processor with FMA3")
    source, library = tmp_path / "fma.cpp", tmp_path / "fma.so"
    source.write_text(_PROCESSOR)
    subprocess.run(["g++", "-O2", "-mfma", "-shared", "-fPIC", source, "-o", library], check=True)
    run = ctypes.CDLL(str(library)).run
    a, b, c, ids = directed(np.random.default_rng(2), 3_000_000)
    y = np.empty(len(a), np.float32)
    run(ctypes.c_int64(len(a)), *(ctypes.c_void_p(x.ctypes.data) for x in (a, b, c, y)))
    words = np.where(np.isnan(y), FLOAT32.nan, y.view(np.uint32))
    wrong = fma(a, b, c) != words
    assert not wrong.any(), {class_names()[i] for i in ids[wrong]}


@pytest.mark.parametrize("operand, sum", [
    (FLOAT32, FLOAT32), (FloatFormat("x", 8, 26), FLOAT32), (BFLOAT16, FloatFormat("x", 10, 7))])
def test_model_refuses_what_float64_cannot_hold(operand, sum):
    if operand is FLOAT32:  # a product of 48 bits is exact
        assert fma(*map(np.array, (0x3f800001, 0x3f800001, 0xbf800002)), operand, sum) == 0x28800000
        return
    with pytest.raises(ValueError, match=f"^{operand.name} and {sum.name} are too wide for "
                                         "float64 to be exact$"):
        fma(np.array(0), np.array(0), np.array(0), operand, sum)


# The directed cases ------------------------------------------------------------------------------

def _is_tie(x: Fraction, sum: FloatFormat) -> bool:
    steps = abs(x) / Fraction(2) ** (_exponent(abs(x)) - sum.fraction)
    return steps % 1 == Fraction(1, 2)


def _holds(name, x, y, z, result, operand, sum):
    """Whether product ``x * y`` and addend ``z`` are what the class ``name`` says."""
    total = x * y + z
    what, _, detail = name.partition(" of ")
    tiny, huge = Fraction(2) ** sum.min_exponent, Fraction(2) ** (sum.max_exponent + 1)
    magnitude = result & (sum.sign_mask - 1)
    if name.startswith("alignment"):
        return _exponent(abs(z)) - _exponent(abs(x)) - _exponent(abs(y)) == int(name[10:])
    if detail == "everything":
        return total == 0
    if what == "cancellation":
        depth = _exponent(abs(x * y)) - _exponent(abs(total)) if total else sum.fraction + 1
        wide = 2 * (operand.fraction + 1) > sum.fraction + 1
        return x * y * z < 0 and abs(depth - int(detail)) <= wide
    if name.startswith("tie"):
        odd = int(abs(z) / Fraction(2) ** (_exponent(abs(z)) - sum.fraction)) % 2
        return (_is_tie(total, sum) and (x * y * z < 0) == ("minus" in name)
                and odd == ("odd" in name))
    if name.startswith("just"):
        return not _is_tie(total, sum) and _exponent(abs(z)) == _exponent(abs(total))
    return {
        "overflow by a tie":                 magnitude == sum.infinity and _is_tie(total, sum),
        "largest, just below a tie":         magnitude == sum.infinity - 1,
        "overflow of the sum":               abs(total) >= huge > abs(x * y),
        "overflow of the product":           abs(x * y) >= huge and magnitude == sum.infinity,
        "product overflows, sum does not":   abs(x * y) >= huge and magnitude < sum.infinity,
        "underflow of the product":          0 < abs(x * y) < tiny and z == magnitude == 0,
        "smallest, kept by a tie":           abs(total) < tiny and magnitude == 1 << sum.fraction,
        "smallest, lost just beyond a tie":  abs(total) < tiny and magnitude == 0,
        "underflow of the sum":              abs(total) < tiny <= abs(z) and magnitude == 0,
    }[name]


@pytest.mark.parametrize("operand, sum", PAIRS, ids=IDS)
def test_directed_cases_are_what_they_are_called(operand, sum):
    names = class_names(operand, sum)
    a, b, c, ids = directed(np.random.default_rng(3), 40 * len(names), operand, sum)
    assert np.bincount(ids).tolist() == [40] * len(names)
    results = fma(a, b, c, operand, sum)
    values = zip(decode(a, operand), decode(b, operand), decode(c, sum))
    # Those after the last one that is about finite values say so in their operands.
    numeric = names.index("subnormal operand")
    for (x, y, z), result, i in zip(values, results, ids):
        if 0 < i < numeric:
            row = [Fraction(float(v)) for v in (x, y, z)]
            assert _holds(names[i], *row, int(result), operand, sum), (names[i], row)
    assert len(set(names)) == len(names)


def test_directed_cases_repeat():
    first, second = (directed(np.random.default_rng(4), 1000) for _ in range(2))
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


# The circuit -------------------------------------------------------------------------------------

@cache
def engine(operand: FloatFormat, sum: FloatFormat) -> Engine:
    return Engine(FusedMultiplyAdd(operand, sum), "fma")


def run(operand, sum, a, b, c):
    return engine(operand, sum).pipe({"a": a, "b": b, "c": c}, ["y"],
                                     latency=FusedMultiplyAdd.latency)["y"]


def test_vectors():
    a, b, c, expected = np.array(VECTORS).T
    words = run(BFLOAT16, FLOAT32, a, b, c)
    assert [f"{w:08x}" for w in words] == [f"{w:08x}" for w in expected]


@pytest.mark.parametrize("operand, sum, n", [
    (operand, sum, 10_000_000 if sum is FLOAT32 else 500_000)
    for operand, sum in PAIRS], ids=IDS)
def test_directed(operand, sum, n):
    rng, names = np.random.default_rng(5), class_names(operand, sum)
    counts = np.zeros(len(names), np.int64)
    while (left := n - counts.sum()) > 0:
        a, b, c, ids = directed(rng, min(left, 1_000_000), operand, sum)
        wrong = run(operand, sum, a, b, c) != fma(a, b, c, operand, sum)
        assert not wrong.any(), {names[i] for i in ids[wrong]}
        counts += np.bincount(ids, minlength=len(names))
    assert counts.min() > 0


def exhaustive(operand, sum):
    """All triples, in blocks."""
    shift_b, shift_a = sum.width, sum.width + operand.width
    count = 1 << (shift_a + operand.width)
    for start in range(0, count, 1 << 20):
        n = np.arange(start, min(start + (1 << 20), count), dtype=np.int64)
        a, b, c = n >> shift_a, n >> shift_b & (1 << operand.width) - 1, n & (1 << sum.width) - 1
        wrong = np.flatnonzero(run(operand, sum, a, b, c) != fma(a, b, c, operand, sum))
        assert not len(wrong), [(hex(a[i]), hex(b[i]), hex(c[i])) for i in wrong[:5]]


@pytest.mark.parametrize("operand, sum", [
    (TINY6, TINY10),   # a product narrower than the sum
    (TINY6B, NARROW),  # and one that is wider
])
def test_every_input_of_a_small_format(operand, sum):
    exhaustive(operand, sum)


@pytest.mark.slow
def test_every_input_of_a_scaled_down_format():
    exhaustive(TINY8, TINY12)


def test_latency_is_as_documented():
    one = OperandLayout(BFLOAT16).const({"significand": 0x80, "exponent": 127})
    assert _cycles_to_y(lambda ctx, dut: ctx.set(dut.c, SumLayout(FLOAT32).const(
        {"exponent": 2 * 127}))) == MultiplyAdd.sum_latency
    assert _cycles_to_y(lambda ctx, dut: ctx.set(dut.a, one)) == MultiplyAdd.operand_latency
    assert _cycles_to_y(lambda ctx, dut: ctx.set(dut.b, one)) == MultiplyAdd.operand_latency


def _cycles_to_y(change):
    """Cycles from a change of an input to that of the output, 1 * 2 + 2 before it."""
    dut, cycles = MultiplyAdd(), None
    operand, sum = OperandLayout(BFLOAT16), SumLayout(FLOAT32)

    async def bench(ctx):
        nonlocal cycles
        ctx.set(dut.a, operand.const({"significand": 0x80, "exponent": 128}))
        ctx.set(dut.b, operand.const({"significand": 0x80, "exponent": 128}))
        ctx.set(dut.c, sum.const({"exponent": 127 + 128}))
        await ctx.tick().repeat(30)
        before = ctx.get(dut.y.as_value())
        change(ctx, dut)
        cycles = 0
        while ctx.get(dut.y.as_value()) == before:
            await ctx.tick()
            cycles += 1
            assert cycles < 30

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


def test_latency_of_words_is_as_documented():
    """One distinct row among equal ones comes out at its place."""
    a = np.full(50, 0x3f80)
    a[20] = 0x4000
    y = engine(BFLOAT16, FLOAT32).pipe(
        {"a": a, "b": np.full(50, 0x3f80), "c": np.zeros(50, np.int64)}, ["y"],
        latency=FusedMultiplyAdd.latency)["y"]
    assert y[20] == 0x40000000
    assert (np.delete(y, 20) == 0x3f800000).all()


@pytest.mark.parametrize("word, expected", [
    (0x3f800000, 0x3f800000),
    (0x00000000, 0x00000000),
    (0x80000000, 0x80000000),
    (0x00800000, 0x00800000),  # the smallest
    (0x807fffff, 0x80000000),  # subnormal
    (0xff7fffff, 0xff7fffff),  # the largest
    (0xff800000, 0xff800000),
    (0xffffffff, 0x7fc00000),
    (0x7f800001, 0x7fc00000),
])
def test_sum_survives_its_layout(word, expected):
    assert _through_a_sum(word, lambda value: value) == expected


@pytest.mark.parametrize("change, expected", [
    ({"exponent": 2 * 127 + 128}, 0xff800000),  # one more than the largest exponent
    ({"exponent": 511},           0xff800000),
    ({"exponent": 2 * 127 + 127}, 0xff200000),
    ({"exponent": 127},           0x80000000),  # one less than the smallest
    ({"exponent": -512},          0x80000000),
    ({"exponent": 128},           0x80a00000),
])
def test_sum_beyond_the_format_is_infinite_or_zero(change, expected):
    fields = {"fraction": 0x200000, "sign": 1, **change}
    assert _through_a_sum(0, lambda _: SumLayout(FLOAT32).const(fields)) == expected


def _through_a_sum(word: int, change) -> int:
    """``word`` unpacked, changed and packed."""
    m = Module()
    m.submodules.unpack = unpack = UnpackSum(FLOAT32)
    m.submodules.pack = pack = PackSum(FLOAT32)
    result = None

    async def bench(ctx):
        nonlocal result
        ctx.set(unpack.i.as_value(), word)
        ctx.set(pack.i, change(ctx.get(unpack.o)))
        await ctx.tick().repeat(PackSum.latency)
        result = ctx.get(pack.o.as_value())

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return result


def test_float32_sum_fits_a_word_of_block_ram():
    assert SumLayout(FLOAT32).size == 36


@pytest.mark.parametrize("operand, sum, message", [
    (BFLOAT16, FLOAT16, "sum must have more than 5 bits of exponent for products of 'bfloat16'"),
    (FLOAT8_E4M3, TINY8, "sum must have more than 4 bits of exponent for products of "
                         "'float8_e4m3'"),
    (FLOAT8_E4M3, FLOAT8_E4M3, "sum must have an infinity, not be 'float8_e4m3'"),
])
@pytest.mark.parametrize("component", [MultiplyAdd, FusedMultiplyAdd])
def test_wrong_formats(component, operand, sum, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        component(operand, sum)
