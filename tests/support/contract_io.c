/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the engine contract that is for engines that do the I/O: what they receive and accept is kept until it
 * is taken, and what is sent comes to what the kernel says.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract_io.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ioreactor/os.h>
#include <ioreactor/time.h>

#include "net.h"

enum { ENOUGH = 64, FDS = 200, SENDS = 3000 };
#define RECEIVES (IOR_READ | IOR_RECEIVES)
#define ACCEPTS (IOR_READ | IOR_ACCEPTS)
#define PATIENCE_NS (60 * IOR_NS_PER_SEC)

struct io_subject {
    const struct ior_engine_ops *ops;
    void *arg;
    void *engine;
};

static ior_id id_of(unsigned n)
{
    return ((ior_id)n << 40 | 1) << 4;
}

static int open_engine(void **state)
{
    struct io_subject *s = *state;
    struct ior_engine_config config = {.os = ior_os_default(), .max_records = ENOUGH, .arg = s->arg};
    return s->ops->open(&config, &s->engine);
}

static int close_engine(void **state)
{
    struct io_subject *s = *state;
    s->ops->close(s->engine, false);
    return 0;
}

static void watch(struct io_subject *s, int fd, unsigned n, unsigned interest)
{
    assert_int_equal(s->ops->watch(s->engine, fd, id_of(n), interest), 0);
}

static void rewatch(struct io_subject *s, int fd, unsigned n, unsigned interest)
{
    assert_int_equal(s->ops->rewatch(s->engine, fd, id_of(n), interest), 0);
}

static void unwatch(struct io_subject *s, int fd, unsigned n)
{
    assert_int_equal(s->ops->unwatch(s->engine, fd, id_of(n)), 0);
}

/* What a wait until `deadline_ns` tells of an id. */
static unsigned told_until(struct io_subject *s, unsigned n, uint64_t deadline_ns)
{
    struct ior_record records[ENOUGH];
    int count = s->ops->wait(s->engine, records, ENOUGH, deadline_ns);
    unsigned what = 0;
    assert_in_range(count, 0, ENOUGH);
    for (int i = 0; i < count; i++) {
        if (records[i].id != id_of(n))
            continue;
        assert_int_equal(what, 0);
        what = records[i].what;
    }
    return what;
}

static unsigned told(struct io_subject *s, unsigned n)
{
    return told_until(s, n, 0);
}

/* Waits until `what` is told of an id. */
static void await(struct io_subject *s, unsigned n, unsigned what)
{
    uint64_t end_ns = net_now() + PATIENCE_NS;
    while ((told_until(s, n, net_now() + 10 * IOR_NS_PER_MS) & what) != what)
        assert_true(net_now() < end_ns);
}

static ssize_t take(struct io_subject *s, int fd, unsigned n, void *bytes, size_t len)
{
    return s->ops->recv(s->engine, fd, id_of(n), bytes, len);
}

/* Takes exactly the run of the pattern. */
static void take_pattern(struct io_subject *s, int fd, unsigned n, uint64_t from, size_t len)
{
    unsigned char *bytes = malloc(len);
    uint64_t end_ns = net_now() + PATIENCE_NS;
    size_t at = 0;
    while (at < len) {
        ssize_t got = take(s, fd, n, bytes + at, len - at);
        assert_true(got > 0 || got == -EAGAIN);
        assert_true(net_now() < end_ns);
        if (got > 0)
            at += (size_t)got;
        else
            (void)told_until(s, n, net_now() + 10 * IOR_NS_PER_MS);
    }
    assert_true(net_is_pattern(bytes, from, len));
    free(bytes);
}

/* ---- receiving ---- */

static void what_was_received_is_told_until_it_is_taken(void **state)
{
    struct io_subject *s = *state;
    char bytes[8];
    int fds[2];

    net_tcp_pair(fds);
    watch(s, fds[0], 1, RECEIVES);
    assert_int_equal(told(s, 1), 0);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), -EAGAIN);
    net_write(fds[1], "abcdef", 6);
    await(s, 1, IOR_READ);
    for (int i = 0; i < 3; i++)
        assert_int_equal(told(s, 1), IOR_READ);
    assert_int_equal(take(s, fds[0], 1, bytes, 4), 4);
    assert_memory_equal(bytes, "abcd", 4);
    assert_int_equal(told(s, 1), IOR_READ);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), 2);
    assert_memory_equal(bytes, "ef", 2);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), -EAGAIN);
    assert_int_equal(told(s, 1), 0);
    net_close(&fds[0]);
    net_close(&fds[1]);
}

