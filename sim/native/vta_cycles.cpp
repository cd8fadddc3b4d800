// The timing of the VTA core, cycle by cycle, without its data: control logic as in hw/vta, unit by
// unit, with the same names. Only micro-operations are real, because indices come from them.
// The structures are those of sim/vta_cycles.py: all fields are int64.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace {

using i64 = int64_t;
enum Unit { LOAD, COMPUTE, STORE };
enum Token { L2G, G2L, G2S, S2G };
enum Engine { NONE, LOADER, GEMM, ALU };
enum Kind { UOP, WGT, INP, ACC, OUT, ACC8 };

struct Insn {
    i64 unit, engine, pops, pushes, memory, sram, dram, y_size, x_size, x_stride, y0, y1, x0, x1,
        pad, uop_bgn, uop_end, iter_out, iter_in, dst_out, dst_in, src_out, src_in, keeps,
        use_src, use_bias, is_long, bias_bit, sram_skip, sram_stride;
};

struct Setup {
    i64 latency, bus_bytes, burst_beats, fetch_beats, reads, writes, queue_depth, tokens_most, uop_depth,
        acc_depth, banks, scan_lanes, uop_dst_at, uop_dst_bits, uop_src_at, uop_src_bits,
        element_bytes[6], beats[6], elements[6], pad_lanes[6], insn_addr, dram_bytes, timeout,
        window, waiting, loops, gemm_read, gemm_write, alu_short, alu_long, scan_turns,
        load_prepare, store_prepare, serial;
};

struct Times { i64 taken, begin, done, left; };

// What each part does in a cycle, or why it does nothing. Rows of `causes`: load, gemm, alu, store.
enum Cause { BUSY, MEMORY, WAIT_LOAD, WAIT_COMPUTE, WAIT_STORE, HAZARD, BANK, ORDER, START, IDLE,
             CAUSES };

struct Result {
    i64 cycles, cycles_gemm, cycles_alu, alu_waits, load_busy, load_wait_g2l, load_memory,
        compute_busy, compute_wait_load, compute_wait_store, compute_memory, store_busy,
        store_wait_g2s, store_memory, read_beats, write_beats, fetch_beats, causes[4][CAUSES];
};

template <class T>
struct Fifo {  // amaranth.lib.fifo.SyncFIFO
    std::deque<T> items;
    i64 depth;
    explicit Fifo(i64 depth) : depth(depth) {}
    bool readable() const { return !items.empty(); }
    bool writable() const { return i64(items.size()) != depth; }
};

struct Buffered {  // SyncFIFOBuffered: how much of it is where; its items are counted, or kept outside
    i64 depth, inner = 0;
    bool readable = false;
    explicit Buffered(i64 depth) : depth(depth) {}
    bool writable() const { return inner != depth - 1; }
    bool empty() const { return !inner && !readable; }
    void tick(bool write, bool read) {
        const bool moves = inner && (!readable || read);
        if (moves) readable = true;
        else if (read) readable = false;
        inner += write - moves;
    }
};

template <class T>
struct Slice {  // hw.stream.RegisterSlice
    T out{}, spare{};
    bool valid = false, ready = true;
    void tick(bool i_valid, const T& i, bool o_ready) {
        if (!valid || o_ready) {
            out = ready ? i : spare;
            valid = i_valid || !ready;
            ready = true;
        } else if (i_valid && ready) {
            spare = i;
            ready = false;
        }
    }
};

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
struct Waiting { i64 insn, entry; };
struct Source { i64 position, step, count, offset, insn; };
struct Request { i64 position, count, insn; bool valid, end; };
struct Label { i64 insn; bool empty; };
struct Read { i64 due, beats; int client; };

struct Core {
    const Setup s;
    const Insn* insns;
    const i64 insn_count;
    const uint8_t* dram;
    Times* times;
    Result& r;
    i64 now = 0, retired = 0;
    std::vector<uint32_t> uops;

    // Bus.
    std::deque<Read> reads;
    std::deque<i64> confirms;
    int last_client = 0;

    // Fetch.
    RowReader fetch;
    bool asking = true, second = false, held = false;
    i64 fetched = 0, place, held_insn = 0;

    // Queues, tokens.
    Buffered queue[3];
    Slice<bool> heads[3];
    std::deque<i64> queued[3];
    i64 tokens[4] = {};

    // Load.
    Loader load;
    Fifo<i64> completed{4};

