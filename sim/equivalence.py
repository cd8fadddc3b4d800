"""Is an injured circuit the same circuit? The proofs of :mod:`sim.mutate`, by Yosys."""

import re
from pathlib import Path

from hw.cache import cached_dir
from hw.tools import ToolTimeout, run_yosys, yosys_version
from sim.verilated import Port

__all__ = ["SELECT", "verdict"]

SELECT = "mutsel"  # the input that chooses an injury; 0 is the circuit as it should be

_PROVED = "Induction step proven: SUCCESS!"
_SHOWN = re.compile(r"^ +(\d+) \\(\S+) +\S+ +\S+ +([01x]+) *$", re.MULTILINE)

# A memory that is not there: what it is asked and told goes to registers, which are compared, and
# what it answers comes from registers, which both circuits have in common. Its contents are common,
# too, as long as what is written is. Addresses and data count only where something happens.
_MEMORY = """
(* techmap_celltype = "$mem_v2" *)
module outside (RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA, WR_CLK, WR_EN, WR_ADDR, WR_DATA);
  parameter MEMID = "", SIZE = 4, OFFSET = 0, ABITS = 2, WIDTH = 8, INIT = 0, RD_PORTS = 1,
    WR_PORTS = 1, RD_CLK_ENABLE = 0, RD_CLK_POLARITY = 0, RD_TRANSPARENCY_MASK = 0,
    RD_COLLISION_X_MASK = 0, RD_WIDE_CONTINUATION = 0, RD_CE_OVER_SRST = 0, RD_ARST_VALUE = 0,
    RD_SRST_VALUE = 0, RD_INIT_VALUE = 0, WR_CLK_ENABLE = 0, WR_CLK_POLARITY = 0,
    WR_PRIORITY_MASK = 0, WR_WIDE_CONTINUATION = 0;
  localparam ASKED = ABITS + 1, TOLD = ABITS + 2 * WIDTH;
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
  input [RD_PORTS*ABITS-1:0] RD_ADDR;
  output [RD_PORTS*WIDTH-1:0] RD_DATA;
  input [WR_PORTS-1:0] WR_CLK;
  input [WR_PORTS*WIDTH-1:0] WR_EN, WR_DATA;
  input [WR_PORTS*ABITS-1:0] WR_ADDR;
  (* keep *) reg [RD_PORTS*ASKED-1:0] asked;
  (* keep *) reg [WR_PORTS*TOLD-1:0] told;
  reg [RD_PORTS*WIDTH-1:0] answer;
  assign RD_DATA = answer;
  genvar n;
  generate
    for (n = 0; n < RD_PORTS; n = n + 1)
      always @(posedge WR_CLK[0])
        asked[n*ASKED +: ASKED] <= RD_EN[n] ? {RD_ADDR[n*ABITS +: ABITS], 1'b1} : 0;
    for (n = 0; n < WR_PORTS; n = n + 1)
      always @(posedge WR_CLK[0])
        told[n*TOLD +: TOLD] <= {
          |WR_EN[n*WIDTH +: WIDTH] ? WR_ADDR[n*ABITS +: ABITS] : {ABITS{1'b0}},
          WR_EN[n*WIDTH +: WIDTH], WR_EN[n*WIDTH +: WIDTH] & WR_DATA[n*WIDTH +: WIDTH]};
  endgenerate
  always @(posedge WR_CLK[0]) answer <= ~answer;
endmodule
"""


def _copy(module: str, name: str, ports: tuple[Port, ...], index: int) -> str:
    """Verilog of mutant ``index`` as ``module``. Payloads that are not valid read as 0."""
    ports = tuple(port for port in ports if port.name != SELECT)
    names = {port.name for port in ports}
    declared, pins, shown = [], [f".{SELECT}({index})"], []
    for port in ports:
        way, width = "input" if port.is_input else "output", f"[{port.width - 1}:0]"
        declared.append(f"{way} {width} \\{port.name} ")
        valid = re.sub("__payload.*", "__valid", port.name)
        if port.is_input or valid == port.name or valid not in names:
            pins.append(f".\\{port.name} (\\{port.name} )")
        else:
            pins.append(f".\\{port.name} (\\{port.name}.raw )")
            shown.append(f"  wire {width} \\{port.name}.raw ;\n"
                         f"  assign \\{port.name} = \\{valid} ? \\{port.name}.raw : 0;\n")
    return (f"module {module}({', '.join(declared)});\n{''.join(shown)}"
            f"  \\{name} copy({', '.join(pins)});\nendmodule\n")


