/* The field of p = 2^64 - 2^32 + 1 elements, on vectors.
 *
 * Elements are secret (shares, bits of a sketch): no branch and no index depends on one. */
#include "field.h"

typedef struct { uint64_t low, middle, high; } sum; /* of fewer than 2^32 - 1 products */

static inline void add_product(sum *s, uint64_t a, uint64_t b)
{
    const wide product = (wide)a * b;
    const uint64_t carry = __builtin_add_overflow(s->low, (uint64_t)product, &s->low);
    s->high += __builtin_add_overflow(s->middle, (uint64_t)(product >> 64) + carry, &s->middle);
}

static inline uint64_t reduce_sum(sum s) /* 2^128 = -2^32 */
{
    return subtract(reduce((wide)s.middle << 64 | s.low), s.high << 32);
}

/* Pairwise, `count` elements; b_step 0 takes b[0] for all, 1 its own element for each. */
KERNEL void fednode_field_add(uint64_t *restrict out, const uint64_t *a, const uint64_t *b, size_t count, size_t b_step)
{
    for (size_t k = 0; k < count; k++) out[k] = add(a[k], b[k * b_step]);
}

KERNEL void fednode_field_subtract(uint64_t *restrict out, const uint64_t *a, const uint64_t *b, size_t count,
                                   size_t b_step)
{
    for (size_t k = 0; k < count; k++) out[k] = subtract(a[k], b[k * b_step]);
}

KERNEL void fednode_field_multiply(uint64_t *restrict out, const uint64_t *a, const uint64_t *b, size_t count,
                                   size_t b_step)
{
    for (size_t k = 0; k < count; k++) out[k] = multiply(a[k], b[k * b_step]);
}

/* out[k] = first * base^k, four chains at a time. */
KERNEL void fednode_field_powers(uint64_t *restrict out, uint64_t first, uint64_t base, size_t count)
{
    const uint64_t base2 = multiply(base, base), base4 = multiply(base2, base2);
    for (size_t k = 0; k < count; k++)
        out[k] = k >= 4 ? multiply(out[k - 4], base4) : k > 0 ? multiply(out[k - 1], base) : first;
}

/* out[n] = sum over k of matrix[n][k] * vector[k]: rows of `width` elements, fewer than 2^31. */
KERNEL void fednode_field_dot(uint64_t *restrict out, const uint64_t *matrix, const uint64_t *vector, size_t rows,
                              size_t width)
{
    for (size_t n = 0; n < rows; n++, matrix += width) {
        sum s = {0, 0, 0};
        for (size_t k = 0; k < width; k++) add_product(&s, matrix[k], vector[k]);
        out[n] = reduce_sum(s);
    }
}

/* out = weights * rows: (n, m) times (m, width), m below 2^31. Four columns at a time stay in registers. */
KERNEL void fednode_field_combine(uint64_t *restrict out, const uint64_t *restrict weights, const uint64_t *restrict rows,
                                  size_t n, size_t m, size_t width)
{
    for (size_t at = 0; at < width; at += 4) {
        const size_t columns = width - at < 4 ? width - at : 4;
        for (size_t i = 0; i < n; i++) {
            sum s[4] = {{0, 0, 0}};
            if (columns == 4)
                for (size_t k = 0; k < m; k++)
                    for (size_t c = 0; c < 4; c++) add_product(&s[c], weights[i * m + k], rows[k * width + at + c]);
            else
                for (size_t k = 0; k < m; k++)
                    for (size_t c = 0; c < columns; c++) add_product(&s[c], weights[i * m + k], rows[k * width + at + c]);
            for (size_t c = 0; c < columns; c++) out[i * width + at + c] = reduce_sum(s[c]);
        }
    }
}

/* The number theoretic transform (Cooley and Tukey 1965) of each row of `size` = 2^bits elements: out[n][k] is the value
 * at w^k of the polynomial whose coefficients are in[n]; roots[k] = w^k for k below size / 2, w of order `size`. */
KERNEL void fednode_field_transform(uint64_t *restrict out, const uint64_t *restrict in, const uint64_t *restrict roots,
                                    size_t rows, unsigned bits)
{
    const size_t size = (size_t)1 << bits;
    for (size_t k = 0; k < size; k++) {
        size_t turned = 0;
        for (unsigned bit = 0; bit < bits; bit++) turned |= (k >> bit & 1) << (bits - 1 - bit);
        for (size_t n = 0; n < rows; n++) out[n * size + turned] = in[n * size + k];
    }
    for (size_t n = 0; n < rows; n++, out += size)
        for (size_t half = 1, step = size / 2; half < size; half *= 2, step /= 2)
            for (size_t start = 0; start < size; start += 2 * half)
                for (size_t k = start; k < start + half; k++) {
                    const uint64_t even = out[k], odd = multiply(out[k + half], roots[(k - start) * step]);
                    out[k] = add(even, odd);
                    out[k + half] = subtract(even, odd);
                }
}
