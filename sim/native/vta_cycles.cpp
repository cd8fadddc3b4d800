// The timing of the VTA core, cycle by cycle, without its data: control logic as in hw/vta, unit by
// unit, with the same names. Only micro-operations are real, because indices come from them.
//
// Each unit has `look`, which finds out its signals in a cycle from the states, and `tick`, which
// changes the states.
#include "vta/compute.h"
#include "vta/fetch.h"
#include "vta/load_unit.h"
#include "vta/store.h"

namespace {

struct Read { i64 due, beats; int client; };

struct Core {
    const Setup s;
    const Insn* insns;
    const uint8_t* dram;
    Times* times;
    Result& r;
    i64 now = 0, retired = 0, tokens[4] = {};
    std::deque<Read> reads;
    int last_client = 0;
    Fetch fetch;
    LoadUnit load;
    Compute compute;
    Store store;

    Core(const Setup& setup, const Insn* insns, i64 count, const uint8_t* dram, Times* times,
         Result& r)
        : s(setup), insns(insns), dram(dram), times(times), r(r), fetch(s, insns, count),
          load(s, insns), compute(s, insns), store(s, insns) {}

    // Whether an instruction may begin: with `serial` only when all before it are complete.
    bool in_turn(i64 insn) const { return !s.serial || insn == retired; }

    // One cycle; returns whether the run ends with it. `moves`: something happened.
    bool cycle(bool& moves) {
        RowReader* const clients[3] = {&fetch.reader, &load.loader.reader, &compute.loader.reader};
        const bool r_valid = !reads.empty() && reads.front().due <= now;
        const int r_client = r_valid ? reads.front().client : -1;
        int granted = -1;
        if (i64(reads.size()) != s.reads)
            for (int step = 3; step; step--)
                if (clients[(last_client + step) % 3]->ask.valid)
                    granted = (last_client + step) % 3;
        const i64 next[3] = {fetch.next(LOAD), fetch.next(COMPUTE), fetch.next(STORE)};
        fetch.look();
        load.look(next[LOAD], in_turn(next[LOAD]), tokens, s.tokens_most);
        compute.look(next[COMPUTE], in_turn(next[COMPUTE]), tokens, store.request);
        store.look(next[STORE], in_turn(next[STORE]), tokens,
                   !compute.alu.meet || compute.alu.turn, now);

        const bool ends = now && fetch.drained() && !load.active() && !load.waits()
            && !compute.active() && !compute.waits_prev() && !compute.waits_next()
            && !store.active() && !store.waits();
        moves = r_valid || store.confirm || store.w_valid || compute.gemm.last().valid
            || compute.alu.write || load.loader.fire || compute.loader.fire || granted >= 0
            || fetch.taken || load.start || compute.take || store.start || compute.leave;
        if (now) count(r_valid, r_client);

        if (r_valid && --reads.front().beats == 0) reads.pop_front();
        if (granted >= 0) {
            reads.push_back({now + 1 + s.latency, clients[granted]->ask.out, granted});
            last_client = granted;
        }
        retired += load.leave + compute.leave + store.leave;
        fetch.tick(now != 0, granted == 0, r_client == 0, {load.start, compute.take, store.start});
        load.tick(granted == 1, r_client == 1, tokens, times, now, dram);
        compute.tick(granted == 2, r_client == 2, tokens, times, now, dram);
        store.tick(tokens, times, now);
        now++;
        return ends;
    }

    void count(bool r_valid, int r_client) {
        r.cycles_gemm += compute.gemm.last().valid;
        r.cycles_alu += compute.alu.write;
        r.alu_waits += compute.alu.waits();
        r.load_busy += load.active();
        r.load_wait_g2l += load.waits();
        r.load_memory += load.loader.starved();
        r.compute_busy += compute.active();
        r.compute_wait_load += compute.waits_prev();
        r.compute_wait_store += compute.waits_next();
        r.compute_memory += compute.loader.starved();
        r.store_busy += store.active();
        r.store_wait_g2s += store.waits();
        r.read_beats += r_valid;
        r.fetch_beats += r_client == 0;
        r.write_beats += store.w_valid;
        r.causes[0][load.cause()]++;
        r.causes[1][compute.gemm_cause()]++;
        r.causes[2][compute.alu_cause()]++;
        r.causes[3][store.cause()]++;
    }
};

}  // namespace

// Runs until the end: returns the cycles, or -1 - cycles if nothing moved for `timeout` cycles.
extern "C" i64 npu_vta_cycles(const Setup* setup, const Insn* insns, i64 insn_count,
                              const uint8_t* dram, Times* times, Result* result) {
    std::memset(times, 0, sizeof(Times) * insn_count);
    std::memset(result, 0, sizeof(Result));
    Core core(*setup, insns, insn_count, dram, times, *result);
    i64 quiet = 0;
    bool moves = false;
    while (!core.cycle(moves)) {
        quiet = moves ? 0 : quiet + 1;
        if (quiet > setup->timeout) return -1 - core.now;
    }
    core.cycle(moves);  // that all is complete is a register
    result->cycles = core.now - 1;
    return result->cycles;
}
