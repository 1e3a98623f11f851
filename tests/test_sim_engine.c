/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated engines, held to the contract of <ioreactor/engine.h> sentence by sentence, without a runtime. (The
 * suite of tests/support/contract.c waits on real fds.)
 */
#include "support/check.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <ioreactor/sim.h>

#define MS IOR_NS_PER_MS
#define ID(n) (((ior_id)(n) << 40 | 1) << 4)
#define MOST 16

static enum ior_sim_shape shape;

struct subject {
    struct ior_sim *sim;
    int host;
    const struct ior_os *os;
    const struct ior_engine_ops *ops;
    void *engine;
    struct ior_record records[MOST];
    unsigned violations;
};

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct subject *s = arg;
    (void)what;
    (void)text;
    s->violations++;
}

static uint64_t first_choice(void *arg, uint64_t n)
{
    (void)arg;
    (void)n;
    return 0; /* the engine works in its waits, and not before */
}

static void begin(struct subject *s)
{
    struct ior_sim_config world = {.struct_size = sizeof(world),
                                   .shape = shape,
                                   .violation = on_violation,
                                   .violation_arg = s,
                                   .choose = first_choice};
    struct ior_config config = {.struct_size = sizeof(config), .engine = "epoll"};
    memset(s, 0, sizeof(*s));
    assert_int_equal(ior_sim_new(&world, &s->sim), 0);
    s->host = ior_sim_host(s->sim, NULL);
    assert_int_equal(ior_sim_runtime_config(s->sim, s->host, &config), 0);
    assert_null(config.engine);
    s->os = config.os;
    s->ops = config.engine_ops;
    const struct ior_engine_config engine = {.os = s->os, .max_records = MOST, .arg = config.engine_arg};
    assert_int_equal(s->ops->open(&engine, &s->engine), 0);
}

static void finish(struct subject *s)
{
    if (s->engine)
        s->ops->close(s->engine, false);
    assert_int_equal(ior_sim_free(s->sim), s->violations);
}

static int watch(struct subject *s, int fd, unsigned n, unsigned interest)
{
    return s->ops->watch(s->engine, fd, ID(n), interest);
}

static int wait_now(struct subject *s)
{
    return s->ops->wait(s->engine, s->records, MOST, 0);
}

/* What the next wait tells of an id; 0: nothing. */
static unsigned told(struct subject *s, unsigned n)
{
    unsigned what = 0;
    int count = wait_now(s);
    for (int i = 0; i < count; i++) {
        if (s->records[i].id != ID(n))
            continue;
        assert_int_equal(what, 0); /* once */
        what = s->records[i].what;
    }
    return what;
}

static void the_set_knows_what_is_in_it(void **state)
{
    struct subject s;
    (void)state;
    begin(&s);
    int fd = ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, NULL), file = ior_sim_file(s.sim, s.host, "x", 1);
    assert_int_equal(watch(&s, fd + 100, 1, IOR_READ), -EBADF);
    assert_int_equal(watch(&s, file, 1, IOR_READ), -EPERM);
    assert_int_equal(s.ops->rewatch(s.engine, fd, ID(1), IOR_READ), -ENOENT);
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), -ENOENT);
    assert_int_equal(watch(&s, fd, 1, IOR_READ), 0);
    assert_int_equal(watch(&s, fd, 2, IOR_READ), -EEXIST);
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), 0);
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), -ENOENT);
    assert_int_equal(watch(&s, fd, 2, IOR_WRITE), 0);
    assert_int_equal(told(&s, 2), IOR_WRITE);
    assert_int_equal(s.ops->rebuild(s.engine), 0);
    assert_int_equal(wait_now(&s), 0);
    assert_int_equal(watch(&s, fd, 3, IOR_WRITE), 0);
    assert_int_equal(told(&s, 3), IOR_WRITE);
    assert_int_equal(s.violations, 0);
    finish(&s);
}

