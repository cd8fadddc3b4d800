// The compute unit of hw/vta/compute.py.
#pragma once
#include "engines.h"
#include "loader.h"

namespace {

struct Compute {
    const Setup& s;
    const Insn* insns;
    Window window;
    Scan scan;
    Loader loader;
    Gemm gemm;
    Alu alu;
    std::vector<uint32_t> uops;
    enum { TAKE, LOAD_RANGE, SCAN_RANGE } issue = TAKE;
    i64 given = 0;
    // In this cycle.
    i64 next = -1, engine = NONE, pops = 0, posts = 0;
    bool missing_prev = false, missing_next = false, take = false, leave = false;
    bool full_prev = false, full_next = false, loader_done = false;
    bool completing = false;  // the loader's completion, a cycle later
    i64 completing_cookie = 0;

    Compute(const Setup& s, const Insn* insns)
        : s(s), insns(insns), window(s), scan(s, insns), loader(s, insns), gemm(s, insns),
          alu(s, insns), uops(s.uop_depth) {}

    bool held() const { return window.leaving() && !leave; }  // by a full queue of tokens
    bool active() const { return (window.count && !held()) || take; }
    bool waits_prev() const { return (issue == TAKE && missing_prev) || (held() && full_prev); }
    bool waits_next() const { return (issue == TAKE && missing_next) || (held() && full_next); }

    void look(i64 head, bool in_turn, const i64* tokens, const Request& store) {
        gemm.look(window);
        alu.look(window, gemm, store);
        loader.choose();
        loader.free = true;
        if (loader.held && loader.held_acc) {  // it writes where neither of the engines does
            auto needs = [&](i64 index) {
                return ((index - loader.held_position) & (s.banks - 1)) < loader.held_count;
            };
            loader.free = !((gemm.write && needs(gemm.last().dst))
                            || (alu.write && needs(alu.last.dst)));
        }
        loader.fire = loader.wants() && loader.free;
        loader_done = loader.completes(loader.plans.readable()
                                       && window.ready(loader.plans.items.front().cookie));
        next = head;
        pops = next >= 0 ? insns[next].pops : 0;
        engine = next >= 0 ? insns[next].engine : NONE;
        missing_prev = pops >> L2G & 1 && !tokens[L2G];
        missing_next = pops >> S2G & 1 && !tokens[S2G];
        const bool room = engine == LOADER ? loader.idle() : engine == GEMM ? gemm.queue.writable()
                        : engine == ALU ? alu.queue.writable() : true;
        take = issue == TAKE && next >= 0 && !missing_prev && !missing_next && room
            && !window.full() && in_turn;
        posts = window.leaving() ? insns[window.oldest()].pushes : 0;
        full_prev = posts >> G2L & 1 && tokens[G2L] == s.tokens_most;
        full_next = posts >> G2S & 1 && tokens[G2S] == s.tokens_most;
        leave = window.leaving() && !full_prev && !full_next;
    }
    // Why an engine does nothing: what holds the next instruction.
    Cause front() const {
        return issue != TAKE ? START : next < 0 ? IDLE : missing_prev ? WAIT_LOAD
             : missing_next ? WAIT_STORE : take ? START : ORDER;
    }
    Cause waiting(const Part& e) const {
        return !e.queue.readable() ? front() : e.go ? START : HAZARD;
    }
    Cause gemm_cause() const { return gemm.loops.active ? BUSY : waiting(gemm); }
    Cause alu_cause() const {
        return alu.waits() ? BANK : alu.loops.active || alu.request().valid ? BUSY : waiting(alu);
    }
    void tick(bool granted, bool arrives, i64* tokens, Times* times, i64 now, const uint8_t* dram) {
        if (take) {
            tokens[L2G] -= pops >> L2G & 1;
            tokens[S2G] -= pops >> S2G & 1;
            times[next].taken = now;
            if (engine == NONE) times[next].begin = times[next].done = now;
        }
        if (leave) {
            tokens[G2L] += posts >> G2L & 1;
            tokens[G2S] += posts >> G2S & 1;
            times[window.oldest()].left = now;
        }
        bool give = false;
        Ranges ranges;
        if (issue == LOAD_RANGE && loader.gives_range()) {
            const Insn& x = insns[loader.command.insn];
            const i64 size = Loader::width(x) * (x.y0 + x.y_size + x.y1);
            const i64 mask = (x.memory == UOP ? s.uop_depth : s.acc_depth) - 1;
            give = true;
            ranges.writes_uop = x.memory == UOP;
            // Of an empty LOAD at either end of the scratchpad all elements, as the bits have it.
            (x.memory == UOP ? ranges.uops : ranges.writes) =
                {true, x.sram & mask, (x.sram + size - 1) & mask};
        } else if (issue == SCAN_RANGE && scan.done) {
            give = true;
            ranges = scan.ranges(uops);
        }
        uint64_t complete = 0;
        if (gemm.last().end) complete |= 1ull << gemm.last().entry;
        if (alu.done) complete |= 1ull << alu.last.entry;
        if (completing) complete |= 1ull << completing_cookie;
        completing = loader_done;
        completing_cookie = loader.done_cookie;
        for (i64 n = 0; complete && n < s.window; n++)
            if (complete >> n & 1) times[window.entries[n].insn].done = now;
        const bool pending = window.pending(scan.uops());
        const Waiting entering{next, window.tail};
        window.tick(complete, give, given, ranges, leave, take, next, engine);
        if (give) issue = TAKE;
        if (take) {
            given = entering.entry;
            issue = engine == LOADER ? LOAD_RANGE : engine == NONE ? TAKE : SCAN_RANGE;
        }
        scan.tick(pending, take && engine >= GEMM, next);
        gemm.tick(take && engine == GEMM, entering, times, now, uops.data());
        alu.tick(take && engine == ALU, entering, times, now, uops.data());
        loader.tick(granted, arrives, take && engine == LOADER, {next, entering.entry, false},
                    times, now, uops.data(), dram);
    }
};

}  // namespace
