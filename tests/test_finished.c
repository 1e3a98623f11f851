/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines that do the I/O (IOR_ENGINE_DOES_IO), by the one of support/eager.c in the scripted world: what they received
 * and accepted belongs to the resource, what they are writing is known exactly when it ends.
 */
#include <errno.h>
#include <stdlib.h>

#include "support/check.h"
#include "support/live.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    r->keep = true;
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    return r;
}

static void a_message_and_its_answer(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "ping");
    rec_settle(r);
    rec_expect(r, "data 1 ping\n");
    assert_int_equal(rec_send_text(r, id, "pong"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "pong");
    rec_turn(r);
    assert_int_equal(ior_queued(r->cx, id), 0);
    assert_true(rec_idle(r));
    rec_free(r);
}

/* Between turns, as a host with a loop of its own does: the write before it is in the engine's hands. */
static void sent_behind_what_the_engine_writes(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "one"), 0);
    rec_turn(r); /* begun: nothing but the next wait ends it */
    assert_int_equal(rec_send_text(r, id, "two"), 0);
    assert_true(ior_runtime_deadline(r->rt) <= script_now(r->script)); /* nothing else would end a wait */
    rec_settle(r);
    script_hear_text(r->script, fd, "onetwo");
    assert_true(rec_idle(r));
    assert_int_equal(ior_queued(r->cx, id), 0);
    rec_free(r);
}

/* A paused stream is handed over: what the engine had received comes first wherever it is registered again. */
static void received_bytes_go_along(void **state)
{
    ior_id id;
    int fd, n = 0;
    struct iovec iov[2];
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    rec_pause(r, id);
    script_say_text(r->script, fd, "first");
    rec_settle(r);
    assert_int_equal(script_unread(r->script, fd), 0); /* the engine has it */
    assert_int_equal(rec_unregister(r, id), 0);
    script_say_text(r->script, fd, " second");
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 5\nhandover 1\n");
    assert_int_equal(script_unread(r->script, fd), 7); /* not this: it came after the end */
    struct ior_resource *res = rec_of(r, id)->handed;
    assert_int_equal(ior_resource_unread(res, iov, 2, &n), 5);
    assert_int_equal(n, 1);
    assert_memory_equal(iov[0].iov_base, "first", 5);
    (void)rec_register(r, res);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 first second\n");
    rec_free(r);
}

static void give_back(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(rec_unread(r, ev->id, ev->data.len), 0);
}

static void unread_and_received_bytes_go_along(void **state)
{
    ior_id id;
    int fd, n = 0;
    struct iovec iov[2];
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = give_back;
    script_say_text(r->script, fd, "unread");
    rec_settle(r);
    rec_expect(r, "data 1 \n");
    r->on_event = NULL;
    rec_pause(r, id);
    script_say_text(r->script, fd, " held");
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 11\nhandover 1\n");
    struct ior_resource *res = rec_of(r, id)->handed;
    assert_int_equal(ior_resource_unread(res, iov, 2, &n), 11);
    assert_int_equal(n, 2);
    assert_memory_equal(iov[1].iov_base, " held", 5);
    (void)rec_register(r, res);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 unread held\n");
    rec_free(r);
}

/* The kernel was short of memory while the engine received: that is no state of the stream, and does not go along. */
static void a_want_of_memory_does_not_go_along(void **state)
{
    static const int errors[] = {ENOMEM, ENOBUFS};
    (void)state;
    for (int i = 0; i < 2; i++) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(NULL, &id, &fd);
        script_fail_next(r->script, SCRIPT_RECV, errors[i]);
        rec_pause(r, id);
        script_say_text(r->script, fd, "late");
        rec_turn(r);
        assert_int_equal(rec_unregister(r, id), 0);
        rec_settle(r);
        (void)rec_register(r, rec_of(r, id)->handed);
        rec_forget(r);
        rec_settle(r);
        rec_expect(r, "registered 2\nopen 2\ndata 2 late\n");
        rec_free(r);
    }
}

