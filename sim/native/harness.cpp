// Drives one Verilated model from Python: single ports, arrays row by row, streams with stalls.
//
// `ports.inc`, written beside this file by sim/verilated.py, lists ports and memories. Numbers
// travel as little-endian bytes; bits above a port's width are dropped.
//
// A cycle: inputs are set while the clock is low, everything settles, outputs are looked at, then
// the clock rises.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "Vtop___024root.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace {

struct PortInfo {
    const char* name;
    int width;
    int is_input;
    void* (*at)(Vtop&);
};

struct MemoryInfo {
    const char* name;
    uint32_t bytes;  // of a row that are used
    uint32_t depth;
    uint32_t pitch;
    void* (*at)(Vtop&);
};

#include "ports.inc"

constexpr int kPortCount = sizeof(kPorts) / sizeof(kPorts[0]);
constexpr int kMemoryCount = sizeof(kMemories) / sizeof(kMemories[0]) - 1;

struct Port {
    uint8_t* data;
    uint32_t bytes;
    uint8_t mask;  // of the last byte

    void set(const uint8_t* from, uint32_t size) const {
        if (size >= bytes) {
            std::memcpy(data, from, bytes);
        } else {
            std::memcpy(data, from, size);
            std::memset(data + size, 0, bytes - size);
        }
        data[bytes - 1] &= mask;
    }
    void get(uint8_t* to, uint32_t size) const {
        if (size > bytes) std::memset(to + bytes, 0, size - bytes);
        std::memcpy(to, data, size < bytes ? size : bytes);
    }
};

struct Random {  // splitmix64
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
};

struct Engine {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    std::vector<Port> ports;
    uint8_t* clk = nullptr;
    uint64_t time = 0;
#if VM_TRACE_FST
    std::unique_ptr<VerilatedFstC> wave;
#endif

    explicit Engine(const char* wave_path) {
        context.traceEverOn(wave_path != nullptr);
        top = std::make_unique<Vtop>(&context, "top");
        for (const PortInfo& info : kPorts) {
            const uint32_t bytes = (info.width + 7) / 8;
            const uint8_t mask = info.width % 8 ? (1 << info.width % 8) - 1 : 0xFF;
            ports.push_back({static_cast<uint8_t*>(info.at(*top)), bytes, mask});
            if (!std::strcmp(info.name, "clk")) clk = ports.back().data;
        }
#if VM_TRACE_FST
        if (wave_path) {
            wave = std::make_unique<VerilatedFstC>();
            top->trace(wave.get(), 99);
            wave->open(wave_path);
        }
#endif
    }
    ~Engine() {
        top->final();
#if VM_TRACE_FST
        if (wave) wave->close();
#endif
    }
    void dump() {
#if VM_TRACE_FST
        if (wave) wave->dump(time);
#endif
        time++;
    }
    void settle() {
        if (clk) *clk = 0;
        top->eval();
    }
    void rise() {  // the end of a cycle; `settle` came before
        dump();
        if (clk) {
            *clk = 1;
            top->eval();
        }
        dump();
    }
};

// As the ctypes structures of sim/verilated.py.
struct Column {
    int32_t port;
    uint32_t row_bytes;
    uint8_t* data;
};

struct Stream {
    int32_t is_input, payload, valid, ready;
    uint32_t row_bytes;
    uint32_t stall;  // probability of a pause, times 2**32 - 1
    uint64_t seed;
    int64_t count;
    uint8_t* data;
    int64_t* cycles;  // of each transfer
    int64_t done;     // transfers made
};

enum { kDone = 0, kTimeout = 1, kTakenBack = 2, kChanged = 3, kTooMany = 4 };

struct Live {  // a stream while it runs
    Stream& s;
    Port payload;
    uint8_t* valid;
    uint8_t* ready;
    Random random;
    bool open = false;  // offered by us, or seen offered and not yet taken
    std::vector<uint8_t> held;

    bool pause() { return s.stall && (random.next() >> 32) < s.stall; }
};

}  // namespace

