/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of services on a virtual clock: order, never early, moved, cancelled, budgets, limits, and what the bugs R39-R48
 * of other reactors were. The queue underneath is in test_timer_queue.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"
#include "timers.h"

#define MS IOR_NS_PER_MS

static void fire_in_order_of_deadline(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 30, 3);
    rec_timer(r, 10, 1);
    rec_timer(r, 20, 2);
    rec_timer(r, 40, 4);
    assert_int_equal(ior_timer_count(r->cx), 4);
    assert_int_equal(ior_timer_next(r->cx), script_now(r->script) + 10);
    rec_pass(r, 100);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\ntimer 4\n");
    assert_int_equal(ior_timer_count(r->cx), 0);
    assert_int_equal(ior_timer_next(r->cx), IOR_NEVER);
    assert_int_equal(rec_stats(r).timers_fired, 4);
    rec_free(r);
}

static void r43_ties_fire_in_order_of_arming(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    for (intptr_t i = 1; i <= 5; i++)
        rec_timer(r, 10, i);
    script_advance(r->script, 5);
    rec_timer(r, 5, 6);            /* the same deadline, armed later */
    script_set_wall(r->script, 0); /* the wall clock does not matter */
    rec_pass(r, 100);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\ntimer 4\ntimer 5\ntimer 6\n");
    rec_free(r);
}

static void inv10_never_early(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 10, 1);
    rec_pass(r, 9);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

/* R41: nothing is truncated to milliseconds. */
static void r41_nanoseconds_count(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 3 * MS + 1, 1);
    rec_pass(r, 3 * MS);
    rec_expect(r, "");
    script_forget(r->script);
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    assert_true(script_count(r->script, SCRIPT_WAIT) <= 4);
    rec_free(r);
}

static void zero_fires_in_the_next_turn(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 0, 1);
    assert_true(ior_runtime_deadline(r->rt) <= script_now(r->script));
    rec_turn(r);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

static void r44_overdue_means_no_wait(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 10, 1);
    script_advance(r->script, 1000);
    assert_int_equal(script_turn(r->script, r->rt), 1);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

/* R77: no time is kept in 32 bits, of seconds or of anything else. */
static void r77_time_has_64_bits(void **state)
{
    static const uint64_t secs[] = {UINT64_C(2147483647), UINT64_C(4294967295), UINT64_C(8589934592)};
    (void)state;
    for (unsigned i = 0; i < sizeof(secs) / sizeof(secs[0]); i++) {
        struct recorder *r = rec_new();
        uint64_t at_ns = secs[i] * IOR_NS_PER_SEC;
        script_advance(r->script, at_ns - script_now(r->script) - MS); /* the next step passes the edge */
        script_set_wall(r->script, at_ns);
        rec_turn(r);
        assert_true(ior_unix_ns(r->cx) == at_ns);
        rec_timer(r, 2 * MS, 1);
        assert_true(ior_timer_next(r->cx) == at_ns + MS);
        rec_pass(r, 2 * MS - 1);
        rec_expect(r, "");
        rec_pass(r, 1);
        rec_expect(r, "timer 1\n");
        assert_true(ior_now(r->cx) == at_ns + MS);
        rec_free(r);
    }
}

/* A turn that ends with its budget of timers leaves nothing in front that was cancelled: idle is idle. */
static void cancelled_behind_the_last_one_is_not_waited_for(void **state)
{
    struct ior_config config = {.timers = 1};
    struct recorder *r = rec_new_with(&config);
    (void)state;
    for (int i = 1; i <= 8; i++)
        rec_timer(r, MS, i);
    ior_timer_id far = rec_timer(r, 1000 * MS, 9);
    assert_int_equal(ior_timer_cancel(r->cx, far), 0);
    script_advance(r->script, MS);
    for (int i = 1; i <= 8; i++)
        rec_turn(r);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\ntimer 4\ntimer 5\ntimer 6\ntimer 7\ntimer 8\n");
    assert_true(ior_runtime_deadline(r->rt) == IOR_NEVER);
    rec_free(r);
}

