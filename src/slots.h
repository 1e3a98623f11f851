/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: ids to pointers, see slots.c. */
#ifndef IOR_SRC_SLOTS_H
#define IOR_SRC_SLOTS_H

#include "util.h"

#define IOR__SLOT_SHIFT 40
#define IOR__SLOT_NONE UINT32_C(0xffffff)
#define IOR__SLOT_MAX (IOR__SLOT_NONE - 1) /* slots 0 .. 2^24 - 3; the last number means none */
#define IOR__GENERATION_MAX ((UINT64_C(1) << 36) - 1)

/*
 * A slot: live, the address of what it was given; free, IOR__SLOT_FREE is set, and it packs the next free slot and the
 * generation of its next use. What is given begins with its id (uint64_t).
 */
typedef uint64_t ior__slot;

struct ior__slots {
    ior__slot *table;
    uint32_t capacity;
    uint32_t made; /* slots that exist */
    uint32_t live;
    uint32_t max;        /* most that may be live */
    uint32_t free_first; /* reused first-in first-out */
    uint32_t free_last;
};

void ior__slots_init(struct ior__slots *slots, uint32_t max);
void ior__slots_deinit(struct ior__slots *slots);

/* 0, and `ptr` begins with its id; -ENOSPC: `max` are live; -ENOMEM: `ptr` is untouched. */
int ior__slots_add(struct ior__slots *slots, void *ptr);

/* The id must be live. */
void ior__slots_remove(struct ior__slots *slots, uint64_t id);

/* The pointer of slot number `index` (0 .. made - 1), NULL where it is free. */
void *ior__slots_at(const struct ior__slots *slots, uint32_t index);

#define IOR__SLOT_FREE UINT64_C(1)

/* The pointer of a live id, else NULL. */
static inline void *ior__slots_find(const struct ior__slots *slots, uint64_t id)
{
    uint32_t index = (uint32_t)(id >> IOR__SLOT_SHIFT);
    if (IOR_UNLIKELY(index >= slots->made))
        return NULL;
    ior__slot slot = slots->table[index];
    if (IOR_UNLIKELY(slot & IOR__SLOT_FREE))
        return NULL;
    uint64_t *ptr = (void *)(uintptr_t)slot;
    return IOR_LIKELY(*ptr == id) ? ptr : NULL;
}

#endif
