/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine contract, sentence by sentence. Each test gets a freshly opened engine, and is named after what it holds
 * the engine to. Waits that should end by themselves have a deadline far beyond what they need, so that a broken engine
 * fails instead of hanging; waits that should not end early have short ones.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract.h"

#include "check.h"
#include "contract_io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ioreactor/os.h>
#include <ioreactor/time.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_RECORDS 256
#define MS IOR_NS_PER_MS
/* Far beyond what any test needs. */
#define PATIENCE_NS (60 * IOR_NS_PER_SEC)
#define MANY_FDS 5000

struct subject {
    const struct ior_engine_ops *ops;
    void *arg;
    void *engine;
    struct ior_record records[MAX_RECORDS + 1];
};

/* An id as a runtime would make it. */
static ior_id id_of(unsigned n)
{
    return ((ior_id)n << 40 | 1) << 4;
}

static uint64_t now(void)
{
    return ior_os_default()->clock(NULL);
}

static int open_engine(void **state)
{
    struct subject *s = *state;
    struct ior_engine_config config = {.os = ior_os_default(), .max_records = MAX_RECORDS, .arg = s->arg};
    int err = s->ops->open(&config, &s->engine);

    if (err < 0) {
        fprintf(stderr, "engine %s does not open: %s\n", s->ops->name, ior_errname(err));
        s->engine = NULL;
    }
    return err;
}

static int close_engine(void **state)
{
    struct subject *s = *state;

    if (s->engine)
        s->ops->close(s->engine, false);
    s->engine = NULL;
    return 0;
}

static int watch(struct subject *s, int fd, unsigned n, unsigned interest)
{
    return s->ops->watch(s->engine, fd, id_of(n), interest);
}

static int wait_for(struct subject *s, uint64_t ns)
{
    return s->ops->wait(s->engine, s->records, MAX_RECORDS, now() + ns);
}

static int wait_now(struct subject *s)
{
    return s->ops->wait(s->engine, s->records, MAX_RECORDS, 0);
}

/* What a runtime does before it goes back to a foreign loop. */
static int flush(struct subject *s)
{
    return s->ops->features & IOR_ENGINE_DOES_IO ? s->ops->flush(s->engine) : 0;
}

/* What the next wait tells of an id; 0: nothing. Fails where it is told twice. */
static unsigned told(struct subject *s, unsigned n)
{
    int count = wait_now(s);
    unsigned what = 0;

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        if (s->records[i].id != id_of(n))
            continue;
        assert_int_equal(what, 0);
        what = s->records[i].what;
        assert_int_not_equal(what, 0);
    }
    return what;
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void poke(int fd)
{
    assert_int_equal(write(fd, "x", 1), 1);
}

static void take(int fd)
{
    char bytes[64];

    assert_true(read(fd, bytes, sizeof(bytes)) > 0);
}

/* ---- the table ---- */

static void the_table_is_complete(void **state)
{
    struct subject *s = *state;
    const struct ior_engine_ops *ops = s->ops;

    assert_true(ops->struct_size >= sizeof(*ops));
    assert_true(ops->name && *ops->name);
    assert_true(ops->open && ops->close && ops->watch && ops->rewatch && ops->unwatch);
    assert_true(ops->wait && ops->wake && ops->rebuild);
    if (ops->features & IOR_ENGINE_HAS_FD)
        assert_non_null(ops->fd);
}

/* ---- what is told ---- */

static void an_empty_set_tells_nothing(void **state)
{
    assert_int_equal(wait_now(*state), 0);
}

static void readiness_is_told_with_the_id(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(wait_now(s), 0);
    poke(fds[1]);
    memset(s->records, 0x5a, sizeof(s->records));
    assert_int_equal(wait_for(s, PATIENCE_NS), 1);
    assert_int_equal(s->records[0].id, id_of(1));
    assert_int_equal(s->records[0].what, IOR_READ);
    close_pair(fds);
}

static void what_still_holds_is_told_again(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    poke(fds[1]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(told(s, 1), IOR_READ);
    take(fds[0]);
    assert_int_equal(told(s, 1), 0);
    poke(fds[1]);
    assert_int_equal(told(s, 1), IOR_READ);
    close_pair(fds);
}

static void what_held_before_the_watch_is_told(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    poke(fds[1]);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(told(s, 1), IOR_READ);
    close_pair(fds);
}

/* R14: one merged view, not a read and a write in some order. */
static void read_and_write_come_in_one_record(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ | IOR_WRITE), 0);
    poke(fds[1]);
    assert_int_equal(wait_now(s), 1);
    assert_int_equal(s->records[0].what, IOR_READ | IOR_WRITE);
    close_pair(fds);
}

