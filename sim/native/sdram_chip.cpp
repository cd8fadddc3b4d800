// A chip of SDR SDRAM that checks its timing, at the pins of a model that has a controller of
// hw/sdram.py. Follows harness.cpp in the same translation unit.
//
// The chip's clock is the controller's inverted: what the pins show in a cycle is sampled in its
// middle, and a word that is read is there at the end of the cycle CAS - 1 later, and only then.
#include <cstdio>
#include <deque>
#include <string>

namespace {

struct ChipSetup {  // as the ctypes structure of sim/sdram.py; times in ps
    int64_t period, rcd, rp, ras, rc, rfc, rrd, wr, ras_max, refresh, power_up;
    int32_t mrd, cas, column_bits, bank_bits, row_bits;
};

struct Chip {
    const ChipSetup s;
    std::vector<uint16_t> memory;
    struct Bank { int64_t act = -1000000000, pre = -1000000000, write = -1000000000; int row = -1; };
    std::vector<Bank> banks;
    int64_t now = 0, last_refresh = -1000000000, last_act = -1000000000, mode = -1000000000;
    int refreshes = 0;
    bool precharged = false, ready = false;
    std::deque<std::pair<int64_t, uint16_t>> out;  // cycle at the end of which a word is there
    std::string wrong;
    int64_t count_refreshes = 0, count_activations = 0;

    explicit Chip(const ChipSetup& setup)
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

const Port& port_named(const Engine& e, const std::string& name) {
    for (int k = 0; k < kPortCount; k++)
        if (name == kPorts[k].name) return e.ports[k];
    std::fprintf(stderr, "no port %s\n", name.c_str());
    std::abort();
}

uint64_t value(const Port& p) {
    uint64_t v = 0;
    std::memcpy(&v, p.data, p.bytes < 8 ? p.bytes : 8);
    return v;
}

void set(const Port& p, uint64_t v) { p.set(reinterpret_cast<const uint8_t*>(&v), 8); }

struct ChipPins {  // a chip, and the pins of the model that it is joined to
    Chip chip;
    Random random;  // of what is on DQ while nobody drives it
    int64_t cycle = 0;
    Port cs_n, ras_n, cas_n, we_n, ba, a, dqm, oe, dq_o, dq_i;

    ChipPins(const Engine& e, const std::string& prefix, const ChipSetup& setup, uint64_t seed)
        : chip(setup), random{seed}, cs_n(port_named(e, prefix + "cs_n")),
          ras_n(port_named(e, prefix + "ras_n")), cas_n(port_named(e, prefix + "cas_n")),
          we_n(port_named(e, prefix + "we_n")), ba(port_named(e, prefix + "ba")),
          a(port_named(e, prefix + "a")), dqm(port_named(e, prefix + "dqm")),
          oe(port_named(e, prefix + "dq_oe")), dq_o(port_named(e, prefix + "dq_o")),
          dq_i(port_named(e, prefix + "dq_i")) {}

    void clock() {  // a cycle; the model has settled, and has to settle again
        chip.clock(cycle, *cs_n.data, *ras_n.data, *cas_n.data, *we_n.data, *ba.data,
                   int(value(a)), *dqm.data, *oe.data, uint16_t(value(dq_o)));
        set(dq_i, chip.drive(cycle++, random));
    }
};

}  // namespace

extern "C" {

void* npu_chip_new(void* handle, const char* prefix, const ChipSetup* setup, uint64_t seed) {
    return new ChipPins(*static_cast<Engine*>(handle), prefix, *setup, seed);
}
void npu_chip_delete(void* chip) { delete static_cast<ChipPins*>(chip); }
const char* npu_chip_wrong(void* chip) { return static_cast<ChipPins*>(chip)->chip.wrong.c_str(); }
uint16_t* npu_chip_memory(void* chip) { return static_cast<ChipPins*>(chip)->chip.memory.data(); }

}  // extern "C"
