// A chip of SDR SDRAM that checks its timing, and a master with random bursts, around the model of
// hw/sdram.py. Follows harness.cpp in the same translation unit.
//
// The chip's clock is the controller's inverted: what the pins show in a cycle is sampled in its
// middle, and a word that is read is there at the end of the cycle CAS - 1 later, and only then.
#include <cstdio>
#include <deque>
#include <string>

namespace {

struct SdramSetup {  // as the ctypes structure of sim/sdram.py; times in ps
    uint64_t seed;
    int64_t period, rcd, rp, ras, rc, rfc, rrd, wr, ras_max, refresh, power_up;
    int32_t mrd, cas, column_bits, bank_bits, row_bits;
    int32_t longest;      // beats of a burst
    int32_t linear;       // one burst after the other from address 0 on, instead of random ones
    int32_t kinds;        // 1: reads, 2: writes, 3: both
    uint32_t stall;       // probability of a pause, times 2**32 - 1
    int64_t bursts, timeout;
    int64_t cycles, words, latency, refreshes, activations;  // measured, after the start
};

struct Chip {
    const SdramSetup& s;
    std::vector<uint16_t> memory;
    struct Bank { int64_t act = -1000000000, pre = -1000000000, write = -1000000000; int row = -1; };
    std::vector<Bank> banks;
    int64_t now = 0, last_refresh = -1000000000, last_act = -1000000000, mode = -1000000000;
    int refreshes = 0;
    bool precharged = false, ready = false;
    std::deque<std::pair<int64_t, uint16_t>> out;  // cycle at the end of which a word is there
    std::string wrong;
    int64_t count_refreshes = 0, count_activations = 0;

    explicit Chip(const SdramSetup& setup)
        : s(setup), memory(1u << (s.column_bits + s.bank_bits + s.row_bits), 0),
          banks(1u << s.bank_bits) {}

    void rule(bool kept, const char* name, int64_t cycle) {
        if (kept || !wrong.empty()) return;
        char text[96];
        std::snprintf(text, sizeof text, "cycle %lld: %s", static_cast<long long>(cycle), name);
        wrong = text;
    }

    void clock(int64_t c, int cs_n, int ras_n, int cas_n, int we_n, int ba, int a, int dqm, int oe,
               uint16_t dq) {
        now = c * s.period;
        if (ready) rule(now - last_refresh <= s.refresh, "refresh interval", c);
        for (const auto& [due, word] : out)
            rule(!(oe && (due == c || due == c - 1)), "both sides drive DQ", c);
        for (const Bank& b : banks)
            rule(b.row < 0 || now - b.act <= s.ras_max, "tRAS max", c);
        const int which = cs_n ? 7 : ras_n << 2 | cas_n << 1 | we_n;
        rule(!oe || which == 4, "DQ driven without a WRITE", c);
        if (which == 7) return;
        rule(now >= s.power_up, "a command before the chip is up", c);
        rule(c - mode >= s.mrd, "tMRD", c);
        rule(now - last_refresh >= s.rfc, "tRFC", c);
        Bank& bank = banks[ba];
        switch (which) {
        case 3:  // ACTIVATE
            rule(ready, "ACTIVATE before the mode is set", c);
            rule(bank.row < 0, "ACTIVATE of an open bank", c);
            rule(now - bank.act >= s.rc, "tRC", c);
            rule(now - bank.pre >= s.rp, "tRP", c);
            rule(now - last_act >= s.rrd, "tRRD", c);
            bank.act = last_act = now;
            bank.row = a;
            count_activations++;
            break;
        case 5: case 4: {  // READ, WRITE
            rule(bank.row >= 0, "READ or WRITE of a closed bank", c);
            rule(now - bank.act >= s.rcd, "tRCD", c);
            rule(!(a >> 10 & 1) && a < 1 << s.column_bits, "column address", c);
            const size_t at = (size_t(bank.row < 0 ? 0 : bank.row) << s.bank_bits | ba)
                              << s.column_bits | (a & ((1 << s.column_bits) - 1));
            if (which == 5) {
                out.push_back({c + s.cas - 1, memory[at]});
            } else {
                rule(oe, "WRITE without data", c);
                if (!(dqm & 1)) memory[at] = (memory[at] & 0xff00) | (dq & 0x00ff);
                if (!(dqm & 2)) memory[at] = (memory[at] & 0x00ff) | (dq & 0xff00);
                bank.write = now;
            }
            break;
        }
        case 2:  // PRECHARGE
            for (int k = 0; k < int(banks.size()); k++) {
                if (!(a >> 10 & 1) && k != ba) continue;
                Bank& b = banks[k];
                if (b.row >= 0) {
                    rule(now - b.act >= s.ras, "tRAS", c);
                    rule(now - b.write >= s.wr, "tWR", c);
                }
                b.row = -1;
                b.pre = now;
            }
            precharged |= a >> 10 & 1;
            break;
        case 1:  // REFRESH
            rule(precharged, "REFRESH before PRECHARGE", c);
            for (const Bank& b : banks) {
                rule(b.row < 0, "REFRESH with an open bank", c);
                rule(now - b.pre >= s.rp, "tRP before REFRESH", c);
                rule(now - b.act >= s.rc, "tRC before REFRESH", c);
            }
            last_refresh = now;
            refreshes++;
            count_refreshes++;
            break;
        case 0:  // MODE
            rule(refreshes >= 8, "8 REFRESH before the mode is set", c);
            for (const Bank& b : banks) rule(b.row < 0, "mode set with an open bank", c);
            rule(a == s.cas << 4 && ba == 0, "mode", c);
            mode = c;
            ready = true;
            break;
        default:
            rule(false, "unknown command", c);
        }
    }

