/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Promise 11: every ready resource and due timer is served within a bounded number of bounded turns, whatever one noisy
 * peer, or one greedy callback, does. And promise 12: what is idle makes no system call.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

#define MS IOR_NS_PER_MS

/* More is ready than one wait takes: each gets its turn. */
static void inv11_more_ready_than_records(void **state)
{
    enum { MANY = 50 };
    struct ior_config config = {.records = 8};
    struct recorder *r = rec_new_with(&config);
    ior_id ids[MANY];
    int fds[MANY];
    (void)state;
    r->quiet = true;
    for (int i = 0; i < MANY; i++)
        ids[i] = rec_stream(r, NULL, &fds[i]);
    rec_settle(r);
    for (int i = 0; i < MANY; i++)
        script_say_text(r->script, fds[i], "x");
    for (int turn = 1; turn <= 10; turn++) {
        unsigned told = 0;
        rec_turn(r);
        for (int i = 0; i < MANY; i++)
            told += rec_of(r, ids[i])->data_events;
        assert_true(told <= 8u * (unsigned)turn);
    }
    for (int i = 0; i < MANY; i++)
        assert_int_equal(rec_of(r, ids[i])->in_len, 1);
    rec_free(r);
}

static void inv11_new_ones_are_told_in_bounded_turns(void **state)
{
    enum { MANY = 1000 };
    struct ior_config config = {.records = 100};
    struct recorder *r = rec_new_with(&config);
    int fd;
    (void)state;
    r->quiet = true;
    for (int i = 0; i < MANY; i++)
        rec_stream(r, NULL, &fd);
    unsigned turns = rec_settle(r);
    assert_in_range(turns, MANY / 100, MANY / 100 + 3);
    for (unsigned i = 1; i <= MANY; i++)
        assert_true(rec_of(r, rec_id(r, i))->open);
    rec_free(r);
}

/* A peer that always has more to say, as much as the loop reads. */
struct noisy {
    int fd;
    unsigned ticks;
};

static void talk_on(struct recorder *r)
{
    struct noisy *noisy = r->arg;
    noisy->ticks++;
    if (script_unread(r->script, noisy->fd) < (1u << 20))
        script_say_pattern(r->script, noisy->fd, 1u << 20);
}

static void r34_a_fast_peer_does_not_starve_timers_and_others(void **state)
{
    struct recorder *r = rec_new();
    struct noisy noisy = {.ticks = 0};
    struct ior_command command = {.kind = 9};
    int quiet_fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &noisy.fd);
    ior_id quiet = rec_stream(r, NULL, &quiet_fd);
    rec_settle(r);
    rec_forget(r);
    r->arg = &noisy;
    r->on_tick = talk_on;
    rec_timer(r, 0, 1);
    struct ior_controller *ctl = ior_controller_of(r->cx);
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    ior_controller_unref(ctl);
    script_say_text(r->script, quiet_fd, "me too");
    rec_turn(r);
    rec_turn(r);
    assert_int_equal(r->timers, 1);
    assert_int_equal(r->commands, 1);
    assert_int_equal(rec_of(r, quiet)->in_len, 6);
    assert_true(rec_of(r, id)->in_len <= 2 * 5 * 65536);
    r->on_tick = NULL;
    rec_settle(r);
    rec_free(r);
}

/* Timers that come due while a turn is slow do not keep the fds waiting. */
static void slow_timer(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    script_advance(r->script, 10 * MS);
    rec_timer(r, MS, (intptr_t)user);
}

static void inv11_slow_timers_do_not_starve_fds(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    r->quiet = true;
    r->on_timer = slow_timer;
    for (intptr_t i = 0; i < 20; i++)
        rec_timer(r, MS, i);
    script_advance(r->script, MS);
    for (size_t i = 1; i <= 20; i++) {
        script_say_text(r->script, fd, "x");
        rec_turn(r);
        assert_int_equal(rec_of(r, id)->in_len, i);
    }
    r->on_timer = NULL;
    rec_pass(r, 100 * MS);
    rec_free(r);
}