static void conditions_are_levels(void **state)
{
    struct subject s;
    struct ior_sim_peer *peer;
    char bytes[8];
    (void)state;
    begin(&s);
    int fd = ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, &peer);
    s.os->set_nonblock(s.os->arg, fd, true);
    assert_int_equal(watch(&s, fd, 1, IOR_READ), 0);
    assert_int_equal(told(&s, 1), 0);
    ior_sim_say(peer, "abc", 3);
    assert_int_equal(told(&s, 1), IOR_READ);
    assert_int_equal(told(&s, 1), IOR_READ); /* still */
    assert_int_equal(s.ops->rewatch(s.engine, fd, ID(1), IOR_READ | IOR_WRITE), 0);
    assert_int_equal(told(&s, 1), IOR_READ | IOR_WRITE); /* merged */
    assert_int_equal(s.os->recv(s.os->arg, fd, bytes, 8), 3);
    assert_int_equal(told(&s, 1), IOR_WRITE);
    assert_int_equal(s.ops->rewatch(s.engine, fd, ID(1), 0), 0);
    ior_sim_say(peer, "more", 4);
    assert_int_equal(told(&s, 1), 0);
    ior_sim_hang_up(peer);
    assert_int_equal(told(&s, 1), IOR_HUP); /* unasked */
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), 0);
    assert_int_equal(told(&s, 1), 0);
    finish(&s);
}

static void more_than_fit_take_turns(void **state)
{
    struct subject s;
    unsigned seen = 0;
    (void)state;
    begin(&s);
    for (unsigned i = 0; i < 24; i++)
        assert_int_equal(watch(&s, ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, NULL), i + 1, IOR_WRITE), 0);
    for (int wait = 0; wait < 3; wait++) {
        assert_int_equal(s.ops->wait(s.engine, s.records, 8, 0), 8);
        for (int i = 0; i < 8; i++)
            seen |= 1u << (s.records[i].id >> 44);
    }
    assert_int_equal(seen, (1u << 25) - 2); /* all 24, in three waits of 8 */
    finish(&s);
}

static void waits_end_at_the_deadline_or_a_wake(void **state)
{
    struct subject s;
    struct ior_sim_peer *peer;
    (void)state;
    begin(&s);
    uint64_t begin_ns = ior_sim_now(s.sim);
    assert_int_equal(s.ops->wait(s.engine, s.records, MOST, begin_ns + 5 * MS), 0);
    assert_int_equal(ior_sim_now(s.sim), begin_ns + 5 * MS);
    assert_int_equal(s.ops->wake(s.engine), 0);
    assert_int_equal(s.ops->wake(s.engine), 0);
    assert_int_equal(s.ops->wait(s.engine, s.records, MOST, IOR_NEVER), 0);
    assert_int_equal(ior_sim_now(s.sim), begin_ns + 5 * MS);
    /* Both wakes are answered; what comes next is the world's own doing. */
    int other = ior_sim_host(s.sim, NULL);
    assert_int_equal(other, 2);
    int fd = s.os->socket(s.os->arg, AF_INET, SOCK_STREAM, 0);
    struct ior_addr addr = ior_sim_host_addr(s.sim, s.host, false, 80);
    assert_int_equal(s.os->bind(s.os->arg, fd, &addr), 0);
    assert_int_equal(s.os->listen(s.os->arg, fd, 5), 0);
    assert_int_equal(watch(&s, fd, 1, IOR_READ), 0);
    peer = ior_sim_dial(s.sim, other, "10.0.0.1:80");
    assert_non_null(peer);
    assert_int_equal(s.ops->wait(s.engine, s.records, MOST, IOR_NEVER), 1);
    assert_int_equal(ior_sim_now(s.sim), begin_ns + 5 * MS + 50 * IOR_NS_PER_US);
    assert_int_equal(s.os->accept(s.os->arg, fd, NULL), fd + 1);
    s.os->close(s.os->arg, fd + 1);
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), 0);
    s.os->close(s.os->arg, fd);
    assert_int_equal(s.violations, 0);
    finish(&s);
}

