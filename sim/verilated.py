"""The fast engine: the Verilog of a design as a native library, driven with NumPy arrays.

The text goes through Verilator and g++ once; the library is kept in a cache under the hash of all
that went in (``$NPUGEN_CACHE``, or ``~/.cache/npugen``), so a second run starts at once.
"""

import ctypes
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.lib import wiring

from hw.cache import cached_dir
from hw.verilog import to_verilog
from sim.tools import (
    NATIVE,
    OPTIMISE,
    compile_parts,
    link,
    runtime_objects,
    units,
    verilate,
    versions,
)

__all__ = ["Engine", "Port", "StreamError", "StreamRun", "StreamTimeout", "storage"]


@dataclass(frozen=True)
class Port:
    name: str
    width: int
    is_input: bool
    index: int

    @property
    def words(self) -> int:
        """64-bit words of one value."""
        return -(-self.width // 64)


@dataclass(frozen=True)
class StreamRun:
    """What went through the streams of one run.

    ``outputs``: beats taken from each output stream; ``cycles``: for every stream the cycle of
    each transfer, counted from the start of the run; ``total``: cycles run.
    """

    outputs: dict[str, np.ndarray]
    cycles: dict[str, np.ndarray]
    total: int


class StreamError(Exception):
    """An output stream broke the stream rules. ``run`` holds what went through before."""

    def __init__(self, message: str, run: StreamRun):
        super().__init__(message)
        self.run = run


class StreamTimeout(StreamError):
    """Not all beats went through in time. ``run`` holds those that did."""


class _Column(ctypes.Structure):
    _fields_ = [("port", ctypes.c_int32), ("row_bytes", ctypes.c_uint32),
                ("data", ctypes.c_void_p)]


class _Stream(ctypes.Structure):
    _fields_ = [("is_input", ctypes.c_int32), ("payload", ctypes.c_int32),
                ("valid", ctypes.c_int32), ("ready", ctypes.c_int32),
                ("row_bytes", ctypes.c_uint32), ("stall", ctypes.c_uint32),
                ("seed", ctypes.c_uint64), ("count", ctypes.c_int64),
                ("data", ctypes.c_void_p), ("cycles", ctypes.c_void_p),
                ("done", ctypes.c_int64)]


_BROKEN = {2: "took back a beat that nobody had taken",
           3: "changed a beat while it waited",
           4: "offers more beats than the {count} asked for"}


def storage(width: int) -> type[np.unsignedinteger]:
    """Smallest unsigned type that holds ``width`` bits; above 64, the type of the words."""
    for bits, dtype in ((8, np.uint8), (16, np.uint16), (32, np.uint32)):
        if width <= bits:
            return dtype
    return np.uint64


class Engine:
    """One simulated instance of a design, clocked by ``clk``.

    Parameters
    ----------
    design : :class:`wiring.Component` or :class:`str`
        A component, or the text of a Verilog module.
    name : :class:`str`
        Name of the module.
    trace : path or ``None``
        File to write waveforms to (FST), from the first cycle on; two time units are a cycle.
    extra : sequence of :class:`str`
        Further C++ of ``sim/native`` that drives this design, compiled behind the harness in this
        order.

    Values are Python integers, arrays hold one value per row: up to 64 bits a one-dimensional
    array of any integer type, wider ones a ``uint64`` array of shape (rows, words), the least
    significant word first. Signed values may be given as such; what comes back is unsigned.

    The simulation has two states per bit: what Verilog leaves unknown is 0. It starts with the
    initial values of all registers and memories, and all inputs 0.
    """

    def __init__(self, design: wiring.Component | str, name: str = "top", *,
                 trace: str | Path | None = None, extra: Sequence[str] = ()):
        self._handle = None
        verilog = design if isinstance(design, str) else to_verilog(design, name)
        self.name = name
        self.library = _library(verilog, name, trace is not None, extra)
        self._trace = None if trace is None else Path(trace)
        self._lib = _load(self.library)
        self.ports = {}
        for index in range(self._lib.npu_port_count()):
            port = Port(self._lib.npu_port_name(index).decode(), self._lib.npu_port_width(index),
                        bool(self._lib.npu_port_is_input(index)), index)
            self.ports[port.name] = port
        self.restart()

    def restart(self) -> None:
        """Power off and on: initial values everywhere, memories too, all inputs 0."""
        self.close()
        if self._trace is not None:
            self._trace.parent.mkdir(parents=True, exist_ok=True)
        self._handle = self._lib.npu_new(self._trace and str(self._trace).encode())

    def close(self) -> None:
        """End the simulation; a waveform is complete after it."""
        if self._handle:
            self._lib.npu_delete(self._handle)
            self._handle = None

    def __del__(self):
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def reset(self, cycles: int = 1) -> None:
        """Hold ``rst`` for ``cycles`` cycles; the other inputs stay as they are."""
        if "rst" in self.ports:
            self.set("rst", 1)
            self.step(cycles)
            self.set("rst", 0)

    def step(self, cycles: int = 1) -> None:
        """Run ``cycles`` clock cycles with the inputs as they are."""
        self._lib.npu_step(self._handle, cycles)

    def set(self, name: str, value: int) -> None:
        """Drive input ``name``; a negative value is taken as two's complement."""
        port = self._port(name, is_input=True)
        if not -(1 << port.width - 1) <= value < 1 << port.width:
            raise ValueError(f"{name} must fit {port.width} bits, not {value!r}")
        raw = (value & (1 << port.width) - 1).to_bytes(port.words * 8, "little")
        self._lib.npu_set(self._handle, port.index, raw, len(raw))

    def get(self, name: str) -> int:
        """Value of a port, with everything settled before the next clock edge."""
        port = self._port(name)
        raw = ctypes.create_string_buffer(port.words * 8)
        self._lib.npu_get(self._handle, port.index, raw, len(raw))
        return int.from_bytes(raw.raw, "little")

    def memory(self, name: str) -> np.ndarray:
        """The rows of a memory as they are now, bytes of shape (depth, bytes of a row).

        ``name`` is the path of the instance below the top, with dots: ``"buffer.bank_0"``. Memories
        that nothing depends on are not there.
        """
        names = [self._lib.npu_memory_name(index).decode()
                 for index in range(self._lib.npu_memory_count())]
        if name not in names:
            raise ValueError(f"name must be a memory of {self.name} ({', '.join(names)}), "
                             f"not {name!r}")
        index = names.index(name)
        rows = np.zeros((self._lib.npu_memory_depth(index), self._lib.npu_memory_bytes(index)),
                        np.uint8)
        self._lib.npu_memory_get(self._handle, index, rows.ctypes.data)
        return rows

    # Rows ---------------------------------------------------------------------------------------

    def pipe(self, inputs: Mapping[str, np.ndarray], outputs: Iterable[str], *,
             latency: int = 0) -> dict[str, np.ndarray]:
        """Drive one row of ``inputs`` per cycle; row n of an output is seen ``latency`` cycles
        after row n of the inputs was driven, so 0 fits a circuit without registers.
        """
        rows = {name: _rows(name, self._port(name, is_input=True), array)
                for name, array in inputs.items()}
        lengths = {len(array) for array in rows.values()}
        if len(lengths) != 1:
            raise ValueError(f"inputs must have one length, not {sorted(lengths)!r}")
        if latency < 0:
            raise ValueError(f"latency must be at least 0, not {latency!r}")
        count = lengths.pop()
        results = {name: _empty(self._port(name), count) for name in outputs}
        ins, outs = ((_Column * len(arrays))(*(
            (self.ports[name].index, array.itemsize * array[0:1].size, array.ctypes.data)
            for name, array in arrays.items())) for arrays in (rows, results))
        if count:
            self._lib.npu_pipe(self._handle, count, latency, len(ins), ins, len(outs), outs)
        return results

    # Streams ------------------------------------------------------------------------------------

    def run_streams(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, int], *,
                    stall: float | Mapping[str, float] = 0.0, seed: int = 0,
                    timeout: int = 1_000_000, linger: int = 0) -> StreamRun:
        """Send ``inputs`` into the streams of those names and take ``outputs[name]`` beats.

        Each stream pauses with probability ``stall`` in a cycle (one number for all, or by name;
        a name left out does not pause), drawn from ``seed`` and its name: an input that is not
        offering a beat waits before it offers the next, an output is not ready. While an input
        offers nothing, its payload is noise. The run ends when all beats went through, and then
        ``linger`` cycles more, in which no output may offer another one.

        Raises :class:`StreamTimeout` after ``timeout`` cycles, :class:`StreamError` when an output
        takes back or changes a beat that waits, or offers more than asked for (if ``linger``).
        """
        names = [*inputs, *outputs]
        pauses = stall if isinstance(stall, Mapping) else dict.fromkeys(names, stall)
        streams, keep, results = (_Stream * len(names))(), [], {}
        for stream, name in zip(streams, names):
            is_input = name in inputs
            payload = self._port(f"{name}__payload", is_input=is_input)
            if is_input:
                data = _rows(name, payload, inputs[name])
                self._port(f"{name}__valid", is_input=True)
                count = len(data)
            else:
                count = outputs[name]
                data = results[name] = _empty(payload, count)
            if not 0 <= pauses.get(name, 0.0) < 1:
                raise ValueError(f"stall must be at least 0 and below 1, not {pauses[name]!r}")
            cycles = np.zeros(count, np.int64)
            keep.append((data, cycles))
            valid, ready = (self.ports[port].index if port in self.ports else -1
                            for port in (f"{name}__valid", f"{name}__ready"))
            (stream.is_input, stream.payload, stream.valid, stream.ready, stream.row_bytes,
             stream.stall, stream.seed, stream.count, stream.data, stream.cycles) = (
                is_input, payload.index, valid, ready,
                data.itemsize * (data.shape[1] if data.ndim == 2 else 1),
                int(pauses.get(name, 0.0) * (2**32 - 1)), zlib.crc32(f"{name} {seed}".encode()),
                count, data.ctypes.data, cycles.ctypes.data)
        total, which = ctypes.c_int64(), ctypes.c_int()
        code = self._lib.npu_streams(self._handle, len(names), streams, timeout, linger,
                                     ctypes.byref(total), ctypes.byref(which))
        run = StreamRun({name: results[name][:stream.done]
                         for stream, name in zip(streams, names) if name in results},
                        {name: cycles[:stream.done]
                         for stream, name, (_, cycles) in zip(streams, names, keep)},
                        total.value)
        if code == 1:
            progress = ", ".join(f"{name} {stream.done} of {stream.count} beats"
                                 for stream, name in zip(streams, names))
            raise StreamTimeout(f"{self.name}: after {timeout} cycles: {progress}", run)
        if code:
            said = _BROKEN[code].format(count=streams[which.value].count)
            raise StreamError(f"{self.name}: cycle {total.value - 1}: {names[which.value]} {said}",
                              run)
        return run

    def _port(self, name: str, *, is_input: bool | None = None) -> Port:
        port = self.ports.get(name)
        if port is None or (is_input is not None and port.is_input is not is_input):
            kind = {None: "port", True: "input", False: "output"}[is_input]
            known = ", ".join(sorted(p.name for p in self.ports.values()
                                     if is_input is None or p.is_input is is_input))
            raise ValueError(f"name must be an {kind}".replace("an port", "a port")
                             + f" of {self.name} ({known}), not {name!r}")
        return port


