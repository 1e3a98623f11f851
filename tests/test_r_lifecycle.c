/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R55, R56, R59, R60, R63, R64: how things end. Output and resources at shutdown, each way a resource can end, loops
 * stopped from any state, forked children, and an engine that cannot wait any more.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define MS IOR_NS_PER_MS

/* Peers that read slowly and check what they read, in a thread of their own. */
enum { READERS = 8, SHARE = 4325376 }; /* 8 times 4.1 MiB: 33 MiB */

struct readers {
    pthread_t thread;
    int fds[READERS];
    uint64_t got[READERS];
    bool wrong;
};

static void *read_slowly(void *arg)
{
    struct readers *r = arg;
    unsigned char bytes[5000];
    int left = READERS;
    while (left > 0) {
        for (int i = 0; i < READERS; i++) {
            ssize_t n = r->fds[i] < 0 ? -1 : recv(r->fds[i], bytes, sizeof(bytes), 0);
            if (r->fds[i] < 0)
                continue;
            if (n > 0 && net_is_pattern(bytes, r->got[i], (size_t)n)) {
                r->got[i] += (uint64_t)n;
                continue;
            }
            r->wrong = r->wrong || n != 0;
            net_close(&r->fds[i]);
            left--;
        }
    }
    return NULL;
}

static void r55_shutdown_delivers_all_output(void **state)
{
    struct probe *p = probe_new(NULL);
    struct readers readers = {.wrong = false};
    struct ior_controller *ctl = ior_controller_of(p->cx);
    struct ior_command commands[10] = {{.kind = 1}}, late = {.kind = 2};
    unsigned char *bytes = malloc(SHARE);
    ior_id ids[READERS];
    (void)state;
    assert_non_null(bytes);
    net_pattern(bytes, 0, SHARE);
    for (int i = 0; i < READERS; i++) {
        const struct ior_stream_options *opts = PROBE_STREAM(.cap_bytes = 2 * SHARE);
        ids[i] = i % 2 ? probe_tcp(p, opts, &readers.fds[i]) : probe_unix(p, opts, &readers.fds[i]);
        assert_int_equal(ior_send(p->cx, ids[i], bytes, SHARE), 1);
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(ior_controller_send(ctl, &commands[i]), 0);
    assert_int_equal(ior_controller_shutdown(ctl, 100 * IOR_NS_PER_SEC), 0);
    assert_int_equal(ior_controller_send(ctl, &late), -EPIPE);
    assert_int_equal(pthread_create(&readers.thread, NULL, read_slowly, &readers), 0);
    assert_int_equal(ior_runtime_run(p->rt), 0);
    assert_int_equal(p->commands, 10);
    assert_int_equal(p->stops, 1);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(probe_of(p, ids[i])->end, 1);
        assert_int_equal(probe_of(p, ids[i])->why, IOR_SHUTDOWN);
        assert_int_equal(probe_of(p, ids[i])->written, SHARE);
        assert_int_equal(probe_of(p, ids[i])->unsent, 0);
    }
    pthread_join(readers.thread, NULL);
    assert_false(readers.wrong);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(readers.got[i], SHARE);
    free(bytes);
    ior_controller_unref(ctl);
    probe_free(p);
}

static void r55_shutdown_hands_back_what_no_peer_took(void **state)
{
    enum { LEN = 1 << 20 };
    struct probe *p = probe_new(NULL);
    unsigned char *bytes = malloc(LEN);
    struct iovec iov[64];
    uint64_t began = net_now(), at;
    int peer, n = 0;
    ior_id id = probe_unix(p, PROBE_STREAM(.cap_bytes = 2 * LEN), &peer);
    (void)state;
    assert_non_null(bytes);
    net_pattern(bytes, 0, LEN);
    p->keep = true;
    assert_int_equal(ior_send(p->cx, id, bytes, LEN), 1);
    ior_stop(p->cx, 50 * MS);
    assert_int_equal(ior_runtime_run(p->rt), 0);
    assert_true(net_now() - began < 20 * IOR_NS_PER_SEC);
    assert_int_equal(probe_of(p, id)->why, IOR_SHUTDOWN);
    assert_in_range(probe_of(p, id)->written, 1, LEN - 1);
    assert_int_equal(probe_of(p, id)->written + probe_of(p, id)->unsent, LEN);
    assert_non_null(probe_of(p, id)->handed);
    assert_int_equal(ior_resource_unsent(probe_of(p, id)->handed, iov, 64, &n), probe_of(p, id)->unsent);
    assert_in_range(n, 1, 64);
    at = probe_of(p, id)->written; /* the unsent bytes are those that follow the written ones */
    for (int i = 0; i < n; at += iov[i++].iov_len)
        assert_true(net_is_pattern(iov[i].iov_base, at, iov[i].iov_len));
    assert_int_equal(at, LEN);
    free(bytes);
    close(peer);
    probe_free(p);
}

