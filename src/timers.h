/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of deadlines in total order, see timers.c. */
#ifndef IOR_SRC_TIMERS_H
#define IOR_SRC_TIMERS_H

#include "slots.h"
#include "timer_table.h"
#include "util.h"

/*
 * The low bits of a key name what is due: the number of a slot, and of which table. The bits above count armings, so
 * that comparing keys compares the order of arming.
 */
#define IOR__TIMER_REF_BITS 25
#define IOR__TIMER_OF_RESOURCE 1u
#define IOR__TIMER_KEY_STEP (UINT64_C(1) << IOR__TIMER_REF_BITS)

/*
 * In the heap: an entry stands for a node as long as the node's `queued_key` is its key. It is at the node's deadline or
 * before it: moving the deadline later touches the node only.
 */
struct ior__timer_entry {
    uint64_t when_ns;
    uint64_t key;
};

struct ior__timers {
    struct ior__timer_entry *heap; /* inside `block`, so that siblings share a line of the cache */
    uint32_t count;                /* entries, those included that stand for nothing */
    uint32_t dead;                 /* entries that stand for nothing */
    uint32_t capacity;
    uint32_t cursor;    /* where the sweep is */
    uint64_t next_key;  /* of the next arming, without the reference */
    uint64_t limit_key; /* what is armed from here on waits for the next turn */
    void *block;
    struct ior__timer_table table;
    const struct ior__slots *resources; /* struct ior_resource *, whose `deadlines` begin with a node */
};

/* `max_timers` of services; deadlines of resources are bounded by those. */
void ior__timers_init(struct ior__timers *timers, uint32_t max_timers, const struct ior__slots *resources);
void ior__timers_deinit(struct ior__timers *timers);

/* Adds a node that is not queued. Only this can fail: -ENOMEM. `ref` is one of those below. */
int ior__timers_add(struct ior__timers *timers, struct ior__timer_node *node, uint32_t ref, uint64_t when_ns);

/* A timer of a service, armed: its `user` and `period_ns` are the caller's to set. -ENOSPC or -ENOMEM. */
int ior__timers_new(struct ior__timers *timers, struct ior_context *cx, uint64_t when_ns, uint64_t *ret_id);

/* Makes sure that one more add cannot fail. */
int ior__timers_reserve(struct ior__timers *timers);

/* Gives a queued node another deadline; it is the last of its ties. */
void ior__timers_move(struct ior__timers *timers, struct ior__timer_node *node, uint64_t when_ns);

/* Takes a node out; nothing happens where it is not queued. */
void ior__timers_remove(struct ior__timers *timers, struct ior__timer_node *node);

/* What is armed from now on does not fire before this is called again. */
static inline void ior__timers_begin(struct ior__timers *timers)
{
    timers->limit_key = timers->next_key;
}

/* Takes out the earliest node if it is due at now_ns. NULL: none, or a long row of entries that stood for nothing. */
struct ior__timer_node *ior__timers_pop(struct ior__timers *timers, uint64_t now_ns);

/* The earliest deadline, or earlier (something was moved later), or UINT64_MAX. */
static inline uint64_t ior__timers_next(const struct ior__timers *timers)
{
    return timers->count ? timers->heap[0].when_ns : UINT64_MAX;
}

/* How many nodes are queued. */
static inline uint32_t ior__timers_queued(const struct ior__timers *timers)
{
    return timers->count - timers->dead;
}

static inline uint32_t ior__timer_ref(uint64_t id)
{
    return (uint32_t)(id >> IOR__SLOT_SHIFT) << 1;
}

static inline bool ior__timer_of_resource(const struct ior__timer_node *node)
{
    return node->key & IOR__TIMER_OF_RESOURCE;
}

#endif
