/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine on io_uring, where it is not like others: what queues and buffers that are too small, cancelling, changes
 * of rings and threads do to it. R65 to R70 and R72 are provoked with rings as small as the kernel makes them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <stdio.h>

#if defined(IOR_URING)
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ioreactor.h>
#include <ioreactor/uring.h>

#include "engine/uring.h"
#include "support/contract.h"
#include "support/live.h"
#include "support/net.h"

#define OPTIONS(...)                                                 \
    {                                                                \
        .struct_size = sizeof(struct ior_uring_options), __VA_ARGS__ \
    }
#define RECEIVES (IOR_READ | IOR_RECEIVES)
#define PATIENCE_NS (60 * IOR_NS_PER_SEC)
enum { RECORDS = 256 };

static const struct ior_engine_ops *const ops = &ior__engine_uring;
static const struct ior_uring_options tiny = OPTIONS(.entries = 1, .completions = 2, .buffers = 2, .buffer_bytes = 64);
static const struct ior_uring_options tiny_whole =
    OPTIONS(.flags = IOR_URING_WHOLE_BUFFERS, .entries = 2, .completions = 4, .buffers = 2, .buffer_bytes = 100);

static ior_id id_of(int fd)
{
    return ((ior_id)fd << 40 | 1) << 4;
}

static int try_open(const struct ior_uring_options *options, struct uring **ret)
{
    struct ior_engine_config config = {
        .os = ior_os_default(), .max_records = RECORDS, .arg = (void *)(uintptr_t)options};
    void *engine = NULL;
    int err = ops->open(&config, &engine);
    *ret = engine;
    return err;
}

static struct uring *open_engine(const struct ior_uring_options *options)
{
    struct uring *u;
    assert_int_equal(try_open(options, &u), 0);
    return u;
}

static void watch(struct uring *u, int fd, unsigned interest)
{
    assert_int_equal(ops->watch(u, fd, id_of(fd), interest), 0);
}

static int wait_ns(struct uring *u, uint64_t ns)
{
    static struct ior_record records[RECORDS];
    int count = ops->wait(u, records, RECORDS, ns ? net_now() + ns : 0);
    assert_in_range(count, 0, RECORDS);
    return count;
}

/* Takes what is there for each fd, `from[i]` being what was taken before; the sum. Fails on a wrong byte. */
static size_t take_all(struct uring *u, int fds[][2], uint64_t *from, int n)
{
    unsigned char bytes[4096];
    size_t sum = 0;
    for (int i = 0; i < n; i++) {
        ssize_t got;
        while ((got = ops->recv(u, fds[i][0], id_of(fds[i][0]), bytes, sizeof(bytes))) > 0) {
            assert_true(net_is_pattern(bytes, from[i], (size_t)got));
            from[i] += (uint64_t)got;
            sum += (size_t)got;
        }
        assert_int_equal(got, -EAGAIN);
    }
    return sum;
}

static void take_until(struct uring *u, int fds[][2], uint64_t *from, int n, size_t sum)
{
    uint64_t end_ns = net_now() + PATIENCE_NS;
    while (sum > 0) {
        size_t got = take_all(u, fds, from, n);
        assert_true(got <= sum);
        assert_true(net_now() < end_ns);
        sum -= got;
        if (got == 0)
            wait_ns(u, 10 * IOR_NS_PER_MS);
    }
}

static void pairs(int fds[][2], int n)
{
    for (int i = 0; i < n; i++) {
        net_unix_pair(fds[i]);
        net_nonblock(fds[i][0]);
    }
}

static void close_pairs(int fds[][2], int n)
{
    for (int i = 0; i < n; i++) {
        net_close(&fds[i][0]);
        net_close(&fds[i][1]);
    }
}

/* ---- options ---- */

