/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagram sockets on real ones: UDP over IPv4 and IPv6, and Unix datagrams. Peers are plain sockets, so that what is
 * told is compared with what the kernel says.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/check.h"
#include "support/datagrams.h"
#include "support/probe.h"

/* ---- there and back ---- */

static void reply(struct probe *p, struct probe_res *r, const struct ior_datagram *d)
{
    assert_int_equal(ior_send_to(p->cx, r->id, d->peer, d->bytes, d->len), 0);
}

static void echoes(const char *server_at, const char *client_at)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client, from;
    int fd = dg_peer(client_at, &client);
    ior_id id = dg_open(p, server_at, NULL, &server);
    dg.on_datagram = reply;
    dg_say_text(fd, &server, "hello");
    dg_say(fd, &server, "", 0);
    dg_say_text(fd, &server, "world");
    probe_until(p, dg.told_n == 3);
    assert_string_equal(dg.told[0].text, "hello");
    assert_int_equal(dg.told[1].len, 0);
    assert_string_equal(dg.told[2].text, "world");
    for (int i = 0; i < 3; i++) {
        assert_true(ior_addr_equal(&dg.told[i].peer, &client));
        assert_true(ior_addr_equal(&dg.told[i].local, &server));
        assert_false(dg.told[i].truncated);
    }
    assert_string_equal(dg_hear(fd, &from), "hello");
    assert_true(ior_addr_equal(&from, &server));
    assert_string_equal(dg_hear(fd, NULL), "");
    assert_string_equal(dg_hear(fd, NULL), "world");
    assert_int_equal(probe_of(p, id)->registered, 1);
    assert_int_equal(probe_of(p, id)->open, 0);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    probe_until(p, probe_of(p, id)->end);
    assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
    assert_int_equal(probe_of(p, id)->written, 10);
    assert_int_equal(probe_of(p, id)->unsent + probe_of(p, id)->unread, 0);
    net_close(&fd);
    probe_free(p);
}

static void over_v4(void **state)
{
    (void)state;
    echoes("127.0.0.1:0", "127.0.0.1:0");
}

static void over_v6(void **state)
{
    (void)state;
    if (!dg_has_v6()) {
        print_message("no IPv6 here\n");
        skip();
    }
    echoes("[::1]:0", "[::1]:0");
}

static void over_unix(void **state)
{
    char *dir = net_temp_dir();
    char server[128], client[128];
    (void)state;
    snprintf(server, sizeof(server), "unix:%s/server", dir);
    snprintf(client, sizeof(client), "unix:%s/client", dir);
    echoes(server, client);
    snprintf(server, sizeof(server), "%s/server", dir);
    assert_int_not_equal(access(server, F_OK), 0); /* it was the socket's */
    net_temp_dir_remove(dir);
}

static void r74_a_batch_in_order_each_with_its_own_address(void **state)
{
    enum { PEERS = 3, N = 90 };
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, peers[PEERS];
    int fds[PEERS];
    char text[32];
    (void)state;
    dg_open(p, "127.0.0.1:0", DG_OPTIONS(.tell_local = true), &server);
    for (int i = 0; i < PEERS; i++)
        fds[i] = dg_peer("127.0.0.1:0", &peers[i]);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        dg_say_text(fds[i % PEERS], &server, text);
    }
    probe_until(p, dg.told_n == N);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        assert_string_equal(dg.told[i].text, text);
        assert_true(ior_addr_equal(&dg.told[i].peer, &peers[i % PEERS]));
        assert_true(ior_addr_equal(&dg.told[i].local, &server));
        assert_int_equal(dg.told[i].interface, if_nametoindex("lo"));
    }
    for (int i = 0; i < PEERS; i++)
        net_close(&fds[i]);
    probe_free(p);
}

static void truncation_is_told(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client;
    int fd = dg_peer("127.0.0.1:0", &client);
    (void)state;
    dg_open(p, "127.0.0.1:0", DG_OPTIONS(.max_bytes = 10), &server);
    dg_say_text(fd, &server, "0123456789");
    dg_say_text(fd, &server, "0123456789a");
    dg_say_text(fd, &server, "b");
    probe_until(p, dg.told_n == 3);
    assert_false(dg.told[0].truncated);
    assert_true(dg.told[1].truncated);
    assert_false(dg.told[2].truncated);
    assert_int_equal(dg.told[1].len, 10);
    assert_string_equal(dg.told[1].text, "0123456789");
    assert_string_equal(dg.told[2].text, "b");
    net_close(&fd);
    probe_free(p);
}

