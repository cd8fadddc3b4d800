"""An iCE40 bitstream, simulated: ``python -m boards.bitstream build/icebreaker``.

What would be flashed is decoded to a netlist (icestorm's ``icebox_vlog``: apt-get install
fpga-icestorm), and that netlist runs at the pins of the serial line, bit by bit. Rows of a test set
go through the LUT network in it; prints one JSON line, and ends with 1 unless every answer is that
of the golden model.
"""

import argparse
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boards.build import tool
from boards.host import StreamHost
from boards.link import Link
from boards.simulated import SimulatedBoard
from boards.table import DEVICE, board_named
from hw.bus.uart import divisor_for
from hw.cache import cached_dir
from hw.lutnet import data as datasets
from hw.lutnet.design import LutnetConfig, lutnet
from hw.options import Parser, command
from hw.tools import ToolError, run, yosys_share, yosys_version
from sim.lutnet import golden_results

__all__ = ["BitstreamBoard", "decoder", "netlist"]

# A PLL is there for its clock, which is the one that is simulated.
_PLL = """\
module {name} (input {source}, input RESETB, input BYPASS, input EXTFEEDBACK,
               input [7:0] DYNAMICDELAY, input LATCHINPUTVALUE, input SDI, input SCLK,
               output PLLOUTCORE, output PLLOUTGLOBAL, output LOCK, output SDO);
  parameter FEEDBACK_PATH = "", DELAY_ADJUSTMENT_MODE_FEEDBACK = "",
            DELAY_ADJUSTMENT_MODE_RELATIVE = "", PLLOUT_SELECT = "", SHIFTREG_DIV_MODE = 0,
            FDA_FEEDBACK = 0, FDA_RELATIVE = 0, DIVR = 0, DIVF = 0, DIVQ = 0, FILTER_RANGE = 0,
            ENABLE_ICEGATE = 0, TEST_MODE = 0;
  assign PLLOUTCORE = {source}, PLLOUTGLOBAL = {source}, LOCK = 1, SDO = 0;
endmodule
"""
_PLLS = {"SB_PLL40_PAD": "PACKAGEPIN", "SB_PLL40_CORE": "REFERENCECLK"}
_MADE = {"SB_RAM40_4K", *_PLLS}  # of what a netlist may be made beside logic


def decoder() -> str:
    """Path of ``icebox_vlog``; :class:`ToolError` says how it is had."""
    if found := shutil.which("icebox_vlog"):
        return found
    raise ToolError("icebox_vlog is not on the path, which decodes bitstreams: "
                    "apt-get install fpga-icestorm")


def netlist(bitstream: Path, constraints: str, device: dict[str, str]) -> str:
    """Verilog of a bitstream: module ``board`` with the ports ``clk``, ``rx`` and ``tx``."""
    vlog, (unpack, version) = decoder(), tool("iceunpack")
    pins = "".join(line + "\n" for line in constraints.splitlines() if line.startswith("set_io"))
    decode = ["sh", "-c", 'exec "$0" "$@" > top.v', vlog, "-s", "-p", "top.pcf",
              "-d", device["package"], "top.asc"]
    content = bitstream.read_bytes()

    def make(folder):
        (folder / "top.bin").write_bytes(content)
        (folder / "top.pcf").write_text(pins)
        run("iceunpack", [*unpack, "top.bin", "top.asc"], folder=folder, log="unpack.log")
        run("icebox_vlog", decode, folder=folder, log="vlog.log")

    text = (cached_dir("bitstream", content, pins, decode, version, make=make)
            / "top.v").read_text()
    kinds = set(re.findall(r"^(SB_\w+)", text, re.MULTILINE))
    if "assign dsp" in text:
        kinds.add("DSP blocks")
    if unknown := kinds - _MADE:
        raise ToolError(f"{bitstream.name} has {', '.join(sorted(unknown))}, which cannot be "
                        f"simulated from a bitstream: only logic, block RAM and the PLL can")
    ports = {short: re.search(rf"set_io (\S*{name})\s", pins) for short, name in (
        ("clk", r"clk\w*_0__io"), ("rx", "uart_0__rx__io"), ("tx", "uart_0__tx__io"))}
    names = {short: port[1] for short, port in ports.items() if port}
    joined = ", ".join(f".{port}({short})" for short, port in names.items())
    # Ports are declared twice, which not every simulator accepts; and the pin that a PLL has of its
    # own, which is the clock's, is left open.
    text = re.sub(r"^wire (.*);$", lambda line: "".join(
        f"wire {name};" for name in line[1].split(", ") if name not in names.values()), text,
        flags=re.MULTILINE)
    text = re.sub(r"\.PACKAGEPIN\(\w+\)", f".PACKAGEPIN({names['clk']})", text)
    cells = (yosys_share() / "ice40" / "cells_sim.v").read_text()
    ram = re.search(r"^module SB_RAM40_4K \(.*?^endmodule", cells, re.MULTILINE | re.DOTALL)
    assert ram, yosys_version()
    return "\n".join([
        "`define ICE40_DEFAULT_ASSIGNMENT_0", "`define ICE40_DEFAULT_ASSIGNMENT_1",
        "`define ICE40_DEFAULT_ASSIGNMENT_V(v)", ram[0],
        *(_PLL.format(name=name, source=source) for name, source in _PLLS.items()), text,
        "module board (input clk, input rx, output tx);", f"  chip chip ({joined});",
        "endmodule", ""])


