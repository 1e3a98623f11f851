/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting: the outcome is told once, as OPEN or as END with the cause; what is refused at once is the answer of the
 * call.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "support/check.h"
#include "support/recorder.h"

static int connect_to(struct recorder *r, const char *text, const struct ior_stream_options *opts, ior_id *id)
{
    struct ior_addr addr;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    *id = 4711;
    int err = ior_connect(r->cx, &addr, opts, id);
    if (err < 0)
        assert_int_equal(*id, 4711);
    else
        rec_of(r, *id);
    return err;
}

static void connected_later(void **state)
{
    struct recorder *r = rec_new();
    struct ior_addr addr;
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    assert_true(rec_idle(r));
    rec_expect(r, "registered 1\n");
    assert_int_equal(script_interest(r->script, fd), IOR_WRITE);
    assert_int_equal(ior_peer(r->cx, id, &addr), -ENOTCONN);
    script_connected(r->script, fd);
    script_say_text(r->script, fd, "hello");
    assert_true(rec_idle(r));
    rec_expect(r, "open 1\ndata 1 hello\n");
    assert_int_equal(ior_peer(r->cx, id, &addr), 0);
    assert_int_equal(rec_send_text(r, id, "hi"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "hi");
    rec_free(r);
}

static void connected_at_once(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    script_connect_now(r->script, true);
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    assert_int_equal(rec_send_text(r, id, "hi"), 0);
    rec_expect(r, "");
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_hear_text(r->script, fd, "hi");
    rec_free(r);
}

static void refused_later(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    script_refused(r->script, fd, ECONNREFUSED);
    rec_settle(r);
    rec_expect(r, "registered 1\nend 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void refused_before_the_loop_looks(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_connect(r, "192.0.2.7:80", NULL, &fd);
    script_refused(r->script, fd, EHOSTUNREACH);
    rec_settle(r);
    /* `registered` may be left out then: it ended before the loop came to it. */
    assert_non_null(strstr(rec_lines(r), "end 1 error EHOSTUNREACH 0 0 0\nhandover 1\n"));
    rec_free(r);
}

/* R27: nothing that could eat the error is done before it is asked for. */
static void r27_the_error_is_told_with_its_own_cause(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    assert_int_equal(ior_send(r->cx, id, "early", 5), -ENOTCONN);
    script_forget(r->script);
    script_refused(r->script, fd, ECONNREFUSED);
    rec_settle(r);
    rec_expect(r, "registered 1\nend 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0);
    assert_int_equal(script_count(r->script, SCRIPT_RECV), 0);
    assert_int_equal(script_count(r->script, SCRIPT_GETSOCKOPT), 1);
    rec_free(r);
}

static void connected_and_reset_at_once(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    script_connected(r->script, fd);
    script_say_text(r->script, fd, "greeting");
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\ndata 1 greeting\neof 1\nend 1 eof 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void r26_refused_at_once_is_the_answer(void **state)
{
    static const int errors[] = {EAGAIN, ECONNREFUSED, ENOENT, ENETUNREACH, EACCES, EADDRNOTAVAIL};
    struct recorder *r = rec_new();
    ior_id id;
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        script_fail_next(r->script, SCRIPT_CONNECT, errors[i]);
        assert_int_equal(connect_to(r, "unix:/run/x", NULL, &id), -errors[i]);
        assert_int_equal(script_open_fds(r->script), 0);
        assert_int_equal(ior_count(r->cx), 0);
    }
    assert_int_equal(connect_to(r, "unix:/run/nobody", NULL, &id), -ENOENT);
    script_path(r->script, "/run/stale", true, false);
    assert_int_equal(connect_to(r, "unix:/run/stale", NULL, &id), -ECONNREFUSED);
    rec_settle(r);
    rec_expect(r, "");
    script_path(r->script, "/run/alive", true, true);
    assert_int_equal(connect_to(r, "unix:/run/alive", NULL, &id), 0);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    rec_free(r);
}

static void an_interrupted_connect_is_under_way(void **state)
{
    struct recorder *r = rec_new();
    ior_id id;
    (void)state;
    script_fail_next(r->script, SCRIPT_CONNECT, EINTR);
    assert_int_equal(connect_to(r, "192.0.2.7:80", NULL, &id), 0);
    rec_settle(r);
    rec_expect(r, "registered 1\n");
    script_connected(r->script, script_last_fd(r->script));
    rec_settle(r);
    rec_expect(r, "open 1\n");
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 1); /* not asked twice */
    rec_free(r);
}

static void a_false_alarm_is_no_result(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    script_record(r->script, id, IOR_WRITE);
    rec_settle(r);
    rec_expect(r, "registered 1\n");
    script_connected(r->script, fd);
    rec_settle(r);
    rec_expect(r, "open 1\n");
    rec_free(r);
}

static void a_failing_call_leaves_nothing(void **state)
{
    static const enum script_call calls[] = {SCRIPT_SOCKET, SCRIPT_WATCH};
    struct recorder *r = rec_new();
    ior_id id;
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        script_fail_next(r->script, calls[i], ENOMEM);
        assert_int_equal(connect_to(r, "192.0.2.7:80", NULL, &id), -ENOMEM);
        assert_int_equal(script_open_fds(r->script), 0);
        assert_int_equal(ior_count(r->cx), 0);
    }
    script_fd_limit(r->script, 1);
    script_stream(r->script);
    assert_int_equal(connect_to(r, "192.0.2.7:80", NULL, &id), -EMFILE);
    rec_free(r);
}

static void no_more_resources(void **state)
{
    struct ior_config config = {.max_resources = 1};
    struct recorder *r = rec_new_with(&config);
    int fd;
    ior_id id;
    (void)state;
    rec_connect(r, "192.0.2.7:80", NULL, &fd);
    assert_int_equal(connect_to(r, "192.0.2.7:80", NULL, &id), -ENOSPC);
    assert_int_equal(script_open_fds(r->script), 1);
    rec_free(r);
}

static void ended_while_connecting(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct recorder *r = rec_new();
        int fd;
        ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
        rec_settle(r);
        assert_int_equal(how == 0   ? rec_unregister(r, id)
                         : how == 1 ? rec_abort(r, id)
                                    : ior_close(r->cx, id, IOR_NEVER),
                         0);
        if (how != 1)
            script_connected(r->script, fd);
        assert_true(rec_idle(r));
        rec_expect(r, "registered 1\nend 1 asked 0 0 0\nhandover 1\n");
        rec_free(r);
    }
}

