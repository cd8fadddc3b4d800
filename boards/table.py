"""The boards, as data. A new board is a row here."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.build import Attrs, Pins, Platform, Resource, Subsignal

from hw.pnr import ELECTROSTATIC

__all__ = ["BOARDS", "DEVICE", "FAMILIES", "Board", "Family", "board_named"]


@dataclass(frozen=True)
class Family:
    """A family of devices.

    ``synthesis`` are Yosys passes, the last one without its ``-top``; ``route`` and ``pack`` are
    programs with their arguments, in which ``{...}`` are attributes of the platform or files.
    Without ``route`` the vendor's program builds the bitstream, and only its input is written here.
    """

    title: str
    target: str                 # of hw.synth, the same or a like one: how multipliers are read
    synthesis: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    pack: tuple[str, ...] = ()
    bitstream: str = ""
    constraints: str = ""       # suffix of the file
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # figure: weight by cell


# Memories called `spram` are made of the blocks of 32 KiB that the UP5K has: these cannot begin as
# zeros, and are not chosen for a memory that they would be half empty with.
_ICE40 = ("hierarchy -top top", "proc", "select -set zeros t:$meminit* r:MEMID=*spram* %i",
          "delete @zeros", 'setattr -set ram_style "huge" m:*spram*', "synth_ice40 -dsp -spram")

FAMILIES = {
    "ecp5": Family(
        "Lattice ECP5", "ecp5", ("synth_ecp5",),
        ("nextpnr-ecp5", "{device}", "--package", "{package}", "--speed", "{speed}",
         "--json", "top.json", "--lpf", "top.lpf", "--textcfg", "top.config", *ELECTROSTATIC),
        ("ecppack", "--compress", "--input", "top.config", "--bit", "top.bit"), "top.bit", "lpf",
        {"lut": {"TRELLIS_COMB": 1}, "ff": {"TRELLIS_FF": 1}, "bram": {"DP16KD": 1},
         "dsp": {"MULT18X18D": 1}}),
    "ice40": Family(
        "Lattice iCE40", "ice40", _ICE40,
        ("nextpnr-ice40", "{device}", "--package", "{package}", "--json", "top.json",
         "--pcf", "top.pcf", "--asc", "top.asc"),
        ("icepack", "top.asc", "top.bin"), "top.bin", "pcf",
        {"lut": {"ICESTORM_LC": 1}, "ff": {}, "bram": {"ICESTORM_RAM": 1},
         "dsp": {"ICESTORM_DSP": 1}}),
    "gowin": Family(
        "Gowin", "ice40", ("synth_gowin",),
        ("nextpnr-himbaechel", "--device", "{part}", "--vopt", "family={chip}",
         "--vopt", "cst=top.cst", "--json", "top.json", "--write", "top.pnr.json"),
        ("gowin_pack", "-d", "{chip}", "-o", "top.fs", "--sspi_as_gpio", "--mspi_as_gpio",
         "top.pnr.json"), "top.fs", "cst",
        {"lut": {"LUT4": 1}, "ff": {"DFF": 1}, "bram": {"BSRAM": 1},
         "dsp": {"MULT9X9": 1, "MULT18X18": 2, "MULT36X36": 8}}),
    "xc7": Family("Xilinx 7-series", "xc7", constraints="xdc"),
}


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board. ``clock_hz`` is the engine's, from a PLL where it is not the oscillator's; ``pll``
    is one of :data:`boards.pll.PLLS`.

    ``memory`` is the on-chip memory in bytes that the engine gets where there is no ``sdram``;
    ``single_port``: it is made of blocks with one port.
    ``usb``: the line is a USB device in the FPGA, at the resource ``usb``, instead of the pins
    ``uart``. ``extra`` are resources that the platform does not name. ``program`` is
    openFPGALoader's name.
    """

    title: str
    platform: str
    family: str
    clock_hz: float
    memory: int
    single_port: bool = False
    sdram: str = ""
    usb: bool = False
    pll: str
    extra: tuple[Resource, ...] = ()
    link: str
    program: str

    @property
    def suffix(self) -> str:
        """Of a bitstream's file."""
        return Path(FAMILIES[self.family].bitstream).suffix

    def make(self) -> Platform:
        """A platform; it is good for one build."""
        module, name = self.platform.split(":")
        kind = getattr(importlib.import_module(f"amaranth_boards.{module}"), name)

        class Plain(kind):
            """The platform without the copy for debugging, which takes Yosys half a minute."""

            @property
            def file_templates(self):
                return {name: text for name, text in super().file_templates.items()
                        if ".debug." not in name}

        platform = Plain()
        platform.add_resources(self.extra)
        return platform


