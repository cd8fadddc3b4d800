"""The memory around the core: it has to mind the rules, and to notice when a master does not."""

import numpy as np
import pytest

from hw.vta.config import preset
from sim.verilated import Engine
from sim.vta_rtl import AxiError, VtaRtl, serve

# A master that does one thing, right or wrong by `fault`: writes two beats at 64, then reads them.
MASTER = """
module master(input clk, input rst, input [3:0] fault, output irq,
    output [31:0] m_axi__awaddr, output [7:0] m_axi__awlen, output m_axi__awvalid,
    input m_axi__awready, output [63:0] m_axi__wdata, output [7:0] m_axi__wstrb,
    output m_axi__wlast, output m_axi__wvalid, input m_axi__wready, input [1:0] m_axi__bresp,
    input m_axi__bvalid, output m_axi__bready, output [31:0] m_axi__araddr,
    output [7:0] m_axi__arlen, output m_axi__arvalid, input m_axi__arready,
    input [63:0] m_axi__rdata, input [1:0] m_axi__rresp, input m_axi__rlast, input m_axi__rvalid,
    output m_axi__rready, output reg [63:0] seen, output reg [1:0] resp);
  reg [2:0] state = 0; reg [1:0] sent = 0; reg waited = 0; reg aw_done = 0;
  wire aw = m_axi__awvalid & m_axi__awready, w = m_axi__wvalid & m_axi__wready;
  assign m_axi__awaddr = fault == 1 ? 32'hff8 : fault == 2 ? 32'd4
                         : fault == 7 ? 32'd65536 : 32'd64;
  assign m_axi__awlen = 1;
  assign m_axi__awvalid = state == 0 & ~aw_done & ~(fault == 3 & waited);
  assign m_axi__wdata = {62'd0, sent} + 64'd40 + (fault == 4 ? {63'd0, waited} : 64'd0);
  assign m_axi__wstrb = 8'h0f;
  assign m_axi__wlast = fault == 5 ? sent == 0 : sent == 1;
  assign m_axi__wvalid = state == 0 & sent < 2;
  assign m_axi__bready = 1;
  assign m_axi__araddr = fault == 6 ? 32'hff8 : 32'd64;
  assign m_axi__arlen = 1;
  assign m_axi__arvalid = state == 2;
  assign m_axi__rready = 1;
  assign irq = state == 4;
  always @(posedge clk) begin
    waited <= ~waited & ((m_axi__awvalid & ~m_axi__awready) | (m_axi__wvalid & ~m_axi__wready));
    if (aw) aw_done <= 1;
    if (w) sent <= sent + 1;
    if (state == 0 & (aw_done | aw) & (sent == 2 | (w & sent == 1))) state <= fault == 8 ? 2 : 1;
    if (state == 1 & m_axi__bvalid) begin state <= 2; resp <= m_axi__bresp; end
    if (state == 2 & m_axi__arready) state <= 3;
    if (m_axi__rvalid) begin seen <= m_axi__rdata; if (m_axi__rlast) state <= 4; end
  end
endmodule
"""


@pytest.fixture(scope="module")
def built():
    return Engine(MASTER, "master", extra=("axi_memory.cpp",))


@pytest.fixture
def master(built):
    built.restart()
    return built


def run(master, fault=0, stall=0.5, seed=0, **options):
    image = np.full(4096, 7, np.uint8)
    master.set("fault", fault)
    cycles = serve(master, image, stall=stall, seed=seed, timeout=2000, **options)
    return image, cycles


@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_a_good_master_writes_and_reads(master, stall):
    image, _ = run(master, stall=stall)
    expected = np.full(4096, 7, np.uint8)
    expected[64:68], expected[72:76] = [40, 0, 0, 0], [41, 0, 0, 0]  # as the strobes say
    np.testing.assert_array_equal(image, expected)
    assert master.get("seen") == 0x0707_0707_0000_0029
    assert master.get("resp") == 0


@pytest.mark.parametrize("fault, message", [
    (1, "AW: burst of 2 beats from 0xff8"),  # crosses 4 KiB
    (2, "AW: burst of 2 beats from 0x4"),    # not on a beat
    (3, "AW changed what it offered"),       # taken back
    (4, "W changed what it offered"),
    (5, "W: last beat in the wrong place"),
    (6, "AR: burst of 2 beats from 0xff8"),
])
def test_rules_are_watched(master, fault, message):
    with pytest.raises(AxiError, match=f"^cycle [0-9]+: {message}$"):
        for seed in range(20):  # a channel has to be stalled at the right moment
            master.restart()
            run(master, fault, seed=seed)


def test_what_is_not_there_is_an_error(master):
    image, _ = run(master, 7)
    assert master.get("resp") == 2
    assert (image == 7).all()


def test_memory_begins_at_its_origin(master):
    image, _ = run(master, 7, origin=65536 - 4096 + 64)  # writes there
    assert master.get("resp") == 0
    assert (image == 7).sum() == len(image) - 8
    master.restart()
    image, _ = run(master, origin=4096)  # writes to 64, which is before it
    assert master.get("resp") == 2 and (image == 7).all()


def test_a_write_takes_effect_with_its_answer(master):
    run(master, 8, stall=0.0)  # reads at once, without waiting for the answer
    assert master.get("seen") == 0x0707_0707_0707_0707


def test_latency_is_as_asked_for(master):
    cycles = []
    for latency in (1, 10, 100):
        master.restart()
        cycles.append(run(master, stall=0.0, latency=latency)[1])
    assert cycles[1] - cycles[0] == 2 * 9 and cycles[2] - cycles[1] == 2 * 90


def test_a_dead_memory_never_answers(master):
    assert run(master, stall=0.0, dead_after=2)[1] == 2000


@pytest.mark.parametrize("wrong, message", [
    ({"stall": 1.0}, r"stall must be at least 0 and below 1, not 1\.0"),
    ({"latency": 0}, "latency must be at least 1, not 0"),
])
def test_wrong(master, wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(master, **wrong)


def test_memories_can_be_read_by_name():
    core = VtaRtl(preset("block4"))
    pads = core.scratchpads()
    assert {name: pad.shape for name, pad in pads.items()} == {
        "uop": (1024,), "inp": (1024, 1, 4), "wgt": (256, 4, 4), "acc": (512, 1, 4)}
    with pytest.raises(ValueError, match="name must be a memory of vta .*, not 'nowhere'"):
        core.engine.memory("nowhere")
