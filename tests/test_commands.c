/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands, as far as one thread can see them: order, refusal, replies, drop, wakes, budgets, and controllers that
 * outlive their runtime. What needs threads is tested with threads.
 */
#include <errno.h>
#include <stdio.h>

#include "support/check.h"
#include "support/recorder.h"

struct item {
    struct ior_command command; /* first: drop casts back */
    struct script *script;
    unsigned drops;
};

static void drop(struct ior_command *command)
{
    struct item *item = (struct item *)command;
    item->drops++;
    if (!script_in_loop(item->script))
        fail_msg("drop was called outside the loop");
}

static struct item item_of(struct recorder *r, int kind)
{
    return (struct item){.command = {.kind = kind, .drop = drop}, .script = r->script};
}

static void inv07_first_in_first_out(void **state)
{
    enum { MANY = 1000 };
    struct recorder *r = rec_new();
    static struct ior_command commands[MANY];
    struct ior_controller *ctl = ior_controller_of(r->cx);
    char line[32];
    (void)state;
    for (int i = 0; i < MANY; i++) {
        commands[i] = (struct ior_command){.kind = i};
        assert_int_equal(ior_controller_send(ctl, &commands[i]), 0);
    }
    rec_expect(r, "");
    rec_settle(r);
    const char *at = rec_lines(r);
    for (int i = 0; i < MANY; i++) {
        int n = snprintf(line, sizeof(line), "command %d\n", i);
        assert_memory_equal(at, line, (size_t)n);
        at += n;
    }
    assert_int_equal(*at, 0);
    assert_int_equal(rec_stats(r).commands, MANY);
    ior_controller_unref(ctl);
    rec_free(r);
}

static void inv08_never_more_wakes_than_commands(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command commands[10] = {{.kind = 0}};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(ior_controller_send(ctl, &commands[i]), 0);
    assert_int_equal(script_count(r->script, SCRIPT_WAKE), 1); /* one for the batch */
    assert_int_equal(rec_stats(r).wakes, 1);
    assert_true(rec_idle(r));
    assert_int_equal(r->commands, 10);
    assert_int_equal(ior_controller_send(ctl, &commands[0]), 0);
    assert_int_equal(script_count(r->script, SCRIPT_WAKE), 2);
    rec_settle(r);
    assert_int_equal(r->commands, 11);
    ior_controller_unref(ctl);
    rec_free(r);
}

/* R50: what is sent while the loop takes commands finds an empty queue and wakes. */
static void send_another(struct recorder *r, struct ior_command *command)
{
    static struct ior_command another;
    if (command->kind != 1)
        return;
    struct ior_controller *ctl = ior_controller_of(r->cx);
    another = (struct ior_command){.kind = 2};
    assert_int_equal(ior_controller_send(ctl, &another), 0);
    ior_controller_unref(ctl);
}

static void sent_from_a_command(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command command = {.kind = 1};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    r->on_command = send_another;
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    assert_true(rec_idle(r));
    rec_expect(r, "command 1\ncommand 2\n");
    ior_controller_unref(ctl);
    rec_free(r);
}

/* A turn takes the queue once: a sender that keeps up with the loop would pay a wake for each handful. */
static void what_comes_while_a_batch_is_served_is_the_next_turns(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command commands[2] = {{.kind = 1}, {.kind = 3}};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    r->on_command = send_another;
    assert_int_equal(ior_controller_send(ctl, &commands[0]), 0);
    assert_int_equal(ior_controller_send(ctl, &commands[1]), 0);
    rec_turn(r);
    rec_expect(r, "command 1\ncommand 3\n");
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_turn(r);
    rec_expect(r, "command 2\n");
    assert_int_equal(rec_stats(r).wakes, 2);
    ior_controller_unref(ctl);
    rec_free(r);
}

/* R54: the wake fails, the command is queued all the same: success, and it comes with the next turn. */
static void r54_a_failing_wake_is_no_failure(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command command = {.kind = 1};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    script_fail_next(r->script, SCRIPT_WAKE, EAGAIN);
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    rec_turn(r);
    rec_expect(r, "command 1\n");
    ior_controller_unref(ctl);
    rec_free(r);
}