# Arrays -----------------------------------------------------------------------------------------

def _empty(port: Port, count: int) -> np.ndarray:
    shape = count if port.words == 1 else (count, port.words)
    return np.zeros(shape, storage(port.width))


def _rows(name: str, port: Port, array) -> np.ndarray:
    """``array`` as contiguous rows that the harness can copy from."""
    array = np.asarray(array)
    if port.words > 1:
        if array.dtype != np.uint64 or array.ndim != 2 or array.shape[1] != port.words:
            raise ValueError(f"{name} must be a uint64 array of shape (rows, {port.words}), "
                             f"not {array.dtype} {array.shape!r}")
        return np.ascontiguousarray(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"{name} must be a one-dimensional array of integers, "
                         f"not {array.dtype} {array.shape!r}")
    if array.size and (array.itemsize * 8 > port.width or array.dtype.kind == "i"):
        low, high = int(array.min()), int(array.max())
        if low < -(1 << port.width - 1) or high >= 1 << port.width:
            wrong = low if low < -(1 << port.width - 1) else high
            raise ValueError(f"{name} must fit {port.width} bits, not {wrong}")
    return np.ascontiguousarray(array.astype(storage(port.width), copy=False))


# Build ------------------------------------------------------------------------------------------

_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W|)\(&(\w+),(\d+),(\d+)(?:,\d+)?\)")


