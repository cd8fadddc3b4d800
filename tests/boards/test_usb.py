# amaranth: UnusedElaboratable=no
"""Frames of the link through USB: a host at the packets, the bridge behind the device."""

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC5_USB, CRC16_USB
from amaranth.sim import Simulator

from boards.usb import UsbSerial, usb_clocks
from hw.bus.protocol import ANSWER, VERSION, Command, Frame, Status, decode, encode
from sim.link import BridgeBench

pytest.importorskip("luna")

OUT, IN, DATA, ACK, NAK = 0xe1, 0x69, (0xc3, 0x4b), 0xd2, 0x5a
ENDPOINT = 4


def token(pid):
    """Of the data endpoint of a device that has no address yet."""
    fields = ENDPOINT << 7
    return [pid, *(fields | CRC5_USB(data_width=11).compute([fields]) << 11).to_bytes(2, "little")]


def data(number, payload):
    check = CRC16_USB(data_width=8).compute(payload)
    return [DATA[number % 2], *payload, *check.to_bytes(2, "little")]


class Utmi:
    """Where the packets' bytes are, behind the PHY."""

    def __init__(self):
        for name, width in (("rx_data", 8), ("rx_active", 1), ("rx_valid", 1), ("rx_error", 1),
                            ("tx_data", 8), ("tx_valid", 1), ("tx_ready", 1), ("line_state", 2),
                            ("xcvr_select", 2), ("term_select", 1), ("op_mode", 2),
                            ("session_end", 1), ("vbus_valid", 1), ("suspend", 1),
                            ("dm_pulldown", 1), ("dp_pulldown", 1), ("id_pullup", 1),
                            ("chrg_vbus", 1), ("dischrg_vbus", 1),
                            ("use_external_vbus_indicator", 1)):
            setattr(self, name, Signal(width, name=name))


class Bench(Elaboratable):
    """The device with a bridge and its memory behind it."""

    def __init__(self):
        self.utmi = Utmi()
        self.usb, self.bridge = UsbSerial(self.utmi), BridgeBench(size=1024)

    def elaborate(self, platform):
        m = Module()
        m.submodules.usb, m.submodules.bridge = self.usb, self.bridge
        wiring.connect(m, self.usb.o, self.bridge.i)
        wiring.connect(m, self.bridge.o, self.usb.i)
        return m


class Packets:
    """The host's side of the bus, a byte per cycle."""

    def __init__(self, ctx, utmi):
        self.ctx, self.utmi = ctx, utmi

    async def tick(self, cycles=1):
        await self.ctx.tick("usb").repeat(cycles)

    async def send(self, packet):
        await self.tick(20)
        self.ctx.set(self.utmi.rx_active, 1)  # the PHY has seen the pattern before a packet
        await self.tick()
        self.ctx.set(self.utmi.rx_valid, 1)
        for byte in packet:
            self.ctx.set(self.utmi.rx_data, byte)
            await self.tick()
        self.ctx.set(self.utmi.rx_active, 0)
        self.ctx.set(self.utmi.rx_valid, 0)

    async def receive(self):
        """A packet; none when nothing comes."""
        got = []
        self.ctx.set(self.utmi.tx_ready, 1)
        for _ in range(100):
            if self.ctx.get(self.utmi.tx_valid):
                got.append(self.ctx.get(self.utmi.tx_data))
            elif got:
                break
            await self.tick()
        self.ctx.set(self.utmi.tx_ready, 0)
        return got


def test_frames_through_packets():
    words = tuple(range(1000, 1060))
    requests = [Frame(Command.SYNC, 9, 0, VERSION, 0x1234),
                Frame(Command.WRITE, 10, len(words), VERSION, 64, words),
                Frame(Command.READ, 11, len(words), VERSION, 64)]
    frames, sizes, naks = [], [], []

    async def host(ctx):
        packets, text = Packets(ctx, bench.utmi), b"".join(map(encode, requests))
        answers, sent, got = bytearray(), 0, 0
        while text or len(frames) < len(requests):
            if text:
                await packets.send(token(OUT))
                await packets.send(data(sent, text[:64]))
                answer = await packets.receive()
                assert answer in ([ACK], [NAK])
                if answer == [ACK]:  # else the device has no room, and wants it again
                    text, sent = text[64:], sent + 1
            await packets.send(token(IN))
            packet = await packets.receive()
            if packet == [NAK]:
                naks.append(0)
                assert len(naks) < 1000
                continue
            assert packet == data(got, bytes(packet[1:-2]))
            await packets.send([ACK])
            got += 1
            answers += bytes(packet[1:-2])
            sizes.append(len(packet) - 3)
            frames[:] = [decode(part) for part in bytes(answers).split(b"\0")[:-1] if part]

    bench = Bench()
    simulator = Simulator(bench)
    simulator.add_clock(1 / 48e6, domain="sync")
    simulator.add_clock(1 / 12e6, domain="usb")
    simulator.add_testbench(host)
    simulator.run()
    assert [(f.command, f.sequence, f.note) for f in frames] == [
        (r.command | ANSWER, r.sequence, Status.DONE) for r in requests]
    assert frames[2].payload == words
    assert max(sizes) == 64 and len(sizes) < 12  # whole packets where there is enough


def test_another_oscillator():
    with pytest.raises(ValueError, match="^a board with USB must have an oscillator of 48 MHz, "
                                         "not 25$"):
        usb_clocks(Module(), None, Signal(), 25e6)
