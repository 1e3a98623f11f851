/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shutdown is a line in time: what came before it is served, what comes later refused, output is flushed until the
 * deadline. From every state: test_shutdown_states.c.
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

static void an_empty_runtime_stops(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    ior_stop(r->cx, IOR_NEVER);
    rec_expect(r, ""); /* not inside the request */
    assert_int_equal(script_run(r->script, r->rt), 0);
    rec_expect(r, "stop\n");
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_int_equal(rec_turn(r), 0);
    rec_free(r);
}

static void output_is_flushed_and_fins_exchanged(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 3);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    ior_stop(r->cx, 10 * SEC);
    rec_settle(r);
    rec_pass(r, 5 * SEC);
    rec_expect(r, "stop\n");
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "hello");
    assert_true(script_got_fin(r->script, fd));
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 shutdown 5 0 0\nhandover 1\n");
    assert_int_equal(rec_turn(r), 0);
    rec_free(r);
}

static void the_wait_for_the_peers_fin_is_short(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    uint64_t asked_ns = script_now(r->script);
    ior_stop(r->cx, 3600 * SEC);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_true(script_now(r->script) - asked_ns <= 5 * SEC);
    rec_expect(r, "stop\nend 1 shutdown 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void inv09_the_deadline_ends_it(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 3);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    uint64_t asked_ns = script_now(r->script);
    ior_stop(r->cx, 10 * SEC);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_int_equal(script_now(r->script) - asked_ns, 10 * SEC);
    rec_expect(r, "stop\nend 1 shutdown 3 2 0\nhandover 1\n");
    rec_free(r);
}

static void no_time_means_no_waiting(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    uint64_t now_ns = script_now(r->script);
    ior_stop(r->cx, 0);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_int_equal(script_now(r->script), now_ns);
    rec_expect(r, "stop\nend 1 shutdown 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void asked_again_it_can_only_get_shorter(void **state)
{
    (void)state;
    for (int later = 0; later < 2; later++) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(NULL, &id, &fd);
        script_room(r->script, fd, 0);
        assert_int_equal(rec_send_text(r, id, "hello"), 0);
        uint64_t asked_ns = script_now(r->script);
        ior_stop(r->cx, 10 * SEC);
        if (later)
            rec_settle(r);
        ior_stop(r->cx, 20 * SEC);
        ior_stop(r->cx, 5 * SEC);
        ior_stop(r->cx, 7 * SEC);
        assert_int_equal(script_run(r->script, r->rt), 0);
        assert_int_equal(script_now(r->script) - asked_ns, 5 * SEC);
        assert_int_equal(r->stops, 1);
        rec_free(r);
    }
}

static void farewell(struct recorder *r)
{
    assert_int_equal(rec_send_text(r, rec_id(r, 1), "good-bye"), 0);
    rec_unregister(r, rec_id(r, 2));
}

static void stop_may_still_send_and_unregister(void **state)
{
    ior_id id;
    int fd, other;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    rec_stream(r, NULL, &other);
    rec_settle(r);
    rec_forget(r);
    r->on_stop = farewell;
    ior_stop(r->cx, 10 * SEC);
    assert_int_equal(script_run(r->script, r->rt), 0);
    script_hear_text(r->script, fd, "good-bye");
    assert_int_equal(rec_of(r, rec_id(r, 2))->why, IOR_ASKED);
    assert_int_equal(rec_of(r, id)->why, IOR_SHUTDOWN);
    rec_free(r);
}

/* ---- what is refused ---- */

static void refusals(struct recorder *r)
{
    struct ior_addr addr;
    struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_context *cx;
    ior_id id = 4711;
    int fd = script_stream(r->script);
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.1:80"), 0);
    unsigned open = script_open_fds(r->script);
    assert_int_equal(ior_listen(r->cx, &addr, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_connect(r->cx, &addr, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_adopt(r->cx, fd, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_watch(r->cx, fd, IOR_READ, NULL, &id), -ESHUTDOWN);
    assert_int_equal(ior_attach(r->cx, &handler, NULL, &cx), -ESHUTDOWN);
    assert_int_equal(id, 4711);
    assert_int_equal(script_open_fds(r->script), open);
    assert_true(script_is_open(r->script, fd)); /* it stays the caller's */
    script_close(r->script, fd);
}

static void inv09_new_resources_are_refused_from_the_line_on(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_stop = refusals;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    ior_stop(r->cx, 10 * SEC);
    refusals(r); /* at once */
    rec_settle(r);
    refusals(r); /* while it drains */
    assert_int_equal(script_run(r->script, r->rt), 0);
    refusals(r); /* when it is over */
    ior_timer_id timer = 4711;
    assert_int_equal(ior_timer_set(r->cx, 0, NULL, &timer), -ESHUTDOWN);
    assert_int_equal(timer, 4711);
    rec_free(r);
}

static void try_again(struct recorder *r, struct ior_resource *res)
{
    ior_id id = 4711;
    assert_int_equal(ior_register(r->cx, res, &id), -ESHUTDOWN);
    ior_resource_free(res);
}

static void what_is_handed_over_cannot_come_back(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_handover = try_again;
    ior_stop(r->cx, 0);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_false(script_is_open(r->script, fd));
    rec_free(r);
}

/* ---- commands ---- */

static void inv09_commands_before_the_line_are_served(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    struct ior_command commands[3] = {{.kind = 1}, {.kind = 2}, {.kind = 3}};
    (void)state;
    struct ior_controller *ctl = ior_controller_of(r->cx);
    assert_int_equal(ior_controller_send(ctl, &commands[0]), 0);
    assert_int_equal(ior_controller_send(ctl, &commands[1]), 0);
    ior_stop(r->cx, 0);
    assert_int_equal(ior_controller_send(ctl, &commands[2]), -EPIPE);
    assert_int_equal(script_run(r->script, r->rt), 0);
    rec_expect(r, "stop\ncommand 1\ncommand 2\nend 1 shutdown 0 0 0\nhandover 1\n");
    assert_int_equal(ior_controller_send(ctl, &commands[2]), -EPIPE);
    rec_close_runtime(r);
    assert_int_equal(ior_controller_send(ctl, &commands[2]), -EPIPE);
    assert_int_equal(ior_controller_shutdown(ctl, 0), 0);
    ior_controller_unref(ctl);
    rec_free(r);
}

static void commands_may_still_send(struct recorder *r, struct ior_command *command)
{
    (void)command;
    assert_true(rec_send_text(r, rec_id(r, 1), "served") >= 0);
}

static void inv09_a_command_served_late_reaches_the_peer(void **state)
{
    struct ior_config config = {.commands = 1};
    struct recorder *r = rec_new_with(&config);
    struct ior_command commands[5] = {{.kind = 1}, {.kind = 2}, {.kind = 3}, {.kind = 4}, {.kind = 5}};
    int fd;
    (void)state;
    rec_stream(r, NULL, &fd);
    rec_settle(r);
    r->on_command = commands_may_still_send;
    struct ior_controller *ctl = ior_controller_of(r->cx);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ior_controller_send(ctl, &commands[i]), 0);
    assert_int_equal(ior_controller_shutdown(ctl, 10 * SEC), 0);
    assert_int_equal(script_run(r->script, r->rt), 0);
    script_hear_text(r->script, fd, "servedservedservedservedserved");
    ior_controller_unref(ctl);
    rec_free(r);
}

static void a_controller_can_ask_too(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    struct ior_command early = {.kind = 1}, late = {.kind = 2};
    (void)state;
    struct ior_controller *ctl = ior_controller_of(r->cx);
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    uint64_t asked_ns = script_now(r->script);
    assert_int_equal(ior_controller_send(ctl, &early), 0);
    assert_int_equal(ior_controller_shutdown(ctl, 10 * SEC), 0);
    assert_int_equal(ior_controller_send(ctl, &late), -EPIPE); /* this call is the line */
    assert_int_equal(ior_controller_shutdown(ctl, 20 * SEC), 0);
    rec_settle(r);
    assert_int_equal(ior_controller_shutdown(ctl, 5 * SEC), 0); /* asked again: shorter */
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_int_equal(script_now(r->script) - asked_ns, 5 * SEC);
    rec_expect(r, "stop\ncommand 1\nend 1 shutdown 0 1 0\nhandover 1\n");
    ior_controller_unref(ctl);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_runtime_stops),
        cmocka_unit_test(output_is_flushed_and_fins_exchanged),
        cmocka_unit_test(the_wait_for_the_peers_fin_is_short),
        cmocka_unit_test(inv09_the_deadline_ends_it),
        cmocka_unit_test(no_time_means_no_waiting),
        cmocka_unit_test(asked_again_it_can_only_get_shorter),
        cmocka_unit_test(stop_may_still_send_and_unregister),
        cmocka_unit_test(inv09_new_resources_are_refused_from_the_line_on),
        cmocka_unit_test(what_is_handed_over_cannot_come_back),
        cmocka_unit_test(inv09_commands_before_the_line_are_served),
        cmocka_unit_test(inv09_a_command_served_late_reaches_the_peer),
        cmocka_unit_test(a_controller_can_ask_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
