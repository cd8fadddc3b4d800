// The processor's own arithmetic on bfloat16 and float32 words, as sim/processor.py offers it.
//
// Subnormal operands are zero and subnormal results become zero (after rounding, as x86 does it);
// every NaN is 0x7fc00000.
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

float wide(uint16_t word) {
    const uint32_t bits = uint32_t(word) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

uint32_t canonical(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits;
}

// The loops are functions of their own, so that no operation moves out of the mode it needs.
#if defined(__x86_64__)

struct Flushing {  // results to zero, subnormal operands as zero, round to nearest even
    unsigned before = _mm_getcsr();
    Flushing() { _mm_setcsr(0x1f80 | 0x8040); }
    ~Flushing() { _mm_setcsr(before); }
};

float flushed(float value) { return value; }

__attribute__((noinline, target("fma")))
void fma3(int64_t n, const uint16_t* a, const uint16_t* b, const float* c, uint32_t* y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = canonical(_mm_cvtss_f32(
            _mm_fmadd_ss(_mm_set_ss(wide(a[i])), _mm_set_ss(wide(b[i])), _mm_set_ss(c[i]))));
}

// A pair of products at a time, the upper one first: that one is -0 * +0, which changes nothing.
__attribute__((noinline, target("avx512f,avx512bf16")))
void dot(int64_t n, const uint16_t* a, const uint16_t* b, const float* c, uint32_t* y) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 rows = n - i < 16 ? (1u << (n - i)) - 1 : 0xffff;
        uint16_t low_a[16] = {}, low_b[16] = {};
        std::memcpy(low_a, a + i, 2 * (n - i < 16 ? n - i : 16));
        std::memcpy(low_b, b + i, 2 * (n - i < 16 ? n - i : 16));
        const __m512i x = _mm512_or_si512(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)low_a)),
            _mm512_set1_epi32(INT32_MIN));
        const __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)low_b));
        const __m512 sum = _mm512_dpbf16_ps(
            _mm512_maskz_loadu_ps(rows, c + i), (__m512bh)x, (__m512bh)w);
        const __mmask16 nan = _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q);
        _mm512_mask_storeu_epi32(y + i, rows, _mm512_mask_mov_epi32(
            _mm512_castps_si512(sum), nan, _mm512_set1_epi32(0x7fc00000)));
    }
}

#else

struct Flushing {};

// A product of two bfloat16 is exact in float32, subnormal or not, so flushing later is the same.
float flushed(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (!(bits & 0x7f800000)) bits &= 0x80000000;
    std::memcpy(&value, &bits, 4);
    return value;
}

#endif

__attribute__((noinline))
void multiply(int64_t n, const uint16_t* a, const uint16_t* b, uint32_t* y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = canonical(flushed(flushed(wide(a[i])) * flushed(wide(b[i]))));
}

}  // namespace

extern "C" {

void npu_multiply(int64_t n, const uint16_t* a, const uint16_t* b, uint32_t* y) {
    Flushing mode;
    multiply(n, a, b, y);
}

int npu_has(int instruction) {
#if defined(__x86_64__)
    return instruction == 0 ? __builtin_cpu_supports("fma")
                            : __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f");
#else
    return 0;
#endif
}

// Only where `npu_has` says so.
void npu_fma(int instruction, int64_t n, const uint16_t* a, const uint16_t* b, const float* c,
             uint32_t* y) {
#if defined(__x86_64__)
    Flushing mode;
    (instruction == 0 ? fma3 : dot)(n, a, b, c, y);
#endif
}

}  // extern "C"
