"""A second interpreter, slow and plain: the loops of the published semantics, in Python integers.

It shares nothing with the simulator that it checks, and not the table of fields either: it unpacks
the bit-fields itself, from a list of widths. The tests are at the end.
"""

import random

import numpy as np
import pytest

from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import AluOp, Isa, Memory, Opcode
from sim.golden.vta import Machine, simulate
from sim.vta_fuzz import fuzz_program

FLAGS = [("opcode", 3), ("pop_prev", 1), ("pop_next", 1), ("push_prev", 1), ("push_next", 1)]
UNITS = {  # unit -> (queues it takes from: pop_prev, pop_next), (posts to: push_prev, push_next)
    "load": ((None, "g2l"), (None, "l2g")),
    "compute": (("l2g", "s2g"), ("g2l", "g2s")),
    "store": (("g2s", None), ("s2g", None)),
}


class Fault(Exception):
    pass


def unpack(word, low, high):
    fields = {}
    for base, widths in ((0, low), (64, high)):
        for name, width in widths:
            fields[name] = word >> base & ((1 << width) - 1)
            base += width
    return fields


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Reference:
    """Memories as lists; an element is a list of rows of lanes, a DRAM is a list of bytes."""

    def __init__(self, config):
        self.block, self.batch = 1 << config.log_block, 1 << config.log_batch
        self.lu = config.log_uop_buff_size - 2
        self.li = config.log_inp_buff_size - config.log_batch - config.log_block
        self.lw = config.log_wgt_buff_size - 2 * config.log_block
        self.la = config.log_acc_buff_size - config.log_batch - config.log_block - 2
        rows = {"inp": self.batch, "wgt": self.block, "acc": self.batch}
        depth = {"inp": self.li, "wgt": self.lw, "acc": self.la}
        self.pads = {name: [[[0] * self.block for _ in range(rows[name])]
                            for _ in range(1 << depth[name])] for name in rows}
        self.pads["uop"] = [0] * (1 << self.lu)
        self.tokens = dict.fromkeys(("l2g", "g2l", "g2s", "s2g"), 0)

    def decode(self, word):
        low = FLAGS + [("memory_type", 3), ("sram_base", 16), ("dram_base", 32)]
        high = [("y_size", 16), ("x_size", 16), ("x_stride", 16), ("y_pad_0", 4), ("y_pad_1", 4),
                ("x_pad_0", 4), ("x_pad_1", 4)]
        loops = FLAGS + [("reset", 1), ("uop_bgn", self.lu), ("uop_end", self.lu + 1),
                         ("iter_out", 14), ("iter_in", 14)]
        opcode = word & 7
        if opcode == 0:
            return unpack(word, low, high) | {"pad_value": 0}
        if opcode == 6:
            f = unpack(word, low, [("y_size", 8), ("pad_value", 8)] + high[1:])
            return f | {"pad_value": signed(f["pad_value"], 8)}
        if opcode == 1:
            return unpack(word, low + [("saturate", 1), ("skip", 5)],
                          high[:3] + [("sram_stride", 16)])
        if opcode in (2, 5):
            return unpack(word, loops, [("ao", self.la), ("ai", self.la), ("bo", self.li),
                                        ("bi", self.li), ("co", self.lw), ("ci", self.lw)]) \
                | {"top": word >> 63 & 1}
        if opcode == 4:
            f = unpack(word, loops, [("ao", self.la), ("ai", self.la), ("bo", self.la),
                                     ("bi", self.la), ("op", 3), ("use_imm", 1), ("imm", 16)])
            return f | {"top": word >> 63 & 1, "imm": signed(f["imm"], 16), "co": 0, "ci": 0}
        return unpack(word, FLAGS, [])

    def run(self, words, dram):
        """Execute; returns the name of the status. Units go on in turn, one instruction each."""
        queues = {"load": [], "compute": [], "store": []}
        for word in words:
            f = self.decode(word)
            unit = "compute"
            if f["opcode"] == 1:
                unit = "store"
            elif f["opcode"] in (0, 6) and f["memory_type"] in (1, 2):
                unit = "load"
            queues[unit].append(f)
        finished = False
        progress = True
        while progress:
            progress = False
            for unit, queue in queues.items():
                if not queue:
                    continue
                f = queue[0]
                takes, posts = UNITS[unit]
                pops = [q for q, flag in zip(takes, ("pop_prev", "pop_next")) if f[flag]]
                pushes = [q for q, flag in zip(posts, ("push_prev", "push_next")) if f[flag]]
                if None in pops or None in pushes:
                    return "illegal_token"
                if any(not self.tokens[q] for q in pops):
                    continue
                for q in pops:
                    self.tokens[q] -= 1
                try:
                    self.execute(f, dram)
                except Fault as fault:
                    return str(fault)
                for q in pushes:
                    self.tokens[q] += 1
                finished |= f["opcode"] == 3
                queue.pop(0)
                progress = True
        if any(queues.values()):
            return "deadlock"
        return "done" if finished else "no_finish"

    def execute(self, f, dram):
        opcode = f["opcode"]
        if opcode in (0, 6):
            if f["x_size"]:
                self.load(f, dram)
        elif opcode == 1:
            if f["x_size"]:
                self.store(f, dram)
        elif opcode in (2, 4, 5):
            self.loop(f)
        elif opcode != 3:
            raise Fault("illegal_opcode")

    def load(self, f, dram):
        kind = f["memory_type"]
        if kind not in (0, 1, 2, 3, 5):
            raise Fault("illegal_memory")
        name = ("uop", "wgt", "inp", "acc", None, "acc")[kind]
        pad = self.pads[name]
        rows = self.block if name == "wgt" else self.batch
        lane_bytes = 4 if kind == 3 else 1
        size = 4 if kind == 0 else rows * self.block * lane_bytes
        width = f["x_pad_0"] + f["x_size"] + f["x_pad_1"]
        if f["sram_base"] + width * (f["y_pad_0"] + f["y_size"] + f["y_pad_1"]) > len(pad):
            raise Fault(f"{name}_range")
        if f["y_size"]:
            last = f["dram_base"] + (f["y_size"] - 1) * f["x_stride"] + f["x_size"]
            if last * size > len(dram):
                raise Fault("bus_error")
        p = f["sram_base"]

        def fill(count):
            nonlocal p
            for _ in range(count):
                value = f["pad_value"]
                pad[p] = value & 0xffffffff if kind == 0 else \
                    [[value] * self.block for _ in range(rows)]
                p += 1

        fill(width * f["y_pad_0"])
        for y in range(f["y_size"]):
            fill(f["x_pad_0"])
            for x in range(f["x_size"]):
                at = (f["dram_base"] + y * f["x_stride"] + x) * size
                if kind == 0:
                    pad[p] = int.from_bytes(bytes(dram[at:at + 4]), "little")
                else:
                    pad[p] = [[signed(int.from_bytes(bytes(
                        dram[at + (n * self.block + o) * lane_bytes:][:lane_bytes]), "little"),
                        8 * lane_bytes) for o in range(self.block)] for n in range(rows)]
                p += 1
            fill(f["x_pad_1"])
        fill(width * f["y_pad_1"])

    def store(self, f, dram):
        if f["memory_type"] != 4:
            raise Fault("illegal_memory")
        size, cells, p = self.batch * self.block, [], f["sram_base"]
        for y in range(f["y_size"]):
            if f["sram_stride"]:
                p = f["sram_base"] + y * f["sram_stride"]
            for x in range(f["x_size"]):
                if p >= len(self.pads["acc"]):
                    raise Fault("acc_range")
                cells.append((p, (f["dram_base"] + y * f["x_stride"] + x) * size))
                p += 1 + f["skip"]
        if any(at + size > len(dram) for _, at in cells):
            raise Fault("bus_error")
        for p, at in cells:
            for n, row in enumerate(self.pads["acc"][p]):
                for o, value in enumerate(row):
                    if f["saturate"]:
                        value = min(max(value, -128), 127)
                    dram[at + n * self.block + o] = value & 0xff

    def loop(self, f):
        wide = max(self.la, self.li)
        for i in range(f["iter_out"]):
            for j in range(f["iter_in"]):
                for k in range(f["uop_bgn"], f["uop_end"]):
                    if k >= len(self.pads["uop"]):
                        raise Fault("uop_range")
                    u = self.pads["uop"][k]
                    a = (u & ((1 << self.la) - 1)) + i * f["ao"] + j * f["ai"]
                    b = (u >> self.la & ((1 << wide) - 1)) + i * f["bo"] + j * f["bi"]
                    c = (u >> (self.la + wide) & ((1 << self.lw) - 1)) + i * f["co"] + j * f["ci"]
                    if a >= len(self.pads["acc"]):
                        raise Fault("acc_range")
                    if f["opcode"] == 4:
                        self.alu(f, a, b)
                    else:
                        self.gemm(f, a, b, c)

    def gemm(self, f, a, b, c):
        acc = self.pads["acc"][a]
        if f["reset"]:
            for row in acc:
                row[:] = [0] * self.block
            return
        if b >= len(self.pads["inp"]):
            raise Fault("inp_range")
        depthwise = f["opcode"] == 5
        element = c // self.block if depthwise else c
        if element >= len(self.pads["wgt"]):
            raise Fault("wgt_range")
        for n, row in enumerate(self.pads["inp"][b]):
            for o in range(self.block):
                weights = self.pads["wgt"][element]
                if depthwise:
                    product = row[o] * weights[c % self.block][o]
                else:
                    product = sum(x * w for x, w in zip(row, weights[o]))
                acc[n][o] = signed(product + (0 if f["top"] else acc[n][o]), 32)

    def alu(self, f, a, b):
        acc = self.pads["acc"]
        requantise = f["op"] == 7
        last = b + (requantise and f["top"])
        if (requantise or not f["use_imm"]) and last >= len(acc):
            raise Fault("acc_range")
        result = []
        for n in range(self.batch):
            result.append([])
            for o in range(self.block):
                x = acc[a][n][o]
                if requantise:
                    bias = acc[b + 1][n][o] if f["top"] else 0
                    result[n].append(self.requantise(f, signed(x + bias, 32), acc[b][n][o]))
                    continue
                y = f["imm"] if f["use_imm"] else acc[b][n][o]
                result[n].append(signed(
                    min(x, y) if f["op"] == 0 else
                    max(x, y) if f["op"] == 1 else
                    x + y if f["op"] == 2 else
                    (x >> y if y >= 0 else x << min(-y, 64)) if f["op"] == 3 else
                    x * y if f["op"] == 4 else
                    max(min(x, y), signed(-y, 32)) if f["op"] == 5 else y, 32))
        acc[a] = result

    def requantise(self, f, x, word):
        multiplier, shift, zero = word & 0xffff, word >> 16 & 63, signed(word >> 24, 8)
        half = 1 << (shift - 1) if shift else 0
        rounded = (x * multiplier + half) >> shift
        return max(min(rounded + zero, signed(f["imm"] >> 8, 8)), signed(f["imm"], 8))