/* One way for a resource to end: brings it about, answers the id, and says what END must tell. */
struct way {
    const char *name;
    ior_id (*bring)(struct probe *p, int *peer);
    enum ior_why why;
    int error, which;
};

static ior_id open_stream(struct probe *p, int *peer)
{
    ior_id id = probe_tcp(p, NULL, peer);
    probe_until(p, probe_of(p, id)->open == 1);
    return id;
}

static ior_id by_eof(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    net_close(peer);
    return id;
}

static ior_id by_reset(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    net_reset(*peer);
    *peer = -1;
    return id;
}

static ior_id by_abort(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    assert_int_equal(ior_abort(p->cx, id), 0);
    return id;
}

static ior_id by_unregister(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    return id;
}

static ior_id by_unregister_before_registered(struct probe *p, int *peer)
{
    ior_id id = probe_tcp(p, NULL, peer);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    return id;
}

static ior_id by_close(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    assert_int_equal(ior_close(p->cx, id, 20 * IOR_NS_PER_SEC), 0);
    net_close(peer);
    return id;
}

static ior_id by_drain_deadline(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    assert_int_equal(ior_close(p->cx, id, 5 * MS), 0);
    return id;
}

static ior_id by_idle_deadline(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    assert_int_equal(ior_deadline(p->cx, id, IOR_DEADLINE_IDLE, 5 * MS), 0);
    return id;
}

static ior_id by_refusal(struct probe *p, int *peer)
{
    struct ior_addr addr;
    ior_id id = 0;
    *peer = -1;
    net_refused_addr(&addr);
    assert_int_equal(ior_connect(p->cx, &addr, NULL, &id), 0);
    return id;
}