static void what_was_not_asked_for_is_not_told(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    poke(fds[1]);
    assert_int_equal(watch(s, fds[0], 1, IOR_WRITE), 0);
    assert_int_equal(told(s, 1), IOR_WRITE);
    assert_int_equal(s->ops->rewatch(s->engine, fds[0], id_of(1), 0), 0);
    assert_int_equal(told(s, 1), 0);
    assert_int_equal(s->ops->rewatch(s->engine, fds[0], id_of(1), IOR_READ), 0);
    assert_int_equal(told(s, 1), IOR_READ);
    assert_int_equal(s->ops->rewatch(s->engine, fds[0], id_of(1), IOR_READ | IOR_WRITE), 0);
    assert_int_equal(told(s, 1), IOR_READ | IOR_WRITE);
    close_pair(fds);
}

static void a_hang_up_is_told_whatever_the_interest(void **state)
{
    static const unsigned interests[] = {0, IOR_READ, IOR_WRITE, IOR_READ | IOR_WRITE};
    struct subject *s = *state;

    for (size_t i = 0; i < COUNT_OF(interests); i++) {
        int fds[2];
        unsigned what;

        pair(fds);
        assert_int_equal(watch(s, fds[0], 1, interests[i]), 0);
        assert_int_equal(told(s, 1) & IOR_HUP, 0);
        close(fds[1]);
        for (int again = 0; again < 2; again++) {
            what = told(s, 1);
            assert_int_equal(what & IOR_HUP, IOR_HUP);
            assert_int_equal(what & (IOR_READ | IOR_WRITE) & ~interests[i], 0);
        }
        assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
        assert_int_equal(told(s, 1), 0);
        close(fds[0]);
    }
}

/* The write end of a pipe that nobody reads has an error pending. */
static void an_error_is_told_whatever_the_interest(void **state)
{
    struct subject *s = *state;
    int fds[2];

    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(watch(s, fds[1], 1, 0), 0);
    assert_int_equal(told(s, 1), 0);
    close(fds[0]);
    assert_true(told(s, 1) & (IOR_ERR | IOR_HUP));
    assert_int_equal(s->ops->unwatch(s->engine, fds[1], id_of(1)), 0);
    close(fds[1]);
}

/* R16: what is readable is said beside the hang-up. */
static void unread_bytes_are_told_beside_the_hang_up(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    poke(fds[1]);
    close(fds[1]);
    assert_int_equal(told(s, 1) & (IOR_READ | IOR_HUP), IOR_READ | IOR_HUP);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
    close(fds[0]);
}

/* R19: a peer that only finished sending is readable (end of file), and not gone. */
static void a_half_closed_peer_is_no_hang_up(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    assert_int_equal(told(s, 1), IOR_READ);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
    close_pair(fds);
}

static void a_connect_with_a_result_is_writable(void **state)
{
    struct subject *s = *state;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
    assert_int_equal(watch(s, listener, 1, IOR_READ), 0);
    assert_true(connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 || errno == EINPROGRESS);
    assert_int_equal(watch(s, fd, 2, IOR_WRITE), 0);
    assert_true(wait_for(s, PATIENCE_NS) > 0);
    assert_int_equal(told(s, 1), IOR_READ);
    assert_int_equal(told(s, 2), IOR_WRITE);
    assert_int_equal(s->ops->unwatch(s->engine, listener, id_of(1)), 0);
    assert_int_equal(s->ops->unwatch(s->engine, fd, id_of(2)), 0);
    close(fd);

    /* And one that is refused: nobody listens there any more. */
    close(listener);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 && errno == EINPROGRESS) {
        assert_int_equal(watch(s, fd, 3, IOR_WRITE), 0);
        assert_true(wait_for(s, PATIENCE_NS) > 0);
        assert_true(told(s, 3) & (IOR_WRITE | IOR_ERR | IOR_HUP));
        assert_int_equal(s->ops->unwatch(s->engine, fd, id_of(3)), 0);
    }
    close(fd);
}

static void ids_come_back_as_they_were(void **state)
{
    static const ior_id ids[] = {16, UINT64_C(1) << 63, UINT64_MAX & ~(ior_id)15, UINT64_C(0x123456789abcdef0)};
    struct subject *s = *state;
    int fds[COUNT_OF(ids)][2];
    unsigned seen = 0;

    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        pair(fds[i]);
        assert_int_equal(s->ops->watch(s->engine, fds[i][0], ids[i], IOR_WRITE), 0);
    }
    assert_int_equal(wait_now(s), COUNT_OF(ids));
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        for (size_t j = 0; j < COUNT_OF(ids); j++) {
            if (s->records[i].id == ids[j])
                seen |= 1u << j;
        }
        close_pair(fds[i]);
    }
    assert_int_equal(seen, (1u << COUNT_OF(ids)) - 1);
}

