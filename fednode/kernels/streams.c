/* Keystreams added to a part of a vector, and vectors added to each other: all of them while the part is in cache. */
#include "kernels.h"

/* Elements handled at a time: 8 KiB stay in the first cache while every stream passes. */
#define STRIP 2048

/* May lie anywhere: bytes of a message begin where its header ends. */
typedef uint32_t __attribute__((aligned(1), may_alias)) word_anywhere;

static inline __attribute__((always_inline)) void add_words(uint32_t *restrict values,
                                                            const word_anywhere *restrict words, size_t count)
{
    for (size_t k = 0; k < count; k++)
        values[k] += words[k];
}

/* Row r of `streams`, `stride` words after the row before it, is added to `values`, or subtracted if bit r of
 * `subtracted` is set. */
KERNEL EACH_PROCESSOR void fednode_add_streams(uint32_t *restrict values, const uint32_t *restrict streams,
                                               size_t stride, size_t rows, uint64_t subtracted, size_t count)
{
    for (size_t start = 0; start < count; start += STRIP) {
        const size_t length = count - start < STRIP ? count - start : STRIP;
        uint32_t *restrict strip = values + start;
        for (size_t row = 0; row < rows; row++) {
            const uint32_t *restrict words = streams + row * stride + start;
            if (subtracted >> row & 1)
                for (size_t k = 0; k < length; k++)
                    strip[k] -= words[k];
            else
                add_words(strip, words, length);
        }
    }
}

/* values = the sum of `rows` vectors, each of `count` words. */
KERNEL EACH_PROCESSOR void fednode_sum(uint32_t *restrict values, const void *const *inputs, size_t rows, size_t count)
{
    for (size_t start = 0; start < count; start += STRIP) {
        const size_t length = count - start < STRIP ? count - start : STRIP;
        uint32_t *restrict strip = values + start;
        for (size_t k = 0; k < length; k++)
            strip[k] = 0;
        for (size_t row = 0; row < rows; row++)
            add_words(strip, (const word_anywhere *)inputs[row] + start, length);
    }
}
