"""Proof that the netlist of a network of edge tables computes its tables, for all inputs.

A sum of tables has too many inputs to try all of them, so the proof is made of small claims that
the circuit left when it was built (``Circuit.facts``), and each is tried exhaustively *on the
synthesised netlist*: the cone between the claim's inputs and its outputs is evaluated for every
combination of those inputs. Nothing is assumed of how the circuit was built:

1. each bit of each table: for every code of its input;
2. each adder of the counters: ``sum(in << shift) == sum(out << shift)``;
3. each sum: the bits that go into its first adders are those of 1, what one adder takes another one
   (or 1) has given with the same weight, and what is left is the row (a ledger of wires), so that
   the row is the sum of the tables;
4. each saturation: for every row up to the largest, the code is ``clip(sum, limits) + half``, or
   the number of limits reached, behind one register;
5. the tables that 1 found are, on all reachable codes, the model's and a constant, and the
   constants of one sum are what 4 takes off;
6. the outputs are the last codes, the top bit of saturated ones inverted.

From 1 to 6 the netlist equals :mod:`sim.golden.edges` on every input. Reachable codes are those of
:meth:`hw.lutnet.edges.EdgeModel.reachable`, which leaves none out.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from amaranth.hdl import Const, Signal, Value

from . import report
from .circuit import Wire
from .config import NetworkConfig
from .edges import Codes, EdgeModel, Lookup, Row, build
from .popcount import Sum

__all__ = ["EdgeProofError", "Proof", "prove"]


class EdgeProofError(Exception):
    """A claim does not hold in the netlist; the message says which."""


@dataclass(frozen=True)
class Proof:
    """How many claims of each kind were proven, and over how many combinations in all."""

    lookups: int
    adders: int
    sums: int
    combinations: int


class _Netlist:
    """Nets of a module, and values of one net from those of others."""

    def __init__(self, module: dict, made: dict[str, tuple[str, str]]):
        self.made, self.cells = made, module["cells"]
        self.names = {name: entry["bits"] for name, entry in module["netnames"].items()}
        self.driver: dict[int, tuple[dict, str, int]] = {}
        for cell in module["cells"].values():
            for port, bits in cell["connections"].items():
                if port in ("O", "CO", "Q"):
                    for index, bit in enumerate(bits):
                        self.driver[bit] = (cell, port, index)
        # Where S or the carry below is 0 the sum of a CARRY4 is the other one, and synthesis takes
        # one for the other.
        self.same: dict[int, int | str] = {}
        for cell in self.cells.values():
            if cell["type"] == "CARRY4":
                pins = cell["connections"]
                for out, select, below in zip(pins["O"], pins["S"], [None, *pins["CO"]]):
                    if below is None and "0" in (*pins["CI"], *pins["CYINIT"]):
                        below = next((b for b in (*pins["CI"], *pins["CYINIT"]) if b != "0"), "0")
                    if below is not None and "0" in (select, below):
                        self.same[out] = below if select == "0" else select

    def net(self, value) -> int | str:
        """The net of a bit of the circuit: a number, or "0" or "1"."""
        if isinstance(value, Wire):
            value = value.value
        value, index = Value.cast(value), 0
        while not isinstance(value, Signal):
            if isinstance(value, Const):
                return str(value.value >> index & 1)
            index += value.start  # a slice
            value = value.value
        if value.name in self.made:
            cell, port = self.made[value.name]
            bits = self.cells.get(cell, {"connections": {}})["connections"].get(port)
        else:
            bits = self.names.get(value.name)
        if bits is None or index >= len(bits):
            raise EdgeProofError(f"the netlist has no net {value.name}[{index}]")
        return self.one(bits[index])

    def one(self, net):
        """The net that stands for all that are ``net``."""
        while net in self.same:
            net = self.same[net]
        return net

    def values(self, nets: list, given: dict) -> list[np.ndarray]:
        """Values of ``nets`` when ``given`` holds those of others."""
        known = dict(given)
        size = len(next(iter(given.values())))
        known |= {"0": np.zeros(size, bool), "1": np.ones(size, bool)}

        def value(net):
            net = self.one(net)
            if net not in known:
                if net not in self.driver:
                    raise EdgeProofError(f"net {net} depends on more than its claim says")
                cell, port, index = self.driver[net]
                known[net] = _CELLS[cell["type"].rstrip("123456")](cell, port, index, value)
            return known[net]

        return [value(net) for net in nets]

    def behind_register(self, net) -> int | str:
        """What the register that drives ``net`` takes in every cycle."""
        cell = self.driver.get(net, ({"type": "no register"}, "", 0))[0]
        pins = cell.get("connections", {})
        if cell["type"] != "FDRE" or pins["CE"] != ["1"] or pins["R"] != ["0"]:
            raise EdgeProofError(f"net {net} must come from a register without reset, not from "
                                 f"{cell['type']}")
        return pins["D"][0]


def _lut(cell, port, index, value):
    table = np.array([c == "1" for c in reversed(cell["parameters"]["INIT"])])
    pins = [cell["connections"][f"I{i}"][0] for i in range(len(cell["connections"]) - 1)]
    address = sum(value(pin).astype(np.int64) << i for i, pin in enumerate(pins))
    return table[address]


def _inverter(cell, port, index, value):
    return ~value(cell["connections"]["I"][0])


def _carry4(cell, port, index, value):
    pins = cell["connections"]
    carry = value(pins["CI"][0]) | value(pins["CYINIT"][0])
    for i in range(index + 1):
        into, select = carry, value(pins["S"][i])
        carry = np.where(select, carry, value(pins["DI"][i])) if i < index or port == "CO" \
            else carry
    return carry if port == "CO" else select ^ into


def _register(cell, port, index, value):
    raise EdgeProofError(f"a register lies inside a claim: {cell['connections']['Q']}")


_CELLS = {"LUT": _lut, "INV": _inverter, "CARRY": _carry4, "FDRE": _register}


def _combinations(nets: list) -> dict:
    """Every combination of the nets that are not constant."""
    free = list(dict.fromkeys(net for net in nets if not isinstance(net, str)))
    count = np.arange(1 << len(free))
    return {net: (count >> i & 1).astype(bool) for i, net in enumerate(free)} or \
        {"0": np.zeros(1, bool)}


def _number(bits: list, size: int) -> np.ndarray:
    total = np.zeros(size, np.int64)
    for bit, shift in bits:
        total = total + (bit.astype(np.int64) << shift)
    return total


class _Prover:
    def __init__(self, model: EdgeModel, netlist: _Netlist):
        self.model, self.netlist = model, netlist
        self.counts: Counter = Counter()
        self.ledger: Counter = Counter()     # nets and weights whose sum is that of the lookups
        self.lookups: list[Lookup] = []
        self.adders: list[Sum] = []
        self.rows: list[tuple[Row, int, list[Sum]]] = []
        self.index = 0                       # of the present layer
        self.codes: list[list] = []          # nets of its codes

    def lookup(self, fact: Lookup) -> None:
        """Claim 1."""
        net = self.netlist.net
        pins = [net(pin) for pin in fact.pins]
        free = _combinations(pins)
        found, = self.netlist.values([net(fact.wire)], free)
        address = _number([(free[p], i) for i, p in enumerate(pins)], len(found))
        wanted = np.array([fact.word >> a & 1 for a in address.tolist()], bool)
        if (found != wanted).any():
            raise EdgeProofError(f"a bit of weight {1 << fact.shift} of a table in layer "
                                 f"{self.index} is wrong")
        self.counts["lookups"] += 1
        self.counts["combinations"] += len(found)
        self.lookups.append(fact)
        self.ledger[net(fact.wire), fact.shift] += 1

    def _true(self, ends: list, nets: list, holds) -> None:
        """Check ``holds(values of ends, values of nets)`` for all values of ``ends``.

        Synthesis may have used what it knows of the ends: that one is the complement of the other
        where a constant was added, or an adder's inputs in place of its outputs. Then the adders in
        front are tried together with the claim, the last one first, for all values of their inputs.
        """
        free = [n for n in dict.fromkeys(ends) if not isinstance(n, str)]
        adders = [([self.netlist.net(w) for w, _ in fact.inputs],
                   {self.netlist.net(w) for w, _ in fact.outputs}) for fact in self.adders]
        while True:
            given = _combinations(free)
            try:
                found = self.netlist.values([*ends, *nets], given)
                size = len(next(iter(given.values())))
                holds(found[:len(ends)], found[len(ends):], size)
                self.counts["combinations"] += size
                return
            except EdgeProofError:
                while adders and not adders[-1][1] & set(free):
                    adders.pop()
                if not adders or len(free) > 20:
                    raise
                inputs, outputs = adders.pop()
                free = list(dict.fromkeys(n for n in (*(f for f in free if f not in outputs),
                                                      *inputs) if not isinstance(n, str)))

    def adder(self, fact: Sum) -> None:
        """Claim 2, and its lines in the ledger of claim 3."""
        inputs = [(self.netlist.net(w), s) for w, s in fact.inputs]
        outputs = [(self.netlist.net(w), s) for w, s in fact.outputs]

        def holds(given, found, size):
            taken = _number([(v, s) for v, (_, s) in zip(given, inputs)], size)
            made = _number([(v, s) for v, (_, s) in zip(found, outputs)], size)
            if (taken != made).any():
                raise EdgeProofError("an adder's outputs are not the sum of its inputs")

        self._true([n for n, _ in inputs], [n for n, _ in outputs], holds)
        # All of it is shifted together: the ledger knows by how much.
        shift = self._place(inputs)
        for n, s in inputs:
            self.ledger[n, s + shift] -= 1
        for n, s in outputs:
            self.ledger[n, s + shift] += 1
        self.adders.append(fact)
        self.counts["adders"] += 1

    def _place(self, inputs) -> int:
        """The shift at which the ledger holds all inputs of an adder."""
        wanted = Counter(inputs)
        for shift in range(32):
            if all(self.ledger[n, s + shift] >= count for (n, s), count in wanted.items()):
                return shift
        raise EdgeProofError("an adder takes what nothing has given")

    def row(self, fact: Row) -> None:
        """Claim 3: the ledger holds the row, and bits above it that the sum does not reach."""
        wanted = Counter((self.netlist.net(w), k) for k, w in enumerate(fact.row))
        wanted = Counter({key: n for key, n in wanted.items() if key[0] != "0"})
        left = Counter({key: n for key, n in self.ledger.items() if n and key[0] != "0"})
        left.subtract(wanted)
        if any(n < 0 or n and 1 << key[1] <= fact.largest for key, n in left.items()):
            raise EdgeProofError("a row is not what its adders leave")
        layer, output = self.model.layers[self.index], len(self.rows)
        edges = np.flatnonzero(layer.edges[:, output])
        if len(edges) != len(fact.inputs):
            raise EdgeProofError(f"a sum must have {len(edges)} tables, not {len(fact.inputs)}")
        constant = largest = 0
        for edge, pins in zip(edges, fact.inputs):
            if [self.netlist.net(p) for p in pins] != self.codes[edge]:
                raise EdgeProofError(f"table {self.index}_{edge}_{output} reads another code")
            address = np.arange(1 << len(pins))
            values = sum((np.array([f.word >> a & 1 for a in address.tolist()]) << f.shift
                          for f in self.lookups if f.pins == pins), np.zeros(len(address), int))
            ok = self.model.reachable(self.index)[edge]
            apart = (values - layer.tables[edge, output])[ok]
            if (apart != apart[0]).any():
                raise EdgeProofError(f"table {self.index}_{edge}_{output} is wrong")
            constant += int(apart[0])
            largest += int(values[ok].max())
        self.rows.append((fact, constant, self.adders))
        self.counts["sums"] += 1
        if largest > fact.largest:
            raise EdgeProofError(f"a sum reaches {largest}, more than {fact.largest}")
        self.ledger.clear()
        self.lookups, self.adders = [], []

    def layer(self, fact: Codes) -> None:
        """Claim 4 for all sums of a layer; its codes are the next layer's."""
        layer = self.model.layers[fact.index]
        if len(self.rows) != layer.tables.shape[1]:
            raise EdgeProofError(f"layer {fact.index} must have {layer.tables.shape[1]} sums, not "
                                 f"{len(self.rows)}")
        codes = []
        for j, ((row, constant, adders), wires) in enumerate(zip(self.rows, fact.wires)):
            nets = [self.netlist.behind_register(self.netlist.net(w)) for w in wires]
            self.adders = adders

            def holds(given, found, size, row=row, constant=constant, j=j):
                total, code = (_number(list(zip(bits, range(len(bits)))), size)
                               for bits in (given, found))
                sums = np.repeat(total[:, None] - constant, layer.tables.shape[1], 1)
                if (code != layer.codes(sums)[:, j])[total <= row.largest].any():
                    raise EdgeProofError(f"sum {j} of layer {fact.index} becomes a wrong code")

            self._true([self.netlist.net(w) for w in row.row], nets, holds)
            codes.append([self.netlist.net(w) for w in wires])
        self.codes, self.rows, self.adders = codes, [], []

    def run(self, facts: list, inputs: list[list]) -> Proof:
        self.codes = inputs
        for fact in facts:
            if isinstance(fact, Codes):
                self.layer(fact)
                self.index += 1
            else:
                {Lookup: self.lookup, Sum: self.adder, Row: self.row}[type(fact)](fact)
        if self.index != len(self.model.layers):
            raise EdgeProofError(f"the circuit has {self.index} layers, not "
                                 f"{len(self.model.layers)}")
        return Proof(**{name: self.counts[name] for name in ("lookups", "adders", "sums",
                                                            "combinations")})