static void opens_a_larger_one(struct probe *p, struct probe_res *r, const struct ior_datagram *d)
{
    static const uint32_t larger[] = {8000, 16000, 32000};
    unsigned char before[DG_TEXT];
    (void)r;
    if (dg.told_n > sizeof(larger) / sizeof(larger[0]))
        return;
    assert_true(d->len > 0 && d->len <= sizeof(before));
    memcpy(before, d->bytes, d->len);
    dg_open(p, "127.0.0.1:0", DG_OPTIONS(.max_bytes = larger[dg.told_n - 1]), NULL);
    assert_memory_equal(d->bytes, before, d->len);
}

/* The buffers of the runtime grow while some of what they hold has still to be told. */
static void opening_a_larger_one_leaves_what_came(void **state)
{
    enum { N = 20 };
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client;
    char text[32];
    int fd = dg_peer("127.0.0.1:0", &client);
    (void)state;
    dg_open(p, "127.0.0.1:0", DG_OPTIONS(.max_bytes = 4000), &server);
    dg.on_datagram = opens_a_larger_one;
    dg_say_numbers(fd, &server, N);
    probe_until(p, dg.told_n == N);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        assert_string_equal(dg.told[i].text, text);
    }
    net_close(&fd);
    probe_free(p);
}

static void the_largest_is_whole(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client;
    ior_id id = dg_open(p, "127.0.0.1:0", NULL, &server);
    unsigned char *bytes = net_new_pattern(65508);
    ior_id from = dg_open(p, "127.0.0.1:0", NULL, &client);
    (void)state;
    assert_int_equal(ior_send_to(p->cx, from, &server, bytes, 65508), -EMSGSIZE);
    assert_int_equal(ior_send_to(p->cx, from, &server, bytes, 65507), 0);
    probe_until(p, dg.told_n == 1);
    assert_int_equal(dg.told[0].id, id);
    assert_int_equal(dg.told[0].len, 65507);
    assert_false(dg.told[0].truncated);
    free(bytes);
    probe_free(p);
}

static void it_says_where_it_came_to_and_answers_from_there(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, client, to = dg_addr("127.0.0.2:0"), from;
    int fd = dg_peer("127.0.0.1:0", &client);
    ior_id id = dg_open(p, "0.0.0.0:0", DG_OPTIONS(.tell_local = true), &server);
    (void)state;
    memcpy(to.raw + 2, server.raw + 2, 2);
    dg_say_text(fd, &to, "ping");
    probe_until(p, dg.told_n == 1);
    assert_true(ior_addr_equal(&dg.told[0].local, &to));
    assert_int_equal(ior_send_from(p->cx, id, &dg.told[0].local, &dg.told[0].peer, "pong", 4), 0);
    assert_int_equal(ior_send_to(p->cx, id, &dg.told[0].peer, "else", 4), 0);
    probe_turns(p, 2);
    assert_string_equal(dg_hear(fd, &from), "pong");
    assert_true(ior_addr_equal(&from, &to));
    assert_string_equal(dg_hear(fd, &from), "else");
    assert_false(ior_addr_equal(&from, &to));
    net_close(&fd);
    probe_free(p);
}

static void connected_ones_hear_one_peer(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, stranger, local;
    int fd = dg_peer("127.0.0.1:0", &server), other = dg_peer("127.0.0.1:0", &stranger);
    struct ior_buf *buf = ior_buf_copy("buf", 3);
    struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t) "ve", .iov_len = 2},
                           {.iov_base = (void *)(uintptr_t) "ctor", .iov_len = 4}};
    ior_id id = 0;
    (void)state;
    assert_int_equal(ior_datagram_open(p->cx, NULL, DG_OPTIONS(.peer = &server), &id), 0);
    assert_int_equal(ior_local(p->cx, id, &local), 0);
    assert_int_equal(ior_send(p->cx, id, "plain", 5), 0);
    assert_int_equal(ior_send(p->cx, id, "", 0), 0);
    assert_int_equal(ior_sendv(p->cx, id, iov, 2), 0);
    assert_int_equal(ior_send_buf(p->cx, id, buf), 0);
    assert_int_equal(ior_send_file(p->cx, id, fd, 0, 1), -EOPNOTSUPP);
    assert_int_equal(ior_send_to(p->cx, id, &server, "x", 1), -EISCONN);
    assert_int_equal(ior_queued(p->cx, id), 14);
    probe_turns(p, 1);
    assert_string_equal(dg_hear(fd, NULL), "plain");
    assert_string_equal(dg_hear(fd, NULL), "");
    assert_string_equal(dg_hear(fd, NULL), "vector");
    assert_string_equal(dg_hear(fd, NULL), "buf");
    dg_say_text(other, &local, "not for you");
    dg_say_text(fd, &local, "for you");
    probe_until(p, dg.told_n == 1);
    assert_string_equal(dg.told[0].text, "for you");
    assert_true(ior_addr_equal(&dg.told[0].peer, &server));
    ior_buf_unref(buf);
    net_close(&fd);
    net_close(&other);
    probe_free(p);
}