static void the_end_comes_once_behind_the_bytes(void **state)
{
    struct io_subject *s = *state;
    char bytes[8];
    int fds[2];

    net_unix_pair(fds);
    watch(s, fds[0], 1, RECEIVES);
    net_write(fds[1], "abc", 3);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    await(s, 1, IOR_READ);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), 3);
    await(s, 1, IOR_READ);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), 0);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), -EAGAIN);
    assert_int_equal(told(s, 1), 0);
    /* The other direction is open, and its end is still heard of. */
    close(fds[1]);
    await(s, 1, IOR_HUP);
    assert_true(told(s, 1) & IOR_HUP);
    unwatch(s, fds[0], 1);
    close(fds[0]);
}

static void an_error_comes_once_and_a_write_knows_it(void **state)
{
    struct io_subject *s = *state;
    struct iovec iov = {(void *)(uintptr_t) "x", 1};
    char bytes[8];
    int fds[2];

    net_tcp_pair(fds);
    watch(s, fds[0], 1, RECEIVES);
    assert_int_equal(told(s, 1), 0);
    net_reset(fds[1]);
    await(s, 1, IOR_READ);
    /* The kernel would say EPIPE by now: the first cause is kept. */
    assert_int_equal(s->ops->send(s->engine, fds[0], id_of(1), &iov, 1), 0);
    assert_int_equal(s->ops->sent(s->engine, fds[0], id_of(1)), -ECONNRESET);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), -ECONNRESET);
    assert_int_equal(take(s, fds[0], 1, bytes, 8), -EAGAIN);
    await(s, 1, IOR_HUP);
    unwatch(s, fds[0], 1);
    assert_int_equal(told(s, 1), 0);
    close(fds[0]);
}

static void a_hang_up_is_told_where_nothing_is_received(void **state)
{
    static const unsigned interests[] = {IOR_RECEIVES, IOR_WRITE | IOR_RECEIVES};
    struct io_subject *s = *state;

    for (int i = 0; i < 2; i++) {
        int fds[2];

        net_tcp_pair(fds);
        watch(s, fds[0], 1, RECEIVES);
        assert_int_equal(told(s, 1), 0);
        rewatch(s, fds[0], 1, interests[i]);
        assert_int_equal(told(s, 1) & ~(unsigned)IOR_WRITE, 0);
        assert_int_equal(shutdown(fds[1], SHUT_WR), 0); /* and a half-closed peer is none */
        assert_int_equal(told(s, 1) & ~(unsigned)IOR_WRITE, 0);
        assert_int_equal(told(s, 1) & ~(unsigned)IOR_WRITE, 0);
        net_reset(fds[1]);
        await(s, 1, IOR_HUP);
        assert_true(told(s, 1) & IOR_HUP);
        unwatch(s, fds[0], 1);
        close(fds[0]);
    }
}

/* A half-closed peer must not keep the wait from waiting, whatever is waited for. */
static void a_half_closed_peer_is_quiet(void **state)
{
    struct io_subject *s = *state;
    struct ior_record records[ENOUGH];
    unsigned char *bytes = calloc(1, 1 << 20);
    int fds[2];

    net_tcp_pair(fds);
    net_nonblock(fds[0]);
    while (write(fds[0], bytes, 1 << 20) > 0) {
    }
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    net_await(fds[0], POLLIN);
    watch(s, fds[0], 1, IOR_WRITE | IOR_RECEIVES);
    for (int i = 0; i < 2; i++) {
        uint64_t deadline_ns = net_now() + 5 * IOR_NS_PER_MS;
        assert_int_equal(s->ops->wait(s->engine, records, ENOUGH, deadline_ns), 0);
        assert_true(net_now() >= deadline_ns);
        rewatch(s, fds[0], 1, IOR_RECEIVES);
    }
    rewatch(s, fds[0], 1, IOR_WRITE | IOR_RECEIVES);
    assert_int_equal(told(s, 1), 0);
    while (told(s, 1) != IOR_WRITE)
        assert_true(net_read_some(fds[1], bytes, 1 << 20) != 0);
    unwatch(s, fds[0], 1);
    net_close(&fds[0]);
    net_close(&fds[1]);
    free(bytes);
}

