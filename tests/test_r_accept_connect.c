/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R22-R27: accepting and connecting where the system refuses. The limits of fds are those of this process, lowered for
 * the length of a test; what the kernel does too rarely (ECONNABORTED) comes in through the table of system calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

enum { CLIENTS = 10 };

struct crowd {
    struct ior_addr addr;
    ior_id listener;
    int clients[CLIENTS];
};

static struct rlimit usual; /* what a test that fails must not leave lowered */

/* CLIENTS connections the kernel has completed and nobody has accepted. */
static void connect_crowd(struct crowd *c)
{
    for (int i = 0; i < CLIENTS; i++)
        c->clients[i] = net_connect(&c->addr);
}

static void close_crowd(struct crowd *c)
{
    for (int i = 0; i < CLIENTS; i++)
        net_close(&c->clients[i]);
}

/* No fd above those that are open now. */
static void forbid_fds(void)
{
    struct rlimit tight = usual;
    int next = dup(0);
    assert_true(next >= 0);
    close(next);
    tight.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
}

static void allow_fds(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

static int allow_again(void **state)
{
    (void)state;
    return setrlimit(RLIMIT_NOFILE, &usual);
}

static unsigned accepted(struct probe *p, struct crowd *c)
{
    return probe_of(p, c->listener)->accepted;
}

static void echo(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        ior_send(p->cx, r->id, ev->data.bytes, ev->data.len);
}

static void assert_echo(struct probe *p, ior_id id, int peer)
{
    uint64_t had = probe_of(p, id)->bytes;
    char byte = 0;
    net_write(peer, "e", 1);
    probe_until(p, probe_of(p, id)->bytes == had + 1);
    net_read(peer, &byte, 1);
    assert_int_equal(byte, 'e');
}

static void r22_out_of_fds_is_told_once_and_idles(void **state)
{
    struct crowd c = {.listener = 0};
    struct probe *p = probe_new(NULL);
    ior_id other;
    int peer, late;
    (void)state;
    p->on_event = echo;
    c.listener = probe_listen(p, NULL, &c.addr);
    other = probe_unix(p, NULL, &peer);
    connect_crowd(&c);
    forbid_fds();
    probe_until(p, probe_of(p, c.listener)->errors == 1);
    assert_int_equal(probe_of(p, c.listener)->last_error, EMFILE);
    assert_in_range(probe_quiet(p, 300), 1, 60); /* a spinning loop takes tens of thousands */
    assert_int_equal(accepted(p, &c), 0);
    assert_echo(p, other, peer);
    assert_int_equal(probe_of(p, c.listener)->errors, 1);
    assert_int_equal(probe_of(p, c.listener)->end, 0);
    allow_fds(); /* somebody else freed fds: found out by trying again */
    probe_until(p, accepted(p, &c) == CLIENTS);
    assert_int_equal(probe_of(p, c.listener)->errors, 1);
    late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    forbid_fds();
    assert_int_equal(connect(late, (struct sockaddr *)(void *)c.addr.raw, c.addr.len), 0);
    if (!probe_engine_does_io(p)) /* io_uring takes the limit as it was when the accept was begun */
        probe_until(p, probe_of(p, c.listener)->errors == 2); /* a new spell is told again */
    allow_fds();
    probe_until(p, accepted(p, &c) == CLIENTS + 1);
    close_crowd(&c);
    close(late);
    close(peer);
    probe_free(p);
}

static void r22_accept_resumes_as_soon_as_an_fd_is_freed(void **state)
{
    struct crowd c = {.listener = 0};
    struct probe *p = probe_new(NULL);
    ior_id victims[3];
    int peers[3];
    (void)state;
    c.listener = probe_listen(p, NULL, &c.addr);
    for (int i = 0; i < 3; i++)
        victims[i] = probe_unix(p, NULL, &peers[i]);
    connect_crowd(&c);
    forbid_fds();
    probe_until(p, probe_of(p, c.listener)->errors == 1);
    probe_quiet(p, 100); /* the back-off has grown */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(accepted(p, &c), i);
        assert_int_equal(ior_abort(p->cx, victims[i]), 0);
        probe_turns(p, 3);
        assert_int_equal(accepted(p, &c), i + 1);
    }
    assert_in_range(probe_quiet(p, 100), 1, 30);
    allow_fds();
    probe_until(p, accepted(p, &c) == CLIENTS);
    close_crowd(&c);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
    probe_free(p);
}