def _uart(rx: str, tx: str, attrs: Attrs) -> Resource:
    return Resource("uart", 0, Subsignal("rx", Pins(rx, dir="i")),
                    Subsignal("tx", Pins(tx, dir="o")), attrs)


BOARDS = {
    "ulx3s_85f": Board(
        title="ULX3S with ECP5-85F", platform="ulx3s:ULX3S_85F_Platform", family="ecp5",
        clock_hz=50e6, memory=128 << 10, sdram="as4c16m16", pll="ecp5",
        link="USB serial port (FT231X)",
        program="ulx3s"),
    "orangecrab_r0_2_85f": Board(
        title="OrangeCrab r0.2 with ECP5-85F",
        platform="orangecrab_r0_2:OrangeCrabR0_2_85FPlatform", family="ecp5", clock_hz=48e6,
        memory=128 << 10, usb=True, pll="ecp5", link="USB serial port (in the FPGA)",
        program="orangeCrab"),
    "ecpix5_85f": Board(
        title="ECPIX-5 with ECP5-85F", platform="ecpix5:ECPIX585Platform", family="ecp5",
        clock_hz=50e6, memory=128 << 10, pll="ecp5", link="USB serial port (FT2232H)",
        program="ecpix5"),
    "icebreaker": Board(
        title="iCEBreaker", platform="icebreaker:ICEBreakerPlatform", family="ice40",
        clock_hz=12e6, memory=64 << 10, single_port=True, pll="ice40",
        link="USB serial port (FT2232H)", program="ice40_generic"),
    "ice40_hx8k_b_evn": Board(
        title="iCE40-HX8K breakout", platform="ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform",
        family="ice40", clock_hz=12e6, memory=4 << 10, pll="ice40_core",
        link="USB serial port (FT2232H)",
        program="ice40_generic"),
    "tang_nano_9k": Board(
        title="Tang Nano 9K", platform="tang_nano_9k:TangNano9kPlatform", family="gowin",
        clock_hz=27e6, memory=0, pll="gowin", link="USB serial port (BL702)", program="tangnano9k"),
    "arty_a7_35": Board(
        title="Arty A7-35T", platform="arty_a7:ArtyA7_35Platform", family="xc7", clock_hz=100e6,
        memory=128 << 10, pll="xc7", link="USB serial port (FT2232H)", program="arty_a7_35t"),
    "arty_z7_20": Board(
        title="Arty Z7-20", platform="arty_z7:ArtyZ720Platform", family="xc7", clock_hz=125e6,
        memory=256 << 10, pll="xc7", extra=(_uart("Y18", "Y19", Attrs(IOSTANDARD="LVCMOS33")),),
        link="serial adapter at JA pins 1 (in) and 2 (out)", program="arty_z7_20"),
}


def board_named(name: str) -> Board:
    if name not in BOARDS:
        raise ValueError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]


# How a platform names its device to the tools of its family.
DEVICE: dict[str, Callable[[Platform], dict[str, str]]] = {
    "ecp5": lambda p: {"device": p._nextpnr_device_options[p.device],
                       "package": p._nextpnr_package_options[p.package].upper(),
                       "speed": str(p.speed)},
    "ice40": lambda p: {"device": p._nextpnr_device_options[p.device],
                        "package": p.package.lower()},
    "gowin": lambda p: {"part": p.part, "chip": p._chipdb_device},
    "xc7": lambda p: {},
}