    uint16_t drive(int64_t c, Random& random) {  // DQ at the end of a cycle
        while (!out.empty() && out.front().first < c - 1) out.pop_front();
        for (const auto& [due, word] : out)
            if (due == c) return word;
        return uint16_t(random.next());
    }
};

}  // namespace

extern "C" int64_t npu_sdram_run(void* handle, SdramSetup* setup, char* message,
                                 uint32_t message_bytes) {
    Engine& e = *static_cast<Engine*>(handle);
    SdramSetup& s = *setup;
    auto port = [&](const char* name) -> const Port& {
        for (int k = 0; k < kPortCount; k++)
            if (!std::strcmp(kPorts[k].name, name)) return e.ports[k];
        std::abort();
    };
    auto value = [&](const Port& p) {
        uint64_t v = 0;
        std::memcpy(&v, p.data, p.bytes < 8 ? p.bytes : 8);
        return v;
    };
    auto set = [&](const Port& p, uint64_t v) {
        p.set(reinterpret_cast<const uint8_t*>(&v), 8);
    };
    const Port &awaddr = port("axi__awaddr"), &awlen = port("axi__awlen"),
               &awvalid = port("axi__awvalid"), &awready = port("axi__awready"),
               &wdata = port("axi__wdata"), &wstrb = port("axi__wstrb"),
               &wlast = port("axi__wlast"), &wvalid = port("axi__wvalid"),
               &wready = port("axi__wready"), &bvalid = port("axi__bvalid"),
               &bready = port("axi__bready"), &araddr = port("axi__araddr"),
               &arlen = port("axi__arlen"), &arvalid = port("axi__arvalid"),
               &arready = port("axi__arready"), &rdata = port("axi__rdata"),
               &rlast = port("axi__rlast"), &rvalid = port("axi__rvalid"),
               &rready = port("axi__rready");
    const Port &cs_n = port("pins__cs_n"), &ras_n = port("pins__ras_n"),
               &cas_n = port("pins__cas_n"), &we_n = port("pins__we_n"), &ba = port("pins__ba"),
               &a = port("pins__a"), &dqm = port("pins__dqm"), &oe = port("pins__dq_oe"),
               &dq_o = port("pins__dq_o"), &dq_i = port("pins__dq_i");
    const uint32_t beat = rdata.bytes;
    Chip chip(s);
    Random random{s.seed};
    auto pause = [&] { return s.stall && (random.next() >> 32) < s.stall; };
    const uint64_t size = chip.memory.size() * 2;
    std::vector<uint8_t> shadow(size, 0);  // in the order in which bursts were accepted

    struct Burst { bool write; uint64_t address; int beats; int64_t since; };
    struct Beat { std::vector<uint8_t> data; uint32_t strobe; bool last; };
    std::deque<Beat> w_queue, r_queue;
    std::deque<int64_t> r_since;
    Burst next{};
    bool offered = false, w_open = false;
    int64_t made = 0, answered = 0, writes = 0, reads_done = 0, cycle = 0, begun = -1;
    uint64_t linear = 0;
    int outstanding_b = 0;
    s.words = 0;
    s.latency = -1;
    std::string wrong;
    while (wrong.empty() && chip.wrong.empty() && cycle < s.timeout && answered < s.bursts) {
        if (!offered && made < s.bursts && chip.ready && !pause()) {
            if (begun < 0) {
                begun = cycle;
                chip.count_refreshes = chip.count_activations = 0;
            }
            next.write = s.kinds == 2 || (s.kinds == 3 && (random.next() & 1));
            const int room = 4096 / beat < s.longest ? 4096 / beat : s.longest;
            next.beats = s.linear ? room : 1 + int(random.next() % room);
            if (s.linear) {
                next.address = linear % size;
                linear += uint64_t(next.beats) * beat;
            } else {
                // Often near the last one: the same row, another row, another bank.
                const uint64_t r = random.next();
                next.address = r % 4 == 0 ? r >> 8 : next.address + ((r >> 8) % 8192);
                next.address = next.address % size / beat * beat;
                const uint64_t in_page = 4096 - next.address % 4096;
                if (uint64_t(next.beats) * beat > in_page) next.beats = int(in_page / beat);
            }
            next.since = cycle;
            offered = true;
            made++;
        }
        set(awvalid, offered && next.write);
        set(arvalid, offered && !next.write);
        set(awaddr, next.address);
        set(araddr, next.address);
        set(awlen, next.beats - 1);
        set(arlen, next.beats - 1);
        if (!w_open) w_open = !w_queue.empty() && !pause();
        set(wvalid, w_open);
        if (w_open) {
            wdata.set(w_queue.front().data.data(), beat);
            set(wstrb, w_queue.front().strobe);
            set(wlast, w_queue.front().last);
        }
        set(rready, !pause());
        set(bready, !pause());

        e.settle();
        chip.clock(cycle, value(cs_n), value(ras_n), value(cas_n), value(we_n), int(value(ba)),
                   int(value(a)), int(value(dqm)), value(oe), uint16_t(value(dq_o)));
        set(dq_i, chip.drive(cycle, random));
        e.settle();

        if (offered && value(next.write ? awready : arready)) {
            offered = false;
            for (int n = 0; n < next.beats; n++) {
                Beat b{std::vector<uint8_t>(beat), 0, n + 1 == next.beats};
                uint8_t* at = &shadow[next.address + uint64_t(n) * beat];
                if (next.write) {
                    for (auto& byte : b.data) byte = uint8_t(random.next());
                    b.strobe = random.next() & 1 ? ~0u : uint32_t(random.next());
                    if (s.linear) b.strobe = ~0u;
                    if (beat < 32) b.strobe &= (1u << beat) - 1;
                    for (uint32_t k = 0; k < beat; k++)
                        if (b.strobe >> k & 1) at[k] = b.data[k];
                    w_queue.push_back(b);
                } else {
                    b.data.assign(at, at + beat);
                    r_queue.push_back(b);
                }
            }
            if (next.write) outstanding_b++;
            else r_since.push_back(cycle);
        }
        if (w_open && value(wready)) {
            w_queue.pop_front();
            w_open = false;
            s.words += beat / 2;
        }
        if (value(rvalid) && value(rready)) {
            if (r_queue.empty()) {
                wrong = "R without a request";
            } else {
                const Beat& b = r_queue.front();
                if (std::memcmp(rdata.data, b.data.data(), beat)) wrong = "R has wrong data";
                if (bool(value(rlast)) != b.last) wrong = "RLAST in the wrong place";
                if (!r_since.empty() && r_since.front() >= 0) {
                    const int64_t took = cycle - r_since.front();
                    if (s.latency < 0 || took < s.latency) s.latency = took;
                    r_since.front() = -1;
                }
                if (b.last) {
                    answered++;
                    r_since.pop_front();
                }
                r_queue.pop_front();
                s.words += beat / 2;
            }
        }
        if (value(bvalid) && value(bready)) {
            if (outstanding_b-- == 0) wrong = "B without a request";
            answered++;
        }
        e.rise();
        cycle++;
    }
    if (wrong.empty()) wrong = chip.wrong;
    if (wrong.empty() && answered < s.bursts) wrong = "not done in time";
    if (wrong.empty()) {  // the chip itself, not only what was read
        for (int n = 0; n < 64; n++) {  // let the last words arrive
            e.settle();
            chip.clock(cycle, value(cs_n), value(ras_n), value(cas_n), value(we_n), int(value(ba)),
                       int(value(a)), int(value(dqm)), value(oe), uint16_t(value(dq_o)));
            e.rise();
            cycle++;
        }
        if (std::memcmp(shadow.data(), chip.memory.data(), size)) wrong = "memory differs";
        cycle -= 64;
    }
    s.cycles = cycle - begun;
    s.refreshes = chip.count_refreshes;
    s.activations = chip.count_activations;
    std::snprintf(message, message_bytes, "%s", wrong.c_str());
    return cycle;
}
