/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow of datagrams: the bounded queue, pause and full output in the midst of a batch, budgets, close, handover.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "support/check.h"
#include "support/datagrams.h"
#include "support/probe.h"

/* ---- the queue ---- */

/* A connected Unix socket whose peer does not read: it takes some, then waits. */
static ior_id stuffed(struct probe *p, const char *dir, int *fd, struct ior_addr *server,
                      const struct ior_datagram_options *like)
{
    char text[160];
    ior_id id = 0;
    struct ior_datagram_options opts = *like;
    snprintf(text, sizeof(text), "unix:%s/server", dir);
    *fd = dg_peer(text, server);
    opts.peer = server;
    assert_int_equal(ior_datagram_open(p->cx, NULL, &opts, &id), 0);
    return id;
}

static void the_queue_is_bounded(void **state)
{
    enum { LEN = 1000 };
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir();
    struct ior_addr server;
    unsigned char bytes[LEN];
    int fd, r, accepted = 0;
    (void)state;
    ior_id id = stuffed(p, dir, &fd, &server,
                        DG_OPTIONS(.max_bytes = 2000, .high_bytes = 20000, .low_bytes = 5000, .cap_bytes = 30000));
    do {
        memset(bytes, accepted & 0xff, LEN);
        memcpy(bytes, &accepted, sizeof(accepted));
        r = ior_send(p->cx, id, bytes, LEN);
        accepted += r >= 0;
        if (r == 0)
            probe_turns(p, 1);
    } while (r == 0);
    assert_int_equal(r, 1);
    assert_int_equal(ior_queued(p->cx, id), 21000);
    for (; ior_queued(p->cx, id) < 30000; accepted++) {
        memset(bytes, accepted & 0xff, LEN);
        memcpy(bytes, &accepted, sizeof(accepted));
        assert_int_equal(ior_send(p->cx, id, bytes, LEN), 1);
    }
    assert_int_equal(ior_send(p->cx, id, bytes, LEN), -ENOBUFS);
    assert_int_equal(ior_send(p->cx, id, bytes, 30001), -EMSGSIZE);
    uint64_t turns = probe_quiet(p, 30);
    assert_in_range(turns, 0, 3); /* it waits, and does not spin */
    assert_int_equal(probe_of(p, id)->drained, 0);
    for (int i = 0; i < accepted; i++) {
        int number;
        while (dg_is_quiet(fd))
            probe_step(p);
        assert_int_equal(recv(fd, bytes, LEN, 0), LEN);
        memcpy(&number, bytes, sizeof(number));
        assert_int_equal(number, i);
        assert_int_equal(bytes[LEN - 1], i & 0xff);
    }
    probe_until(p, ior_queued(p->cx, id) == 0);
    assert_int_equal(probe_of(p, id)->drained, 1);
    assert_true(dg_is_quiet(fd));
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void empty_ones_are_bounded_too(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr nobody = dg_refused();
    ior_id id = dg_open(p, "127.0.0.1:0", DG_OPTIONS(.max_bytes = 512, .high_bytes = 512), NULL);
    int n = 0, r = 0;
    (void)state;
    while ((r = ior_send_to(p->cx, id, &nobody, NULL, 0)) == 0)
        assert_true(++n < 10000);
    assert_int_equal(r, -ENOBUFS);
    assert_int_equal(ior_queued(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->drained == 1);
    probe_free(p);
}

/* Nobody reads at one peer; the others do not wait for it. */
static void a_full_unix_peer_does_not_stop_the_others(void **state)
{
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir(), text[160];
    struct ior_addr deaf, other;
    (void)state;
    snprintf(text, sizeof(text), "unix:%s/deaf", dir);
    int deaf_fd = dg_peer(text, &deaf);
    snprintf(text, sizeof(text), "unix:%s/other", dir);
    int fd = dg_peer(text, &other);
    snprintf(text, sizeof(text), "unix:%s/self", dir);
    ior_id id = dg_open(p, text, DG_OPTIONS(.send_buffer_bytes = 4 << 20), NULL);
    for (int i = 0; dg.errors_n == 0; i++) {
        assert_true(i < 10000);
        assert_int_equal(ior_send_to(p->cx, id, &deaf, "x", 1), 0);
        probe_turns(p, 2);
    }
    assert_int_equal(dg.errors[0].error, EAGAIN);
    assert_true(ior_addr_equal(&dg.errors[0].peer, &deaf));
    assert_int_equal(ior_send_to(p->cx, id, &deaf, "x", 1), 0);
    assert_int_equal(ior_send_to(p->cx, id, &other, "still here", 10), 0);
    probe_until(p, dg.errors_n == 2 && ior_queued(p->cx, id) == 0);
    assert_string_equal(dg_hear(fd, NULL), "still here");
    net_close(&fd);
    net_close(&deaf_fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

/* ---- pause, close, handover ---- */

static void pause_at_second(struct probe *p, struct probe_res *r, const struct ior_datagram *d)
{
    (void)d;
    if (dg.told_n == 2)
        assert_int_equal(ior_pause(p->cx, r->id), 0);
}

static void assert_numbers(size_t from, size_t n)
{
    char text[32];
    assert_int_equal(dg.told_n, n);
    for (size_t i = from; i < n; i++) {
        snprintf(text, sizeof(text), "number %zu", i);
        assert_string_equal(dg.told[i].text, text);
    }
}

static void paused_in_the_midst_of_a_batch(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client;
    int fd = dg_peer("127.0.0.1:0", &client);
    ior_id id = dg_open(p, "127.0.0.1:0", DG_OPTIONS(.tell_local = true), &server);
    (void)state;
    dg_say_numbers(fd, &server, 1);
    probe_until(p, dg.told_n == 1);
    dg.told_n = 0;
    dg.on_datagram = pause_at_second;
    dg_say_numbers(fd, &server, 40);
    probe_until(p, dg.told_n == 2);
    assert_in_range(probe_quiet(p, 30), 0, 3);
    assert_int_equal(dg.told_n, 2);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, dg.told_n == 40);
    assert_numbers(0, 40);
    for (int i = 0; i < 40; i++) {
        assert_true(ior_addr_equal(&dg.told[i].peer, &client));
        assert_true(ior_addr_equal(&dg.told[i].local, &server));
    }
    net_close(&fd);
    probe_free(p);
}

static void stop_at_second(struct probe *p, struct probe_res *r, const struct ior_datagram *d)
{
    (void)d;
    if (dg.told_n == 2)
        assert_int_equal(ior_unregister(p->cx, r->id), 0);
}

static void handed_over_with_what_it_holds(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client;
    int fd = dg_peer("127.0.0.1:0", &client), pieces = 0;
    ior_id id = dg_open(p, "127.0.0.1:0", NULL, &server), again = 0;
    struct iovec iov[8];
    (void)state;
    p->keep = true;
    dg.on_datagram = stop_at_second;
    dg_say_numbers(fd, &server, 6);
    probe_until(p, probe_of(p, id)->handover == 1);
    struct ior_resource *res = probe_of(p, id)->handed;
    size_t held = ior_resource_unread(res, iov, 8, &pieces);
    assert_int_equal(held, (size_t)pieces * strlen("number 2"));
    assert_int_equal(probe_of(p, id)->unread, held);
    dg.on_datagram = NULL;
    assert_int_equal(ior_register(p->cx, res, &again), 0);
    probe_of(p, id)->handed = NULL;
    assert_int_equal(ior_pause(p->cx, again), 0);
    probe_turns(p, 3);
    assert_int_equal(dg.told_n, 2);
    assert_int_equal(ior_resume(p->cx, again), 0);
    probe_until(p, dg.told_n == 6);
    assert_numbers(0, 6);
    net_close(&fd);
    probe_free(p);
}

static void unsent_ones_go_along(void **state)
{
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir();
    struct ior_addr server;
    int fd, sent = 0, pieces = 0;
    ior_id id = stuffed(p, dir, &fd, &server, DG_OPTIONS(.max_bytes = 2000)), again = 0;
    char text[32];
    (void)state;
    p->keep = true;
    for (; ior_queued(p->cx, id) == 0 || sent % 7; sent++) {
        snprintf(text, sizeof(text), "n%09d", sent);
        assert_int_equal(ior_send(p->cx, id, text, 10), 0);
        probe_turns(p, 1);
    }
    uint64_t queued = ior_queued(p->cx, id);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    assert_int_equal(ior_send(p->cx, id, "late", 4), -EPIPE);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(probe_of(p, id)->unsent, queued);
    assert_int_equal(probe_of(p, id)->written + queued, (uint64_t)sent * 10);
    assert_int_equal(ior_resource_unsent(probe_of(p, id)->handed, NULL, 0, &pieces), queued);
    assert_int_equal(pieces, queued / 10);
    assert_int_equal(ior_register(p->cx, probe_of(p, id)->handed, &again), 0);
    probe_of(p, id)->handed = NULL;
    assert_int_equal(ior_close(p->cx, again, IOR_NEVER), 0);
    for (int i = 0; i < sent; i++) {
        while (dg_is_quiet(fd))
            probe_step(p);
        snprintf(text, sizeof(text), "n%09d", i);
        assert_string_equal(dg_hear(fd, NULL), text);
    }
    probe_until(p, probe_of(p, again)->end);
    assert_int_equal(probe_of(p, again)->why, IOR_ASKED);
    assert_int_equal(probe_of(p, again)->unsent, 0);
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void a_close_that_does_not_drain_ends_at_its_deadline(void **state)
{
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir();
    struct ior_addr server;
    int fd;
    ior_id id = stuffed(p, dir, &fd, &server, DG_OPTIONS(.max_bytes = 2000));
    (void)state;
    while (ior_queued(p->cx, id) == 0) {
        assert_int_equal(ior_send(p->cx, id, "x", 1), 0);
        probe_turns(p, 1);
    }
    assert_int_equal(ior_close(p->cx, id, IOR_NS_PER_MS), 0);
    assert_int_equal(ior_send(p->cx, id, "x", 1), -EPIPE);
    probe_until(p, probe_of(p, id)->end);
    assert_int_equal(probe_of(p, id)->why, IOR_TIMEOUT);
    assert_int_equal(probe_of(p, id)->unsent, 1);
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void adopted_sockets(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client;
    int fd = dg_peer("127.0.0.1:0", &server), peer = dg_peer("127.0.0.1:0", &client), tcp[2];
    ior_id id = 0, again = 0;
    (void)state;
    net_tcp_pair(tcp);
    assert_int_equal(ior_datagram_adopt(p->cx, tcp[0], NULL, &id), -EPROTOTYPE);
    assert_int_equal(ior_datagram_adopt(p->cx, -1, NULL, &id), -EBADF);
    assert_int_equal(ior_datagram_adopt(p->cx, fd, NULL, &id), 0);
    assert_int_equal(ior_datagram_adopt(p->cx, fd, NULL, &again), -EEXIST);
    assert_int_equal(again, 0);
    dg_say_text(peer, &server, "hello");
    probe_until(p, dg.told_n == 1);
    assert_true(ior_addr_equal(&dg.told[0].peer, &client));
    assert_true(ior_addr_equal(&dg.told[0].local, &server));
    p->keep = true;
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(ior_resource_release(probe_of(p, id)->handed), fd);
    probe_of(p, id)->handed = NULL;
    dg_say_text(peer, &server, "still open");
    assert_string_equal(dg_hear(fd, NULL), "still open");
    net_close(&fd);
    net_close(&peer);
    net_close(&tcp[0]);
    net_close(&tcp[1]);
    probe_free(p);
}

/* ---- R38: one noisy peer ---- */

static void r38_a_flood_has_a_share_of_each_turn(void **state)
{
    struct ior_config config = probe_config();
    config.reads = 1;
    struct probe *p = dg_begin(&config);
    struct ior_addr server, client, quiet;
    int fd = dg_peer("127.0.0.1:0", &client);
    ior_id id = dg_open(p, "127.0.0.1:0", DG_OPTIONS(.receive_buffer_bytes = 1 << 20), &server);
    ior_id other = dg_open(p, "127.0.0.1:0", NULL, &quiet);
    ior_timer_id timer;
    size_t before = 0;
    (void)state;
    probe_turns(p, 2);
    dg_say_numbers(fd, &server, 200);
    dg_say_text(fd, &quiet, "me too");
    assert_int_equal(ior_timer_set(p->cx, 0, NULL, &timer), 0);
    probe_turns(p, 1);
    assert_int_equal(p->timers, 1); /* it fired in the turn in which the flood was read */
    for (unsigned turns = 0; probe_of(p, id)->datagrams < 200; turns++) {
        assert_true(probe_of(p, id)->datagrams - before <= 32);
        before = probe_of(p, id)->datagrams;
        assert_true(turns < 200);
        probe_step(p);
    }
    assert_int_equal(probe_of(p, other)->datagrams, 1);
    net_close(&fd);
    probe_free(p);
}

/* Its own output is full: it does not read on, and nothing is lost. */
static void fill(struct probe *p, struct probe_res *r, const struct ior_datagram *d)
{
    ior_id *to = p->arg;
    (void)d;
    (void)r;
    assert_true(ior_send(p->cx, *to, d->bytes, d->len) >= 0);
}

static void reading_stops_while_its_own_output_is_full(void **state)
{
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir();
    struct ior_addr self;
    char text[160];
    int fd;
    (void)state;
    struct ior_addr server;
    snprintf(text, sizeof(text), "unix:%s/self", dir);
    struct ior_addr local = dg_addr(text);
    snprintf(text, sizeof(text), "unix:%s/server", dir);
    fd = dg_peer(text, &server);
    ior_id id = 0;
    assert_int_equal(
        ior_datagram_open(p->cx, &local, DG_OPTIONS(.peer = &server, .max_bytes = 100, .high_bytes = 100), &id), 0);
    assert_int_equal(ior_local(p->cx, id, &self), 0);
    p->arg = &id;
    dg.on_datagram = fill;
    int said = 0;
    for (int round = 0; round < 2000; round++) {
        char number[32];
        snprintf(number, sizeof(number), "number %06d", said);
        if (sendto(fd, number, 13, MSG_DONTWAIT, (const struct sockaddr *)(const void *)self.raw, self.len) == 13)
            said++;
        probe_turns(p, 1);
    }
    assert_true(ior_queued(p->cx, id) > 100 && ior_queued(p->cx, id) <= 200);
    assert_true(dg.told_n < (size_t)said);
    dg.on_datagram = NULL;
    for (size_t i = 0; i < (size_t)said; i++) {
        if (i < dg.told_n && i % 2 == 0)
            dg.on_datagram = fill;
        while (dg_is_quiet(fd))
            probe_step(p);
        char number[32];
        snprintf(number, sizeof(number), "number %06zu", i);
        dg.on_datagram = fill;
        assert_string_equal(dg_hear(fd, NULL), number);
    }
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(empty_ones_are_bounded_too),
        cmocka_unit_test(a_full_unix_peer_does_not_stop_the_others),
        cmocka_unit_test(paused_in_the_midst_of_a_batch),
        cmocka_unit_test(handed_over_with_what_it_holds),
        cmocka_unit_test(unsent_ones_go_along),
        cmocka_unit_test(a_close_that_does_not_drain_ends_at_its_deadline),
        cmocka_unit_test(adopted_sockets),
        cmocka_unit_test(r38_a_flood_has_a_share_of_each_turn),
        cmocka_unit_test(reading_stops_while_its_own_output_is_full),
    };
    return cmocka_run_group_tests_name("datagram_flow", tests, NULL, NULL);
}
