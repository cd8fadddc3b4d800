"""Random legal programs for a VTA core, each from its seed.

A program is legal by construction: no index out of range, nothing read that was not written, no
deadlock, and no race; yet the units run ahead of each other as far as that allows. The generator
executes each instruction on the instruction-set simulator as it makes it, asks the race checker
whom it would collide with, and puts tokens exactly there; spare tokens on top of these are posted
early and taken late, so that the queues hold several. The result depends on the program alone.
"""

import random
from dataclasses import dataclass

import numpy as np

from hw.vta.assembler import to_binary
from hw.vta.config import VtaConfig
from hw.vta.isa import TOKENS, AluOp, Instruction, Isa, Memory, Opcode, Token, Unit
from sim.golden.vta import Machine, RaceChecker, VtaError
from sim.golden.vta.machine import GRANULE

__all__ = ["FuzzProgram", "fuzz_program"]

# Elements of each scratchpad that a program uses; few, so that its instructions meet often.
_WINDOW = {"uop": 24, "inp": 40, "wgt": 12, "acc": 48}
_EDGES = {(Unit.LOAD, Unit.COMPUTE): Token.L2G, (Unit.COMPUTE, Unit.LOAD): Token.G2L,
          (Unit.COMPUTE, Unit.STORE): Token.G2S, (Unit.STORE, Unit.COMPUTE): Token.S2G}
_FLAG = {(unit, verb, token): flag for unit, flags in TOKENS.items()
         for flag, token in flags.items() for verb in [flag.split("_")[0]]}


@dataclass(frozen=True)
class FuzzProgram:
    """A program and its DRAM; run it with all base registers 0."""
    seed: int
    config: VtaConfig
    words: list[int]
    image: np.ndarray  # uint8, with the instructions in it
    insn_addr: int

    @property
    def insn_count(self) -> int:
        return len(self.words)


def fuzz_program(config: VtaConfig, seed: int, *, length: int | None = None,
                 extensions: bool | None = None) -> FuzzProgram:
    """The program of ``seed``; the same arguments give the same bits on any machine.

    ``length`` is about how many instructions there are, 10 to 40 by default. ``extensions``
    (default: whether the core has them) lets it use those of the instruction set.
    """
    if extensions is None:
        extensions = config.extensions
    if extensions and not config.extensions:
        raise ValueError("extensions must be False for a core without them, not True")
    return _Generator(config, seed, extensions).run(length)


