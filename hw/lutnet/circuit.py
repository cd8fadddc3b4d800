"""A cloud of bits with registers at stages: what the parts of a LUT network are built on.

Encoder, tables, counters and comparators are written once, without saying where their registers
are. Every wire carries the stage at which it is valid; who combines wires of different stages gets
all of them at the latest, and each delay is built once. The circuit exists before it is elaborated,
so that its latency is known.
"""

from dataclasses import dataclass
from functools import cache

from amaranth import *

__all__ = ["Circuit", "Wire", "Table", "TABLES", "reduce_table", "split_cost"]

TABLES = ("cells", "rtl")
FABRIC_INPUTS = {"xc7": 6, "ecp5": 4, "ice40": 4}


@dataclass(frozen=True, eq=False)
class Wire:
    """A value, the stage at which it is valid, and how many cells deep it is in that stage."""

    value: Value
    stage: int = 0
    level: int = 0


@dataclass(frozen=True, eq=False)
class Table:
    """A table that is not yet a cell: ``table >> sum_i pins[i] << i``; a pin that is None is 0."""

    table: int
    pins: tuple[Wire | None, ...]


@cache
def _lows(inputs: int, index: int) -> int:
    """Addresses where input ``index`` is 0, as a table."""
    return sum(1 << a for a in range(1 << inputs) if not a >> index & 1)


def halves(table: int, inputs: int, index: int) -> tuple[int, int]:
    """The table where input ``index`` is 0, and where it is 1."""
    low = high = 0
    mask = (1 << index) - 1
    for place in range(1 << inputs - 1):
        address = place & mask | (place & ~mask) << 1
        low |= (table >> address & 1) << place
        high |= (table >> (address | 1 << index) & 1) << place
    return low, high


def reduce_table(table: int, pins: list) -> tuple[int, list]:
    """The same function without the inputs that it does not depend on, or that are None (0)."""
    pins = list(pins)
    for zero in (True, False):  # the constants first: they make others idle
        index = 0
        while index < len(pins):
            if pins[index] is None if zero else \
                    not (table ^ table >> (1 << index)) & _lows(len(pins), index):
                table = halves(table, len(pins), index)[0]
                pins = pins[:index] + pins[index + 1:]
            else:
                index += 1
    return table, pins


def _four(table: int, values: list[Value]) -> tuple[int, list[Value]]:
    """A table of four inputs: the missing ones are 0 and make no difference."""
    for _ in range(4 - len(values)):
        table |= table << (1 << len(values))
        values = [*values, Const(0, 1)]
    return table, values


def _xc7(table: int, values: list[Value], out: Signal) -> Instance:
    pins = {f"i_I{i}": value for i, value in enumerate(values)}
    return Instance(f"LUT{len(values)}", p_INIT=Const(table, 1 << len(values)), o_O=out, **pins)


def _ecp5(table: int, values: list[Value], out: Signal) -> Instance:
    table, values = _four(table, values)
    return Instance("LUT4", p_INIT=Const(table, 16), o_Z=out,
                    **{f"i_{pin}": value for pin, value in zip("ABCD", values)})


def _ice40(table: int, values: list[Value], out: Signal) -> Instance:
    table, values = _four(table, values)
    return Instance("SB_LUT4", p_LUT_INIT=Const(table, 16), o_O=out,
                    **{f"i_I{i}": value for i, value in enumerate(values)})


_PRIMITIVES = {"xc7": _xc7, "ecp5": _ecp5, "ice40": _ice40}


@cache
def split_cost(table: int, inputs: int) -> tuple[int, int]:
    """Tables of ``inputs - 1`` inputs that a table takes with a choice by one input, and that."""
    best = (99, 0)
    for index in range(inputs):
        cost = 1
        for part in halves(table, inputs, index):
            cost += len(reduce_table(part, list(range(inputs - 1)))[1]) > 1
        best = min(best, (cost, index))
    return best