/* ---- the set ---- */

static void an_fd_is_watched_once(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_WRITE), 0);
    assert_int_equal(watch(s, fds[0], 2, IOR_READ), -EEXIST);
    assert_int_equal(told(s, 1), IOR_WRITE);
    assert_int_equal(told(s, 2), 0);
    close_pair(fds);
}

static void what_is_not_open_is_refused(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    close_pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), -EBADF);
    assert_int_equal(watch(s, -1, 1, IOR_READ), -EBADF);
    assert_int_equal(watch(s, 1 << 30, 1, IOR_READ), -EBADF);
    assert_int_equal(watch(s, INT32_MAX, 1, IOR_READ), -EBADF);
    assert_int_equal(wait_now(s), 0);
}

/* R15: -EPERM is the answer for what is always ready; an engine that can wait for it tells so. */
static void a_regular_file_is_always_ready(void **state)
{
    struct subject *s = *state;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int err;

    assert_true(fd >= 0);
    err = watch(s, fd, 1, IOR_READ);
    if (err == 0)
        assert_int_equal(told(s, 1), IOR_READ);
    else
        assert_int_equal(err, -EPERM);
    close(fd);
}

static void what_is_not_in_the_set_cannot_be_changed(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(s->ops->rewatch(s->engine, fds[0], id_of(1), IOR_WRITE), -ENOENT);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), -ENOENT);
    assert_int_equal(wait_now(s), 0);
    assert_int_equal(watch(s, fds[0], 1, IOR_WRITE), 0);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
    assert_int_equal(s->ops->rewatch(s->engine, fds[0], id_of(1), IOR_WRITE), -ENOENT);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), -ENOENT);
    close_pair(fds);
}

static void an_unwatched_fd_is_silent_and_can_come_back(void **state)
{
    struct subject *s = *state;
    int fds[2], others[2];

    pair(fds);
    pair(others);
    poke(fds[1]);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(watch(s, others[0], 2, IOR_WRITE), 0);
    assert_int_equal(told(s, 1), IOR_READ);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
    assert_int_equal(wait_now(s), 1);
    assert_int_equal(told(s, 2), IOR_WRITE);
    assert_int_equal(watch(s, fds[0], 3, IOR_READ), 0);
    assert_int_equal(told(s, 3), IOR_READ);
    assert_int_equal(told(s, 1), 0);
    close_pair(fds);
    close_pair(others);
}

/* Takes entries out of the middle, the front and the end, and looks at who is left. */
static void whoever_leaves_the_others_stay(void **state)
{
    static const unsigned leave[] = {3, 0, 9, 8, 1, 5};
    struct subject *s = *state;
    bool in[10];
    int fds[10][2];

    for (unsigned i = 0; i < 10; i++) {
        pair(fds[i]);
        in[i] = true;
        assert_int_equal(watch(s, fds[i][0], i + 1, IOR_WRITE), 0);
    }
    for (size_t l = 0; l < COUNT_OF(leave); l++) {
        assert_int_equal(s->ops->unwatch(s->engine, fds[leave[l]][0], id_of(leave[l] + 1)), 0);
        in[leave[l]] = false;
        assert_int_equal(wait_now(s), (int)(10 - l - 1));
        for (unsigned i = 0; i < 10; i++)
            assert_int_equal(told(s, i + 1), in[i] ? IOR_WRITE : 0);
    }
    for (unsigned i = 0; i < 10; i++)
        close_pair(fds[i]);
}

/* ---- fds that somebody else closed ---- */

static bool says_gone(int err)
{
    return err == 0 || err == -EBADF || err == -ENOENT;
}

/* R13, R08: either it is silent, or it is told as bad; and its number is free for another. */
static void an_fd_closed_behind_its_back_does_no_harm(void **state)
{
    struct subject *s = *state;
    int fds[2], others[2];
    unsigned what;

    pair(fds);
    poke(fds[1]);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(told(s, 1), IOR_READ);
    close(fds[0]);
    what = told(s, 1);
    assert_true(what == 0 || (what & IOR_BAD));
    assert_true(says_gone(s->ops->rewatch(s->engine, fds[0], id_of(1), IOR_WRITE)));
    what = told(s, 1);
    assert_true(what == 0 || (what & IOR_BAD));
    assert_true(says_gone(s->ops->unwatch(s->engine, fds[0], id_of(1))));
    assert_int_equal(wait_now(s), 0);

    pair(others);
    if (others[1] == fds[0])
        others[1] = fcntl(others[1], F_DUPFD_CLOEXEC, 0); /* engines may have left lower numbers free */
    if (others[0] != fds[0])
        assert_true(dup2(others[0], fds[0]) == fds[0]);
    assert_int_equal(watch(s, fds[0], 2, IOR_WRITE), 0);
    assert_int_equal(told(s, 2), IOR_WRITE);
    assert_int_equal(told(s, 1), 0);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(2)), 0);
}

