"""A simulated board: ``python -m boards.simulated DESIGN --board ulx3s_85f --port 5000``.

The complete shell (serial line bit by bit, bridge, engine, memory, and the SDRAM chip where the
board has one) runs in the native engine, and its line is a socket: ``socket://localhost:5000`` for
whatever opens ports by URL. Only this machine is listened to unless ``--listen`` names another
address.
"""

import contextlib
import ctypes
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from amaranth.lib import wiring

from boards.build import engine_of
from boards.shell import BAUD, Shell, ShellConfig
from boards.table import BOARDS, board_named
from hw.bus.uart import BITS, divisor_for
from hw.options import Parser, add_options, command, from_options
from hw.sdram import CHIPS
from hw.verilog import to_verilog
from sim.sdram import NATIVE_CHIP, SimulatedChip
from sim.verilated import Engine

__all__ = ["SimulatedBoard", "of_board", "serve", "served"]

_QUIET = 40  # times of a byte without one that end a run
_IDLE = 200_000  # cycles after the host's last byte; a dead bus is answered sooner


def of_board(name: str) -> dict[str, Any]:
    """Clock and memory of the board ``name``, for :class:`SimulatedBoard`."""
    board = board_named(name)
    return {name: getattr(board, name) for name in ("clock_hz", "memory", "single_port", "sdram")}


class SimulatedBoard:
    """A shell in the native engine, as a port: ``write``, ``read`` and ``timeout``.

    Time stands still while nothing is under way: the board runs while the line carries bytes, and
    then until it has been quiet for the time of 40 bytes, or of 2 once it has answered. ``read``
    without an answer runs it for ``patience`` cycles more, since an engine may still be at work.

    Parameters
    ----------
    component
        The engine, or what :func:`boards.build.engine_of` makes one of; ``values`` is its
        configuration.
    clock_hz, baud : number
        Of the shell. A bit of the line is simulated in ``clock_hz / baud`` cycles.
    memory : :class:`int`
        Bytes on chip, if there is no ``sdram``, the name of a chip; ``single_port`` is its kind.

    An SDRAM chip whose timing is violated is a :class:`sim.sdram.SdramError` of ``read``.
    """

    timeout: float | None = None
    patience = 20_000

    def __init__(self, component: wiring.Component, values=None, *, clock_hz: float = 12e6,
                 baud: int = BAUD, memory: int = 1 << 18, single_port: bool = False,
                 sdram: str = ""):
        engine, self.registers = engine_of(component, values or {})
        uses_memory = hasattr(engine, "m_axi")
        self.config = ShellConfig(clock_hz=clock_hz, baud=baud, memory=memory * uses_memory,
                                  single_port=single_port,
                                  sdram=sdram if uses_memory else "",
                                  cas=2 if clock_hz <= 100e6 else 3)
        self._drive(to_verilog(Shell(engine, self.config), "board"), divisor_for(clock_hz, baud))
        if self.config.sdram:
            self.chip = SimulatedChip(self.engine, "sdram__", CHIPS[self.config.sdram], clock_hz,
                                      self.config.cas)

    def _drive(self, verilog: str, divisor: int) -> None:
        """Have the module ``board``, with ``rx`` and ``tx``, in the engine."""
        self.engine = Engine(verilog, "board", extra=(NATIVE_CHIP, "serial.cpp"))
        self.divisor, self.chip = divisor, None
        self.engine.set("rx", 1)
        self.engine.reset(2)
        self.cycles = 0
        self._got, self._waiting = bytearray(), bytearray()
        self._room = np.zeros(1 << 16, np.uint8)
        self._run = self.engine._lib.npu_serial
        wide, pointer = ctypes.c_int64, ctypes.c_void_p
        self._run.restype = wide
        self._run.argtypes = [pointer, pointer, ctypes.c_int32, ctypes.c_int32, wide, pointer, wide,
                              pointer, wide, wide, pointer]

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def read(self, size: int) -> bytes:
        if not self._got:
            self.run(_QUIET * BITS * self.divisor)
        if not self._got and self.timeout:
            self.run(self.patience)
        data, self._got = bytes(self._got[:size]), self._got[size:]
        return data

    def run(self, quiet: int) -> None:
        """Send what was written, then go on until the line has been idle for ``quiet`` cycles."""
        waiting, cycles = bytes(self._waiting), ctypes.c_int64()
        self._waiting.clear()
        count = self._run(self.engine._handle, self.chip and self.chip.handle,
                          self.engine.ports["rx"].index, self.engine.ports["tx"].index,
                          self.divisor, waiting, len(waiting), self._room.ctypes.data,
                          len(self._room), quiet, ctypes.byref(cycles))
        if self.chip:
            self.chip.check()
        self.cycles += cycles.value
        self._got += self._room[:count].tobytes()


def serve(board: SimulatedBoard, server: socket.socket) -> None:
    """One host after the other, until the server is closed."""
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer, contextlib.suppress(ConnectionError):
            peer.settimeout(0.02)
            since = None  # when the host's last byte was in
            while True:
                try:
                    data = peer.recv(4096)
                    if not data:
                        break
                    board.write(data)
                    since = None
                except TimeoutError:
                    if since is not None and board.cycles - since > _IDLE:
                        continue  # time stands still
                while answer := board.read(4096):
                    peer.sendall(answer)
                since = board.cycles if since is None else since


@contextlib.contextmanager
def served(board: SimulatedBoard, address: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The URL of ``board`` while it is served by a thread."""
    with socket.create_server((address, port)) as server:
        thread = threading.Thread(target=serve, args=(board, server), daemon=True)
        thread.start()
        try:
            yield f"socket://{address}:{server.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def main(argv: Sequence[str] | None = None) -> int:
    from hw.build import DESIGNS  # an edge: the table of designs

    parser = Parser(prog="python -m boards.simulated", description=__doc__)
    parser.add_argument("design", choices=DESIGNS, metavar="DESIGN",
                        help=f"one of {', '.join(DESIGNS)}; its options follow")
    parser.add_argument("--port", type=int, default=5000, help="of the socket (default: 5000)")
    parser.add_argument("--listen", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--board", help="clock and memory of this board, its SDRAM chip included "
                        f"(one of {', '.join(BOARDS)}; default: 12 MHz, 256 KiB on chip)")
    parser.add_argument("--baud", type=int, default=BAUD, help="of the line (default: "
                        "%(default)s); a bit is simulated clock by clock, so more is faster")
    parser.add_argument("--memory", type=int, help="bytes, on chip")
    options, _ = parser.parse_known_args(argv)
    design = DESIGNS[options.design]
    add_options(parser.add_argument_group(f"options of {options.design}"), design.config)
    options = parser.parse_args(argv)
    if options.port not in range(65536):
        raise ValueError(f"port must be 0 to 65535, not {options.port}")
    shell = of_board(options.board) if options.board else {}
    if options.memory is not None:
        shell |= {"memory": options.memory, "sdram": ""}
    config = from_options(design.config, options)
    board = SimulatedBoard(design.make(config), asdict(config), baud=options.baud, **shell)
    with socket.create_server((options.listen, options.port)) as server:
        host, port = server.getsockname()[:2]
        print(f"socket://{host}:{port}", flush=True)
        serve(board, server)
    return 0


if __name__ == "__main__":
    command(main)()
