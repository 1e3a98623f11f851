/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world's own memory. It comes from malloc and not from the library's hook, so that a test can make the library's
 * allocations fail alone. A world that cannot remember cannot go on: without memory it ends the program.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

void *ior__mem_new(size_t len)
{
    void *block = calloc(1, len);
    if (!block)
        abort();
    return block;
}

void *ior__mem_grow(void *old, size_t len)
{
    void *block = realloc(old, len);
    if (!block)
        abort();
    return block;
}

void ior__mem_free(void *block)
{
    free(block);
}

void *ior__mem_room(void *array, uint32_t count, uint32_t *room, size_t element)
{
    if (SIM_LIKELY(count < *room))
        return array;
    uint32_t more = *room < 16 ? 16 : *room * 2;
    if (more <= *room)
        abort();
    array = ior__mem_grow(array, more * element);
    memset((unsigned char *)array + *room * element, 0, (more - *room) * element);
    *room = more;
    return array;
}