static void a_rebuild_silences_what_a_duplicate_keeps_alive(void **state)
{
    struct subject *s = *state;
    int fds[2], others[2];
    int copy;

    pair(fds);
    pair(others);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(watch(s, others[0], 2, IOR_WRITE), 0);
    copy = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
    poke(fds[1]);
    close(fds[0]);
    assert_true(says_gone(s->ops->unwatch(s->engine, fds[0], id_of(1))));
    assert_int_equal(s->ops->rebuild(s->engine), 0);
    /* All are gone, not only the dead one; and all can be watched anew. */
    assert_int_equal(wait_now(s), 0);
    assert_int_equal(s->ops->unwatch(s->engine, others[0], id_of(2)), -ENOENT);
    assert_int_equal(watch(s, others[0], 2, IOR_WRITE), 0);
    assert_int_equal(watch(s, copy, 3, IOR_READ), 0);
    assert_int_equal(wait_now(s), 2);
    assert_int_equal(told(s, 1), 0);
    assert_int_equal(told(s, 2), IOR_WRITE);
    assert_int_equal(told(s, 3), IOR_READ);
    close(copy);
    close(fds[1]);
    close_pair(others);
}

static void a_rebuild_keeps_waker_and_fd(void **state)
{
    struct subject *s = *state;
    int fd = s->ops->features & IOR_ENGINE_HAS_FD ? s->ops->fd(s->engine) : -1;
    int fds[2];

    pair(fds);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(watch(s, fds[0], i + 1, IOR_WRITE), 0);
        assert_int_equal(s->ops->wake(s->engine), 0);
        assert_int_equal(s->ops->rebuild(s->engine), 0);
        /* The wake from before is not lost. */
        uint64_t begin = now();
        assert_int_equal(wait_for(s, PATIENCE_NS), 0);
        assert_true(now() - begin < PATIENCE_NS);
        assert_int_equal(s->ops->wake(s->engine), 0);
        assert_int_equal(wait_for(s, PATIENCE_NS), 0);
        assert_true(now() - begin < PATIENCE_NS);
    }
    if (fd >= 0) {
        assert_int_equal(s->ops->fd(s->engine), fd);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    close_pair(fds);
}

/* ---- wakes ---- */

/* A wait of 3 ms lasts 3 ms: nothing is left that would end it. */
static void assert_quiet(struct subject *s)
{
    uint64_t deadline_ns = now() + 3 * MS;

    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, deadline_ns), 0);
    assert_true(now() >= deadline_ns);
}

static void assert_woken(struct subject *s)
{
    uint64_t begin = now();

    assert_int_equal(wait_for(s, PATIENCE_NS), 0);
    assert_true(now() - begin < PATIENCE_NS);
}

static void a_wake_ends_the_next_wait_once(void **state)
{
    struct subject *s = *state;

    errno = EXDEV;
    assert_int_equal(s->ops->wake(s->engine), 0);
    assert_int_equal(errno, EXDEV);
    assert_woken(s);
    assert_quiet(s);
}

static void wakes_are_merged(void **state)
{
    struct subject *s = *state;

    for (int i = 0; i < 100000; i++)
        assert_int_equal(s->ops->wake(s->engine), 0);
    assert_woken(s);
    assert_quiet(s);
}

/* R52: also where others are ready, and where one record is all that was asked for. */
static void a_wake_is_taken_beside_records(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_WRITE), 0);
    assert_int_equal(s->ops->wake(s->engine), 0);
    for (int i = 0; i < 4; i++) {
        int n = s->ops->wait(s->engine, s->records, 1, now() + PATIENCE_NS);
        assert_in_range(n, 0, 1);
    }
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
    assert_quiet(s);
    close_pair(fds);
}

struct late_wake {
    struct subject *s;
    uint64_t after_ns;
    atomic_bool woken;
};

static void *wake_later(void *arg)
{
    struct late_wake *late = arg;
    struct timespec ts = {0, (long)late->after_ns};

    nanosleep(&ts, NULL);
    atomic_store(&late->woken, true);
    late->s->ops->wake(late->s->engine);
    return NULL;
}

/* Waits until `deadline_ns`, and fails where the wait ends before another thread woke it. */
static void wait_for_thread(struct subject *s, uint64_t deadline_ns)
{
    struct late_wake late = {.s = s, .after_ns = 10 * MS};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wake_later, &late), 0);
    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, deadline_ns), 0);
    assert_true(atomic_load(&late.woken));
    pthread_join(thread, NULL);
}

