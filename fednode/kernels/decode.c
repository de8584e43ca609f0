/* Which of the points told lie on the one polynomial that counts (Gao 2003, algorithm 1).
 *
 * Points told are public: time depends on them. */
#include "field.h"

#define MOST 256 /* points */

typedef struct { uint64_t c[MOST + 1]; size_t size; } polynomial; /* constant term first, the last one not zero */

static uint64_t inverse(uint64_t a) /* a^(p - 2) */
{
    uint64_t result = 1;
    for (uint64_t exponent = P - 2; exponent; exponent >>= 1) {
        if (exponent & 1) result = multiply(result, a);
        a = multiply(a, a);
    }
    return result;
}

static uint64_t evaluate(const polynomial *f, uint64_t at)
{
    uint64_t value = 0;
    for (size_t k = f->size; k-- > 0;) value = add(multiply(value, at), f->c[k]);
    return value;
}

static void trim(polynomial *f)
{
    while (f->size && !f->c[f->size - 1]) f->size--;
}

static void take_off(polynomial *f, uint64_t factor, size_t shift, const polynomial *g) /* f -= factor x^shift g */
{
    while (f->size < g->size + shift) f->c[f->size++] = 0;
    for (size_t k = 0; k < g->size; k++) f->c[k + shift] = subtract(f->c[k + shift], multiply(factor, g->c[k]));
}

/* product = (x - points[0]) (x - points[1]) ..., through = the polynomial through all points (Newton). */
static void interpolate(polynomial *product, polynomial *through, const uint64_t *points, const uint64_t *values,
                        size_t count)
{
    product->c[0] = product->size = 1;
    through->size = 0;
    for (size_t n = 0; n < count; n++) {
        const uint64_t missing = subtract(evaluate(through, points[n]), values[n]);
        take_off(through, multiply(missing, inverse(evaluate(product, points[n]))), 0, product);
        product->c[product->size++] = 0;
        for (size_t k = product->size - 1; k > 0; k--)
            product->c[k] = subtract(product->c[k - 1], multiply(product->c[k], points[n]));
        product->c[0] = subtract(0, multiply(product->c[0], points[n]));
    }
    trim(through);
}

/* Divide a by b: a becomes the rest; f, if there is one, loses the quotient times g. Returns the quotient's size. */
static size_t divide(polynomial *a, const polynomial *b, polynomial *f, const polynomial *g)
{
    if (a->size < b->size) return 0;
    const uint64_t lead = inverse(b->c[b->size - 1]);
    const size_t size = a->size - b->size + 1;
    for (size_t shift = size; shift-- > 0;) {
        const uint64_t factor = multiply(a->c[shift + b->size - 1], lead);
        take_off(a, factor, shift, b);
        if (f) take_off(f, factor, shift, g);
    }
    trim(a);
    if (f) trim(f);
    return size;
}

/* Set is_on[k] for the points on the polynomial of `degree` that passes through `needed` of `count` of them or more; 0
 * if there is none. At most 256 points, distinct and not zero; count - needed is at most (count - degree - 1) / 2. */
KERNEL int fednode_field_decode(uint8_t *restrict is_on, const uint64_t *points, const uint64_t *values, size_t count,
                                size_t degree, size_t needed)
{
    polynomial store[4], *previous = &store[0], *current = &store[1], *before = &store[2], *factor = &store[3], *spare;
    interpolate(previous, current, points, values, count);
    before->size = 0;
    factor->c[0] = factor->size = 1;
    while (current->size && 2 * (current->size - 1) >= count + degree + 1) {
        divide(previous, current, before, factor);
        spare = previous, previous = current, current = spare;
        spare = before, before = factor, factor = spare;
    }
    /* current = found * factor; the quotient is collected in `before` as what -1 loses */
    const polynomial one = {{1}, 1};
    before->size = 0;
    if (divide(current, factor, before, &one) > degree + 1 || current->size) return 0;
    size_t right = 0;
    for (size_t k = 0; k < count; k++) {
        is_on[k] = subtract(0, evaluate(before, points[k])) == values[k];
        right += is_on[k];
    }
    return right >= needed;
}