    // Compute.
    Loader loader;
    Entry entries[64];
    Ranges ranges[64];
    uint64_t waits[64] = {}, running = 0;
    i64 head = 0, tail = 0, count = 0;
    int issue = 0;  // TAKE, LOAD, SCAN
    i64 given = 0, gave_to = 0;
    bool gave = false, was_pending = false;
    Ranges gave_ranges;
    Fifo<Waiting> gemm_queue, alu_queue;
    Loops gemm, alu;
    std::vector<Stage> gemm_stages, alu_stages;
    bool turn = false;
    // Scan.
    bool working = false, starting = false, reading = false, summing = false, scan_done = false;
    i64 scan_rows = 0;  // a bit for each stage that has one
    i64 scan_insn = 0, scan_row = 0, scan_turn = 0;

    // Store.
    i64 store_state = 0, store_insn = 0, store_rows = 0, store_element = 0, store_position = 0;
    Bursts bursts;
    Fifo<Source> sources{4};
    Fifo<Label> labels{8};
    Fifo<Row> lengths, answers;
    i64 confirmed = 0;
    Source row{};
    Request store_request{};
    bool row_active = false, store_s[4] = {}, end_s[4] = {};
    i64 store_free = 16, sent = 0, chunk = 0;
    Buffered elements{16};
    std::deque<bool> element_ends;

    Core(const Setup& s, const Insn* insns, i64 insn_count, const uint8_t* dram, Times* times,
         Result& r)
        : s(s), insns(insns), insn_count(insn_count), dram(dram), times(times), r(r),
          uops(s.uop_depth), fetch(this->s, s.fetch_beats),
          queue{Buffered(s.queue_depth), Buffered(s.queue_depth), Buffered(s.queue_depth)},
          load(this->s, insns), loader(this->s, insns), gemm_queue(s.waiting), alu_queue(s.waiting),
          gemm(this->s, insns), alu(this->s, insns), gemm_stages(s.gemm_write + 2, Stage{}),
          alu_stages(s.alu_long + 1, Stage{}), bursts(this->s, s.burst_beats), lengths(s.writes),
          answers(s.writes) {
        place = s.bus_bytes > 16 ? s.insn_addr / 16 % (s.bus_bytes / 16) : 0;
        asking = insn_count != 0;
    }

    bool ready(i64 entry) const { return waits[entry] == 0; }
    bool pending(const Span& uops) const {
        for (i64 n = 0; n < s.window; n++)
            if (running >> n & 1 && ranges[n].writes_uop && ranges[n].uops.meets(uops)) return true;
        return false;
    }
    Span scan_uops() const {
        const Insn& x = insns[scan_insn];
        return {working || summing || scan_done, x.uop_bgn, std::min(x.uop_end, s.uop_depth) - 1};
    }
    Ranges scan_ranges() const {
        const Insn& x = insns[scan_insn];
        const Span span = scan_uops();
        const i64 top = s.acc_depth - 1;
        i64 least[2] = {INT64_MAX, INT64_MAX}, most[2] = {0, 0};
        for (i64 k = span.first; k <= span.last; k++) {
            const i64 index[2] = {uops[k] >> s.uop_dst_at & ((1u << s.uop_dst_bits) - 1),
                                  uops[k] >> s.uop_src_at & ((1u << s.uop_src_bits) - 1)};
            for (int n = 0; n < 2; n++) {
                least[n] = std::min(least[n], index[n]);
                most[n] = std::max(most[n], index[n]);
            }
        }
        const i64 i = x.iter_out - 1, j = x.iter_in - 1;
        Ranges result;
        result.writes = {true, std::min(least[0], top),
                         std::min(most[0] + i * x.dst_out + j * x.dst_in, top)};
        result.reads = {x.engine == ALU && x.use_src != 0, std::min(least[1], top),
                        std::min(most[1] + i * x.src_out + j * x.src_in
                                  + (x.engine == ALU && x.bias_bit), top)};
        result.uops = span;
        return result;
    }

    // Whether an instruction may begin: with `serial` only when all before it are complete.
    bool in_turn(i64 insn) const { return !s.serial || insn == retired; }