extern "C" {

int npu_port_count() { return kPortCount; }
const char* npu_port_name(int port) { return kPorts[port].name; }
int npu_port_width(int port) { return kPorts[port].width; }
int npu_port_is_input(int port) { return kPorts[port].is_input; }

void* npu_new(const char* wave_path) { return new Engine(wave_path); }
void npu_delete(void* handle) { delete static_cast<Engine*>(handle); }

void npu_set(void* handle, int port, const uint8_t* from, uint32_t size) {
    static_cast<Engine*>(handle)->ports[port].set(from, size);
}

void npu_get(void* handle, int port, uint8_t* to, uint32_t size) {
    Engine& e = *static_cast<Engine*>(handle);
    e.settle();
    e.ports[port].get(to, size);
}

int npu_memory_count() { return kMemoryCount; }
const char* npu_memory_name(int memory) { return kMemories[memory].name; }
uint32_t npu_memory_depth(int memory) { return kMemories[memory].depth; }
uint32_t npu_memory_bytes(int memory) { return kMemories[memory].bytes; }

void npu_memory_get(void* handle, int memory, uint8_t* to) {
    const MemoryInfo& info = kMemories[memory];
    const uint8_t* from =
        static_cast<const uint8_t*>(info.at(*static_cast<Engine*>(handle)->top));
    for (uint32_t row = 0; row < info.depth; row++)
        std::memcpy(to + row * info.bytes, from + row * info.pitch, info.bytes);
}

void npu_step(void* handle, uint64_t cycles) {
    Engine& e = *static_cast<Engine*>(handle);
    for (uint64_t i = 0; i < cycles; i++) {
        e.settle();
        e.rise();
    }
}

void npu_pipe(void* handle, int64_t rows, int64_t latency, int in_count, const Column* ins,
              int out_count, const Column* outs) {
    Engine& e = *static_cast<Engine*>(handle);
    for (int64_t cycle = 0; cycle < rows + latency; cycle++) {
        if (cycle < rows) {
            for (int k = 0; k < in_count; k++) {
                e.ports[ins[k].port].set(ins[k].data + cycle * ins[k].row_bytes, ins[k].row_bytes);
            }
        }
        e.settle();
        if (cycle >= latency) {
            for (int k = 0; k < out_count; k++) {
                e.ports[outs[k].port].get(outs[k].data + (cycle - latency) * outs[k].row_bytes,
                                          outs[k].row_bytes);
            }
        }
        e.rise();
    }
}

// Runs until every stream made its transfers, then `linger` cycles in which nothing more may come.
// Returns one of the codes above; `*cycle` is the number of cycles run, `*which` the stream that
// broke a rule.
int npu_streams(void* handle, int count, Stream* streams, int64_t timeout, int64_t linger,
                int64_t* cycle, int* which) {
    Engine& e = *static_cast<Engine*>(handle);
    static uint8_t always;  // stands for a `valid` or `ready` that has no port
    std::vector<Live> live;
    for (int k = 0; k < count; k++) {
        Stream& s = streams[k];
        s.done = 0;
        live.push_back({s, e.ports[s.payload], s.valid < 0 ? &always : e.ports[s.valid].data,
                        s.ready < 0 ? &always : e.ports[s.ready].data, Random{s.seed}});
        live.back().held.resize(live.back().payload.bytes);
    }
    int result = kDone;
    int64_t quiet = 0;
    for (*cycle = 0;; ++*cycle) {
        bool busy = false;
        for (const Live& l : live) busy |= l.s.done < l.s.count;
        if (!busy && quiet++ >= linger) break;
        if (busy && *cycle >= timeout) {
            result = kTimeout;
            break;
        }
        for (Live& l : live) {
            if (l.s.is_input) {
                const bool offered = l.open;
                if (!l.open && l.s.done < l.s.count && !l.pause()) {
                    l.payload.set(l.s.data + l.s.done * l.s.row_bytes, l.s.row_bytes);
                    l.open = true;
                }
                if (!offered && !l.open) {  // nobody may look at a payload without `valid`
                    for (uint32_t b = 0; b < l.payload.bytes; b += 8) {
                        const uint64_t noise = l.random.next();
                        const uint32_t left = l.payload.bytes - b;
                        std::memcpy(l.payload.data + b, &noise, left < 8 ? left : 8);
                    }
                    l.payload.data[l.payload.bytes - 1] &= l.payload.mask;
                }
                *l.valid = l.open;
            } else {
                *l.ready = l.s.done < l.s.count && !l.pause();
            }
        }
        always = 1;
        e.settle();
        for (size_t k = 0; k < live.size(); k++) {
            Live& l = live[k];
            if (l.s.is_input) {
                if (l.open && *l.ready) {
                    l.s.cycles[l.s.done++] = *cycle;
                    l.open = false;
                }
                continue;
            }
            int broken = kDone;
            if (l.open && !*l.valid) broken = kTakenBack;
            else if (l.open && std::memcmp(l.held.data(), l.payload.data, l.payload.bytes))
                broken = kChanged;
            else if (*l.valid && l.s.done >= l.s.count && linger) broken = kTooMany;
            if (broken && !result) {
                result = broken;
                *which = static_cast<int>(k);
            }
            l.open = *l.valid && !*l.ready;
            if (l.open) std::memcpy(l.held.data(), l.payload.data, l.payload.bytes);
            if (*l.valid && *l.ready && l.s.done < l.s.count) {
                l.payload.get(l.s.data + l.s.done * l.s.row_bytes, l.s.row_bytes);
                l.s.cycles[l.s.done++] = *cycle;
            }
        }
        e.rise();
        if (result) break;
    }
    for (Live& l : live) *(l.s.is_input ? l.valid : l.ready) = 0;
    return result;
}

}  // extern "C"