/* The budget runs out with the last command taken, while another came: nobody will wake for it again. */
static void inv08_no_wake_is_lost_at_the_end_of_a_budget(void **state)
{
    struct ior_config config = {.commands = 1};
    struct recorder *r = rec_new_with(&config);
    struct ior_command commands[3] = {{.kind = 1}, {.kind = 2}, {.kind = 3}};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    assert_int_equal(ior_controller_send(ctl, &commands[0]), 0);
    assert_int_equal(ior_controller_send(ctl, &commands[1]), 0);
    rec_turn(r);
    assert_int_equal(ior_controller_send(ctl, &commands[2]), 0);
    rec_turn(r);
    rec_expect(r, "command 1\ncommand 2\n");
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_turn(r);
    rec_expect(r, "command 3\n");
    assert_true(ior_runtime_deadline(r->rt) == IOR_NEVER);
    ior_controller_unref(ctl);
    rec_free(r);
}

static void inv11_a_turn_serves_its_budget_only(void **state)
{
    struct ior_config config = {.commands = 3};
    struct recorder *r = rec_new_with(&config);
    struct ior_command commands[8] = {{.kind = 0}};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(ior_controller_send(ctl, &commands[i]), 0);
    rec_turn(r);
    assert_int_equal(r->commands, 3);
    assert_int_equal(ior_runtime_deadline(r->rt), 0); /* the rest without a wait */
    rec_turn(r);
    assert_int_equal(r->commands, 6);
    rec_turn(r);
    assert_int_equal(r->commands, 8);
    assert_true(rec_idle(r));
    ior_controller_unref(ctl);
    rec_free(r);
}

/* R11: a service that sends itself commands for ever does not hold the turn. */
static void send_again(struct recorder *r, struct ior_command *command)
{
    struct ior_controller *ctl = ior_controller_of(r->cx);
    if (r->commands < 5000)
        assert_int_equal(ior_controller_send(ctl, command), 0);
    ior_controller_unref(ctl);
}

static void r11_feeding_its_own_queue(void **state)
{
    struct ior_config config = {.commands = 16};
    struct recorder *r = rec_new_with(&config);
    struct ior_command command = {.kind = 1};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    r->quiet = true;
    r->on_command = send_again;
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    for (unsigned i = 1; i < 20; i++) {
        rec_turn(r);
        assert_true(r->commands <= 16 * i);
    }
    rec_settle(r);
    assert_int_equal(r->commands, 5000);
    ior_controller_unref(ctl);
    rec_free(r);
}

/* ---- replies ---- */

static void reply_to_it(struct recorder *r, struct ior_command *command)
{
    if (!command->is_reply)
        ior_reply(r->cx, command, command->kind * 10);
}