def _port_table(header: str) -> str:
    """The ports that Verilator declared, as the harness wants them."""
    rows = []
    for direction, field, high, low in _PORT.findall(header):
        name = re.sub(r"__0([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), field)
        rows.append(f'    {{"{name}", {int(high) - int(low) + 1}, {int(direction == "IN")}, '
                    f'[](Vtop& t) -> void* {{ return &t.{field}; }}}},\n')
    return f"const PortInfo kPorts[] = {{\n{''.join(rows)}}};\n"


_MEMORY = re.compile(r"VlUnpacked<\w+(?:<\d+>)?/\*(\d+):0\*/, (\d+)> (\w+__DOT__\w+);")


def _memory_table(header: str) -> str:
    """The memories that Verilator kept."""
    rows = []
    for high, depth, field in _MEMORY.findall(header):
        name = ".".join(field.split("__DOT__")[1:])
        name = re.sub(r"__0([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), name)
        rows.append(f'    {{"{name}", {int(high) // 8 + 1}, {depth}, '
                    f'sizeof(Vtop___024root::{field}) / {depth}, '
                    f'[](Vtop& t) -> void* {{ return &t.rootp->{field}; }}}},\n')
    return f"const MemoryInfo kMemories[] = {{\n{''.join(rows)}    {{nullptr}}}};\n"


def _library(verilog: str, name: str, trace: bool, extra: Sequence[str]) -> Path:
    """The shared library of one module, from the cache or built."""
    harness = "".join((NATIVE / part).read_text() for part in ("harness.cpp", *extra))
    options = ["-O3", "--output-split", "20000"] + ["--trace-fst"] * trace

    def make(folder: Path) -> None:
        verilate(verilog, name, folder, *options)
        (folder / "ports.inc").write_text(
            _port_table((folder / "Vtop.h").read_text())
            + _memory_table((folder / "Vtop___024root.h").read_text()))
        (folder / "harness.cpp").write_text(harness)
        objects = compile_parts(units(folder, folder / "harness.cpp"), folder, trace=trace)
        runtime = runtime_objects("verilated.cpp", "verilated_threads.cpp",
                                  *["verilated_fst_c.cpp"] * trace, trace=trace)
        link([*objects, *runtime], "model.so", folder, "-shared")
        for path in folder.iterdir():
            if path.name not in ("model.so", f"{name}.sv"):
                path.unlink()

    return cached_dir("engine", versions(), verilog, name, harness, options, OPTIMISE,
                      make=make) / "model.so"


def _load(path: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(path))
    pointer, integer, wide = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    lib.npu_port_name.restype = ctypes.c_char_p
    lib.npu_new.restype, lib.npu_new.argtypes = pointer, [ctypes.c_char_p]
    lib.npu_delete.argtypes = [pointer]
    lib.npu_set.argtypes = [pointer, integer, pointer, ctypes.c_uint32]
    lib.npu_get.argtypes = [pointer, integer, pointer, ctypes.c_uint32]
    lib.npu_memory_name.restype = ctypes.c_char_p
    lib.npu_memory_get.argtypes = [pointer, integer, pointer]
    lib.npu_step.argtypes = [pointer, ctypes.c_uint64]
    lib.npu_pipe.argtypes = [pointer, wide, wide, integer, pointer, integer, pointer]
    lib.npu_streams.argtypes = [pointer, integer, pointer, wide, wide, pointer, pointer]
    return lib
