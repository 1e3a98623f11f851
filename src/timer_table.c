/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timers of services live in one table, and their ids say where: arming one allocates nothing, and finding it is one
 * look. Ids are made as those of resources are (slots.c), and as safe when stale.
 *
 * The timer that was freed last is given out first, while it is still in the cache: most timers are cancelled soon. That
 * uses up the generations of a few slots; one whose last is spent is retired, after 2^36 uses.
 *
 * The table may move when it grows: nobody keeps a pointer into it across a call that arms.
 *
 * Invariants: a live timer's id names its place in the table, and its cx is not NULL; a free one's id has IOR__SLOT_FREE
 * set, which no id that is given out has, and its cx is NULL.
 */
#include "timer_table.h"

#include <errno.h>
#include <string.h>

#define GENERATION_SHIFT 4
#define TIMERS_FIRST 64u

static uint64_t pack(uint32_t index, uint64_t generation)
{
    return (uint64_t)index << IOR__SLOT_SHIFT | generation << GENERATION_SHIFT;
}

void ior__timer_table_init(struct ior__timer_table *table, uint32_t max)
{
    memset(table, 0, sizeof(*table));
    table->max = max < IOR__SLOT_MAX ? max : IOR__SLOT_MAX;
    table->free = IOR__SLOT_NONE;
}

void ior__timer_table_deinit(struct ior__timer_table *table)
{
    ior__array_free(table->block, table->capacity * sizeof(*table->timers));
    memset(table, 0, sizeof(*table));
}

/* One more timer, which is free. */
static IOR_APART int make(struct ior__timer_table *table)
{
    const size_t one = sizeof(*table->timers);
    uint32_t index = table->made;
    if (index >= IOR__SLOT_MAX)
        return -ENOSPC; /* only when retired ones have used up the numbers */
    if (index == table->capacity) {
        uint32_t capacity = index < TIMERS_FIRST ? TIMERS_FIRST : index + index / 2;
        struct ior__timer *timers = ior__array_grow(&table->block, 0, index * one, capacity * one);
        if (!timers)
            return -ENOMEM;
        table->timers = timers;
        table->capacity = capacity;
    }
    table->made++;
    table->timers[index] = (struct ior__timer){.id = pack(table->free, 1) | IOR__SLOT_FREE};
    table->free = index;
    return 0;
}

int ior__timer_table_add(struct ior__timer_table *table, struct ior_context *cx, uint64_t *ret_id)
{
    if (IOR_UNLIKELY(table->live >= table->max))
        return -ENOSPC;
    int err = IOR_LIKELY(table->free != IOR__SLOT_NONE) ? 0 : make(table);
    if (IOR_UNLIKELY(err < 0))
        return err;
    uint32_t index = table->free;
    struct ior__timer *timer = &table->timers[index];
    table->free = (uint32_t)(timer->id >> IOR__SLOT_SHIFT);
    table->live++;
    timer->id = pack(index, timer->id >> GENERATION_SHIFT & IOR__GENERATION_MAX);
    timer->cx = cx;
    *ret_id = timer->id;
    return 0;
}

void ior__timer_table_remove(struct ior__timer_table *table, struct ior__timer *timer)
{
    uint64_t generation = timer->id >> GENERATION_SHIFT & IOR__GENERATION_MAX;
    timer->cx = NULL;
    table->live--;
    if (IOR_LIKELY(generation < IOR__GENERATION_MAX)) {
        uint32_t index = (uint32_t)(timer->id >> IOR__SLOT_SHIFT);
        timer->id = pack(table->free, generation + 1) | IOR__SLOT_FREE;
        table->free = index;
    } else {
        timer->id = IOR__SLOT_FREE; /* retired: in no list, for good */
    }
}