static void bad_options_are_refused(void **state)
{
    static const struct ior_uring_options bad[] = {
        {.struct_size = 4},
        OPTIONS(.flags = 2),
        OPTIONS(.entries = 3),
        OPTIONS(.entries = 65536, .completions = 65536 * 2u),
        OPTIONS(.entries = 64, .completions = 64),
        OPTIONS(.completions = 4097),
        OPTIONS(.completions = 131072),
        OPTIONS(.buffers = 3),
        OPTIONS(.buffers = 65536),
        OPTIONS(.buffer_bytes = (1u << 24) + 1),
        OPTIONS(.held_bytes = 1u << 31),
        OPTIONS(.reserved = 1),
    };
    size_t fds = net_fd_count();
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct uring *u;
        assert_int_equal(try_open(&bad[i], &u), -EINVAL);
    }
    assert_int_equal(net_fd_count(), fds);
}

static void it_can_be_named_with_its_options(void **state)
{
    static const struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_config config = {
        .struct_size = sizeof(config), .engine = "uring", .engine_arg = (void *)(uintptr_t)&tiny};
    struct ior_runtime *rt;
    (void)state;
    assert_int_equal(ior_runtime_new(&config, &handler, NULL, &rt), 0);
    assert_string_equal(ior_runtime_engine(rt), "uring");
    ior_runtime_free(rt);
}

/* ---- R65 ---- */

static atomic_uint overflows;

static void count_overflows(void *arg, int level, const char *line)
{
    (void)arg;
    (void)level;
    if (strstr(line, "overflowed"))
        atomic_fetch_add(&overflows, 1);
}

static void r65_completions_that_find_no_room_are_not_lost(void **state)
{
    enum { STREAMS = 100, EACH = 300 };
    static const struct ior_uring_options small = OPTIONS(.entries = 4, .completions = 8);
    struct uring *u = open_engine(&small);
    uint64_t from[STREAMS] = {0};
    int fds[STREAMS][2];
    (void)state;

    overflows = 0;
    ior_set_log(count_overflows, NULL, IOR_LOG_DEBUG);
    pairs(fds, STREAMS);
    for (int i = 0; i < STREAMS; i++) {
        net_write_pattern(fds[i][1], 0, EACH);
        watch(u, fds[i][0], RECEIVES);
    }
    assert_int_equal(wait_ns(u, 0), STREAMS); /* all of them at once, though there is room for eight */
    take_until(u, fds, from, STREAMS, STREAMS * EACH);
    ior_set_log(NULL, NULL, 0);
    assert_true(overflows > 0);
    close_pairs(fds, STREAMS);
    ops->close(u, false);
}

/* The only completions of sends are those that fail, and they are as many as the sends here. */
static void r65_failed_sends_that_find_no_room_are_not_lost(void **state)
{
    enum { STREAMS = 60 };
    static const struct ior_uring_options small = OPTIONS(.entries = 8, .completions = 16);
    struct uring *u = open_engine(&small);
    struct iovec iov = {(void *)(uintptr_t) "x", 1};
    int fds[STREAMS][2];
    (void)state;

    pairs(fds, STREAMS);
    for (int i = 0; i < STREAMS; i++)
        net_close(&fds[i][1]);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < STREAMS; i++)
            assert_int_equal(ops->send(u, fds[i][0], id_of(fds[i][0]), &iov, 1), 0);
        if (round == 0)
            wait_ns(u, 0);
        for (int i = 0; i < STREAMS; i++)
            assert_int_equal(ops->sent(u, fds[i][0], id_of(fds[i][0])), -EPIPE);
    }
    for (int i = 0; i < STREAMS; i++)
        net_close(&fds[i][0]);
    ops->close(u, false);
}

/*
 * One send in a turn is written directly, several leave as operations, and where the queue has but one entry there is
 * both. Each is told exactly, and ends the wait where it came short: these are longer than a socket takes, though none is
 * so large that it would be written at once.
 */
