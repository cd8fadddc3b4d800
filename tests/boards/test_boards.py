# amaranth: UnusedElaboratable=no
"""Every board: what is generated for it, and the pins, without any FPGA tool."""

import re

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.build import engine_of, prepare, program
from boards.pll import PLLS, Ecp5Pll, GowinPll, Ice40Pll, XilinxPll
from boards.shell import BAUD, Shell, ShellConfig
from boards.table import BOARDS, DEVICE, FAMILIES, board_named
from hw.build import main
from hw.bus.axi import Axi4
from hw.bus.csr import AxiLite, AxiLiteSlave
from hw.tools import ToolError
from hw.verilog import Shared


class Adder(wiring.Component):
    """A small engine without memory."""

    i: In(stream.Signature(40))
    o: Out(stream.Signature(41))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload + 1), self.o.valid.eq(self.i.valid),
                     self.i.ready.eq(self.o.ready)]
        return m


class Reader(wiring.Component):
    """A small engine with memory."""

    s_axi: In(AxiLite(address_width=12))
    m_axi: Out(Axi4(address_width=32, data_width=64))

    def elaborate(self, platform):
        m = Module()
        m.submodules.bus = bus = AxiLiteSlave(address_width=12)
        wiring.connect(m, wiring.flipped(self.s_axi), bus.axi)
        with m.If(bus.write_en):
            m.d.sync += [self.m_axi.arvalid.eq(1), self.m_axi.araddr.eq(bus.write_data)]
        with m.If(self.m_axi.rvalid):
            m.d.sync += bus.read_data.eq(self.m_axi.rdata)
        m.d.comb += self.m_axi.rready.eq(1)
        return m


def files(name, *, memory=False, clock_hz=None):
    board = BOARDS[name]
    engine = Reader() if memory else engine_of(Adder(), {})[0]
    config = ShellConfig(clock_hz=clock_hz or board.clock_hz, sdram=board.sdram if memory else "",
                         baud=0 if board.usb else BAUD,
                         memory=(board.memory or 1024) if memory and not board.sdram else 0)
    return prepare(board, Shell(Shared("engine", engine), config))


# Clock, serial input and output: from the boards' schematics.
PINS = {
    "ulx3s_85f":           ("G2", "M1", "L4"),
    "orangecrab_r0_2_85f": ("A9", "N1", "M2"),  # data of USB instead
    "ecpix5_85f":          ("K23", "R26", "R24"),
    "icebreaker":          ("35", "6", "9"),
    "ice40_hx8k_b_evn":    ("J3", "B10", "B12"),
    "tang_nano_9k":        ("52", "18", "17"),
    "arty_a7_35":          ("E3", "A9", "D10"),
    "arty_z7_20":          ("H16", "Y18", "Y19"),
}
LINE = {
    "lpf": r'LOCATE COMP "{}" SITE "{}";',
    "pcf": r"set_io {} {}\b",
    "cst": r'IO_LOC "{}" {};',
    "xdc": r'set_property LOC {} \[get_ports "{}"\]',
}


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("memory", [False, True])
def test_pins(name, memory):
    made, family = files(name, memory=memory), FAMILIES[BOARDS[name].family]
    text = made[f"top.{family.constraints}"]
    line = ("usb_0__d_p__io", "usb_0__d_n__io") if BOARDS[name].usb else (
        "uart_0__rx__io", "uart_0__tx__io")
    for port, pin in zip((r"clk\w*_0__io", *line), PINS[name]):
        words = (pin, port) if family.constraints == "xdc" else (port, pin)
        assert re.search(LINE[family.constraints].format(*words), text), (port, pin, text)
    assert ("sdram" in text) == (memory and bool(BOARDS[name].sdram))
    if family.route:
        assert "top.il" in made
    else:
        assert {"top.v", "top.tcl", "build_top.sh"} <= set(made)
        assert "create_clock" in text
    assert any(file.startswith("engine") for file in made)


def test_all_boards_have_pins():
    assert set(PINS) == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_the_tools_know_the_device(name):
    board = BOARDS[name]
    words, family = DEVICE[board.family](board.make()), FAMILIES[board.family]
    assert all("{" not in word.format_map(words) for word in family.route + family.pack)
    if board.family == "ecp5":  # the default placer leaves a VTA core without a route
        assert family.route[-2:] == ("--placer", "static")


def test_sdram_pins():
    text = files("ulx3s_85f", memory=True)["top.lpf"]
    assert len(re.findall(r'LOCATE COMP "sdram_0__dq__io\[\d+\]"', text)) == 16
    assert len(re.findall(r'LOCATE COMP "sdram_0__a__io\[\d+\]"', text)) == 13
    assert 'LOCATE COMP "sdram_0__clk__io" SITE "F19";' in text


def test_pll():
    made = files("ulx3s_85f", clock_hz=80e6)
    assert 'FREQUENCY NET "clk_pll" 80000000.0 HZ;' in made["top.lpf"]
    assert "EHXPLLL" in made["top.il"]
    assert "EHXPLLL" not in files("ulx3s_85f", clock_hz=25e6)["top.il"]
    made = files("icebreaker", clock_hz=24e6)
    assert "set_frequency clk_pll 24.0" in made["top.pcf"]
    assert "SB_PLL40_PAD" in made["top.il"]


