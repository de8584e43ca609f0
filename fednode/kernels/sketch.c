/* Signed sums of a long vector: into buckets that rotate, and of buckets into numbers. Signs are bits, lowest first in
 * each byte; a one is +1. All arithmetic wraps; the caller says where it cannot. */
#include "kernels.h"

#define BUCKETS 4096
#define WORD_BITS 32

/* All ones where the bit of the sign is zero. */
#define IS_NEGATIVE(type, word, bit) ((type)0 - (type)(~(word) >> (bit) & 1))

/* The bit of each sign of a word: compared with these, not shifted, for the oldest processors shift all lanes alike. */
#define FOUR_BITS(first) 1u << (first), 2u << (first), 4u << (first), 8u << (first)
static const uint32_t BITS[WORD_BITS] = {FOUR_BITS(0),  FOUR_BITS(4),  FOUR_BITS(8),  FOUR_BITS(12),
                                         FOUR_BITS(16), FOUR_BITS(20), FOUR_BITS(24), FOUR_BITS(28)};

static inline __attribute__((always_inline)) uint32_t add_signed(uint32_t sum, uint32_t value, uint32_t negative)
{
    return sum + ((value ^ negative) - negative);
}

static inline __attribute__((always_inline)) uint64_t add_signed_wide(uint64_t sum, uint64_t value, uint64_t negative)
{
    return sum + ((value ^ negative) - negative);
}

/* Add blocks of 4096 values, each under its own signs, to the 4096 sums that begin at its shift (below 4096), in every
 * row. A row has 2 * 4096 sums, `sign_stride` words of signs and `shift_stride` shifts. */
KERNEL EACH_PROCESSOR void fednode_fold(uint32_t *restrict sums, const int32_t *restrict values,
                                        const uint32_t *restrict signs, size_t sign_stride,
                                        const uint32_t *restrict shifts, size_t shift_stride, size_t rows, size_t count)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t start = 0; start < count; start += BUCKETS) {
            const size_t length = count - start < BUCKETS ? count - start : BUCKETS;
            uint32_t *restrict place = sums + row * 2 * BUCKETS + shifts[row * shift_stride + start / BUCKETS];
            const int32_t *restrict block = values + start;
            const uint32_t *restrict words = signs + row * sign_stride + start / WORD_BITS;
            const size_t whole = length / WORD_BITS;
            for (size_t w = 0; w < whole; w++) {
                const uint32_t word = words[w];
                for (size_t k = 0; k < WORD_BITS; k++)
                    place[w * WORD_BITS + k] = add_signed(place[w * WORD_BITS + k], (uint32_t)block[w * WORD_BITS + k],
                                                          0 - (uint32_t)((word & BITS[k]) == 0));
            }
            for (size_t k = whole * WORD_BITS; k < length; k++)
                place[k] = add_signed(place[k], (uint32_t)block[k], IS_NEGATIVE(uint32_t, words[whole], k % WORD_BITS));
        }
    }
}

/* The same with sums of 64 bits. */
KERNEL EACH_PROCESSOR void fednode_fold_wide(uint64_t *restrict sums, const int32_t *restrict values,
                                             const uint32_t *restrict signs, size_t sign_stride,
                                             const uint32_t *restrict shifts, size_t shift_stride, size_t rows,
                                             size_t count)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t at = 0; at < count; at++) {
            const uint32_t word = signs[row * sign_stride + at / WORD_BITS];
            uint64_t *place = sums + row * 2 * BUCKETS + shifts[row * shift_stride + at / BUCKETS] + at % BUCKETS;
            *place = add_signed_wide(*place, (uint64_t)(int64_t)values[at],
                                     IS_NEGATIVE(uint64_t, word, at % WORD_BITS));
        }
    }
}

/* out[row] = the sum of all values (a multiple of 32 of them) under the signs of that row. */
KERNEL EACH_PROCESSOR void fednode_sum_signed(uint64_t *restrict out, const uint64_t *restrict values,
                                              const uint32_t *restrict signs, size_t rows, size_t count)
{
    for (size_t row = 0; row < rows; row++) {
        const uint32_t *restrict words = signs + row * (count / WORD_BITS);
        uint64_t total = 0;
        for (size_t w = 0; w < count / WORD_BITS; w++) {
            const uint64_t word = words[w];
            for (size_t k = 0; k < WORD_BITS; k++)
                total = add_signed_wide(total, values[w * WORD_BITS + k], IS_NEGATIVE(uint64_t, word, k));
        }
        out[row] = total;
    }
}

/* out[row] = the sum of the values times the words of that row. */
KERNEL EACH_PROCESSOR void fednode_sum_products(uint32_t *restrict out, const uint32_t *restrict values,
                                                const uint32_t *restrict words, size_t rows, size_t count)
{
    for (size_t row = 0; row < rows; row++) {
        uint32_t total = 0;
        for (size_t k = 0; k < count; k++)
            total += values[k] * words[row * count + k];
        out[row] = total;
    }
}
