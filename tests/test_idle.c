/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The idle deadline: moved by each byte, without a system call, and passed only after a look for bytes that arrived.
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

/* ---- idle ---- */

static void idle_ends_the_stream(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    rec_pass(r, 10 * SEC - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void idle_is_moved_by_bytes_read(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    for (int i = 0; i < 5; i++) {
        rec_pass(r, 9 * SEC);
        script_say_text(r->script, fd, "x");
        rec_settle(r);
    }
    rec_expect(r, "data 1 xxxxx\n");
    rec_pass(r, 10 * SEC - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void idle_is_moved_by_bytes_written(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    for (int i = 0; i < 5; i++) {
        rec_pass(r, 9 * SEC);
        assert_int_equal(rec_send_text(r, id, "x"), 0);
        rec_settle(r);
    }
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "y"), 0); /* accepted is not written */
    rec_pass(r, 10 * SEC - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 5 1 0\nhandover 1\n");
    rec_free(r);
}

static void idle_is_moved_by_a_part_of_a_write(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    rec_pass(r, 9 * SEC);
    script_room(r->script, fd, 1);
    assert_int_equal(rec_send_text(r, id, "abc"), 0);
    rec_pass(r, 10 * SEC - 1);
    script_hear_text(r->script, fd, "a");
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 1 2 0\nhandover 1\n");
    rec_free(r);
}

static void idle_is_moved_without_a_system_call(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    script_forget(r->script);
    script_say_text(r->script, fd, "x");
    rec_turn(r);
    assert_int_equal(script_count(r->script, SCRIPT_RECV), 1);
    assert_int_equal(script_count_all(r->script), 2); /* a wait, a read */
    rec_free(r);
}

static void say_too_late(struct recorder *r)
{
    int fd = *(int *)r->arg;
    if (script_is_open(r->script, fd) && script_now(r->script) >= 1010 * SEC && script_unread(r->script, fd) == 0)
        script_say_text(r->script, fd, "x");
    r->on_tick = NULL;
}

/* The bytes arrive between the wait and the timers: the engine did not tell of them. */
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
    rec_pass(r, 10 * SEC - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void hang_up_too_late(struct recorder *r)
{
    script_reset(r->script, *(int *)r->arg);
    r->on_tick = NULL;
}

static void idle_finds_an_error_that_arrived(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    script_advance(r->script, 10 * SEC);
    r->arg = &fd;
    r->on_tick = hang_up_too_late;
    rec_turn(r);
    rec_settle(r);
    rec_expect(r, "end 1 error ECONNRESET 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void idle_goes_on_while_paused(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(r->script, fd, "x");
    rec_pass(r, 20 * SEC);
    rec_expect(r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void idle_period_is_changed_by_request(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_IDLE, 3 * SEC), 0);
    rec_pass(r, 2 * SEC);
    script_say_text(r->script, fd, "x");
    rec_pass(r, 3 * SEC - 1);
    rec_expect(r, "data 1 x\n");
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_IDLE, IOR_NEVER), 0);
    rec_pass(r, 1000 * SEC);
    script_say_text(r->script, fd, "y");
    rec_settle(r);
    assert_true(rec_idle(r));
    rec_expect(r, "data 1 y\n");
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_IDLE, 5), 0);
    rec_pass(r, 5);
    rec_expect(r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void idle_of_accepted_streams(void **state)
{
    struct recorder *r = rec_new();
    int listener;
    (void)state;
    rec_listen(r, "192.0.2.1:80",
               REC_LISTEN(.stream = {.struct_size = sizeof(struct ior_stream_options), .idle_ns = 10 * SEC}),
               &listener);
    script_accept_from(r->script, listener, "192.0.2.2:4000");
    rec_settle(r);
    rec_pass(r, 10 * SEC);
    rec_expect(r,
               "registered 1\naccepted 1 192.0.2.2:4000\nregistered 2\nopen 2\nend 2 timeout idle 0 0 0\nhandover 2\n");
    rec_free(r);
}

/* A peer that takes everything slowly is not idle; the time counts from the last byte. */
static void let_more_out(struct script *s, void *arg)
{
    script_room(s, *(int *)arg, 1);
}

static void idle_counts_from_the_last_byte_written(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.idle_ns = 10 * SEC), &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "abc"), 0);
    for (uint64_t i = 1; i <= 3; i++)
        script_at(r->script, script_now(r->script) + i * 9 * SEC, let_more_out, &fd);
    rec_pass(r, 37 * SEC - 1);
    script_hear_text(r->script, fd, "abc");
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout idle 3 0 0\nhandover 1\n");
    rec_free(r);
}

static void slow_data(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_number(r, ev->id) == 1)
        script_advance(r->script, 5 * SEC);
}

/* As the header says: however late in a slow turn a byte is read, it counts from when that turn began. */
static void idle_counts_from_the_turn_of_the_byte(void **state)
{
    ior_id id;
    int fd, other;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    rec_stream(r, REC_STREAM(.idle_ns = 10 * SEC), &other);
    rec_settle(r);
    rec_forget(r);
    r->on_event = slow_data;
    script_say_text(r->script, fd, "slow");
    script_say_text(r->script, other, "late");
    rec_turn(r);
    rec_expect(r, "data 1 slow\ndata 2 late\n");
    rec_pass(r, 5 * SEC - 1);
    rec_expect(r, "");
    rec_pass(r, 1);
    rec_expect(r, "end 2 timeout idle 0 0 0\nhandover 2\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_ends_the_stream),
        cmocka_unit_test(idle_is_moved_by_bytes_read),
        cmocka_unit_test(idle_is_moved_by_bytes_written),
        cmocka_unit_test(idle_is_moved_by_a_part_of_a_write),
        cmocka_unit_test(idle_is_moved_without_a_system_call),
        cmocka_unit_test(idle_looks_for_bytes_that_arrived),
        cmocka_unit_test(idle_finds_an_error_that_arrived),
        cmocka_unit_test(idle_goes_on_while_paused),
        cmocka_unit_test(idle_period_is_changed_by_request),
        cmocka_unit_test(idle_of_accepted_streams),
        cmocka_unit_test(idle_counts_from_the_last_byte_written),
        cmocka_unit_test(idle_counts_from_the_turn_of_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
