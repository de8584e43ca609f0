/* Shared by the kernels: sizes, visibility, and one build for every processor.
 *
 * EACH_PROCESSOR compiles a function for several instruction sets and picks one when the library is loaded; results are
 * the same bits on all of them, for nothing here is floating point unless a comment says which operations and why they
 * are exact. */
#ifndef FEDNODE_KERNELS_H
#define FEDNODE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define KERNEL __attribute__((visibility("default")))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) \
    && !defined(__SANITIZE_ADDRESS__) && !defined(ONE_PROCESSOR)
#if __GNUC__ >= 12 /* knows the levels of x86-64 */
#define EACH_PROCESSOR __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define EACH_PROCESSOR __attribute__((target_clones("default", "avx2")))
#endif
#else
#define EACH_PROCESSOR
#endif

#endif
