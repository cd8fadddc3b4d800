"""Proofs by SAT that cells compute what they stand for (Yosys): tables, and weighted sums.

Tables are also tried exhaustively when they are made; a neuron has too many inputs for that.
"""

import tempfile
from pathlib import Path

import numpy as np

from hw.tools import run_yosys

from .decompose import Decomposition

__all__ = ["DecompositionError", "prove_neuron", "prove_tables"]


class DecompositionError(Exception):
    """The cells are not what they stand for, or the solver gave up."""


def _word(bits) -> str:
    return f"{len(bits)}'h{sum(int(b) << i for i, b in enumerate(bits)):x}"


def _cells(net: Decomposition) -> list[str]:
    """Lines of Verilog: wires ``p0`` and so on for the pins, ``y`` for the outputs."""
    name = {-1: "1'b0", -2: "1'b1"} | {i: f"p{i}" for i in range(net.inputs + len(net.cells))}
    lines = [f"wire p{i} = x[{i}];" for i in range(net.inputs)]
    for index, (pins, table) in enumerate(net.cells):
        address = ", ".join(name[p] for p in reversed(pins))
        lines += [f"wire [{len(table) - 1}:0] t{index} = {_word(table)};",
                  f"wire p{net.inputs + index} = t{index}[{{{address}}}];"]
    outputs = ", ".join(name[p] for p in reversed(net.outputs))
    return [*lines, f"wire [{len(net.outputs) - 1}:0] y = {{{outputs}}};"]


def _prove(net: Decomposition, spec: list[str], timeout: float) -> None:
    text = "\n".join([f"module top (input [{net.inputs - 1}:0] x, output bad);", *_cells(net),
                      *spec, "endmodule", ""])
    with tempfile.TemporaryDirectory(prefix="decompose-") as folder:
        (Path(folder) / "top.v").write_text(text)
        run_yosys(Path(folder), ["read_verilog top.v", "hierarchy -top top", "proc", "opt -full",
                                 "sat -prove bad 0"], script="prove.ys", timeout=timeout)
        log = (Path(folder) / "prove.log").read_text()
    if "SAT proof finished - model found: FAIL!" in log:
        raise DecompositionError("the cells differ from what they stand for")
    if "SAT proof finished - no model found: SUCCESS!" not in log:
        raise DecompositionError(f"the solver gave up: {log.strip().splitlines()[-1]}")


def prove_tables(net: Decomposition, tables: np.ndarray, care: np.ndarray | None = None,
                 timeout: float = 300.0) -> None:
    """The outputs are ``tables`` (outputs, 2**inputs) where ``care`` is set."""
    tables = np.atleast_2d(tables)
    care = np.ones(tables.shape[1], bool) if care is None else care
    size = tables.shape[1]
    spec = [f"wire [{size - 1}:0] care = {_word(care)};"]
    for index, table in enumerate(tables):
        spec.append(f"wire [{size - 1}:0] want{index} = {_word(table)};")
    wrong = " | ".join(f"(want{i}[x] ^ y[{i}])" for i in range(len(tables)))
    _prove(net, [*spec, f"assign bad = care[x] & ({wrong});"], timeout)


def prove_neuron(net: Decomposition, weights: np.ndarray, threshold: int,
                 timeout: float = 300.0) -> None:
    """The output is ``sum(weights * x) >= threshold`` for all inputs."""
    bits = (int(np.abs(weights).sum()) + abs(threshold)).bit_length() + 2
    terms = " + ".join(f"(x[{i}] ? {'-' if w < 0 else ''}{bits}'sd{abs(int(w))} : {bits}'sd0)"
                       for i, w in enumerate(weights))
    sign = "-" if threshold < 0 else ""
    _prove(net, [f"wire signed [{bits - 1}:0] total = {terms};",
                 f"assign bad = (total >= {sign}{bits}'sd{abs(threshold)}) ^ y[0];"], timeout)