static void replies_go_back(void **state)
{
    struct recorder *a = rec_new(), *b = rec_attach(a);
    struct ior_controller *ctl_a = ior_controller_of(a->cx), *ctl_b = ior_controller_of(b->cx);
    struct ior_command command = {.kind = 3, .reply_to = ctl_a};
    (void)state;
    rec_settle(a);
    rec_forget(b);
    b->on_command = reply_to_it;
    assert_int_equal(ior_controller_send(ctl_b, &command), 0);
    rec_settle(a);
    rec_expect(b, "command 3\n");
    rec_expect(a, "reply 3 30\n");
    assert_true(command.is_reply);
    assert_int_equal(command.status, 30);
    /* Used again for another question. */
    assert_int_equal(ior_controller_send(ctl_b, &command), 0);
    rec_settle(a);
    rec_expect(b, "command 3\n");
    rec_expect(a, "reply 3 30\n");
    ior_controller_unref(ctl_a);
    ior_controller_unref(ctl_b);
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

static void a_reply_nobody_waits_for_is_dropped(void **state)
{
    struct recorder *r = rec_new();
    struct item item = item_of(r, 1);
    struct ior_command no_drop = {.kind = 2};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    r->on_command = reply_to_it;
    assert_int_equal(ior_controller_send(ctl, &item.command), 0);
    assert_int_equal(ior_controller_send(ctl, &no_drop), 0);
    rec_settle(r);
    rec_expect(r, "command 1\ncommand 2\n");
    assert_int_equal(item.drops, 1);
    ior_controller_unref(ctl);
    rec_free(r);
}

static void a_reply_to_a_service_that_is_gone_is_dropped(void **state)
{
    struct recorder *a = rec_new(), *b = rec_attach(a);
    struct ior_controller *ctl_a = ior_controller_of(a->cx), *ctl_b = ior_controller_of(b->cx);
    struct item item = item_of(a, 1);
    (void)state;
    rec_settle(a);
    assert_int_equal(ior_detach(b->cx, 0), 0);
    rec_settle(a);
    a->on_command = reply_to_it;
    item.command.reply_to = ctl_b;
    assert_int_equal(ior_controller_send(ctl_a, &item.command), 0);
    rec_settle(a);
    assert_int_equal(item.drops, 1);
    ior_controller_unref(ctl_a);
    ior_controller_unref(ctl_b);
    rec_free_attached(b);
    rec_free(a);
}

/* What a service that is gone has cost still counts. */
static void wakes_of_the_gone_are_counted(void **state)
{
    struct recorder *a = rec_new(), *b = rec_attach(a);
    struct ior_controller *ctl = ior_controller_of(b->cx);
    struct ior_command command = {.kind = 1};
    (void)state;
    rec_settle(a);
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    rec_settle(a);
    uint64_t wakes = rec_stats(a).wakes;
    assert_int_equal(wakes, 1);
    assert_int_equal(ior_detach(b->cx, 0), 0);
    rec_settle(a);
    assert_int_equal(rec_stats(a).wakes, wakes);
    assert_int_equal(rec_stats(a).commands, 1);
    ior_controller_unref(ctl);
    rec_free_attached(b);
    rec_free(a);
}

/* A reply outside a callback of `command`: from a timer, much later. */
static struct ior_command *held;

static void hold_it(struct recorder *r, struct ior_command *command)
{
    (void)r;
    held = command;
}

static void reply_now(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    (void)user;
    ior_reply(r->cx, held, -ENOENT);
}

static void a_reply_can_come_late(void **state)
{
    struct recorder *a = rec_new(), *b = rec_attach(a);
    struct ior_controller *ctl_a = ior_controller_of(a->cx), *ctl_b = ior_controller_of(b->cx);
    struct ior_command command = {.kind = 4, .reply_to = ctl_a};
    (void)state;
    rec_settle(a);
    b->on_command = hold_it;
    b->on_timer = reply_now;
    assert_int_equal(ior_controller_send(ctl_b, &command), 0);
    rec_timer(b, IOR_NS_PER_SEC, 1);
    rec_pass(a, IOR_NS_PER_SEC);
    rec_settle(a);
    char line[32];
    snprintf(line, sizeof(line), "reply 4 %d\n", -ENOENT);
    rec_expect(a, line);
    ior_controller_unref(ctl_a);
    ior_controller_unref(ctl_b);
    rec_close_runtime(a);
    rec_free_attached(b);
    rec_free(a);
}

/* ---- drop ---- */

static void a_service_without_command_drops(void **state)
{
    struct recorder *r = rec_bare(NULL);
    struct item item = item_of(r, 1);
    (void)state;
    r->handler.command = NULL;
    rec_open(r, NULL);
    rec_begin(r);
    struct ior_controller *ctl = ior_controller_of(r->cx);
    assert_int_equal(ior_controller_send(ctl, &item.command), 0);
    rec_settle(r);
    assert_int_equal(item.drops, 1);
    ior_controller_unref(ctl);
    rec_free(r);
}

static void inv07_undelivered_ones_come_back_through_drop(void **state)
{
    struct recorder *r = rec_new();
    struct item items[3] = {item_of(r, 1), item_of(r, 2), item_of(r, 3)};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ior_controller_send(ctl, &items[i].command), 0);
    rec_close_runtime(r);
    for (int i = 0; i < 3; i++)
        assert_int_equal(items[i].drops + (r->commands > (unsigned)i), 1); /* delivered or dropped: once */
    ior_controller_unref(ctl);
    rec_free(r);
}

