/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shutdown and free from every state: a runtime that never ran, one in a callback, resources of all kinds in all the
 * states that tests know how to make. Everything is handed back, in a bounded number of turns.
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    return r;
}

/* ---- commands ---- */

struct dropped {
    struct ior_command command;
    struct recorder *r;
    unsigned drops;
};

static void drop(struct ior_command *command)
{
    struct dropped *dropped = (struct dropped *)command;
    dropped->drops++;
    if (!script_in_loop(dropped->r->script))
        fail_msg("drop was called outside the loop");
}

static void commands_of_a_runtime_that_never_ran_are_dropped(void **state)
{
    struct recorder *r = rec_bare(NULL);
    struct dropped a = {.command = {.kind = 1, .drop = drop}}, b = {.command = {.kind = 2, .drop = drop}};
    (void)state;
    a.r = b.r = r;
    rec_open(r, NULL);
    struct ior_controller *ctl = ior_controller_of(r->cx);
    assert_int_equal(ior_controller_send(ctl, &a.command), 0);
    assert_int_equal(ior_controller_send(ctl, &b.command), 0);
    rec_close_runtime(r);
    assert_int_equal(r->commands, 0);
    assert_true(a.drops == 1 && b.drops == 1);
    ior_controller_unref(ctl);
    rec_free(r);
}

/* ---- without a run ---- */

static void freed_without_ever_running(void **state)
{
    struct recorder *r = rec_bare(NULL);
    int fd, listener;
    (void)state;
    rec_open(r, NULL);
    ior_id id = rec_stream(r, NULL, &fd);
    rec_listen(r, "unix:/run/x", NULL, &listener);
    rec_timer(r, 0, 1);
    assert_int_equal(rec_send_text(r, id, "never written"), 0);
    rec_close_runtime(r);
    assert_int_equal(r->starts, 0);
    assert_int_equal(r->timers, 0);
    assert_true(rec_of(r, id)->handed_over);
    assert_int_equal(rec_of(r, id)->why, IOR_SHUTDOWN);
    assert_false(script_path_exists(r->script, "/run/x"));
    rec_free(r);
}

static void freed_while_it_runs(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 2);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    uint64_t now_ns = script_now(r->script);
    rec_close_runtime(r);
    assert_int_equal(script_now(r->script), now_ns);
    assert_int_equal(r->stops, 1);
    assert_true(rec_of(r, id)->handed_over);
    rec_free(r);
}

static void free_me(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    (void)user;
    ior_runtime_free(r->rt); /* does nothing but log */
    assert_int_equal(ior_runtime_turn(r->rt, 0), -EBUSY);
    assert_int_equal(ior_runtime_run(r->rt), -EBUSY);
}

static void freed_or_turned_from_a_callback(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->on_timer = free_me;
    rec_timer(r, 0, 1);
    rec_settle(r);
    rec_expect(r, "timer 1\n");
    rec_timer(r, 0, 2);
    r->on_timer = NULL;
    rec_settle(r);
    rec_expect(r, "timer 2\n");
    rec_free(r);
}

static void stop_here(struct recorder *r)
{
    ior_stop(r->cx, 10 * SEC);
}

static void stopped_in_start(void **state)
{
    struct recorder *r = rec_bare(NULL);
    (void)state;
    r->on_start = stop_here;
    rec_open(r, NULL);
    assert_int_equal(script_run(r->script, r->rt), 0);
    rec_expect(r, "start\nstop\n");
    rec_free(r);
}

static void stopped_before_it_runs(void **state)
{
    struct recorder *r = rec_bare(NULL);
    int fd;
    (void)state;
    rec_open(r, NULL);
    ior_id id = rec_stream(r, NULL, &fd);
    ior_stop(r->cx, SEC);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_true(rec_of(r, id)->handed_over);
    rec_free(r);
}

/* ---- every state ---- */

static void keep_two(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && ev->data.len == 4 && rec_of(r, ev->id)->data_events == 1)
        assert_int_equal(rec_unread(r, ev->id, 2), 0);
}