static void r22_out_of_slots_is_told_once_and_idles(void **state)
{
    struct ior_config config = probe_config();
    struct crowd c = {.listener = 0};
    struct probe *p;
    ior_id first;
    (void)state;
    config.max_resources = 3;
    p = probe_new(&config);
    c.listener = probe_listen(p, NULL, &c.addr);
    connect_crowd(&c);
    probe_until(p, probe_of(p, c.listener)->errors == 1);
    assert_int_equal(probe_of(p, c.listener)->last_error, ENOSPC);
    assert_in_range(probe_quiet(p, 200), 1, 60);
    assert_int_equal(probe_stats(p).resources, 3);
    assert_int_equal(probe_of(p, c.listener)->errors, 1);
    first = p->accepted;
    assert_int_equal(ior_abort(p->cx, first), 0);
    probe_until(p, p->accepted != first);
    assert_int_equal(probe_stats(p).resources, 3);
    close_crowd(&c);
    probe_free(p);
}

/* The real system, with an accept that fails now and then. */
static int aborted_calls;

static int aborting_accept(void *arg, int fd, struct ior_addr *peer)
{
    const struct ior_os *real = ior_os_default();
    static const int errors[] = {ECONNABORTED, EPROTO, ENETDOWN, EINTR};
    (void)arg;
    if (aborted_calls < 4)
        return -errors[aborted_calls++];
    return real->accept(real->arg, fd, peer);
}

static void r23_aborted_connection_keeps_the_listener(void **state)
{
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    struct crowd c = {.listener = 0};
    struct probe *p;
    (void)state;
    os.accept = aborting_accept;
    config.os = &os;
    aborted_calls = 0;
    p = probe_new(&config);
    c.listener = probe_listen(p, NULL, &c.addr);
    connect_crowd(&c);
    probe_until(p, accepted(p, &c) == CLIENTS);
    assert_int_equal(aborted_calls, probe_engine_does_io(p) ? 0 : 4);
    assert_int_equal(probe_of(p, c.listener)->end, 0);
    close_crowd(&c);
    probe_free(p);
}

static void r23_reset_before_accept_keeps_the_listener(void **state)
{
    struct crowd c = {.listener = 0};
    struct probe *p = probe_new(NULL);
    unsigned before;
    (void)state;
    c.listener = probe_listen(p, NULL, &c.addr);
    connect_crowd(&c);
    for (int i = 0; i < CLIENTS - 1; i++)
        net_reset(c.clients[i]);
    p->on_event = echo;
    probe_until(p, probe_stats(p).resources == 2); /* the listener and the one client that stayed */
    assert_int_equal(probe_of(p, c.listener)->end, 0);
    net_close(&c.clients[CLIENTS - 1]);
    before = accepted(p, &c);
    c.clients[0] = net_connect(&c.addr);
    probe_until(p, accepted(p, &c) == before + 1);
    assert_echo(p, p->accepted, c.clients[0]);
    close(c.clients[0]);
    probe_free(p);
}

static void r24_connection_storm_leaves_others_their_turn(void **state)
{
    struct ior_config config = probe_config();
    struct crowd c = {.listener = 0};
    struct probe *p;
    ior_id other;
    int peer;
    (void)state;
    config.accepts = 2;
    p = probe_new(&config);
    c.listener = probe_listen(p, NULL, &c.addr);
    other = probe_unix(p, NULL, &peer);
    probe_turns(p, 2);
    connect_crowd(&c);
    for (unsigned turn = 1; turn <= CLIENTS / 2; turn++) {
        net_write(peer, "x", 1);
        probe_turns(p, 1);
        assert_int_equal(accepted(p, &c), 2 * turn);
        assert_int_equal(probe_of(p, other)->bytes, turn);
    }
    close_crowd(&c);
    close(peer);
    probe_free(p);
}

static void stop_listening(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_ACCEPTED)
        assert_int_equal((p->arg != NULL ? ior_pause : ior_unregister)(p->cx, r->id), 0);
}

static void r25_listener_ended_in_its_callback_stops_at_once(void **state)
{
    struct crowd c = {.listener = 0};
    struct probe *p = probe_new(NULL);
    size_t fds;
    char byte;
    (void)state;
    p->refuse = true;
    c.listener = probe_listen(p, NULL, &c.addr);
    probe_turns(p, 2);
    fds = net_fd_count();
    connect_crowd(&c);
    p->on_event = stop_listening;
    probe_until(p, probe_of(p, c.listener)->handover == 1);
    assert_int_equal(accepted(p, &c), 1);
    assert_int_equal(net_fd_count(), fds + CLIENTS - 1); /* the listener is closed, and nothing accepted is left */
    for (int i = 0; i < CLIENTS; i++) {
        ssize_t n;
        net_await(c.clients[i], POLLIN);
        n = net_read_some(c.clients[i], &byte, 1);
        assert_true(n == 0 || n == -ECONNRESET);
    }
    close_crowd(&c);
    probe_free(p);
}

