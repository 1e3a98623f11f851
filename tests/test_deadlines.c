/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deadlines of a resource: user, connect, drain; told or ending, moved, off. The idle deadline is in test_idle.c.
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

/* An open stream, silent, with what was told so far forgotten. */
static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_forget(r->script);
    return r;
}

static void user_is_told_once_and_ends_nothing(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    rec_pass(r, 9);
    rec_expect(r, "");
    rec_pass(r, 100);
    rec_expect(r, "deadline 1\n");
    assert_true(rec_idle(r));
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 0), 0);
    rec_turn(r);
    rec_expect(r, "deadline 1\n");
    rec_free(r);
}

static void user_is_moved_and_turned_off(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 50), 0); /* later */
    rec_pass(r, 49);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "deadline 1\n");
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 50), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 5), 0); /* nearer */
    rec_pass(r, 5);
    rec_expect(r, "deadline 1\n");
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 50), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, IOR_NEVER), 0);
    assert_int_equal(ior_timer_next(r->cx), IOR_NEVER);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    rec_free(r);
}

static void user_goes_on_while_paused(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    rec_pass(r, 10);
    rec_expect(r, "deadline 1\n");
    rec_free(r);
}

static void rearm(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DEADLINE)
        assert_int_equal(ior_deadline(r->cx, ev->id, IOR_DEADLINE_USER, 0), 0);
}

static void user_rearmed_in_its_event_waits_for_the_next_turn(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = rearm;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 0), 0);
    rec_turn(r);
    rec_expect(r, "deadline 1\n");
    rec_turn(r);
    rec_expect(r, "deadline 1\n");
    r->on_event = NULL;
    rec_settle(r);
    rec_free(r);
}

static void user_of_listeners_and_watches(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id listener = rec_listen(r, "192.0.2.1:80", NULL, &fd);
    ior_id watch = rec_watch(r, script_fd(r->script, IOR_FD_OTHER), IOR_READ);
    assert_int_equal(ior_deadline(r->cx, listener, IOR_DEADLINE_USER, 10), 0);
    assert_int_equal(ior_deadline(r->cx, watch, IOR_DEADLINE_USER, 5), 0);
    rec_pass(r, 20);
    rec_expect(r, "registered 1\nregistered 2\ndeadline 2\ndeadline 1\n");
    rec_free(r);
}

/* R47: a resource that ended a moment ago is told nothing. */
static void end_the_other(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    (void)user;
    assert_int_equal(rec_unregister(r, rec_id(r, 1)), 0);
}

static void r47_a_timer_ends_a_resource_whose_deadline_is_due(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_timer = end_the_other;
    rec_timer(r, 10, 1);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    rec_pass(r, 10);
    rec_expect(r, "timer 1\nend 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

/* ---- connect ---- */

static void connect_gives_up(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_connect(r, "192.0.2.7:80", REC_STREAM(.connect_ns = 3 * SEC), &fd);
    rec_pass(r, 3 * SEC - 1);
    rec_expect(r, "registered 1\n");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout connect 0 0 0\nhandover 1\n");
    assert_false(script_is_open(r->script, fd));
    rec_free(r);
}

static void connect_is_off_once_open(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", REC_STREAM(.connect_ns = 3 * SEC), &fd);
    rec_pass(r, 2 * SEC);
    script_connected(r->script, fd);
    rec_pass(r, 10 * SEC);
    rec_expect(r, "registered 1\nopen 1\n");
    assert_true(rec_idle(r));
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_CONNECT, SEC), -EINVAL);
    rec_free(r);
}

static void connect_is_moved(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    assert_true(rec_idle(r)); /* the system's own limit */
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_CONNECT, SEC), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_CONNECT, 5 * SEC), 0);
    rec_pass(r, 5 * SEC - 1);
    rec_expect(r, "registered 1\n");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout connect 0 0 0\nhandover 1\n");
    rec_free(r);
}

/* ---- drain ---- */

static void drain_ends_a_close_that_does_not_come_to_an_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 2);
    assert_int_equal(rec_send_text(r, id, "abcde"), 0);
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    rec_pass(r, 10 * SEC - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout drain 2 3 0\nhandover 1\n");
    rec_free(r);
}

