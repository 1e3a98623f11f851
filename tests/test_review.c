/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Corners that a review of the core found, each named for what must hold there: states that only some order of
 * requests, events and failing calls leads to.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

/* Finished and unregistered in one turn, with nothing queued: registered again, the FIN is still sent. */
static void a_finish_survives_the_handover(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    assert_int_equal(ior_finish(r->cx, id), 0);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_false(script_got_fin(r->script, fd));
    rec_register(r, rec_of(r, id)->handed);
    rec_settle(r);
    assert_true(script_got_fin(r->script, fd));
    rec_free(r);
}

/* A write failed, and reading what the peer said is short of memory once: it is read all the same, then the cause. */
static void a_spell_without_memory_costs_no_input(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    rec_forget(r);
    assert_int_equal(rec_pause(r, id), 0);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    script_say_text(r->script, fd, "last words");
    script_hangup(r->script, fd);
    rec_settle(r);
    script_fail_next(r->script, SCRIPT_RECV, ENOMEM);
    assert_int_equal(rec_resume(r, id), 0);
    rec_pass(r, SEC);
    rec_expect(r, "error 1 ENOMEM\ndata 1 last words\nend 1 error EPIPE 0 5 0\nhandover 1\n");
    rec_free(r);
}

static void give_back_all(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_of(r, ev->id)->data_events == 1)
        assert_int_equal(rec_unread(r, ev->id, ev->data.len), 0);
}

/*
 * A half-open stream that is paused while its peer goes away leaves the engine. After resume its bytes and its EOF are
 * found without the engine's help; the reset behind them is noticed nevertheless.
 */
static void a_reset_behind_the_end_of_input_is_noticed(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->on_event = give_back_all;
    ior_id id = rec_stream(r, REC_STREAM(.half_open = true), &fd);
    script_say_text(r->script, fd, "hello");
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\ndata 1 \n");
    assert_int_equal(rec_pause(r, id), 0);
    script_hangup(r->script, fd);
    rec_settle(r);
    assert_int_equal(script_interest(r->script, fd), -1);
    assert_int_equal(rec_resume(r, id), 0);
    rec_pass(r, SEC);
    rec_expect(r, "data 1 hello\neof 1\nend 1 error EPIPE 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void no_more_idle(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(ior_deadline(r->cx, ev->id, IOR_DEADLINE_IDLE, IOR_NEVER), 0);
}

static void say_hello(struct script *s, void *arg)
{
    script_say_text(s, *(int *)arg, "hello");
    script_interrupt(s, 1); /* the wait ends without telling of it */
}

/* The look for bytes that an idle deadline takes finds some, and their callback turns the deadline off. */
static void an_idle_deadline_turned_off_in_its_look_ends_nothing(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->on_event = no_more_idle;
    ior_id id = rec_stream(r, REC_STREAM(.idle_ns = SEC), &fd);
    rec_settle(r);
    rec_forget(r);
    script_advance(r->script, 2 * SEC);
    say_hello(r->script, &fd);
    rec_turn(r);
    rec_pass(r, 10 * SEC);
    rec_expect(r, "data 1 hello\n");
    assert_false(rec_of(r, id)->ended);
    rec_free(r);
}

static struct recorder *second;

static void attach_second(struct recorder *r)
{
    second = rec_attach(r);
}

static void call_second(struct recorder *r, ior_timer_id id, void *user)
{
    struct ior_command command = {.kind = 1};
    (void)id;
    (void)user;
    struct ior_controller *ctl = ior_controller_of(second->cx);
    assert_int_equal(ior_controller_call(ctl, &command, 10 * IOR_NS_PER_MS), -EDEADLK);
    ior_controller_unref(ctl);
    (void)r;
}

/* Waiting on the own loop for a service that was attached in the first `start`. */
static void waiting_for_the_own_loop_is_refused(void **state)
{
    struct recorder *r = rec_bare(NULL);
    (void)state;
    r->on_start = attach_second;
    r->on_timer = call_second;
    rec_open(r, NULL);
    rec_begin(r);
    rec_timer(r, 0, 1);
    rec_settle(r);
    assert_int_equal(r->timers, 1);
    rec_close_runtime(r);
    rec_free_attached(second);
    rec_free(r);
}

/* A runtime that never ran is freed: what it held ends, and nothing is started. */
static void nothing_starts_while_a_runtime_is_freed(void **state)
{
    struct recorder *r = rec_bare(NULL);
    int fd;
    (void)state;
    rec_open(r, NULL);
    rec_listen(r, "192.0.2.1:80", NULL, &fd);
    struct recorder *other = rec_attach(r);
    rec_close_runtime(r);
    assert_int_equal(r->starts, 0);
    assert_int_equal(other->starts, 0);
    assert_int_equal(r->stops, 0);
    rec_free_attached(other);
    rec_free(r);
}

static void answer_the_eof(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_EOF)
        assert_int_equal(rec_send_text(r, ev->id, "hello"), 0);
}

/* A small write fails for good when nothing is left to be read: the stream ends there and then, and once. */
static void a_small_write_that_ends_its_stream(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, REC_STREAM(.half_open = true), &fd);
    rec_settle(r);
    assert_int_equal(rec_send_text(r, id, "a"), 0); /* there is a block in the pool then */
    rec_settle(r);
    rec_forget(r);
    r->on_event = answer_the_eof;
    script_eof(r->script, fd);
    script_fail_next(r->script, SCRIPT_SEND, EPIPE);
    rec_settle(r);
    rec_expect(r, "eof 1\nend 1 error EPIPE 1 5 0\nhandover 1\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_write_that_ends_its_stream),
        cmocka_unit_test(a_finish_survives_the_handover),
        cmocka_unit_test(a_spell_without_memory_costs_no_input),
        cmocka_unit_test(a_reset_behind_the_end_of_input_is_noticed),
        cmocka_unit_test(an_idle_deadline_turned_off_in_its_look_ends_nothing),
        cmocka_unit_test(waiting_for_the_own_loop_is_refused),
        cmocka_unit_test(nothing_starts_while_a_runtime_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
