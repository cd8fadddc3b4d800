// Rows of DRAM as bursts, as in hw/bus/axi.py.
#pragma once
#include "common.h"

namespace {

struct Row { i64 beat, beats; bool tag; };

struct Bursts {
    i64 block = 1, beat = 0, left = 0, offered_beats = 0;
    bool tag = false, offered = false, offered_tag = false;
    Bursts(const Setup& s, i64 longest) {
        while (2 * block <= std::min(longest, 4096 / s.bus_bytes)) block *= 2;
    }
    i64 most() const { return block - beat % block; }
    bool steps(bool ready) const { return left && (!offered || ready); }
    bool accepts(bool ready) const { return !left || (steps(ready) && left <= most()); }
    void tick(bool ready, bool valid, const Row& row) {
        const bool step = steps(ready), accept = accepts(ready) && valid;
        if (ready) offered = false;
        if (step) {
            const i64 size = std::min(left, most());
            offered = true;
            offered_beats = size;
            offered_tag = tag && left == size;
            beat += size;
            left -= size;
        }
        if (accept) { beat = row.beat; left = row.beats; tag = row.tag; }
    }
};

struct RowReader {
    Bursts bursts;
    Buffered buffer;
    Slice<i64> ask;   // its payload: beats
    Slice<bool> give;
    i64 free;
    RowReader(const Setup& s, i64 longest)
        : bursts(s, longest), buffer(std::max<i64>(2 * std::min(longest, 4096 / s.bus_bytes), 16)),
          free(buffer.depth) {}
    bool goes() const { return ask.ready && free >= bursts.offered_beats; }
    bool accepts() const { return bursts.accepts(goes()); }
    void tick(bool granted, bool arrives, bool ready, bool valid, const Row& row) {
        const bool go = goes(), readable = buffer.readable, pass = give.ready;
        const i64 beats = bursts.offered_beats;
        const bool room = free >= beats, offered = bursts.offered;
        free += (readable && pass) - (offered && go ? beats : 0);
        ask.tick(offered && room, beats, granted);
        give.tick(readable, true, ready);
        buffer.tick(arrives, pass);
        bursts.tick(go, valid, row);
    }
};

}  // namespace
