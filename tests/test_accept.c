/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners: connections that are accepted, taken or refused, out of fds and of slots, budgets, pause and end in their own
 * callback. How they are set up is in test_listen.c.
 */
#include <errno.h>
#include <stdio.h>

#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

static struct recorder *one_listener(const struct ior_config *config, ior_id *id, int *fd)
{
    struct recorder *r = rec_new_with(config);
    *id = rec_listen(r, "192.0.2.1:80", NULL, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\n");
    script_forget(r->script);
    return r;
}

static void connect_many(struct recorder *r, int listener, int n, int *fds)
{
    char from[IOR_ADDR_TEXT_MAX];
    for (int i = 0; i < n; i++) {
        snprintf(from, sizeof(from), "192.0.2.2:%d", 4000 + i);
        int fd = script_accept_from(r->script, listener, from);
        if (fds != NULL)
            fds[i] = fd;
    }
}

static void accepted_with_the_listeners_options(void **state)
{
    struct recorder *r = rec_new();
    struct ior_addr addr;
    char text[IOR_ADDR_TEXT_MAX];
    int listener, mark;
    (void)state;
    ior_id id = rec_listen(r, "192.0.2.1:0",
                           REC_LISTEN(.user = r, .stream = {.struct_size = sizeof(struct ior_stream_options),
                                                            .user = &mark,
                                                            .high_bytes = 10,
                                                            .low_bytes = 5}),
                           &listener);
    assert_ptr_equal(ior_user(r->cx, id), r);
    assert_int_equal(ior_local(r->cx, id, &addr), 0);
    assert_int_equal(ior_addr_port(&addr), 40000);
    int fd = script_accept_from(r->script, listener, "192.0.2.2:4000");
    rec_settle(r);
    rec_expect(r, "registered 1\naccepted 1 192.0.2.2:4000\nregistered 2\nopen 2\n");
    assert_ptr_equal(ior_user(r->cx, rec_id(r, 2)), &mark);
    assert_int_equal(ior_peer(r->cx, rec_id(r, 2), &addr), 0);
    assert_true(ior_addr_format(&addr, text, sizeof(text)) > 0);
    assert_string_equal(text, "192.0.2.2:4000");
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, rec_id(r, 2), "eleven byte"), 1);
    rec_free(r);
}

static void send_at_once(struct recorder *r, const struct ior_event *ev)
{
    ior_id id;
    if (ev->type != IOR_EV_ACCEPTED)
        return;
    assert_int_equal(ior_accept(r->cx, ev, &id), 0);
    rec_of(r, id);
    assert_int_equal(ior_accept(r->cx, ev, &id), -EALREADY);
    assert_null(ior_take(r->cx, ev));
    assert_int_equal(rec_send_text(r, id, "welcome"), 0);
}

static void sent_to_before_it_is_told_open(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    r->refuse = true;
    r->on_event = send_at_once;
    int fd = script_accept_from(r->script, listener, "192.0.2.2:4000");
    rec_turn(r);
    script_hear_text(r->script, fd, "welcome");
    rec_settle(r);
    rec_expect(r, "accepted 1 192.0.2.2:4000\nregistered 2\nopen 2\n");
    rec_free(r);
}

static void send_much(struct recorder *r, const struct ior_event *ev)
{
    ior_id id;
    if (ev->type != IOR_EV_ACCEPTED)
        return;
    assert_int_equal(ior_accept(r->cx, ev, &id), 0);
    rec_of(r, id);
    assert_int_equal(rec_send_pattern(r, id, 70000), 1);
}

/* All of it is written in the turn that accepted it; DRAINED waits for its turn behind `registered` and OPEN. */
static void inv01_drained_does_not_come_first(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    r->refuse = true;
    r->on_event = send_much;
    int fd = script_accept_from(r->script, listener, "192.0.2.2:4000");
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 70000);
    rec_expect(r, "accepted 1 192.0.2.2:4000\nregistered 2\nopen 2\ndrained 2\n");
    rec_free(r);
}

static void nobody_takes_it(void **state)
{
    ior_id id;
    int listener, fds[5];
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    r->refuse = true;
    connect_many(r, listener, 5, fds);
    rec_settle(r);
    for (int i = 0; i < 5; i++)
        assert_false(script_is_open(r->script, fds[i]));
    assert_int_equal(ior_count(r->cx), 1);
    rec_free(r);
}

