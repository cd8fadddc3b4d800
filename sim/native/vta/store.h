// The store unit of hw/vta/store.py, and the memory that answers it.
#pragma once
#include "bus.h"
#include "engines.h"

namespace {

struct Source { i64 position, step, count, offset, insn; };
struct Label { i64 insn; bool empty; };

struct Store {
    static constexpr i64 ELEMENTS = 16;  // of the buffer between scratchpad and bus
    const Setup& s;
    const Insn* insns;
    const i64 lanes;
    std::deque<i64> confirms;  // when the memory will have answered
    // Prepare: 0 is idle; then a state for each step, the label, the rows.
    i64 state = 0, insn = 0, rows = 0, element = 0, position = 0;
    Fifo<Source> sources{4};
    Fifo<Label> labels{8};
    i64 confirmed = 0;
    // Read.
    Source row{};
    Request request{}, spare{};  // a register slice
    bool slice_empty = true, row_active = false, passed[4] = {}, passed_end[4] = {};
    i64 free = ELEMENTS;
    Buffered elements{ELEMENTS};
    std::deque<bool> element_ends;
    // Write.
    Bursts bursts;
    Fifo<Row> lengths, answers;
    bool aw_valid = false, w_valid = false;
    i64 sent = 0, chunk = 0;
    // In this cycle.
    i64 next = -1, row_offset = 0, row_count = 0;
    bool missing = false, start = false, fire = false, take_row = false, aw_go = false;
    bool send = false, element_taken = false, last_beat = false, confirm = false;
    bool posts = false, ready = false, blocked = false, leave = false;

    Store(const Setup& s, const Insn* insns)
        : s(s), insns(insns), lanes(s.elements[OUT]), bursts(s, s.burst_beats), lengths(s.writes),
          answers(s.writes) {}

    bool empty(const Insn& x) const { return x.engine == NONE || x.y_size == 0; }
    bool sends() const {
        return bursts.left || bursts.offered || aw_valid || w_valid || lengths.readable()
            || answers.readable();
    }
    bool active() const {
        return state || start || row_active || sources.readable() || free != ELEMENTS || sends()
            || (labels.readable() && !(blocked && ready));
    }
    bool waits() const { return (state == 0 && missing) || (blocked && ready); }
    Cause cause() const {
        return w_valid ? BUSY : request.valid && !fire ? BANK : row_active && !take_row ? MEMORY
             : state == 0 && missing && !sends() ? WAIT_COMPUTE : sends() ? MEMORY
             : active() ? START : IDLE;
    }
    // `granted`: the accumulators are free for what `request` reads.
    void look(i64 head, bool in_turn, const i64* tokens, bool granted, i64 now) {
        next = head;
        missing = next >= 0 && insns[next].pops >> G2S & 1 && !tokens[G2S];
        start = state == 0 && next >= 0 && !missing && in_turn;
        fire = request.valid && granted;
        take_row = row_active && free && slice_empty;
        row_offset = row.offset & (lanes - 1);
        row_count = row.step != 1 ? 1 : std::min(row.count, lanes - row_offset);
        aw_go = bursts.offered && lengths.writable() && answers.writable();
        const bool end = !element_ends.empty() && element_ends.front();
        const bool offered = elements.readable && lengths.readable();
        send = offered && (lanes == 1 || end);
        element_taken = lanes == 1 ? offered && chunk == s.beats[OUT] - 1
                                   : elements.readable && (!end || send);
        last_beat = lengths.readable() && sent == lengths.items.front().beats - 1;
        confirm = !confirms.empty() && confirms.front() <= now;
        ready = labels.readable() && (labels.items.front().empty || confirmed);
        posts = labels.readable() && insns[labels.items.front().insn].pushes >> S2G & 1;
        blocked = posts && tokens[S2G] == s.tokens_most;
        leave = ready && !blocked;
    }
    void tick(i64* tokens, Times* times, i64 now) {
        const bool label_room = labels.writable();
        if (start) tokens[G2S] -= insns[next].pops >> G2S & 1;
        confirmed += (confirm && answers.readable() && answers.items.front().tag)
            - (leave && !labels.items.front().empty);
        if (leave) {
            tokens[S2G] += posts;
            times[labels.items.front().insn].left = now;
            labels.items.pop_front();
        }
        tick_bus(now);
        tick_rows(times, now);
        prepare(label_room, times, now);
    }

