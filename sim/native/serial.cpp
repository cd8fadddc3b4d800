// A serial line at the pins of a model, bit by bit: bytes in, bytes out, until it has been quiet.
// Follows harness.cpp and sdram_chip.cpp in the same translation unit.

extern "C" int64_t npu_serial(void* handle, void* chip, int32_t rx_port, int32_t tx_port,
                              int64_t divisor, const uint8_t* in, int64_t count, uint8_t* out,
                              int64_t room, int64_t quiet, int64_t* cycles) {
    // `chip`: of npu_chip_new, or null. `quiet`: cycles without a byte that end the run; two bytes'
    // time once something has come.
    Engine& e = *static_cast<Engine*>(handle);
    ChipPins* pins = static_cast<ChipPins*>(chip);
    uint8_t *rx = e.ports[rx_port].data, *tx = e.ports[tx_port].data;
    int64_t sent = 0, got = 0, idle = 0;
    int64_t send_time = 0, take_time = -1;  // of the bit; -1: waiting for a start bit
    int send_bit = 0, take_bit = 0;
    uint8_t byte = 0;
    auto over = [&] {
        return got == room || (sent == count && take_time < 0
                               && idle >= (got ? 20 * divisor : quiet));
    };
    for (*cycles = 0; !over(); ++*cycles) {
        // In: start bit, eight bits, stop bit.
        *rx = 1;
        if (sent < count) {
            idle = 0;
            *rx = send_bit == 0 ? 0 : send_bit == 9 ? 1 : in[sent] >> (send_bit - 1) & 1;
            if (++send_time == divisor) {
                send_time = 0;
                if (++send_bit == 10) {
                    send_bit = 0;
                    sent++;
                }
            }
        }
        e.settle();
        if (pins) pins->clock();  // its word goes to a register: `rise` settles what it has to
        idle++;
        // Out: sampled in the middle of each bit.
        if (take_time < 0) {
            if (!*tx) take_time = take_bit = 0;
        }
        if (take_time >= 0) {
            idle = 0;
            if (take_time == divisor / 2) {
                if (take_bit >= 1 && take_bit <= 8)
                    byte = uint8_t(byte >> 1 | (*tx ? 0x80 : 0));
                if (take_bit == 9) {
                    if (*tx) out[got++] = byte;
                    take_time = -2;
                }
            }
            if (take_time >= 0 && ++take_time == divisor) {
                take_time = 0;
                take_bit++;
            }
            if (take_time == -2) take_time = -1;
        }
        e.rise();
    }
    *rx = 1;
    return got;
}