def verdict(folder: Path, index: int, name: str, ports: tuple[Port, ...], steps: int,
           timeout: int) -> tuple[str, str]:
    """Verdict and detail of one mutant, from a proof that its outputs are those of number 0.

    First the cheap question, which most equivalent mutants answer: from any common state, do all
    registers and outputs stay the same? It has no time in it, and what the two share vanishes. If
    they do not, the outputs alone are compared, from power-up on; without registers' feedback that
    induction is complete after as many steps as stages. With 0 ``steps`` only the cheap question is
    asked, and memories stay outside: a core's would be ten thousands of registers.
    """
    copies = _copy("whole", name, ports, 0) + _copy("injured", name, ports, index)
    log, late = _compare(folder, copies, ["expose -dff -evert-dff -shared whole injured"], 2,
                         timeout, outside=not steps)
    if _PROVED in log:
        return "equivalent", "proved: registers and outputs stay the same from any common state"
    if not steps:
        return "unknown", f"no proof within {timeout} s" if late else \
            "some common state, perhaps out of reach, tells it apart"
    log, late = _compare(folder, copies, [], steps, timeout)
    if _PROVED in log:
        lengths = re.findall(r"Trying induction with length (\d+)", log)
        return "equivalent", f"proved by induction of length {lengths[-1]}"
    if "SAT temporal induction proof finished - model found for base case: FAIL!" in log:
        return "different", _inputs(log[log.index("model found for base case"):])
    if late:
        return "unknown", f"no proof within {timeout} s"
    return "bounded", f"the same outputs for {steps} cycles after power-up"


def _compare(folder: Path, copies: str, prepare: list[str], steps: int, timeout: int, *,
             outside: bool = False) -> tuple[str, bool]:
    """The log of an attempt to prove ``whole`` and ``injured`` alike, and whether it took too long.

    What both circuits share is merged first, so that the solver sees only what lies behind the
    injury. With ``outside`` that is true of memories, too: see :data:`_MEMORY`.
    """
    commands = [
        "read_rtlil mutants.il",
        *["memory_collect", "techmap -autoproc -map memory.v",
          "rename -enumerate -pattern memory_% w:*techmap*"] * outside,
        "read_verilog copies.v", "flatten whole injured", "opt_expr",
        "memory_map", "dffunmap", "opt_clean", *prepare,
        "miter -equiv -flatten -make_outputs whole injured miter", "hierarchy -top miter",
        "setundef -init -zero",  # what Verilog leaves unknown is 0 in the simulator, too
        "opt -full -share_all",
        f"sat -tempinduct -prove trigger 0 -maxsteps {steps} -show-inputs miter",
    ]

    def make(work):
        (work / "mutants.il").write_text((folder / "mutants.il").read_text())
        (work / "copies.v").write_text(copies)
        (work / "memory.v").write_text(_MEMORY)
        try:
            run_yosys(work, commands, script="prove.ys", timeout=timeout)
        except ToolTimeout:
            (work / "timeout").touch()
        (work / "mutants.il").unlink()

    work = cached_dir("equivalence", folder.name, commands, copies, _MEMORY, timeout,
                      yosys_version(), make=make)
    return (work / "prove.log").read_text(), (work / "timeout").exists()


def _inputs(log: str) -> str:
    """The inputs of a counterexample, cycle by cycle, in hexadecimal; those left out are 0."""
    cycles = {}
    for cycle, port, bits in _SHOWN.findall(log):
        value = int(bits.replace("x", "0"), 2)
        name = port.removeprefix("in_")
        if value and port.startswith("in_") and name != "clk":
            cycles.setdefault(int(cycle), []).append(f"{name}={value:#x}")
    return "; ".join(f"cycle {cycle}: {' '.join(values)}"
                     for cycle, values in sorted(cycles.items())) or "any inputs"