/* OPEN is no data event: it is told to a paused stream as well. */
static void paused_while_connecting(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    assert_int_equal(rec_pause(r, id), 0);
    rec_settle(r);
    script_connected(r->script, fd);
    script_say_text(r->script, fd, "hello");
    assert_true(rec_idle(r));
    rec_expect(r, "registered 1\nopen 1\n");
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "data 1 hello\n");
    rec_free(r);
}

static void refused_while_paused(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    assert_int_equal(rec_pause(r, id), 0);
    rec_settle(r);
    script_refused(r->script, fd, ECONNREFUSED);
    rec_settle(r);
    assert_int_equal(rec_resume(r, id) == 0 || rec_of(r, id)->ended, true);
    rec_settle(r);
    rec_expect(r, "registered 1\nend 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void finish_needs_a_connection(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    assert_int_equal(ior_finish(r->cx, id), -ENOTCONN);
    rec_free(r);
}

static void options_reach_the_socket(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_connect(r, "192.0.2.7:80", REC_STREAM(.keep_alive = true), &fd);
    assert_int_equal(script_count(r->script, SCRIPT_SETSOCKOPT), 2);
    script_forget(r->script);
    rec_connect(r, "192.0.2.7:80", REC_STREAM(.nagle = true), &fd);
    assert_int_equal(script_count(r->script, SCRIPT_SETSOCKOPT), 0);
    rec_free(r);
}

static void bad_arguments(void **state)
{
    struct recorder *r = rec_new();
    struct ior_addr addr, none = {.len = 0}, huge = {.len = 129}, odd = {.len = 16};
    ior_id id = 4711;
    (void)state;
    odd.raw[0] = 0x77;
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.7:80"), 0);
    assert_int_equal(ior_connect(NULL, &addr, NULL, &id), -EINVAL);
    assert_int_equal(ior_connect(r->cx, NULL, NULL, &id), -EINVAL);
    assert_int_equal(ior_connect(r->cx, &addr, NULL, NULL), -EINVAL);
    assert_int_equal(ior_connect(r->cx, &none, NULL, &id), -EINVAL);
    assert_int_equal(ior_connect(r->cx, &huge, NULL, &id), -EINVAL);
    assert_true(ior_connect(r->cx, &odd, NULL, &id) < 0);
    assert_int_equal(ior_connect(r->cx, &addr, &(struct ior_stream_options){.struct_size = 3}, &id), -EINVAL);
    assert_int_equal(ior_connect(r->cx, &addr, REC_STREAM(.user_size = SIZE_MAX), &id), -EINVAL);
    assert_int_equal(id, 4711);
    assert_int_equal(script_open_fds(r->script), 0);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connected_later),
        cmocka_unit_test(connected_at_once),
        cmocka_unit_test(refused_later),
        cmocka_unit_test(refused_before_the_loop_looks),
        cmocka_unit_test(r27_the_error_is_told_with_its_own_cause),
        cmocka_unit_test(connected_and_reset_at_once),
        cmocka_unit_test(r26_refused_at_once_is_the_answer),
        cmocka_unit_test(an_interrupted_connect_is_under_way),
        cmocka_unit_test(a_false_alarm_is_no_result),
        cmocka_unit_test(a_failing_call_leaves_nothing),
        cmocka_unit_test(no_more_resources),
        cmocka_unit_test(ended_while_connecting),
        cmocka_unit_test(paused_while_connecting),
        cmocka_unit_test(refused_while_paused),
        cmocka_unit_test(finish_needs_a_connection),
        cmocka_unit_test(options_reach_the_socket),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