class _Generator:
    def __init__(self, config, seed, extensions):
        self.config, self.seed, self.extensions = config, seed, extensions
        self.rng = random.Random(f"vta {seed} {int(extensions)}")
        self.isa = Isa(config)
        self.machine = Machine(config)
        self.insns: list[tuple[Opcode, dict[str, int]]] = []
        self.latest: dict[Unit, int | None] = dict.fromkeys(Unit)
        self.spare = dict.fromkeys(Token, 0)
        self.window = {}
        for name, size in _WINDOW.items():
            depth = config.depth(name)
            size = min(size, depth)
            base = self.rng.choice([0, depth - size, self.rng.randint(0, depth - size)])
            self.window[name] = range(base, base + size)
        self._make_image()
        depths = {name: config.depth(name) for name in _WINDOW}
        depths["dram"] = len(self.image) // GRANULE + 1
        self.checker = RaceChecker(depths, range(0))

    def run(self, length):
        self._prologue()
        target = len(self.insns) + (length or self.rng.randint(10, 40))
        kinds = [self._load] * 4 + [self._gemm] * 3 + [self._alu] * 4 + [self._store] * 2 \
            + [self._nop]
        while len(self.insns) < target:
            self._add(*self.rng.choice(kinds)())
        self._epilogue()
        words = [self.isa.encode(opcode, **fields) for opcode, fields in self.insns]
        image = np.concatenate([self.fresh, np.frombuffer(to_binary(words), np.uint8)])
        return FuzzProgram(self.seed, self.config, words, image, len(self.fresh))

    # DRAM: for each kind a region of elements, in any order and at any offset

    def _make_image(self):
        data = np.random.default_rng(self.rng.getrandbits(64))
        sizes = {kind: 2 * _WINDOW[kind.scratchpad] for kind in Memory}
        self.region, chunks, end = {}, [], 0
        for kind in self.rng.sample(list(Memory), len(Memory)):
            size = self.config.element_bytes(kind.dram_element)
            start = -(-end // size) * size + size * self.rng.randint(0, 3)
            chunks.append(data.integers(0, 256, start - end, np.uint8))
            self.region[kind] = range(start // size, start // size + sizes[kind])
            chunks.append(self._contents(kind, sizes[kind], data))
            end = start + sizes[kind] * size
        chunks.append(data.integers(0, 256, -end % 16, np.uint8))
        self.fresh = np.concatenate(chunks)
        self.image = self.fresh.copy()

    def _contents(self, kind, count, data):
        size = count * self.config.element_bytes(kind.dram_element)
        if kind == Memory.UOP:
            words = [self.isa.encode_uop(*(self._low_half(name) for name in pads))
                     for pads in (("acc", "acc" if self.rng.random() < 0.5 else "inp", "wgt")
                                  for _ in range(count))]
            return np.array(words, "<u4").view(np.uint8)
        raw = data.integers(0, 256, size, np.uint8)
        if kind == Memory.ACC:  # some full words, some sums as they come, some small shift amounts
            values = raw.view("<i4")
            values >>= data.choice([0, 0, 8, 16, 26], len(values)).astype(np.int32)
        elif self.rng.random() < 0.3:  # extremes: the largest sums
            raw = data.choice(np.array([0x7f, 0x80, 0xff, 0], np.uint8), size)
        return raw

    def _low_half(self, name):
        window = self.window[name]
        return self.rng.randrange(window.start, window.start + len(window) // 2)

    # Instructions

    def _prologue(self):
        """Fill every window, so that nothing is read that was not written."""
        kinds = [Memory.UOP, Memory.INP, Memory.WGT, Memory.ACC]
        for kind in self.rng.sample(kinds, len(kinds)):
            window = self.window[kind.scratchpad]
            self._add(Opcode.LOAD, {"memory_type": kind, "sram_base": window.start,
                                    "dram_base": self.region[kind].start, "y_size": 1,
                                    "x_size": len(window), "x_stride": len(window)})

    def _load(self):
        rng = self.rng
        kind = rng.choice([kind for kind in Memory if kind != Memory.OUT])
        window = self.window[kind.scratchpad]
        fields = {"memory_type": kind}
        for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"):
            fields[name] = rng.choice([0, 0, 1, 2, 3]) if rng.random() < 0.5 else 0
        source = self.region[kind]
        if kind in (Memory.INP, Memory.ACC_8BIT) and rng.random() < 0.3:
            source = self.region[Memory.OUT]  # what the program itself has stored
        x = rng.randint(1, 8)
        self._place(fields, source, x, rng.choice([0, 1, 1, 2, 3, 4]))
        width = fields["x_pad_0"] + x + fields["x_pad_1"]
        total = width * (fields["y_pad_0"] + fields["y_size"] + fields["y_pad_1"])
        if total > len(window):
            return self._load()
        fields["sram_base"] = rng.randint(window.start, window.stop - total)
        if self.extensions and rng.random() < 0.3 and kind != Memory.UOP:
            return Opcode.LOAD_PAD, fields | {"pad_value": rng.randint(-128, 127)}
        return Opcode.LOAD, fields

    def _store(self):
        rng, window = self.rng, self.window["acc"]
        fields = {"memory_type": Memory.OUT, "sram_base": rng.choice(window)}
        self._place(fields, self.region[Memory.OUT], rng.randint(1, 8), rng.choice([0, 1, 1, 2, 4]))
        if self.extensions:
            fields |= {"saturate": rng.getrandbits(1), "sram_skip": rng.choice([0, 0, 1, 3]),
                       "sram_stride": rng.choice([0, 0, 1, 5, 8])}
        return Opcode.STORE, fields

    def _place(self, fields, region, x, y):
        """Rows of ``x`` elements in DRAM that stay in ``region``; they may overlap."""
        stride = self.rng.choice([x, x, x + 1, x + 3, self.rng.randint(0, 12)])
        span = x + stride * max(0, y - 1)
        if span > len(region):
            stride, y = x, min(y, len(region) // x)
            span = x * max(1, y)
        fields |= {"x_size": x, "y_size": y, "x_stride": stride,
                   "dram_base": self.rng.randint(region.start, region.stop - span)}

    def _loops(self, names):
        rng, window = self.rng, self.window["uop"]
        bgn = rng.choice(window)
        end = min(window.stop, bgn + rng.choice([1, 1, 2, 3, 4, 8]))
        fields = {"uop_bgn": bgn, "uop_end": end,
                  "iter_out": rng.choice([1, 1, 2, 3, 4]), "iter_in": rng.choice([1, 2, 3, 5])}
        if rng.random() < 0.08:  # an empty range, also one that ends before it begins
            fields |= rng.choice([{"iter_out": 0}, {"iter_in": 0}, {"uop_end": bgn},
                                  {"uop_end": rng.randint(0, bgn)}])
        for name, pad in names.items():
            room = len(self.window[pad]) - len(self.window[pad]) // 2  # what uops leave
            for loop in ("in", "out"):
                turns = max(fields[f"iter_{loop}"] - 1, 0)
                step = rng.choice([0, 1, 1, 2, rng.randint(0, 20)])
                step = min(step, room // turns) if turns else step
                step = min(step, (1 << self.isa.places[Opcode.GEMM if pad != "acc" else
                                                       Opcode.ALU][f"{name}_factor_{loop}"][2]) - 1)
                room -= turns * step
                fields[f"{name}_factor_{loop}"] = step
        return fields

    def _gemm(self):
        fields = self._loops({"dst": "acc", "src": "inp", "wgt": "wgt"})
        fields["reset_reg"] = int(self.rng.random() < 0.15)
        if not self.extensions:
            return Opcode.GEMM, fields
        fields["overwrite"] = int(self.rng.random() < 0.2)
        return self.rng.choice([Opcode.GEMM, Opcode.GEMM, Opcode.DEPTHWISE]), fields

    def _alu(self):
        rng = self.rng
        operation = rng.choice(list(AluOp) if self.extensions else list(AluOp)[:5])
        imm = rng.choice([rng.randint(-32768, 32767), rng.randint(-128, 127), rng.randint(-4, 4)])
        if operation == AluOp.SHR:
            imm = rng.randint(-31, 31) if rng.random() < 0.9 else imm
        return Opcode.ALU, self._loops({"dst": "acc", "src": "acc"}) | {
            "alu_opcode": operation, "use_imm": rng.getrandbits(1), "imm": imm,
            "reset_reg": rng.getrandbits(1),
            "bias": rng.getrandbits(1) if self.extensions else 0}

    def _nop(self):
        """Tokens only; every other field may hold anything."""
        kind = self.rng.choice(list(Memory))
        opcode = Opcode.STORE if kind == Memory.OUT else Opcode.LOAD
        return opcode, self._noise(opcode, kind)

    def _noise(self, opcode, kind):
        names = ["sram_base", "dram_base", "y_size", "x_stride"]
        if opcode == Opcode.LOAD:
            names += ["y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"]
        noise = {name: self.rng.getrandbits(self.isa.places[opcode][name][2]) for name in names}
        return noise | {"memory_type": kind, "x_size": 0}

    # Tokens

    def _add(self, opcode, fields):
        """Append the instruction, with the tokens that it needs; not at all if it is illegal."""
        insn = Instruction(opcode, dict.fromkeys(self.isa.places[opcode], 0) | fields)
        effect = self._try(insn)
        if effect is None:
            return
        fields = dict(fields)
        others = self.checker.conflicts(insn.unit, effect)
        if len(others) > 1:  # between load and store, the way through compute waits for it, too
            others.discard(Unit.COMPUTE)
        for other in sorted(others):
            self._order(other, insn.unit, fields)
        for token in {flag_token for flag_token in TOKENS[insn.unit].values()}:
            self._spend(insn.unit, token, fields)
        self._append(opcode, fields, effect)

    def _try(self, insn):
        """Execute it, or leave everything as it was if that is an error or reads too early."""
        acc, written = self.machine.acc, self.machine.written["acc"]
        image = self.image
        if insn.opcode == Opcode.STORE:
            self.image = image.copy()
        elif not insn.is_memory:  # a LOAD either is an error or is done
            self.machine.acc, self.machine.written["acc"] = acc.copy(), written.copy()
        try:
            effect = self.machine.execute(insn, self.image)
        except VtaError:
            effect = None
        if effect is None or effect.unwritten:
            self.machine.acc, self.machine.written["acc"] = acc, written
            self.image = image
            return None
        return effect

    def _order(self, before: Unit, after: Unit, fields):
        """The next instruction of ``after``, made of ``fields``, waits for all of ``before``."""
        if (before, after) not in _EDGES:  # no queue joins load and store
            relay = {}
            self._order(before, Unit.COMPUTE, relay)
            self._sync(Unit.COMPUTE, relay)
            before = Unit.COMPUTE
        token = _EDGES[before, after]
        for _ in range(self.spare[token]):  # spare tokens come first
            self._sync(after, {_FLAG[after, "pop", token]: 1})
        self.spare[token] = 0
        push = _FLAG[before, "push", token]
        latest = self.latest[before]
        if latest is None or self.insns[latest][1].get(push):
            self._sync(before, {push: 1})
        else:
            self.insns[latest][1][push] = 1
            self.checker.post(before, token)
        fields[_FLAG[after, "pop", token]] = 1

    def _spend(self, unit, token, fields):
        """Now and then post a token that nobody needs, and take it some time later."""
        push, pop = _FLAG.get((unit, "push", token)), _FLAG.get((unit, "pop", token))
        if push and self.rng.random() < 0.15:
            fields[push] = 1
            self.spare[token] += 1
        if pop and not fields.get(pop) and self.spare[token] and self.rng.random() < 0.4:
            fields[pop] = 1
            self.spare[token] -= 1

    def _sync(self, unit, flags):
        kind = {Unit.LOAD: self.rng.choice([Memory.INP, Memory.WGT]),
                Unit.COMPUTE: self.rng.choice([Memory.UOP, Memory.ACC]),
                Unit.STORE: Memory.OUT}[unit]
        opcode = Opcode.STORE if unit == Unit.STORE else Opcode.LOAD
        fields = self._noise(opcode, kind) | flags
        effect = self.machine.execute(
            Instruction(opcode, dict.fromkeys(self.isa.places[opcode], 0) | fields), self.image)
        self._append(opcode, fields, effect)

    def _append(self, opcode, fields, effect):
        insn = Instruction(opcode, dict.fromkeys(self.isa.places[opcode], 0) | fields)
        self.checker.step(insn.unit, len(self.insns), insn.pops, insn.pushes, effect)
        self.latest[insn.unit] = len(self.insns)
        self.insns.append((opcode, fields))

    def _epilogue(self):
        """FINISH is the last to execute: it waits for a token of either neighbour."""
        fields = {}
        for unit in (Unit.LOAD, Unit.STORE):
            self._order(unit, Unit.COMPUTE, fields)
        self._add_finish(fields)

    def _add_finish(self, fields):
        insn = Instruction(Opcode.FINISH, dict.fromkeys(self.isa.places[Opcode.FINISH], 0) | fields)
        self._append(Opcode.FINISH, fields, self.machine.execute(insn, self.image))
