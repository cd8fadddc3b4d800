// What the model of the core's timing shares: instructions, results, queues. The structures are
// those of sim/vta_cycles.py: all fields are int64.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace {

using i64 = int64_t;
enum Unit { LOAD, COMPUTE, STORE };
enum Token { L2G, G2L, G2S, S2G };
enum Engine { NONE, LOADER, GEMM, ALU };
enum Kind { UOP, WGT, INP, ACC, OUT, ACC8 };

struct Insn {
    i64 unit, engine, pops, pushes, memory, sram, dram, y_size, x_size, x_stride, y0, y1, x0, x1,
        pad, uop_bgn, uop_end, iter_out, iter_in, dst_out, dst_in, src_out, src_in, keeps,
        use_src, use_bias, is_long, bias_bit, sram_skip, sram_stride;
};

struct Setup {
    i64 latency, bus_bytes, burst_beats, fetch_beats, reads, writes, queue_depth, tokens_most,
        uop_depth, acc_depth, banks, scan_lanes, uop_dst_at, uop_dst_bits, uop_src_at, uop_src_bits,
        element_bytes[6], beats[6], elements[6], pad_lanes[6], insn_addr, dram_bytes, timeout,
        window, waiting, loops, gemm_read, gemm_write, alu_short, alu_long, scan_turns,
        load_prepare, store_prepare, serial;
};

struct Times { i64 taken, begin, done, left; };

// What each part does in a cycle, or why it does nothing. Rows of `causes`: load, gemm, alu, store.
enum Cause { BUSY, MEMORY, WAIT_LOAD, WAIT_COMPUTE, WAIT_STORE, HAZARD, BANK, ORDER, START, IDLE,
             CAUSES };

struct Result {
    i64 cycles, cycles_gemm, cycles_alu, alu_waits, load_busy, load_wait_g2l, load_memory,
        compute_busy, compute_wait_load, compute_wait_store, compute_memory, store_busy,
        store_wait_g2s, store_memory, read_beats, write_beats, fetch_beats, causes[4][CAUSES];
};

template <class T>
struct Fifo {  // amaranth.lib.fifo.SyncFIFO
    std::deque<T> items;
    i64 depth;
    explicit Fifo(i64 depth) : depth(depth) {}
    bool readable() const { return !items.empty(); }
    bool writable() const { return i64(items.size()) != depth; }
};

struct Buffered {  // SyncFIFOBuffered: how much of it is where; its items are counted, or kept outside
    i64 depth, inner = 0;
    bool readable = false;
    explicit Buffered(i64 depth) : depth(depth) {}
    bool writable() const { return inner != depth - 1; }
    bool empty() const { return !inner && !readable; }
    void tick(bool write, bool read) {
        const bool moves = inner && (!readable || read);
        if (moves) readable = true;
        else if (read) readable = false;
        inner += write - moves;
    }
};

template <class T>
struct Slice {  // hw.stream.RegisterSlice
    T out{}, spare{};
    bool valid = false, ready = true;
    void tick(bool i_valid, const T& i, bool o_ready) {
        if (!valid || o_ready) {
            out = ready ? i : spare;
            valid = i_valid || !ready;
            ready = true;
        } else if (i_valid && ready) {
            spare = i;
            ready = false;
        }
    }
};

}  // namespace
