// The loader of hw/vta/load.py.
#pragma once
#include "bus.h"

namespace {

struct Plan { i64 insn, cookie; bool skip; };

struct Loader {
    const Setup& s;
    const Insn* insns;
    RowReader reader;
    Fifo<Plan> plans{4};
    // Prepare: 0 is idle; then a state for each step, PLAN, ROWS.
    i64 state = 0, element = 0, rows = 0;
    Plan command{};
    // Write.
    bool busy = false, is_pad = false;
    Plan plan{};
    i64 position = 0, left = 0, rows_left = 0, chunk = 0, offset = 0, row_offset = 0;
    // This cycle.
    bool fire = false, finished = false, loads = false, last_chunk = false;
    i64 count = 0;
    // The register in front of the scratchpads, and a completion that goes with it.
    bool held = false, done = false, free = true;
    i64 held_position = 0, held_count = 0, done_cookie = 0, done_insn = 0;
    bool held_acc = false;

    Loader(const Setup& s, const Insn* insns) : s(s), insns(insns), reader(s, s.burst_beats) {}
    bool idle() const { return state == 0; }
    bool gives_range() const { return state == s.load_prepare && plans.writable() && !command.skip; }
    bool active() const { return state || plans.readable() || busy || done; }
    bool starved() const { return busy && !is_pad && !reader.give.valid; }
    bool wants() const { return busy && (is_pad || reader.give.valid); }
    static i64 width(const Insn& x) { return x.x0 + x.x_size + x.x1; }
    i64 last_pad(const Insn& x) const { return width(x) * x.y1 + x.x1; }
    i64 first_pad(const Insn& x) const {
        return width(x) * x.y0 + (x.y_size ? x.x0 : width(x) * x.y1);
    }
    // How many elements this cycle's write has.
    void choose() {
        const Insn& x = insns[plan.insn];
        const i64 per_beat = s.elements[x.memory];
        if (is_pad) { count = std::min(left, s.pad_lanes[x.memory]); last_chunk = true; }
        else {
            count = std::min(left, per_beat - (offset & (per_beat - 1)));
            last_chunk = (chunk & (s.beats[x.memory] - 1)) == s.beats[x.memory] - 1;
        }
    }
    // Whether an instruction completes in this cycle; `go`: the next plan may begin.
    bool completes(bool go) {
        finished = false;
        if (fire && last_chunk && left == count)
            finished = is_pad ? rows_left == 0
                              : rows_left == 1 && last_pad(insns[plan.insn]) == 0;
        loads = !busy && plans.readable() && go && free;
        return done && free;
    }
    void begin_row(const Insn& x) {
        is_pad = false;
        left = x.x_size;
        offset = row_offset;
        row_offset = (row_offset + x.x_stride) & 15;
    }
    void tick(bool granted, bool arrives, bool valid, const Plan& next, Times* times, i64 now,
              uint32_t* uops, const uint8_t* dram) {
        // Ask for rows.
        const Insn& c = insns[command.insn];
        const i64 log = c.memory >= 0 ? s.elements[c.memory] : 1;
        const bool emits = state == s.load_prepare + 1;
        Row row{};
        if (emits) {
            const i64 byte = element * s.element_bytes[c.memory];
            row = {byte / s.bus_bytes,
                   s.beats[c.memory] > 1 ? c.x_size * s.beats[c.memory]
                                         : (c.x_size + (element & (log - 1)) + log - 1) / log, false};
        }
        const bool row_taken = emits && reader.accepts();
        const bool planned = state == s.load_prepare && plans.writable();
        reader.tick(granted, arrives, fire && !is_pad, emits, row);

        // Write.
        const Insn& x = insns[plan.insn];
        if (free) {
            held = fire;
            held_position = position;
            held_count = count;
            held_acc = x.memory >= ACC;
            done = finished;
            done_cookie = plan.cookie;
            done_insn = plan.insn;
        }
        if (fire) {
            if (x.memory == UOP)
                for (i64 n = 0; n < count && position + n < s.uop_depth; n++) {
                    const i64 at = 4 * (x.dram + (x.y_size - rows_left) * x.x_stride
                                        + x.x_size - left + n);
                    uint32_t word = uint32_t(x.pad);
                    if (!is_pad && at >= 0 && at + 4 <= s.dram_bytes)
                        std::memcpy(&word, dram + at, 4);
                    uops[position + n] = word;
                }
            const bool ends = last_chunk && left == count;
            if (last_chunk) { position += count; left -= count; chunk = 0; }
            else chunk++;
            if (!is_pad) offset = 0;
            if (ends) {
                if (!is_pad) {
                    rows_left--;
                    if (rows_left == 0) { left = last_pad(x); is_pad = true; }
                    else if (x.x0 + x.x1) { left = x.x0 + x.x1; is_pad = true; }
                    else begin_row(x);
                } else if (rows_left) begin_row(x);
            }
        }
        if (finished) busy = false;
        if (loads) {
            plan = plans.items.front();
            plans.items.pop_front();
            const Insn& y = insns[plan.insn];
            const i64 first = first_pad(y), in_beat = y.dram & (s.elements[y.memory] - 1);
            times[plan.insn].begin = now;
            position = y.sram;
            chunk = 0;
            if (!plan.skip && (y.y_size || first)) {
                busy = true;
                rows_left = y.y_size;
                is_pad = first != 0;
                left = first ? first : y.x_size;
                offset = in_beat;
                row_offset = (in_beat + (first ? 0 : y.x_stride)) & 15;
            } else {
                done = true;
                done_cookie = plan.cookie;
                done_insn = plan.insn;
            }
        }

        // Prepare.
        if (state == 0) {
            if (valid) { command = next; state = 1; }
        } else if (state < s.load_prepare) {
            if (state++ == 1) { element = c.dram; rows = c.y_size; }
        } else if (planned) {
            plans.items.push_back(command);
            state = command.skip || !rows ? 0 : state + 1;
        } else if (row_taken) {
            element += c.x_stride;
            if (--rows == 0) state = 0;
        }
    }
};

}  // namespace
