/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of all that is due some day: services' timers and resources' deadlines, in one total order (deadline, then
 * order of arming). A 4-ary heap whose entries hold the keys, so that sifting touches no nodes but to note where they
 * went; children share a cache line and a half. Every operation is O(log n), and all but growing cannot fail.
 *
 * Invariants: a parent's (when, seq) is below its children's; heap[node->pos].node == node; seq never repeats.
 */
#include "timers.h"

#include <errno.h>

#define ARITY 4u

static bool before(const struct ior__timer_entry *a, const struct ior__timer_entry *b)
{
    return a->when_ns < b->when_ns || (a->when_ns == b->when_ns && a->seq < b->seq);
}

static void put(struct ior__timers *timers, uint32_t pos, struct ior__timer_entry entry)
{
    timers->heap[pos] = entry;
    entry.node->pos = pos;
}

static void sift_up(struct ior__timers *timers, uint32_t pos, struct ior__timer_entry entry)
{
    while (pos > 0) {
        uint32_t parent = (pos - 1) / ARITY;
        if (!before(&entry, &timers->heap[parent]))
            break;
        put(timers, pos, timers->heap[parent]);
        pos = parent;
    }
    put(timers, pos, entry);
}

static void sift_down(struct ior__timers *timers, uint32_t pos, struct ior__timer_entry entry)
{
    for (;;) {
        uint64_t first = (uint64_t)pos * ARITY + 1;
        if (first >= timers->count)
            break;
        uint32_t best = (uint32_t)first;
        uint32_t end = timers->count - best < ARITY ? timers->count : best + ARITY;
        for (uint32_t child = best + 1; child < end; child++) {
            if (before(&timers->heap[child], &timers->heap[best]))
                best = child;
        }
        if (!before(&timers->heap[best], &entry))
            break;
        put(timers, pos, timers->heap[best]);
        pos = best;
    }
    put(timers, pos, entry);
}

/* Puts an entry where it belongs, starting from `pos`, whose own entry is gone. */
static void settle(struct ior__timers *timers, uint32_t pos, struct ior__timer_entry entry)
{
    if (pos > 0 && before(&entry, &timers->heap[(pos - 1) / ARITY]))
        sift_up(timers, pos, entry);
    else
        sift_down(timers, pos, entry);
}

void ior__timers_deinit(struct ior__timers *timers)
{
    ior__free(timers->heap, timers->capacity * sizeof(*timers->heap));
    *timers = (struct ior__timers){0};
}

int ior__timers_reserve(struct ior__timers *timers)
{
    if (timers->count < timers->capacity)
        return 0;
    if (timers->capacity > UINT32_MAX / 2)
        return -ENOMEM;
    uint32_t capacity = timers->capacity ? timers->capacity * 2 : 16;
    struct ior__timer_entry *heap =
        ior__realloc(timers->heap, timers->capacity * sizeof(*heap), capacity * sizeof(*heap));
    if (!heap)
        return -ENOMEM;
    timers->heap = heap;
    timers->capacity = capacity;
    return 0;
}

int ior__timers_add(struct ior__timers *timers, struct ior__timer_node *node, uint64_t when_ns)
{
    int err = ior__timers_reserve(timers);
    if (err < 0)
        return err;
    struct ior__timer_entry entry = {.when_ns = when_ns, .seq = timers->next_seq++, .node = node};
    sift_up(timers, timers->count++, entry);
    return 0;
}

void ior__timers_move(struct ior__timers *timers, struct ior__timer_node *node, uint64_t when_ns)
{
    struct ior__timer_entry entry = {.when_ns = when_ns, .seq = timers->next_seq++, .node = node};
    settle(timers, node->pos, entry);
}

void ior__timers_remove(struct ior__timers *timers, struct ior__timer_node *node)
{
    uint32_t pos = node->pos;
    if (pos == IOR__TIMER_IDLE)
        return;
    node->pos = IOR__TIMER_IDLE;
    struct ior__timer_entry last = timers->heap[--timers->count];
    if (pos < timers->count)
        settle(timers, pos, last);
}

struct ior__timer_node *ior__timers_pop(struct ior__timers *timers, uint64_t now_ns, uint64_t seq_limit)
{
    if (timers->count == 0 || timers->heap[0].when_ns > now_ns || timers->heap[0].seq >= seq_limit)
        return NULL;
    struct ior__timer_node *node = timers->heap[0].node;
    ior__timers_remove(timers, node);
    return node;
}
