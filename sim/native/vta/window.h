// The window of hw/vta/window.py, and the scan of hw/vta/scan.py that finds out ranges.
#pragma once
#include "common.h"

namespace {

struct Span {
    bool valid = false;
    i64 first = 0, last = 0;
    bool meets(const Span& other) const {
        return valid && other.valid && first <= other.last && other.first <= last;
    }
};

struct Ranges {
    Span writes, reads, uops;
    bool writes_uop = false;
    bool meets(const Ranges& other) const {
        return writes.meets(other.writes) || writes.meets(other.reads) || reads.meets(other.writes)
               || (uops.meets(other.uops) && (writes_uop || other.writes_uop));
    }
};

struct Entry { i64 insn = 0, engine = NONE; };

struct Window {
    const i64 size;
    Entry entries[64];
    Ranges ranges[64];
    uint64_t waits[64] = {}, running = 0;
    i64 head = 0, tail = 0, count = 0, gave_to = 0;
    bool gave = false;
    Ranges gave_ranges;

    explicit Window(const Setup& s) : size(s.window) {}
    bool full() const { return count == size; }
    bool ready(i64 entry) const { return waits[entry] == 0; }
    bool leaving() const { return count && !(running >> head & 1); }
    i64 oldest() const { return entries[head].insn; }
    // Whether one that is under way will write micro-operations of `uops`.
    bool pending(const Span& uops) const {
        for (i64 n = 0; n < size; n++)
            if (running >> n & 1 && ranges[n].writes_uop && ranges[n].uops.meets(uops)) return true;
        return false;
    }
    // `complete`: entries that complete; `give`: the ranges of entry `given`.
    void tick(uint64_t complete, bool give, i64 given, const Ranges& given_ranges, bool leave,
              bool enter, i64 insn, i64 engine) {
        const uint64_t before = running;
        running &= ~complete;
        for (i64 n = 0; n < size; n++) waits[n] &= ~complete;
        if (gave) {
            for (i64 n = 0; n < size; n++)
                if (waits[gave_to] >> n & 1 && !gave_ranges.meets(ranges[n]))
                    waits[gave_to] &= ~(1ull << n);
            ranges[gave_to] = gave_ranges;
        }
        gave = give;
        gave_to = given;
        gave_ranges = given_ranges;
        if (leave) head = (head + 1) % size;
        count += enter - leave;
        if (enter) {
            uint64_t others = 0;
            for (i64 n = 0; n < size; n++)
                if (entries[n].engine != engine) others |= 1ull << n;
            waits[tail] = engine == NONE ? 0 : before & ~complete & others;
            ranges[tail] = Ranges{};
            entries[tail] = {insn, engine};
            if (engine != NONE) running |= 1ull << tail;
            tail = (tail + 1) % size;
        }
    }
};

struct Scan {
    const Setup& s;
    const Insn* insns;
    bool working = false, starting = false, reading = false, summing = false, done = false;
    bool was_pending = false;
    i64 rows = 0;  // a bit for each stage that has one
    i64 insn = 0, row = 0, turn = 0;

    Scan(const Setup& s, const Insn* insns) : s(s), insns(insns) {}
    i64 last_uop() const { return std::min(insns[insn].uop_end, s.uop_depth) - 1; }
    Span uops() const { return {working || summing || done, insns[insn].uop_bgn, last_uop()}; }
    Ranges ranges(const std::vector<uint32_t>& memory) const {
        const Insn& x = insns[insn];
        const Span span = uops();
        const i64 top = s.acc_depth - 1;
        i64 least[2] = {INT64_MAX, INT64_MAX}, most[2] = {0, 0};
        for (i64 k = span.first; k <= span.last; k++) {
            const i64 index[2] = {memory[k] >> s.uop_dst_at & ((1u << s.uop_dst_bits) - 1),
                                  memory[k] >> s.uop_src_at & ((1u << s.uop_src_bits) - 1)};
            for (int n = 0; n < 2; n++) {
                least[n] = std::min(least[n], index[n]);
                most[n] = std::max(most[n], index[n]);
            }
        }
        const i64 i = x.iter_out - 1, j = x.iter_in - 1, bias = x.engine == ALU && x.bias_bit;
        Ranges result;
        result.writes = {true, std::min(least[0], top),
                         std::min(most[0] + i * x.dst_out + j * x.dst_in, top)};
        result.reads = {x.engine == ALU && x.use_src != 0, std::min(least[1], top),
                        std::min(most[1] + i * x.src_out + j * x.src_in + bias, top)};
        result.uops = span;
        return result;
    }
    void tick(bool pending, bool start, i64 next) {
        const bool row_en = reading && !was_pending;
        const bool finished = working && turn == s.scan_turns && !starting && !reading && !rows;
        was_pending = pending;
        done = summing;
        summing = finished;
        if (finished) working = false;
        if (turn != s.scan_turns) turn++;
        rows = (rows << 1 | row_en) & (4 * s.scan_lanes - 1);
        if (starting) reading = true;
        starting = false;
        if (row_en && row++ == last_uop() / s.scan_lanes) reading = false;
        if (start) {
            insn = next;
            working = starting = true;
            turn = 0;
            row = insns[next].uop_bgn / s.scan_lanes;
        }
    }
};

}  // namespace
