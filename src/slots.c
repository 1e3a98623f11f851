/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots map ids to pointers in O(1), and make stale ids harmless.
 *
 * An id is a slot number (24 bits), a generation (36 bits) and four zero bits. Each use of a slot has a generation of
 * its own, so an id is never given out twice; a slot whose generations are spent is retired. Free slots are reused
 * first-in first-out, which spreads the use of generations; new ones are made only when none is free, so the table is
 * as small as the most resources that ever lived at once. It may move when it grows: nobody keeps a pointer into it.
 *
 * A slot is one word: the address of what lives there, or (bit 0 set, which no address has) what a free one has to know.
 * The id stands at the address itself, where whoever looks it up is about to look anyway.
 *
 * Invariant: what lives in slot n begins with the id it was given, whose slot is n.
 */
#include "slots.h"

#include <errno.h>
#include <string.h>

#define GENERATION_SHIFT 4
#define SLOTS_FIRST 64u

static uint64_t pack(uint32_t index, uint64_t generation)
{
    return (uint64_t)index << IOR__SLOT_SHIFT | generation << GENERATION_SHIFT;
}

static uint64_t generation_of(uint64_t id)
{
    return id >> GENERATION_SHIFT & IOR__GENERATION_MAX;
}

void ior__slots_init(struct ior__slots *slots, uint32_t max)
{
    memset(slots, 0, sizeof(*slots));
    slots->max = max < IOR__SLOT_MAX ? max : IOR__SLOT_MAX;
    slots->free_first = slots->free_last = IOR__SLOT_NONE;
}

void ior__slots_deinit(struct ior__slots *slots)
{
    ior__free(slots->table, slots->capacity * sizeof(*slots->table));
    memset(slots, 0, sizeof(*slots));
}

/* Puts a slot at the end of the free list; its next use has `generation`. */
static void put_free(struct ior__slots *slots, uint32_t index, uint64_t generation)
{
    slots->table[index] = pack(IOR__SLOT_NONE, generation) | IOR__SLOT_FREE;
    if (slots->free_last == IOR__SLOT_NONE) {
        slots->free_first = index;
    } else {
        ior__slot *last = &slots->table[slots->free_last];
        *last = pack(index, generation_of(*last)) | IOR__SLOT_FREE;
    }
    slots->free_last = index;
}

/* A slot that was never used. Its number, or -errno. */
static int make_slot(struct ior__slots *slots, uint32_t *ret_index)
{
    uint32_t index = slots->made;
    if (index >= IOR__SLOT_MAX)
        return -ENOSPC; /* only when retired slots have used up the numbers */
    if (index == slots->capacity) {
        uint32_t capacity = index < SLOTS_FIRST ? SLOTS_FIRST : index + index / 2;
        ior__slot *table = ior__realloc(slots->table, index * sizeof(*table), capacity * sizeof(*table));
        if (!table)
            return -ENOMEM;
        slots->table = table;
        slots->capacity = capacity;
    }
    slots->made++;
    slots->table[index] = pack(IOR__SLOT_NONE, 1) | IOR__SLOT_FREE;
    *ret_index = index;
    return 0;
}

int ior__slots_add(struct ior__slots *slots, void *ptr)
{
    if (slots->live >= slots->max)
        return -ENOSPC;
    uint32_t index = slots->free_first;
    if (index == IOR__SLOT_NONE) {
        int err = make_slot(slots, &index);
        if (err < 0)
            return err;
    } else {
        slots->free_first = (uint32_t)(slots->table[index] >> IOR__SLOT_SHIFT);
        if (slots->free_first == IOR__SLOT_NONE)
            slots->free_last = IOR__SLOT_NONE;
    }
    uint64_t *id = ptr;
    *id = pack(index, generation_of(slots->table[index]));
    slots->table[index] = (uintptr_t)ptr;
    slots->live++;
    return 0;
}

void ior__slots_remove(struct ior__slots *slots, uint64_t id)
{
    uint32_t index = (uint32_t)(id >> IOR__SLOT_SHIFT);
    uint64_t generation = generation_of(id);
    slots->live--;
    if (generation < IOR__GENERATION_MAX)
        put_free(slots, index, generation + 1);
    else
        slots->table[index] = pack(IOR__SLOT_NONE, generation) | IOR__SLOT_FREE; /* retired: in no list, for good */
}

void *ior__slots_at(const struct ior__slots *slots, uint32_t index)
{
    ior__slot slot = slots->table[index];
    return (slot & IOR__SLOT_FREE) ? NULL : (void *)(uintptr_t)slot;
}
