/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in a ring that grows by doubling. An empty one holds no memory, so that idle connections cost none. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define RING_FIRST 256u
#define RING_MOST (1u << 31)

static void ring_grow(struct ring *ring, size_t need)
{
    uint32_t room = ring->room ? ring->room : RING_FIRST;

    if (need > RING_MOST)
        abort();
    while (room < need)
        room *= 2;
    unsigned char *bytes = ior__mem_grow(NULL, room);
    uint32_t first = ring->room - ring->head < ring->len ? ring->room - ring->head : ring->len;
    if (ring->len > 0) {
        memcpy(bytes, ring->bytes + ring->head, first);
        memcpy(bytes + first, ring->bytes, ring->len - first);
    }
    ior__mem_free(ring->bytes);
    ring->bytes = bytes;
    ring->room = room;
    ring->head = 0;
}

void ior__ring_put(struct ring *ring, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    if (ring->len + len > ring->room)
        ring_grow(ring, ring->len + len);
    uint32_t tail = (ring->head + ring->len) & (ring->room - 1);
    size_t first = ring->room - tail < len ? ring->room - tail : len;
    memcpy(ring->bytes + tail, bytes, first);
    memcpy(ring->bytes, (const unsigned char *)bytes + first, len - first);
    ring->len += (uint32_t)len;
}

size_t ior__ring_look(const struct ring *ring, const unsigned char **ret)
{
    *ret = ring->bytes + ring->head;
    return ring->room - ring->head < ring->len ? ring->room - ring->head : ring->len;
}

void ior__ring_drop(struct ring *ring, size_t len)
{
    ring->len -= (uint32_t)len;
    if (ring->len == 0)
        ior__ring_free(ring);
    else
        ring->head = (ring->head + (uint32_t)len) & (ring->room - 1);
}

void ior__ring_free(struct ring *ring)
{
    ior__mem_free(ring->bytes);
    *ring = (struct ring){0};
}