/* R11: callbacks that feed what is being served. */
static void adopt_another(struct recorder *r, ior_id id)
{
    int fd;
    (void)id;
    if (r->n < 100000)
        rec_stream(r, NULL, &fd);
}

static void r11_registering_in_registered(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->quiet = true;
    r->on_registered = adopt_another;
    rec_stream(r, NULL, &fd);
    for (int i = 1; i <= 10; i++) {
        rec_turn(r);
        assert_true(r->n <= 300u * (unsigned)i);
    }
    r->on_registered = NULL;
    rec_settle(r);
    rec_free(r);
}

static void again_and_again(struct recorder *r, struct ior_resource *res)
{
    if (r->n < 1000)
        rec_register(r, res);
    else
        ior_resource_free(res);
}

static void end_at_once(struct recorder *r, ior_id id)
{
    assert_int_equal(rec_unregister(r, id), 0);
}

static void r11_registering_again_in_handover(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->quiet = true;
    r->on_registered = end_at_once;
    r->on_handover = again_and_again;
    rec_stream(r, NULL, &fd);
    for (unsigned i = 1; i <= 10; i++) {
        rec_turn(r);
        assert_true(r->n <= 2 * i + 1);
    }
    rec_settle(r);
    assert_int_equal(r->n, 1000);
    rec_free(r);
}

static void pause_and_resume(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA || rec_of(r, ev->id)->data_events > 100)
        return;
    assert_int_equal(rec_unread(r, ev->id, ev->data.len), 0);
    assert_int_equal(rec_pause(r, ev->id), 0);
    assert_int_equal(rec_resume(r, ev->id), 0);
}

/* Giving everything back and asking for it again is a loop of the service's own: it must not be one inside a turn. */
static void r11_unread_and_resume_in_data(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    r->quiet = true;
    r->on_event = pause_and_resume;
    script_say_text(r->script, fd, "again");
    for (unsigned i = 1; i <= 10; i++) {
        rec_turn(r);
        assert_true(rec_of(r, id)->data_events <= 10 * i);
    }
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->in_len, 5);
    rec_free(r);
}

/* Many deadlines at once, two for each stream: the number of turns is that of the budget, not of the streams. */
static void inv11_two_deadlines_of_each_are_due(void **state)
{
    enum { MANY = 1000 };
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->quiet = true;
    for (int i = 0; i < MANY; i++) {
        ior_id id = rec_stream(r, REC_STREAM(.idle_ns = 20), &fd);
        assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    }
    rec_settle(r);
    script_advance(r->script, 100);
    assert_true(rec_settle(r) < 20);
    for (unsigned i = 1; i <= MANY; i++)
        assert_true(rec_of(r, rec_id(r, i))->handed_over);
    rec_free(r);
}

/* ---- a wait that fails ---- */

static void r63_a_failing_wait_backs_off(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    rec_forget(r);
    script_fail_always(r->script, SCRIPT_WAIT, EIO);
    rec_timer(r, 3 * IOR_NS_PER_SEC, 1);
    unsigned turns = 0;
    uint64_t start_ns = script_now(r->script);
    while (r->timers == 0 && turns++ < 10000)
        script_turn_for(r->script, r->rt, IOR_NEVER);
    assert_int_equal(script_now(r->script), start_ns + 3 * IOR_NS_PER_SEC); /* not early, not late */
    assert_true(turns < 1000);
    rec_expect(r, "error 0 EIO\ntimer 1\n"); /* told once */
    script_fail_always(r->script, SCRIPT_WAIT, ENOMEM);
    rec_turn(r);
    rec_expect(r, "error 0 ENOMEM\n"); /* once for each cause */
    script_fail_always(r->script, SCRIPT_WAIT, 0);
    script_say_text(r->script, fd, "back");
    rec_settle(r);
    rec_expect(r, "data 1 back\n");
    (void)id;
    rec_free(r);
}

/* ---- idle ---- */