static void r25_listener_paused_in_its_callback_loses_nobody(void **state)
{
    struct crowd c = {.listener = 0};
    struct probe *p = probe_new(NULL);
    size_t fds;
    (void)state;
    c.listener = probe_listen(p, NULL, &c.addr);
    probe_turns(p, 2);
    fds = net_fd_count();
    connect_crowd(&c);
    p->arg = p;
    p->on_event = stop_listening;
    for (unsigned i = 1; i <= CLIENTS; i++) {
        probe_until(p, accepted(p, &c) == i);
        assert_true(probe_quiet(p, 5) <= 3);
        assert_int_equal(accepted(p, &c), i);
        assert_int_equal(ior_resume(p->cx, c.listener), 0);
    }
    assert_int_equal(net_fd_count(), fds + 2 * CLIENTS);
    close_crowd(&c);
    probe_free(p);
}

static void r26_full_unix_backlog_fails_at_once(void **state)
{
    struct probe *p = probe_new(NULL);
    char *dir = net_temp_dir();
    char path[300], text[310];
    struct ior_addr addr;
    int listener, waiting[64], n = 0, last = 0;
    size_t fds;
    ior_id id = 0;
    (void)state;
    snprintf(path, sizeof(path), "%s/full", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    listener = net_unix_listener(path, 1);
    while (n < 64 && (last = net_connect_start(&addr)) >= 0)
        waiting[n++] = last;
    assert_int_equal(last, -EAGAIN);
    fds = net_fd_count();
    assert_int_equal(ior_connect(p->cx, &addr, NULL, &id), -EAGAIN);
    assert_int_equal(id, 0);
    assert_int_equal(net_fd_count(), fds);
    assert_int_equal(probe_stats(p).resources, 0);
    close(listener);
    assert_int_equal(ior_connect(p->cx, &addr, NULL, &id), -ECONNREFUSED);
    unlink(path);
    assert_int_equal(ior_connect(p->cx, &addr, NULL, &id), -ENOENT);
    assert_int_equal(net_fd_count(), fds - 1);
    while (n > 0)
        close(waiting[--n]);
    net_temp_dir_remove(dir);
    probe_free(p);
}

static void r27_write_before_connect_keeps_the_error(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_addr addr;
    ior_id id = 0;
    (void)state;
    int refuses = net_refused_addr(&addr);
    assert_int_equal(ior_connect(p->cx, &addr, NULL, &id), 0);
    probe_of(p, id);
    assert_int_equal(ior_send(p->cx, id, "early", 5), -ENOTCONN);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->open, 0);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, ECONNREFUSED);
    assert_int_equal(probe_of(p, id)->written + probe_of(p, id)->unsent, 0);
    close(refuses);
    probe_free(p);
}

static void r27_connect_then_write_works(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_addr addr;
    char bytes[5];
    int listener = net_tcp_listener(&addr, 1), peer;
    ior_id id = 0;
    (void)state;
    assert_int_equal(ior_connect(p->cx, &addr, NULL, &id), 0);
    probe_of(p, id);
    probe_until(p, probe_of(p, id)->open == 1);
    assert_int_equal(ior_send(p->cx, id, "hello", 5), 0);
    probe_turns(p, 1);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    net_read(peer, bytes, 5);
    assert_memory_equal(bytes, "hello", 5);
    close(peer);
    close(listener);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(r22_out_of_fds_is_told_once_and_idles, allow_again),
        cmocka_unit_test_teardown(r22_accept_resumes_as_soon_as_an_fd_is_freed, allow_again),
        cmocka_unit_test(r22_out_of_slots_is_told_once_and_idles),
        cmocka_unit_test(r23_aborted_connection_keeps_the_listener),
        cmocka_unit_test(r23_reset_before_accept_keeps_the_listener),
        cmocka_unit_test(r24_connection_storm_leaves_others_their_turn),
        cmocka_unit_test(r25_listener_ended_in_its_callback_stops_at_once),
        cmocka_unit_test(r25_listener_paused_in_its_callback_loses_nobody),
        cmocka_unit_test(r26_full_unix_backlog_fails_at_once),
        cmocka_unit_test(r27_write_before_connect_keeps_the_error),
        cmocka_unit_test(r27_connect_then_write_works),
    };
    if (getrlimit(RLIMIT_NOFILE, &usual) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
