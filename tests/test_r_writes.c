/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R28, R30-R35: writing. The peer reads late or slowly, and must still see an exact, ordered prefix of what was
 * accepted; what waits is counted in 64 bits; and a call that fails, or is interrupted, changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/live.h"
#include "support/probe.h"

static void r28_tail_of_a_partial_write_is_resumed(void **state)
{
    enum { LEN = 4 << 20 };
    unsigned char *bytes = net_new_pattern(LEN);
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        struct probe *p = probe_new(NULL);
        const struct ior_stream_options *opts = PROBE_STREAM(.cap_bytes = 2 * LEN);
        int peer;
        ior_id id = tcp ? probe_tcp(p, opts, &peer) : probe_unix(p, opts, &peer);
        for (size_t at = 0; at < LEN; at += LEN / 4)
            assert_int_equal(ior_send(p->cx, id, bytes + at, LEN / 4), 1);
        probe_turns(p, 2);
        assert_in_range(ior_queued(p->cx, id), 1, LEN - 1);
        probe_read_pattern(p, peer, 0, LEN, 60001);
        assert_int_equal(ior_queued(p->cx, id), 0);
        probe_until(p, probe_of(p, id)->drained == 1);
        close(peer);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_int_equal(probe_of(p, id)->written, LEN);
        probe_free(p);
    }
    free(bytes);
}

static void r30_more_than_iov_max_pieces_are_split(void **state)
{
    enum { PIECES = 3 * IOV_MAX + 7, PIECE = 3 };
    struct probe *p = probe_new(NULL);
    unsigned char *bytes = net_new_pattern(2 * PIECES * PIECE);
    struct iovec *iov = calloc(PIECES, sizeof(*iov));
    int peer;
    ior_id id = probe_unix(p, PROBE_STREAM(.cap_bytes = 8 << 20), &peer);
    (void)state;
    assert_non_null(iov);
    for (int i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){.iov_base = bytes + (size_t)i * PIECE, .iov_len = PIECE};
    assert_in_range(ior_sendv(p->cx, id, iov, PIECES), 0, 1);
    for (size_t i = PIECES; i < 2 * PIECES; i++) {
        struct ior_buf *buf = ior_buf_copy(bytes + i * PIECE, PIECE);
        assert_in_range(ior_send_buf(p->cx, id, buf), 0, 1);
        ior_buf_unref(buf);
    }
    probe_read_pattern(p, peer, 0, 2 * PIECES * PIECE, 65536);
    assert_int_equal(probe_of(p, id)->end, 0);
    close(peer);
    probe_free(p);
    free(iov);
    free(bytes);
}

