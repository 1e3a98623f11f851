/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: ids that never repeat, first-in first-out reuse, growth in chunks, a bound, retirement of spent slots.
 */
#include <errno.h>
#include <stdlib.h>

#include "slots.h"
#include "support/check.h"
#include "support/live.h"

enum { MANY = 256 };

/* What lives in a slot begins with its id. */
struct thing {
    uint64_t id;
};

static struct thing things[4096];

static uint64_t add(struct ior__slots *slots, struct thing *thing)
{
    thing->id = 0;
    assert_int_equal(ior__slots_add(slots, thing), 0);
    uint64_t id = thing->id;
    assert_true(id != 0);
    assert_int_equal(id & 15, 0);
    assert_ptr_equal(ior__slots_find(slots, id), thing);
    return id;
}

static uint32_t index_of(uint64_t id)
{
    return (uint32_t)(id >> IOR__SLOT_SHIFT);
}

static void finds_what_was_added(void **state)
{
    struct ior__slots slots;
    (void)state;
    ior__slots_init(&slots, IOR__SLOT_MAX);
    uint64_t a = add(&slots, &things[0]), b = add(&slots, &things[1]);
    assert_true(a != b);
    assert_int_equal(slots.live, 2);
    ior__slots_remove(&slots, a);
    assert_null(ior__slots_find(&slots, a));
    assert_ptr_equal(ior__slots_find(&slots, b), &things[1]);
    assert_int_equal(slots.live, 1);
    ior__slots_deinit(&slots);
}

static void finds_nothing_in_made_up_ids(void **state)
{
    struct ior__slots slots;
    (void)state;
    ior__slots_init(&slots, IOR__SLOT_MAX);
    assert_null(ior__slots_find(&slots, 16));
    uint64_t id = add(&slots, &things[0]), gone = add(&slots, &things[1]);
    ior__slots_remove(&slots, gone);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_null(ior__slots_find(&slots, id ^ UINT64_C(1) << bit));
    for (uint32_t index = 0; index < slots.made; index++) {
        /* Whatever a free slot holds must not be an id that finds something. */
        uint64_t held = slots.table[index];
        if (held != id)
            assert_null(ior__slots_find(&slots, held));
        if (index != index_of(id)) {
            assert_null(ior__slots_find(&slots, (uint64_t)index << IOR__SLOT_SHIFT | 16));
            assert_null(ior__slots_find(&slots, (uint64_t)index << IOR__SLOT_SHIFT | 32));
        }
    }
    assert_null(ior__slots_find(&slots, 0));
    assert_null(ior__slots_find(&slots, UINT64_MAX));
    ior__slots_deinit(&slots);
}

static void reuses_first_in_first_out(void **state)
{
    struct ior__slots slots;
    uint64_t ids[MANY];
    (void)state;
    ior__slots_init(&slots, IOR__SLOT_MAX);
    for (unsigned i = 0; i < MANY; i++)
        ids[i] = add(&slots, &things[i]);
    static const unsigned order[] = {7, 200, 3, 100};
    for (unsigned i = 0; i < 4; i++)
        ior__slots_remove(&slots, ids[order[i]]);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t id = add(&slots, &things[i]);
        assert_int_equal(index_of(id), index_of(ids[order[i]]));
        assert_true(id != ids[order[i]]);
        assert_null(ior__slots_find(&slots, ids[order[i]]));
    }
    ior__slots_deinit(&slots);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void inv03_ids_never_repeat(void **state)
{
    enum { ROUNDS = 20000 };
    struct ior__slots slots;
    uint64_t *ids = calloc(ROUNDS, sizeof(*ids)), live[16] = {0};
    (void)state;
    assert_non_null(ids);
    ior__slots_init(&slots, 16);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned at = i * 7 % 16;
        if (live[at] != 0)
            ior__slots_remove(&slots, live[at]);
        ids[i] = live[at] = add(&slots, &things[at]);
    }
    qsort(ids, ROUNDS, sizeof(*ids), by_value);
    for (unsigned i = 1; i < ROUNDS; i++)
        assert_true(ids[i] != ids[i - 1]);
    free(ids);
    ior__slots_deinit(&slots);
}