static void r42_far_future(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, UINT64_C(4294967296) * MS, 1); /* 2^32 ms */
    rec_timer(r, IOR_NEVER - 1, 2);             /* the sum does not wrap */
    rec_timer(r, IOR_NEVER, 3);
    rec_settle(r);
    rec_expect(r, "");
    assert_int_equal(ior_timer_count(r->cx), 3);
    rec_pass(r, UINT64_C(4294967296) * MS - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    assert_true(rec_idle(r));
    rec_free(r);
}

static void moved(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    ior_timer_id a = rec_timer(r, 10, 1), b = rec_timer(r, 20, 2);
    script_advance(r->script, 5);
    assert_int_equal(ior_timer_move(r->cx, a, 100), 0); /* later, counted from now */
    assert_int_equal(ior_timer_move(r->cx, b, 1), 0);   /* nearer */
    assert_int_equal(ior_timer_next(r->cx), script_now(r->script) + 1);
    rec_pass(r, 99);
    rec_expect(r, "timer 2\n");
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    assert_int_equal(ior_timer_move(r->cx, a, 5), -ENOENT);
    rec_pass(r, 50);
    rec_expect(r, "");
    rec_free(r);
}

static void moved_is_armed_anew_among_ties(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    ior_timer_id a = rec_timer(r, 10, 1);
    rec_timer(r, 10, 2);
    assert_int_equal(ior_timer_move(r->cx, a, 10), 0);
    rec_pass(r, 10);
    rec_expect(r, "timer 2\ntimer 1\n");
    rec_free(r);
}

