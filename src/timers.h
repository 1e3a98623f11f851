/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of deadlines in total order, see timers.c. */
#ifndef IOR_SRC_TIMERS_H
#define IOR_SRC_TIMERS_H

#include "util.h"

#define IOR__TIMER_IDLE UINT32_MAX /* pos of a node that is in no queue */

enum ior__timer_kind {
    IOR__TIMER_SERVICE = 1, /* a timer of a service: struct ior__timer */
    IOR__TIMER_RESOURCE,    /* the deadlines of a resource: struct ior__deadlines */
};

/* Embedded in what can be due. */
struct ior__timer_node {
    uint32_t pos; /* in the heap, or IOR__TIMER_IDLE */
    uint32_t kind;
};

struct ior__timer_entry {
    uint64_t when_ns;
    uint64_t seq; /* the order of arming: ties fire in it */
    struct ior__timer_node *node;
};

struct ior__timers {
    struct ior__timer_entry *heap;
    uint32_t count;
    uint32_t capacity;
    uint64_t next_seq;
};

void ior__timers_deinit(struct ior__timers *timers);

/* Adds a node that is idle. Only this can fail: -ENOMEM. */
int ior__timers_add(struct ior__timers *timers, struct ior__timer_node *node, uint64_t when_ns);

/* Makes sure that one more add cannot fail. */
int ior__timers_reserve(struct ior__timers *timers);

/* Gives a queued node another deadline; it is the last of its ties. */
void ior__timers_move(struct ior__timers *timers, struct ior__timer_node *node, uint64_t when_ns);

/* Takes a node out; nothing happens where it is idle. */
void ior__timers_remove(struct ior__timers *timers, struct ior__timer_node *node);

/* The earliest deadline, or UINT64_MAX. */
static inline uint64_t ior__timers_next(const struct ior__timers *timers)
{
    return timers->count ? timers->heap[0].when_ns : UINT64_MAX;
}

/* The deadline a queued node has. */
static inline uint64_t ior__timers_when(const struct ior__timers *timers, const struct ior__timer_node *node)
{
    return timers->heap[node->pos].when_ns;
}

/*
 * Takes out the earliest node if it is due at now_ns and was armed before `seq_limit` was next_seq: what a callback
 * arms waits for the next turn. NULL: none.
 */
struct ior__timer_node *ior__timers_pop(struct ior__timers *timers, uint64_t now_ns, uint64_t seq_limit);

#endif