static void drain_is_moved_by_closing_again_and_by_deadline(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    assert_int_equal(rec_close(r, id, 20 * SEC), 0);
    rec_pass(r, 20 * SEC - 1);
    rec_expect(r, "");
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_DRAIN, 5 * SEC), 0);
    rec_pass(r, 5 * SEC - 1);
    rec_expect(r, "");
    assert_int_equal(rec_close(r, id, 0), 0);
    rec_settle(r);
    rec_expect(r, "end 1 timeout drain 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void drain_without_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_close(r, id, IOR_NEVER), 0);
    assert_true(rec_idle(r));
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void drain_after_eof_is_an_option(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.drain_ns = 4 * SEC), &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "abc"), 0);
    script_eof(r->script, fd);
    rec_pass(r, 4 * SEC - 1);
    rec_expect(r, "eof 1\n");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout drain 0 3 0\nhandover 1\n");
    rec_free(r);
}

static void drain_after_eof_takes_thirty_seconds_by_default(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "abc"), 0);
    script_eof(r->script, fd);
    rec_pass(r, IOR_DRAIN_NS_DEFAULT - 1);
    rec_expect(r, "eof 1\n");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout drain 0 3 0\nhandover 1\n");
    rec_free(r);
}

/* ---- all of them ---- */

static void bad_arguments(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, -1, 1), -EINVAL);
    assert_int_equal(ior_deadline(r->cx, id, 4, 1), -EINVAL);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_CONNECT, 1), -EINVAL);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_DRAIN, 1), -EINVAL);
    assert_int_equal(ior_deadline(r->cx, id + 16, IOR_DEADLINE_USER, 1), -ENOENT);
    assert_true(rec_idle(r));
    assert_int_equal(rec_unregister(r, id), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 1), -EALREADY);
    rec_settle(r);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 1), -ENOENT);
    rec_free(r);
}

static void the_nearest_counts_and_each_is_told(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 20), &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 20), 0);
    rec_pass(r, 100);
    rec_expect(r, "deadline 1\nend 1 timeout idle 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void far_away_does_not_wrap(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = IOR_NEVER - 1), &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, IOR_NEVER - 1), 0);
    script_say_text(r->script, fd, "x");
    rec_pass(r, 1000 * SEC);
    rec_expect(r, "data 1 x\n");
    rec_free(r);
}

static void slow_deadline(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DEADLINE || rec_number(r, ev->id) != 1)
        return;
    script_advance(r->script, 100);
    assert_int_equal(ior_deadline(r->cx, ev->id, IOR_DEADLINE_USER, 50), 0);
    r->on_event = NULL;
}

static void r40_counted_from_arming(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = slow_deadline;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    rec_pass(r, 10);
    rec_expect(r, "deadline 1\n");
    rec_pass(r, 49);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "deadline 1\n");
    rec_free(r);
}

static void inv12_an_ended_resource_leaves_no_deadline(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = SEC), &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, SEC), 0);
    assert_true(rec_stats(r).timers > 0);
    assert_int_equal(rec_abort(r, id), 0);
    assert_true(rec_idle(r));
    assert_int_equal(rec_stats(r).timers, 0);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_is_told_once_and_ends_nothing),
        cmocka_unit_test(user_is_moved_and_turned_off),
        cmocka_unit_test(user_goes_on_while_paused),
        cmocka_unit_test(user_rearmed_in_its_event_waits_for_the_next_turn),
        cmocka_unit_test(user_of_listeners_and_watches),
        cmocka_unit_test(r47_a_timer_ends_a_resource_whose_deadline_is_due),
        cmocka_unit_test(connect_gives_up),
        cmocka_unit_test(connect_is_off_once_open),
        cmocka_unit_test(connect_is_moved),
        cmocka_unit_test(drain_ends_a_close_that_does_not_come_to_an_end),
        cmocka_unit_test(drain_is_moved_by_closing_again_and_by_deadline),
        cmocka_unit_test(drain_without_end),
        cmocka_unit_test(drain_after_eof_is_an_option),
        cmocka_unit_test(drain_after_eof_takes_thirty_seconds_by_default),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(the_nearest_counts_and_each_is_told),
        cmocka_unit_test(far_away_does_not_wrap),
        cmocka_unit_test(r40_counted_from_arming),
        cmocka_unit_test(inv12_an_ended_resource_leaves_no_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