    // One cycle; returns whether the run ends with it. Signals are read first, states change later.
    bool cycle(bool& moves) {
        auto bank = [&](i64 index) { return index & (s.banks - 1); };

        // Bus: answers, and whose burst is asked for.
        const bool r_valid = !reads.empty() && reads.front().due <= now;
        const int r_client = r_valid ? reads.front().client : -1;
        const bool b_valid = !confirms.empty() && confirms.front() <= now;
        const bool asks[3] = {fetch.ask.valid, load.reader.ask.valid, loader.reader.ask.valid};
        int granted = -1;
        if (i64(reads.size()) != s.reads)
            for (int step = 3; step; step--)
                if (asks[(last_client + step) % 3]) granted = (last_client + step) % 3;

        // Fetch.
        const bool taken = held && queue[insns[held_insn].unit].writable();
        const i64 per_beat = s.bus_bytes / 16;
        const bool found = fetch.give.valid && (s.bus_bytes > 8 || second);
        const bool step = found && (!held || taken);
        const bool fetch_ready = s.bus_bytes == 8
            ? step || !second
            : step && (place == per_beat - 1 || fetched + 1 == insn_count);
        const bool fetch_busy = asking || fetched != insn_count || held;

        // Load.
        const i64 next_load = heads[LOAD].valid ? queued[LOAD].front() : -1;
        const bool load_missing = next_load >= 0 && insns[next_load].pops >> G2L & 1 && !tokens[G2L];
        const bool load_start = next_load >= 0 && !load_missing && load.idle()
            && in_turn(next_load);
        const bool load_posts = completed.readable()
            && insns[completed.items.front()].pushes >> L2G & 1;
        const bool load_blocked = load_posts && tokens[L2G] == s.tokens_most;
        load.choose();
        load.fire = load.wants();
        const bool load_done = load.completes(completed.items.size() <= 2);
        const i64 load_insn = load.done_insn;

        // Compute: GEMM.
        auto& g = gemm_stages;
        {
            const Step& o = gemm.o();
            g[0] = {o.valid, o.valid && o.last, insns[o.insn].keeps != 0, false, o.dst, o.entry};
        }
        auto gemm_writes = [&](i64 n) {
            return g[n].valid && (g[n].end || !(g[n - 1].valid && g[n - 1].dst == g[n].dst));
        };
        const Stage& fifth = g[s.gemm_read];
        const bool behind = g[s.gemm_read + 1].valid && g[s.gemm_read + 1].dst == fifth.dst;
        const bool short_uses = (fifth.valid && !behind && !fifth.keeps)
            || gemm_writes(s.gemm_write - s.alu_short);
        const i64 long_at = s.gemm_write - s.alu_long;
        const bool long_uses = gemm_writes(long_at);
        const Stage& gemm_last = g[s.gemm_write];
        const bool gemm_write = gemm_writes(s.gemm_write);
        const bool gemm_done = gemm_last.end;

        // ALU, and the port that it shares with STORE.
        auto& a = alu_stages;
        const Step& request = alu.o();
        const Insn& op = insns[request.insn];
        const bool store_valid = store_request.valid;
        const i64 lanes = s.elements[OUT];
        const i64 row_offset = row.offset & (lanes - 1);
        const i64 row_count = row.step != 1 ? 1 : std::min(row.count, lanes - row_offset);
        bool meet = false;
        if (request.valid && store_valid) {
            auto of_store = [&](i64 index) {
                return ((index - store_request.position) & (s.banks - 1)) < store_request.count;
            };
            meet = (op.use_src && of_store(request.src))
                || (op.use_bias && of_store((request.src + 1) & (s.acc_depth - 1)));
        }
        const bool store_fire = store_valid && (!meet || turn);
        const bool store_take = row_active && store_free && (!store_valid || store_fire);
        bool wait = meet && turn;
        if (request.valid) {
            wait |= short_uses && bank(fifth.dst) == bank(request.dst);
            wait |= op.is_long && long_uses && bank(g[long_at].dst) == bank(request.dst);
            const Stage& meets = a[s.alu_long - s.alu_short];
            wait |= !op.is_long && meets.slow && (meets.valid || meets.end);
            const i64 bias = (request.src + 1) & (s.acc_depth - 1);
            for (i64 n = 1; n <= s.alu_long && !wait; n++) {
                const bool slow = a[n].valid && a[n].slow;
                wait |= slow && (a[n].dst == request.dst || (op.use_src && a[n].dst == request.src));
                wait |= (n > s.alu_short ? slow : a[n].valid) && op.use_bias && a[n].dst == bias;
            }
        }
        const bool alu_read = request.valid && !wait;
        a[0] = {alu_read, alu_read && request.last, false, op.is_long != 0, request.dst,
                request.entry};
        const Stage& slow = a[s.alu_long];
        const Stage& quick = a[s.alu_short];
        const bool slow_there = slow.valid || slow.end;
        const Stage& alu_last = slow_there ? slow : quick;
        const bool alu_write = slow_there ? slow.valid : quick.valid && !quick.slow;
        const bool alu_done = slow_there ? slow.end : quick.end && !quick.slow;

        // Its loader writes accumulators where neither of them does.
        loader.choose();
        loader.free = true;
        if (loader.held && loader.held_acc) {
            auto needs = [&](i64 index) {
                return ((index - loader.held_position) & (s.banks - 1)) < loader.held_count;
            };
            loader.free = !((gemm_write && needs(gemm_last.dst))
                            || (alu_write && needs(alu_last.dst)));
        }
        loader.fire = loader.wants() && loader.free;
        const bool go = loader.plans.readable() && ready(loader.plans.items.front().cookie);
        const bool loader_done = loader.completes(go);
        const i64 loader_cookie = loader.done_cookie;

        // Issue.
        const i64 next = heads[COMPUTE].valid ? queued[COMPUTE].front() : -1;
        const i64 pops = next >= 0 ? insns[next].pops : 0;
        const bool missing_prev = pops >> L2G & 1 && !tokens[L2G];
        const bool missing_next = pops >> S2G & 1 && !tokens[S2G];
        const i64 engine = next >= 0 ? insns[next].engine : NONE;
        const bool room = engine == LOADER ? loader.idle() : engine == GEMM ? gemm_queue.writable()
                        : engine == ALU ? alu_queue.writable() : true;
        const bool take = issue == 0 && next >= 0 && !missing_prev && !missing_next && room
            && count != s.window && in_turn(next);
        const bool gemm_go = gemm_queue.readable() && ready(gemm_queue.items.front().entry);
        const bool alu_go = alu_queue.readable() && ready(alu_queue.items.front().entry);
        const bool gemm_taken = gemm_go && gemm.accepts(true);
        const bool alu_taken = alu_go && alu.accepts(!wait);
        const bool leaving = count && !(running >> head & 1);
        const i64 head_posts = leaving ? insns[entries[head].insn].pushes : 0;
        const bool full_prev = head_posts >> G2L & 1 && tokens[G2L] == s.tokens_most;
        const bool full_next = head_posts >> G2S & 1 && tokens[G2S] == s.tokens_most;
        const bool leave = leaving && !full_prev && !full_next;

        // Scan.
        const bool row_en = reading && !was_pending;
        const bool scan_finished = working && scan_turn == s.scan_turns && !starting && !reading
            && !scan_rows;
        bool give = false;
        Ranges given_ranges;
        if (issue == 1 && loader.gives_range()) {
            const Insn& x = insns[loader.command.insn];
            const Span span{true, x.sram,
                            x.sram + Loader::width(x) * (x.y0 + x.y_size + x.y1) - 1};
            give = true;
            given_ranges.writes_uop = x.memory == UOP;
            (x.memory == UOP ? given_ranges.uops : given_ranges.writes) = span;
        } else if (issue == 2 && scan_done) {
            give = true;
            given_ranges = scan_ranges();
        }

        // Store.
        const i64 next_store = heads[STORE].valid ? queued[STORE].front() : -1;
        const bool store_missing = next_store >= 0 && insns[next_store].pops >> G2S & 1
            && !tokens[G2S];
        const bool store_start = store_state == 0 && next_store >= 0 && !store_missing
            && in_turn(next_store);
        const Insn& st = insns[store_insn];
        const bool label_room = labels.writable();
        const bool at_label = store_state == s.store_prepare + 1;
        const bool at_emit = store_state == s.store_prepare + 2;
        const bool store_empty = st.engine == NONE || st.y_size == 0;
        const bool aw_go = bursts.offered && lengths.writable() && answers.writable();
        const bool emit = at_emit && sources.writable() && bursts.accepts(aw_go);
        Row out{};
        if (at_emit) {
            const i64 in_beat = store_element & (lanes - 1);
            out = {store_element * s.element_bytes[OUT] / s.bus_bytes,
                   lanes == 1 ? st.x_size * s.beats[OUT] : (st.x_size + in_beat + lanes - 1) / lanes,
                   store_rows == 1};
        }
        const bool row_last = row.count == row_count;
        const bool row_next = !row_active || (store_take && row_last);
        const bool element_end = element_ends.empty() ? false : element_ends.front();
        const bool offered = elements.readable && lengths.readable();
        const bool send = lanes == 1 ? offered : offered && element_end;
        const bool element_taken = lanes == 1 ? offered && chunk == s.beats[OUT] - 1
                                              : elements.readable && (!element_end || send);
        const bool last_beat = lengths.readable() && sent == lengths.items.front().beats - 1;
        const bool store_complete = b_valid && answers.readable() && answers.items.front().tag;
        const bool label_ready = labels.readable() && (labels.items.front().empty || confirmed);
        const bool store_posts = labels.readable()
            && insns[labels.items.front().insn].pushes >> S2G & 1;
        const bool store_blocked = store_posts && tokens[S2G] == s.tokens_most;
        const bool store_leave = label_ready && !store_blocked;

        // The end: nothing is under way.
        const bool load_active = load.active() || load_start || (completed.readable() && !load_blocked);
        const bool compute_active = (count && !(leaving && !leave)) || take;
        const bool reads_row = row_active || sources.readable() || store_free != 16;
        const bool sends = bursts.left || bursts.offered || aw_valid || w_valid
            || lengths.readable() || answers.readable();
        const bool store_active = store_state || store_start || reads_row || sends
            || (labels.readable() && !(store_blocked && label_ready));
        const bool wait_load = load_missing || load_blocked;
        const bool wait_compute_prev = (issue == 0 && missing_prev) || (leaving && !leave && full_prev);
        const bool wait_compute_next = (issue == 0 && missing_next) || (leaving && !leave && full_next);
        const bool wait_store = (store_state == 0 && store_missing) || (store_blocked && label_ready);
        const bool ends = !fetch_busy && !load_active && !compute_active && !store_active
            && queue[LOAD].empty() && queue[COMPUTE].empty() && queue[STORE].empty()
            && !heads[LOAD].valid && !heads[COMPUTE].valid && !heads[STORE].valid
            && !wait_load && !wait_compute_prev && !wait_compute_next && !wait_store && now;

        if (now) {
            r.cycles_gemm += gemm_last.valid;
            r.cycles_alu += alu_write;
            r.alu_waits += request.valid && wait;
            r.load_busy += load_active;
            r.load_wait_g2l += wait_load;
            r.load_memory += load.starved();
            r.compute_busy += compute_active;
            r.compute_wait_load += wait_compute_prev;
            r.compute_wait_store += wait_compute_next;
            r.compute_memory += loader.starved();
            r.store_busy += store_active;
            r.store_wait_g2s += wait_store;
            r.read_beats += r_valid;
            r.fetch_beats += r_client == 0;
            r.write_beats += w_valid;
            // Why an engine of the compute unit does nothing: what holds the next instruction.
            const Cause front = issue ? START : next < 0 ? IDLE : missing_prev ? WAIT_LOAD
                : missing_next ? WAIT_STORE : START;
            const Cause front_order = issue == 0 && next >= 0 && !take && front == START ? ORDER : front;
            r.causes[0][load.fire ? BUSY : load.starved() ? MEMORY : load_missing ? WAIT_COMPUTE
                        : load.active() || next_load >= 0 ? START : IDLE]++;
            r.causes[1][gemm.active ? BUSY : gemm_queue.readable() && !gemm_go ? HAZARD
                        : gemm_queue.readable() ? START : front_order]++;
            r.causes[2][alu.active || request.valid ? (request.valid && wait ? BANK : BUSY)
                        : alu_queue.readable() && !alu_go ? HAZARD
                        : alu_queue.readable() ? START : front_order]++;
            r.causes[3][w_valid ? BUSY : store_valid && !store_fire ? BANK
                        : row_active && !store_take ? MEMORY
                        : store_state == 0 && store_missing && !sends ? WAIT_COMPUTE
                        : sends ? MEMORY : store_active ? START : IDLE]++;
        }
        moves = r_valid || b_valid || w_valid || gemm_last.valid || alu_write || load.fire
            || loader.fire || granted >= 0 || taken || load_start || take || store_start || leave;

        // ---- States change.
        if (r_valid && --reads.front().beats == 0) reads.pop_front();
        if (granted >= 0) {
            const RowReader& who = granted == 0 ? fetch : granted == 1 ? load.reader : loader.reader;
            reads.push_back({now + 1 + s.latency, who.ask.out, granted});
            last_client = granted;
        }

        // Fetch.
        const i64 first = s.bus_bytes > 16 ? s.insn_addr / 16 % per_beat : 0;
        const Row program{s.insn_addr / s.bus_bytes,
                          (insn_count * 16 + first * 16 + s.bus_bytes - 1) / s.bus_bytes, false};
        const bool asked = asking && now && fetch.accepts();
        if (fetch.give.valid && fetch_ready) second = !second;
        fetch.tick(granted == 0, r_client == 0, fetch_ready, asking && now, program);
        if (asked) asking = false;
        if (taken) {
            const i64 unit = insns[held_insn].unit;
            queued[unit].push_back(held_insn);
            held = false;
        }
        const i64 given_to = taken ? insns[held_insn].unit : -1;
        if (step) {
            held = true;
            held_insn = fetched++;
            if (s.bus_bytes > 16) place = (place + 1) % per_beat;
        }
        const bool starts[3] = {load_start, take, store_start};
        for (int unit = 0; unit < 3; unit++) {
            const bool readable = queue[unit].readable, pass = heads[unit].ready;
            queue[unit].tick(given_to == unit, pass);
            heads[unit].tick(readable, true, starts[unit]);
            if (starts[unit]) queued[unit].pop_front();
        }

        // Tokens.
        if (load_start && insns[next_load].pops >> G2L & 1) tokens[G2L]--;
        if (take) {
            tokens[L2G] -= pops >> L2G & 1;
            tokens[S2G] -= pops >> S2G & 1;
        }
        if (store_start && insns[next_store].pops >> G2S & 1) tokens[G2S]--;
        if (completed.readable() && !load_blocked) tokens[L2G] += load_posts;
        if (leave) {
            tokens[G2L] += head_posts >> G2L & 1;
            tokens[G2S] += head_posts >> G2S & 1;
        }
        if (store_leave) tokens[S2G] += store_posts;

        // Load.
        retired += (completed.readable() && !load_blocked) + leave + store_leave;
        if (completed.readable() && !load_blocked) {
            times[completed.items.front()].left = now;
            completed.items.pop_front();
        }
        if (load_done) {
            times[load_insn].done = now;
            completed.items.push_back(load_insn);
        }
        if (load_start) times[next_load].taken = now;
        load.tick(granted == 1, r_client == 1, load_start,
                  {next_load, 0, next_load >= 0 && insns[next_load].engine == NONE}, times, now,
                  nullptr, dram);

        // Window.
        was_pending = pending(scan_uops());
        uint64_t complete = 0;
        if (gemm_done) complete |= 1ull << gemm_last.entry;
        if (alu_done) complete |= 1ull << alu_last.entry;
        if (loader_done) complete |= 1ull << loader_cookie;
        for (i64 n = 0; complete && n < s.window; n++)
            if (complete >> n & 1) times[entries[n].insn].done = now;
        const uint64_t before = running;
        running &= ~complete;
        for (i64 n = 0; n < s.window; n++) waits[n] &= ~complete;
        if (gave) {
            for (i64 n = 0; n < s.window; n++)
                if (waits[gave_to] >> n & 1 && !gave_ranges.meets(ranges[n]))
                    waits[gave_to] &= ~(1ull << n);
            ranges[gave_to] = gave_ranges;
        }
        gave = give;
        gave_to = given;
        gave_ranges = given_ranges;
        if (give) issue = 0;
        if (leave) {
            times[entries[head].insn].left = now;
            head = (head + 1) % s.window;
        }
        count += take - leave;
        const i64 old_tail = tail;
        if (take) {
            uint64_t others = 0;
            for (i64 n = 0; n < s.window; n++)
                if (entries[n].engine != engine) others |= 1ull << n;
            waits[tail] = engine == NONE ? 0 : before & ~complete & others;
            ranges[tail] = Ranges{};
            entries[tail] = {next, engine};
            if (engine != NONE) running |= 1ull << tail;
            else times[next].begin = times[next].done = now;
            given = tail;
            tail = (tail + 1) % s.window;
            times[next].taken = now;
        }

        // Scan.
        scan_done = summing;
        summing = scan_finished;
        if (scan_finished) working = false;
        if (scan_turn != s.scan_turns) scan_turn++;
        scan_rows = (scan_rows << 1 | row_en) & (4 * s.scan_lanes - 1);
        if (starting) reading = true;
        starting = false;
        if (row_en) {
            const i64 last = std::min(insns[scan_insn].uop_end, s.uop_depth) - 1;
            if (scan_row++ == last / s.scan_lanes) reading = false;
        }
        if (take && engine >= GEMM) {
            scan_insn = next;
            working = starting = true;
            scan_turn = 0;
            scan_row = insns[next].uop_bgn / s.scan_lanes;
            issue = 2;
        } else if (take && engine == LOADER) issue = 1;

        // Engines.
        const i64 gemm_insn = gemm_taken ? gemm_queue.items.front().insn : 0;
        const i64 gemm_entry = gemm_taken ? gemm_queue.items.front().entry : 0;
        const i64 alu_insn = alu_taken ? alu_queue.items.front().insn : 0;
        const i64 alu_entry = alu_taken ? alu_queue.items.front().entry : 0;
        if (gemm_taken) { times[gemm_insn].begin = now; gemm_queue.items.pop_front(); }
        if (alu_taken) { times[alu_insn].begin = now; alu_queue.items.pop_front(); }
        if (take && engine == GEMM) gemm_queue.items.push_back({next, old_tail});
        if (take && engine == ALU) alu_queue.items.push_back({next, old_tail});
        for (size_t n = g.size() - 1; n; n--) g[n] = g[n - 1];
        for (i64 n = s.alu_long; n; n--) {
            a[n] = a[n - 1];
            if (n > s.alu_short) {
                a[n].valid = a[n].valid && a[n].slow;
                a[n].end = a[n].end && a[n].slow;
            }
        }
        gemm.tick(true, gemm_taken, gemm_insn, gemm_entry, uops.data());
        alu.tick(!wait, alu_taken, alu_insn, alu_entry, uops.data());
        if (meet) turn = !turn;
        loader.tick(granted == 2, r_client == 2, take && engine == LOADER, {next, old_tail, false},
                    times, now, uops.data(), dram);

        // Store.
        confirmed += store_complete - (store_leave && !labels.items.front().empty);
        if (store_leave) {
            times[labels.items.front().insn].left = now;
            labels.items.pop_front();
        }
        if (b_valid) {
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
        bursts.tick(aw_go, at_emit && sources.writable(), out);
        store_free += element_taken - store_take;
        elements.tick(store_s[3], element_taken);
        if (element_taken) element_ends.pop_front();
        if (store_s[3]) element_ends.push_back(end_s[3]);
        store_s[0] = store_fire;
        end_s[0] = store_request.end;
        for (int n = 3; n; n--) { store_s[n] = store_s[n - 1]; end_s[n] = end_s[n - 1]; }
        if (store_fire) {
            store_request.valid = false;
            if (!times[store_request.insn].begin) times[store_request.insn].begin = now;
            times[store_request.insn].done = now;
        }
        if (store_take) {
            store_request = {row.position, row_count, row.insn, true,
                             row_last || row_offset + row_count == lanes};
            row.position += row.step != 1 ? row.step : row_count;
            row.count -= row_count;
            row.offset = row_offset + row_count;
        }
        if (row_next) {
            row_active = sources.readable();
            if (row_active) { row = sources.items.front(); sources.items.pop_front(); }
        }
        const i64 store_step = st.sram_skip + 1;
        if (store_state == 0) {
            if (store_start) {
                store_insn = next_store;
                times[next_store].taken = now;
                const Insn& x = insns[next_store];
                store_state = x.engine == NONE || x.y_size == 0 ? s.store_prepare + 1 : 1;
                if (store_state != 1) times[next_store].begin = times[next_store].done = now;
            }
        } else if (at_label) {
            if (label_room) {
                labels.items.push_back({store_insn, store_empty});
                store_state = store_empty ? 0 : store_state + 1;
            }
        } else if (at_emit) {
            if (emit) {
                sources.items.push_back({store_position, store_step, st.x_size,
                                         store_element & (lanes - 1), store_insn});
                store_element += st.x_stride;
                store_position += st.sram_stride ? st.sram_stride
                                                 : (st.x_size - 1) * store_step + store_step;
                if (--store_rows == 0) store_state = 0;
            }
        } else {
            if (store_state++ == 1) {
                store_rows = st.y_size;
                store_element = st.dram;
                store_position = st.sram;
            }
        }
        now++;
        return ends;
    }

    bool aw_valid = false, w_valid = false;
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
    result->cycles = core.now - 1;
    return result->cycles;
}
