"""ECP5's multiplier block with its registers in use, as a replacement for synthesis.

And what takes its place where the blocks do not suffice.
"""

__all__ = ["ecp5_multiplier", "lut_multiplier"]

_PORT_BITS = 18


def ecp5_multiplier(a_width: int, b_width: int, signed: bool, name: str | None = None) -> str:
    """:class:`hw.arith.multiply.IntegerMultiply` as one MULT18X18D, in Verilog.

    The module is ``name``, or else ``dsp_<a_width>x<b_width>_<u or s>``, with the ports ``clk``,
    ``a``, ``b`` and ``p``. It registers inputs and output in the block, without reset: latency 2,
    as the module it replaces in synthesis. Widths are 1 to 18 bits.
    """
    for port, width in (("a_width", a_width), ("b_width", b_width)):
        if width not in range(1, _PORT_BITS + 1):
            raise ValueError(f"{port} must be 1 to {_PORT_BITS}, not {width!r}")

    def pins(port, signal, width):
        extension = f"{signal}[{width - 1}]" if signed else "1'b0"
        return ", ".join(f".{port}{bit}({f'{signal}[{bit}]' if bit < width else extension})"
                         for bit in range(_PORT_BITS))

    product = a_width + b_width
    registers = ",\n    ".join(
        f'.REG_{register}_CLK("CLK0"), .REG_{register}_CE("CE0"), .REG_{register}_RST("RST0")'
        for register in ("INPUTA", "INPUTB", "OUTPUT"))
    unused = ", ".join(f".CE{n}(1'b1), .RST{n}(1'b0)" for n in range(4))
    return f"""\
module {name or f"dsp_{a_width}x{b_width}_{'s' if signed else 'u'}"} (
  input clk, input [{a_width - 1}:0] a, input [{b_width - 1}:0] b, output [{product - 1}:0] p);
  MULT18X18D #(
    {registers},
    .REG_INPUTC_CLK("NONE"), .REG_PIPELINE_CLK("NONE"), .CLK0_DIV("ENABLED"),
    .SOURCEB_MODE("B_SHIFT"), .MULT_BYPASS("DISABLED"), .GSR("DISABLED"), .RESETMODE("SYNC")
  ) dsp (
    {pins("A", "a", a_width)},
    {pins("B", "b", b_width)},
    .SIGNEDA(1'b{int(signed)}), .SIGNEDB(1'b{int(signed)}), .SOURCEA(1'b0), .SOURCEB(1'b0),
    .CLK0(clk), .CLK1(1'b0), .CLK2(1'b0), .CLK3(1'b0), {unused},
    {", ".join(f".P{bit}(p[{bit}])" for bit in range(product))});
endmodule
"""


def lut_multiplier(a_width: int, b_width: int, signed: bool, name: str) -> str:
    """The same of look-up tables and carry chains, as the module ``name``.

    The first registers hold a sum for each two bits of ``b``, in place of the factors: half of the
    additions are in front of them.
    """
    width, last = a_width + b_width, b_width - 1
    sums, total = [], []
    for bit in range(0, b_width, 2):
        terms = []
        for k in (bit, bit + 1)[:b_width - bit]:
            sign = "-" if signed and k == last else "+"
            terms.append(f"{sign} (b[{k}] ? wide << {k - bit} : {a_width + 3}'sd0)")
        sums.append(f"row_{bit} <= {' '.join(terms).removeprefix('+ ')};")
        total.append(f"(row_{bit} <<< {bit})")
    while len(total) > 1:  # a tree
        total = [f"({' + '.join(total[k:k + 2])})" for k in range(0, len(total), 2)]
    rows = ", ".join(f"row_{bit}" for bit in range(0, b_width, 2))
    extension = f"{{3{{a[{a_width - 1}]}}}}" if signed else "3'b0"
    return f"""\
module {name} (
  input clk, input [{a_width - 1}:0] a, input [{b_width - 1}:0] b, output reg [{width - 1}:0] p);
  wire signed [{a_width + 2}:0] wide = {{{extension}, a}};
  reg signed [{a_width + 2}:0] {rows};
  wire signed [{width - 1}:0] sum = {total[0]};
  always @(posedge clk) begin
    {chr(10).join(f"    {line}" for line in sums).strip()}
    p <= sum;
  end
endmodule
"""
