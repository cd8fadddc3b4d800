"""The host's driver: ``python -m boards.host URL run MODEL --input x.npy``, ``selftest MODEL``,
``info``, ``counters``.

:func:`connect` opens a board by URL: ``serial:///dev/ttyUSB1``, ``socket://localhost:5000`` (a
simulated board), ``sim:vta?preset=block8&board=ulx3s_85f`` (the same in this process: any design
and its options, ``board``, ``baud`` and ``memory``), or ``model:vta?preset=block4`` (NumPy; also
``memory``). It reads what is there before anything else is done.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from boards.link import Link, LinkError
from boards.shell import BAUD, ENGINE, IDENTITY, SHELL, shell_map
from boards.streams import IDENTITY as STREAMS
from hw.bus.protocol import VERSION
from hw.options import Parser, command
from hw.tools import require
from hw.vta.config import VtaConfig, preset
from hw.vta.isa import Fault
from hw.vta.registers import IDENTITY as VTA
from hw.vta.registers import register_map

__all__ = ["SLOW", "Host", "StreamHost", "VtaHost", "connect"]


class Host:
    """A board: its shell's constants, and its memory."""

    def __init__(self, link: Link):
        self.link = link
        shell = shell_map()
        first = min(register.offset for register in shell.values())
        values = link.read_registers(SHELL + first, len(shell))
        self.shell = {name: values[register.offset // 4] for name, register in shell.items()}
        if self.shell["identity"] != IDENTITY:
            raise LinkError(f"the board must have this project's shell ({IDENTITY:#x}), "
                            f"not {self.shell['identity']:#x}")
        if self.shell["version"] != VERSION:
            raise LinkError(f"the board's shell must have version {VERSION}, "
                            f"not {self.shell['version']}")

    def write(self, address: int, data: np.ndarray) -> None:
        """Any array to memory, from a multiple of 4 on; filled with zeros to whole words."""
        raw = np.ascontiguousarray(data).tobytes()
        words = np.frombuffer(raw + bytes(-len(raw) % 4), "<u4")
        if address + 4 * len(words) > self.shell["memory_bytes"]:
            raise ValueError(f"data must end within the board's {self.shell['memory_bytes']} bytes "
                             f"of memory, not at {address + 4 * len(words):#x}")
        self.link.write(address, words)

    def read(self, address: int, count: int) -> np.ndarray:
        """``count`` bytes of memory, from a multiple of 4 on."""
        return self.link.read(address, -(-count // 4)).view(np.uint8)[:count]

    def close(self) -> None:
        close = getattr(self.link.port, "close", None)
        if close:
            close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class VtaHost(Host):
    """A board with a VTA core; ``config`` is what the core says of itself."""

    def __init__(self, link: Link):
        super().__init__(link)
        at = register_map(VtaConfig())  # as far as it is the same for all configurations
        names = [name for name in at if name.startswith("config_")]
        first = at[names[0]].offset
        values = link.read_registers(ENGINE + first, len(names))
        self.config = VtaConfig.from_dict({name.removeprefix("config_").upper(): value
                                           for name, value in zip(names, values)})
        self.registers = register_map(self.config)
        told = self.read_register("fingerprint")
        if told != self.config.fingerprint:
            raise LinkError(f"the core's fingerprint must be {self.config.fingerprint:#x}, which "
                            f"follows from its configuration, not {told:#x}")

    def read_register(self, name: str) -> int:
        """A register of the core by name."""
        return self.link.read_register(ENGINE + self.registers[name].offset)

    def read_registers(self, names: Iterable[str]) -> dict[str, int]:
        """Registers of the core by name; those that follow each other in one go."""
        at = {self.registers[name].offset: name for name in names}
        values: dict[str, int] = {}
        for first in at:
            if first - 4 in at:
                continue
            count = next(n for n in itertools.count() if first + 4 * n not in at)
            values |= {at[first + 4 * n]: value for n, value in enumerate(
                self.link.read_registers(ENGINE + first, count))}
        return values

    def write_register(self, name: str, value: int) -> None:
        """Write a register of the core by name."""
        self.link.write_register(ENGINE + self.registers[name].offset, value)

    def check(self, fingerprint: int) -> None:
        """Refuse a program that was made for another configuration."""
        if fingerprint != self.config.fingerprint:
            raise ValueError(f"the program must be made for this core "
                             f"({self.config.fingerprint:#010x}), not for {fingerprint:#010x}")

    def execute(self, insn_addr: int, insn_count: int, *, bases: dict[str, int] | None = None,
                timeout: float = 60.0) -> Fault:
        """Run a program that is in memory; returns how it ended.

        ``bases``: base registers of ``uop``, ``inp``, ``wgt``, ``acc``, ``out`` in bytes. Raises
        :class:`LinkError` after ``timeout`` seconds.
        """
        values = {"insn_count": insn_count, "insn_base": insn_addr}
        values |= {f"{name}_base": address for name, address in (bases or {}).items()}
        first, last = (self.registers[name].offset for name in ("insn_count", "out_base"))
        self.link.write_registers(ENGINE + first, [
            values.get(name, 0) for name, register in self.registers.items()
            if first <= register.offset <= last])
        self.write_register("control", 1)
        limit = time.monotonic() + timeout
        while not self.read_register("control") & 2:
            if time.monotonic() > limit:
                raise LinkError(f"the core was still running after {timeout:g} s")
        return Fault(self.read_register("status") & 15)

    def reset(self) -> None:
        """After an error: start clean."""
        self.write_register("reset", 1)

    def counters(self) -> dict[str, int]:
        """All registers that count, by name."""
        return self.read_registers(
            name for name, register in self.registers.items()
            if register.access == "r" and not name.startswith("config_")
            and name not in ("identity", "version", "fingerprint", "status", "error_insn"))


class StreamHost(Host):
    """A board with an engine made of streams; they are told apart by their number."""

    def send(self, stream: int, beat: int, width: int, *, polls: int = 1000) -> None:
        """Offer one beat of ``width`` bits, when the one before it was taken."""
        base = ENGINE + 0x100 * (stream + 1)
        if not any(not self.link.read_register(base + 0xfc) & 1 for _ in range(polls)):
            raise LinkError(f"stream {stream} took nothing in {polls} looks")
        words = [beat >> 32 * n & 0xffff_ffff for n in range(max(1, -(-width // 32)))]
        self.link.write_registers(base, words)

    def receive(self, stream: int, width: int, *, polls: int = 1000) -> int:
        """The next beat of ``width`` bits."""
        base = ENGINE + 0x100 * (stream + 1)
        for _ in range(polls):
            if self.link.read_register(base + 0xfc) & 1:
                words = self.link.read_registers(base, max(1, -(-width // 32)))
                self.link.write_register(base + 0xfc, 0)
                return sum(word << 32 * n for n, word in enumerate(words)) & (1 << width) - 1
        raise LinkError(f"stream {stream} gave nothing after {polls} looks")


SLOW = 20.0  # seconds: a board that is simulated is some hundred times slower than one
_ENGINES = {VTA: VtaHost, STREAMS: StreamHost}
_IDENTITIES = (0x100, 0)  # where engines say what they are


def connect(url: str, *, baud: int = BAUD, timeout: float | None = None) -> Any:
    """The board behind ``url``, as :class:`VtaHost`, :class:`StreamHost`, or :class:`Host` if its
    engine is another one.

    ``timeout``: of a :class:`Link`; 0.25 s, or :data:`SLOW` for a simulated board.
    """
    if timeout is None:
        timeout = SLOW if url.startswith(("socket:", "sim:")) else 0.25
    link = Link(_port(url, baud), timeout=timeout, baud=baud)
    kinds = [_ENGINES.get(link.read_register(ENGINE + offset)) for offset in _IDENTITIES]
    return next((kind for kind in kinds if kind), Host)(link)


def _port(url: str, baud: int) -> Any:
    scheme, _, rest = url.partition(":")
    if scheme in _MADE:
        name, _, text = rest.partition("?")
        return _MADE[scheme](name, dict(part.partition("=")[::2] for part in text.split("&")
                                        if part))
    require("serial", "pyserial", "boards")
    import serial

    if scheme not in ("serial", "socket"):
        raise ValueError(f"url must begin with serial:, socket:, {':, '.join(_MADE)}:, not {url!r}")
    try:
        return serial.serial_for_url(rest[2:] if scheme == "serial" else url, baudrate=baud)
    except serial.SerialException as error:
        raise LinkError(f"cannot open {url!r}: {error}") from None


def _configuration(name: str, options: dict[str, str]) -> tuple[Any, Any]:
    """A design of `hw.build` and its configuration."""
    from hw.build import DESIGNS

    if name not in DESIGNS:
        raise ValueError(f"url must name one of {', '.join(DESIGNS)}, not {name!r}")
    design = DESIGNS[name]
    types = {each.name: type(each.default) for each in fields(design.config)}
    if unknown := set(options) - set(types):
        raise ValueError(f"options of {name} must be of {', '.join(types)}, "
                         f"not {', '.join(sorted(unknown))}")
    return design, design.config(**{key: types[key](value) for key, value in options.items()})


def _simulated(name: str, options: dict[str, str]) -> Any:
    from boards.simulated import SimulatedBoard, of_board

    board = of_board(options.pop("board")) if "board" in options else {}
    numbers = _numbers(options, "baud", "memory")
    board |= numbers | ({"sdram": ""} if "memory" in numbers else {})
    design, config = _configuration(name, options)
    return SimulatedBoard(design.make(config), asdict(config), **board)


def _model(name: str, options: dict[str, str]) -> Any:
    from boards.model import ModelBoard

    if name != "vta":
        raise ValueError(f"url must be model:vta, the design with a board of models, not {name!r}")
    memory = _numbers(options, "memory")
    _, config = _configuration(name, options)
    return ModelBoard(preset(config.preset), **memory)


def _numbers(options: dict[str, str], *names: str) -> dict[str, int]:
    """Those of ``names`` that are among the options, which then are not any more."""
    found = {name: options.pop(name) for name in names if name in options}
    for name, text in found.items():
        if not text.isdecimal():
            raise ValueError(f"{name} must be a whole number, not {text!r}")
    return {name: int(text) for name, text in found.items()}


# Boards that are made here; they need what a real board does not.
_MADE = {"sim": _simulated, "model": _model}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m boards.host", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--timeout", type=float, help="seconds of silence after which a frame is "
                        f"sent again (default: 0.25; {SLOW:g} for simulated boards)")
    actions = parser.add_subparsers(dest="action", required=True, parser_class=Parser)
    actions.add_parser("info", help="what the board is")
    actions.add_parser("counters", help="the counters of a VTA core")
    run = actions.add_parser("run", help="compile a model for the board's core, and run it there")
    run.add_argument("--input", required=True, help="samples (.npy, or .npz by name)")
    run.add_argument("--output", help="file for the results (.npy)")
    run.add_argument("--compare", action="store_true", help="with the instruction-set simulator, "
                     "byte by byte; exit code 1 if any differs")
    selftest = actions.add_parser("selftest", help="run a model layer by layer, and name the first "
                                  "layer whose result is not the golden model's; exit code 1")
    selftest.add_argument("--input", help="samples (.npy, or .npz by name; default: a random one)")
    for each in (run, selftest):
        each.add_argument("model", help="ONNX or TFLite file")
        each.add_argument("--calibration", default="", metavar="FILE", help=".npy or .npz with "
                          "inputs to quantise a float model with")
        each.set_defaults(dim=[], seed=0, unchecked=False)
    program = actions.add_parser("program", help="run a VTA program on a memory image")
    program.add_argument("image", help="file of the memory, from address 0 on")
    program.add_argument("--insn-addr", type=lambda text: int(text, 0), default=0)
    program.add_argument("--insn-count", type=int, required=True)
    program.add_argument("--fingerprint", type=lambda text: int(text, 0),
                         help="of the configuration the program was made for")
    program.add_argument("--output", help="file for the memory afterwards")
    options: argparse.Namespace = parser.parse_args(argv)
    with connect(options.url, timeout=options.timeout) as host:
        if options.action == "info":
            print(json.dumps({"engine": type(host).__name__.removesuffix("Host").lower()}
                             | host.shell
                             | ({"config": host.config.to_dict()}
                                if isinstance(host, VtaHost) else {})))
            return 0
        if not isinstance(host, VtaHost):
            raise ValueError(f"url must be that of a board with a VTA core, not {options.url!r}")
        if options.action == "counters":
            print(json.dumps(host.counters()))
            return 0
        return {"run": _run, "selftest": _selftest, "program": _program}[options.action](
            host, options)


def _front(options: argparse.Namespace) -> Any:
    """The model as the compiler sees it; the compiler is not needed for the rest of this file."""
    require("onnx", "onnx", "compile")
    from hw.compiler.commands.check import load

    return load(options)


def _samples(path: str) -> Any:
    """An array, or arrays by name."""
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(f"input must be an .npy or .npz file of numbers, not {path!r}") from None
    return found if isinstance(found, np.ndarray) else dict(found)


def _run(host: VtaHost, options: argparse.Namespace) -> int:
    """A network, on the board."""
    from boards.engine import BoardEngine
    from hw.compiler.api import compile

    samples, front = _samples(options.input), _front(options)
    model = compile(front, host.config, name=Path(options.model).stem)
    started = time.monotonic()
    sent = host.link.tally.bytes_out
    results = model.run(samples, engine=BoardEngine(host))
    seconds = time.monotonic() - started
    if not isinstance(results, np.ndarray):
        raise ValueError(f"model must have one output, not {', '.join(results)}")
    if options.output:
        np.save(options.output, results)
    said = {"model": model.name, "samples": len(results), "cycles": model.cycles,
            "labels": results.reshape(len(results), -1).argmax(1).tolist(),
            "image_bytes": len(model.program.image), "bytes_sent": host.link.tally.bytes_out - sent,
            "seconds": round(seconds, 2)}
    if options.compare:
        expected = model.run(samples)
        said["equal"] = expected.tobytes() == results.tobytes()
    print(json.dumps(said))
    return 0 if said.get("equal", True) else 1


def _selftest(host: VtaHost, options: argparse.Namespace) -> int:
    """A network layer by layer, against its golden model."""
    from boards.engine import BoardEngine
    from boards.selftest import selftest

    found = selftest(BoardEngine(host), _front(options),
                     _samples(options.input) if options.input else None)
    print(json.dumps(found))
    return 1 if found["first"] else 0


def _program(host: VtaHost, options: argparse.Namespace) -> int:
    """A memory image, on the board."""
    image = np.fromfile(options.image, np.uint8)
    if options.fingerprint is not None:
        host.check(options.fingerprint)
    host.write(0, image)
    ended = host.execute(options.insn_addr, options.insn_count)
    if options.output:
        host.read(0, len(image)).tofile(options.output)
    print(json.dumps({"status": ended.name, "cycles": host.read_register("cycles")}))
    return 0 if ended == Fault.DONE else 1


if __name__ == "__main__":
    command(main)()
