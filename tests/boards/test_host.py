# amaranth: UnusedElaboratable=no
"""The driver on simulated boards: the whole shell at bit level, behind a socket and in process."""

import contextlib
import json
import re

import numpy as np
import onnx
import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.engine import BoardEngine
from boards.host import Host, StreamHost, VtaHost, connect, main
from boards.link import Link, LinkError
from boards.simulated import SimulatedBoard, of_board, served
from boards.streams import StreamEngine
from hw.bus.axi import Axi4
from hw.bus.csr import AxiLite, AxiLiteSlave
from hw.compiler.api import compile
from hw.compiler.builder import Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from hw.compiler.front import load
from hw.options import command
from hw.sdram import CHIPS
from hw.vta.config import preset
from hw.vta.core import VtaCore
from hw.vta.isa import Fault
from sim.sdram import SdramError, SimulatedChip
from sim.vta_engine import Conditions, engine
from sim.vta_fuzz import fuzz_program

CONFIG = preset("block8")
LINE = 12_500_000  # baud: 4 cycles a bit instead of 50


class Adder(wiring.Component):
    """Adds two streams; each beat has more than one word."""

    i_a: In(stream.Signature(40))
    i_b: In(stream.Signature(33))
    o:   Out(stream.Signature(41))

    def elaborate(self, platform):
        m = Module()
        both = self.i_a.valid & self.i_b.valid
        m.d.comb += [self.o.payload.eq(self.i_a.payload + self.i_b.payload),
                     self.o.valid.eq(both), self.i_a.ready.eq(both & self.o.ready),
                     self.i_b.ready.eq(both & self.o.ready)]
        return m


def test_streams_behind_a_socket():
    with served(SimulatedBoard(Adder(), {"adder": 1})) as url, connect(url) as host:
        assert isinstance(host, StreamHost)
        assert host.shell["memory_bytes"] == 0
        rng = np.random.default_rng(0)
        for a, b in zip(rng.integers(0, 2**40, 4).tolist(), rng.integers(0, 2**33, 4).tolist()):
            host.send(1, b, 33)
            host.send(0, a, 40)
            assert host.receive(2, 41) == a + b
        with pytest.raises(ValueError, match="^data must end within the board's 0 bytes"):
            host.write(0, np.zeros(4, np.uint8))
        with pytest.raises(LinkError, match="bus error"):
            host.link.read(0, 1)


class Idle(wiring.Component):
    """An engine that leaves its memory to the host."""

    s_axi: In(AxiLite(address_width=12))
    m_axi: Out(Axi4(address_width=32, data_width=64))
    config = CONFIG

    def elaborate(self, platform):
        m = Module()
        m.submodules.bus = bus = AxiLiteSlave(address_width=12)
        wiring.connect(m, wiring.flipped(self.s_axi), bus.axi)
        return m


@pytest.fixture(scope="module")
def sdram_board():
    return SimulatedBoard(Idle(), **of_board("ulx3s_85f") | {"baud": LINE})


def test_sdram_at_the_end_of_the_line(sdram_board):
    host = Host(Link(sdram_board))
    assert host.shell["memory_bytes"] == 32 << 20 == 2 * len(sdram_board.chip.memory)
    assert host.shell["clock_hz"] == 50_000_000
    rng = np.random.default_rng(0)
    for address in (0, (1 << 20) - 256, (32 << 20) - 1000):
        data = rng.integers(0, 256, 1000, np.uint8)
        host.write(address, data)
        np.testing.assert_array_equal(host.read(address, 1000), data)
        np.testing.assert_array_equal(
            sdram_board.chip.memory.view(np.uint8)[address:address + 1000], data)


def test_a_rule_of_the_chip_is_broken(sdram_board):
    chip = sdram_board.chip
    sdram_board.chip = SimulatedChip(sdram_board.engine, "sdram__", CHIPS["as4c16m16"], 50e6, 2)
    with pytest.raises(SdramError, match="^cycle .*: a command before the chip is up$"):
        Host(Link(sdram_board)).read(0, 4)  # the controller began long ago
    sdram_board.chip = chip


# The same calls, whatever is at the other end.
BOARDS = {
    "model":  lambda: contextlib.nullcontext("model:vta?preset=block8"),
    "sim":    lambda: contextlib.nullcontext(
        f"sim:vta?preset=block8&board=ulx3s_85f&baud={LINE}"),
    "socket": lambda: served(SimulatedBoard(VtaCore(CONFIG), **of_board("ulx3s_85f")
                                            | {"baud": LINE})),
}


@pytest.fixture(scope="module", params=[
    "model", pytest.param("sim", marks=pytest.mark.slow),      # minutes to compile
    pytest.param("socket", marks=pytest.mark.slow)])
def url(request):
    with BOARDS[request.param]() as url:
        yield url


def test_programs_one_after_the_other(url):
    with connect(url) as host:
        assert isinstance(host, VtaHost)
        assert host.config.to_dict() == CONFIG.to_dict()
        assert host.shell["memory_bytes"] >= 1 << 17
        for seed in (1, 2):
            program = fuzz_program(CONFIG, seed, length=12)
            assert program.image.size <= 1 << 17
            host.reset()
            host.write(0, program.image)
            expected = engine("iss", CONFIG).run(program.image, program.insn_addr,
                                                 program.insn_count, Conditions())
            ended = host.execute(program.insn_addr, program.insn_count)
            assert ended == expected.status == Fault.DONE
            np.testing.assert_array_equal(host.read(0, program.image.size), expected.image)
            assert host.counters()["cycles"] > 0 or "model" in url


