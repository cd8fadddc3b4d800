// GEMM and ALU, of hw/vta/gemm.py and hw/vta/alu.py, with their queues.
#pragma once
#include "loops.h"
#include "window.h"

namespace {

struct Waiting { i64 insn, entry; };
struct Request { i64 position, count, insn; bool valid, end; };  // of STORE to the accumulators

struct Part {  // what both have
    Fifo<Waiting> queue;
    Loops loops;
    bool go = false, taken = false;  // in this cycle: the head may begin; it begins

    Part(const Setup& s, const Insn* insns) : queue(s.waiting), loops(s, insns) {}
    void begin(const Window& window, bool ready) {
        go = queue.readable() && window.ready(queue.items.front().entry);
        taken = go && loops.accepts(ready);
    }
    void tick(bool ready, bool enter, const Waiting& next, Times* times, i64 now,
              const uint32_t* uops) {
        const Waiting first = taken ? queue.items.front() : Waiting{};
        if (taken) {
            times[first.insn].begin = now;
            queue.items.pop_front();
        }
        if (enter) queue.items.push_back(next);
        loops.tick(ready, taken, first.insn, first.entry, uops);
    }
};

struct Gemm : Part {
    const Setup& s;
    const Insn* insns;
    std::vector<Stage> stages;
    bool short_uses = false, long_uses = false, write = false;

    Gemm(const Setup& s, const Insn* insns)
        : Part(s, insns), s(s), insns(insns), stages(s.gemm_write + 2, Stage{}) {}
    const Stage& read() const { return stages[s.gemm_read]; }
    const Stage& early() const { return stages[s.gemm_write - s.alu_long]; }
    const Stage& last() const { return stages[s.gemm_write]; }
    bool writes(i64 n) const {
        return stages[n].valid && (stages[n].end || !(stages[n - 1].valid
                                                      && stages[n - 1].dst == stages[n].dst));
    }
    void look(const Window& window) {
        const Step& o = loops.o();
        stages[0] = {o.valid, o.valid && o.last, insns[o.insn].keeps != 0, false, o.dst, o.entry};
        const Stage& before = stages[s.gemm_read + 1];
        const bool behind = before.valid && before.dst == read().dst;
        short_uses = (read().valid && !behind && !read().keeps)
            || writes(s.gemm_write - s.alu_short);
        long_uses = writes(s.gemm_write - s.alu_long);
        write = writes(s.gemm_write);
        begin(window, true);
    }
    void tick(bool enter, const Waiting& next, Times* times, i64 now, const uint32_t* uops) {
        for (size_t n = stages.size() - 1; n; n--) stages[n] = stages[n - 1];
        Part::tick(true, enter, next, times, now, uops);
    }
};

struct Alu : Part {
    const Setup& s;
    const Insn* insns;
    std::vector<Stage> stages;
    bool turn = false;
    bool meet = false, wait = false, write = false, done = false;
    Stage last{};
    Step step{}, spare{};  // a register slice behind the loops
    bool empty = true;

    Alu(const Setup& s, const Insn* insns)
        : Part(s, insns), s(s), insns(insns), stages(s.alu_long + 1, Stage{}) {}
    const Step& request() const { return step; }
    bool waits() const { return request().valid && wait; }
    bool same_bank(i64 a, i64 b) const { return ((a ^ b) & (s.banks - 1)) == 0; }

    void look(const Window& window, const Gemm& gemm, const Request& store) {
        const Step& o = request();
        const Insn& op = insns[o.insn];
        const i64 bias = (o.src + 1) & (s.acc_depth - 1);
        auto of_store = [&](i64 index) {
            return ((index - store.position) & (s.banks - 1)) < store.count;
        };
        meet = o.valid && store.valid
            && ((op.use_src && of_store(o.src)) || (op.use_bias && of_store(bias)));
        wait = meet && turn;
        if (o.valid) {
            wait |= gemm.short_uses && same_bank(gemm.read().dst, o.dst);
            wait |= op.is_long && gemm.long_uses && same_bank(gemm.early().dst, o.dst);
            const Stage& meets = stages[s.alu_long - s.alu_short];
            wait |= !op.is_long && meets.slow && (meets.valid || meets.end);
            for (i64 n = 1; n <= s.alu_long && !wait; n++) {
                const bool slow = stages[n].valid && stages[n].slow;
                wait |= slow && (stages[n].dst == o.dst || (op.use_src && stages[n].dst == o.src));
                wait |= (n > s.alu_short ? slow : stages[n].valid) && op.use_bias
                    && stages[n].dst == bias;
            }
        }
        const bool reads = o.valid && !wait;
        stages[0] = {reads, reads && o.last, false, op.is_long != 0, o.dst, o.entry};
        const Stage& slow = stages[s.alu_long];
        const Stage& quick = stages[s.alu_short];
        const bool slow_there = slow.valid || slow.end;
        last = slow_there ? slow : quick;
        write = slow_there ? slow.valid : quick.valid && !quick.slow;
        done = slow_there ? slow.end : quick.end && !quick.slow;
        begin(window, empty);
    }
    void tick(bool enter, const Waiting& next, Times* times, i64 now, const uint32_t* uops) {
        for (i64 n = s.alu_long; n; n--) {
            stages[n] = stages[n - 1];
            if (n > s.alu_short) {
                stages[n].valid = stages[n].valid && stages[n].slow;
                stages[n].end = stages[n].end && stages[n].slow;
            }
        }
        if (meet) turn = !turn;
        const Step coming = loops.o();
        const bool ready = empty;
        if (!step.valid || !wait) {
            step = empty ? coming : spare;
            empty = true;
        } else if (empty && coming.valid) {
            spare = coming;
            empty = false;
        }
        Part::tick(ready, enter, next, times, now, uops);
    }
};

}  // namespace
