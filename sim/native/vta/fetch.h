// Fetch of hw/vta/fetch.py, and the queues in front of the units.
#pragma once
#include "bus.h"

namespace {

struct Fetch {
    const Setup& s;
    const Insn* insns;
    const i64 count;
    RowReader reader;
    Buffered queue[3];
    Slice<bool> heads[3];
    std::deque<i64> queued[3];
    bool asking, second = false, held = false;
    i64 fetched = 0, place, held_insn = 0;
    bool taken = false, step = false, ready = false;  // in this cycle

    Fetch(const Setup& s, const Insn* insns, i64 count)
        : s(s), insns(insns), count(count), reader(s, s.fetch_beats),
          queue{Buffered(s.queue_depth), Buffered(s.queue_depth), Buffered(s.queue_depth)},
          asking(count != 0), place(first()) {}

    i64 per_beat() const { return s.bus_bytes / 16; }
    i64 first() const { return s.bus_bytes > 16 ? s.insn_addr / 16 % per_beat() : 0; }
    // The instruction at the head of a unit's queue, or -1.
    i64 next(int unit) const { return heads[unit].valid ? queued[unit].front() : -1; }
    bool busy() const { return asking || fetched != count || held; }
    bool drained() const {
        for (int unit = 0; unit < 3; unit++)
            if (!queue[unit].empty() || heads[unit].valid) return false;
        return !busy();
    }
    void look() {
        taken = held && queue[insns[held_insn].unit].writable();
        step = reader.give.valid && (s.bus_bytes > 8 || second) && (!held || taken);
        ready = s.bus_bytes == 8 ? step || !second
                                 : step && (place == per_beat() - 1 || fetched + 1 == count);
    }
    // `launched`: the run has begun; `starts`: which units take their next instruction.
    void tick(bool launched, bool granted, bool arrives, const bool (&starts)[3]) {
        const i64 beats = (count * 16 + first() * 16 + s.bus_bytes - 1) / s.bus_bytes;
        const bool asks = asking && launched, asked = asks && reader.accepts();
        if (reader.give.valid && ready) second = !second;
        reader.tick(granted, arrives, ready, asks, {s.insn_addr / s.bus_bytes, beats, false});
        if (asked) asking = false;
        const i64 unit = taken ? insns[held_insn].unit : -1;
        if (taken) {
            queued[unit].push_back(held_insn);
            held = false;
        }
        if (step) {
            held = true;
            held_insn = fetched++;
            if (s.bus_bytes > 16) place = (place + 1) % per_beat();
        }
        for (int n = 0; n < 3; n++) {
            const bool readable = queue[n].readable, pass = heads[n].ready;
            queue[n].tick(unit == n, pass);
            heads[n].tick(readable, true, starts[n]);
            if (starts[n]) queued[n].pop_front();
        }
    }
};

}  // namespace