static void bad_arguments_are_violations(void **state)
{
    struct subject s;
    (void)state;
    begin(&s);
    int fd = ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, NULL);
    s.ops->watch(s.engine, fd, 17, IOR_READ);
    assert_int_equal(s.violations, 1);
    s.ops->rewatch(s.engine, fd, ID(1), 512);
    assert_int_equal(s.violations, 2);
    assert_int_equal(s.ops->wait(s.engine, s.records, 0, 0), -EINVAL);
    assert_int_equal(s.violations, 3);
    /* A close of what is watched. */
    int mine = s.os->dup(s.os->arg, fd);
    assert_int_equal(watch(&s, mine, 2, IOR_READ), 0);
    s.os->close(s.os->arg, mine);
    assert_int_equal(s.violations, 4);
    finish(&s);
}

/* ---- the engine that does the I/O ---- */

static void what_was_received_is_kept(void **state)
{
    struct subject s;
    struct ior_sim_peer *peer;
    char bytes[8];
    (void)state;
    begin(&s);
    int fd = ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, &peer);
    s.os->set_nonblock(s.os->arg, fd, true);
    assert_int_equal(watch(&s, fd, 1, IOR_READ | IOR_RECEIVES), 0);
    ior_sim_say(peer, "abcdef", 6);
    assert_int_equal(told(&s, 1), IOR_READ);
    assert_int_equal(s.os->recv(s.os->arg, fd, bytes, 8), -EAGAIN); /* the engine has them */
    assert_int_equal(s.ops->recv(s.engine, fd, ID(1), bytes, 2), 2);
    assert_memory_equal(bytes, "ab", 2);
    assert_int_equal(told(&s, 1), IOR_READ); /* until all were taken */
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), 0);
    ior_sim_say(peer, "later", 5);
    assert_int_equal(s.ops->recv(s.engine, fd, ID(1), bytes, 8), 4);
    assert_memory_equal(bytes, "cdef", 4);
    assert_int_equal(s.ops->recv(s.engine, fd, ID(1), bytes, 8), -EAGAIN);
    assert_int_equal(s.os->recv(s.os->arg, fd, bytes, 8), 5); /* nothing was taken after the unwatch */
    /* The end, and again for as long as it is asked for. */
    assert_int_equal(watch(&s, fd, 1, IOR_READ | IOR_RECEIVES), 0);
    ior_sim_say(peer, "x", 1);
    ior_sim_hang_up(peer);
    assert_int_equal(told(&s, 1), IOR_READ);
    assert_int_equal(s.ops->recv(s.engine, fd, ID(1), bytes, 8), 1);
    assert_int_equal(told(&s, 1), IOR_READ);
    assert_int_equal(s.ops->recv(s.engine, fd, ID(1), bytes, 8), 0);
    assert_int_equal(told(&s, 1), IOR_HUP);
    finish(&s);
}

static void what_was_kept_for_another_id_is_dropped(void **state)
{
    struct subject s;
    struct ior_sim_peer *peer;
    char bytes[8];
    (void)state;
    begin(&s);
    int fd = ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, &peer);
    s.os->set_nonblock(s.os->arg, fd, true);
    assert_int_equal(watch(&s, fd, 1, IOR_READ | IOR_RECEIVES), 0);
    ior_sim_say(peer, "abc", 3);
    assert_int_equal(told(&s, 1), IOR_READ);
    assert_int_equal(s.ops->unwatch(s.engine, fd, ID(1)), 0);
    assert_int_equal(s.ops->recv(s.engine, fd, ID(2), bytes, 8), -EAGAIN);
    assert_int_equal(watch(&s, fd, 2, IOR_READ | IOR_RECEIVES), 0);
    assert_int_equal(told(&s, 2), 0);
    assert_int_equal(s.ops->recv(s.engine, fd, ID(1), bytes, 8), -EAGAIN);
    finish(&s);
}

