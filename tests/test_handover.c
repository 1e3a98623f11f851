/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resources that are handed back hold what was not written and what was given back, and go on when they are registered
 * again: nothing lost, nothing twice. Registering, releasing and freeing are in test_register.c.
 */
#include <errno.h>

#include "support/check.h"
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

/* Unregisters and answers what was handed back. */
static struct ior_resource *take_back(struct recorder *r, ior_id id)
{
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_non_null(rec_of(r, id)->handed);
    rec_forget(r);
    return rec_of(r, id)->handed;
}

static void unsent_bytes_are_written_first(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 400);
    assert_int_equal(rec_send_pattern(r, id, 1000), 0);
    rec_settle(r);
    struct ior_resource *res = take_back(r, id);
    assert_int_equal(rec_of(r, id)->written, 400);
    assert_int_equal(rec_of(r, id)->unsent, 600);
    script_room(r->script, fd, SIZE_MAX);
    rec_turn(r);
    script_hear_pattern(r->script, fd, 0, 400); /* nobody writes what is handed back */
    ior_id again = rec_register(r, res);
    assert_true(again != id);
    assert_int_equal(ior_queued(r->cx, again), 600);
    assert_int_equal(rec_send_pattern(r, again, 100), 0);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 400, 700);
    rec_expect(r, "registered 2\nopen 2\n");
    script_eof(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_of(r, again)->written, 1100); /* in its whole life */
    rec_free(r);
}

static void pieces_can_be_looked_at(void **state)
{
    ior_id id;
    int fd, n = -1;
    struct recorder *r = one_stream(NULL, &id, &fd);
    struct iovec iov[3];
    struct ior_buf *buf = ior_buf_copy("shared", 6);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "copied"), 0);
    assert_int_equal(rec_send_buf(r, id, buf), 0);
    ior_buf_unref(buf);
    assert_int_equal(rec_send_text(r, id, "again"), 0);
    struct ior_resource *res = take_back(r, id);
    assert_int_equal(ior_resource_unsent(res, NULL, 0, NULL), 17);
    assert_int_equal(ior_resource_unsent(res, NULL, 0, &n), 17);
    assert_int_equal(n, 3);
    assert_int_equal(ior_resource_unsent(res, iov, 2, &n), 17); /* too few: the whole length all the same */
    assert_int_equal(n, 3);
    assert_int_equal(ior_resource_unsent(res, iov, 3, NULL), 17);
    assert_memory_equal(iov[0].iov_base, "copied", 6);
    assert_memory_equal(iov[1].iov_base, "shared", 6);
    assert_memory_equal(iov[2].iov_base, "again", 5);
    assert_int_equal(ior_resource_unread(res, iov, 3, &n), 0);
    assert_int_equal(n, 0);
    rec_free(r);
}

static void keep_three(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_of(r, ev->id)->data_events == 1 && rec_number(r, ev->id) == 1)
        assert_int_equal(rec_unread(r, ev->id, 3), 0);
}

static void unread_bytes_come_first(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        ior_id id;
        int fd, n = 0;
        struct iovec iov;
        struct recorder *r = one_stream(NULL, &id, &fd);
        r->on_event = keep_three;
        script_say_text(r->script, fd, "abcdef");
        rec_settle(r);
        rec_expect(r, "data 1 abc\n");
        struct ior_resource *res = take_back(r, id);
        assert_int_equal(rec_of(r, id)->unread, 3);
        assert_int_equal(ior_resource_unread(res, &iov, 1, &n), 3);
        assert_int_equal(n, 1);
        assert_memory_equal(iov.iov_base, "def", 3);
        if (more)
            script_say_text(r->script, fd, "ghi");
        rec_register(r, res);
        assert_true(rec_idle(r));
        rec_expect(r, more ? "registered 2\nopen 2\ndata 2 defghi\n" : "registered 2\nopen 2\ndata 2 def\n");
        rec_free(r);
    }
}

/* A resource moves from one runtime to another. */
static void another_runtime_goes_on(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = keep_three;
    script_room(r->script, fd, 10);
    assert_int_equal(rec_send_pattern(r, id, 5000), 0);
    script_say_text(r->script, fd, "abcdef");
    rec_settle(r);
    struct ior_resource *res = take_back(r, id);
    rec_of(r, id)->handed = NULL;
    rec_close_runtime(r);
    struct recorder *next = rec_bare(r->script);
    rec_open(next, NULL);
    rec_begin(next);
    ior_id again = rec_register(next, res);
    rec_of(next, again)->accepted_bytes = 5000;
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(next);
    script_hear_pattern(r->script, fd, 0, 5000);
    rec_expect(next, "registered 1\nopen 1\ndata 1 def\n");
    script_eof(r->script, fd);
    rec_settle(next);
    rec_expect(next, "eof 1\nend 1 eof 5000 0 0\nhandover 1\n");
    rec_free(next);
    rec_free(r);
}

static void register_at_once(struct recorder *r, struct ior_resource *res)
{
    if (r->n < 5)
        rec_of(r, rec_register(r, res))->accepted_bytes = rec_of(r, rec_id(r, 1))->accepted_bytes;
    else
        ior_resource_free(res);
}

static void registered_again_in_its_handover(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_handover = register_at_once;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 100), 0);
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(rec_unregister(r, rec_id(r, i)), 0);
        rec_settle(r);
    }
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 100);
    script_eof(r->script, fd);
    rec_settle(r);
    assert_true(rec_of(r, rec_id(r, 5))->ended);
    rec_free(r);
}