/* R69: what was taken from the fd is not lost, and nothing is taken later. */
static void received_bytes_stay_with_their_id(void **state)
{
    struct io_subject *s = *state;
    char bytes[16];
    int fds[2];

    net_unix_pair(fds);
    watch(s, fds[0], 1, RECEIVES);
    assert_int_equal(told(s, 1), 0);
    net_write(fds[1], "one ", 4);
    await(s, 1, IOR_READ);
    unwatch(s, fds[0], 1);
    net_write(fds[1], "two ", 4);
    assert_int_equal(told(s, 1), 0);
    watch(s, fds[0], 1, RECEIVES);
    await(s, 1, IOR_READ);
    assert_int_equal(s->ops->rebuild(s->engine), 0);
    net_write(fds[1], "six ", 4);
    assert_int_equal(told(s, 1), 0);
    ssize_t held = take(s, fds[0], 1, bytes, 16);
    assert_true(held == 4 || held == 8);
    assert_int_equal(recv(fds[0], bytes + held, 16, MSG_DONTWAIT), 12 - held); /* the rest was left where it was */
    assert_memory_equal(bytes, "one two six ", 12);
    watch(s, fds[0], 1, RECEIVES);
    net_write(fds[1], "lost", 4);
    await(s, 1, IOR_READ);
    unwatch(s, fds[0], 1);
    watch(s, fds[0], 2, RECEIVES); /* another's: what was held is dropped */
    assert_int_equal(told(s, 2), 0);
    assert_int_equal(take(s, fds[0], 1, bytes, 16), -EAGAIN);
    assert_int_equal(take(s, fds[0], 2, bytes, 16), -EAGAIN);
    unwatch(s, fds[0], 2);
    net_close(&fds[0]);
    net_close(&fds[1]);
}

static void what_is_not_wanted_now_waits(void **state)
{
    struct io_subject *s = *state;
    int fds[2];

    net_unix_pair(fds);
    watch(s, fds[0], 1, RECEIVES);
    assert_int_equal(told(s, 1), 0);
    net_write_pattern(fds[1], 0, 100);
    await(s, 1, IOR_READ);
    rewatch(s, fds[0], 1, IOR_RECEIVES);
    net_write_pattern(fds[1], 100, 100);
    for (int i = 0; i < 3; i++)
        assert_int_equal(told(s, 1), 0);
    rewatch(s, fds[0], 1, RECEIVES);
    await(s, 1, IOR_READ);
    take_pattern(s, fds[0], 1, 0, 200);
    unwatch(s, fds[0], 1);
    net_close(&fds[0]);
    net_close(&fds[1]);
}

/* R66: more streams, and more bytes, than any engine has buffers for. */
static void many_streams_get_all_their_bytes(void **state)
{
    enum { STREAMS = 50, EACH = 60000 };
    struct io_subject *s = *state;
    int fds[STREAMS][2];

    for (unsigned i = 0; i < STREAMS; i++) {
        net_unix_pair(fds[i]);
        watch(s, fds[i][0], i, RECEIVES);
    }
    for (unsigned i = 0; i < STREAMS; i++)
        net_write_pattern(fds[i][1], i, EACH);
    for (int turns = 0; turns < 20; turns++)
        (void)told(s, 0); /* nobody takes anything */
    for (unsigned i = 0; i < STREAMS; i++)
        take_pattern(s, fds[i][0], i, i, EACH);
    for (unsigned i = 0; i < STREAMS; i++) {
        unwatch(s, fds[i][0], i);
        net_close(&fds[i][0]);
        net_close(&fds[i][1]);
    }
}

/* ---- accepting ---- */

static int accept_one(struct io_subject *s, int listener)
{
    int fd = s->ops->accept(s->engine, listener, id_of(1));
    if (fd == -EAGAIN) {
        await(s, 1, IOR_READ);
        fd = s->ops->accept(s->engine, listener, id_of(1));
    }
    assert_true(fd > STDERR_FILENO);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    return fd;
}

