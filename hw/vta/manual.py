"""The programmer's manual of the VTA core, printed from the instruction table.

`python -m hw.vta.manual [PRESET]` writes the page as Markdown.
"""

import sys

from hw.vta.config import VtaConfig, preset
from hw.vta.isa import EXTENSIONS, TOKENS, AluOp, Fault, Isa, Memory, Opcode, Unit
from hw.vta.registers import register_map

__all__ = ["manual", "SEMANTICS", "ALU_SEMANTICS", "FAULT_MEANING"]

_LOAD = """
W = x_pad_0 + x_size + x_pad_1
p = sram_base
PAD W*y_pad_0 elements
for y in 0 .. y_size-1:
    PAD x_pad_0 elements
    copy x_size elements from dram[dram_base + y*x_stride ...]
    PAD x_pad_1 elements
PAD W*y_pad_1 elements
"""
_LOOPS = """
for i in 0 .. iter_out-1, for j in 0 .. iter_in-1, for k in uop_bgn .. uop_end-1:
    a = uop[k].dst_idx + i*dst_factor_out + j*dst_factor_in
    b = uop[k].src_idx + i*src_factor_out + j*src_factor_in
"""

SEMANTICS: dict[Opcode, tuple[str, str]] = {
    Opcode.LOAD: (_LOAD.replace("PAD", "zero") , """
`p` advances over everything written: the destination is dense. `x_size` 0: only tokens are
handled, whatever the other fields say. `y_size` 0 with `x_size` above 0 writes only the pads above
and below. ACC_8BIT extends each byte of DRAM by its sign. The range of the scratchpad is checked
first: UOP_RANGE, INP_RANGE, WGT_RANGE or ACC_RANGE if `sram_base + W*(y_pad_0 + y_size + y_pad_1)`
is beyond the depth; then BUS_ERROR if DRAM ends before the last row."""),
    Opcode.LOAD_PAD: (_LOAD.replace("PAD", "write pad_value to"), """
LOAD, but for the padding: each lane of it (int8 of INP and WGT, int32 of ACC and ACC_8BIT, the
whole word of UOP) is `pad_value`, extended by its sign; and `y_size` has 8 bits."""),
    Opcode.STORE: ("""
step = 1 + sram_skip
p = sram_base
for y in 0 .. y_size-1:
    if sram_stride != 0: p = sram_base + y*sram_stride
    for x in 0 .. x_size-1:
        dram[dram_base + y*x_stride + x] = narrow(acc[p]) ; p = p + step
""", """
`narrow` takes the low 8 bits of each lane, or, with `saturate`, clamps it to -128 ... 127. With
`sram_stride` 0 rows follow each other as elements do. `x_size` 0: only tokens are handled.
ACC_RANGE if any `p` that is read is at or beyond the depth; then BUS_ERROR as in LOAD."""),
    Opcode.GEMM: (_LOOPS + """\
    c = uop[k].wgt_idx + i*wgt_factor_out + j*wgt_factor_in
    for n in 0 .. BATCH-1, for o in 0 .. BLOCK-1:
        product = sum over l of inp[b][n][l] * wgt[c][o][l]
        acc[a][n][o] = reset_reg ? 0 : overwrite ? product : acc[a][n][o] + product
""", """
Strictly sequential: a micro-operation sees what the one before it wrote, in accumulators.
Sums wrap at 32 bits. An empty range executes nothing. Indices do not wrap: the first
micro-operation that has one at or beyond the depth is an error: UOP_RANGE (`k`), else ACC_RANGE
(`a`), else INP_RANGE (`b`), else WGT_RANGE (`c`). `reset_reg` leaves `k` and `a` to check."""),
    Opcode.DEPTHWISE: (_LOOPS + """\
    r = uop[k].wgt_idx + i*wgt_factor_out + j*wgt_factor_in
    for n in 0 .. BATCH-1, for o in 0 .. BLOCK-1:
        product = inp[b][n][o] * wgt[r / BLOCK][r mod BLOCK][o]
        acc[a][n][o] = reset_reg ? 0 : overwrite ? product : acc[a][n][o] + product
""", """
Each lane is a channel of its own. The weight index counts rows: BLOCK rows of BLOCK lanes are one
weight element, so the nine taps of a 3x3 kernel are nine consecutive rows. WGT_RANGE for `r` at or
beyond BLOCK times the depth. All else is as in GEMM."""),
    Opcode.ALU: (_LOOPS + """\
    for n in 0 .. BATCH-1, for o in 0 .. BLOCK-1:
        x = acc[a][n][o] ; y = use_imm ? imm : acc[b][n][o]
        acc[a][n][o] = operation(x, y)
""", """
Strictly sequential, and checked as GEMM: UOP_RANGE, else ACC_RANGE. With `use_imm` the source is
not used, so `b` is not checked. `reset_reg` and `wgt_idx` are ignored."""),
    Opcode.FINISH: ("", """
The run is DONE when FINISH has executed and all other instructions of all units have, also those
behind it; in plain VTA FINISH must be the last to execute. Bits above 6 are ignored."""),
}