static void a_wake_ends_the_wait_that_is_under_way(void **state)
{
    struct subject *s = *state;

    wait_for_thread(s, IOR_NEVER);
    assert_quiet(s);
}

#define WAKER_THREADS 4
#define WAKES_EACH 5000

struct waker_thread {
    struct subject *s;
    atomic_uint *sent;
};

static void *send_and_wake(void *arg)
{
    struct waker_thread *thread = arg;

    for (int i = 0; i < WAKES_EACH; i++) {
        atomic_fetch_add(thread->sent, 1);
        thread->s->ops->wake(thread->s->engine);
    }
    return NULL;
}

/* Whatever was sent before a wake is seen after the wait that it ended. */
static void no_wake_is_lost(void **state)
{
    struct subject *s = *state;
    atomic_uint sent = 0;
    struct waker_thread arg = {s, &sent};
    pthread_t threads[WAKER_THREADS];

    for (int i = 0; i < WAKER_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_and_wake, &arg), 0);
    while (atomic_load(&sent) < WAKER_THREADS * WAKES_EACH)
        assert_woken(s);
    for (int i = 0; i < WAKER_THREADS; i++)
        pthread_join(threads[i], NULL);
}

static struct subject *signal_subject;
static volatile sig_atomic_t signals_seen;

static void wake_on_signal(int sig)
{
    (void)sig;
    signals_seen++;
    signal_subject->ops->wake(signal_subject->engine);
}

static void count_signal(int sig)
{
    (void)sig;
    signals_seen++;
}

/* SIGALRM every 5 ms, so that one comes while the wait is under way, whatever the machine is doing. */
static void alarms(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval every = {{0, 5000}, {0, 5000}};

    signals_seen = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

static void no_alarms(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = SIG_DFL};

    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &action, NULL);
}

static void a_wake_may_come_from_a_signal_handler(void **state)
{
    struct subject *s = *state;
    int n;

    signal_subject = s;
    alarms(wake_on_signal, SA_RESTART);
    n = s->ops->wait(s->engine, s->records, MAX_RECORDS, IOR_NEVER);
    no_alarms();
    assert_int_equal(n, 0);
    assert_true(signals_seen > 0);
    /* The handler's wake may be the interrupted wait's, or the next one's; not more than that. */
    assert_int_equal(wait_now(s), 0);
    assert_quiet(s);
}

/* ---- time ---- */

/* R48: the runtime looks at its clock and waits again. */
static void an_interrupted_wait_is_no_error(void **state)
{
    struct subject *s = *state;
    int n;

    alarms(count_signal, 0);
    n = s->ops->wait(s->engine, s->records, MAX_RECORDS, now() + PATIENCE_NS);
    no_alarms();
    assert_int_equal(n, 0);
    assert_true(signals_seen > 0);
}

/* R41: not by a nanosecond. */
static void a_deadline_is_never_early(void **state)
{
    static const uint64_t waits_ns[] = {1, 100, 999, 1000, 50000, 999999, 1000000, 1000001, 1500000, 2999999, 20000000};
    struct subject *s = *state;

    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < COUNT_OF(waits_ns); i++) {
            uint64_t deadline_ns = now() + waits_ns[i];

            assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, deadline_ns), 0);
            assert_true(now() >= deadline_ns);
        }
    }
}

static void a_deadline_that_has_passed_does_not_wait(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, 1), 0);
    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, now() - 1), 0);
    /* And still looks for what is ready (R46). */
    assert_int_equal(watch(s, fds[0], 1, IOR_WRITE), 0);
    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, 1), 1);
    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, 0), 1);
    close_pair(fds);
}

/* R42: beyond 24.8 days, beyond 2^32 ms, beyond what a timespec can say. */
static void a_far_deadline_is_far(void **state)
{
    struct subject *s = *state;

    wait_for_thread(s, now() + (UINT64_C(1) << 31) * MS + 1);
    wait_for_thread(s, now() + (UINT64_C(1) << 32) * MS);
    wait_for_thread(s, now() + UINT64_C(100) * 365 * 86400 * IOR_NS_PER_SEC);
    wait_for_thread(s, UINT64_C(1) << 63);
    wait_for_thread(s, IOR_NEVER - 1);
}

static void readiness_ends_a_wait_before_its_deadline(void **state)
{
    struct subject *s = *state;
    uint64_t begin = now();
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_WRITE), 0);
    assert_int_equal(wait_for(s, PATIENCE_NS), 1);
    assert_int_equal(s->ops->wait(s->engine, s->records, MAX_RECORDS, IOR_NEVER), 1);
    assert_true(now() - begin < PATIENCE_NS);
    close_pair(fds);
}

/* ---- many ---- */

