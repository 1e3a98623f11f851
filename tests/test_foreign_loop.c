/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A runtime hosted by a foreign loop: an outer poll(2) on ior_runtime_fd, with ior_runtime_deadline as its time limit,
 * must serve I/O, timers, commands, work left over and the shutdown as ior_runtime_run does. And the choice of engines.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define MS IOR_NS_PER_MS

/*
 * The foreign loop: one round of poll(2) over the runtime and an fd of its own. Answers how long it may wait at most.
 */
struct outer {
    struct probe *p;
    int own_fd;
    unsigned rounds, own_events;
};

static int outer_wait_ms(struct outer *o)
{
    uint64_t deadline = ior_runtime_deadline(o->p->rt), now = net_now();
    if (deadline == IOR_NEVER)
        return 5000;
    if (deadline <= now)
        return 0;
    return (int)((deadline - now) / MS) + 1;
}

static int outer_round(struct outer *o)
{
    struct pollfd fds[2] = {{.fd = ior_runtime_fd(o->p->rt), .events = POLLIN}, {.fd = o->own_fd, .events = POLLIN}};
    int wait_ms = outer_wait_ms(o);
    int n = poll(fds, 2, wait_ms);
    uint64_t count;
    assert_true(n >= 0 || errno == EINTR);
    o->rounds++;
    if (fds[1].revents != 0 && read(o->own_fd, &count, sizeof(count)) == sizeof(count))
        o->own_events++;
    return ior_runtime_turn(o->p->rt, 0);
}