static void only_inside_the_event(void **state)
{
    ior_id id, ret = 4711;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    struct ior_addr peer = {.len = 0};
    struct ior_event made_up = {.type = IOR_EV_ACCEPTED, .id = id, .peer = &peer};
    (void)state;
    assert_int_equal(ior_accept(r->cx, &made_up, &ret), -EINVAL);
    assert_int_equal(ior_accept(r->cx, NULL, &ret), -EINVAL);
    assert_null(ior_take(r->cx, &made_up));
    assert_null(ior_take(r->cx, NULL));
    assert_int_equal(ret, 4711);
    rec_free(r);
}

/* ---- budgets ---- */

static void r24_a_storm_does_not_starve_the_others(void **state)
{
    struct ior_config config = {.accepts = 3};
    ior_id id;
    int listener, fd;
    struct recorder *r = one_listener(&config, &id, &listener);
    (void)state;
    rec_stream(r, NULL, &fd);
    rec_settle(r);
    rec_forget(r);
    connect_many(r, listener, 10, NULL);
    for (unsigned i = 1; i <= 3; i++) {
        script_say_text(r->script, fd, "me");
        rec_turn(r);
        assert_int_equal(rec_of(r, id)->accept_events, 3 * i);
        assert_int_equal(rec_of(r, rec_id(r, 2))->in_len, 2 * i);
    }
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->accept_events, 10);
    rec_free(r);
}

static void r23_aborted_connections_are_passed_over(void **state)
{
    static const int errors[] = {ECONNABORTED, EINTR, EPROTO, ENETDOWN, EHOSTUNREACH};
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        script_fail_next(r->script, SCRIPT_ACCEPT, errors[i]);
    connect_many(r, listener, 2, NULL);
    rec_settle(r);
    rec_expect(r, "accepted 1 192.0.2.2:4000\naccepted 1 192.0.2.2:4001\nregistered 2\nopen 2\nregistered 3\nopen 3\n");
    rec_free(r);
}

static void a_listener_can_break(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    script_fail_next(r->script, SCRIPT_ACCEPT, EINVAL);
    connect_many(r, listener, 1, NULL);
    rec_settle(r);
    rec_expect(r, "end 1 error EINVAL 0 0 0\nhandover 1\n");
    rec_free(r);
}

/* ---- out of fds, out of slots ---- */

static void r22_out_of_fds(void **state)
{
    ior_id id;
    int listener, fds[4];
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    script_fd_limit(r->script, 3); /* the listener and two streams */
    connect_many(r, listener, 4, fds);
    unsigned turns = rec_pass(r, 10 * SEC);
    rec_expect(r, "accepted 1 192.0.2.2:4000\naccepted 1 192.0.2.2:4001\nerror 1 EMFILE\n" /* told once */
                  "registered 2\nopen 2\nregistered 3\nopen 3\n");
    assert_true(turns < 500); /* it does not spin */
    script_forget(r->script);
    /* One of ours ends: the next is accepted at once, without a wait. */
    uint64_t now_ns = script_now(r->script);
    assert_int_equal(rec_abort(r, rec_id(r, 2)), 0);
    rec_settle(r);
    assert_int_equal(script_now(r->script), now_ns);
    rec_expect(r, "end 2 asked 0 0 0\nhandover 2\naccepted 1 192.0.2.2:4002\nerror 1 EMFILE\nregistered 4\nopen 4\n");
    rec_free(r);
}

static void r22_fds_freed_by_others_are_found(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    int file = script_file(r->script, 1), another = script_file(r->script, 1);
    script_fd_limit(r->script, 3);
    connect_many(r, listener, 1, NULL);
    rec_pass(r, 10 * SEC);
    rec_expect(r, "error 1 EMFILE\n");
    script_close(r->script, file);
    script_close(r->script, another);
    rec_pass(r, SEC);
    rec_expect(r, "accepted 1 192.0.2.2:4000\nregistered 2\nopen 2\n");
    assert_true(rec_idle(r));
    rec_free(r);
}

static void other_shortages_are_the_same(void **state)
{
    static const int errors[] = {ENFILE, ENOMEM, ENOBUFS};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        ior_id id;
        int listener;
        struct recorder *r = one_listener(NULL, &id, &listener);
        script_fail_always(r->script, SCRIPT_ACCEPT, errors[i]);
        connect_many(r, listener, 1, NULL);
        assert_true(rec_pass(r, 10 * SEC) < 500);
        assert_int_equal(rec_of(r, id)->errors, 1);
        script_fail_always(r->script, SCRIPT_ACCEPT, 0);
        rec_pass(r, SEC);
        assert_int_equal(rec_of(r, id)->accept_events, 1);
        rec_free(r);
    }
}