/* A full backlog leaves a TCP connect unanswered. */
static ior_id by_connect_deadline(struct probe *p, int *peer)
{
    struct ior_addr addr;
    int fillers[8];
    ior_id id = 0;
    *peer = net_tcp_listener(&addr, 0);
    for (int i = 0; i < 8; i++)
        fillers[i] = net_connect_start(&addr);
    assert_int_equal(ior_connect(p->cx, &addr, PROBE_STREAM(.connect_ns = 20 * MS), &id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    for (int i = 0; i < 8; i++)
        close(fillers[i]);
    return id;
}

static ior_id by_stop(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    ior_stop(p->cx, 5 * MS);
    return id;
}

static ior_id by_listener_unregister(struct probe *p, int *peer)
{
    struct ior_addr addr;
    ior_id id = probe_listen(p, NULL, &addr);
    *peer = -1;
    probe_turns(p, 2);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    return id;
}

static ior_id by_listener_close(struct probe *p, int *peer)
{
    struct ior_addr addr;
    ior_id id = probe_listen(p, NULL, &addr);
    *peer = -1;
    assert_int_equal(ior_close(p->cx, id, IOR_NS_PER_SEC), 0);
    return id;
}

static ior_id by_paused_abort(struct probe *p, int *peer)
{
    ior_id id = open_stream(p, peer);
    assert_int_equal(ior_pause(p->cx, id), 0);
    net_write(*peer, "unread", 6);
    probe_turns(p, 2);
    assert_int_equal(ior_abort(p->cx, id), 0);
    return id;
}

static void r56_every_way_of_ending_is_told_and_handed_over(void **state)
{
    static const struct way ways[] = {
        {"eof", by_eof, IOR_EOF, 0, -1},
        {"reset", by_reset, IOR_ERROR, ECONNRESET, -1},
        {"abort", by_abort, IOR_ASKED, 0, -1},
        {"abort while paused", by_paused_abort, IOR_ASKED, 0, -1},
        {"unregister", by_unregister, IOR_ASKED, 0, -1},
        {"unregister before registered", by_unregister_before_registered, IOR_ASKED, 0, -1},
        {"close", by_close, IOR_ASKED, 0, -1},
        {"drain deadline", by_drain_deadline, IOR_TIMEOUT, ETIMEDOUT, IOR_DEADLINE_DRAIN},
        {"idle deadline", by_idle_deadline, IOR_TIMEOUT, ETIMEDOUT, IOR_DEADLINE_IDLE},
        {"refused connect", by_refusal, IOR_ERROR, ECONNREFUSED, -1},
        {"connect deadline", by_connect_deadline, IOR_TIMEOUT, ETIMEDOUT, IOR_DEADLINE_CONNECT},
        {"stop", by_stop, IOR_SHUTDOWN, 0, -1},
        {"listener unregistered", by_listener_unregister, IOR_ASKED, 0, -1},
        {"listener closed", by_listener_close, IOR_ASKED, 0, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        size_t fds = net_fd_count();
        struct probe *p = probe_new(NULL);
        int peer = -1;
        ior_id id = ways[i].bring(p, &peer);
        struct probe_res *r;
        probe_until(p, probe_of(p, id)->handover == 1);
        r = probe_of(p, id);
        if (r->why != ways[i].why || r->error != ways[i].error || r->which != ways[i].which)
            fail_msg("%s: END says %s, %s, deadline %d", ways[i].name, ior_why_name(r->why),
                     ior_errname(r->error), r->which);
        net_close(&peer);
        probe_free(p); /* the probe's promises: END once, then one handover */
        assert_int_equal(net_fd_count(), fds);
    }
}

static void r56_a_runtime_that_never_ran_hands_back_everything(void **state)
{
    size_t fds = net_fd_count();
    struct probe *p = probe_new(NULL);
    struct ior_addr addr;
    int peers[2];
    (void)state;
    probe_unix(p, NULL, &peers[0]);
    probe_tcp(p, NULL, &peers[1]);
    probe_listen(p, NULL, &addr);
    probe_free(p);
    close(peers[0]);
    close(peers[1]);
    assert_int_equal(net_fd_count(), fds);
}

static void await_threads(size_t n)
{
    uint64_t end = net_now() + PROBE_LIMIT_NS;
    while (net_thread_count() != n && net_now() < end)
        poll(NULL, 0, 1);
    assert_int_equal(net_thread_count(), n);
}

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
    size_t threads = net_thread_count(), fds = net_fd_count();
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
    await_threads(threads);
    assert_int_equal(atomic_load(&own_join), -EDEADLK);
    ior_controller_unref(ctl);
    assert_int_equal(net_fd_count(), fds);
}

struct family {
    struct probe *p;
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
        struct family family = {.p = p, .frees = frees != 0};
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
    assert_int_equal(p->errors, 1);
    assert_int_equal(p->last_error, EIO);
    assert_int_equal(p->timers, 1); /* the rest of the loop goes on */
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
    size_t threads = net_thread_count(), fds = net_fd_count();
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct ior_reactor *reactor = NULL;
        assert_int_equal(ior_reactor_new(&config, &answering, NULL, &reactor), 0);
        assert_int_equal(net_thread_count(), threads + 1);
        ior_reactor_free(reactor);
        await_threads(threads);
    }
    assert_int_equal(net_fd_count(), fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r55_shutdown_delivers_all_output),
        cmocka_unit_test(r55_shutdown_hands_back_what_no_peer_took),
        cmocka_unit_test(r56_every_way_of_ending_is_told_and_handed_over),
        cmocka_unit_test(r56_a_runtime_that_never_ran_hands_back_everything),
        cmocka_unit_test(r59_stopping_works_from_any_state),
        cmocka_unit_test(r60_a_forked_child_may_only_free),
        cmocka_unit_test(r60_a_forked_child_may_free_a_reactor),
        cmocka_unit_test(r63_failing_wait_is_told_once_for_each_cause_and_backs_off),
        cmocka_unit_test(r64_freeing_a_running_reactor_ends_its_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
