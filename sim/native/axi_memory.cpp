// An AXI4 memory around a model with the ports `m_axi__*`: runs it until the port `irq` is high.
// Follows harness.cpp in the same translation unit.
//
// The memory is as unkind as the standard allows. A read takes its data when the address is
// accepted, a write takes effect when its answer is given, so whoever does not wait for an answer is
// found out. Answers come `latency` cycles after the request, in order; each channel pauses at
// random. What the master offers has to stay; bursts are checked.
#include <cstdio>
#include <deque>
#include <string>

namespace {

struct AxiSetup {  // as the ctypes structure of sim/vta_rtl.py
    uint64_t seed;
    int64_t bytes;       // of the memory; beyond it, answers are SLVERR
    int64_t timeout;     // cycles
    uint64_t origin;     // address of its first byte
    int64_t dead_after;  // no answers from this cycle on; -1: never
    uint32_t latency;    // 1 or more
    uint32_t latency_spread;
    uint32_t stall;      // probability of a pause, times 2**32 - 1
    uint32_t mirrored;   // the memory repeats over all addresses; its size divides 4 GiB
    uint32_t read_beats, write_beats, reads, writes;  // counted
};

// Of a core with the ports `writes` and `writes_valid`: `writes`, in the cycles when it was valid.
std::vector<uint8_t> g_trace;

constexpr uint8_t kOkay = 0, kSlaveError = 2;

struct AxiPorts {
    Engine& e;
    uint8_t* data(const char* name) const {
        for (int k = 0; k < kPortCount; k++)
            if (!std::strcmp(kPorts[k].name, name)) return e.ports[k].data;
        return nullptr;
    }
    const Port& port(const char* name) const {
        for (int k = 0; k < kPortCount; k++)
            if (!std::strcmp(kPorts[k].name, name)) return e.ports[k];
        return e.ports[0];
    }
};

struct Held {  // what a channel of the master offers, and whether it has to stay
    std::vector<Port> fields;
    uint8_t* valid;
    uint8_t* ready;
    std::vector<uint8_t> last;
    bool open = false;

    std::vector<uint8_t> now() const {
        std::vector<uint8_t> bytes;
        for (const Port& field : fields) bytes.insert(bytes.end(), field.data, field.data + field.bytes);
        return bytes;
    }
    bool broken() {
        const bool bad = open && (!*valid || now() != last);
        open = *valid && !*ready;
        if (open) last = now();
        return bad;
    }
};

struct Answer {
    int64_t due = 0;
    uint64_t address = 0;
    uint32_t beats = 0;
    bool error = false;
    std::vector<uint8_t> data;    // of a read, as it was; of a write, as it will be
    std::vector<uint8_t> enable;  // bytes that a write changes
    uint32_t done = 0;
};

}  // namespace