static void sends_that_come_short_are_told_exactly(void **state)
{
    enum { MOST = 3, LEN = 8000 };
    static const int least = 1;
    static unsigned char bytes[LEN], got[LEN];
    (void)state;

    net_pattern(bytes, 0, LEN);
    for (int n = 1; n <= MOST; n++) {
        for (int way = 0; way < 6; way++) {
            struct uring *u = open_engine(way & 1 ? &tiny : NULL);
            struct iovec iov = {bytes, LEN};
            int fds[MOST][2], fd = way & 4 ? ops->fd(u) : -1;
            pairs(fds, n);
            wait_ns(u, 0);
            for (int i = 0; i < n; i++) {
                assert_int_equal(setsockopt(fds[i][0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
                assert_int_equal(ops->send(u, fds[i][0], id_of(fds[i][0]), &iov, 1), 0);
            }
            uint64_t end_ns = net_now() + PATIENCE_NS;
            if (way & 4) { /* a foreign loop hears of it */
                assert_int_equal(ops->flush(u), 0);
                assert_int_equal(net_await(fd, POLLIN), POLLIN);
            }
            if (way & 6)
                assert_int_equal(wait_ns(u, PATIENCE_NS), 0);
            assert_true(net_now() < end_ns);
            for (int i = 0; i < n; i++) {
                ssize_t sent = ops->sent(u, fds[i][0], id_of(fds[i][0]));
                assert_in_range(sent, 1, LEN - 1);
                net_read(fds[i][1], got, (size_t)sent);
                assert_true(net_is_pattern(got, 0, (size_t)sent));
                assert_int_equal(recv(fds[i][1], got, 1, MSG_DONTWAIT), -1); /* and no more */
                assert_int_equal(ops->sent(u, fds[i][0], id_of(fds[i][0])), -EAGAIN);
            }
            close_pairs(fds, n);
            ops->close(u, false);
        }
    }
}

/* Those are: what came of it is known, no operation is made of it, and small ones of the turn leave as before. */
static void a_large_send_is_written_at_once(void **state)
{
    enum { LARGE = 8192 };
    static unsigned char bytes[LARGE], got[LARGE];
    struct iovec pieces[] = {{bytes, LARGE / 2}, {bytes + LARGE / 2, LARGE / 2}}, small = {bytes, 100};
    (void)state;

    net_pattern(bytes, 0, LARGE);
    for (int count = 1; count <= 2; count++) {
        struct uring *u = open_engine(NULL);
        struct iovec whole = {bytes, LARGE};
        int fds[3][2];
        pairs(fds, 3);
        assert_int_equal(ops->send(u, fds[0][0], id_of(fds[0][0]), &small, 1), 0);
        assert_int_equal(ops->send(u, fds[1][0], id_of(fds[1][0]), count == 1 ? &whole : pieces, count), 1);
        assert_int_equal(recv(fds[1][1], got, LARGE, MSG_DONTWAIT), LARGE);
        assert_memory_equal(got, bytes, LARGE);
        assert_int_equal(recv(fds[0][1], got, LARGE, MSG_DONTWAIT), -1);
        assert_int_equal(ops->sent(u, fds[1][0], id_of(fds[1][0])), LARGE);
        assert_int_equal(ops->sent(u, fds[1][0], id_of(fds[1][0])), -EAGAIN);
        assert_int_equal(ops->send(u, fds[2][0], id_of(fds[2][0]), &small, 1), 0);
        wait_ns(u, 0);
        for (int i = 0; i < 3; i += 2) {
            assert_int_equal(ops->sent(u, fds[i][0], id_of(fds[i][0])), 100);
            assert_int_equal(recv(fds[i][1], got, LARGE, MSG_DONTWAIT), 100);
        }
        close_pairs(fds, 3);
        ops->close(u, false);
    }
}

/* ---- R66 ---- */

static void starve(const struct ior_uring_options *options)
{
    enum { STREAMS = 20, EACH = 5000 };
    struct uring *u = open_engine(options);
    uint64_t from[STREAMS] = {0};
    int fds[STREAMS][2];

    pairs(fds, STREAMS);
    for (int i = 0; i < STREAMS; i++) {
        watch(u, fds[i][0], RECEIVES);
        net_write_pattern(fds[i][1], 0, EACH);
    }
    assert_true(wait_ns(u, 0) > 0);
    assert_int_equal(u->buffers.given, 0); /* all of them are held: the others got ENOBUFS */
    take_until(u, fds, from, STREAMS, STREAMS * EACH);
    assert_int_equal(u->buffers.given, u->buffers.count);
    close_pairs(fds, STREAMS);
    ops->close(u, false);
}

static void r66_streams_without_a_buffer_go_on_when_there_are_some(void **state)
{
    (void)state;
    starve(&tiny);
    starve(&tiny_whole);
}

/* Those that do not read do not keep the buffers. */
static void r66_whoever_does_not_read_keeps_no_buffer(void **state)
{
    struct uring *u = open_engine(&tiny);
    uint64_t from[3] = {0};
    int fds[3][2];
    (void)state;

    pairs(fds, 3);
    watch(u, fds[0][0], RECEIVES);
    watch(u, fds[1][0], RECEIVES);
    wait_ns(u, 0);
    net_write_pattern(fds[0][1], 0, 64);
    net_write_pattern(fds[1][1], 0, 64);
    assert_int_equal(ops->rewatch(u, fds[0][0], id_of(fds[0][0]), IOR_RECEIVES), 0);
    assert_int_equal(ops->rewatch(u, fds[1][0], id_of(fds[1][0]), IOR_RECEIVES), 0);
    for (int i = 0; i < 4; i++)
        wait_ns(u, 0);
    assert_int_equal(u->buffers.given, 2); /* copied out */
    watch(u, fds[2][0], RECEIVES);
    net_write_pattern(fds[2][1], 0, 5000);
    take_until(u, &fds[2], &from[2], 1, 5000);
    take_until(u, fds, from, 2, 128);
    close_pairs(fds, 3);
    ops->close(u, false);
}

/* Of more than go on at once, some are wanted no more when it is their turn: the wait goes on with the others. */
static void r66_the_turn_of_each_comes(void **state)
{
    enum { STREAMS = 900, LATER = 700, LEN = 64 };
    static uint64_t from[STREAMS];
    static int fds[STREAMS][2];
    struct uring *u = open_engine(&tiny);
    (void)state;

    net_raise_fd_limit(2 * STREAMS + 200);
    pairs(fds, STREAMS);
    for (int i = 0; i < STREAMS; i++)
        watch(u, fds[i][0], RECEIVES);
    wait_ns(u, 0);
    for (int i = 0; i < STREAMS; i++)
        net_write_pattern(fds[i][1], 0, LEN);
    assert_int_equal(wait_ns(u, 0), 2); /* there are so many buffers */
    for (int i = 0; i < LATER; i++)
        assert_int_equal(ops->rewatch(u, fds[i][0], id_of(fds[i][0]), IOR_RECEIVES), 0);
    for (size_t sum = 0; sum < (size_t)(STREAMS - LATER) * LEN;) {
        assert_in_range(wait_ns(u, PATIENCE_NS), 1, RECORDS);
        sum += take_all(u, fds + LATER, from + LATER, STREAMS - LATER);
    }
    assert_int_equal(wait_ns(u, 0), 0);
    for (int i = 0; i < LATER; i++)
        assert_int_equal(ops->rewatch(u, fds[i][0], id_of(fds[i][0]), RECEIVES), 0);
    for (size_t sum = 0; sum < (size_t)LATER * LEN;) {
        assert_in_range(wait_ns(u, PATIENCE_NS), 1, RECORDS);
        sum += take_all(u, fds, from, LATER);
    }
    close_pairs(fds, STREAMS);
    ops->close(u, false);
}

/* What is held of one stream is bounded: the rest waits in the kernel, and the peer with it. */
static void what_is_held_of_a_stream_is_bounded(void **state)
{
    enum { BOUND = 10000, ROOM = 4 * 4096 };
    static const struct ior_uring_options small = OPTIONS(.buffers = 4, .buffer_bytes = 4096, .held_bytes = BOUND);
    struct uring *u = open_engine(&small);
    unsigned char bytes[4096];
    uint64_t from = 0, to = 0, most = 0;
    int fds[1][2];
    (void)state;

    pairs(fds, 1);
    net_nonblock(fds[0][1]);
    watch(u, fds[0][0], RECEIVES);
    for (int i = 0; i < 200; i++) {
        net_pattern(bytes, to, sizeof(bytes));
        ssize_t n = write(fds[0][1], bytes, sizeof(bytes));
        to += n > 0 ? (uint64_t)n : 0;
        wait_ns(u, 0);
        most = uring_at(u, fds[0][0])->held > most ? uring_at(u, fds[0][0])->held : most;
    }
    assert_in_range(most, BOUND / 2, BOUND + ROOM + (int)sizeof(bytes));
    assert_true(to > most);
    take_until(u, fds, &from, 1, to);
    close_pairs(fds, 1);
    ops->close(u, false);
}

/* ---- R67 ---- */

static void r67_closing_waits_for_what_is_in_flight(void **state)
{
    enum { STREAMS = 1500 };
    int(*fds)[2] = calloc(STREAMS, sizeof(*fds));
    int streams = (int)net_raise_fd_limit(2 * STREAMS + 200) / 2 - 100;
    size_t count = net_fd_count();
    (void)state;

    streams = streams > STREAMS ? STREAMS : streams;
    live_alloc_start();
    for (int round = 0; round < 3; round++) {
        struct uring *u = open_engine(round == 1 ? &tiny : NULL);
        struct ior_addr addr;
        int listener = net_tcp_listener(&addr, 8), clients[8];
        assert_int_equal(ops->watch(u, listener, id_of(listener), IOR_READ | IOR_ACCEPTS), 0);
        pairs(fds, streams);
        if (round == 2)
            ops->stay(u);
        for (int i = 0; i < streams; i++)
            watch(u, fds[i][0], i & 1 ? IOR_READ : RECEIVES);
        wait_ns(u, 0);
        for (int i = 0; i < streams; i++)
            net_write_pattern(fds[i][1], 0, 2000);
        for (int i = 0; i < 8; i++)
            clients[i] = net_connect(&addr);
        ops->close(u, false); /* held bytes and connections go with it, and nothing is written to them later */
        for (int i = 0; i < streams; i++)
            net_write_pattern(fds[i][1], 0, 2000);
        close_pairs(fds, streams);
        for (int i = 0; i < 8; i++)
            close(clients[i]);
        close(listener);
    }
    live_alloc_stop();
    assert_int_equal(net_fd_count(), count);
    free(fds);
}

/* ---- R68 ---- */

static void r68_a_full_queue_does_not_keep_from_cancelling(void **state)
{
    enum { STREAMS = 40 };
    struct uring *u = open_engine(&tiny); /* one entry: each cancel finds it full */
    struct iovec iov = {(void *)(uintptr_t) "0123456789", 10};
    char bytes[10];
    int fds[STREAMS][2];
    (void)state;

    pairs(fds, STREAMS);
    for (int i = 0; i < STREAMS; i++)
        watch(u, fds[i][0], RECEIVES | IOR_WRITE);
    assert_int_equal(wait_ns(u, 0), STREAMS);
    for (int i = 0; i < STREAMS; i++) {
        int last = fds[STREAMS - 1 - i / 2][0];
        if (ops->send(u, last, id_of(last), &iov, 1) == 0)
            assert_int_equal(i & 1 ? ops->sent(u, last, id_of(last)) : 10, 10);
        assert_int_equal(ops->unwatch(u, fds[i][0], id_of(fds[i][0])), 0);
        uring_clear(uring_at(u, last), URING_SENDING);
        if (!(i & 1))
            wait_ns(u, 0);
    }
    for (int i = 0; i < STREAMS; i++)
        net_read(fds[STREAMS - 1 - i / 2][1], bytes, 10);
    assert_int_equal(wait_ns(u, 0), 0);
    assert_int_equal(u->in_flight, 1); /* the waker's */
    close_pairs(fds, STREAMS);
    ops->close(u, false);
}

/* ---- R69 ---- */

struct writer {
    int fd;
    uint64_t to;
    atomic_bool stop;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    unsigned char bytes[700];
    while (!atomic_load(&w->stop)) {
        net_pattern(bytes, w->to, sizeof(bytes));
        ssize_t n = send(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        w->to += n > 0 ? (uint64_t)n : 0;
    }
    return NULL;
}

/* The bytes are either held or still in the socket, each once, however late the cancel comes. */
static void cancel_while_bytes_come(const struct ior_uring_options *options, bool stay)
{
    struct uring *u = open_engine(options);
    unsigned char bytes[8192];
    uint64_t at = 0;
    int fds[1][2];
    pthread_t thread;

    pairs(fds, 1);
    if (stay)
        ops->stay(u);
    struct writer w = {.fd = fds[0][1]};
    assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
    for (int round = 0; round < 3000; round++) {
        ssize_t n;
        watch(u, fds[0][0], RECEIVES);
        for (int i = 0; i < round % 3; i++)
            wait_ns(u, 0);
        assert_int_equal(ops->unwatch(u, fds[0][0], id_of(fds[0][0])), 0);
        while ((n = ops->recv(u, fds[0][0], id_of(fds[0][0]), bytes, sizeof(bytes))) > 0) {
            assert_true(net_is_pattern(bytes, at, (size_t)n));
            at += (uint64_t)n;
        }
        assert_int_equal(n, -EAGAIN);
        n = recv(fds[0][0], bytes, sizeof(bytes), MSG_DONTWAIT);
        assert_true(n <= 0 || net_is_pattern(bytes, at, (size_t)n));
        at += n > 0 ? (uint64_t)n : 0;
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    while (at < w.to) {
        ssize_t n = recv(fds[0][0], bytes, sizeof(bytes), MSG_DONTWAIT);
        assert_true(n > 0 && net_is_pattern(bytes, at, (size_t)n));
        at += (uint64_t)n;
    }
    assert_int_equal(at, w.to);
    close_pairs(fds, 1);
    ops->close(u, false);
}

static void r69_cancelled_too_late_loses_nothing(void **state)
{
    (void)state;
    cancel_while_bytes_come(NULL, false);
    cancel_while_bytes_come(NULL, true);
    cancel_while_bytes_come(&tiny, false);
    cancel_while_bytes_come(&tiny_whole, true);
}

/* ---- R70 ---- */

/* Buffers go round many thousand times; one that is announced before it is there would show other bytes. */
static void r70_buffers_go_round(void **state)
{
    static const struct ior_uring_options *const options[] = {&tiny, &tiny_whole};
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct uring *u = open_engine(options[i & 1]);
        unsigned char bytes[4096];
        uint64_t at = 0;
        int fds[1][2];
        pthread_t thread;

        pairs(fds, 1);
        if (i >= 2)
            ops->stay(u);
        watch(u, fds[0][0], RECEIVES);
        struct writer w = {.fd = fds[0][1]};
        assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
        while (at < 1000000) {
            ssize_t n;
            wait_ns(u, IOR_NS_PER_SEC);
            while ((n = ops->recv(u, fds[0][0], id_of(fds[0][0]), bytes, sizeof(bytes))) > 0) {
                assert_true(net_is_pattern(bytes, at, (size_t)n));
                at += (uint64_t)n;
            }
        }
        atomic_store(&w.stop, true);
        pthread_join(thread, NULL);
        close_pairs(fds, 1);
        ops->close(u, false);
    }
}

/* ---- R72 ---- */

/* The eventfd is polled, never read by the ring: what is in it stays until the wait has drained it, whatever happens. */
static void r72_the_waker_is_polled(void **state)
{
    struct uring *u = open_engine(NULL);
    struct pollfd pfd = {.fd = u->waker.read_fd, .events = POLLIN};
    (void)state;

    for (int i = 0; i < 3; i++) {
        wait_ns(u, 0);
        assert_int_equal(ops->wake(u), 0);
        assert_int_equal(poll(&pfd, 1, 0), 1); /* a read in the ring would have taken it */
        if (i == 1)
            assert_int_equal(ops->rebuild(u), 0);
        uint64_t begin_ns = net_now();
        assert_int_equal(wait_ns(u, PATIENCE_NS), 0);
        assert_true(net_now() - begin_ns < PATIENCE_NS);
        assert_int_equal(poll(&pfd, 1, 0), 0);
    }
    ops->close(u, false);
}

/* ---- rings and threads ---- */

static void changing_the_ring_loses_nothing(void **state)
{
    struct uring *u = open_engine(NULL);
    struct iovec iov = {(void *)(uintptr_t) "out", 3};
    uint64_t from[2] = {0};
    char bytes[3];
    int fds[2][2];
    (void)state;

    pairs(fds, 2);
    watch(u, fds[0][0], RECEIVES);
    watch(u, fds[1][0], IOR_READ);
    assert_int_equal(wait_ns(u, 0), 0);
    net_write_pattern(fds[0][1], 0, 1000);
    assert_int_equal(ops->send(u, fds[0][0], id_of(fds[0][0]), &iov, 1), 0);
    ops->stay(u);
    assert_true(u->deferred);
    assert_int_equal(ops->sent(u, fds[0][0], id_of(fds[0][0])), 3);
    net_read(fds[0][1], bytes, 3);
    net_write_pattern(fds[0][1], 1000, 1000);
    take_until(u, fds, from, 1, 2000);
    net_write_pattern(fds[0][1], 2000, 1000);
    int fd = ops->fd(u); /* which is polled by others: the ring must be one that wakes them */
    assert_true(fd >= 0 && !u->deferred);
    ops->stay(u);
    assert_int_equal(ops->fd(u), fd);
    take_until(u, fds, from, 1, 1000);
    net_write(fds[1][1], "x", 1);
    assert_int_equal(net_await(fd, POLLIN), POLLIN);
    assert_int_equal(wait_ns(u, 0), 1);
    close_pairs(fds, 2);
    ops->close(u, false);
}

static void *stay_and_wait(void *arg)
{
    struct uring *u = arg;
    ops->stay(u);
    wait_ns(u, 0);
    return NULL;
}

/* A ring that belongs to a thread is given up where another one goes on: all is armed anew, unsent output leaves. */
static void another_thread_may_go_on(void **state)
{
    struct iovec iov = {(void *)(uintptr_t) "out", 3};
    char bytes[3];
    (void)state;

    for (int way = 0; way < 5; way++) {
        struct uring *u = open_engine(NULL);
        uint64_t from[1] = {0};
        int fds[1][2];
        pthread_t thread;

        pairs(fds, 1);
        watch(u, fds[0][0], RECEIVES);
        assert_int_equal(pthread_create(&thread, NULL, stay_and_wait, u), 0);
        pthread_join(thread, NULL);
        assert_true(u->deferred);
        net_write_pattern(fds[0][1], 0, 1000);
        if (way == 0) {
            take_until(u, fds, from, 1, 1000);
            assert_false(u->deferred);
        } else if (way == 1) {
            assert_int_equal(ops->send(u, fds[0][0], id_of(fds[0][0]), &iov, 1), 0);
            assert_int_equal(ops->sent(u, fds[0][0], id_of(fds[0][0])), 3);
            net_read(fds[0][1], bytes, 3);
            take_until(u, fds, from, 1, 1000);
        } else if (way == 2) {
            assert_int_equal(ops->unwatch(u, fds[0][0], id_of(fds[0][0])), 0);
            watch(u, fds[0][0], RECEIVES);
            take_until(u, fds, from, 1, 1000);
        } else if (way == 3) {
            assert_int_equal(ops->rebuild(u), 0);
            watch(u, fds[0][0], RECEIVES);
            take_until(u, fds, from, 1, 1000);
        }
        ops->close(u, false);
        close_pairs(fds, 1);
    }
}

static void *wait_once(void *arg)
{
    wait_ns(arg, 0);
    return NULL;
}

/* The kernel cancels what a thread began when the thread ends. */
static void what_a_thread_began_outlives_it(void **state)
{
    struct uring *u = open_engine(NULL);
    uint64_t from[1] = {0};
    size_t threads = net_threads_at_rest();
    int fds[2][2];
    pthread_t thread;
    (void)state;

    pairs(fds, 2);
    watch(u, fds[0][0], RECEIVES);
    watch(u, fds[1][0], IOR_READ);
    assert_int_equal(pthread_create(&thread, NULL, wait_once, u), 0);
    pthread_join(thread, NULL);
    net_await_threads(threads);
    for (int i = 0; i < 2; i++)
        wait_ns(u, 0);
    net_write_pattern(fds[0][1], 0, 1000);
    take_until(u, fds, from, 1, 1000);
    net_write(fds[1][1], "x", 1);
    assert_int_equal(wait_ns(u, PATIENCE_NS), 1);
    ops->wake(u);
    wait_ns(u, PATIENCE_NS);
    close_pairs(fds, 2);
    ops->close(u, false);
}

/* The contract once more, on a ring that belongs to its thread. */
static struct ior_engine_ops staying;

static int open_and_stay(const struct ior_engine_config *config, void **ret_engine)
{
    int err = ops->open(config, ret_engine);
    if (err == 0)
        ops->stay(*ret_engine);
    return err;
}

/* A write to a peer that is gone: what reading was told before is the cause, but for a want of memory, which passes. */
static void the_first_cause_is_told(void **state)
{
    static const struct {
        int received, told;
    } cases[] = {{ECONNRESET, -ECONNRESET}, {ENOMEM, -EPIPE}, {0, -EPIPE}};
    (void)state;
    for (size_t i = 0; i < IOR_COUNT_OF(cases); i++) {
        struct uring *u = open_engine(NULL);
        struct iovec iov = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
        int pair[2];
        net_unix_pair(pair);
        watch(u, pair[0], IOR_RECEIVES);
        struct uring_fd *entry = uring_at(u, pair[0]);
        entry->flags |= URING_ERROR;
        entry->error = (int16_t)cases[i].received;
        close(pair[1]);
        assert_int_equal(ops->send(u, pair[0], id_of(pair[0]), &iov, 1), 0);
        assert_int_equal(ops->sent(u, pair[0], id_of(pair[0])), cases[i].told);
        (void)ops->unwatch(u, pair[0], id_of(pair[0]));
        ops->close(u, false);
        close(pair[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_cause_is_told),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(it_can_be_named_with_its_options),
        cmocka_unit_test(r65_completions_that_find_no_room_are_not_lost),
        cmocka_unit_test(r65_failed_sends_that_find_no_room_are_not_lost),
        cmocka_unit_test(sends_that_come_short_are_told_exactly),
        cmocka_unit_test(a_large_send_is_written_at_once),
        cmocka_unit_test(r66_streams_without_a_buffer_go_on_when_there_are_some),
        cmocka_unit_test(r66_whoever_does_not_read_keeps_no_buffer),
        cmocka_unit_test(r66_the_turn_of_each_comes),
        cmocka_unit_test(what_is_held_of_a_stream_is_bounded),
        cmocka_unit_test(r67_closing_waits_for_what_is_in_flight),
        cmocka_unit_test(r68_a_full_queue_does_not_keep_from_cancelling),
        cmocka_unit_test(r69_cancelled_too_late_loses_nothing),
        cmocka_unit_test(r70_buffers_go_round),
        cmocka_unit_test(r72_the_waker_is_polled),
        cmocka_unit_test(changing_the_ring_loses_nothing),
        cmocka_unit_test(another_thread_may_go_on),
        cmocka_unit_test(what_a_thread_began_outlives_it),
    };
    (void)net_threads_at_rest(); /* before there are others */
    struct uring *u;
    int err = try_open(NULL, &u);

    if (err == -ENOSYS || err == -EPERM || err == -EOPNOTSUPP) {
        printf("skipped: no io_uring here: %s\n", ior_strerror(err));
        return 77;
    }
    if (u)
        ops->close(u, false);
    int failed = cmocka_run_group_tests_name("uring", tests, NULL, NULL);
    failed += contract_run("uring, queues and buffers as small as can be", ops, (void *)(uintptr_t)&tiny);
    failed += contract_run("uring, whole buffers", ops, (void *)(uintptr_t)&tiny_whole);
    staying = *ops;
    staying.open = open_and_stay;
    failed += contract_run("uring, a thread's own ring", &staying, NULL);
    return failed + contract_run("uring, a thread's own tiny ring", &staying, (void *)(uintptr_t)&tiny);
}
#else
int main(void)
{
    printf("skipped: this build has no engine on io_uring\n");
    return 77;
}
#endif