static void moved_to_never_and_back(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    ior_timer_id a = rec_timer(r, 10, 1);
    assert_int_equal(ior_timer_move(r->cx, a, IOR_NEVER), 0);
    assert_true(rec_idle(r));
    assert_int_equal(ior_timer_count(r->cx), 1);
    assert_int_equal(ior_timer_move(r->cx, a, 10), 0);
    rec_pass(r, 10);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

static void cancelled(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    ior_timer_id a = rec_timer(r, 10, 1), b = rec_timer(r, 20, 2);
    assert_int_equal(ior_timer_cancel(r->cx, a), 0);
    assert_int_equal(ior_timer_cancel(r->cx, a), -ENOENT);
    assert_int_equal(ior_timer_move(r->cx, a, 1), -ENOENT);
    assert_int_equal(ior_timer_count(r->cx), 1);
    rec_pass(r, 100);
    rec_expect(r, "timer 2\n");
    assert_int_equal(ior_timer_cancel(r->cx, b), -ENOENT);
    assert_int_equal(ior_timer_cancel(r->cx, 0), -ENOENT);
    assert_int_equal(ior_timer_cancel(r->cx, UINT64_MAX), -ENOENT);
    rec_free(r);
}

static void inv03_timer_ids_never_repeat(void **state)
{
    struct recorder *r = rec_new();
    ior_timer_id last = 0;
    (void)state;
    for (int i = 0; i < 2000; i++) {
        ior_timer_id id = rec_timer(r, 1000, 1);
        assert_true(id != last);
        assert_int_equal(ior_timer_cancel(r->cx, id), 0);
        assert_int_equal(ior_timer_cancel(r->cx, last), -ENOENT);
        last = id;
    }
    rec_free(r);
}

struct pair {
    ior_timer_id first, second;
};

static void cancel_the_others(struct recorder *r, ior_timer_id id, void *user)
{
    struct pair *pair = r->arg;
    (void)user;
    ior_timer_id other = id == pair->first ? pair->second : pair->first;
    assert_int_equal(ior_timer_cancel(r->cx, other), 0);
}

static void r47_a_due_timer_is_cancelled_by_another(void **state)
{
    struct recorder *r = rec_new();
    struct pair pair;
    (void)state;
    r->arg = &pair;
    r->on_timer = cancel_the_others;
    pair.first = rec_timer(r, 10, 1);
    pair.second = rec_timer(r, 10, 2);
    rec_pass(r, 100);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

static void move_the_other(struct recorder *r, ior_timer_id id, void *user)
{
    struct pair *pair = r->arg;
    (void)user;
    if (id == pair->first)
        assert_int_equal(ior_timer_move(r->cx, pair->second, 50), 0);
}

static void a_due_timer_is_moved_by_another(void **state)
{
    struct recorder *r = rec_new();
    struct pair pair;
    (void)state;
    r->arg = &pair;
    r->on_timer = move_the_other;
    pair.first = rec_timer(r, 10, 1);
    pair.second = rec_timer(r, 10, 2);
    rec_pass(r, 59);
    rec_expect(r, "timer 1\n");
    rec_pass(r, 1);
    rec_expect(r, "timer 2\n");
    rec_free(r);
}

static void arm_again(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    rec_timer(r, 0, (intptr_t)user + 1);
}

static void r39_rearmed_zero_waits_for_the_next_turn(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->on_timer = arm_again;
    rec_timer(r, 0, 1);
    for (int i = 0; i < 5; i++) {
        rec_turn(r);
        assert_int_equal(r->timers, i + 1);
    }
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\ntimer 4\ntimer 5\n");
    r->on_timer = NULL;
    rec_settle(r);
    rec_free(r);
}

/* Timers that are due must not wait behind ones that arm themselves anew at once. */
static void r39_rearming_starves_nobody(void **state)
{
    struct ior_config config = {.timers = 4};
    struct recorder *r = rec_new_with(&config);
    (void)state;
    r->on_timer = arm_again;
    for (intptr_t i = 0; i < 4; i++)
        rec_timer(r, 0, i * 1000);
    for (int i = 0; i < 3; i++)
        rec_turn(r);
    rec_forget(r);
    r->on_timer = NULL;
    rec_timer(r, 0, 77);
    rec_turn(r);
    rec_turn(r);
    assert_non_null(strstr(rec_lines(r), "timer 77\n"));
    rec_free(r);
}

static void slow_handler(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    if ((intptr_t)user != 1)
        return;
    script_advance(r->script, 500);
    rec_timer(r, 100, 2);
    assert_int_equal(ior_timer_next(r->cx), script_now(r->script) + 100);
}

static void r40_counted_from_arming_not_from_the_turn(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->on_timer = slow_handler;
    rec_timer(r, 10, 1);
    rec_pass(r, 10);
    uint64_t armed_ns = script_now(r->script);
    rec_pass(r, 99);
    assert_int_equal(script_now(r->script), armed_ns + 99);
    rec_expect(r, "timer 1\n");
    rec_pass(r, 1);
    rec_expect(r, "timer 2\n");
    rec_free(r);
}

static void arm_on_command(struct recorder *r, struct ior_command *command)
{
    (void)command;
    rec_timer(r, 10, 1);
}

static void r45_armed_from_a_command_shortens_the_wait(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command command = {.kind = 1};
    (void)state;
    rec_timer(r, 3600 * IOR_NS_PER_SEC, 2);
    r->on_command = arm_on_command;
    struct ior_controller *ctl = ior_controller_of(r->cx);
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    rec_pass(r, 10);
    rec_expect(r, "command 1\ntimer 1\n");
    ior_controller_unref(ctl);
    rec_free(r);
}

static void r46_timers_and_io_in_one_turn(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_stream(r, NULL, &fd);
    rec_settle(r);
    rec_forget(r);
    rec_timer(r, 10, 1);
    script_advance(r->script, 10);
    script_say_text(r->script, fd, "x");
    rec_turn(r);
    rec_expect(r, "data 1 x\ntimer 1\n");
    rec_free(r);
}

static void r48_interrupted_waits_do_not_start_anew(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 1000, 1);
    uint64_t due_ns = script_now(r->script) + 1000;
    for (int i = 0; i < 10; i++) {
        script_interrupt(r->script, 1);
        script_advance(r->script, 50);
        assert_int_equal(script_turn_for(r->script, r->rt, IOR_NEVER), 1);
        assert_int_equal((uint64_t)script_last(r->script, SCRIPT_WAIT)->value, due_ns);
    }
    rec_expect(r, "");
    rec_pass(r, 500);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

static void inv11_a_turn_fires_its_budget_only(void **state)
{
    struct ior_config config = {.timers = 3};
    struct recorder *r = rec_new_with(&config);
    (void)state;
    for (intptr_t i = 1; i <= 7; i++)
        rec_timer(r, 0, i);
    rec_turn(r);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\n");
    assert_true(ior_runtime_deadline(r->rt) <= script_now(r->script));
    rec_turn(r);
    rec_expect(r, "timer 4\ntimer 5\ntimer 6\n");
    rec_turn(r);
    rec_expect(r, "timer 7\n");
    rec_free(r);
}

static void the_limit_is_kept(void **state)
{
    struct ior_config config = {.max_timers = 2};
    struct recorder *r = rec_new_with(&config);
    ior_timer_id id = 4711;
    (void)state;
    rec_timer(r, 10, 1);
    ior_timer_id second = rec_timer(r, 10, 2);
    assert_int_equal(ior_timer_set(r->cx, 10, NULL, &id), -ENOSPC);
    assert_int_equal(id, 4711);
    assert_int_equal(ior_timer_cancel(r->cx, second), 0);
    rec_timer(r, 10, 3);
    rec_pass(r, 10);
    rec_expect(r, "timer 1\ntimer 3\n");
    rec_free(r);
}

/* The limit is about timers of services: a stream's deadlines are bounded by max_resources. */
static void deadlines_do_not_use_up_timers(void **state)
{
    struct ior_config config = {.max_timers = 1};
    struct recorder *r = rec_new_with(&config);
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    rec_timer(r, 10, 1);
    rec_pass(r, 10);
    rec_expect(r, "registered 1\nopen 1\ndeadline 1\ntimer 1\n");
    rec_free(r);
}

static void the_user_comes_along(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 1, 0);
    rec_timer(r, 2, INTPTR_MAX);
    rec_pass(r, 5);
    char lines[64];
    snprintf(lines, sizeof(lines), "timer 0\ntimer %lld\n", (long long)INTPTR_MAX);
    rec_expect(r, lines);
    rec_free(r);
}

static void armed_before_the_loop_runs(void **state)
{
    struct recorder *r = rec_bare(NULL);
    (void)state;
    rec_open(r, NULL);
    rec_timer(r, 0, 1);
    rec_settle(r);
    rec_expect(r, "start\ntimer 1\n");
    rec_free(r);
}

static void dropped_with_the_runtime(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 10, 1);
    rec_timer(r, IOR_NEVER, 2);
    rec_close_runtime(r);
    rec_expect(r, "stop\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fire_in_order_of_deadline),
        cmocka_unit_test(r43_ties_fire_in_order_of_arming),
        cmocka_unit_test(inv10_never_early),
        cmocka_unit_test(r41_nanoseconds_count),
        cmocka_unit_test(zero_fires_in_the_next_turn),
        cmocka_unit_test(r44_overdue_means_no_wait),
        cmocka_unit_test(r77_time_has_64_bits),
        cmocka_unit_test(cancelled_behind_the_last_one_is_not_waited_for),
        cmocka_unit_test(r42_far_future),
        cmocka_unit_test(moved),
        cmocka_unit_test(moved_is_armed_anew_among_ties),
        cmocka_unit_test(moved_to_never_and_back),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(inv03_timer_ids_never_repeat),
        cmocka_unit_test(r47_a_due_timer_is_cancelled_by_another),
        cmocka_unit_test(a_due_timer_is_moved_by_another),
        cmocka_unit_test(r39_rearmed_zero_waits_for_the_next_turn),
        cmocka_unit_test(r39_rearming_starves_nobody),
        cmocka_unit_test(r40_counted_from_arming_not_from_the_turn),
        cmocka_unit_test(r45_armed_from_a_command_shortens_the_wait),
        cmocka_unit_test(r46_timers_and_io_in_one_turn),
        cmocka_unit_test(r48_interrupted_waits_do_not_start_anew),
        cmocka_unit_test(inv11_a_turn_fires_its_budget_only),
        cmocka_unit_test(the_limit_is_kept),
        cmocka_unit_test(deadlines_do_not_use_up_timers),
        cmocka_unit_test(the_user_comes_along),
        cmocka_unit_test(armed_before_the_loop_runs),
        cmocka_unit_test(dropped_with_the_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
