// A master with random bursts for the model of hw/sdram.py. Follows harness.cpp and sdram_chip.cpp in
// the same translation unit.

namespace {

struct SdramSetup {  // as the ctypes structure of sim/sdram.py
    ChipSetup chip;
    uint64_t seed;
    int32_t longest;      // beats of a burst
    int32_t linear;       // one burst after the other from address 0 on, instead of random ones
    int32_t kinds;        // 1: reads, 2: writes, 3: both
    uint32_t stall;       // probability of a pause, times 2**32 - 1
    int64_t bursts, timeout;
    int64_t cycles, words, latency, refreshes, activations;  // measured, after the start
};

}  // namespace

extern "C" int64_t npu_sdram_run(void* handle, SdramSetup* setup, char* message,
                                 uint32_t message_bytes) {
    Engine& e = *static_cast<Engine*>(handle);
    SdramSetup& s = *setup;
    auto port = [&](const char* name) -> const Port& { return port_named(e, name); };
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
    const uint32_t beat = rdata.bytes;
    ChipPins pins(e, "pins__", s.chip, ~s.seed);
    Chip& chip = pins.chip;
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
        pins.clock();
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
            pins.clock();
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