/* ---- errors ---- */

static void r73_an_icmp_error_is_one_datagrams(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server, nobody = dg_refused();
    int fd = dg_peer("127.0.0.1:0", &server);
    ior_id id = dg_open(p, "127.0.0.1:0", NULL, NULL);
    char text[32];
    (void)state;
    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        assert_int_equal(ior_send_to(p->cx, id, i % 2 ? &server : &nobody, text, strlen(text)), 0);
    }
    probe_until(p, dg.errors_n > 0 && ior_queued(p->cx, id) == 0);
    for (int i = 1; i < 40; i += 2) {
        snprintf(text, sizeof(text), "number %d", i);
        assert_string_equal(dg_hear(fd, NULL), text);
    }
    assert_true(dg_is_quiet(fd)); /* nothing twice */
    for (size_t i = 0; i < dg.errors_n; i++) {
        assert_int_equal(dg.errors[i].error, ECONNREFUSED);
        assert_true(dg.errors[i].was_sent);
        assert_true(ior_addr_equal(&dg.errors[i].peer, &nobody));
    }
    assert_in_range(dg.errors_n, 1, 20); /* ICMP is limited to some in a second */
    assert_int_equal(probe_of(p, id)->end, 0);
    uint64_t turns = probe_quiet(p, 30);
    assert_in_range(turns, 0, 5);
    net_close(&fd);
    probe_free(p);
}

/* Without a queue of errors, a later call is told: it is made again. */
static void r73_where_the_next_call_is_told(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr server;
    int fd = dg_peer("127.0.0.1:0", &server);
    ior_id id = 0;
    (void)state;
    net_close(&fd);
    assert_int_equal(ior_datagram_open(p->cx, NULL, DG_OPTIONS(.peer = &server, .ignore_errors = true), &id), 0);
    assert_int_equal(ior_send(p->cx, id, "lost", 4), 0);
    probe_turns(p, 1);
    char text[128];
    assert_true(ior_addr_format(&server, text, sizeof(text)) > 0);
    fd = dg_peer(text, &server);
    assert_int_equal(ior_send(p->cx, id, "heard", 5), 0);
    probe_until(p, dg.errors_n == 1);
    assert_int_equal(dg.errors[0].error, ECONNREFUSED);
    assert_true(ior_addr_equal(&dg.errors[0].peer, &server));
    assert_string_equal(dg_hear(fd, NULL), "heard");
    assert_true(dg_is_quiet(fd));
    net_close(&fd);
    probe_free(p);
}

/* A socket that keeps errors, though nobody here asked for that. */
static void an_adopted_queue_of_errors_does_not_spin(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr own, nobody = dg_refused();
    int fd = dg_peer("127.0.0.1:0", &own), on = 1;
    ior_id id = 0;
    (void)state;
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
    assert_int_equal(ior_datagram_adopt(p->cx, fd, DG_OPTIONS(.ignore_errors = true), &id), 0);
    assert_int_equal(ior_send_to(p->cx, id, &nobody, "x", 1), 0);
    probe_until(p, dg.errors_n == 1);
    assert_true(ior_addr_equal(&dg.errors[0].peer, &nobody));
    assert_in_range(probe_quiet(p, 30), 0, 3);
    probe_free(p);
}

static void resend(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    dg_on_event(p, r, ev);
    if (ev->type == IOR_EV_SEND_ERROR && dg.errors_n < 5)
        assert_true(ior_send_to(p->cx, r->id, ev->datagram->peer, "again", 5) >= 0);
}