ALU_SEMANTICS: dict[AluOp, str] = {
    AluOp.MIN:  "the smaller of `x` and `y`, signed",
    AluOp.MAX:  "the larger of `x` and `y`, signed",
    AluOp.ADD:  "`x + y`, wraps at 32 bits",
    AluOp.SHR:  "`y >= 0`: `x >> y`, arithmetic; `y < 0`: `x << -y`, low 32 bits. Of any size: "
                "`y` above 31 leaves the sign everywhere, `y` below -31 leaves 0; both forms alike",
    AluOp.MUL:  "low 32 bits of `x * y`",
    AluOp.CLIP: "`max(min(x, y), -y)`; `-y` wraps at 32 bits",
    AluOp.MOV:  "`y`",
    AluOp.RQT:  "requantise, see below; `use_imm` is ignored, the source is always used",
}

_REQUANTISE = """
`RQT`, for each lane, with `w = acc[b][n][o]`:

```
multiplier = w[15:0] unsigned ; shift = w[21:16] unsigned ; zero_point = w[31:24] signed
low = imm[7:0] signed ; high = imm[15:8] signed
t = bias ? x + acc[b+1][n][o] (wraps at 32 bits) : x
half = shift == 0 ? 0 : 2**(shift-1)
r = (t * multiplier + half) >> shift                    exact; ties go up
acc[a][n][o] = max(min(r + zero_point, high), low)      exact before the clamp
```

The product has 48 bits, so a shift above 47 gives `r = 0`. Bits 23:22 of `w` are ignored. With
`bias` the parameters of a block of channels are two neighbouring elements, scale and bias;
ACC_RANGE if `b+1` is at or beyond the depth. RQT with `bias` equals ADD of that element, then RQT
without.
"""

FAULT_MEANING: dict[Fault, str] = {
    Fault.DONE:           "FINISH has executed, and so has everything else",
    Fault.ILLEGAL_OPCODE: "opcode 7; without extensions also 5, 6 and `alu_opcode` 5 to 7",
    Fault.ILLEGAL_MEMORY: "`memory_type` that LOAD (UOP, WGT, INP, ACC, ACC_8BIT) or STORE (OUT) "
                          "does not have, with `x_size` above 0",
    Fault.ILLEGAL_TOKEN:  "token flag that the unit does not have",
    Fault.ILLEGAL_FIELD:  "without extensions: STORE with bits 127:112 not 0",
    Fault.UOP_RANGE:      "micro-operation at or beyond the depth",
    Fault.INP_RANGE:      "input element at or beyond the depth",
    Fault.WGT_RANGE:      "weight element at or beyond the depth",
    Fault.ACC_RANGE:      "accumulator element at or beyond the depth",
    Fault.BUS_ERROR:      "DRAM answered with an error, or is not there",
    Fault.DEADLOCK:       "a unit waits for a token that never comes",
    Fault.NO_FINISH:      "every instruction has executed, and none was FINISH",
}