static void finished_stays_finished(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(ior_finish(r->cx, id), 0);
    rec_settle(r);
    assert_true(script_got_fin(r->script, fd));
    ior_id again = rec_register(r, take_back(r, id));
    assert_int_equal(ior_send(r->cx, again, "x", 1), -EPIPE);
    script_say_text(r->script, fd, "read on");
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 read on\neof 2\nend 2 eof 0 0 0\nhandover 2\n");
    assert_int_equal(script_count(r->script, SCRIPT_SHUTDOWN), 1);
    rec_free(r);
}

/* Asked to finish, and the queue was not written yet. */
static void finishing_goes_on(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "last"), 0);
    assert_int_equal(ior_finish(r->cx, id), 0);
    rec_settle(r);
    ior_id again = rec_register(r, take_back(r, id));
    assert_int_equal(ior_send(r->cx, again, "x", 1), -EPIPE);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "last");
    assert_true(script_got_fin(r->script, fd));
    rec_free(r);
}

/* Handed back while it was connecting: OPEN comes when it is connected, not before. */
static void connecting_goes_on(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    ior_id again = rec_register(r, take_back(r, id));
    rec_settle(r);
    rec_expect(r, "registered 2\n");
    assert_int_equal(ior_send(r->cx, again, "x", 1), -ENOTCONN);
    script_connected(r->script, fd);
    rec_settle(r);
    rec_expect(r, "open 2\n");
    rec_free(r);
}

/* A write had failed, with a full queue: registered again, what is to be read is read, and then the cause is told. */
static void a_broken_stream_goes_on_to_its_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    assert_int_equal(rec_send_pattern(r, id, 100000), 1);
    script_say_text(r->script, fd, "last words");
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "");
    rec_register(r, take_back(r, id));
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 last words\nend 2 error EPIPE 0 100000 0\nhandover 2\n");
    rec_free(r);
}

/* The same for what cannot be read: there is nothing but the cause to be told. */
static void a_broken_pipe_goes_on_to_its_end(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->keep = true;
    int fd = script_fd(r->script, IOR_FD_PIPE | IOR_FD_NO_READ);
    ior_id id = rec_adopt(r, fd, NULL);
    script_room(r->script, fd, 3);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_settle(r);
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\nend 1 error EPIPE 3 2 0\nhandover 1\n");
    id = rec_register(r, rec_of(r, id)->handed);
    assert_true(rec_idle(r));
    assert_true(rec_of(r, id)->handed_over);
    assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
    assert_int_equal(rec_of(r, id)->unsent, 2);
    rec_free(r);
}

/* More is unsent than the high mark: reading does not begin before it has been written. */
static void a_full_stream_stays_full(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 70000), 1);
    rec_settle(r);
    rec_register(r, take_back(r, id));
    script_say_text(r->script, fd, "hello");
    assert_true(rec_idle(r));
    rec_expect(r, "registered 2\nopen 2\n");
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 70000);
    rec_expect(r, "data 2 hello\n");
    rec_free(r);
}

static void idle_starts_anew(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    rec_pass(r, 9 * SEC);
    struct ior_resource *res = take_back(r, id);
    assert_true(rec_idle(r)); /* no deadline runs for what is handed back */
    rec_pass(r, 100 * SEC);
    rec_register(r, res);
    rec_pass(r, 10 * SEC - 1);
    rec_expect(r, "registered 2\nopen 2\n");
    rec_pass(r, 1);
    rec_expect(r, "end 2 timeout idle 0 0 0\nhandover 2\n");
    rec_free(r);
}

/* ---- release and free ---- */

/* The kernel tells once why a connect failed, and then only that the socket is hung up, again and again. */
static void a_refused_connect_ends_again(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    script_refused(r->script, fd, ECONNREFUSED);
    rec_settle(r);
    rec_expect(r, "registered 1\nend 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    (void)rec_register(r, rec_of(r, id)->handed);
    rec_settle(r);
    rec_expect(r, "registered 2\nend 2 error ECONNREFUSED 0 0 0\nhandover 2\n");
    rec_free(r);
}

static void held_by_the_service_over_the_end_of_the_runtime(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "unsent"), 0);
    rec_close_runtime(r);
    assert_true(rec_of(r, id)->handed_over);
    assert_int_equal(ior_resource_unsent(rec_of(r, id)->handed, NULL, 0, NULL), 6);
    assert_true(script_is_open(r->script, fd));
    rec_free(r); /* frees what was handed over, with its fd */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsent_bytes_are_written_first),
        cmocka_unit_test(pieces_can_be_looked_at),
        cmocka_unit_test(unread_bytes_come_first),
        cmocka_unit_test(another_runtime_goes_on),
        cmocka_unit_test(registered_again_in_its_handover),
        cmocka_unit_test(finished_stays_finished),
        cmocka_unit_test(finishing_goes_on),
        cmocka_unit_test(connecting_goes_on),
        cmocka_unit_test(a_refused_connect_ends_again),
        cmocka_unit_test(a_broken_stream_goes_on_to_its_end),
        cmocka_unit_test(a_broken_pipe_goes_on_to_its_end),
        cmocka_unit_test(a_full_stream_stays_full),
        cmocka_unit_test(idle_starts_anew),
        cmocka_unit_test(held_by_the_service_over_the_end_of_the_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