static void more_than_max_get_their_turn(void **state)
{
    struct subject *s = *state;
    bool seen[60] = {false};
    int fds[60][2];
    size_t left = 60;

    for (unsigned i = 0; i < 60; i++) {
        pair(fds[i]);
        assert_int_equal(watch(s, fds[i][0], i + 1, IOR_WRITE), 0);
    }
    /* They stay ready all the time: nine waits of seven would do, three times that is bounded. */
    for (int waits = 0; waits < 27 && left > 0; waits++) {
        memset(s->records, 0x5a, sizeof(s->records));
        assert_int_equal(s->ops->wait(s->engine, s->records, 7, 0), 7);
        assert_int_equal(s->records[7].id, UINT64_C(0x5a5a5a5a5a5a5a5a));
        for (int i = 0; i < 7; i++) {
            unsigned n = (unsigned)(s->records[i].id >> 44) - 1;

            assert_true(n < 60);
            left -= seen[n] ? 0 : 1;
            seen[n] = true;
        }
    }
    assert_int_equal(left, 0);
    for (unsigned i = 0; i < 60; i++)
        close_pair(fds[i]);
}

/* How many fds a test may hold: raises the soft limit as far as the hard one lets it. */
static unsigned fds_possible(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < MANY_FDS + 100 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < MANY_FDS + 100 ? limit.rlim_max : MANY_FDS + 100;
        setrlimit(RLIMIT_NOFILE, &limit);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    return limit.rlim_cur > MANY_FDS + 50 ? MANY_FDS : (unsigned)limit.rlim_cur - 50;
}

/* Waits until every fd for which `n % step == 0` was told, and fails where another was. */
static void collect_each(struct subject *s, unsigned total, unsigned step)
{
    bool *seen = calloc(total, sizeof(*seen));
    unsigned left = (total + step - 1) / step;

    for (unsigned waits = 0; waits < total && left > 0; waits++) {
        int count = wait_now(s);

        assert_true(count > 0);
        for (int i = 0; i < count; i++) {
            unsigned n = (unsigned)(s->records[i].id >> 44);

            assert_true(n < total && n % step == 0);
            assert_int_equal(s->records[i].id, id_of(n));
            assert_int_equal(s->records[i].what, IOR_WRITE);
            left -= seen[n] ? 0 : 1;
            seen[n] = true;
        }
    }
    assert_int_equal(left, 0);
    free(seen);
}

static void thousands_of_fds_are_watched(void **state)
{
    struct subject *s = *state;
    unsigned total = fds_possible();
    int *fds = calloc(total, sizeof(*fds));

    for (unsigned n = 0; n < total; n++) {
        fds[n] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fds[n] >= 0);
        assert_int_equal(watch(s, fds[n], n, 0), 0);
    }
    assert_int_equal(wait_now(s), 0);
    for (unsigned n = 0; n < total; n += 100)
        assert_int_equal(s->ops->rewatch(s->engine, fds[n], id_of(n), IOR_WRITE), 0);
    collect_each(s, total, 100);
    for (unsigned n = 0; n < total; n++)
        assert_int_equal(s->ops->rewatch(s->engine, fds[n], id_of(n), IOR_WRITE), 0);
    collect_each(s, total, 1);
    for (unsigned n = 0; n < total; n++) {
        if (n % 7 != 0)
            assert_int_equal(s->ops->unwatch(s->engine, fds[n], id_of(n)), 0);
    }
    collect_each(s, total, 7);
    for (unsigned n = 0; n < total; n++)
        close(fds[n]);
    free(fds);
}

/* ---- fds of its own, fork ---- */

/* Which of the first fds are open, and whether all of them are close-on-exec. */
static unsigned open_fds(unsigned char *open, size_t size)
{
    unsigned count = 0;

    for (size_t fd = 0; fd < size; fd++) {
        open[fd] = fcntl((int)fd, F_GETFD) >= 0;
        count += open[fd];
    }
    return count;
}

