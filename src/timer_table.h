/* SPDX-License-Identifier: Apache-2.0 */
/* The timers of services, by their ids: see timer_table.c. */
#ifndef IOR_SRC_TIMER_TABLE_H
#define IOR_SRC_TIMER_TABLE_H

#include "slots.h"

struct ior_context;

/* Part of what can be due: see timers.h. */
struct ior__timer_node {
    uint64_t when_ns; /* the deadline */
    uint64_t key;     /* of its arming */
    uint64_t queued_ns;
    uint64_t queued_key; /* 0: not queued */
};

/* One line of the cache, most of which moving and cancelling leave alone. */
struct ior__timer {
    uint64_t id;            /* free: the next free one, the generation of its next use, and IOR__SLOT_FREE */
    struct ior_context *cx; /* NULL: free */
    struct ior__timer_node node;
    void *user;
    uint64_t period_ns; /* 0: it fires once */
};

struct ior__timer_table {
    struct ior__timer *timers;
    void *block; /* what they lie in */
    uint32_t capacity;
    uint32_t made; /* timers that exist, free ones included */
    uint32_t live;
    uint32_t max;  /* most that may be live */
    uint32_t free; /* the first, or IOR__SLOT_NONE */
};

void ior__timer_table_init(struct ior__timer_table *table, uint32_t max);
void ior__timer_table_deinit(struct ior__timer_table *table);

/* Gives out a timer; its node is not queued, `user` and `period_ns` are to be set. -ENOSPC: `max` are live; -ENOMEM. */
int ior__timer_table_add(struct ior__timer_table *table, struct ior_context *cx, uint64_t *ret_id);

/* The timer must be live, and its node not queued. */
void ior__timer_table_remove(struct ior__timer_table *table, struct ior__timer *timer);

/* The timer of a live id, else NULL. */
static inline struct ior__timer *ior__timer_find(const struct ior__timer_table *table, uint64_t id)
{
    uint32_t index = (uint32_t)(id >> IOR__SLOT_SHIFT);
    if (IOR_UNLIKELY(index >= table->made))
        return NULL;
    struct ior__timer *timer = &table->timers[index];
    return IOR_LIKELY(timer->id == id && timer->cx) ? timer : NULL;
}

#endif