def assert_same(config, words, image):
    """Run both; they must end with the same status, and, if that is ``done``, in the same state."""
    machine, dram = Machine(config), image.copy()
    result = simulate(machine, words, dram)
    reference, bytes_ = Reference(config), image.tolist()
    assert result.status.status == reference.run(words, bytes_), result.message
    if result.status.status == "done":
        assert dram.tolist() == bytes_
        for name, array in machine.scratchpads().items():
            np.testing.assert_array_equal(array, np.array(reference.pads[name]), name)
    return result


#   preset      programs
COUNTS = {"default": 5, "batch2": 3, "block8": 20, "block4": 100, "block32": 1, "small": 5}


@pytest.mark.parametrize("name", PRESETS)
def test_random_programs(name):
    for seed in range(COUNTS[name]):
        program = fuzz_program(preset(name), seed)
        result = assert_same(program.config, program.words, program.image)
        assert result.status.status == "done" and not result.races, seed


@pytest.mark.parametrize("name", ["block4", "small"])
def test_random_plain_programs(name):
    config = VtaConfig(**{field: getattr(preset(name), field)
                          for field in preset(name).__dataclass_fields__
                          if field != "extensions"}, extensions=False)
    for seed in range(25 if name == "block4" else 3):
        program = fuzz_program(config, seed)
        assert_same(config, program.words, program.image)