/* The kernel tells an error once: the one the engine was told comes again after a handover. */
static void a_received_error_goes_along(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    rec_pause(r, id);
    script_say_text(r->script, fd, "bye");
    script_reset(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 3\nhandover 1\n");
    (void)rec_register(r, rec_of(r, id)->handed);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 bye\nend 2 error ECONNRESET 0 0 0\nhandover 2\n");
    rec_free(r);
}

/* Where the memory for that is not there, the stream is not continued with a gap: it ends with the cause. */
static void without_memory_there_is_no_gap(void **state)
{
    ior_id id;
    int fd;
    (void)state;
    live_alloc_start();
    struct recorder *r = one_stream(NULL, &id, &fd);
    rec_pause(r, id);
    script_say_text(r->script, fd, "lost");
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    script_say_text(r->script, fd, " not told");
    live_alloc_fail(1, true);
    rec_settle(r);
    live_alloc_fail(0, false);
    rec_expect(r, "end 1 asked 0 0 4\nhandover 1\n");
    (void)rec_register(r, rec_of(r, id)->handed);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\nend 2 error ENOMEM 0 0 4\nhandover 2\n");
    rec_free(r);
    live_alloc_stop();
}

static void accepted_connections_go_along(void **state)
{
    int fd;
    struct recorder *r = rec_new();
    r->keep = true;
    ior_id id = rec_listen(r, "127.0.0.1:7000", NULL, &fd);
    (void)state;
    rec_settle(r);
    rec_forget(r);
    rec_pause(r, id);
    int first = script_accept_from(r->script, fd, "192.0.2.9:1001");
    int second = script_accept_from(r->script, fd, "192.0.2.9:1002");
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_true(script_is_open(r->script, first));
    assert_true(script_is_open(r->script, second));
    rec_forget(r);
    (void)rec_register(r, rec_of(r, id)->handed);
    rec_settle(r);
    rec_expect(r, "registered 2\naccepted 2 192.0.2.9:1001\naccepted 2 192.0.2.9:1002\n"
                  "registered 3\nopen 3\nregistered 4\nopen 4\n");
    rec_free(r);
}

static void accepted_connections_are_closed_with_the_listener(void **state)
{
    int fd;
    struct recorder *r = rec_new();
    r->keep = true;
    ior_id id = rec_listen(r, "127.0.0.1:7000", NULL, &fd);
    (void)state;
    rec_settle(r);
    rec_pause(r, id);
    int first = script_accept_from(r->script, fd, "192.0.2.9:1001");
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    ior_resource_free(rec_of(r, id)->handed);
    rec_of(r, id)->handed = NULL;
    assert_false(script_is_open(r->script, first));
    rec_free(r);
}

/* The connection is gone by the time its address is asked for: it is told all the same, as other engines do. */
static void a_connection_that_is_reset_already_is_accepted(void **state)
{
    int fd;
    struct recorder *r = rec_new();
    (void)rec_listen(r, "127.0.0.1:7000", NULL, &fd);
    (void)state;
    rec_settle(r);
    rec_forget(r);
    (void)script_accept_from(r->script, fd, "192.0.2.9:1001");
    script_fail_next(r->script, SCRIPT_GETPEERNAME, ENOTCONN);
    rec_settle(r);
    rec_expect(r, "accepted 1 0.0.0.0:0\nregistered 2\nopen 2\n");
    rec_free(r);
}

static unsigned released;
static bool released_in_a_request, in_a_request;

static void release(void *arg)
{
    (void)arg;
    released++;
    released_in_a_request = released_in_a_request || in_a_request;
}

/* Unregistered between the turn that began to write and the wait that does: written and unsent are exact. */
static void ended_while_it_writes(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    static char text[] = "given away";
    (void)state;
    released = 0;
    released_in_a_request = false;
    struct ior_buf *buf = ior_buf_wrap(text, sizeof(text) - 1, release, NULL);
    script_room(r->script, fd, 14);
    assert_int_equal(rec_send_buf(r, id, buf), 0);
    ior_buf_unref(buf);
    assert_int_equal(rec_send_text(r, id, "and more"), 0);
    rec_turn(r); /* begins to write */
    in_a_request = true;
    assert_int_equal(rec_unregister(r, id), 0);
    in_a_request = false;
    rec_settle(r);
    rec_expect(r, "end 1 asked 14 4 0\nhandover 1\n");
    assert_int_equal(released, 1);
    assert_false(released_in_a_request);
    script_room(r->script, fd, SIZE_MAX);
    ior_id again = rec_register(r, rec_of(r, id)->handed);
    assert_int_equal(rec_send_text(r, again, "!"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "given awayand more!");
    rec_free(r);
}

static void all_written_as_it_ends(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    struct ior_buf *buf = ior_buf_copy("shared", 6);
    (void)state;
    assert_int_equal(rec_send_buf(r, id, buf), 0);
    ior_buf_unref(buf);
    rec_turn(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 6 0 0\nhandover 1\n");
    ior_id again = rec_register(r, rec_of(r, id)->handed);
    assert_int_equal(rec_send_text(r, again, "text"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "sharedtext");
    rec_free(r);
}

/* Something waited for a write, and is gone: the loop sleeps again. */
static void nothing_is_awaited_of_what_ended(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "last words"), 0);
    assert_int_equal(rec_close(r, id, SEC), 0);
    rec_turn(r);
    assert_int_equal(rec_abort(r, id), 0);
    rec_settle(r);
    assert_true(rec_idle(r));
    rec_free(r);
}

static void closing_waits_for_the_write(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "last words"), 0);
    assert_int_equal(rec_close(r, id, SEC), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "last words");
    assert_true(script_got_fin(r->script, fd));
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 asked 10 0 0\nhandover 1\n");
    rec_free(r);
}