static void inv12_idle_means_no_system_call(void **state)
{
    enum { MANY = 100 };
    struct recorder *r = rec_new();
    int fds[MANY], listener;
    (void)state;
    r->quiet = true;
    rec_listen(r, "192.0.2.1:80", NULL, &listener);
    for (int i = 0; i < MANY; i++) {
        ior_id id = rec_stream(r, NULL, &fds[i]);
        script_say_text(r->script, fds[i], "hello");
        if (i % 3 == 0)
            assert_true(rec_send_text(r, id, "hello") == 0);
        if (i % 5 == 0)
            assert_int_equal(rec_pause(r, id), 0);
    }
    rec_pass(r, IOR_NS_PER_SEC);
    assert_true(rec_idle(r));
    script_forget(r->script);
    script_idle(r->script, r->rt);
    /* A turn of the settling, one that waits without end: two waits, and nothing else. */
    assert_int_equal(script_count(r->script, SCRIPT_WAIT), 2);
    assert_int_equal(script_count_all(r->script), 2);
    rec_free(r);
}

static void inv12_a_timer_costs_one_wait(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    rec_timer(r, 3600 * IOR_NS_PER_SEC, 1);
    rec_settle(r);
    script_forget(r->script);
    script_turn_for(r->script, r->rt, IOR_NEVER);
    assert_int_equal(script_count_all(r->script), 1);
    rec_expect(r, "timer 1\n");
    rec_free(r);
}

/* ---- for a foreign loop ---- */

static void the_deadline_of_a_foreign_loop(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    assert_int_equal(ior_runtime_fd(r->rt), SCRIPT_FD_FIRST - 1);
    assert_true(ior_runtime_deadline(r->rt) == IOR_NEVER);
    rec_timer(r, 50, 1);
    assert_int_equal(ior_runtime_deadline(r->rt), script_now(r->script) + 50);
    ior_id id = rec_stream(r, NULL, &fd); /* `registered` is to be told */
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_turn(r);
    assert_int_equal(ior_runtime_deadline(r->rt), script_now(r->script) + 50);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_turn(r);
    assert_int_equal(ior_runtime_deadline(r->rt), script_now(r->script) + 50);
    assert_int_equal(rec_unregister(r, id), 0);
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_settle(r);
    ior_stop(r->cx, 0);
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_settle(r);
    rec_free(r);
}

/* What was asked for leaves before the turn returns: the foreign loop may sleep after it. */
static void inv12_nothing_is_left_for_later(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    script_room(r->script, fd, 1);
    assert_int_equal(rec_send_text(r, id, "ab"), 0);
    rec_turn(r);
    assert_int_equal(script_interest(r->script, fd), IOR_READ | IOR_WRITE);
    assert_true(ior_runtime_deadline(r->rt) == IOR_NEVER);
    rec_free(r);
}

static void bounded_waits(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    uint64_t now_ns = script_now(r->script);
    script_turn_for(r->script, r->rt, 1000);
    assert_int_equal(script_now(r->script), now_ns + 1000);
    rec_timer(r, 10, 1);
    script_turn_for(r->script, r->rt, 1000);
    assert_int_equal(script_now(r->script), now_ns + 1010);
    rec_timer(r, 10, 2);
    script_turn_for(r->script, r->rt, IOR_NEVER - 1); /* does not wrap */
    assert_int_equal(script_now(r->script), now_ns + 1020);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv11_more_ready_than_records),
        cmocka_unit_test(inv11_new_ones_are_told_in_bounded_turns),
        cmocka_unit_test(r34_a_fast_peer_does_not_starve_timers_and_others),
        cmocka_unit_test(inv11_slow_timers_do_not_starve_fds),
        cmocka_unit_test(r11_registering_in_registered),
        cmocka_unit_test(r11_registering_again_in_handover),
        cmocka_unit_test(r11_unread_and_resume_in_data),
        cmocka_unit_test(inv11_two_deadlines_of_each_are_due),
        cmocka_unit_test(r63_a_failing_wait_backs_off),
        cmocka_unit_test(inv12_idle_means_no_system_call),
        cmocka_unit_test(inv12_a_timer_costs_one_wait),
        cmocka_unit_test(the_deadline_of_a_foreign_loop),
        cmocka_unit_test(inv12_nothing_is_left_for_later),
        cmocka_unit_test(bounded_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
