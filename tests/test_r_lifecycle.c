/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R55, R56: how resources end. What happens to output and commands at shutdown, and each way there is for a resource to
 * come to its END and its handover.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
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
    *peer = net_refused_addr(&addr);
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
    for (int i = 0; i < 8; i++) {
        fillers[i] = net_connect_start(&addr);
        net_await(*peer, POLLIN); /* it is full when the first one has come through */
    }
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
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
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
            fail_msg("%s: END says %s, %s, deadline %d", ways[i].name, ior_why_name(r->why), ior_errname(r->error),
                     r->which);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r55_shutdown_delivers_all_output),
        cmocka_unit_test(r55_shutdown_hands_back_what_no_peer_took),
        cmocka_unit_test(r56_every_way_of_ending_is_told_and_handed_over),
        cmocka_unit_test(r56_a_runtime_that_never_ran_hands_back_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
