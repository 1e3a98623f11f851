/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Periodic timers and timers at a given time, on a virtual clock: no drift, missed times are merged and counted, moved
 * and cancelled from inside; what is past is due, and nothing is early.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/live.h"
#include "support/recorder.h"

static ior_timer_id every(struct recorder *r, uint64_t first_ns, uint64_t period_ns, intptr_t user)
{
    ior_timer_id id = 0;
    r->ticking = true;
    assert_int_equal(ior_timer_every(r->cx, first_ns, period_ns, (void *)user, &id), 0);
    return id;
}

static ior_timer_id at(struct recorder *r, uint64_t at_ns, intptr_t user)
{
    ior_timer_id id = 0;
    assert_int_equal(ior_timer_at(r->cx, at_ns, (void *)user, &id), 0);
    return id;
}

/* What the callbacks saw: when (since the beginning), and what was missed. */
struct ticks {
    uint64_t start_ns;
    ior_timer_id id; /* of the one that ticks */
    unsigned n;
    uint64_t at_ns[64], missed[64];
    uint64_t slow_ns; /* a callback takes so long */
};

static void note_tick(struct recorder *r, ior_timer_id id, void *user)
{
    struct ticks *t = r->arg;
    (void)user;
    assert_int_equal(id, t->id);
    assert_true(t->n < 64);
    t->at_ns[t->n] = script_now(r->script) - t->start_ns;
    t->missed[t->n++] = ior_timer_missed(r->cx);
    script_advance(r->script, t->slow_ns);
}

static struct recorder *ticking(struct ticks *t)
{
    struct recorder *r = rec_new();
    *t = (struct ticks){.start_ns = script_now(r->script)};
    r->arg = t;
    r->on_timer = note_tick;
    return r;
}

static void comes_again_and_again(void **state)
{
    struct ticks t;
    struct recorder *r = ticking(&t);
    (void)state;
    t.id = every(r, 3, 10, 1);
    assert_int_equal(ior_timer_count(r->cx), 1);
    rec_pass(r, 2);
    assert_int_equal(t.n, 0);
    rec_pass(r, 100);
    assert_int_equal(t.n, 10);
    for (unsigned i = 0; i < t.n; i++) {
        assert_int_equal(t.at_ns[i], 3 + 10 * i);
        assert_int_equal(t.missed[i], 0);
    }
    assert_int_equal(ior_timer_count(r->cx), 1);
    assert_int_equal(ior_timer_next(r->cx), t.start_ns + 103);
    assert_int_equal(ior_timer_cancel(r->cx, t.id), 0);
    assert_int_equal(ior_timer_cancel(r->cx, t.id), -ENOENT);
    assert_true(rec_idle(r));
    rec_free(r);
}

/* Late by a little each time, by the callback and by the loop: the next one is where it should be. */
static void does_not_drift(void **state)
{
    struct ticks t;
    struct recorder *r = ticking(&t);
    (void)state;
    t.slow_ns = 4;
    t.id = every(r, 10, 10, 1);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t next_ns = t.start_ns + 10 * (i + 1);
        assert_int_equal(ior_timer_next(r->cx), next_ns);
        script_advance(r->script, next_ns + 3 - script_now(r->script));
        rec_turn(r);
        assert_int_equal(t.n, i + 1);
        assert_int_equal(t.at_ns[i], 10 * (i + 1) + 3);
        assert_int_equal(t.missed[i], 0);
    }
    rec_free(r);
}

static void missed_times_are_merged_and_counted(void **state)
{
    static const uint64_t late_ns[] = {0, 9, 10, 11, 35, 1000000007};
    struct ticks t;
    struct recorder *r = ticking(&t);
    (void)state;
    t.id = every(r, 10, 10, 1);
    uint64_t next_ns = 10;
    for (unsigned i = 0; i < sizeof(late_ns) / sizeof(late_ns[0]); i++) {
        script_advance(r->script, t.start_ns + next_ns + late_ns[i] - script_now(r->script));
        rec_settle(r);
        assert_int_equal(t.n, i + 1); /* one callback for all */
        assert_int_equal(t.missed[i], late_ns[i] / 10);
        assert_int_equal(ior_timer_missed(r->cx), 0);
        next_ns += 10 * (late_ns[i] / 10 + 1);
        assert_int_equal(ior_timer_next(r->cx), t.start_ns + next_ns);
    }
    rec_free(r);
}

static void says_what_was_missed(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    assert_int_equal(ior_timer_missed(r->cx), (intptr_t)user == 1 ? 4 : 0);
}

