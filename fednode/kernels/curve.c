/* Points of edwards25519 that everybody may see: commitments of dealers, proofs of knowledge.
 *
 * Public inputs only: time depends on them. Secret scalars are multiplied by libsodium and never come here.
 *
 * Numbers modulo p = 2^255 - 19 are five limbs of 51 bits (Bernstein, Duif, Lange, Schwabe, Yang 2011). A product has
 * limbs below 2^51 + 2^14; products take limbs below 2^54, and what is subtracted must be a product. Points are extended
 * twisted Edwards coordinates (Hisil, Wong, Carter, Dawson 2008), whose addition is complete: no special cases. */
#include "kernels.h"

#include <string.h>

typedef unsigned __int128 wide;
typedef struct { uint64_t v[5]; } fe;
typedef struct { fe x, y, z, t; } point;                  /* (x : y : z), t = x y / z */
typedef struct { fe sum, difference, t2d; } affine;       /* y + x, y - x, 2 d x y of a point with z = 1 */

#define LOW 0x7ffffffffffffu

static const fe ZERO = {{0}}, ONE = {{1}};
static const fe D = {{0x34dca135978a3, 0x1a8283b156ebd, 0x5e7a26001c029, 0x739c663a03cbb, 0x52036cee2b6ff}};
static const fe D2 = {{0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052, 0x6738cc7407977, 0x2406d9dc56dff}};
static const fe ROOT_OF_MINUS_ONE = {{0x61b274a0ea0b0, 0xd5a5fc8f189d, 0x7ef5e9cbd0c60, 0x78595a6804c9e, 0x2b8324804fc1d}};

static inline fe add(fe a, fe b)
{
    for (int k = 0; k < 5; k++) a.v[k] += b.v[k];
    return a;
}

static inline fe subtract(fe a, fe b) /* b a product: its limbs stay below those of 2 p */
{
    a.v[0] += 0xfffffffffffda - b.v[0];
    for (int k = 1; k < 5; k++) a.v[k] += 0xffffffffffffe - b.v[k];
    return a;
}

static inline fe carry(wide r0, wide r1, wide r2, wide r3, wide r4)
{
    fe r;
    r1 += (uint64_t)(r0 >> 51);
    r2 += (uint64_t)(r1 >> 51);
    r3 += (uint64_t)(r2 >> 51);
    r4 += (uint64_t)(r3 >> 51);
    r.v[0] = ((uint64_t)r0 & LOW) + 19 * (uint64_t)(r4 >> 51);
    r.v[1] = ((uint64_t)r1 & LOW) + (r.v[0] >> 51);
    r.v[0] &= LOW;
    r.v[2] = (uint64_t)r2 & LOW;
    r.v[3] = (uint64_t)r3 & LOW;
    r.v[4] = (uint64_t)r4 & LOW;
    return r;
}

static inline fe multiply(fe a, fe b)
{
    const uint64_t b1 = 19 * b.v[1], b2 = 19 * b.v[2], b3 = 19 * b.v[3], b4 = 19 * b.v[4];
    const uint64_t *x = a.v, *y = b.v;
    return carry((wide)x[0] * y[0] + (wide)x[1] * b4 + (wide)x[2] * b3 + (wide)x[3] * b2 + (wide)x[4] * b1,
                 (wide)x[0] * y[1] + (wide)x[1] * y[0] + (wide)x[2] * b4 + (wide)x[3] * b3 + (wide)x[4] * b2,
                 (wide)x[0] * y[2] + (wide)x[1] * y[1] + (wide)x[2] * y[0] + (wide)x[3] * b4 + (wide)x[4] * b3,
                 (wide)x[0] * y[3] + (wide)x[1] * y[2] + (wide)x[2] * y[1] + (wide)x[3] * y[0] + (wide)x[4] * b4,
                 (wide)x[0] * y[4] + (wide)x[1] * y[3] + (wide)x[2] * y[2] + (wide)x[3] * y[1] + (wide)x[4] * y[0]);
}

static inline fe square(fe a)
{
    const uint64_t *x = a.v;
    const uint64_t d0 = 2 * x[0], d1 = 2 * x[1], d2 = 2 * x[2], n3 = 19 * x[3], n4 = 19 * x[4];
    return carry((wide)x[0] * x[0] + (wide)d1 * n4 + (wide)d2 * n3,
                 (wide)d0 * x[1] + (wide)d2 * n4 + (wide)x[3] * n3,
                 (wide)d0 * x[2] + (wide)x[1] * x[1] + (wide)(2 * x[3]) * n4,
                 (wide)d0 * x[3] + (wide)d1 * x[2] + (wide)x[4] * n4,
                 (wide)d0 * x[4] + (wide)d1 * x[3] + (wide)x[2] * x[2]);
}