def test_a_program_in_error(url):
    with connect(url) as host:
        host.reset()
        host.write(0, np.full(32, 0xff, np.uint8))  # two instructions that are none
        assert host.execute(0, 2) not in (Fault.DONE, Fault.NO_FINISH)
        assert host.read_register("error_insn") == 0
        host.reset()
        assert host.read_register("status") & 15 == 0


def test_a_program_for_another_core_is_refused(url):
    with connect(url) as host:
        host.check(CONFIG.fingerprint)
        with pytest.raises(ValueError, match="^the program must be made for this core .*, not for"):
            host.check(preset("default").fingerprint)


def test_command(url, tmp_path, capsys):
    program = fuzz_program(CONFIG, 3, length=6)
    program.image.tofile(tmp_path / "image")
    with connect(url) as host:
        host.reset()
    assert main([url, "info"]) == 0
    assert main([url, "program", str(tmp_path / "image"), "--insn-addr", str(program.insn_addr),
                 "--insn-count", str(program.insn_count), "--output",
                 str(tmp_path / "after")]) == 0
    assert '"engine": "vta"' in capsys.readouterr().out
    expected = engine("iss", CONFIG).run(program.image, program.insn_addr, program.insn_count,
                                         Conditions())
    np.testing.assert_array_equal(np.fromfile(tmp_path / "after", np.uint8), expected.image)


@pytest.fixture(scope="module")
def networks():
    """Two small networks and samples for them."""
    shapes = ((2, 8, 8), (1, 6, 6))
    models = [compile(load(Sequential(shape, layers).graph(), checked=False), CONFIG, checked=False)
              for shape, layers in zip(shapes, (
                  [Conv2D(6, 3, padding="same"), ReLU(), MaxPool(2), Flatten(), Dense(4)],
                  [Flatten(), Dense(9), ReLU(), Dense(3)]))]
    rng = np.random.default_rng(0)
    return [(model, rng.standard_normal((3, *shape)).astype(np.float32))
            for model, shape in zip(models, shapes)]


def test_networks_one_after_the_other(url, networks):
    with connect(url) as host:
        board = BoardEngine(host)
        for model, samples in [*networks, networks[0]]:
            np.testing.assert_array_equal(model.run(samples, engine=board), model.run(samples))


def test_run(url, networks, tmp_path, capsys):
    model, samples = networks[0]
    onnx.save(model.front.model, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", samples)
    assert main([url, "run", str(tmp_path / "model.onnx"), "--input", str(tmp_path / "x.npy"),
                 "--output", str(tmp_path / "y.npy")]) == 0
    expected = model.run(samples)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    assert json.loads(capsys.readouterr().out)["labels"] == expected.reshape(3, -1).argmax(
        1).tolist()


@pytest.mark.parametrize("url, error, said", [
    ("sim:gpu", ValueError, "url must name one of .*, not 'gpu'"),
    ("model:lutnet", ValueError, "url must be model:vta, the design .*, not 'lutnet'"),
    ("sim:vta?size=3", ValueError, "options of vta must be of preset, core, not size"),
    ("sim:vta?baud=fast", ValueError, "baud must be a whole number, not 'fast'"),
    ("sim:vta?board=pynq", ValueError, "board must be one of .*, not 'pynq'"),
    ("model:vta?memory=6", ValueError, "memory must be a multiple of 4 bytes, not 6"),
    ("tty:1", ValueError, "url must begin with serial:, socket:, sim:, model:, not 'tty:1'"),
    ("socket://localhost:1", LinkError, "cannot open 'socket://localhost:1': .*"),
    ("serial:///dev/nothing", LinkError, "cannot open 'serial:///dev/nothing': .*"),
])
def test_wrong_url(url, error, said):
    with pytest.raises(error, match=f"^{said}"):
        connect(url)


# Everything a user can do wrong is one line and exit code 2.
@pytest.mark.parametrize("words, said", [
    ("socket://localhost:1 info", "cannot open 'socket://localhost:1': .*"),
    ("model:vta?preset=block4 --timeout 0 info", "timeout must be above 0 s, not 0.0"),
    ("model:vta?preset=block4 run none.onnx --input none.npy", "none.npy: No such file .*"),
    ("model:vta?preset=block4 selftest none.onnx", "model must be a file, not 'none.onnx'"),
    ("model:vta?preset=block4 program none --insn-count 1", "none: No such file .*"),
    (f"model:vta?preset=block4 program {__file__} --insn-count 1 --fingerprint 3",
     "the program must be made for this core .*, not for 0x00000003"),
    (f"model:vta?preset=block4&memory=64 program {__file__} --insn-count 1",
     "data must end within the board's 64 bytes of memory, not at .*"),
])
def test_wrong_command(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        command(main)(words.split())
    assert ended.value.code == 2
    assert re.fullmatch(f"error: {said}\n", capsys.readouterr().err)


def test_a_core_for_another_program(networks):
    model, samples = networks[0]
    with connect("model:vta?preset=default") as host, pytest.raises(
            ValueError, match="^the program must be made for this core .*, not for"):
        model.run(samples, engine=BoardEngine(host))


def test_a_program_that_does_not_fit(networks):
    model, samples = networks[0]
    with connect("model:vta?preset=block8&memory=4096") as host, pytest.raises(
            ValueError, match="^the program must fit the board's 4,096 bytes of memory, not take"):
        model.run(samples, engine=BoardEngine(host))


class Wide(wiring.Component):
    i: In(stream.Signature(3000))


@pytest.mark.parametrize("component, said", [
    (Wide, r"a beat must have at most 2016 bits, not 3000 \(i\)"),
    (lambda: wiring.Component({"a": In(1)}), "there must be 1 to 14 streams, not 0"),
])
def test_wrong_engine(component, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        StreamEngine(component(), 0)
