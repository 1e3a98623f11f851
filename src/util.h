/* SPDX-License-Identifier: Apache-2.0 */
/* What every file of the library uses: memory through the hook, the log, versioned structs, small helpers. */
#ifndef IOR_SRC_UTIL_H
#define IOR_SRC_UTIL_H

#include <ioreactor/base.h>

#define IOR_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define IOR_LIKELY(x) __builtin_expect(!!(x), 1)
#define IOR_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Off the hot path: kept out of its callers, whose registers and stack it would cost. */
#define IOR_APART __attribute__((noinline))
/* For what runs at each turn and lends the kernel no more than a struct of fixed size. */
#if defined(__has_attribute)
#if __has_attribute(no_stack_protector)
#define IOR_NO_CANARY __attribute__((no_stack_protector))
#endif
#endif
#if !defined(IOR_NO_CANARY)
#define IOR_NO_CANARY
#endif
/* Part of its caller, whatever its size: the compiler drops what a constant argument decides. */
#define IOR_INLINE inline __attribute__((always_inline))
#define IOR_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * Memory. Sizes are given back at free, so that hooks need no headers. ior__alloc does not clear; NULL: out of memory.
 */
void *ior__alloc(size_t len);
void *ior__calloc(size_t len);
void *ior__realloc(void *old, size_t old_len, size_t len);
void ior__free(void *ptr, size_t len);

/*
 * A growing array inside a block: `lead` bytes after its beginning a line of the cache begins. `block` NULL: none yet.
 * Answers where the array is now; NULL: out of memory, and nothing has changed. The block goes with ior__array_free.
 */
#define IOR__LINE_BYTES 64u /* a guess, which costs only time */
void *ior__array_grow(void **block, size_t lead, size_t old_len, size_t len);
void ior__array_free(void *block, size_t len);

/* The log. The level is tested before the arguments are looked at. */
extern int ior__log_level;
void ior__log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define ior__log(level, ...)                         \
    do {                                             \
        if (IOR_UNLIKELY((level) <= ior__log_level)) \
            ior__log_line((level), __VA_ARGS__);     \
    } while (0)

/*
 * Copies a versioned struct that a user filled: what the user's version does not have is zero; what ours does not know
 * must be zero (-EINVAL). `min_size` is the size of the first version; a smaller struct_size is -EINVAL. `src` NULL
 * gives all zero with struct_size set to known_size. struct_size is the first member (uint32_t) of every such struct.
 */
int ior__struct_in(void *dst, size_t known_size, const void *src, size_t min_size);

#endif