static void say_too_late(struct recorder *r)
{
    script_say_text(r->script, *(int *)r->arg, "x");
    r->on_tick = NULL;
}

/* Bytes that come between the wait and the timers, so that the engine has not received them. */
static void idle_looks_for_bytes_that_arrived(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    script_advance(r->script, 10 * SEC);
    r->arg = &fd;
    r->on_tick = say_too_late;
    rec_turn(r);
    rec_expect(r, "data 1 x\n");
    script_say_text(r->script, fd, "y");
    rec_settle(r);
    rec_expect(r, "data 1 y\n"); /* it receives again */
    rec_free(r);
}

static void idle_counts_from_the_write(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    rec_pass(r, 4 * SEC);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    rec_turn(r);
    rec_pass(r, 10 * SEC - 1); /* what it came to is asked only at the end of that */
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 1 0 0\nhandover 1\n");
    rec_free(r);
}

static int finished_work(void **state)
{
    (void)state;
    return setenv("IOR_SCRIPT_SHAPE", "done", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_and_its_answer),
        cmocka_unit_test(sent_behind_what_the_engine_writes),
        cmocka_unit_test(received_bytes_go_along),
        cmocka_unit_test(unread_and_received_bytes_go_along),
        cmocka_unit_test(a_want_of_memory_does_not_go_along),
        cmocka_unit_test(a_received_error_goes_along),
        cmocka_unit_test(without_memory_there_is_no_gap),
        cmocka_unit_test(accepted_connections_go_along),
        cmocka_unit_test(accepted_connections_are_closed_with_the_listener),
        cmocka_unit_test(a_connection_that_is_reset_already_is_accepted),
        cmocka_unit_test(ended_while_it_writes),
        cmocka_unit_test(all_written_as_it_ends),
        cmocka_unit_test(nothing_is_awaited_of_what_ended),
        cmocka_unit_test(closing_waits_for_the_write),
        cmocka_unit_test(idle_looks_for_bytes_that_arrived),
        cmocka_unit_test(idle_counts_from_the_write),
    };
    return cmocka_run_group_tests(tests, finished_work, NULL);
}