def test_random_injuries():
    """One flipped bit of a program: both find the same error, or go on to the same result.

    Where the injury makes a race, the two may differ for that; those programs are left out.
    """
    config, statuses = preset("block4"), set()
    for seed in range(130):
        rng = random.Random(seed)
        program = fuzz_program(config, seed, length=8)
        words = list(program.words)
        index = rng.randrange(len(words))
        words[index] ^= 1 << rng.randrange(64) if rng.random() < 0.7 else 1 << rng.randrange(128)
        insn = Isa(config).decode(words[index])
        if insn.fields.get("iter_out", 0) * insn.fields.get("iter_in", 0) \
                * (insn.fields.get("uop_end", 0) - insn.fields.get("uop_bgn", 0)) > 20_000:
            continue  # the slow interpreter would take minutes
        if simulate(Machine(config), words, program.image.copy()).races:
            continue
        statuses.add(assert_same(config, words, program.image).status.status)
    assert statuses >= {"done", "illegal_token", "uop_range", "inp_range", "wgt_range",
                        "acc_range", "bus_error", "deadlock"}, statuses


@pytest.mark.parametrize("operation", AluOp)
@pytest.mark.parametrize("use_imm", [0, 1])
def test_aliases(operation, use_imm):
    """Chains, swaps, self-operations and repeated destinations are strictly sequential."""
    config = preset("block4")
    isa, rng = Isa(config), random.Random(operation)
    for _ in range(20):
        uops = [isa.encode_uop(rng.randrange(6), rng.randrange(6)) for _ in range(12)]
        image = np.concatenate([
            np.array(uops, "<u4").view(np.uint8),
            np.array([rng.getrandbits(8) for _ in range(16 * 16)], np.uint8)])
        words = [
            isa.encode(Opcode.LOAD, memory_type=Memory.UOP, y_size=1, x_size=12),
            isa.encode(Opcode.LOAD, memory_type=Memory.ACC, dram_base=3, y_size=1, x_size=16),
            isa.encode(Opcode.ALU, uop_end=12, iter_out=2, iter_in=3, alu_opcode=operation,
                       use_imm=use_imm, imm=rng.randint(-32768, 32767), bias=rng.getrandbits(1),
                       dst_factor_out=rng.randrange(3), src_factor_out=rng.randrange(3),
                       dst_factor_in=rng.randrange(3), src_factor_in=rng.randrange(3)),
            isa.encode(Opcode.FINISH)]
        assert assert_same(config, words, image).status.status == "done"