static void out_of_slots(void **state)
{
    struct ior_config config = {.max_resources = 2};
    ior_id id;
    int listener, fds[3];
    struct recorder *r = one_listener(&config, &id, &listener);
    (void)state;
    connect_many(r, listener, 3, fds);
    rec_settle(r);
    rec_expect(r, "accepted 1 192.0.2.2:4000\nerror 1 ENOSPC\nregistered 2\nopen 2\n");
    assert_true(rec_pass(r, 10 * SEC) < 500);
    rec_expect(r, "");
    assert_true(script_is_open(r->script, fds[1])); /* they wait, nobody closed them */
    uint64_t now_ns = script_now(r->script);
    assert_int_equal(rec_abort(r, rec_id(r, 2)), 0);
    rec_settle(r);
    assert_int_equal(script_now(r->script), now_ns);
    assert_int_equal(rec_of(r, id)->accept_events, 2);
    rec_free(r);
}

static void starving_and_ended(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    script_fail_always(r->script, SCRIPT_ACCEPT, EMFILE);
    connect_many(r, listener, 1, NULL);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    assert_true(rec_idle(r)); /* the back-off is gone */
    rec_expect(r, "error 1 EMFILE\nend 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void starving_and_paused(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    script_fail_always(r->script, SCRIPT_ACCEPT, EMFILE);
    connect_many(r, listener, 1, NULL);
    rec_settle(r);
    assert_int_equal(rec_pause(r, id), 0);
    script_fail_always(r->script, SCRIPT_ACCEPT, 0);
    rec_pass(r, 10 * SEC);
    rec_expect(r, "error 1 EMFILE\n");
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "accepted 1 192.0.2.2:4000\nregistered 2\nopen 2\n");
    rec_free(r);
}

/* ---- pause and end in the callback ---- */

static void pause_here(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_ACCEPTED)
        assert_int_equal(rec_pause(r, ev->id), 0);
}

static void r25_paused_in_its_own_callback(void **state)
{
    ior_id id;
    int listener;
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    r->on_event = pause_here;
    connect_many(r, listener, 3, NULL);
    assert_true(rec_idle(r));
    rec_expect(r, "accepted 1 192.0.2.2:4000\nregistered 2\nopen 2\n");
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "accepted 1 192.0.2.2:4001\nregistered 3\nopen 3\n");
    rec_free(r);
}

static void end_here(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_ACCEPTED)
        assert_int_equal(rec_unregister(r, ev->id), 0);
}

static void r25_ended_in_its_own_callback(void **state)
{
    ior_id id;
    int listener, fds[3];
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    r->on_event = end_here;
    connect_many(r, listener, 3, fds);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->accept_events, 1);
    assert_true(rec_of(r, id)->ended && rec_of(r, id)->handed_over);
    for (int i = 1; i < 3; i++)
        assert_false(script_is_open(r->script, fds[i]));
    rec_free(r);
}

static void stop_here(struct recorder *r, const struct ior_event *ev)
{
    ior_id id;
    if (ev->type != IOR_EV_ACCEPTED)
        return;
    ior_stop(r->cx, 0);
    assert_int_equal(ior_accept(r->cx, ev, &id), -ESHUTDOWN);
}

static void refused_while_stopping(void **state)
{
    ior_id id;
    int listener, fds[2];
    struct recorder *r = one_listener(NULL, &id, &listener);
    (void)state;
    r->on_event = stop_here;
    connect_many(r, listener, 2, fds);
    rec_settle(r);
    assert_false(script_is_open(r->script, fds[0]) || script_is_open(r->script, fds[1]));
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_with_the_listeners_options),
        cmocka_unit_test(sent_to_before_it_is_told_open),
        cmocka_unit_test(inv01_drained_does_not_come_first),
        cmocka_unit_test(nobody_takes_it),
        cmocka_unit_test(only_inside_the_event),
        cmocka_unit_test(r24_a_storm_does_not_starve_the_others),
        cmocka_unit_test(r23_aborted_connections_are_passed_over),
        cmocka_unit_test(a_listener_can_break),
        cmocka_unit_test(r22_out_of_fds),
        cmocka_unit_test(r22_fds_freed_by_others_are_found),
        cmocka_unit_test(other_shortages_are_the_same),
        cmocka_unit_test(out_of_slots),
        cmocka_unit_test(starving_and_ended),
        cmocka_unit_test(starving_and_paused),
        cmocka_unit_test(r25_paused_in_its_own_callback),
        cmocka_unit_test(r25_ended_in_its_own_callback),
        cmocka_unit_test(refused_while_stopping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
