/* What this processor can do, for choices between ways that give the same bits. */
#include "kernels.h"

/* Whether AES and carry-less products come four blocks at a time. */
KERNEL int fednode_has_wide_aes(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512vl");
#else
    return 0;
#endif
}