static void r31_more_than_4_gib_is_counted_whole(void **state)
{
    const uint64_t gib5 = UINT64_C(5) << 30, start = UINT64_C(3) << 30;
    enum { RUN = 300000 };
    struct probe *p = probe_new(NULL);
    int fd = net_sparse_file(2 * gib5, start, RUN), peer;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    assert_int_equal(ior_send_file(p->cx, id, fd, start, gib5), 0);
    assert_int_equal(ior_send_file(p->cx, id, fd, 0, gib5), 0);
    assert_true(ior_queued(p->cx, id) == 2 * gib5);
    probe_read_pattern(p, peer, 0, RUN, 65536);
    assert_int_equal(ior_abort(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_true(probe_of(p, id)->written >= RUN);
    assert_true(probe_of(p, id)->written + probe_of(p, id)->unsent == 2 * gib5);
    close(fd);
    close(peer);
    probe_free(p);
}

static void r32_zero_length_write_does_nothing(void **state)
{
    struct probe *p = probe_new(NULL);
    struct iovec empty[3] = {{.iov_len = 0}};
    struct ior_buf *buf = ior_buf_copy("", 0);
    int peer, fd = net_sparse_file(10, 0, 1);
    char byte;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    assert_non_null(buf);
    assert_int_equal(ior_send(p->cx, id, "", 0), 0);
    assert_int_equal(ior_send(p->cx, id, NULL, 0), 0);
    assert_int_equal(ior_sendv(p->cx, id, empty, 3), 0);
    assert_int_equal(ior_sendv(p->cx, id, NULL, 0), 0);
    assert_int_equal(ior_send_buf(p->cx, id, buf), 0);
    assert_int_equal(ior_send_file(p->cx, id, fd, 5, 0), 0);
    assert_int_equal(ior_queued(p->cx, id), 0);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->end, 0);
    assert_int_equal(net_read_some(peer, &byte, 1), -EAGAIN);
    assert_int_equal(ior_send(p->cx, id, "x", 1), 0); /* an empty piece between others neither */
    assert_int_equal(ior_send(p->cx, id, "", 0), 0);
    assert_int_equal(ior_send(p->cx, id, "y", 1), 0);
    probe_turns(p, 1);
    assert_int_equal(net_read_some(peer, &byte, 1), 1);
    assert_int_equal(net_read_some(peer, &byte, 1), 1);
    assert_int_equal(byte, 'y');
    ior_buf_unref(buf);
    close(fd);
    close(peer);
    probe_free(p);
}

struct scene {
    struct probe *p;
    struct ior_addr addr;
    ior_id stream;
    int file, spare[2];
    struct ior_buf *buf;
};

enum request { SEND, SENDV, SEND_BUF, SEND_FILE, CONNECT, LISTEN, ADOPT, WATCH, TIMER, DEADLINE, REQUESTS };

static int request(struct scene *s, enum request which)
{
    static unsigned char bytes[50000];
    struct ior_addr any;
    struct iovec iov[2] = {{.iov_base = bytes, .iov_len = 20000}, {.iov_base = bytes, .iov_len = 20000}};
    ior_id id = 0;
    int rc = -EINVAL;
    switch (which) {
    case SEND:
        return ior_send(s->p->cx, s->stream, bytes, sizeof(bytes));
    case SENDV:
        return ior_sendv(s->p->cx, s->stream, iov, 2);
    case SEND_BUF:
        return ior_send_buf(s->p->cx, s->stream, s->buf);
    case SEND_FILE:
        return ior_send_file(s->p->cx, s->stream, s->file, 0, 10);
    case CONNECT:
        rc = ior_connect(s->p->cx, &s->addr, NULL, &id);
        break;
    case LISTEN:
        assert_int_equal(ior_addr_parse(&any, "127.0.0.1:0"), 0);
        rc = ior_listen(s->p->cx, &any, NULL, &id);
        break;
    case ADOPT:
        rc = ior_adopt(s->p->cx, s->spare[0], NULL, &id);
        break;
    case WATCH:
        rc = ior_watch(s->p->cx, s->spare[1], IOR_READ, NULL, &id);
        break;
    case TIMER:
        return ior_timer_set(s->p->cx, IOR_NS_PER_SEC, NULL, &id);
    case DEADLINE:
        return ior_deadline(s->p->cx, s->stream, IOR_DEADLINE_USER, IOR_NS_PER_SEC);
    case REQUESTS:
        break;
    }
    if (rc == 0)
        probe_of(s->p, id);
    else
        assert_int_equal(id, 0);
    return rc;
}

/* Each request, with its first, second ... block refused: -ENOMEM, nothing has changed, and asked again it works. */
static void refuse_every_block(struct scene *s, enum request which)
{
    for (uint64_t n = 1;; n++) {
        size_t fds = net_fd_count(), count = ior_count(s->p->cx), timers = ior_timer_count(s->p->cx);
        uint64_t queued = ior_queued(s->p->cx, s->stream), refused;
        int rc;
        live_alloc_fail(n, true);
        rc = request(s, which);
        refused = live_alloc_refused();
        live_alloc_fail(0, false);
        if (rc >= 0)
            return;
        assert_true(refused > 0);
        assert_int_equal(rc, -ENOMEM);
        assert_true(n < 50);
        assert_int_equal(net_fd_count(), fds);
        assert_int_equal(ior_count(s->p->cx), count);
        assert_int_equal(ior_timer_count(s->p->cx), timers);
        assert_int_equal(ior_queued(s->p->cx, s->stream), queued);
    }
}

static void r33_out_of_memory_is_rolled_back(void **state)
{
    struct scene s = {.p = NULL};
    int peer, listener;
    (void)state;
    live_alloc_start();
    s.p = probe_new(NULL);
    s.stream = probe_unix(s.p, PROBE_STREAM(.cap_bytes = 16 << 20), &peer);
    s.buf = ior_buf_copy("shared", 6);
    s.file = net_sparse_file(10, 0, 10);
    listener = net_tcp_listener(&s.addr, 5);
    net_unix_pair(s.spare);
    for (int which = 0; which < REQUESTS; which++)
        refuse_every_block(&s, (enum request)which);
    ior_stop(s.p->cx, 0);
    assert_int_equal(ior_runtime_run(s.p->rt), 0); /* nothing is counted that never ends */
    assert_int_equal(probe_stats(s.p).resources, 0);
    ior_buf_unref(s.buf);
    close(s.file);
    close(s.spare[1]);
    close(listener);
    close(peer);
    probe_free(s.p);
    live_alloc_stop(); /* no block is left */
}

static void rearm(struct probe *p, ior_timer_id id, void *user)
{
    ior_timer_id next;
    (void)id;
    (void)user;
    assert_int_equal(ior_timer_set(p->cx, 0, NULL, &next), 0);
}

static void r34_fast_peer_does_not_starve_timers(void **state)
{
    struct ior_config config = probe_config();
    struct probe *p;
    int peer;
    ior_timer_id timer;
    ior_id id;
    (void)state;
    config.read_bytes = 1024;
    config.reads = 2;
    p = probe_new(&config);
    p->pattern = true;
    p->on_timer = rearm;
    id = probe_unix(p, NULL, &peer);
    assert_int_equal(ior_timer_set(p->cx, 0, NULL, &timer), 0);
    net_write_pattern(peer, 0, 100000);
    for (unsigned turn = 1; turn <= 40; turn++) {
        uint64_t had = probe_of(p, id)->bytes;
        probe_turns(p, 1);
        assert_in_range(p->timers, turn - 1, turn);
        assert_in_range(probe_of(p, id)->bytes - had, 0, 2 * 1024);
    }
    assert_in_range(probe_of(p, id)->bytes, 38 * 1024, 80 * 1024);
    probe_until(p, probe_of(p, id)->bytes == 100000);
    close(peer);
    probe_free(p);
}

/* The real system, with every second call interrupted by a signal. */
static unsigned interrupted[5];

static bool interrupt(int which)
{
    return (interrupted[which]++ & 1) == 0;
}

static ssize_t eintr_recv(void *arg, int fd, void *bytes, size_t len)
{
    (void)arg;
    return interrupt(0) ? -EINTR : ior_os_default()->recv(ior_os_default()->arg, fd, bytes, len);
}

static ssize_t eintr_send(void *arg, int fd, const struct iovec *iov, int n)
{
    (void)arg;
    return interrupt(1) ? -EINTR : ior_os_default()->send(ior_os_default()->arg, fd, iov, n);
}

static ssize_t eintr_read(void *arg, int fd, void *bytes, size_t len)
{
    (void)arg;
    return interrupt(2) ? -EINTR : ior_os_default()->read(ior_os_default()->arg, fd, bytes, len);
}

static ssize_t eintr_write(void *arg, int fd, const struct iovec *iov, int n)
{
    (void)arg;
    return interrupt(3) ? -EINTR : ior_os_default()->write(ior_os_default()->arg, fd, iov, n);
}

static ssize_t eintr_sendfile(void *arg, int out, int in, uint64_t offset, size_t len)
{
    (void)arg;
    return interrupt(4) ? -EINTR : ior_os_default()->sendfile(ior_os_default()->arg, out, in, offset, len);
}

static void r35_interrupted_calls_are_retried(void **state)
{
    enum { LEN = 300000 };
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    struct probe *p;
    unsigned char *bytes = net_new_pattern(LEN);
    int peer, pipe_in[2], pipe_out[2], file = net_sparse_file(LEN, 0, LEN);
    ior_id sock, in, out;
    (void)state;
    os.recv = eintr_recv;
    os.send = eintr_send;
    os.read = eintr_read;
    os.write = eintr_write;
    os.sendfile = eintr_sendfile;
    config.os = &os;
    memset(interrupted, 0, sizeof(interrupted));
    p = probe_new(&config);
    p->pattern = true;
    sock = probe_unix(p, PROBE_STREAM(.cap_bytes = 2 * LEN), &peer);
    assert_int_equal(pipe2(pipe_in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(pipe_out, O_CLOEXEC), 0);
    in = probe_adopt(p, pipe_in[0], NULL);
    out = probe_adopt(p, pipe_out[1], NULL);
    assert_int_equal(ior_send(p->cx, sock, bytes, LEN), 1);
    assert_int_equal(ior_send_file(p->cx, sock, file, 0, LEN), 1);
    probe_read_pattern(p, peer, 0, LEN, 65536);
    probe_read_pattern(p, peer, 0, LEN, 65536);
    net_write_pattern(peer, 0, 30000);
    probe_until(p, probe_of(p, sock)->bytes == 30000);
    net_write_pattern(pipe_in[1], 0, 30000);
    probe_until(p, probe_of(p, in)->bytes == 30000);
    assert_int_equal(ior_send(p->cx, out, bytes, 30000), 0);
    probe_turns(p, 3);
    net_read(pipe_out[0], bytes, 30000);
    assert_true(net_is_pattern(bytes, 0, 30000));
    for (int i = probe_engine_does_io(p) ? 2 : 0; i < 5; i++) /* from the third on they are not of sockets */
        assert_true(interrupted[i] >= 2);
    assert_int_equal(probe_of(p, sock)->end + probe_of(p, in)->end + probe_of(p, out)->end, 0);
    close(peer);
    close(pipe_in[1]);
    close(pipe_out[0]);
    close(file);
    free(bytes);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r28_tail_of_a_partial_write_is_resumed),
        cmocka_unit_test(r30_more_than_iov_max_pieces_are_split),
        cmocka_unit_test(r31_more_than_4_gib_is_counted_whole),
        cmocka_unit_test(r32_zero_length_write_does_nothing),
        cmocka_unit_test(r33_out_of_memory_is_rolled_back),
        cmocka_unit_test(r34_fast_peer_does_not_starve_timers),
        cmocka_unit_test(r35_interrupted_calls_are_retried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