#define outer_until(o, condition)                                                             \
    do {                                                                                      \
        uint64_t outer_end = net_now() + PROBE_LIMIT_NS;                                      \
        while (!(condition) && net_now() < outer_end)                                         \
            assert_true(outer_round(o) >= 0);                                                 \
        if (!(condition))                                                                     \
            fail_msg("%s:%d: not within the time limit: %s", __FILE__, __LINE__, #condition); \
    } while (0)

/* A probe in an outer loop; skips the test where the engine has no fd. */
static struct outer outer_new(const struct ior_config *config)
{
    struct outer o = {.p = probe_new(config), .own_fd = -1};
    if (ior_runtime_fd(o.p->rt) == -ENOTSUP) {
        assert_string_equal(ior_runtime_engine(o.p->rt), "poll");
        probe_free(o.p);
        print_message("the poll engine has no fd for a foreign loop: -ENOTSUP, as documented\n");
        skip();
    }
    o.own_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(o.own_fd >= 0);
    return o;
}

static void outer_free(struct outer *o)
{
    close(o->own_fd);
    probe_free(o->p);
}

static void fd_is_told_only_where_there_is_one(void **state)
{
    struct probe *p = probe_new(NULL);
    int fd = ior_runtime_fd(p->rt);
    (void)state;
    if (strcmp(ior_runtime_engine(p->rt), "poll") == 0)
        assert_int_equal(fd, -ENOTSUP);
    else
        assert_true(fd > 2);
    assert_true(ior_runtime_deadline(p->rt) == 0 || ior_runtime_deadline(p->rt) == IOR_NEVER);
    probe_turns(p, 2);
    assert_true(ior_runtime_deadline(p->rt) == IOR_NEVER); /* nothing armed, nothing left over */
    probe_free(p);
}

static void echo(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_in_range(ior_send(p->cx, r->id, ev->data.bytes, ev->data.len), 0, 1);
}

static void serves_io_and_leaves_the_host_its_own(void **state)
{
    struct outer o = outer_new(NULL);
    struct ior_addr addr;
    ior_id listener = probe_listen(o.p, NULL, &addr);
    unsigned char bytes[1000];
    uint64_t one = 1;
    unsigned rounds;
    int fd;
    (void)state;
    o.p->on_event = echo;
    fd = net_connect(&addr);
    outer_until(&o, probe_of(o.p, listener)->accepted == 1);
    net_write_pattern(fd, 0, sizeof(bytes));
    outer_until(&o, probe_of(o.p, o.p->accepted)->bytes == sizeof(bytes));
    net_read(fd, bytes, sizeof(bytes)); /* the answer left before the turn returned */
    assert_true(net_is_pattern(bytes, 0, sizeof(bytes)));
    rounds = o.rounds;
    net_write(o.own_fd, &one, sizeof(one));
    outer_until(&o, o.own_events == 1);
    assert_in_range(o.rounds - rounds, 1, 4); /* no spinning beside the host's own events */
    close(fd);
    outer_until(&o, probe_of(o.p, o.p->accepted)->end == 1);
    outer_free(&o);
}

static void timers_fire_in_time_and_requests_move_the_deadline(void **state)
{
    struct outer o = outer_new(NULL);
    ior_timer_id far_off, near;
    uint64_t began;
    (void)state;
    outer_round(&o);
    began = net_now();
    assert_int_equal(ior_timer_set(o.p->cx, 3600 * IOR_NS_PER_SEC, NULL, &far_off), 0);
    assert_int_equal(ior_timer_set(o.p->cx, 20 * MS, NULL, &near), 0);
    assert_in_range(ior_runtime_deadline(o.p->rt), began + 20 * MS, net_now() + 20 * MS);
    outer_until(&o, o.p->timers == 1);
    assert_true(net_now() - began >= 20 * MS);
    assert_in_range(o.rounds, 1, 8);
    assert_true(ior_runtime_deadline(o.p->rt) >= began + 3600 * IOR_NS_PER_SEC);
    assert_int_equal(ior_timer_set(o.p->cx, 0, NULL, &near), 0);
    assert_true(ior_runtime_deadline(o.p->rt) <= net_now());
    outer_until(&o, o.p->timers == 2);
    assert_int_equal(ior_timer_cancel(o.p->cx, far_off), 0);
    assert_true(ior_runtime_deadline(o.p->rt) == IOR_NEVER);
    outer_free(&o);
}

struct caller {
    struct ior_controller *ctl;
    unsigned failed;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    for (int i = 0; i < 200; i++) {
        struct ior_command command = {.kind = i};
        if (ior_controller_call(c->ctl, &command, PROBE_LIMIT_NS) != 0 || command.status != i)
            c->failed++;
    }
    ior_controller_shutdown(c->ctl, IOR_NS_PER_SEC);
    return NULL;
}

static void answer(struct probe *p, struct ior_command *command)
{
    ior_reply(p->cx, command, command->kind);
}

static void commands_wake_the_host_and_shutdown_ends_the_turns(void **state)
{
    struct outer o = outer_new(NULL);
    struct caller caller = {.ctl = ior_controller_of(o.p->cx)};
    pthread_t thread;
    uint64_t end = net_now() + 3 * PROBE_LIMIT_NS;
    int rc = 1;
    (void)state;
    o.p->on_command = answer;
    assert_int_equal(pthread_create(&thread, NULL, call_often, &caller), 0);
    while (rc == 1 && net_now() < end)
        rc = outer_round(&o);
    pthread_join(thread, NULL);
    assert_int_equal(rc, 0);
    assert_int_equal(caller.failed, 0);
    assert_int_equal(o.p->commands, 200);
    assert_int_equal(o.p->stops, 1);
    ior_controller_unref(caller.ctl);
    outer_free(&o);
}

/* What a turn's budgets leave over is said by a deadline of 0 (or by the fd), so that the host comes back at once. */
static void work_left_over_is_told_at_once(void **state)
{
    struct ior_config config = probe_config();
    struct outer o;
    int peer;
    ior_id id;
    (void)state;
    config.read_bytes = 512;
    config.reads = 1;
    o = outer_new(&config);
    id = probe_unix(o.p, NULL, &peer);
    o.p->pattern = true;
    net_write_pattern(peer, 0, 100000);
    outer_until(&o, probe_of(o.p, id)->bytes == 100000);
    close(peer);
    outer_until(&o, probe_of(o.p, id)->end == 1);
    outer_free(&o);
}

/* Requests made outside of any turn are served though nothing happens on the fd. */
static void requests_between_turns_are_told_by_the_deadline(void **state)
{
    struct outer o = outer_new(NULL);
    char byte;
    int peer;
    ior_id id;
    (void)state;
    outer_round(&o);
    id = probe_unix(o.p, NULL, &peer);
    assert_int_equal(ior_send(o.p->cx, id, "x", 1), 0);
    assert_true(ior_runtime_deadline(o.p->rt) <= net_now());
    outer_round(&o);
    if (ior_runtime_deadline(o.p->rt) <= net_now()) /* else a round would wait in vain */
        outer_round(&o);
    net_read(peer, &byte, 1);
    assert_int_equal(ior_unregister(o.p->cx, id), 0);
    assert_true(ior_runtime_deadline(o.p->rt) <= net_now());
    outer_until(&o, probe_of(o.p, id)->handover == 1);
    close(peer);
    outer_free(&o);
}

static void unknown_engines_are_refused(void **state)
{
    struct ior_config config = {.struct_size = sizeof(config), .engine = "no-such-engine"};
    struct ior_runtime *rt = NULL;
    (void)state;
    assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), -ENOSYS);
    config.engine = "";
    assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), -ENOSYS);
    config.engine = "epol";
    assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), -ENOSYS);
    config.engine = "poll";
    config.engine_ops = ior_engine_named("poll");
    assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), -EINVAL); /* one or the other */
    assert_null(rt);
    assert_null(ior_engine_named("no-such-engine"));
}

