// The two functions of LZ4 that Verilator's FST writer calls, so that waveforms need no system
// package. The block they make is valid LZ4 with one run of literals: nothing is compressed.
#pragma once
#include <cstring>

static inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

static inline int LZ4_compress_default(const char* from, char* to, int size, int) {
    char* end = to;
    if (size < 15) {
        *end++ = static_cast<char>(size << 4);
    } else {
        *end++ = static_cast<char>(0xF0);
        int rest = size - 15;
        for (; rest >= 255; rest -= 255) *end++ = static_cast<char>(0xFF);
        *end++ = static_cast<char>(rest);
    }
    std::memcpy(end, from, size);
    return static_cast<int>(end - to) + size;
}