class Circuit:
    """Tables, expressions and registers; ``emit`` puts them into a module.

    Parameters
    ----------
    tables : :class:`str`
        ``cells`` makes each table a primitive of the fabric, which synthesis keeps (thousands of
        constants indexed by vectors do not get through it); ``rtl`` makes it a shift of a constant,
        for simulation and for other tools. Both are the same function.
    fabric : :class:`str`
        ``xc7``, ``ecp5`` or ``ice40``: whose primitives; tables may have 6, 4 and 4 inputs.

    All registers move together, when ``enable`` is high; none is reset. ``facts`` is what the parts
    claim of themselves (:mod:`hw.lutnet.edge_proof` proves it), in the order in which they were
    built. ``made`` tells of a signal's name which cell's output it is: synthesis keeps the names of
    cells, and of registers.
    """

    def __init__(self, tables: str = "rtl", fabric: str = "xc7"):
        self.tables, self.fabric = tables, fabric
        self.enable = Signal(init=1)
        self._instances: list[Instance] = []
        self._comb, self._registers = [], []
        self._shared: dict[tuple, Wire] = {}
        self._delayed: dict[tuple[Wire, int], Signal] = {}
        self._names = 0
        self.facts: list = []
        self.made: dict[str, tuple[str, str]] = {}

    def _signal(self, prefix: str, width: int = 1, **options) -> Signal:
        self._names += 1
        return Signal(width, name=f"{prefix}{self._names}", **options)

    def emit(self, m: Module) -> None:
        m.d.comb += self._comb
        if self._registers:
            with m.If(self.enable):
                m.d.sync += self._registers
        for index, instance in enumerate(self._instances):
            m.submodules[f"cell_{index}"] = instance

    def name(self, value: Value) -> Signal:
        """A signal that is ``value``: an expression used twice would be built twice."""
        signal = self._signal("v", len(value))
        self._comb.append(signal.eq(value))
        return signal

    def at(self, wire: Wire, stage: int) -> Value:
        """The value of ``wire`` as it is at ``stage``, which is not before its own."""
        assert stage >= wire.stage, f"stage {stage} is before {wire.stage}"
        value = wire.value
        if isinstance(value, Const):
            return value
        for now in range(wire.stage + 1, stage + 1):
            if (wire, now) not in self._delayed:
                register = self._signal("r", len(value), reset_less=True)
                self._registers.append(register.eq(value))
                self._delayed[wire, now] = register
            value = self._delayed[wire, now]
        return value

    def register(self, wire: Wire) -> Wire:
        """The wire one stage later."""
        return Wire(self.at(wire, wire.stage + 1), wire.stage + 1)

    def align(self, wires: list[Wire], every: int = 0) -> tuple[list[Value], int, int]:
        """Values of ``wires`` at one stage, that stage, and the level of a cell that takes them.

        With ``every`` above 0 a register goes in front of the cell that would be one deeper.
        """
        stage = max(w.stage for w in wires)
        level = 1 + max(w.level for w in wires if w.stage == stage)
        if every and level > every:
            stage, level = stage + 1, 1
        return [self.at(w, stage) for w in wires], stage, level

    def lut(self, table: int, pins: list[Wire | None], every: int = 0) -> Wire:
        """``table >> sum_i pins[i] << i``, one bit; a pin that is None is 0."""
        pins = list(pins)
        for index in reversed(range(len(pins))):  # constants are not wired to cells
            pin = pins[index]
            if pin is not None and isinstance(pin.value, Const):
                table = halves(table, len(pins), index)[pin.value.value]
                pins = pins[:index] + pins[index + 1:]
        table, pins = reduce_table(table, pins)
        if not pins:
            return Wire(Const(table, 1))
        if len(pins) == 1 and table == 0b10:
            return pins[0]
        key = (table, *pins, every)
        if key not in self._shared:
            values, stage, level = self.align(pins, every)
            self._shared[key] = Wire(self._cell(table, values), stage, level)
        return self._shared[key]

    def _cell(self, table: int, values: list[Value]) -> Value:
        if self.tables == "rtl":
            return self.name(Const(table, 1 << len(values)).bit_select(Cat(values), 1))
        if len(values) > FABRIC_INPUTS[self.fabric]:
            return self._halves(table, values)
        if not values:
            return Const(table, 1)
        if len(values) == 1 and table == 0b10:
            return values[0]
        out = self._signal("t")
        self.made[out.name] = (f"cell_{len(self._instances)}", "O")
        self._instances.append(_PRIMITIVES[self.fabric](table, values, out))
        return out

    def _halves(self, table: int, values: list[Value]) -> Value:
        """A table that is too wide: two halves and a choice, by the input that costs least."""
        _, index = split_cost(table, len(values))
        low, high = halves(table, len(values), index)
        rest = values[:index] + values[index + 1:]
        low, high = (self._cell(*reduce_table(part, rest)) for part in (low, high))
        if self.fabric == "xc7":
            return self._fit(0b11001010, [low, high, values[index]])
        return self.name(Mux(values[index], high, low))

    def add(self, rows: list[tuple[Wire | None, Wire | Table | None]], carry: Wire | None = None,
            every: int = 0) -> list[Wire]:
        """``carry + sum_k (a_k + f_k) << k`` for rows ``(a_k, f_k)``: len(rows) + 1 bits.

        With ``cells`` on the 7-series it is a chain of CARRY4, whose sum table takes f_k in, so
        that a :class:`Table` of up to 5 inputs costs nothing; else it is a plain adder.
        """
        tables = [f if isinstance(f, Table) or f is None else Table(0b10, (f,)) for _, f in rows]
        tables = [t and Table(*reduce_table(t.table, t.pins)) for t in tables]
        given = [a for a, _ in rows if a is not None] + ([carry] if carry else [])
        given += [pin for t in tables if t for pin in t.pins]
        values, stage, level = self.align(given, every)
        value = dict(zip(map(id, given), values))
        first = value[id(carry)] if carry else Const(0, 1)
        a = [Const(0, 1) if w is None else value[id(w)] for w, _ in rows]
        pins = [[value[id(pin)] for pin in t.pins] if t else [] for t in tables]
        words = [t.table if t else 0 for t in tables]
        if self.tables == "rtl" or self.fabric != "xc7":
            f = [self._cell(word, p) if p else Const(word, 1) for word, p in zip(words, pins)]
            total = self.name(Cat(a) + Cat(f) + first)[:len(rows) + 1]
        else:
            total = self._carry_chain(a, words, pins, first)
        return [Wire(bit, stage, level) for bit in total]

    def greater(self, a: list[Value], b: list[Value]) -> Value:
        """``a > b``, unsigned, bits lowest first.

        With ``cells`` on the 7-series it is a carry chain whose cells compare three bits (two
        tables; one for the lowest three, and for a single bit), else gates.
        """
        if self.tables == "rtl" or self.fabric != "xc7":
            result: Value = Const(0, 1)
            for x, y in zip(a, b):
                result = (x & ~y) | (~(x ^ y) & result)
            return self.name(result)
        select, direct = [], []
        first = 0
        while first < len(a):
            size = 3 if first == 0 or len(a) - first >= 3 else 1
            x, y = a[first:first + size], b[first:first + size]
            size = len(x)
            pairs = [(p & (1 << size) - 1, p >> size) for p in range(1 << 2 * size)]
            more = sum((i > j) << p for p, (i, j) in enumerate(pairs))
            same = sum((i == j) << p for p, (i, j) in enumerate(pairs))
            select.append(self._fit(more if first == 0 else same, [*x, *y]))
            direct.append(Const(0, 1) if first == 0 else x[0] if size == 1
                          else self._fit(more, [*x, *y]))
            first += size
        return self._carry4(select, direct, Const(1, 1))[1]

    def _fit(self, table: int, values: list[Value]) -> Value:
        """A table whose constant inputs are taken out."""
        for index, value in reversed(list(enumerate(values))):
            if isinstance(value, Const):
                table = sum((table >> (a & (1 << index) - 1 | value.value << index
                                       | a >> index << index + 1) & 1) << a
                            for a in range(1 << len(values) - 1))
                values = values[:index] + values[index + 1:]
        table, values = reduce_table(table, values)
        return self._cell(table, values) if values else Const(table, 1)

    def _carry_chain(self, a, words, pins, carry) -> list[Value]:
        select = []
        for direct, word, inputs in zip(a, words, pins):
            # direct ^ f: the table, then its complement
            size = 1 << len(inputs)
            both = word | (~word & (1 << size) - 1) << size
            select.append(self._fit(both, [*inputs, direct]))
        out, over = self._carry4(select, a, carry)
        return [*out, over]

    def _carry4(self, select, direct, carry) -> tuple[list[Value], Value]:
        """Sums and last carry of a chain: ``carry = select ? carry : direct``."""
        total = []
        for k in range(0, len(select), 4):
            part = slice(k, min(k + 4, len(select)))
            size = part.stop - k
            pad = [Const(0, 1)] * (4 - size)
            out, over = self._signal("sum", 4), self._signal("over", 4)
            ports = {"i_CYINIT": carry, "i_CI": Const(0, 1)} if k == 0 else \
                {"i_CYINIT": Const(0, 1), "i_CI": carry}
            cell = f"cell_{len(self._instances)}"
            self.made |= {out.name: (cell, "O"), over.name: (cell, "CO")}
            self._instances.append(Instance(
                "CARRY4", i_S=Cat(*select[part], *pad), i_DI=Cat(*direct[part], *pad),
                o_O=out, o_CO=over, **ports))
            total += list(out[:size])
            carry = over[size - 1]
        return total, carry
