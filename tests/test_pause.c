/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pause is a promise: no data until resume, a hang-up is kept for then, and neither costs a system call.
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

static const struct ior_config small_config = {.read_bytes = 512, .reads = 2};

/* An open stream on a runtime that reads 512 bytes at a time, twice a turn. */
static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new_with(&small_config);
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_forget(r->script);
    return r;
}

static void assert_pattern_in(struct recorder *r, ior_id id, size_t len)
{
    assert_int_equal(rec_of(r, id)->in_len, len);
    assert_true(script_is_pattern(rec_of(r, id)->in, 0, len));
}

/* ---- pause ---- */

static void inv02_paused_means_no_data(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "hello");
    assert_true(rec_idle(r));
    rec_expect(r, "");
    assert_int_equal(rec_resume(r, id), 0);
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "data 1 hello\n");
    rec_free(r);
}

static void pause_on_data(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(rec_pause(r, ev->id), 0);
}

static void paused_in_its_data_event(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = pause_on_data;
    script_say_pattern(r->script, fd, 2000);
    for (unsigned i = 1; i <= 3; i++) {
        rec_settle(r);
        assert_int_equal(rec_of(r, id)->data_events, i);
        assert_int_equal(rec_resume(r, id), 0);
    }
    rec_settle(r);
    assert_pattern_in(r, id, 2000);
    rec_free(r);
}

static void stopping_and_starting_costs_no_system_call(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(rec_pause(r, id), 0);
        rec_turn(r);
        assert_int_equal(rec_resume(r, id), 0);
        rec_turn(r);
    }
    assert_int_equal(script_count_all(r->script), script_count(r->script, SCRIPT_WAIT));
    /* Bytes that come while it is paused cost one change, and one back. */
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "x");
    rec_settle(r);
    script_say_text(r->script, fd, "y");
    rec_settle(r);
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "data 1 xy\n");
    assert_true(script_count(r->script, SCRIPT_REWATCH) + script_count(r->script, SCRIPT_WATCH) +
                    script_count(r->script, SCRIPT_UNWATCH) <=
                2);
    script_forget(r->script);
    for (int i = 0; i < 10; i++) { /* and it is as lazy as before */
        assert_int_equal(rec_pause(r, id), 0);
        rec_turn(r);
        assert_int_equal(rec_resume(r, id), 0);
        rec_turn(r);
    }
    assert_int_equal(script_count_all(r->script), script_count(r->script, SCRIPT_WAIT));
    rec_free(r);
}

/* Reading and writing begin in the same turn: neither makes the loop forget the other. */
static void resumed_and_sent_to_at_once(void **state)
{
    (void)state;
    for (int send_first = 0; send_first < 2; send_first++) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(NULL, &id, &fd);
        assert_int_equal(rec_pause(r, id), 0);
        script_say_text(r->script, fd, "held back");
        rec_settle(r);
        assert_int_equal(script_interest(r->script, fd) & IOR_READ, 0); /* one unwanted record: dropped */
        if (send_first)
            assert_int_equal(rec_send_text(r, id, "x"), 0);
        assert_int_equal(rec_resume(r, id), 0);
        if (!send_first)
            assert_int_equal(rec_send_text(r, id, "x"), 0);
        rec_settle(r);
        script_hear_text(r->script, fd, "x");
        rec_expect(r, "data 1 held back\n");
        rec_free(r);
    }
}

/* A hang-up while nobody listens: no spin, no event; after resume the data, the end of input, END. */
static void latched(void (*happens)(struct script *, int), const char *expected)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "bye");
    happens(r->script, fd);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, expected);
    rec_free(r);
}

static void inv06_a_hang_up_while_paused_is_kept(void **state)
{
    (void)state;
    latched(script_eof, "data 1 bye\neof 1\nend 1 eof 0 0 0\nhandover 1\n");
    latched(script_hangup, "data 1 bye\neof 1\nend 1 eof 0 0 0\nhandover 1\n");
}

static void r20_a_reset_while_paused_is_kept(void **state)
{
    (void)state;
    latched(script_reset, "data 1 bye\nend 1 error ECONNRESET 0 0 0\nhandover 1\n");
}

static void paused_before_it_was_told_open(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "early");
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "data 1 early\n");
    rec_free(r);
}

static void paused_and_then_unregistered(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "bye");
    script_reset(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

/* Resume asked inside another stream's event is served like any other. */
static void resume_the_first(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_number(r, ev->id) == 2)
        assert_int_equal(rec_resume(r, rec_id(r, 1)), 0);
}

static void resumed_by_another(void **state)
{
    ior_id id;
    int fd, other;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    rec_stream(r, NULL, &other);
    rec_settle(r);
    rec_forget(r);
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "one");
    rec_settle(r);
    r->on_event = resume_the_first;
    script_say_text(r->script, other, "two");
    rec_settle(r);
    rec_expect(r, "data 2 two\ndata 1 one\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv02_paused_means_no_data),
        cmocka_unit_test(paused_in_its_data_event),
        cmocka_unit_test(stopping_and_starting_costs_no_system_call),
        cmocka_unit_test(inv06_a_hang_up_while_paused_is_kept),
        cmocka_unit_test(r20_a_reset_while_paused_is_kept),
        cmocka_unit_test(paused_before_it_was_told_open),
        cmocka_unit_test(paused_and_then_unregistered),
        cmocka_unit_test(resumed_by_another),
        cmocka_unit_test(resumed_and_sent_to_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