_HEADER = """# VTA core: instruction set

Configuration {fingerprint:#010x}: tile {batch}x{block}x{block}, int8 inputs and weights, int32
accumulators. Everything in DRAM is little endian, dense and packed. An instruction has 128 bits.
Plain VTA streams run unchanged; fields and codes marked **+** are extensions in encodings that
plain VTA leaves free{off}. Unused bits are ignored and should be 0.
"""


_MEMORIES = """\
OUT is the destination of STORE, whose source is ACC. The byte address of an element is the base
register of its memory + index * bytes. INP, ACC and OUT elements are [batch][lane], WGT elements
are [output lane][input lane].
"""

_UNITS = """\
Units run concurrently, each in program order. An instruction starts when all its tokens are there,
takes them together, and posts after it is complete. One that is in error stops the run, and may
have had part of its effect; what the units stored before stays stored. All instructions begin with
these bits:
"""


_REGISTERS = """## Registers

AXI4-Lite, 32 bits each; the first ones are those of published VTA. A run: write `insn_count`,
`insn_base` and the other bases, then 1 to `control`; it has ended when `control` reads 2, or with
the interrupt. `status` and `error_insn` say how. After an error, write 1 to `reset` first.
"""


def manual(config: VtaConfig) -> str:
    """The page for ``config``, as Markdown."""
    isa = Isa(config)
    off = "" if config.extensions else " (this core has none of them)"
    page = [_HEADER.format(fingerprint=config.fingerprint, batch=config.batch,
                           block=config.block, off=off)]
    page += ["## Memories\n", _table(
        ("memory_type", "", "scratchpad depth", "bytes of an element in DRAM"),
        [(kind.value, kind.name, config.depth(kind.scratchpad),
          config.element_bytes(kind.dram_element)) for kind in Memory])]
    page += [_MEMORIES]
    page += ["## Units and tokens\n", _table(
        ("unit", "executes", *(flag for flag in TOKENS[Unit.COMPUTE])),
        [(unit.name, what, *(_token(unit, flag) for flag in TOKENS[Unit.COMPUTE]))
         for unit, what in (
             (Unit.LOAD, "LOAD, LOAD_PAD of INP and WGT"),
             (Unit.COMPUTE, "everything else"),
             (Unit.STORE, "STORE"))])]
    page += [_UNITS, _bits(isa.places[Opcode.FINISH])]
    for opcode in SEMANTICS:
        page += [f"## {opcode.name}{_plus(opcode)}, opcode {opcode.value}\n",
                 _bits(_own(isa.places[opcode]))]
        code, text = SEMANTICS[opcode]
        page += ([f"```{code}```\n"] if code else []) + [text.strip() + "\n"]
        if opcode == Opcode.ALU:
            page += [_table(("alu_opcode", "", "operation"),
                            [(op.value, op.name + ("**+**" if op > AluOp.MUL else ""), what)
                             for op, what in ALU_SEMANTICS.items()]), _REQUANTISE.lstrip()]
    page += ["## Micro-operation\n", _bits(isa.uop_places)]
    page += ["## Status\n", _table(("code", "name", "meaning"), [
        (fault.value, fault.status, what) for fault, what in FAULT_MEANING.items()])]
    page += [_REGISTERS, _table(("offset", "register", "access", "meaning"), [
        (f"{register.offset:#05x}", register.name, register.access, register.doc)
        for register in register_map(config).values()])]
    return "\n".join(page)


def _plus(opcode):
    return "**+**" if opcode in EXTENSIONS else ""


def _token(unit, flag):
    token = TOKENS[unit].get(flag)
    return token.name.lower() if token is not None else "illegal"


def _own(places):
    """The fields that only this form has."""
    return {name: place for name, place in places.items() if place[0] > 6}


def _bits(places):
    if not places:
        return ""
    return _table(("bits", "field", "meaning"), [
        (f"{offset + width - 1}:{offset}" if width > 1 else offset,
         field.name + ("**+**" if field.extension else ""),
         field.doc + (", signed" if field.signed else ""))
        for offset, field, width in places.values()])


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


if __name__ == "__main__":
    try:
        print(manual(preset(*(sys.argv[1:2] or ["default"]))), end="")
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