def prove(model: EdgeModel, config: NetworkConfig, module: dict | None = None) -> Proof:
    """Prove the netlist of ``model``; :class:`EdgeProofError` names a claim that does not hold.

    ``config``: carry-chain counters, a register behind each layer and none inside. ``module``: the
    netlist as :func:`hw.lutnet.report.netlist_json` gives it, which is made if it is None.
    """
    if config.head != "carry" or config.sum_levels or config.registers != ("layers",):
        raise ValueError("config must have carry-chain counters and registers behind the layers "
                         f"alone, not {config}")
    first = model.layers[0]
    codes = [list(Signal(first.in_bits, name=f"i{i}")) for i in range(first.tables.shape[0])]
    circuit, _, _ = build(model, replace(config, tables="cells"), codes)
    netlist = _Netlist(module if module is not None else report.netlist_json(model, config),
                       circuit.made)
    given = netlist.names["i"]
    inputs = [given[i * first.in_bits:(i + 1) * first.in_bits] for i in range(len(codes))]
    netlist.names |= {f"i{i}": nets for i, nets in enumerate(inputs)}
    prover = _Prover(model, netlist)
    proof = prover.run(circuit.facts, inputs)
    out, width = netlist.names["o"], model.layers[-1].out_bits
    for j, code in enumerate(prover.codes):  # claim 6
        free = _combinations(code)
        found = netlist.values(out[j * width:(j + 1) * width], free)
        wanted = [free[net] for net in code]
        if model.layers[-1].limits is None:
            wanted[-1] = ~wanted[-1]
        if any((a != b).any() for a, b in zip(found, wanted)):
            raise EdgeProofError(f"output {j} is not the code of its sum")
    return proof