static void a_spent_slot_is_retired(void **state)
{
    struct ior__slots slots;
    (void)state;
    ior__slots_init(&slots, IOR__SLOT_MAX);
    uint64_t id = add(&slots, &things[0]);
    uint32_t index = index_of(id);
    ior__slots_remove(&slots, id);
    /* Its last generation: what is packed there is the one that the next use has. */
    slots.table[index] |= IOR__GENERATION_MAX << 4;
    uint64_t last = 0;
    for (unsigned i = 0; i < MANY; i++) {
        uint64_t now = add(&slots, &things[i]);
        if (index_of(now) == index)
            last = now;
    }
    assert_true(last != 0);
    assert_int_equal(last >> 4 & IOR__GENERATION_MAX, IOR__GENERATION_MAX);
    ior__slots_remove(&slots, last);
    assert_null(ior__slots_find(&slots, last));
    assert_null(ior__slots_at(&slots, index));
    for (unsigned i = 0; i < 2 * MANY; i++)
        assert_true(index_of(add(&slots, &things[i])) != index);
    ior__slots_deinit(&slots);
}

static void every_slot_can_be_retired(void **state)
{
    struct ior__slots slots;
    (void)state;
    ior__slots_init(&slots, MANY);
    for (unsigned i = 0; i < MANY; i++)
        add(&slots, &things[i]);
    for (uint32_t i = 0; i < MANY; i++)
        ior__slots_remove(&slots, things[i].id);
    for (uint32_t i = 0; i < slots.made; i++)
        slots.table[i] |= IOR__GENERATION_MAX << 4;
    for (unsigned i = 0; i < MANY; i++) {
        uint64_t id = add(&slots, &things[i]);
        assert_int_equal(id >> 4 & IOR__GENERATION_MAX, IOR__GENERATION_MAX);
        ior__slots_remove(&slots, id);
    }
    uint64_t fresh = add(&slots, &things[0]); /* a new slot */
    assert_int_equal(fresh >> 4 & IOR__GENERATION_MAX, 1);
    assert_true(index_of(fresh) >= MANY);
    ior__slots_deinit(&slots);
}

static void the_bound_is_kept(void **state)
{
    struct ior__slots slots;
    (void)state;
    ior__slots_init(&slots, 3);
    uint64_t a = add(&slots, &things[0]);
    add(&slots, &things[1]);
    add(&slots, &things[2]);
    things[3].id = 4711;
    assert_int_equal(ior__slots_add(&slots, &things[3]), -ENOSPC);
    assert_int_equal(things[3].id, 4711);
    assert_int_equal(slots.live, 3);
    ior__slots_remove(&slots, a);
    add(&slots, &things[3]);
    assert_int_equal(ior__slots_add(&slots, &things[0]), -ENOSPC);
    ior__slots_deinit(&slots);
}

static void growing_loses_nothing(void **state)
{
    struct ior__slots slots;
    static uint64_t ids[4096];
    (void)state;
    ior__slots_init(&slots, IOR__SLOT_MAX);
    ids[0] = add(&slots, &things[0]);
    for (unsigned i = 1; i < 4096; i++)
        ids[i] = add(&slots, &things[i]);
    for (unsigned i = 0; i < 4096; i++)
        assert_ptr_equal(ior__slots_find(&slots, ids[i]), &things[i]);
    assert_int_equal(slots.live, 4096);
    ior__slots_deinit(&slots);
}

static void out_of_memory_changes_nothing(void **state)
{
    struct ior__slots slots;
    (void)state;
    live_alloc_start();
    ior__slots_init(&slots, IOR__SLOT_MAX);
    live_alloc_fail(1, false);
    things[0].id = 4711;
    assert_int_equal(ior__slots_add(&slots, &things[0]), -ENOMEM);
    assert_int_equal(things[0].id, 4711);
    assert_int_equal(slots.live, 0);
    assert_int_equal(slots.made, 0);
    live_alloc_fail(0, false);
    add(&slots, &things[0]);
    while (slots.made < slots.capacity)
        add(&slots, &things[0]);
    uint32_t full = slots.live;
    live_alloc_fail(1, true);
    assert_int_equal(ior__slots_add(&slots, &things[0]), -ENOMEM);
    assert_int_equal(slots.live, full);
    live_alloc_fail(0, false);
    add(&slots, &things[0]);
    ior__slots_deinit(&slots);
    live_alloc_stop();
}

static void an_empty_table_costs_nothing(void **state)
{
    struct ior__slots slots;
    (void)state;
    live_alloc_start();
    ior__slots_init(&slots, IOR__SLOT_MAX);
    assert_int_equal(live_alloc_blocks(), 0);
    ior__slots_deinit(&slots);
    live_alloc_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(finds_nothing_in_made_up_ids),
        cmocka_unit_test(reuses_first_in_first_out),
        cmocka_unit_test(inv03_ids_never_repeat),
        cmocka_unit_test(a_spent_slot_is_retired),
        cmocka_unit_test(every_slot_can_be_retired),
        cmocka_unit_test(the_bound_is_kept),
        cmocka_unit_test(growing_loses_nothing),
        cmocka_unit_test(out_of_memory_changes_nothing),
        cmocka_unit_test(an_empty_table_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
