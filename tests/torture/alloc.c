/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allocator that counts and refuses. A grown block always moves and old contents are overwritten, so that whoever
 * keeps an old pointer is found out; lengths are kept in front of the block, so that a wrong one is.
 */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

struct header {
    alignas(max_align_t) size_t len;
};

static struct {
    uint64_t calls, refused, fail;
    bool all, hooked;
    size_t blocks, bytes;
} state;

static void *hook(void *arg, void *old, size_t old_len, size_t len)
{
    struct header *block = NULL;
    (void)arg;
    if (len > 0) {
        uint64_t index = state.calls++;
        if (index == state.fail || (state.all && index > state.fail)) {
            state.refused++;
            return NULL;
        }
        block = malloc(sizeof(*block) + len);
        if (block == NULL)
            abort();
        block->len = len;
        memset(block + 1, 0xa5, len);
        state.blocks++;
        state.bytes += len;
        if (old != NULL)
            memcpy(block + 1, old, old_len < len ? old_len : len);
    }
    if (old != NULL) {
        struct header *was = (struct header *)old - 1;
        state.blocks--;
        state.bytes -= old_len; /* a wrong length is seen in the end */
        memset(old, 0x5a, was->len);
        free(was);
    }
    return block != NULL ? block + 1 : NULL;
}

void alloc_begin(uint64_t fail, bool all)
{
    if (!state.hooked && ior_set_alloc(hook, NULL) < 0)
        abort();
    state.hooked = true;
    state.calls = state.refused = 0;
    state.blocks = state.bytes = 0;
    state.fail = fail;
    state.all = all;
}

uint64_t alloc_calls(void)
{
    return state.calls;
}

uint64_t alloc_refused(void)
{
    return state.refused;
}

size_t alloc_blocks(void)
{
    return state.blocks;
}

size_t alloc_bytes(void)
{
    return state.bytes;
}
