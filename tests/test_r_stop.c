/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R59, R60, R63, R64: how loops end, or do not. Loops stopped from any state, forked children, an engine that cannot
 * wait any more, and the thread of a reactor that is freed while it runs.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define MS IOR_NS_PER_MS

static int fail_start(void *self, struct ior_context *cx)
{
    (void)self;
    (void)cx;
    return -ENOTRECOVERABLE;
}

static struct ior_reactor *own_reactor;
static atomic_int own_join;

static void free_own_reactor(void *self, struct ior_context *cx, struct ior_command *command)
{
    (void)self;
    (void)cx;
    (void)command;
    atomic_store(&own_join, ior_reactor_join(own_reactor));
    ior_reactor_free(own_reactor);
}

static void r59_stopping_works_from_any_state(void **state)
{
    const struct ior_handler plain = {.struct_size = sizeof(plain)};
    const struct ior_handler failing = {.struct_size = sizeof(failing), .start = fail_start};
    const struct ior_handler freeing = {.struct_size = sizeof(freeing), .command = free_own_reactor};
    struct ior_config config = probe_config();
    struct ior_reactor *reactor = NULL;
    struct ior_controller *ctl;
    struct ior_command command = {.kind = 1};
    struct ior_runtime *rt;
    size_t threads = net_threads_at_rest(), fds = net_fd_count();
    (void)state;
    assert_int_equal(ior_reactor_new(&config, &plain, NULL, &reactor), 0); /* just started */
    ior_reactor_free(reactor);
    reactor = NULL;
    assert_int_equal(ior_reactor_new(&config, &failing, NULL, &reactor), -ENOTRECOVERABLE); /* never began */
    assert_null(reactor);
    assert_int_equal(ior_runtime_new(&config, &plain, NULL, &rt), 0); /* never ran */
    ctl = ior_controller_of(ior_runtime_context(rt));
    ior_runtime_free(rt);
    assert_int_equal(ior_controller_shutdown(ctl, 0), 0); /* gone */
    ior_controller_unref(ctl);
    assert_int_equal(ior_runtime_new(&config, &plain, NULL, &rt), 0); /* stopped before it runs, and twice */
    ior_stop(ior_runtime_context(rt), 0);
    ior_stop(ior_runtime_context(rt), 0);
    assert_int_equal(ior_runtime_run(rt), 0);
    assert_int_equal(ior_runtime_run(rt), 0); /* ended already */
    assert_int_equal(ior_runtime_turn(rt, 0), 0);
    ior_runtime_free(rt);
    assert_int_equal(ior_reactor_new(&config, &plain, NULL, &reactor), 0); /* ended by itself, joined twice */
    ctl = ior_controller_ref(ior_reactor_controller(reactor));
    assert_int_equal(ior_controller_shutdown(ctl, 0), 0);
    assert_int_equal(ior_reactor_join(reactor), 0);
    assert_int_equal(ior_reactor_join(reactor), 0);
    assert_int_equal(ior_controller_shutdown(ctl, 0), 0);
    ior_reactor_free(reactor);
    ior_controller_unref(ctl);
    assert_int_equal(ior_reactor_new(&config, &freeing, NULL, &own_reactor), 0); /* from its own thread */
    ctl = ior_controller_ref(ior_reactor_controller(own_reactor));
    assert_int_equal(ior_controller_send(ctl, &command), 0);
    net_await_threads(threads);
    assert_int_equal(atomic_load(&own_join), -EDEADLK);
    ior_controller_unref(ctl);
    assert_int_equal(net_fd_count(), fds);
}

struct family {
    struct probe *p;
    struct ior_controller *ctl; /* a reference which the child leaves as it is */
    ior_id id;
    bool frees;
};

