/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of services' timers: ids that never repeat and are harmless when stale or made up, reuse while in the cache,
 * a bound, retirement of those that are spent, growth, and no memory.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/live.h"
#include "timer_table.h"

static char somebody;
static struct ior_context *const owner = (struct ior_context *)(void *)&somebody;

static uint64_t add(struct ior__timer_table *table)
{
    uint64_t id = 0;
    assert_int_equal(ior__timer_table_add(table, owner, &id), 0);
    assert_true(id != 0 && (id & 15) == 0);
    const struct ior__timer *timer = ior__timer_find(table, id);
    assert_non_null(timer);
    assert_int_equal(timer->id, id);
    assert_ptr_equal(timer->cx, owner);
    assert_int_equal(timer->node.queued_key, 0);
    return id;
}

static void end(struct ior__timer_table *table, uint64_t id)
{
    ior__timer_table_remove(table, ior__timer_find(table, id));
    assert_null(ior__timer_find(table, id));
}

static uint32_t index_of(uint64_t id)
{
    return (uint32_t)(id >> IOR__SLOT_SHIFT);
}

static void inv03_ids_never_repeat(void **state)
{
    struct ior__timer_table table;
    uint64_t ids[300];
    (void)state;
    live_alloc_start();
    ior__timer_table_init(&table, IOR__SLOT_MAX);
    for (unsigned i = 0; i < 300; i++) {
        ids[i] = add(&table);
        for (unsigned j = 0; j < i; j++)
            assert_true(ids[j] != ids[i]);
        if (i % 3 != 0)
            end(&table, ids[i]);
    }
    for (unsigned i = 0; i < 300; i++)
        assert_true((ior__timer_find(&table, ids[i]) == NULL) == (i % 3 != 0));
    assert_int_equal(table.live, 100);
    assert_int_equal(table.made, 100 + 1);
    ior__timer_table_deinit(&table);
    live_alloc_stop();
}

static void finds_nothing_in_made_up_ids(void **state)
{
    struct ior__timer_table table;
    (void)state;
    ior__timer_table_init(&table, IOR__SLOT_MAX);
    assert_null(ior__timer_find(&table, 16));
    uint64_t id = add(&table), gone = add(&table);
    end(&table, gone);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_null(ior__timer_find(&table, id ^ UINT64_C(1) << bit));
    assert_null(ior__timer_find(&table, table.timers[index_of(gone)].id)); /* what a free one holds */
    assert_null(ior__timer_find(&table, 0));
    assert_null(ior__timer_find(&table, UINT64_MAX));
    ior__timer_table_deinit(&table);
}

static void the_last_one_freed_is_the_next(void **state)
{
    struct ior__timer_table table;
    (void)state;
    ior__timer_table_init(&table, IOR__SLOT_MAX);
    uint64_t a = add(&table), b = add(&table), c = add(&table);
    end(&table, a);
    end(&table, c);
    assert_int_equal(index_of(add(&table)), index_of(c));
    assert_int_equal(index_of(add(&table)), index_of(a));
    assert_int_equal(index_of(add(&table)), 3);
    end(&table, b);
    ior__timer_table_deinit(&table);
}

static void the_bound_is_kept(void **state)
{
    struct ior__timer_table table;
    uint64_t id = 4711;
    (void)state;
    ior__timer_table_init(&table, 2);
    uint64_t a = add(&table);
    add(&table);
    assert_int_equal(ior__timer_table_add(&table, owner, &id), -ENOSPC);
    assert_int_equal(id, 4711);
    end(&table, a);
    add(&table);
    ior__timer_table_deinit(&table);
}

static void a_spent_one_is_retired(void **state)
{
    struct ior__timer_table table;
    (void)state;
    ior__timer_table_init(&table, IOR__SLOT_MAX);
    end(&table, add(&table));
    table.timers[0].id = (table.timers[0].id & ~(IOR__GENERATION_MAX << 4)) | (IOR__GENERATION_MAX - 1) << 4;
    uint64_t before = add(&table);
    end(&table, before);
    uint64_t last = add(&table);
    assert_int_equal(index_of(last), 0);
    assert_int_equal(last - before, 16);
    end(&table, last);
    assert_int_equal(index_of(add(&table)), 1);
    assert_int_equal(index_of(add(&table)), 2);
    assert_null(ior__timer_find(&table, last));
    assert_null(ior__timer_find(&table, table.timers[0].id));
    assert_int_equal(table.live, 2);
    ior__timer_table_deinit(&table);
}

static void without_memory_nothing_changes(void **state)
{
    struct ior__timer_table table;
    uint64_t id = 4711, ids[500];
    unsigned refused = 0;
    (void)state;
    live_alloc_start();
    ior__timer_table_init(&table, IOR__SLOT_MAX);
    for (unsigned i = 0; i < 500; i++) {
        live_alloc_fail(1, true);
        if (ior__timer_table_add(&table, owner, &id) == 0) {
            ids[i] = id;
        } else {
            refused++;
            assert_int_equal(id, i ? ids[i - 1] : 4711);
            assert_int_equal(table.live, i);
            live_alloc_fail(0, false);
            ids[i] = add(&table);
        }
        id = ids[i];
        live_alloc_fail(0, false);
    }
    assert_in_range(refused, 4, 10);
    for (unsigned i = 0; i < 500; i++) /* the table moved meanwhile */
        assert_int_equal(ior__timer_find(&table, ids[i])->id, ids[i]);
    assert_int_equal((uintptr_t)table.timers % IOR__LINE_BYTES, 0);
    ior__timer_table_deinit(&table);
    live_alloc_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv03_ids_never_repeat),         cmocka_unit_test(finds_nothing_in_made_up_ids),
        cmocka_unit_test(the_last_one_freed_is_the_next), cmocka_unit_test(the_bound_is_kept),
        cmocka_unit_test(a_spent_one_is_retired),         cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