static void what_was_missed_is_of_one_callback_only(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->on_timer = says_what_was_missed;
    every(r, 10, 10, 1);
    rec_timer(r, 11, 2);
    every(r, 12, 1000, 3);
    script_advance(r->script, 55);
    rec_turn(r);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\n");
    rec_free(r);
}

static void keeps_nobody_waiting(void **state)
{
    struct ior_config config = {.timers = 2};
    struct recorder *r = rec_new_with(&config);
    (void)state;
    every(r, 0, 1, 1); /* always due */
    for (intptr_t i = 2; i <= 4; i++)
        rec_timer(r, 0, i);
    for (int i = 0; i < 4; i++) {
        script_advance(r->script, 100);
        rec_turn(r);
    }
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\ntimer 4\ntimer 1\ntimer 1\n");
    rec_free(r);
}

static void ties_are_in_order_of_firing_last(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    every(r, 10, 10, 1);
    every(r, 20, 10, 2);
    rec_timer(r, 20, 3);
    rec_pass(r, 30);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\ntimer 1\ntimer 2\ntimer 1\n");
    rec_free(r);
}

static void move_inside(struct recorder *r, ior_timer_id id, void *user)
{
    (void)user;
    if (r->timers == 2)
        assert_int_equal(ior_timer_move(r->cx, id, 100), 0);
    else if (r->timers == 4)
        assert_int_equal(ior_timer_move(r->cx, id, 1), 0);
}

static void moved_from_inside(void **state)
{
    struct recorder *r = rec_new();
    uint64_t start_ns = script_now(r->script);
    (void)state;
    r->on_timer = move_inside;
    ior_timer_id id = every(r, 10, 10, 1);
    rec_pass(r, 20);
    assert_int_equal(r->timers, 2);
    rec_pass(r, 99);
    assert_int_equal(r->timers, 2);
    rec_pass(r, 1); /* 120, and on with the period from there */
    assert_int_equal(r->timers, 3);
    rec_pass(r, 10); /* 130: moved nearer */
    assert_int_equal(r->timers, 4);
    assert_int_equal(ior_timer_next(r->cx), start_ns + 131);
    rec_pass(r, 11);
    assert_int_equal(r->timers, 6); /* 131, 141 */
    assert_int_equal(ior_timer_move(r->cx, id, IOR_NEVER), 0);
    assert_true(rec_idle(r));
    assert_int_equal(ior_timer_move(r->cx, id, 5), 0);
    rec_pass(r, 15);
    assert_int_equal(r->timers, 8);
    rec_free(r);
}

static void cancel_inside(struct recorder *r, ior_timer_id id, void *user)
{
    ior_timer_id other;
    (void)user;
    if (r->timers != 3)
        return;
    assert_int_equal(ior_timer_cancel(r->cx, id), 0);
    assert_int_equal(ior_timer_cancel(r->cx, id), -ENOENT);
    assert_int_equal(ior_timer_move(r->cx, id, 1), -ENOENT);
    assert_int_equal(ior_timer_set(r->cx, 5, (void *)(intptr_t)2, &other), 0); /* may take its place in memory */
}

static void cancelled_from_inside(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->on_timer = cancel_inside;
    every(r, 10, 10, 1);
    rec_pass(r, 1000);
    rec_expect(r, "timer 1\ntimer 1\ntimer 1\ntimer 2\n");
    assert_int_equal(ior_timer_count(r->cx), 0);
    assert_true(rec_idle(r));
    rec_free(r);
}

static void a_period_past_the_end_of_time(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    ior_timer_id id = every(r, 10, IOR_NEVER - 1, 1);
    every(r, IOR_NEVER, 5, 2); /* not before it is moved */
    rec_pass(r, 10);
    rec_expect(r, "timer 1\n");
    assert_true(rec_idle(r));
    assert_int_equal(ior_timer_count(r->cx), 2);
    assert_int_equal(ior_timer_cancel(r->cx, id), 0);
    rec_free(r);
}

static void bad_periods(void **state)
{
    struct recorder *r = rec_new();
    ior_timer_id id = 4711;
    (void)state;
    assert_int_equal(ior_timer_every(r->cx, 1, 0, NULL, &id), -EINVAL);
    assert_int_equal(ior_timer_every(r->cx, 1, IOR_NEVER, NULL, &id), -EINVAL);
    assert_int_equal(id, 4711);
    assert_int_equal(ior_timer_count(r->cx), 0);
    rec_free(r);
}

/* ---- at a time ---- */

static void at_its_time_and_not_before(void **state)
{
    struct recorder *r = rec_new();
    uint64_t start_ns = script_now(r->script);
    (void)state;
    at(r, start_ns + 20, 2);
    at(r, start_ns + 10, 1);
    at(r, IOR_NEVER, 3);
    rec_pass(r, 9);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    rec_pass(r, 10);
    rec_expect(r, "timer 2\n");
    assert_true(rec_idle(r));
    rec_free(r);
}