static void its_fds_are_private_and_go_with_it(void **state)
{
    struct subject *s = *state;
    unsigned char before[200], after[200];
    unsigned count = open_fds(before, sizeof(before));

    close_engine(state);
    assert_true(open_fds(before, sizeof(before)) <= count);
    count = open_fds(before, sizeof(before));
    assert_int_equal(open_engine(state), 0);
    open_fds(after, sizeof(after));
    for (size_t fd = 0; fd < sizeof(after); fd++) {
        if (after[fd] && !before[fd])
            assert_int_equal(fcntl((int)fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    assert_int_equal(s->ops->rebuild(s->engine), 0);
    close_engine(state);
    assert_int_equal(open_fds(after, sizeof(after)), count);
}

/* Runs `body` in a child, and answers its exit status. */
static int in_child(struct subject *s, int (*body)(struct subject *s, void *arg), void *arg)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body(s, arg));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int open_without_stdio(struct subject *s, void *arg)
{
    struct ior_engine_config config = {.os = ior_os_default(), .max_records = MAX_RECORDS, .arg = s->arg};
    void *engine;

    (void)arg;
    for (int fd = 0; fd <= 2; fd++)
        close(fd);
    if (s->ops->open(&config, &engine) < 0)
        return 1;
    for (int round = 0; round < 2; round++) {
        for (int fd = 0; fd <= 2; fd++) {
            if (fcntl(fd, F_GETFD) >= 0)
                return 2;
        }
        if (s->ops->wake(engine) < 0 || s->ops->wait(engine, s->records, 1, IOR_NEVER) != 0)
            return 3;
        if (s->ops->rebuild(engine) < 0)
            return 4;
    }
    s->ops->close(engine, false);
    return 0;
}

/* R78. The contract does not ask it of a user's engine; the built-in ones promise it. */
static void it_never_takes_the_place_of_stdio(void **state)
{
    struct subject *s = *state;

    if (ior_engine_named(s->ops->name) != s->ops) {
        print_message("%s is not built in\n", s->ops->name);
        skip();
    }
    assert_int_equal(in_child(s, open_without_stdio, NULL), 0);
}

static int close_in_child(struct subject *s, void *arg)
{
    (void)arg;
    s->ops->close(s->engine, true);
    return 0;
}

/* R60. */
static void a_forked_child_leaves_the_parents_set_alone(void **state)
{
    struct subject *s = *state;
    int fds[2];

    pair(fds);
    assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
    assert_int_equal(in_child(s, close_in_child, NULL), 0);
    assert_quiet(s);
    poke(fds[1]);
    assert_int_equal(told(s, 1), IOR_READ);
    take(fds[0]);
    assert_int_equal(s->ops->wake(s->engine), 0);
    assert_woken(s);
    assert_int_equal(s->ops->unwatch(s->engine, fds[0], id_of(1)), 0);
    close_pair(fds);
}

static bool fd_readable(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, 0) == 1;
}

static void its_fd_is_readable_when_there_is_something_to_tell(void **state)
{
    struct subject *s = *state;
    int fds[2];

    if (!(s->ops->features & IOR_ENGINE_HAS_FD)) {
        print_message("%s has no fd for foreign loops\n", s->ops->name);
        skip();
    }
    int fd = s->ops->fd(s->engine);
    pair(fds);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(watch(s, fds[0], 1, IOR_READ), 0);
        assert_false(fd_readable(fd));
        poke(fds[1]);
        assert_true(fd_readable(fd));
        /* It may stay readable for what has gone since, until a wait that finds nothing. */
        take(fds[0]);
        assert_int_equal(wait_now(s), 0);
        assert_int_equal(flush(s), 0);
        assert_false(fd_readable(fd));
        assert_int_equal(s->ops->wake(s->engine), 0);
        assert_true(fd_readable(fd));
        assert_int_equal(wait_now(s), 0);
        assert_int_equal(flush(s), 0);
        assert_false(fd_readable(fd));
        assert_int_equal(s->ops->rebuild(s->engine), 0);
        assert_int_equal(s->ops->fd(s->engine), fd);
    }
    close_pair(fds);
}

/* ---- out of memory ---- */

struct allocator {
    unsigned calls;
    unsigned fail_at; /* the call that fails, and all later ones; 0: none */
};

static void *allocate(void *arg, void *old, size_t old_len, size_t len)
{
    struct allocator *allocator = arg;

    (void)old_len;
    if (len == 0) {
        free(old);
        return NULL;
    }
    allocator->calls++;
    if (allocator->fail_at && allocator->calls >= allocator->fail_at)
        return NULL;
    return realloc(old, len);
}

/* Watches more and more with an allocator that gives out early: refused ones change nothing. */
static void grow_until_out_of_memory(struct subject *s, struct allocator *allocator, int fds[][2], unsigned count)
{
    unsigned watched = 0;

    for (unsigned i = 0; i < count; i++) {
        int err = watch(s, fds[i][0], i, IOR_WRITE);

        if (err < 0) {
            assert_int_equal(err, -ENOMEM);
            break;
        }
        watched++;
    }
    assert_int_equal(wait_now(s), (int)watched);
    if (watched < count)
        assert_int_equal(s->ops->unwatch(s->engine, fds[watched][0], id_of(watched)), -ENOENT);
    /* With memory again, it goes on where it was. */
    allocator->fail_at = 0;
    for (unsigned i = watched; i < count; i++)
        assert_int_equal(watch(s, fds[i][0], i, IOR_WRITE), 0);
    assert_int_equal(wait_now(s), (int)count);
}

