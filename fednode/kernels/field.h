/* The field of p = 2^64 - 2^32 + 1 elements: one number at a time, without a branch. Elements are below p, before and
 * after. 2^64 = 2^32 - 1 and 2^96 = -1 modulo p make the reduction of a product three additions. */
#ifndef FEDNODE_FIELD_H
#define FEDNODE_FIELD_H

#include "kernels.h"

typedef unsigned __int128 wide;

#define P 0xffffffff00000001u
#define EPSILON 0xffffffffu /* 2^64 modulo p */

static inline uint64_t mask(int is_so) { return -(uint64_t)is_so; }

static inline uint64_t below_p(uint64_t a) { return a - (P & mask(a >= P)); }

static inline uint64_t add(uint64_t a, uint64_t b)
{
    const uint64_t s = a + b;
    return below_p(s + (EPSILON & mask(s < a))); /* 2^64 was lost; that cannot happen again as a, b < p */
}

static inline uint64_t subtract(uint64_t a, uint64_t b)
{
    return a - b - (EPSILON & mask(a < b)); /* 2^64 too much: take 2^32 - 1, so that p was added */
}

static inline uint64_t reduce(wide a) /* the lower half of the high word counts 2^32 - 1, its upper half -1 */
{
    const uint64_t low = (uint64_t)a, high = (uint64_t)(a >> 64), top = high >> 32;
    const uint64_t kept = low - top - (EPSILON & mask(low < top)), middle = (high & EPSILON) * EPSILON;
    const uint64_t s = kept + middle;
    return below_p(s + (EPSILON & mask(s < middle)));
}

static inline uint64_t multiply(uint64_t a, uint64_t b) { return reduce((wide)a * b); }

#endif
