// Bytes into the stream `i` of a model and out of its stream `o`, until it has been quiet.
// Follows harness.cpp in the same translation unit.

extern "C" int64_t npu_pump(void* handle, const int32_t* ports, const uint8_t* in, int64_t count,
                            uint8_t* out, int64_t room, int64_t gap, int64_t quiet,
                            int64_t* cycles) {
    // ports: i.payload, i.valid, i.ready, o.payload, o.valid, o.ready. `gap`: cycles from one byte
    // to the next, each way; `quiet`: cycles without a byte that end the run.
    Engine& e = *static_cast<Engine*>(handle);
    uint8_t* p[6];
    for (int k = 0; k < 6; k++) p[k] = e.ports[ports[k]].data;
    int64_t sent = 0, got = 0, idle = 0, next_in = 0, next_out = 0;
    for (*cycles = 0; got < room && (sent < count || idle < quiet); ++*cycles) {
        const bool offer = sent < count && *cycles >= next_in;
        *p[1] = offer;
        if (offer) *p[0] = in[sent];
        *p[5] = *cycles >= next_out;
        e.settle();
        idle++;
        if (offer && *p[2]) {
            sent++;
            idle = 0;
            next_in = *cycles + gap;
        }
        if (*p[4] && *p[5]) {
            out[got++] = *p[3];
            idle = 0;
            next_out = *cycles + gap;
        }
        e.rise();
    }
    *p[1] = *p[5] = 0;
    return got;
}