/* A service that sends again what failed does not keep the turn from ending. */
static void what_is_sent_again_waits_for_the_next_turn(void **state)
{
    char *dir = net_temp_dir();
    char text[160];
    struct probe *p = dg_begin(NULL);
    (void)state;
    p->on_event = resend;
    snprintf(text, sizeof(text), "unix:%s/socket", dir);
    ior_id id = dg_open(p, text, NULL, NULL);
    snprintf(text, sizeof(text), "unix:%s/nobody", dir);
    struct ior_addr nobody = dg_addr(text);
    assert_int_equal(ior_send_to(p->cx, id, &nobody, "first", 5), 0);
    for (size_t i = 1; i <= 5; i++) {
        probe_turns(p, 1);
        assert_int_equal(dg.errors_n, i);
    }
    probe_turns(p, 1);
    assert_int_equal(dg.errors_n, 5);
    assert_string_equal(dg.errors[0].text, "first");
    assert_string_equal(dg.errors[1].text, "again");
    assert_int_equal(dg.errors[0].error, ENOENT);
    assert_false(dg.errors[0].was_sent);
    assert_true(ior_addr_equal(&dg.errors[0].peer, &nobody));
    assert_int_equal(ior_queued(p->cx, id), 0);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void too_large_for_the_kernel_is_an_error_of_that_one(void **state)
{
    enum { LARGE = 1 << 20 };
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir(), text[160];
    unsigned char *bytes = net_new_pattern(LARGE);
    struct ior_addr server;
    ior_id id = 0;
    (void)state;
    snprintf(text, sizeof(text), "unix:%s/server", dir);
    int fd = dg_peer(text, &server);
    assert_int_equal(ior_datagram_open(p->cx, NULL,
                                       DG_OPTIONS(.peer = &server, .send_buffer_bytes = 8192, .cap_bytes = 4 << 20,
                                                  .high_bytes = 2 << 20),
                                       &id),
                     0);
    assert_int_equal(ior_send(p->cx, id, "before", 6), 0);
    assert_int_equal(ior_send(p->cx, id, bytes, LARGE), 0);
    assert_int_equal(ior_send(p->cx, id, "after", 5), 0);
    assert_int_equal(ior_send(p->cx, id, bytes, (4 << 20) + 1), -EMSGSIZE);
    probe_until(p, dg.errors_n == 1);
    assert_int_equal(dg.errors[0].error, EMSGSIZE);
    assert_int_equal(dg.errors[0].len, LARGE);
    assert_string_equal(dg_hear(fd, NULL), "before");
    assert_string_equal(dg_hear(fd, NULL), "after");
    free(bytes);
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void a_broadcast_wants_to_be_allowed(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr everybody = dg_addr("127.255.255.255:9");
    ior_id id = dg_open(p, "127.0.0.1:0", NULL, NULL);
    ior_id may = dg_open(p, "127.0.0.1:0", DG_OPTIONS(.broadcast = true), NULL);
    (void)state;
    assert_int_equal(ior_send_to(p->cx, id, &everybody, "x", 1), 0);
    assert_int_equal(ior_send_to(p->cx, may, &everybody, "x", 1), 0);
    probe_until(p, dg.errors_n == 1);
    assert_int_equal(dg.errors[0].id, id);
    assert_int_equal(dg.errors[0].error, EACCES);
    assert_int_equal(probe_of(p, may)->send_errors, 0);
    probe_free(p);
}

/* ---- paths, options ---- */

static void unix_paths(void **state)
{
    struct probe *p = dg_begin(NULL);
    char *dir = net_temp_dir(), text[256], path[160];
    struct ior_addr addr, server;
    struct stat st;
    ior_id id = 0, other = 0;
    (void)state;
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    addr = dg_addr(text);
    int stale = dg_peer(text, &server);
    assert_int_equal(ior_datagram_open(p->cx, &addr, NULL, &id), -EADDRINUSE);
    net_close(&stale);
    assert_int_equal(ior_datagram_open(p->cx, &addr, DG_OPTIONS(.unix_mode = 0622), &id), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0622);
    assert_int_equal(ior_datagram_open(p->cx, &addr, NULL, &other), -EADDRINUSE);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_not_equal(stat(path, &st), 0);
    int file = mkstemp(strcat(path, "XXXXXX"));
    assert_true(file >= 0);
    net_close(&file);
    snprintf(text, sizeof(text), "unix:%s", path);
    addr = dg_addr(text);
    assert_int_equal(ior_datagram_open(p->cx, &addr, NULL, &id), -EADDRINUSE);
    assert_int_equal(stat(path, &st), 0);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static const char *bound_path;
static unsigned first_mode;

/* What the path has before the library gives it its mode: from bind(2) on anybody whom this lets may send. */
static int spying_chmod(void *arg, const char *path, unsigned mode)
{
    struct stat st;
    if (stat(bound_path, &st) == 0)
        first_mode = st.st_mode & 0777;
    return ior_os_default()->path_chmod(arg, path, mode);
}

static int no_fd_chmod(void *arg, int fd, unsigned mode)
{
    (void)arg;
    (void)fd;
    (void)mode;
    return -EINVAL;
}

/* Opens with that mode under that umask, and closes: the first mode of the path, and its last. */
static void modes_of(const struct ior_os *os, unsigned mode, mode_t mask, unsigned *first, unsigned *last)
{
    struct ior_config config = probe_config();
    config.os = os;
    struct probe *p = dg_begin(&config);
    char *dir = net_temp_dir(), text[256], path[160];
    struct stat st;
    ior_id id = 0;
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    struct ior_addr addr = dg_addr(text);
    bound_path = path;
    first_mode = 0777;
    mode_t before = umask(mask);
    int err = ior_datagram_open(p->cx, &addr, DG_OPTIONS(.unix_mode = mode), &id);
    umask(before);
    assert_int_equal(err, 0);
    assert_int_equal(stat(path, &st), 0);
    *first = first_mode;
    *last = st.st_mode & 0777;
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void r81_a_unix_datagram_socket_is_never_open_to_more(void **state)
{
    struct ior_os os = *ior_os_default();
    unsigned first, last;
    (void)state;
    os.path_chmod = spying_chmod;
    modes_of(&os, 0600, 0, &first, &last);
#if defined(__linux__)
    assert_int_equal(first, 0600);
#endif
    assert_int_equal(last, 0600);
    modes_of(&os, 0622, 077, &first, &last);
    assert_int_equal(first & ~0622u, 0);
    assert_int_equal(last, 0622); /* what the umask took, too */
    os.fd_chmod = no_fd_chmod;
    modes_of(&os, 0640, 0, &first, &last);
    assert_int_equal(last, 0640);
    os.fd_chmod = NULL;
    modes_of(&os, 0640, 0, &first, &last);
    assert_int_equal(first, 0777); /* what it would be */
    assert_int_equal(last, 0640);
}

static void two_may_share_a_port(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr addr;
    ior_id id = 0;
    (void)state;
    dg_open(p, "127.0.0.1:0", DG_OPTIONS(.reuse_port = true), &addr);
    assert_int_equal(ior_datagram_open(p->cx, &addr, NULL, &id), -EADDRINUSE);
    assert_int_equal(ior_datagram_open(p->cx, &addr, DG_OPTIONS(.reuse_port = true), &id), 0);
    probe_free(p);
}

static void multicast_on(const char *any, const char *group_text)
{
    unsigned lo = if_nametoindex("lo");
    struct probe *p = dg_begin(NULL);
    struct ior_addr group = dg_addr(group_text), server;
    ior_id hears = dg_open(p, any, DG_OPTIONS(.reuse_addr = true), &server);
    ior_id says = dg_open(p, any, DG_OPTIONS(.multicast_interface = lo, .multicast_hops = 1), NULL);
    memcpy(group.raw + 2, server.raw + 2, 2);
    int err = ior_multicast_join(p->cx, hears, &group, lo);
    if (err == -ENODEV || err == -EADDRNOTAVAIL) {
        probe_free(p);
        print_message("no multicast on lo here\n");
        skip();
    }
    assert_int_equal(err, 0);
    assert_int_equal(ior_multicast_join(p->cx, hears, &group, lo), -EADDRINUSE);
    assert_int_equal(ior_send_to(p->cx, says, &group, "to all", 6), 0);
    probe_until(p, dg.told_n + dg.errors_n > 0 && ior_queued(p->cx, says) == 0);
    if (dg.errors_n > 0 && dg.errors[0].error == ENETUNREACH) {
        probe_free(p);
        print_message("no multicast route here\n");
        skip();
    }
    assert_int_equal(dg.told_n, 1);
    assert_string_equal(dg.told[0].text, "to all");
    assert_int_equal(ior_multicast_leave(p->cx, hears, &group, lo), 0);
    assert_int_equal(ior_multicast_leave(p->cx, hears, &group, lo), -EADDRNOTAVAIL);
    assert_int_equal(ior_send_to(p->cx, says, &group, "nobody", 6), 0);
    probe_turns(p, 3);
    assert_int_equal(dg.told_n, 1);
    probe_free(p);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* What the kernel knows of the options. */
static void options_are_set(const char *any, int level, int loop, int hops, const struct ior_datagram_options *opts)
{
    struct probe *p = dg_begin(NULL);
    ior_id id = dg_open(p, any, opts, NULL);
    p->keep = true;
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    int fd = ior_resource_release(probe_of(p, id)->handed);
    probe_of(p, id)->handed = NULL;
    assert_true(fd >= 0);
    assert_int_equal(option_of(fd, level, loop), !opts->multicast_no_loop);
    assert_int_equal(option_of(fd, level, hops), opts->multicast_hops ? opts->multicast_hops : 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_BROADCAST), opts->broadcast);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), opts->reuse_addr);
    if (opts->receive_buffer_bytes)
        assert_true(option_of(fd, SOL_SOCKET, SO_RCVBUF) >= (int)opts->receive_buffer_bytes);
    if (opts->send_buffer_bytes)
        assert_true(option_of(fd, SOL_SOCKET, SO_SNDBUF) >= (int)opts->send_buffer_bytes);
    net_close(&fd);
    probe_free(p);
}

static void options_reach_the_kernel(void **state)
{
    (void)state;
    options_are_set("127.0.0.1:0", IPPROTO_IP, IP_MULTICAST_LOOP, IP_MULTICAST_TTL, DG_OPTIONS(.user = NULL));
    options_are_set("127.0.0.1:0", IPPROTO_IP, IP_MULTICAST_LOOP, IP_MULTICAST_TTL,
                    DG_OPTIONS(.multicast_no_loop = true, .multicast_hops = 7, .broadcast = true, .reuse_addr = true,
                               .receive_buffer_bytes = 20000, .send_buffer_bytes = 30000));
    if (dg_has_v6())
        options_are_set("[::1]:0", IPPROTO_IPV6, IPV6_MULTICAST_LOOP, IPV6_MULTICAST_HOPS,
                        DG_OPTIONS(.multicast_no_loop = true, .multicast_hops = 255));
}

static void multicast_v4(void **state)
{
    (void)state;
    multicast_on("0.0.0.0:0", "239.255.70.71:0");
}

static void multicast_v6(void **state)
{
    (void)state;
    if (!dg_has_v6())
        skip();
    multicast_on("[::]:0", "[ff02::4711]:0");
}

static void multicast_refusals(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr v4 = dg_addr("127.0.0.1:0"), v6 = dg_addr("[::1]:9");
    char *dir = net_temp_dir(), text[160];
    int fd;
    (void)state;
    ior_id id = dg_open(p, "127.0.0.1:0", NULL, NULL);
    snprintf(text, sizeof(text), "unix:%s/socket", dir);
    ior_id unix_id = dg_open(p, text, NULL, NULL), stream = probe_tcp(p, NULL, &fd);
    assert_int_equal(ior_multicast_join(p->cx, unix_id, &v4, 0), -EOPNOTSUPP);
    assert_int_equal(ior_multicast_join(p->cx, stream, &v4, 0), -EOPNOTSUPP);
    assert_int_equal(ior_multicast_join(p->cx, id, &v6, 0), -EAFNOSUPPORT);
    assert_int_equal(ior_multicast_join(p->cx, id, NULL, 0), -EINVAL);
    assert_int_equal(ior_multicast_join(p->cx, id, &v4, 0), -EINVAL); /* no group's address */
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void refusals(void **state)
{
    struct probe *p = dg_begin(NULL);
    struct ior_addr v4 = dg_addr("127.0.0.1:0"), v6 = dg_addr("[::1]:9"), none = {.len = 0},
                    peer = dg_addr("127.0.0.1:9");
    char *dir = net_temp_dir(), text[160];
    ior_id id = 7, unix_id = 0;
    int fd;
    (void)state;
    size_t fds = net_fd_count();
    assert_int_equal(ior_datagram_open(NULL, &v4, NULL, &id), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, NULL, NULL, &id), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, &v4, NULL, NULL), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, &none, NULL, &id), -EAFNOSUPPORT);
    assert_int_equal(ior_datagram_open(p->cx, &v4, DG_OPTIONS(.peer = &v6), &id), -EAFNOSUPPORT);
    assert_int_equal(ior_datagram_open(p->cx, &v4, DG_OPTIONS(.unix_mode = 01000), &id), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, &v4, DG_OPTIONS(.high_bytes = 10, .low_bytes = 11), &id), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, &v4, DG_OPTIONS(.high_bytes = 10, .cap_bytes = 11), &id), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, &v4, DG_OPTIONS(.multicast_hops = 256), &id), -EINVAL);
    assert_int_equal(ior_datagram_open(p->cx, &v4, DG_OPTIONS(.max_bytes = UINT32_MAX), &id), -EINVAL);
    struct ior_addr far = dg_addr("192.0.2.1:9");
    assert_int_equal(ior_datagram_open(p->cx, &far, NULL, &id), -EADDRNOTAVAIL);
    snprintf(text, sizeof(text), "unix:%s/nobody", dir);
    struct ior_addr nobody = dg_addr(text);
    assert_int_equal(ior_datagram_open(p->cx, NULL, DG_OPTIONS(.peer = &nobody), &id), -ENOENT);
    assert_int_equal(id, 7);
    assert_int_equal(net_fd_count(), fds);
    id = dg_open(p, "127.0.0.1:0", NULL, NULL);
    snprintf(text, sizeof(text), "unix:%s/socket", dir);
    unix_id = dg_open(p, text, NULL, NULL);
    assert_int_equal(ior_send(p->cx, id, "x", 1), -EDESTADDRREQ);
    assert_int_equal(ior_send_to(p->cx, id, NULL, "x", 1), -EINVAL);
    assert_int_equal(ior_send_to(p->cx, id, &peer, NULL, 1), -EINVAL);
    assert_int_equal(ior_send_to(p->cx, id, &v6, "x", 1), -EAFNOSUPPORT);
    assert_int_equal(ior_send_to(p->cx, id, &none, "x", 1), -EAFNOSUPPORT);
    assert_int_equal(ior_send_from(p->cx, id, &v6, &peer, "x", 1), -EAFNOSUPPORT);
    assert_int_equal(ior_send_from(p->cx, unix_id, &nobody, &nobody, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_send_to(p->cx, id + 16, &peer, "x", 1), -ENOENT);
    assert_int_equal(ior_finish(p->cx, id), -EOPNOTSUPP);
    assert_int_equal(ior_unread(p->cx, id, 0), -EOPNOTSUPP);
    assert_int_equal(ior_interest(p->cx, id, IOR_READ), -EOPNOTSUPP);
    ior_id stream = probe_tcp(p, NULL, &fd);
    assert_int_equal(ior_send_to(p->cx, stream, &peer, "x", 1), -EOPNOTSUPP);
    net_close(&fd);
    probe_free(p);
    net_temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_v4),
        cmocka_unit_test(over_v6),
        cmocka_unit_test(over_unix),
        cmocka_unit_test(r74_a_batch_in_order_each_with_its_own_address),
        cmocka_unit_test(truncation_is_told),
        cmocka_unit_test(opening_a_larger_one_leaves_what_came),
        cmocka_unit_test(the_largest_is_whole),
        cmocka_unit_test(it_says_where_it_came_to_and_answers_from_there),
        cmocka_unit_test(connected_ones_hear_one_peer),
        cmocka_unit_test(r73_an_icmp_error_is_one_datagrams),
        cmocka_unit_test(r73_where_the_next_call_is_told),
        cmocka_unit_test(an_adopted_queue_of_errors_does_not_spin),
        cmocka_unit_test(what_is_sent_again_waits_for_the_next_turn),
        cmocka_unit_test(too_large_for_the_kernel_is_an_error_of_that_one),
        cmocka_unit_test(a_broadcast_wants_to_be_allowed),
        cmocka_unit_test(unix_paths),
        cmocka_unit_test(r81_a_unix_datagram_socket_is_never_open_to_more),
        cmocka_unit_test(two_may_share_a_port),
        cmocka_unit_test(options_reach_the_kernel),
        cmocka_unit_test(multicast_v4),
        cmocka_unit_test(multicast_v6),
        cmocka_unit_test(multicast_refusals),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("datagram", tests, NULL, NULL);
}