static fe squares(fe a, int count)
{
    while (count-- > 0) a = square(a);
    return a;
}

static fe to_2_250_minus_1(fe a, fe *to_11) /* a^(2^250 - 1), and a^11 on the way */
{
    const fe a2 = square(a), a9 = multiply(squares(a2, 2), a), a11 = multiply(a9, a2);
    const fe e5 = multiply(square(a11), a9); /* a^(2^5 - 1) */
    const fe e10 = multiply(squares(e5, 5), e5), e20 = multiply(squares(e10, 10), e10);
    const fe e40 = multiply(squares(e20, 20), e20), e50 = multiply(squares(e40, 10), e10);
    const fe e100 = multiply(squares(e50, 50), e50), e200 = multiply(squares(e100, 100), e100);
    *to_11 = a11;
    return multiply(squares(e200, 50), e50);
}

static fe invert(fe a) /* a^(p - 2) */
{
    fe a11;
    const fe high = to_2_250_minus_1(a, &a11);
    return multiply(squares(high, 5), a11);
}

static fe to_sqrt_power(fe a) /* a^((p - 5) / 8) */
{
    fe a11;
    const fe high = to_2_250_minus_1(a, &a11);
    return multiply(squares(high, 2), a);
}

static fe from_bytes(const uint8_t bytes[32])
{
    uint64_t words[4];
    for (int k = 0; k < 4; k++) {
        words[k] = 0;
        for (int n = 7; n >= 0; n--) words[k] = words[k] << 8 | bytes[8 * k + n];
    }
    const fe r = {{words[0] & LOW, (words[0] >> 51 | words[1] << 13) & LOW, (words[1] >> 38 | words[2] << 26) & LOW,
                   (words[2] >> 25 | words[3] << 39) & LOW, (words[3] >> 12) & LOW}};
    return r;
}

static void to_bytes(uint8_t bytes[32], fe a) /* the one encoding below p */
{
    for (int round = 0; round < 2; round++) { /* limbs below 2^51, but the first, and that by less than 19 */
        for (int k = 0; k < 4; k++) {
            a.v[k + 1] += a.v[k] >> 51;
            a.v[k] &= LOW;
        }
        a.v[0] += 19 * (a.v[4] >> 51);
        a.v[4] &= LOW;
    }
    uint64_t over = (a.v[0] + 19) >> 51; /* 1 if the value is p or more */
    for (int k = 1; k < 5; k++) over = (a.v[k] + over) >> 51;
    a.v[0] += 19 * over;
    for (int k = 0; k < 4; k++) {
        a.v[k + 1] += a.v[k] >> 51;
        a.v[k] &= LOW;
    }
    a.v[4] &= LOW;
    const uint64_t words[4] = {a.v[0] | a.v[1] << 51, a.v[1] >> 13 | a.v[2] << 38, a.v[2] >> 26 | a.v[3] << 25,
                               a.v[3] >> 39 | a.v[4] << 12};
    for (int k = 0; k < 32; k++) bytes[k] = (uint8_t)(words[k / 8] >> (8 * (k % 8)));
}

static int is_zero(fe a)
{
    static const uint8_t zero[32];
    uint8_t bytes[32];
    to_bytes(bytes, a);
    return memcmp(bytes, zero, 32) == 0;
}

static point twice(point p)
{
    const fe a = square(p.x), b = square(p.y), c = square(p.z), h = add(a, b), g = subtract(a, b);
    const fe e = subtract(h, square(add(p.x, p.y))), f = add(add(c, c), g);
    const point r = {multiply(e, f), multiply(g, h), multiply(f, g), multiply(e, h)};
    return r;
}

static point finish_sum(fe a, fe b, fe c, fe d) /* of (y-x)(y'-x'), (y+x)(y'+x'), 2 d t t', 2 z z' */
{
    const fe e = subtract(b, a), f = subtract(d, c), g = add(d, c), h = add(b, a);
    const point r = {multiply(e, f), multiply(g, h), multiply(f, g), multiply(e, h)};
    return r;
}

static point plus_affine(point p, affine q)
{
    return finish_sum(multiply(subtract(p.y, p.x), q.difference), multiply(add(p.y, p.x), q.sum),
                      multiply(p.t, q.t2d), add(p.z, p.z));
}

static point plus(point p, point q)
{
    return finish_sum(multiply(subtract(p.y, p.x), subtract(q.y, q.x)), multiply(add(p.y, p.x), add(q.y, q.x)),
                      multiply(multiply(p.t, q.t), D2), multiply(add(p.z, p.z), q.z));
}