static void accepted_connections_are_kept_and_closed(void **state)
{
    struct subject s;
    (void)state;
    begin(&s);
    int fd = s.os->socket(s.os->arg, AF_INET, SOCK_STREAM, 0);
    struct ior_addr addr = ior_sim_host_addr(s.sim, s.host, false, 80);
    assert_int_equal(s.os->bind(s.os->arg, fd, &addr), 0);
    assert_int_equal(s.os->listen(s.os->arg, fd, 5), 0);
    assert_int_equal(watch(&s, fd, 1, IOR_READ | IOR_ACCEPTS), 0);
    for (int i = 0; i < 3; i++)
        ior_sim_dial(s.sim, s.host, "10.0.0.1:80");
    ior_sim_run_for(s.sim, MS);
    assert_int_equal(told(&s, 1), IOR_READ);
    assert_int_equal(ior_sim_open_fds(s.sim, s.host), 4);
    assert_int_equal(s.ops->accept(s.engine, fd, ID(1)), fd + 1);
    assert_int_equal(s.os->close(s.os->arg, fd + 1), 0);
    s.ops->close(s.engine, false);
    s.engine = NULL;
    assert_int_equal(ior_sim_open_fds(s.sim, s.host), 1);
    assert_int_equal(s.os->close(s.os->arg, fd), 0);
    finish(&s);
}

static void sends_are_done_by_the_next_wait(void **state)
{
    struct subject s;
    struct ior_sim_peer *peer;
    char bytes[16];
    static char large[100000];
    const struct iovec iov[2] = {{.iov_base = "abc", .iov_len = 3}, {.iov_base = "def", .iov_len = 3}};
    const struct iovec all = {.iov_base = large, .iov_len = sizeof(large)};
    (void)state;
    begin(&s);
    int fd = ior_sim_fd(s.sim, s.host, IOR_FD_UNIX, &peer);
    s.os->set_nonblock(s.os->arg, fd, true);
    assert_int_equal(watch(&s, fd, 1, IOR_READ | IOR_RECEIVES), 0);
    assert_int_equal(s.ops->send(s.engine, fd, ID(1), iov, 2), 0);
    assert_int_equal(ior_sim_hear(peer, bytes, 16), -EAGAIN);
    assert_int_equal(wait_now(&s), 0);
    assert_int_equal(ior_sim_hear(peer, bytes, 16), 6);
    assert_memory_equal(bytes, "abcdef", 6);
    assert_int_equal(s.ops->sent(s.engine, fd, ID(1)), 6);
    /* Asked before: it is done now. */
    assert_int_equal(s.ops->send(s.engine, fd, ID(1), iov, 1), 0);
    assert_int_equal(s.ops->sent(s.engine, fd, ID(1)), 3);
    /* A large one is done at once. */
    assert_int_equal(s.ops->send(s.engine, fd, ID(1), &all, 1), 1);
    ssize_t sent = s.ops->sent(s.engine, fd, ID(1));
    assert_true(sent > 0 && sent < (ssize_t)sizeof(large));
    /* Less than all: the wait does not wait. */
    assert_int_equal(s.ops->send(s.engine, fd, ID(1), iov, 2), 0);
    assert_int_equal(s.ops->wait(s.engine, s.records, MOST, IOR_NEVER), 0);
    assert_int_equal(s.ops->sent(s.engine, fd, ID(1)), -EAGAIN);
    assert_int_equal(s.ops->send(s.engine, fd, ID(1), iov, 1), 0);
    assert_int_equal(s.ops->flush(s.engine), 0);
    assert_int_equal(s.ops->sent(s.engine, fd, ID(1)), -EAGAIN);
    assert_int_equal(s.violations, 0);
    assert_true(s.ops->sent(s.engine, fd, ID(1)) < 0); /* none was begun */
    assert_int_equal(s.violations, 1);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(the_set_knows_what_is_in_it),  cmocka_unit_test(conditions_are_levels),
        cmocka_unit_test(more_than_fit_take_turns),     cmocka_unit_test(waits_end_at_the_deadline_or_a_wake),
        cmocka_unit_test(bad_arguments_are_violations),
    };
    const struct CMUnitTest done[] = {
        cmocka_unit_test(what_was_received_is_kept),
        cmocka_unit_test(what_was_kept_for_another_id_is_dropped),
        cmocka_unit_test(accepted_connections_are_kept_and_closed),
        cmocka_unit_test(sends_are_done_by_the_next_wait),
    };

    int failed = cmocka_run_group_tests_name("simulated engine, what is ready", both, NULL, NULL);
    shape = IOR_SIM_SHAPE_DONE;
    failed += cmocka_run_group_tests_name("simulated engine, what is done", both, NULL, NULL);
    return failed + cmocka_run_group_tests_name("simulated engine, finished work", done, NULL, NULL);
}
