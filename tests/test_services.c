/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several services in one runtime: each has its own resources, timers, commands and end, and none can touch the
 * others'.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

/* Two services, both started. */
static void two(struct recorder **first, struct recorder **second)
{
    *first = rec_new();
    *second = rec_attach(*first);
    assert_int_equal((*second)->starts, 0); /* not inside the request */
    rec_settle(*first);
    rec_expect(*second, "start\n");
    rec_expect(*first, "");
}

static void start_comes_from_the_loop_in_order(void **state)
{
    struct recorder *a = rec_bare(NULL);
    (void)state;
    rec_open(a, NULL);
    struct recorder *b = rec_attach(a), *c = rec_attach(a);
    assert_int_equal(a->starts + b->starts + c->starts, 0);
    rec_turn(a);
    assert_true(a->starts == 1 && b->starts == 1 && c->starts == 1);
    assert_true(a->cx != b->cx && b->cx != c->cx);
    rec_settle(a);
    assert_int_equal(a->ticks, b->ticks);
    assert_true(a->ticks >= 1);
    rec_close_runtime(a);
    rec_expect(b, "start\nstop\n");
    rec_free_attached(b);
    rec_free_attached(c);
    rec_free(a);
}

static void ids_of_others_are_refused(void **state)
{
    struct recorder *a, *b;
    struct ior_addr addr;
    int fd;
    (void)state;
    two(&a, &b);
    ior_id id = rec_stream(a, NULL, &fd);
    ior_timer_id timer = rec_timer(a, SEC, 1);
    rec_settle(a);
    assert_int_equal(ior_unregister(b->cx, id), -EACCES);
    assert_int_equal(ior_close(b->cx, id, 0), -EACCES);
    assert_int_equal(ior_abort(b->cx, id), -EACCES);
    assert_int_equal(ior_finish(b->cx, id), -EACCES);
    assert_int_equal(ior_pause(b->cx, id), -EACCES);
    assert_int_equal(ior_resume(b->cx, id), -EACCES);
    assert_int_equal(ior_unread(b->cx, id, 0), -EACCES);
    assert_int_equal(ior_interest(b->cx, id, 0), -EACCES);
    assert_int_equal(ior_touch(b->cx, id), -EACCES);
    assert_int_equal(ior_deadline(b->cx, id, IOR_DEADLINE_USER, 0), -EACCES);
    assert_int_equal(ior_send(b->cx, id, "x", 1), -EACCES);
    assert_int_equal(ior_local(b->cx, id, &addr), -EACCES);
    assert_int_equal(ior_peer(b->cx, id, &addr), -EACCES);
    assert_null(ior_user(b->cx, id));
    assert_int_equal(ior_queued(b->cx, id), 0);
    assert_int_equal(ior_timer_move(b->cx, timer, 0), -EACCES);
    assert_int_equal(ior_timer_cancel(b->cx, timer), -EACCES);
    assert_int_equal(ior_count(a->cx), 1);
    assert_int_equal(ior_count(b->cx), 0);
    assert_int_equal(ior_timer_count(a->cx), 1);
    assert_int_equal(ior_timer_count(b->cx), 0);
    script_say_text(a->script, fd, "mine");
    rec_pass(a, SEC);
    rec_expect(a, "registered 1\nopen 1\ndata 1 mine\ntimer 1\n");
    rec_expect(b, "");
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void each_has_its_own(void **state)
{
    struct recorder *a, *b;
    int fd_a, fd_b;
    struct ior_command command = {.kind = 5};
    (void)state;
    two(&a, &b);
    rec_stream(a, NULL, &fd_a);
    rec_stream(b, NULL, &fd_b);
    rec_timer(a, 10, 1);
    rec_timer(b, 5, 2);
    struct ior_controller *ctl = ior_controller_of(b->cx);
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    ior_controller_unref(ctl);
    script_say_text(a->script, fd_a, "for a");
    script_say_text(a->script, fd_b, "for b");
    rec_pass(a, 10);
    rec_expect(a, "registered 1\nopen 1\ndata 1 for a\ntimer 1\n");
    assert_non_null(strstr(rec_lines(b), "data 1 for b\n"));
    assert_non_null(strstr(rec_lines(b), "command 5\n"));
    assert_non_null(strstr(rec_lines(b), "timer 2\n"));
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

/* ---- detach ---- */

static void detach_ends_one_service_only(void **state)
{
    struct recorder *a, *b;
    int fd_a, fd_b, listener;
    struct ior_command command = {.kind = 5}, late = {.kind = 6};
    (void)state;
    two(&a, &b);
    rec_stream(a, NULL, &fd_a);
    ior_id id = rec_stream(b, NULL, &fd_b);
    rec_listen(b, "192.0.2.1:80", NULL, &listener);
    rec_settle(a);
    rec_forget(b);
    rec_timer(b, 10, 1);
    struct ior_controller *ctl = ior_controller_of(b->cx);
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    assert_int_equal(rec_send_text(b, id, "last words"), 0);
    assert_int_equal(ior_detach(b->cx, 10 * SEC), 0);
    assert_int_equal(ior_controller_send(ctl, &late), -EPIPE);
    script_hangup(a->script, fd_b);
    script_say_text(a->script, fd_a, "alive");
    rec_settle(a);
    rec_pass(a, 20 * SEC);
    assert_non_null(strstr(rec_lines(b), "stop\ncommand 5\n"));
    assert_true(rec_of(b, id)->ended && rec_of(b, rec_id(b, 2))->ended);
    assert_false(script_is_open(a->script, fd_b) || script_is_open(a->script, listener));
    rec_expect(a, "registered 1\nopen 1\ndata 1 alive\n");
    assert_int_equal(ior_controller_send(ctl, &late), -EPIPE);
    assert_int_equal(ior_controller_shutdown(ctl, 0), 0); /* of a service that is gone: nothing happens */
    ior_controller_unref(ctl);
    rec_free_attached(b);
    script_say_text(a->script, fd_a, "still");
    rec_settle(a);
    rec_expect(a, "data 1 still\n");
    assert_int_equal(rec_stats(a).timers, 0); /* b's timers are dropped */
    rec_free(a);
}

static void detach_flushes(void **state)
{
    struct recorder *a, *b;
    int fd;
    (void)state;
    two(&a, &b);
    ior_id id = rec_stream(b, NULL, &fd);
    rec_settle(a);
    script_room(a->script, fd, 3);
    assert_int_equal(rec_send_text(b, id, "hello"), 0);
    assert_int_equal(ior_detach(b->cx, 10 * SEC), 0);
    rec_pass(a, 5 * SEC);
    assert_false(rec_of(b, id)->ended);
    script_room(a->script, fd, SIZE_MAX);
    rec_settle(a);
    script_hear_text(a->script, fd, "hello");
    assert_true(script_got_fin(a->script, fd));
    script_eof(a->script, fd);
    rec_settle(a);
    assert_int_equal(rec_of(b, id)->why, IOR_SHUTDOWN);
    rec_free_attached(b);
    assert_true(rec_idle(a));
    rec_free(a);
}

static void detach_has_a_deadline(void **state)
{
    struct recorder *a, *b;
    int fd;
    (void)state;
    two(&a, &b);
    ior_id id = rec_stream(b, NULL, &fd);
    rec_settle(a);
    script_room(a->script, fd, 3);
    assert_int_equal(rec_send_text(b, id, "hello"), 0);
    assert_int_equal(ior_detach(b->cx, 10 * SEC), 0);
    rec_pass(a, 5 * SEC);
    assert_false(rec_of(b, id)->ended);
    rec_pass(a, 6 * SEC);
    assert_true(rec_of(b, id)->ended);
    assert_int_equal(rec_of(b, id)->why, IOR_SHUTDOWN);
    assert_int_equal(rec_of(b, id)->unsent, 2);
    rec_free_attached(b);
    rec_free(a);
}

static void the_first_service_cannot_be_detached(void **state)
{
    struct recorder *a, *b;
    (void)state;
    two(&a, &b);
    assert_int_equal(ior_detach(a->cx, 0), -EINVAL);
    assert_int_equal(ior_detach(NULL, 0), -EINVAL);
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void a_detached_service_takes_nothing_new(void **state)
{
    struct recorder *a, *b;
    struct ior_addr addr;
    ior_id id = 4711;
    int fd;
    (void)state;
    two(&a, &b);
    rec_stream(b, NULL, &fd);
    rec_settle(a);
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.1:80"), 0);
    assert_int_equal(ior_detach(b->cx, 10 * SEC), 0);
    int stream = script_stream(a->script);
    assert_int_equal(ior_listen(b->cx, &addr, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_connect(b->cx, &addr, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_adopt(b->cx, stream, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_watch(b->cx, stream, IOR_READ, NULL, &id), -ESHUTDOWN);
    assert_int_equal(id, 4711);
    assert_int_equal(ior_adopt(a->cx, stream, NULL, &id), 0); /* the other one does */
    script_give_away(a->script, stream, true);
    rec_of(a, id);
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void detach_me(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(ior_detach(r->cx, 0), 0);
}

static void detached_in_its_own_callback(void **state)
{
    struct recorder *a, *b;
    int fd;
    (void)state;
    two(&a, &b);
    ior_id id = rec_stream(b, NULL, &fd);
    rec_settle(a);
    b->on_event = detach_me;
    script_say_text(a->script, fd, "go");
    rec_settle(a);
    assert_true(rec_of(b, id)->ended);
    assert_int_equal(b->stops, 1);
    rec_free_attached(b);
    assert_true(rec_idle(a));
    rec_free(a);
}

/* ---- starts that fail ---- */

static void a_failing_start_fails_the_run(void **state)
{
    struct recorder *a = rec_bare(NULL);
    int fd;
    (void)state;
    rec_open(a, NULL);
    struct recorder *b = rec_attach(a);
    ior_id id = rec_stream(a, NULL, &fd);
    b->start_answer = -EPROTO;
    assert_int_equal(script_run(a->script, a->rt), -EPROTO);
    assert_true(rec_of(a, id)->ended && rec_of(a, id)->handed_over);
    rec_expect(b, "start\n"); /* it never began: no stop */
    assert_int_equal(script_run(a->script, a->rt), -EPROTO);
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void a_failing_first_start(void **state)
{
    struct recorder *a = rec_bare(NULL);
    (void)state;
    rec_open(a, NULL);
    a->start_answer = -ENOTTY;
    assert_int_equal(script_run(a->script, a->rt), -ENOTTY);
    rec_expect(a, "start\n");
    rec_free(a);
}

static void listen_in_start(struct recorder *r)
{
    int fd;
    rec_listen(r, "192.0.2.1:80", NULL, &fd);
    rec_timer(r, SEC, 1);
}

static void a_failing_late_start_detaches(void **state)
{
    struct recorder *a = rec_new();
    int fd;
    (void)state;
    rec_stream(a, NULL, &fd);
    rec_settle(a);
    rec_forget(a);
    struct recorder *b = rec_attach(a);
    b->start_answer = -EPROTO;
    b->on_start = listen_in_start;
    rec_settle(a);
    assert_int_equal(b->starts, 1);
    assert_true(rec_of(b, rec_id(b, 1))->ended); /* what it made in start comes to its end */
    script_say_text(a->script, fd, "alive");
    rec_settle(a);
    rec_expect(a, "data 1 alive\n");
    assert_int_equal(rec_stats(a).resources, 1);
    assert_int_equal(rec_stats(a).timers, 0);
    rec_free_attached(b);
    rec_free(a);
}

static void what_start_makes_is_told(void **state)
{
    struct recorder *a = rec_bare(NULL);
    (void)state;
    a->on_start = listen_in_start;
    rec_open(a, NULL);
    rec_settle(a);
    rec_expect(a, "start\nregistered 1\n");
    rec_free(a);
}

static struct recorder *attached;

static void attach_here(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && attached == NULL) {
        attached = rec_attach(r);
        assert_int_equal(attached->starts, 0);
    }
}

static void attached_in_a_callback(void **state)
{
    struct recorder *a = rec_new();
    int fd;
    (void)state;
    attached = NULL;
    rec_stream(a, NULL, &fd);
    a->on_event = attach_here;
    script_say_text(a->script, fd, "go");
    rec_settle(a);
    assert_int_equal(attached->starts, 1);
    rec_close_runtime(a);
    rec_free_attached(attached);
    rec_free(a);
}

/* All that can be told within the turn of the attaching: output that drained, and an end. */
static void attach_and_use(struct recorder *r, const struct ior_event *ev)
{
    const struct ior_stream_options small = {.struct_size = sizeof(small), .high_bytes = 4, .low_bytes = 1};
    int fd;
    if (ev->type != IOR_EV_DATA || attached != NULL)
        return;
    attached = rec_attach(r);
    ior_id id = rec_stream(attached, &small, &fd);
    assert_int_equal(rec_send_text(attached, id, "much more"), 1);
    assert_int_equal(ior_unregister(attached->cx, rec_stream(attached, NULL, &fd)), 0);
}

static void start_comes_before_all_else(void **state)
{
    struct recorder *a = rec_new();
    int fd;
    (void)state;
    attached = NULL;
    rec_stream(a, NULL, &fd);
    a->on_event = attach_and_use;
    script_say_text(a->script, fd, "go");
    rec_settle(a);
    assert_int_equal(strncmp(rec_lines(attached), "start\n", 6), 0);
    assert_non_null(strstr(rec_lines(attached), "drained"));
    assert_non_null(strstr(rec_lines(attached), "end"));
    rec_close_runtime(a);
    rec_free_attached(attached);
    rec_free(a);
}

/* ---- all of them ---- */

static void one_stops_all(void **state)
{
    struct recorder *a, *b;
    int fd_a, fd_b;
    (void)state;
    two(&a, &b);
    rec_stream(a, NULL, &fd_a);
    rec_stream(b, NULL, &fd_b);
    rec_settle(a);
    ior_stop(b->cx, 0);
    rec_settle(a);
    assert_int_equal(script_turn(a->script, a->rt), 0);
    assert_true(a->stops == 1 && b->stops == 1);
    assert_true(rec_of(a, rec_id(a, 1))->handed_over && rec_of(b, rec_id(b, 1))->handed_over);
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void a_failing_wait_is_told_to_all(void **state)
{
    struct recorder *a, *b;
    (void)state;
    two(&a, &b);
    script_fail_next(a->script, SCRIPT_WAIT, EIO);
    rec_turn(a);
    rec_expect(a, "error 0 EIO\n");
    rec_expect(b, "error 0 EIO\n");
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void bad_arguments(void **state)
{
    struct recorder *a = rec_new();
    struct ior_handler small = {.struct_size = 4}, good = {.struct_size = sizeof(good)};
    struct ior_context *cx = NULL;
    (void)state;
    assert_int_equal(ior_attach(NULL, &good, NULL, &cx), -EINVAL);
    assert_int_equal(ior_attach(a->cx, NULL, NULL, &cx), -EINVAL);
    assert_int_equal(ior_attach(a->cx, &small, NULL, &cx), -EINVAL);
    assert_int_equal(ior_attach(a->cx, &good, NULL, NULL), -EINVAL);
    assert_null(cx);
    ior_stop(a->cx, 0);
    assert_int_equal(ior_attach(a->cx, &good, NULL, &cx), -ESHUTDOWN);
    rec_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_comes_from_the_loop_in_order),
        cmocka_unit_test(ids_of_others_are_refused),
        cmocka_unit_test(each_has_its_own),
        cmocka_unit_test(detach_ends_one_service_only),
        cmocka_unit_test(detach_flushes),
        cmocka_unit_test(detach_has_a_deadline),
        cmocka_unit_test(the_first_service_cannot_be_detached),
        cmocka_unit_test(a_detached_service_takes_nothing_new),
        cmocka_unit_test(detached_in_its_own_callback),
        cmocka_unit_test(a_failing_start_fails_the_run),
        cmocka_unit_test(a_failing_first_start),
        cmocka_unit_test(a_failing_late_start_detaches),
        cmocka_unit_test(what_start_makes_is_told),
        cmocka_unit_test(attached_in_a_callback),
        cmocka_unit_test(start_comes_before_all_else),
        cmocka_unit_test(one_stops_all),
        cmocka_unit_test(a_failing_wait_is_told_to_all),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
