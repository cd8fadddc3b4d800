// The load unit of hw/vta/load_unit.py.
#pragma once
#include "loader.h"

namespace {

struct LoadUnit {
    const Insn* insns;
    Loader loader;
    Fifo<i64> completed{4};
    i64 next = -1;  // in this cycle, as the others
    bool missing = false, start = false, blocked = false, leave = false, done = false;

    LoadUnit(const Setup& s, const Insn* insns) : insns(insns), loader(s, insns) {}

    bool posts() const { return completed.readable() && insns[completed.items.front()].pushes >> L2G & 1; }
    bool active() const { return loader.active() || start || leave; }
    bool waits() const { return missing || blocked; }
    Cause cause() const {
        return loader.fire ? BUSY : loader.starved() ? MEMORY : missing ? WAIT_COMPUTE
             : loader.active() || next >= 0 ? START : IDLE;
    }
    void look(i64 head, bool in_turn, const i64* tokens, i64 tokens_most) {
        next = head;
        missing = next >= 0 && insns[next].pops >> G2L & 1 && !tokens[G2L];
        start = next >= 0 && !missing && loader.idle() && in_turn;
        blocked = posts() && tokens[L2G] == tokens_most;
        leave = completed.readable() && !blocked;
        loader.choose();
        loader.fire = loader.wants();
        done = loader.completes(completed.items.size() <= 2);
    }
    void tick(bool granted, bool arrives, i64* tokens, Times* times, i64 now, const uint8_t* dram) {
        if (start) {
            tokens[G2L] -= insns[next].pops >> G2L & 1;
            times[next].taken = now;
        }
        if (leave) {
            tokens[L2G] += posts();
            times[completed.items.front()].left = now;
            completed.items.pop_front();
        }
        if (done) {
            times[loader.done_insn].done = now;
            completed.items.push_back(loader.done_insn);
        }
        loader.tick(granted, arrives, start, {next, 0, next >= 0 && insns[next].engine == NONE},
                    times, now, nullptr, dram);
    }
};

}  // namespace
