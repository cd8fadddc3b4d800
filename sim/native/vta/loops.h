// The loops of hw/vta/loops.py, and what goes through the pipelines of GEMM and ALU.
#pragma once
#include "common.h"

namespace {

struct Step { bool valid, last; i64 dst, src, insn, entry; };

struct Loops {
    const Setup& s;
    const Insn* insns;
    bool active = false;
    i64 insn = 0, entry = 0, k = 0, j_left = 0, i_left = 0;
    i64 inner[2] = {}, outer[2] = {};
    std::vector<Step> stages;  // the last one is `o`
    Loops(const Setup& s, const Insn* insns) : s(s), insns(insns), stages(s.loops - 1) {}
    const Step& o() const { return stages.back(); }
    bool advances(bool ready) const { return !o().valid || ready; }
    bool is_last() const { return k + 1 == insns[insn].uop_end && j_left == 1 && i_left == 1; }
    bool accepts(bool ready) const { return !active || (advances(ready) && is_last()); }
    void tick(bool ready, bool valid, i64 new_insn, i64 new_entry, const uint32_t* uops) {
        const bool accept = accepts(ready) && valid, advance = advances(ready);
        if (advance) {
            for (size_t n = stages.size() - 1; n; n--) stages[n] = stages[n - 1];
            Step& s1 = stages[0];
            s1.valid = active;
            if (active) {
                const Insn& x = insns[insn];
                const uint32_t uop = uops[k & (s.uop_depth - 1)];
                s1.last = is_last();
                s1.dst = inner[0] + (uop >> s.uop_dst_at & ((1u << s.uop_dst_bits) - 1));
                s1.src = inner[1] + (uop >> s.uop_src_at & ((1u << s.uop_src_bits) - 1));
                s1.insn = insn;
                s1.entry = entry;
                if (s1.last) active = false;
                if (++k == x.uop_end) {
                    k = x.uop_bgn;
                    if (--j_left == 0) {
                        j_left = x.iter_in;
                        i_left--;
                        inner[0] = outer[0] += x.dst_out;
                        inner[1] = outer[1] += x.src_out;
                    } else {
                        inner[0] += x.dst_in;
                        inner[1] += x.src_in;
                    }
                }
            }
        }
        if (accept) {
            const Insn& x = insns[new_insn];
            insn = new_insn;
            entry = new_entry;
            active = true;
            k = x.uop_bgn;
            j_left = x.iter_in;
            i_left = x.iter_out;
            inner[0] = inner[1] = outer[0] = outer[1] = 0;
        }
    }
};

struct Stage { bool valid, end, keeps, slow; i64 dst, entry; };

}  // namespace