static void connections_are_kept_until_they_are_taken(void **state)
{
    struct io_subject *s = *state;
    struct ior_addr addr;
    int listener = net_tcp_listener(&addr, 64), clients[40];
    size_t count = net_fd_count();

    net_nonblock(listener);
    watch(s, listener, 1, ACCEPTS);
    assert_int_equal(told(s, 1), 0);
    assert_int_equal(s->ops->accept(s->engine, listener, id_of(1)), -EAGAIN);
    for (int i = 0; i < 40; i++) {
        clients[i] = net_connect(&addr);
        net_write(clients[i], &i, sizeof(i));
    }
    await(s, 1, IOR_READ);
    assert_int_equal(told(s, 1), IOR_READ);
    for (int i = 0; i < 40; i++) {
        int fd = accept_one(s, listener), n;
        net_read(fd, &n, sizeof(n));
        assert_int_equal(n, i); /* in order */
        close(fd);
        if (i == 20) {
            unwatch(s, listener, 1);
            assert_int_equal(told(s, 1), 0);
            watch(s, listener, 1, ACCEPTS);
        }
        close(clients[i]);
    }
    assert_int_equal(s->ops->accept(s->engine, listener, id_of(1)), -EAGAIN);
    /* And those that nobody takes are closed when the number becomes another's. */
    clients[0] = net_connect(&addr);
    await(s, 1, IOR_READ);
    unwatch(s, listener, 1);
    watch(s, listener, 2, ACCEPTS);
    net_await(clients[0], POLLIN);
    assert_int_equal(net_read_some(clients[0], &count, 1), 0);
    unwatch(s, listener, 2);
    close(clients[0]);
    assert_int_equal(net_fd_count(), count);
    close(listener);
}

/* ---- sending ---- */

/* Whether what came of it is known at once. */
static bool send_pieces(struct io_subject *s, int fd, unsigned n, struct iovec *iov, int count)
{
    int r = s->ops->send(s->engine, fd, id_of(n), iov, count);
    assert_in_range(r, 0, 1);
    memset(iov, 0x5a, (size_t)count * sizeof(*iov)); /* it need not stay */
    return r == 1;
}

static void what_was_sent_is_whole(void **state)
{
    struct io_subject *s = *state;
    char bytes[8];
    int fds[2];

    net_unix_pair(fds);
    net_nonblock(fds[0]);
    watch(s, fds[0], 1, RECEIVES);
    for (int way = 0; way < 4; way++) {
        struct iovec iov[] = {{(void *)(uintptr_t) "abc", 3}, {(void *)(uintptr_t) "def", 3}};
        int count = way & 1 ? 2 : 1;
        send_pieces(s, fds[0], 1, iov, count);
        if (way == 2)
            assert_int_equal(s->ops->flush(s->engine), 0);
        else if (way != 3) /* or without anything in between */
            assert_int_equal(told(s, 1), 0);
        assert_int_equal(s->ops->sent(s->engine, fds[0], id_of(1)), 3 * count);
        net_read(fds[1], bytes, (size_t)(3 * count));
        assert_memory_equal(bytes, "abcdef", (size_t)(3 * count));
    }
    unwatch(s, fds[0], 1);
    net_close(&fds[0]);
    net_close(&fds[1]);
}

