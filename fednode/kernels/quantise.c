/* From floats to integers. The only floating point here: products and sums of doubles in a fixed order, and rounding to
 * the nearest integer, ties to even. IEEE 754 fixes each result, and the build contracts none of them into another, so
 * they are the same bits on every processor. */
#include <math.h>
#include <string.h>

#include "kernels.h"

#define LANES 16
#define STRIP 4096

/* Return the sum of squares: strips of 4096 one after another, in each 16 lanes, halves of which are added up. A square
 * of a float is exact in a double. */
KERNEL EACH_PROCESSOR double fednode_sum_squares(const float *restrict values, size_t count)
{
    double total = 0.0;
    for (size_t start = 0; start < count; start += STRIP) {
        const size_t length = count - start < STRIP ? count - start : STRIP;
        const float *restrict strip = values + start;
        double lanes[LANES] = {0.0};
        size_t at = 0;
        for (; at + LANES <= length; at += LANES)
            for (size_t k = 0; k < LANES; k++)
                lanes[k] += (double)strip[at + k] * (double)strip[at + k];
        for (size_t k = 0; at + k < length; k++)
            lanes[k] += (double)strip[at + k] * (double)strip[at + k];
        for (size_t half = LANES / 2; half > 0; half /= 2)
            for (size_t k = 0; k < half; k++)
                lanes[k] += lanes[k + half];
        total += lanes[0];
    }
    return total;
}

/* out[k] = (rint(values[k] * factor) + coins[k]) >> 32; the caller keeps the products below 2^62 in size. `out` may be
 * where the values are: a strip of them is copied before it is written over. */
KERNEL EACH_PROCESSOR void fednode_round(int32_t *out, const void *values, const uint32_t *coins, double factor,
                                         size_t count)
{
    for (size_t start = 0; start < count; start += STRIP) {
        const size_t length = count - start < STRIP ? count - start : STRIP;
        float strip[STRIP];
        memcpy(strip, (const char *)values + start * sizeof(float), length * sizeof(float));
        int32_t *restrict rounded = out + start;
        const uint32_t *restrict words = coins + start;
        for (size_t k = 0; k < length; k++) {
            const double whole = rint((double)strip[k] * factor);
            rounded[k] = (int32_t)(((int64_t)whole + (int64_t)words[k]) >> 32);
        }
    }
}
