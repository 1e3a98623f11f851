/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scripted world itself, and the shortest stories on it: if these fail, look here first.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

static void echo(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(rec_send(r, ev->id, ev->data.bytes, ev->data.len), 0);
}

static void an_echo(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->on_event = echo;
    rec_stream(r, NULL, &fd);
    script_say_text(r->script, fd, "hello");
    rec_settle(r);
    script_hear_text(r->script, fd, "hello");
    rec_expect(r, "registered 1\nopen 1\ndata 1 hello\n");
    assert_true(rec_idle(r));
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "eof 1\nend 1 eof 5 0 0\nhandover 1\n");
    assert_false(script_is_open(r->script, fd));
    rec_free(r);
}

static void a_listener(void **state)
{
    struct recorder *r = rec_new();
    int listener;
    (void)state;
    r->on_event = echo;
    rec_listen(r, "192.0.2.1:80", NULL, &listener);
    rec_settle(r);
    rec_expect(r, "registered 1\n");
    int fd = script_accept_from(r->script, listener, "192.0.2.9:1234");
    rec_settle(r);
    rec_expect(r, "accepted 1 192.0.2.9:1234\nregistered 2\nopen 2\n");
    script_say_text(r->script, fd, "x");
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "data 2 x\neof 2\nend 2 error EPIPE 0 1 0\nhandover 2\n");
    rec_free(r);
}

static void the_clock_jumps(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    uint64_t start_ns = script_now(r->script);
    rec_timer(r, 5 * IOR_NS_PER_SEC, 1);
    rec_timer(r, 3600 * IOR_NS_PER_SEC, 2);
    rec_pass(r, 10 * IOR_NS_PER_SEC);
    rec_expect(r, "timer 1\n");
    assert_int_equal(script_now(r->script), start_ns + 10 * IOR_NS_PER_SEC);
    assert_false(rec_idle(r));
    rec_pass(r, 3600 * IOR_NS_PER_SEC);
    rec_expect(r, "timer 2\n");
    assert_true(rec_idle(r));
    rec_free(r);
}

static void say_late(struct script *s, void *arg)
{
    script_say_text(s, *(int *)arg, "late");
}

static void the_calendar(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_stream(r, NULL, &fd);
    rec_settle(r);
    rec_forget(r);
    script_at(r->script, script_now(r->script) + 100, say_late, &fd);
    rec_pass(r, 99);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "data 1 late\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_echo),
        cmocka_unit_test(a_listener),
        cmocka_unit_test(the_clock_jumps),
        cmocka_unit_test(the_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