extern "C" int64_t npu_axi_run(void* handle, AxiSetup* setup, uint8_t* dram, char* message,
                               uint32_t message_bytes) {
    Engine& e = *static_cast<Engine*>(handle);
    const AxiPorts p{e};
    Random random{setup->seed};
    auto pause = [&] { return setup->stall && (random.next() >> 32) < setup->stall; };
    auto after = [&](int64_t cycle) {
        return cycle + setup->latency
               + (setup->latency_spread ? random.next() % setup->latency_spread : 0);
    };
    auto field64 = [&](const Port& port) {
        uint64_t value = 0;
        std::memcpy(&value, port.data, port.bytes < 8 ? port.bytes : 8);
        return value;
    };
    const Port araddr = p.port("m_axi__araddr"), awaddr = p.port("m_axi__awaddr");
    const Port wdata = p.port("m_axi__wdata"), wstrb = p.port("m_axi__wstrb");
    const Port rdata = p.port("m_axi__rdata");
    uint8_t *arvalid = p.data("m_axi__arvalid"), *arready = p.data("m_axi__arready"),
            *arlen = p.data("m_axi__arlen"), *awvalid = p.data("m_axi__awvalid"),
            *awready = p.data("m_axi__awready"), *awlen = p.data("m_axi__awlen"),
            *wvalid = p.data("m_axi__wvalid"), *wready = p.data("m_axi__wready"),
            *wlast = p.data("m_axi__wlast"), *rvalid = p.data("m_axi__rvalid"),
            *rready = p.data("m_axi__rready"), *rlast = p.data("m_axi__rlast"),
            *rresp = p.data("m_axi__rresp"), *bvalid = p.data("m_axi__bvalid"),
            *bready = p.data("m_axi__bready"), *bresp = p.data("m_axi__bresp"),
            *irq = p.data("irq");
    const uint32_t beat = rdata.bytes;
    Held held[3] = {{{araddr, p.port("m_axi__arlen")}, arvalid, arready, {}},
                    {{awaddr, p.port("m_axi__awlen")}, awvalid, awready, {}},
                    {{wdata, wstrb, p.port("m_axi__wlast")}, wvalid, wready, {}}};
    static const char* const kNames[3] = {"AR", "AW", "W"};

    // Writes: their addresses; their data, the last one not complete; those that are complete.
    std::deque<Answer> reads, writes, sent(1), answers;
    int64_t cycle = 0;
    std::string wrong;
    auto burst_error = [&](uint64_t address, uint32_t beats, const char* channel) {
        char text[128];
        const uint64_t last = address + uint64_t(beats) * beat - 1;
        if (address % beat || address / 4096 != last / 4096) {
            std::snprintf(text, sizeof text, "%s: burst of %u beats from %#llx", channel, beats,
                          static_cast<unsigned long long>(address));
            wrong = text;
        }
    };
    auto from_origin = [&](uint64_t address) {
        return setup->mirrored ? (address - setup->origin) % uint64_t(setup->bytes)
                               : address - setup->origin;
    };
    auto outside = [&](uint64_t address, uint64_t size) {  // as counted from the origin
        return address >= uint64_t(setup->bytes) || address + size > uint64_t(setup->bytes);
    };
    bool r_open = false, b_open = false;
    const uint8_t* trace_valid = p.data("writes_valid");
    const Port trace = p.port("writes");
    g_trace.clear();
    while (wrong.empty() && cycle < setup->timeout) {
        const bool dead = setup->dead_after >= 0 && cycle >= setup->dead_after;
        *arready = !dead && !pause();
        *awready = !dead && !pause();
        *wready = !dead && !pause();
        if (!r_open)
            r_open = !dead && !reads.empty() && reads.front().due <= cycle && !pause();
        *rvalid = r_open;
        if (r_open) {
            const Answer& a = reads.front();
            rdata.set(&a.data[a.done * beat], beat);
            *rlast = a.done + 1 == a.beats;
            *rresp = a.error ? kSlaveError : kOkay;
        } else {
            for (uint32_t b = 0; b < beat; b += 8) {
                const uint64_t noise = random.next();
                std::memcpy(rdata.data + b, &noise, beat - b < 8 ? beat - b : 8);
            }
        }
        if (!b_open)
            b_open = !dead && !answers.empty() && answers.front().due <= cycle && !pause();
        *bvalid = b_open;
        *bresp = b_open && answers.front().error ? kSlaveError : kOkay;

        e.settle();
        for (int k = 0; k < 3; k++)
            if (held[k].broken()) wrong = std::string(kNames[k]) + " changed what it offered";
        if (*arvalid && *arready) {
            Answer a{after(cycle), field64(araddr), uint32_t(*arlen) + 1, false};
            burst_error(a.address, a.beats, "AR");
            a.address = from_origin(a.address);
            const uint64_t size = uint64_t(a.beats) * beat;
            a.data.assign(size, 0xA5);
            a.error = outside(a.address, size);
            if (a.address < uint64_t(setup->bytes)) {
                const uint64_t left = setup->bytes - a.address;
                std::memcpy(a.data.data(), dram + a.address, size < left ? size : left);
            }
            setup->reads++;
            reads.push_back(std::move(a));
        }
        if (*awvalid && *awready) {
            Answer a{0, field64(awaddr), uint32_t(*awlen) + 1, false};
            burst_error(a.address, a.beats, "AW");
            a.address = from_origin(a.address);
            setup->writes++;
            writes.push_back(std::move(a));
        }
        if (*wvalid && *wready) {
            Answer& a = sent.back();
            a.data.insert(a.data.end(), wdata.data, wdata.data + beat);
            for (uint32_t b = 0; b < beat; b++) a.enable.push_back(wstrb.data[b / 8] >> b % 8 & 1);
            setup->write_beats++;
            a.beats++;
            if (*wlast) sent.push_back({});
        }
        while (!writes.empty() && sent.size() > 1) {  // an address, and all of its data
            Answer& a = sent.front();
            if (a.beats != writes.front().beats) wrong = "W: last beat in the wrong place";
            a.address = writes.front().address;
            a.due = after(cycle);
            a.error = outside(a.address, a.data.size());
            answers.push_back(std::move(a));
            writes.pop_front();
            sent.pop_front();
        }
        if (r_open && *rready) {
            setup->read_beats++;
            r_open = false;
            if (++reads.front().done == reads.front().beats) reads.pop_front();
        }
        if (b_open && *bready) {
            const Answer& a = answers.front();
            for (size_t b = 0; b < a.data.size(); b++)
                if (a.enable[b] && !outside(a.address + b, 1)) dram[a.address + b] = a.data[b];
            answers.pop_front();
            b_open = false;
        }
        if (trace_valid && *trace_valid)
            g_trace.insert(g_trace.end(), trace.data, trace.data + trace.bytes);
        const bool finished = *irq;
        e.rise();
        cycle++;
        if (finished) break;
    }
    *arready = *awready = *wready = *rvalid = *bvalid = 0;
    std::snprintf(message, message_bytes, "%s", wrong.c_str());
    return cycle;
}

// The trace of the last run: its bytes, which stay until the next.
extern "C" const uint8_t* npu_axi_trace(uint64_t* bytes) {
    *bytes = g_trace.size();
    return g_trace.data();
}