class BitstreamBoard(SimulatedBoard):
    """A bitstream in the native engine, as a port."""

    def __init__(self, text: str, clock_hz: float, baud: int):
        self._drive(text, divisor_for(clock_hz, baud))
        self.engine.step(int(20e-6 * clock_hz))  # the reset after power-up, 15 us


def _answers(board: BitstreamBoard, codes: np.ndarray, width: int, result_width: int) -> np.ndarray:
    """Results of the network for codes (rows, features)."""
    results = []
    with StreamHost(Link(board)) as host:
        for row in codes.astype(np.int64).tolist():
            host.send(0, sum(code << width * place for place, code in enumerate(row)),
                      width * len(row))
            results.append(host.receive(1, result_width))
    return np.array(results)


def report(folder: Path, data: str, limit: int) -> dict[str, Any]:
    """The line that is printed."""
    try:
        manifest = json.loads((folder / "lutnet.json").read_text())
        board = board_named(manifest["board"])
        bitstream = folder / f"lutnet{board.suffix}"
        constraints = (folder / "lutnet.pcf").read_text()
    except OSError as error:
        raise ValueError(f"folder must be one that python -m hw.build lutnet --board BOARD wrote "
                         f"for a board with iCE40: {error}") from None
    network = lutnet(LutnetConfig(**manifest["config"]))
    model = network.model
    if data:
        loaded = datasets.load(data)
        codes, labels = model.encoder.codes(loaded.x_test), loaded.y_test
    else:
        draw = np.random.default_rng(0)
        codes = draw.integers(0, 1 << model.encoder.width, (limit or 100, model.features))
        labels = None
    if limit:
        codes = codes[:limit]
    text = netlist(bitstream, constraints, DEVICE[board.family](board.make()))
    port = BitstreamBoard(text, manifest["clock_hz"], manifest["baud"])
    given = _answers(port, codes, model.encoder.width, len(network.o.payload))
    wanted = golden_results(model, codes)
    line = {"board": manifest["board"], "rows": len(codes), "equal": int((given == wanted).sum()),
            "cycles": port.cycles, "sha256": hashlib.sha256(bitstream.read_bytes()).hexdigest()}
    if labels is not None:
        line["accuracy"] = float((given == labels[:len(given)]).mean())
    return line


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m boards.bitstream", description=__doc__)
    parser.add_argument("folder", type=Path, help="what python -m hw.build wrote")
    parser.add_argument("--data", default="", help="digits, a folder of IDX files, an .npz; "
                        "its test rows (default: random rows)")
    parser.add_argument("--limit", type=int, default=100, metavar="N",
                        help="only the first N rows, 0 for all (default: 100)")
    options: argparse.Namespace = parser.parse_args(argv)
    if options.limit < 0:
        raise ValueError(f"limit must be 0 or more, not {options.limit}")
    line = report(options.folder, options.data, options.limit)
    print(json.dumps(line))
    return 0 if line["equal"] == line["rows"] else 1


if __name__ == "__main__":
    command(main)()