  private:
    void tick_bus(i64 now) {
        if (confirm) {
            confirms.pop_front();
            answers.items.pop_front();
        }
        if (aw_go) {
            lengths.items.push_back({0, bursts.offered_beats, bursts.offered_tag});
            answers.items.push_back({0, 0, bursts.offered_tag});
        }
        aw_valid = aw_go;
        w_valid = send;
        if (send) {
            chunk = chunk == s.beats[OUT] - 1 ? 0 : chunk + 1;
            sent = last_beat ? 0 : sent + 1;
            if (last_beat) {
                confirms.push_back(now + 1 + s.latency);
                lengths.items.pop_front();
            }
        }
        free += element_taken - take_row;
        elements.tick(passed[3], element_taken);
        if (element_taken) element_ends.pop_front();
        if (passed[3]) element_ends.push_back(passed_end[3]);
    }
    void prepare(bool label_room, Times* times, i64 now) {
        const Insn& x = insns[insn];
        const bool emits = state == s.store_prepare + 2;
        if (state == 0) {
            if (start) {
                insn = next;
                times[next].taken = now;
                state = empty(insns[next]) ? s.store_prepare + 1 : 1;
                if (state != 1) times[next].begin = times[next].done = now;
            }
        } else if (emits) {
            if (emitted) {
                const i64 step = x.sram_skip + 1;
                sources.items.push_back({position, step, x.x_size, element & (lanes - 1), insn});
                element += x.x_stride;
                position += x.sram_stride ? x.sram_stride : x.x_size * step;
                if (--rows == 0) state = 0;
            }
        } else if (state == s.store_prepare + 1) {
            if (label_room) {
                labels.items.push_back({insn, empty(x)});
                state = empty(x) ? 0 : state + 1;
            }
        } else if (state++ == 1) {
            rows = x.y_size;
            element = x.dram;
            position = x.sram;
        }
    }
    void tick_rows(Times* times, i64 now) {
        // A row goes to the bus and to the scratchpad at once.
        const Insn& x = insns[insn];
        const bool emits = state == s.store_prepare + 2, room = sources.writable();
        const i64 in_beat = element & (lanes - 1);
        const Row out{element * s.element_bytes[OUT] / s.bus_bytes,
                      lanes == 1 ? x.x_size * s.beats[OUT] : (x.x_size + in_beat + lanes - 1) / lanes,
                      rows == 1};
        emitted = emits && room && bursts.accepts(aw_go);
        bursts.tick(aw_go, emits && room, out);

        for (int n = 3; n > 1; n--) {
            passed[n] = passed[n - 1];
            passed_end[n] = passed_end[n - 1];
        }
        passed[1] = fire;
        passed_end[1] = request.end;
        if (fire) {
            if (!times[request.insn].begin) times[request.insn].begin = now;
            times[request.insn].done = now;
        }
        const bool last = row.count == row_count;
        const bool next_row = !row_active || (take_row && last);
        Request asked{};
        if (take_row) {
            asked = {row.position, row_count, row.insn, true,
                       last || row_offset + row_count == lanes};
            row.position += row.step != 1 ? row.step : row_count;
            row.count -= row_count;
            row.offset = row_offset + row_count;
        }
        if (!request.valid || fire) {
            request = slice_empty ? asked : spare;
            slice_empty = true;
        } else if (take_row) {
            spare = asked;
            slice_empty = false;
        }
        if (next_row) {
            row_active = sources.readable();
            if (row_active) {
                row = sources.items.front();
                sources.items.pop_front();
            }
        }
    }
    bool emitted = false;
};

}  // namespace
