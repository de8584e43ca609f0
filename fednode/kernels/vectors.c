/* Vectors of a model's length: one pass over memory each. */
#include "kernels.h"

/* Return the largest size of a value; 2^31 for -2^31. */
KERNEL EACH_PROCESSOR uint32_t fednode_largest(const int32_t *restrict values, size_t count)
{
    int32_t least = 0, most = 0;
    for (size_t k = 0; k < count; k++) {
        least = values[k] < least ? values[k] : least;
        most = values[k] > most ? values[k] : most;
    }
    const uint32_t below = 0 - (uint32_t)least, above = (uint32_t)most;
    return below > above ? below : above;
}

/* out[k] = model[k] + ((total[k] * factor + half) >> bits). Sums wrap as numpy's do; the caller bounds them. */
KERNEL EACH_PROCESSOR void fednode_merge(int64_t *restrict out, const int64_t *restrict model,
                                         const int32_t *restrict total, int64_t factor, int bits, size_t count)
{
    const uint64_t half = (uint64_t)1 << (bits - 1);
    for (size_t k = 0; k < count; k++) {
        const uint64_t scaled = (uint64_t)(int64_t)total[k] * (uint64_t)factor + half;
        out[k] = (int64_t)((uint64_t)model[k] + (uint64_t)((int64_t)scaled >> bits));
    }
}