static int be_the_child(void *arg)
{
    struct family *f = arg;
    ior_id id = 0;
    if (ior_send(f->p->cx, f->id, "from the child", 14) != -EPERM)
        return 1;
    if (ior_unregister(f->p->cx, f->id) != -EPERM || ior_runtime_turn(f->p->rt, 0) != -EPERM)
        return 2;
    if (ior_timer_set(f->p->cx, 0, NULL, &id) != -EPERM)
        return 3;
    if (f->frees)
        ior_runtime_free(f->p->rt);
    return f->p->n == 1 && f->p->res[0].end == 0 && f->p->stops == 0 ? 0 : 4; /* no callback in the child */
}

static void r60_a_forked_child_may_only_free(void **state)
{
    (void)state;
    for (int frees = 0; frees < 2; frees++) {
        struct probe *p = probe_new(NULL);
        struct ior_controller *ctl = ior_controller_of(p->cx);
        struct ior_command command = {.kind = 1};
        struct family family = {.p = p, .ctl = ctl, .frees = frees != 0};
        int peer;
        family.id = probe_unix(p, NULL, &peer);
        probe_until(p, probe_of(p, family.id)->open == 1);
        assert_int_equal(net_in_child(be_the_child, &family), 0);
        assert_true(probe_quiet(p, 20) <= 3); /* neither woken nor ended */
        net_write(peer, "still here", 10);
        probe_until(p, probe_of(p, family.id)->bytes == 10); /* still in the engine's set */
        assert_int_equal(ior_controller_send(ctl, &command), 0);
        probe_until(p, p->commands == 1);
        assert_true(probe_quiet(p, 20) <= 3);
        assert_int_equal(probe_of(p, family.id)->end, 0);
        close(peer);
        ior_controller_unref(ctl);
        probe_free(p);
    }
}

static int free_the_reactor(void *arg)
{
    ior_reactor_free(arg);
    return 0;
}

static void answer(void *self, struct ior_context *cx, struct ior_command *command)
{
    (void)self;
    ior_reply(cx, command, 42);
}

static int free_the_runtime(void *arg)
{
    ior_runtime_free(((struct probe *)arg)->rt);
    return 0;
}

/* What has an effect beyond memory and fds: a path is removed, a process is killed, when its resource is destroyed. */
static void r60_a_forked_child_leaves_alone_what_is_the_parents(void **state)
{
    static char name[] = "/bin/cat";
    static char *argv[] = {name, NULL};
    const struct ior_spawn_options cat = {.struct_size = sizeof(cat), .argv = argv};
    struct probe *p = probe_new(NULL);
    char *dir = net_temp_dir();
    char paths[2][256], text[sizeof(paths) + 8]; /* gcc takes a path for as long as both */
    struct ior_addr addr;
    ior_id id, process;
    (void)state;
    for (int i = 0; i < 2; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%d", dir, i);
        (void)snprintf(text, sizeof(text), "unix:%s", paths[i]);
        assert_int_equal(ior_addr_parse(&addr, text), 0);
        assert_int_equal(i == 0 ? ior_listen(p->cx, &addr, NULL, &id) : ior_datagram_open(p->cx, &addr, NULL, &id), 0);
    }
    struct ior_child_fd in = {.number = 0, .kind = IOR_CHILD_READS};
    struct ior_spawn_options opts = cat;
    opts.fds = &in;
    opts.fd_count = 1;
    int r = ior_spawn(p->cx, &opts, &process);
    assert_true(r == 0 || r == -ENOSYS);
    assert_int_equal(net_in_child(free_the_runtime, p), 0);
    assert_int_equal(access(paths[0], F_OK), 0);
    assert_int_equal(access(paths[1], F_OK), 0);
    probe_turns(p, 3);
    if (r == 0) {
        assert_int_equal(probe_of(p, process)->end, 0);
        assert_int_equal(ior_kill(p->cx, process, 0), 0); /* it lives */
    }
    probe_free(p);
    assert_int_not_equal(access(paths[0], F_OK), 0);
    assert_int_not_equal(access(paths[1], F_OK), 0);
    net_temp_dir_remove(dir);
}