/* Promise 4: the count is exact, also where the kernel takes less; and that ends a wait. */
static void a_send_that_comes_short_says_how_much(void **state)
{
    enum { BIG = 32 << 20 }; /* more than any socket takes */
    struct io_subject *s = *state;
    struct ior_record records[ENOUGH];
    unsigned char *bytes = net_new_pattern(BIG), *got = malloc(BIG);
    int fds[2];

    for (int tcp = 0; tcp < 2; tcp++) {
        struct iovec iov[] = {{bytes, BIG / 2}, {bytes + BIG / 2, BIG / 2}};
        tcp ? net_tcp_pair(fds) : net_unix_pair(fds);
        net_nonblock(fds[0]);
        watch(s, fds[0], 1, RECEIVES);
        assert_int_equal(told(s, 1), 0);
        uint64_t begin_ns = net_now();
        if (!send_pieces(s, fds[0], 1, iov, 2))
            assert_int_equal(s->ops->wait(s->engine, records, ENOUGH, begin_ns + PATIENCE_NS), 0);
        assert_true(net_now() < begin_ns + PATIENCE_NS);
        ssize_t n = s->ops->sent(s->engine, fds[0], id_of(1));
        assert_in_range(n, 1, BIG - 1);
        net_read(fds[1], got, (size_t)n);
        assert_true(net_is_pattern(got, 0, (size_t)n));
        assert_int_equal(recv(fds[1], got, BIG, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
        unwatch(s, fds[0], 1);
        net_close(&fds[0]);
        net_close(&fds[1]);
    }
    free(bytes);
    free(got);
}

static void a_full_or_closed_socket_takes_nothing(void **state)
{
    struct io_subject *s = *state;
    static const size_t lens[] = {1000, 1 << 20};
    unsigned char *bytes = calloc(1, 1 << 20);
    int fds[2];

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct iovec iov = {bytes, lens[i]}, again = iov;
        net_unix_pair(fds);
        net_nonblock(fds[0]);
        watch(s, fds[0], 1, IOR_RECEIVES);
        while (write(fds[0], bytes, 1 << 20) > 0) {
        }
        send_pieces(s, fds[0], 1, &iov, 1);
        assert_int_equal(s->ops->sent(s->engine, fds[0], id_of(1)), -EAGAIN);
        close(fds[1]);
        send_pieces(s, fds[0], 1, &again, 1);
        assert_int_equal(s->ops->sent(s->engine, fds[0], id_of(1)), -EPIPE); /* and no signal */
        unwatch(s, fds[0], 1);
        net_close(&fds[0]);
    }
    free(bytes);
}

/* R68: whatever an engine's queues hold, a turn may have more. */
static void a_turn_may_send_to_any_number(void **state)
{
    struct io_subject *s = *state;
    static const char text[] = "0123456789";
    char bytes[10];
    int fds[FDS][2];

    for (unsigned i = 0; i < FDS; i++) {
        net_unix_pair(fds[i]);
        net_nonblock(fds[i][0]);
        watch(s, fds[i][0], i, RECEIVES);
    }
    for (int round = 0; round < SENDS / FDS; round++) {
        for (unsigned i = 0; i < FDS; i++) {
            struct iovec iov[10];
            for (int j = 0; j < 10; j++)
                iov[j] = (struct iovec){(void *)(uintptr_t)(text + j), 1};
            send_pieces(s, fds[i][0], i, iov, 10);
        }
        if (round & 1)
            (void)told(s, 0);
        for (unsigned i = FDS; i-- > 0;) {
            assert_int_equal(s->ops->sent(s->engine, fds[i][0], id_of(i)), 10);
            net_read(fds[i][1], bytes, 10);
            assert_memory_equal(bytes, text, 10);
        }
    }
    for (unsigned i = 0; i < FDS; i++) {
        unwatch(s, fds[i][0], i);
        net_close(&fds[i][0]);
        net_close(&fds[i][1]);
    }
}

/* A resource may write while the engine does not watch it (after a hang-up in a pause). */
static void what_is_not_watched_can_be_written(void **state)
{
    struct io_subject *s = *state;
    struct iovec iov = {(void *)(uintptr_t) "abc", 3};
    char bytes[3];
    int fds[2];

    net_unix_pair(fds);
    assert_int_equal(s->ops->sent(s->engine, fds[0], id_of(1)), -EAGAIN);
    send_pieces(s, fds[0], 1, &iov, 1);
    assert_int_equal(s->ops->sent(s->engine, fds[0], id_of(1)), 3);
    net_read(fds[1], bytes, 3);
    net_close(&fds[0]);
    net_close(&fds[1]);
}

#define CONTRACT_TEST(test) cmocka_unit_test_prestate_setup_teardown(test, open_engine, close_engine, &subject)

int contract_io_run(const char *name, const struct ior_engine_ops *ops, void *arg)
{
    struct io_subject subject = {.ops = ops, .arg = arg};
    const struct CMUnitTest tests[] = {
        CONTRACT_TEST(what_was_received_is_told_until_it_is_taken),
        CONTRACT_TEST(the_end_comes_once_behind_the_bytes),
        CONTRACT_TEST(an_error_comes_once_and_a_write_knows_it),
        CONTRACT_TEST(a_hang_up_is_told_where_nothing_is_received),
        CONTRACT_TEST(a_half_closed_peer_is_quiet),
        CONTRACT_TEST(received_bytes_stay_with_their_id),
        CONTRACT_TEST(what_is_not_wanted_now_waits),
        CONTRACT_TEST(many_streams_get_all_their_bytes),
        CONTRACT_TEST(connections_are_kept_until_they_are_taken),
        CONTRACT_TEST(what_was_sent_is_whole),
        CONTRACT_TEST(a_send_that_comes_short_says_how_much),
        CONTRACT_TEST(a_full_or_closed_socket_takes_nothing),
        CONTRACT_TEST(a_turn_may_send_to_any_number),
        CONTRACT_TEST(what_is_not_watched_can_be_written),
    };

    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