static void reads_no_clock(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    script_advance(r->script, 100);
    rec_turn(r);
    script_forget(r->script);
    assert_int_equal(ior_turn_ns(r->cx), script_now(r->script));
    ior_timer_id id = at(r, ior_turn_ns(r->cx) + 10, 1);
    assert_int_equal(ior_timer_move_at(r->cx, id, ior_turn_ns(r->cx) + 20), 0);
    assert_int_equal(script_count(r->script, SCRIPT_CLOCK), 0);
    script_advance(r->script, 5);
    assert_int_equal(ior_turn_ns(r->cx), script_now(r->script) - 5);
    rec_pass(r, 14);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

static void arm_in_the_past(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    if ((intptr_t)user < 10)
        at(r, 0, (intptr_t)user + 10);
}

/* What is past is due now, behind all that was due before it, and not in this turn. */
static void r39_the_past_starves_nobody(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->on_timer = arm_in_the_past;
    for (intptr_t i = 1; i <= 3; i++)
        rec_timer(r, (uint64_t)i, i);
    script_advance(r->script, 100);
    rec_turn(r);
    rec_expect(r, "timer 1\ntimer 2\ntimer 3\n");
    rec_turn(r);
    rec_expect(r, "timer 11\ntimer 12\ntimer 13\n");
    rec_free(r);
}

static void moved_to_a_time(void **state)
{
    struct recorder *r = rec_new();
    uint64_t start_ns = script_now(r->script);
    (void)state;
    ior_timer_id a = rec_timer(r, 10, 1), b = rec_timer(r, 1000, 2);
    assert_int_equal(ior_timer_move_at(r->cx, a, start_ns + 50), 0);
    assert_int_equal(ior_timer_move_at(r->cx, a, start_ns + 30), 0); /* back, but not before its first time */
    assert_int_equal(ior_timer_move_at(r->cx, b, 0), 0);
    rec_turn(r);
    rec_expect(r, "timer 2\n");
    rec_pass(r, 29);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "timer 1\n");
    assert_int_equal(ior_timer_move_at(r->cx, a, 1), -ENOENT);
    rec_free(r);
}

/* ---- without memory ---- */

/* A refused timer changes nothing, and those that are armed move and fire without memory. */
static void refused_without_memory(void **state)
{
    struct recorder *r;
    ior_timer_id id = 4711, first;
    unsigned refused = 0;
    (void)state;
    live_alloc_start();
    r = rec_new();
    r->quiet = true;
    first = every(r, 500, 500, 1);
    for (unsigned armed = 1; armed < 300; armed++) {
        assert_int_equal(ior_timer_count(r->cx), armed);
        for (uint64_t nth = 1;; nth++) {
            live_alloc_fail(nth, false);
            uint64_t next_ns = ior_timer_next(r->cx);
            int err = ior_timer_set(r->cx, 1000 - armed, NULL, &id);
            if (err == 0)
                break;
            refused++;
            assert_int_equal(err, -ENOMEM);
            assert_int_equal(id, 4711);
            assert_int_equal(ior_timer_count(r->cx), armed);
            assert_int_equal(ior_timer_next(r->cx), next_ns);
        }
        id = 4711;
    }
    live_alloc_fail(1, true);
    for (uint64_t i = 0; i < 1000; i++) /* nearer each time */
        assert_int_equal(ior_timer_move(r->cx, first, 1999 - i), 0);
    for (unsigned i = 0; i < 4; i++)
        rec_pass(r, 500);
    live_alloc_fail(0, false);
    assert_true(refused >= 8);
    assert_int_equal(r->timers, 300 - 1 + 3); /* at 1000, 1500, 2000 */
    rec_free(r);
    live_alloc_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_again_and_again),
        cmocka_unit_test(does_not_drift),
        cmocka_unit_test(missed_times_are_merged_and_counted),
        cmocka_unit_test(what_was_missed_is_of_one_callback_only),
        cmocka_unit_test(keeps_nobody_waiting),
        cmocka_unit_test(ties_are_in_order_of_firing_last),
        cmocka_unit_test(moved_from_inside),
        cmocka_unit_test(cancelled_from_inside),
        cmocka_unit_test(a_period_past_the_end_of_time),
        cmocka_unit_test(bad_periods),
        cmocka_unit_test(at_its_time_and_not_before),
        cmocka_unit_test(reads_no_clock),
        cmocka_unit_test(r39_the_past_starves_nobody),
        cmocka_unit_test(moved_to_a_time),
        cmocka_unit_test(refused_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