static void inv07_refused_ones_are_never_delivered(void **state)
{
    struct recorder *r = rec_new();
    struct item item = item_of(r, 1);
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    ior_stop(r->cx, 0);
    assert_int_equal(ior_controller_send(ctl, &item.command), -EPIPE);
    assert_int_equal(script_run(r->script, r->rt), 0);
    assert_int_equal(ior_controller_send(ctl, &item.command), -EPIPE);
    rec_close_runtime(r);
    assert_int_equal(item.drops, 0);
    assert_int_equal(r->commands, 0);
    ior_controller_unref(ctl);
    rec_free(r);
}

/* ---- controllers ---- */

static void a_controller_outlives_its_runtime(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command command = {.kind = 1};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    assert_ptr_equal(ior_controller_ref(ctl), ctl);
    ior_controller_unref(ctl);
    rec_free(r);
    assert_int_equal(ior_controller_send(ctl, &command), -EPIPE);
    assert_int_equal(ior_controller_shutdown(ctl, 0), 0);
    assert_int_equal(ior_controller_call(ctl, &command, 0), -EPIPE);
    ior_controller_unref(ctl);
    ior_controller_unref(NULL);
}

static void call_here(struct recorder *r, struct ior_command *command)
{
    static struct ior_command inner;
    struct ior_controller *ctl = ior_controller_of(r->cx);
    if (command->kind == 1) {
        inner = (struct ior_command){.kind = 2};
        assert_int_equal(ior_controller_call(ctl, &inner, IOR_NEVER), -EDEADLK);
        assert_null(inner.reply_to);
    }
    ior_controller_unref(ctl);
}

static void a_call_on_its_own_loop_is_refused(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command command = {.kind = 1};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    r->on_command = call_here;
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    rec_settle(r);
    rec_expect(r, "command 1\n");
    assert_int_equal(ior_controller_call(ctl, &command, IOR_NEVER), -EDEADLK); /* outside a turn as well */
    ior_controller_unref(ctl);
    rec_free(r);
}

static void bad_arguments(void **state)
{
    struct recorder *r = rec_new();
    struct ior_command command = {.kind = 1};
    struct ior_controller *ctl = ior_controller_of(r->cx);
    (void)state;
    assert_int_equal(ior_controller_send(NULL, &command), -EINVAL);
    assert_int_equal(ior_controller_send(ctl, NULL), -EINVAL);
    assert_int_equal(ior_controller_call(NULL, &command, 0), -EINVAL);
    assert_int_equal(ior_controller_call(ctl, NULL, 0), -EINVAL);
    assert_int_equal(ior_controller_shutdown(NULL, 0), -EINVAL);
    assert_null(ior_controller_of(NULL));
    ior_reply(r->cx, NULL, 0);
    ior_controller_unref(ctl);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv07_first_in_first_out),
        cmocka_unit_test(inv08_never_more_wakes_than_commands),
        cmocka_unit_test(sent_from_a_command),
        cmocka_unit_test(what_comes_while_a_batch_is_served_is_the_next_turns),
        cmocka_unit_test(r54_a_failing_wake_is_no_failure),
        cmocka_unit_test(inv08_no_wake_is_lost_at_the_end_of_a_budget),
        cmocka_unit_test(inv11_a_turn_serves_its_budget_only),
        cmocka_unit_test(r11_feeding_its_own_queue),
        cmocka_unit_test(replies_go_back),
        cmocka_unit_test(a_reply_nobody_waits_for_is_dropped),
        cmocka_unit_test(a_reply_to_a_service_that_is_gone_is_dropped),
        cmocka_unit_test(wakes_of_the_gone_are_counted),
        cmocka_unit_test(a_reply_can_come_late),
        cmocka_unit_test(a_service_without_command_drops),
        cmocka_unit_test(inv07_undelivered_ones_come_back_through_drop),
        cmocka_unit_test(inv07_refused_ones_are_never_delivered),
        cmocka_unit_test(a_controller_outlives_its_runtime),
        cmocka_unit_test(a_call_on_its_own_loop_is_refused),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