@pytest.mark.parametrize("clock_hz, plls", [(48e6, 1), (60e6, 2)])
def test_usb_clocks(clock_hz, plls):
    pytest.importorskip("luna")
    made = files("orangecrab_r0_2_85f", clock_hz=clock_hz)
    for name, hz in (("clk_usb_io", 48e6), ("clk_usb", 12e6)):
        assert f'FREQUENCY NET "{name}" {hz} HZ;' in made["top.lpf"]
    assert len(re.findall(r"cell \\EHXPLLL ", made["top.il"])) == plls
    assert 'LOCATE COMP "usb_0__pullup__io" SITE "N2";' in made["top.lpf"]


def test_usb_design_is_the_same_in_any_run():
    pytest.importorskip("luna")
    text = files("orangecrab_r0_2_85f")["top.il"]
    assert "Endpoint_0" in text and not re.search(r"[A-Za-z]_\d{9}", text)


@pytest.mark.parametrize("kind, in_mhz, out_mhz", [
    *(("ecp5", *pair) for pair in ((25, 50), (25, 80), (25, 62.5), (48, 80), (100, 50))),
    *(("ice40", *pair) for pair in ((12, 24), (12, 30), (16, 48))),
    *(("ice40_core", *pair) for pair in ((12, 24), (12, 48))),
    *(("gowin", *pair) for pair in ((27, 24), (27, 54), (27, 36), (27, 60))),
    *(("xc7", *pair) for pair in ((100, 50), (125, 80), (100, 62.5))),
])
def test_pll_setting(kind, in_mhz, out_mhz):
    pll = PLLS[kind](in_mhz * 1e6, out_mhz * 1e6)
    assert pll.frequency(in_mhz * 1e6) == pytest.approx(out_mhz * 1e6, rel=0.002)


def test_pll_settings_by_hand():
    # 12 MHz * 64 = 768 MHz, divided by 32; 25 MHz * 2 = 50 MHz, of 600 MHz.
    assert Ice40Pll(0, 63, 5) in Ice40Pll.settings(12e6)
    assert Ice40Pll(0, 63, 5).frequency(12e6) == 24e6
    assert PLLS["ecp5"](25e6, 50e6) == Ecp5Pll(1, 2, 12)
    assert all(400e6 <= pll.frequency(25e6) * pll.output <= 800e6
               for pll in Ecp5Pll.settings(25e6))


def test_gowin_and_xilinx_settings_by_hand():
    # 27 MHz / 3 * 8 = 72 MHz, of 576 MHz; 125 MHz / 5 * 32 = 800 MHz, divided by 10.
    assert GowinPll(3, 8, 8) in GowinPll.settings(27e6)
    assert GowinPll(3, 8, 8).frequency(27e6) == 72e6
    assert all(400e6 <= pll.frequency(27e6) * pll.output <= 1200e6
               for pll in GowinPll.settings(27e6))
    assert XilinxPll(5, 32, 10) in XilinxPll.settings(125e6)
    assert XilinxPll(5, 32, 10).frequency(125e6) == 80e6


def test_no_pll_setting():
    with pytest.raises(ValueError, match="^clock must be one that the PLL makes of 25 MHz, "
                                         "not 1000$"):
        PLLS["ecp5"](25e6, 1e9)


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_has_another_clock(name):
    board = BOARDS[name]
    slow = board.make().default_clk_frequency
    made = files(name, clock_hz=2 * slow)
    text = made.get("top.il") or made["top.v"]
    kind = {"ecp5": "EHXPLLL", "ice40": "SB_PLL40_PAD", "ice40_core": "SB_PLL40_CORE",
            "gowin": "rPLL", "xc7": "PLLE2_BASE"}[board.pll]
    assert len(re.findall(rf"\b{kind}\b", text)) == 1 + board.usb  # which has one of its own
    assert "clk_pll" in text


@pytest.mark.parametrize("argv, said", [
    (["lutnet", "--board", "pynq"], "board must be one of ulx3s_85f, .*, not 'pynq'"),
    (["lutnet", "--program"], "program needs a board: --board NAME"),
    (["lutnet", "--board", "icebreaker", "--clock", "-1"], "clock must be up to 1000 MHz, not -1"),
    (["vta", "--preset", "huge"], "preset must be one of default, .*, not 'huge'"),
])
def test_wrong_options(argv, said, tmp_path):
    with pytest.raises(ValueError, match=f"^{said}$"):
        main([*argv, "-o", str(tmp_path)])
    assert not any(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("values, said", [
    ({"memory": 100}, "memory must be a multiple of 64 bytes, not 100"),
    ({"sdram": "ddr"}, "sdram must be one of as4c16m16, not 'ddr'"),
    ({"baud": 20_000_000}, "baud must be at most a quarter of the clock, 50 MHz.*"),
])
def test_wrong_shell(values, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        ShellConfig(**{"clock_hz": 50e6} | values)


def test_list(capsys):
    assert main(["--list-boards"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said if line[0] != " "] == list(BOARDS)
    assert any(re.fullmatch(r" +fits: lutnet --fabric ice40 --clock 24 \(.* MHz\)", line)
               for line in said)
    assert max(map(len, said)) < 140


def test_nothing_to_load_where_vivado_builds(tmp_path):
    with pytest.raises(ToolError, match="^Arty A7-35T needs the bitstream of Vivado: run build_top"
                                        ".sh, then openFPGALoader -b arty_a7_35t top.bit$"):
        program("arty_a7_35", tmp_path / "lutnet")


def test_board_named():
    assert board_named("icebreaker") is BOARDS["icebreaker"]
