/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every file of the library leans on: memory through the user's hook, the log, versioned structs.
 *
 * The two hooks are the library's only global state. Memory blocks are counted, so that the allocator cannot be
 * exchanged under blocks that are still in use: a block always goes back to the allocator it came from. The count is
 * atomic because blocks come and go in every thread; the hooks themselves are set before other threads exist.
 *
 * Invariants: the hook never sees a length of 0 but to free; live_blocks is the number of blocks handed out.
 */
#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A versioned struct that claims to be larger than this is garbage, not a later version. */
#define STRUCT_SIZE_MAX 4096

/* A longer line is cut: lines are for people. */
#define LOG_LINE_MAX 512

static void *(*alloc_fn)(void *arg, void *old, size_t old_len, size_t len);
static void *alloc_arg;
static atomic_size_t live_blocks;

static void (*log_fn)(void *arg, int level, const char *line);
static void *log_arg;
int ior__log_level = IOR_LOG_NONE;

int ior_set_alloc(void *(*fn)(void *arg, void *old, size_t old_len, size_t len), void *arg)
{
    if (atomic_load(&live_blocks) != 0)
        return -EBUSY;
    alloc_fn = fn;
    alloc_arg = arg;
    return 0;
}

/* To the hook a length of 0 means free, so that the smallest block has 1 byte. */
static size_t block_len(size_t len)
{
    return len > 0 ? len : 1;
}

static void *counted(void *block)
{
    if (block)
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return block;
}

void *ior__alloc(size_t len)
{
    len = block_len(len);
    return counted(alloc_fn ? alloc_fn(alloc_arg, NULL, 0, len) : malloc(len));
}

void *ior__calloc(size_t len)
{
    len = block_len(len);
    if (!alloc_fn)
        return counted(calloc(1, len));
    void *block = counted(alloc_fn(alloc_arg, NULL, 0, len));
    if (block)
        memset(block, 0, len);
    return block;
}

void *ior__realloc(void *old, size_t old_len, size_t len)
{
    if (!old)
        return ior__alloc(len);
    len = block_len(len);
    return alloc_fn ? alloc_fn(alloc_arg, old, block_len(old_len), len) : realloc(old, len);
}

void ior__free(void *ptr, size_t len)
{
    if (!ptr)
        return;
    if (alloc_fn)
        alloc_fn(alloc_arg, ptr, block_len(len), 0);
    else
        free(ptr);
    atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_release);
}

static size_t array_offset(const void *block, size_t lead)
{
    return (IOR__LINE_BYTES - ((uintptr_t)block + lead) % IOR__LINE_BYTES) % IOR__LINE_BYTES;
}

void *ior__array_grow(void **block, size_t lead, size_t old_len, size_t len)
{
    size_t was_at = *block ? array_offset(*block, lead) : 0;
    char *grown = ior__realloc(*block, old_len + IOR__LINE_BYTES, len + IOR__LINE_BYTES);
    if (!grown)
        return NULL;
    char *array = grown + array_offset(grown, lead);
    if (array != grown + was_at)
        memmove(array, grown + was_at, old_len);
    *block = grown;
    return array;
}

void ior__array_free(void *block, size_t len)
{
    ior__free(block, len + IOR__LINE_BYTES);
}

void ior_set_log(void (*fn)(void *arg, int level, const char *line), void *arg, int level)
{
    log_fn = fn;
    log_arg = arg;
    ior__log_level = fn && level > IOR_LOG_NONE ? level : IOR_LOG_NONE;
}

void ior__log_line(int level, const char *format, ...)
{
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    va_list args;

    if (!log_fn || level > ior__log_level)
        return;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (len >= 0)
        log_fn(log_arg, level, line);
    errno = saved_errno;
}

int ior__struct_in(void *dst, size_t known_size, const void *src, size_t min_size)
{
    uint32_t known_size32 = (uint32_t)known_size;
    uint32_t size = 0;

    if (src) {
        memcpy(&size, src, sizeof(size));
        if (size < min_size || size > STRUCT_SIZE_MAX)
            return -EINVAL;
        for (size_t i = known_size; i < size; i++) {
            if (((const unsigned char *)src)[i] != 0)
                return -EINVAL;
        }
    }
    size_t copied = size < known_size ? size : known_size;
    if (copied > 0)
        memcpy(dst, src, copied);
    memset((unsigned char *)dst + copied, 0, known_size - copied);
    memcpy(dst, &known_size32, sizeof(known_size32));
    return 0;
}