static void engines_are_found_by_name_and_by_preference(void **state)
{
    unsigned n = 0;
    (void)state;
    for (const struct ior_engine_ops *ops; (ops = ior_engine_at(n)) != NULL; n++) {
        struct ior_config config = {.struct_size = sizeof(config), .engine = ops->name};
        struct probe *p;
        assert_ptr_equal(ior_engine_named(ops->name), ops);
        p = probe_new(&config);
        assert_string_equal(ior_runtime_engine(p->rt), ops->name);
        probe_free(p);
    }
    assert_true(n >= 2);
    {
        struct ior_config config = {.struct_size = sizeof(config)};
        struct probe *p = probe_new(&config);
        assert_string_equal(ior_runtime_engine(p->rt), ior_engine_at(0)->name);
        probe_free(p);
    }
}

static int refuse_open(const struct ior_engine_config *config, void **ret_engine)
{
    (void)config;
    (void)ret_engine;
    return -EPROTONOSUPPORT;
}

static void an_engine_that_does_not_open_says_why(void **state)
{
    struct ior_engine_ops ops = *ior_engine_at(0);
    struct ior_config config = {.struct_size = sizeof(config), .engine_ops = &ops};
    struct ior_runtime *rt = NULL;
    size_t fds = net_fd_count();
    (void)state;
    ops.open = refuse_open;
    assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), -EPROTONOSUPPORT);
    assert_null(rt);
    ops.struct_size = 8;
    assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), -EINVAL);
    assert_int_equal(net_fd_count(), fds);
}

static void the_environment_is_read_by_the_helper_alone(void **state)
{
    const char *name = getenv("IOR_ENGINE");
    char *keep = name != NULL ? strdup(name) : NULL;
    struct ior_config config = {.struct_size = sizeof(config)};
    struct probe *p;
    (void)state;
    setenv("IOR_ENGINE", "nonsense", 1);
    assert_string_equal(ior_engine_from_env(), "nonsense");
    p = probe_new(&config); /* the library itself does not look */
    probe_free(p);
    setenv("IOR_ENGINE", "", 1);
    assert_null(ior_engine_from_env());
    unsetenv("IOR_ENGINE");
    assert_null(ior_engine_from_env());
    if (keep != NULL)
        setenv("IOR_ENGINE", keep, 1);
    free(keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fd_is_told_only_where_there_is_one),
        cmocka_unit_test(serves_io_and_leaves_the_host_its_own),
        cmocka_unit_test(timers_fire_in_time_and_requests_move_the_deadline),
        cmocka_unit_test(commands_wake_the_host_and_shutdown_ends_the_turns),
        cmocka_unit_test(work_left_over_is_told_at_once),
        cmocka_unit_test(requests_between_turns_are_told_by_the_deadline),
        cmocka_unit_test(unknown_engines_are_refused),
        cmocka_unit_test(engines_are_found_by_name_and_by_preference),
        cmocka_unit_test(an_engine_that_does_not_open_says_why),
        cmocka_unit_test(the_environment_is_read_by_the_helper_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