/* Resources in all the states that tests know how to make; answers how many there are. */
static unsigned menagerie(struct recorder *r)
{
    struct script *s = r->script;
    int fd, listener;
    ior_id id;
    r->on_event = keep_two;
    rec_listen(r, "192.0.2.1:80", NULL, &listener);
    rec_listen(r, "unix:/run/x", NULL, &fd);
    rec_connect(r, "192.0.2.7:80", REC_STREAM(.connect_ns = 60 * SEC), &fd);
    rec_watch(r, script_fd(s, IOR_FD_OTHER), IOR_READ);
    fd = script_fd(s, IOR_FD_OTHER);
    rec_watch(r, fd, IOR_READ);
    script_ready(s, fd, IOR_HUP); /* out of the set */
    rec_stream(r, REC_STREAM(.idle_ns = 60 * SEC), &fd);
    id = rec_stream(r, NULL, &fd); /* paused, with bytes, a hang-up behind them */
    assert_int_equal(rec_pause(r, id), 0);
    script_say_text(s, fd, "unheard");
    script_reset(s, fd);
    rec_stream(r, REC_STREAM(.half_open = true), &fd); /* half closed */
    script_eof(s, fd);
    id = rec_stream(r, NULL, &fd); /* the other half */
    assert_int_equal(ior_finish(r->cx, id), 0);
    id = rec_stream(r, NULL, &fd); /* full */
    script_room(s, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 70000), 1);
    id = rec_stream(r, NULL, &fd); /* closing */
    script_room(s, fd, 0);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    assert_int_equal(rec_close(r, id, 60 * SEC), 0);
    id = rec_stream(r, NULL, &fd); /* a write failed while it is paused */
    assert_int_equal(rec_pause(r, id), 0);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    script_hangup(s, fd);
    rec_stream(r, NULL, &fd); /* holding what was given back */
    script_say_text(s, fd, "abcd");
    id = rec_stream(r, NULL, &fd); /* with a file */
    script_room(s, fd, 10);
    assert_int_equal(rec_send_file(r, id, script_file(s, 100), 0, 100), 0);
    rec_adopt(r, script_fd(s, IOR_FD_PIPE | IOR_FD_NO_WRITE), NULL);
    rec_adopt(r, script_fd(s, IOR_FD_PIPE | IOR_FD_NO_READ), NULL);
    id = rec_stream(r, NULL, &fd); /* with deadlines */
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 60 * SEC), 0);
    rec_settle(r);
    script_fail_always(s, SCRIPT_ACCEPT, EMFILE); /* a listener in back-off */
    script_accept_from(s, listener, "192.0.2.2:4000");
    rec_settle(r);
    id = rec_stream(r, NULL, &fd); /* not yet told */
    id = rec_stream(r, NULL, &fd); /* ended, not yet told */
    assert_int_equal(rec_abort(r, id), 0);
    rec_timer(r, 60 * SEC, 1);
    return (unsigned)r->n;
}

static void inv09_everything_is_handed_back_from_any_state(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct recorder *r = rec_new();
        unsigned n = menagerie(r);
        uint64_t asked_ns = script_now(r->script);
        unsigned turns = rec_stats(r).turns & UINT32_MAX;
        if (how < 3) {
            ior_stop(r->cx, how == 0 ? 0 : how == 1 ? 10 * SEC : IOR_NEVER);
            if (how == 2)
                ior_stop(r->cx, 30 * SEC);
            assert_int_equal(script_run(r->script, r->rt), 0);
            assert_true(script_now(r->script) - asked_ns <= 30 * SEC);
            assert_true(rec_stats(r).turns - turns < 400);
        } else {
            rec_close_runtime(r);
        }
        for (unsigned i = 1; i <= n; i++) {
            assert_true(rec_of(r, rec_id(r, i))->ended);
            assert_true(rec_of(r, rec_id(r, i))->handed_over);
        }
        rec_free(r);
    }
}

static void inv09_ten_thousand_in_bounded_turns(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->quiet = true;
    for (int i = 0; i < 10000; i++)
        rec_stream(r, NULL, &fd);
    ior_stop(r->cx, 0);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_true(rec_stats(r).turns < 100);
    assert_int_equal(script_open_fds(r->script), 0);
    rec_free(r);
}

/* A peer that never stops talking does not keep the runtime alive. */
static void talk_on(struct recorder *r)
{
    int fd = *(int *)r->arg;
    if (script_is_open(r->script, fd))
        script_say_pattern(r->script, fd, 1000);
    script_advance(r->script, IOR_NS_PER_MS);
}

static void a_talkative_peer_does_not_hold_it(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->arg = &fd;
    r->on_tick = talk_on;
    uint64_t asked_ns = script_now(r->script);
    ior_stop(r->cx, 10 * SEC);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_true(script_now(r->script) - asked_ns <= 10 * SEC + 5 * IOR_NS_PER_MS);
    assert_true(rec_of(r, id)->unread > 0); /* discarded, and counted */
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_of_a_runtime_that_never_ran_are_dropped),
        cmocka_unit_test(freed_without_ever_running),
        cmocka_unit_test(freed_while_it_runs),
        cmocka_unit_test(freed_or_turned_from_a_callback),
        cmocka_unit_test(stopped_in_start),
        cmocka_unit_test(stopped_before_it_runs),
        cmocka_unit_test(inv09_everything_is_handed_back_from_any_state),
        cmocka_unit_test(inv09_ten_thousand_in_bounded_turns),
        cmocka_unit_test(a_talkative_peer_does_not_hold_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