static void r60_a_forked_child_may_free_a_reactor(void **state)
{
    const struct ior_handler answering = {.struct_size = sizeof(answering), .command = answer};
    struct ior_config config = probe_config();
    struct ior_reactor *reactor;
    struct ior_command command = {.kind = 1};
    (void)state;
    assert_int_equal(ior_reactor_new(&config, &answering, NULL, &reactor), 0);
    assert_int_equal(net_in_child(free_the_reactor, reactor), 0);
    assert_int_equal(ior_controller_call(ior_reactor_controller(reactor), &command, PROBE_LIMIT_NS), 0);
    assert_int_equal(command.status, 42);
    ior_reactor_free(reactor);
}

/* The engine under test, with a wait that fails as long as it is told to. */
static const struct ior_engine_ops *sound;
static int wait_error;
static uint64_t failed_waits;

static int failing_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    if (wait_error == 0)
        return sound->wait(engine, records, max, deadline_ns);
    failed_waits++;
    return -wait_error;
}

static void r63_failing_wait_is_told_once_for_each_cause_and_backs_off(void **state)
{
    struct ior_config config = {.struct_size = sizeof(config)};
    struct ior_engine_ops ops;
    const char *name = ior_engine_from_env();
    struct probe *p;
    int peer;
    ior_id id;
    ior_timer_id timer;
    (void)state;
    sound = name != NULL ? ior_engine_named(name) : ior_engine_at(0);
    ops = *sound;
    ops.wait = failing_wait;
    config.engine_ops = &ops;
    wait_error = 0;
    failed_waits = 0;
    p = probe_new(&config);
    id = probe_unix(p, NULL, &peer);
    probe_until(p, probe_of(p, id)->open == 1);
    wait_error = EIO;
    assert_int_equal(ior_timer_set(p->cx, 20 * MS, NULL, &timer), 0);
    assert_in_range(probe_quiet(p, 300), 1, 100); /* a tight loop makes tens of thousands of turns */
    assert_in_range(failed_waits, 1, 100);
    probe_until(p, p->timers == 1); /* the rest of the loop goes on */
    assert_int_equal(p->errors, 1);
    assert_int_equal(p->last_error, EIO);
    wait_error = ENOMEM;
    assert_in_range(probe_quiet(p, 100), 1, 100);
    assert_int_equal(p->errors, 2);
    assert_int_equal(p->last_error, ENOMEM);
    wait_error = 0;
    net_write(peer, "x", 1);
    probe_until(p, probe_of(p, id)->bytes == 1);
    assert_true(probe_quiet(p, 30) <= 3);
    assert_int_equal(p->errors, 2);
    wait_error = EIO; /* a new spell is told again */
    probe_until(p, p->errors == 3);
    wait_error = 0;
    close(peer);
    probe_free(p);
}

static void r64_freeing_a_running_reactor_ends_its_thread(void **state)
{
    const struct ior_handler answering = {.struct_size = sizeof(answering), .command = answer};
    struct ior_config config = probe_config();
    size_t threads = net_threads_at_rest(), fds = net_fd_count();
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct ior_reactor *reactor = NULL;
        assert_int_equal(ior_reactor_new(&config, &answering, NULL, &reactor), 0);
        assert_int_equal(net_thread_count(), threads + 1);
        ior_reactor_free(reactor);
        net_await_threads(threads);
    }
    assert_int_equal(net_fd_count(), fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r59_stopping_works_from_any_state),
        cmocka_unit_test(r60_a_forked_child_may_only_free),
        cmocka_unit_test(r60_a_forked_child_leaves_alone_what_is_the_parents),
        cmocka_unit_test(r60_a_forked_child_may_free_a_reactor),
        cmocka_unit_test(r63_failing_wait_is_told_once_for_each_cause_and_backs_off),
        cmocka_unit_test(r64_freeing_a_running_reactor_ends_its_thread),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