static void out_of_memory_changes_nothing(void **state)
{
    struct subject *s = *state;
    struct allocator allocator = {0};
    int fds[80][2];

    close_engine(state);
    for (unsigned i = 0; i < 80; i++)
        pair(fds[i]);
    assert_int_equal(ior_set_alloc(allocate, &allocator), 0);
    for (unsigned fail_at = 1; fail_at < 40; fail_at++) {
        struct ior_engine_config config = {.os = ior_os_default(), .max_records = MAX_RECORDS, .arg = s->arg};
        int err;

        allocator.calls = 0;
        allocator.fail_at = fail_at;
        err = s->ops->open(&config, &s->engine);
        if (err == 0)
            grow_until_out_of_memory(s, &allocator, fds, 80);
        else
            assert_int_equal(err, -ENOMEM);
        if (err == 0)
            s->ops->close(s->engine, false);
        s->engine = NULL;
    }
    /* -EBUSY here would mean that a block was leaked. */
    assert_int_equal(ior_set_alloc(NULL, NULL), 0);
    for (unsigned i = 0; i < 80; i++)
        close_pair(fds[i]);
}

#define CONTRACT_TEST(test) cmocka_unit_test_prestate_setup_teardown(test, open_engine, close_engine, &subject)

int contract_run(const char *name, const struct ior_engine_ops *ops, void *arg)
{
    struct subject subject = {.ops = ops, .arg = arg};
    const struct CMUnitTest tests[] = {
        CONTRACT_TEST(the_table_is_complete),
        CONTRACT_TEST(an_empty_set_tells_nothing),
        CONTRACT_TEST(readiness_is_told_with_the_id),
        CONTRACT_TEST(what_still_holds_is_told_again),
        CONTRACT_TEST(what_held_before_the_watch_is_told),
        CONTRACT_TEST(read_and_write_come_in_one_record),
        CONTRACT_TEST(what_was_not_asked_for_is_not_told),
        CONTRACT_TEST(a_hang_up_is_told_whatever_the_interest),
        CONTRACT_TEST(an_error_is_told_whatever_the_interest),
        CONTRACT_TEST(unread_bytes_are_told_beside_the_hang_up),
        CONTRACT_TEST(a_half_closed_peer_is_no_hang_up),
        CONTRACT_TEST(a_connect_with_a_result_is_writable),
        CONTRACT_TEST(ids_come_back_as_they_were),
        CONTRACT_TEST(an_fd_is_watched_once),
        CONTRACT_TEST(what_is_not_open_is_refused),
        CONTRACT_TEST(a_regular_file_is_always_ready),
        CONTRACT_TEST(what_is_not_in_the_set_cannot_be_changed),
        CONTRACT_TEST(an_unwatched_fd_is_silent_and_can_come_back),
        CONTRACT_TEST(whoever_leaves_the_others_stay),
        CONTRACT_TEST(an_fd_closed_behind_its_back_does_no_harm),
        CONTRACT_TEST(a_rebuild_silences_what_a_duplicate_keeps_alive),
        CONTRACT_TEST(a_rebuild_keeps_waker_and_fd),
        CONTRACT_TEST(a_wake_ends_the_next_wait_once),
        CONTRACT_TEST(wakes_are_merged),
        CONTRACT_TEST(a_wake_is_taken_beside_records),
        CONTRACT_TEST(a_wake_ends_the_wait_that_is_under_way),
        CONTRACT_TEST(no_wake_is_lost),
        CONTRACT_TEST(a_wake_may_come_from_a_signal_handler),
        CONTRACT_TEST(an_interrupted_wait_is_no_error),
        CONTRACT_TEST(a_deadline_is_never_early),
        CONTRACT_TEST(a_deadline_that_has_passed_does_not_wait),
        CONTRACT_TEST(a_far_deadline_is_far),
        CONTRACT_TEST(readiness_ends_a_wait_before_its_deadline),
        CONTRACT_TEST(more_than_max_get_their_turn),
        CONTRACT_TEST(thousands_of_fds_are_watched),
        CONTRACT_TEST(its_fds_are_private_and_go_with_it),
        CONTRACT_TEST(it_never_takes_the_place_of_stdio),
        CONTRACT_TEST(a_forked_child_leaves_the_parents_set_alone),
        CONTRACT_TEST(its_fd_is_readable_when_there_is_something_to_tell),
        CONTRACT_TEST(out_of_memory_changes_nothing),
    };

    int failed = cmocka_run_group_tests_name(name, tests, NULL, NULL);
    return ops->features & IOR_ENGINE_DOES_IO ? failed + contract_io_run(name, ops, arg) : failed;
}