static point times(point p, uint32_t factor) /* factor > 0 */
{
    const fe sum = add(p.y, p.x), difference = subtract(p.y, p.x), t2d = multiply(p.t, D2), z2 = add(p.z, p.z);
    point r = p;
    for (int bit = 30 - __builtin_clz(factor); bit >= 0; bit--) {
        r = twice(r);
        if (factor >> bit & 1)
            r = finish_sum(multiply(subtract(r.y, r.x), difference), multiply(add(r.y, r.x), sum),
                           multiply(r.t, t2d), multiply(r.z, z2));
    }
    return r;
}

/* Take a point from its 32 bytes (RFC 8032, section 5.1.3): no number of p or more, no minus zero. 1 if it is one. */
static int decompress(point *out, const uint8_t bytes[32])
{
    uint8_t canonical[32], x_bytes[32];
    const fe y = from_bytes(bytes);
    to_bytes(canonical, y);
    canonical[31] |= bytes[31] & 0x80;
    if (memcmp(canonical, bytes, 32) != 0) return 0;
    const fe y2 = square(y), u = subtract(y2, ONE), v = add(multiply(y2, D), ONE);
    const fe v3 = multiply(square(v), v), v7 = multiply(square(v3), v);
    fe x = multiply(multiply(u, v3), to_sqrt_power(multiply(u, v7)));
    const fe found = multiply(square(x), v); /* u, or -u, or u has no root */
    if (!is_zero(subtract(u, found))) {
        if (!is_zero(add(u, found))) return 0;
        x = multiply(x, ROOT_OF_MINUS_ONE);
    }
    to_bytes(x_bytes, x);
    if ((x_bytes[0] & 1) != bytes[31] >> 7) {
        if (is_zero(x)) return 0;
        x = multiply(subtract(ZERO, x), ONE);
    }
    out->x = x;
    out->y = y;
    out->z = ONE;
    out->t = multiply(x, y);
    return 1;
}

static void compress(uint8_t bytes[32], point p)
{
    const fe inverse = invert(p.z);
    uint8_t x_bytes[32];
    to_bytes(x_bytes, multiply(p.x, inverse));
    to_bytes(bytes, multiply(p.y, inverse));
    bytes[31] |= (uint8_t)(x_bytes[0] << 7);
}

static point eight_times(point p) { return twice(twice(twice(p))); }

/* Take a commitment: a point as above that is not of order 1, 2, 4 or 8. Eight times it has prime order or is zero. */
static int take_commitment(point *out, const uint8_t bytes[32])
{
    return decompress(out, bytes) && !is_zero(eight_times(*out).x);
}

/* Whether all of `count` points (32 bytes each) are commitments. */
KERNEL int fednode_are_commitments(const uint8_t *points, size_t count)
{
    point ignored;
    for (size_t k = 0; k < count; k++)
        if (!take_commitment(&ignored, points + 32 * k)) return 0;
    return 1;
}

/* out = 8 (C_0 + index C_1 + index^2 C_2 + ...) over `terms` commitments, by Horner's rule; 0 if one of them is none.
 * terms > 0, index > 0. */
KERNEL int fednode_evaluate_commitments(uint8_t out[32], const uint8_t *points, size_t terms, uint32_t index)
{
    point sum, next;
    if (!take_commitment(&sum, points + 32 * --terms)) return 0;
    while (terms > 0) {
        if (!take_commitment(&next, points + 32 * --terms)) return 0;
        const affine q = {add(next.y, next.x), subtract(next.y, next.x), multiply(next.t, D2)};
        sum = plus_affine(times(sum, index), q);
    }
    compress(out, eight_times(sum));
    return 1;
}

/* out = s G - c P for numbers s and c of 32 bytes, lowest first; 0 if P is no commitment. Four bits at a time. */
KERNEL int fednode_base_less(uint8_t out[32], const uint8_t s[32], const uint8_t c[32], const uint8_t p[32])
{
    static const uint8_t base[32] = {0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                     0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                     0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66};
    const point zero = {ZERO, ONE, ONE, ZERO};
    point of_base[16] = {zero}, of_p[16] = {zero}, sum = zero;
    if (!take_commitment(&of_p[1], p) || !take_commitment(&of_base[1], base)) return 0;
    of_p[1].x = multiply(subtract(ZERO, of_p[1].x), ONE);
    of_p[1].t = multiply(subtract(ZERO, of_p[1].t), ONE);
    for (int k = 2; k < 16; k++) {
        of_base[k] = plus(of_base[k - 1], of_base[1]);
        of_p[k] = plus(of_p[k - 1], of_p[1]);
    }
    for (int at = 63; at >= 0; at--) {
        sum = twice(twice(twice(twice(sum))));
        sum = plus(sum, of_base[s[at / 2] >> 4 * (at & 1) & 15]);
        sum = plus(sum, of_p[c[at / 2] >> 4 * (at & 1) & 15]);
    }
    compress(out, sum);
    return 1;
}
