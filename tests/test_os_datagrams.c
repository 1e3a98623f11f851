/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams through struct ior_os: several in one call or one by one, joined or apart, they are the same datagrams. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os_datagrams.h"
#include "support/check.h"
#include "support/net.h"

enum { MOST = IOR_OS_DATAGRAMS, ROOM = 2048 };

static int udp(struct sockaddr_in *ret)
{
    const struct ior_os *os = ior_os_default();
    struct ior_addr addr;
    int fd = os->socket(os->arg, AF_INET, SOCK_DGRAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:0"), 0);
    assert_int_equal(os->bind(os->arg, fd, &addr), 0);
    assert_int_equal(os->getsockname(os->arg, fd, &addr), 0);
    memcpy(ret, addr.raw, sizeof(*ret));
    return fd;
}

static int send_all(bool each, int fd, struct ior_os_datagram *datagrams, int n)
{
    return each ? ior__os_send_each(fd, datagrams, n) : ior_os_default()->send_datagrams(NULL, fd, datagrams, n);
}

static int recv_all(bool each, int fd, struct ior_os_datagram *datagrams, int n)
{
    return each ? ior__os_recv_each(fd, datagrams, n) : ior_os_default()->recv_datagrams(NULL, fd, datagrams, n);
}

/* Lengths with runs of all kinds; two receivers; what each gets is what was sent to it, in order. */
static void lengths_and_peers(bool each, bool joins)
{
    static const struct {
        size_t len;
        int to;
    } plan[] = {{64, 0}, {64, 0}, {64, 0}, {64, 0}, {30, 0}, {64, 0}, {64, 1}, {64, 1}, {64, 0},   {0, 0},   {0, 0},
                {10, 0}, {20, 0}, {20, 0}, {1, 0},  {1, 1},  {1, 1},  {1, 1},  {2, 1},  {1500, 1}, {1500, 1}};
    enum { N = sizeof(plan) / sizeof(plan[0]) };
    static unsigned char bytes[N][ROOM], got[N][ROOM];
    struct sockaddr_in addrs[2], own, from[N];
    int fds[2] = {udp(&addrs[0]), udp(&addrs[1])}, fd = udp(&own);
    struct ior_os_datagram out[N], in[N];
    for (int i = 0; i < N; i++) {
        net_pattern(bytes[i], (uint64_t)i * 100, plan[i].len);
        out[i] = (struct ior_os_datagram){.bytes = bytes[i], .len = plan[i].len, .peer = &addrs[plan[i].to]};
        out[i].peer_len = sizeof(addrs[0]);
        out[i].joins = joins;
    }
    for (int done = 0; done < N;) {
        int n = send_all(each, fd, out + done, N - done);
        assert_in_range(n, 1, N - done);
        done += n;
    }
    for (int to = 0; to < 2; to++) {
        int wanted = 0, k = 0;
        for (int i = 0; i < N; i++) {
            wanted += plan[i].to == to;
            in[i] =
                (struct ior_os_datagram){.bytes = got[i], .len = ROOM, .peer = &from[i], .peer_len = sizeof(from[0])};
        }
        assert_int_equal(recv_all(each, fds[to], in, N), wanted);
        for (int i = 0; i < N; i++) {
            if (plan[i].to != to)
                continue;
            assert_int_equal(in[k].len, plan[i].len);
            assert_memory_equal(in[k].bytes, bytes[i], plan[i].len);
            assert_int_equal(in[k].peer_len, sizeof(own));
            assert_int_equal(from[k].sin_port, own.sin_port);
            assert_false(in[k].truncated);
            k++;
        }
        assert_int_equal(recv_all(each, fds[to], in, 1), -EAGAIN);
        net_close(&fds[to]);
    }
    net_close(&fd);
}

static void the_same_in_every_way(void **state)
{
    (void)state;
    lengths_and_peers(true, false);
    lengths_and_peers(false, false);
    lengths_and_peers(false, true);
}

/* From an address of its own, joined: both wishes go along. */
static void joined_from_an_address(void **state)
{
    struct sockaddr_in there, own, local = {.sin_family = AF_INET}, from[4], to[4];
    int fd = udp(&there), on = 1;
    const struct ior_os *os = ior_os_default();
    struct ior_addr any;
    unsigned char bytes[4] = "abcd", got[4][4];
    struct ior_os_datagram out[4], in[4];
    (void)state;
    local.sin_addr.s_addr = htonl(0x7f000003);
    int sender = os->socket(os->arg, AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(ior_addr_parse(&any, "0.0.0.0:0"), 0);
    assert_int_equal(os->bind(os->arg, sender, &any), 0);
    assert_int_equal(os->getsockname(os->arg, sender, &any), 0);
    memcpy(&own, any.raw, sizeof(own));
    assert_int_equal(os->setsockopt(os->arg, fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)), 0);
    for (int i = 0; i < 4; i++) {
        out[i] = (struct ior_os_datagram){.bytes = bytes + i, .len = 1, .peer = &there, .local = &local, .joins = true};
        out[i].peer_len = out[i].local_len = sizeof(there);
        in[i] = (struct ior_os_datagram){.bytes = got[i], .len = 4, .peer = &from[i], .local = &to[i]};
        in[i].peer_len = in[i].local_len = sizeof(from[0]);
    }
    assert_int_equal(os->send_datagrams(os->arg, sender, out, 4), 4);
    assert_int_equal(os->recv_datagrams(os->arg, fd, in, 4), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(in[i].len, 1);
        assert_int_equal(got[i][0], bytes[i]);
        assert_int_equal(from[i].sin_addr.s_addr, local.sin_addr.s_addr);
        assert_int_equal(from[i].sin_port, own.sin_port);
        assert_int_equal(to[i].sin_addr.s_addr, there.sin_addr.s_addr);
        assert_int_equal(to[i].sin_port, 0);
    }
    net_close(&fd);
    net_close(&sender);
}

static void what_is_too_long_is_cut_and_said(void **state)
{
    for (int each = 0; each < 2; each++) {
        struct sockaddr_in there, own;
        int fd = udp(&there), sender = udp(&own);
        unsigned char bytes[3][4];
        struct ior_os_datagram out = {.bytes = (void *)(uintptr_t) "12345", .len = 5, .peer = &there}, in[3];
        (void)state;
        out.peer_len = sizeof(there);
        assert_int_equal(send_all(each, sender, &out, 1), 1);
        out.len = 4;
        assert_int_equal(send_all(each, sender, &out, 1), 1);
        for (int i = 0; i < 3; i++)
            in[i] = (struct ior_os_datagram){.bytes = bytes[i], .len = 4};
        assert_int_equal(recv_all(each, fd, in, 3), 2);
        assert_true(in[0].truncated);
        assert_false(in[1].truncated);
        assert_int_equal(in[0].len + in[1].len, 8);
        net_close(&fd);
        net_close(&sender);
    }
}

/* The first that fails is the answer; before that, how many went. */
static void errors_are_the_first_ones(void **state)
{
    struct sockaddr_in there, own;
    int fd = udp(&there), sender = udp(&own);
    struct sockaddr_in broadcast = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct ior_os_datagram out[3] = {{.bytes = (void *)(uintptr_t) "x", .len = 1, .peer = &there},
                                     {.bytes = (void *)(uintptr_t) "y", .len = 1, .peer = &broadcast},
                                     {.bytes = (void *)(uintptr_t) "z", .len = 1, .peer = &there}};
    char byte;
    struct ior_os_datagram in[3] = {{.bytes = &byte, .len = 1}, {.bytes = &byte, .len = 1}, {.bytes = &byte, .len = 1}};
    (void)state;
    broadcast.sin_addr.s_addr = htonl(0x7fffffff);
    for (int i = 0; i < 3; i++)
        out[i].peer_len = sizeof(there);
    for (int each = 0; each < 2; each++) {
        assert_int_equal(send_all(each, sender, out, 3), 1);
        assert_int_equal(send_all(each, sender, out + 1, 2), -EACCES);
        assert_int_equal(send_all(each, -1, out, 3), -EBADF);
        assert_int_equal(recv_all(each, -1, in, 3), -EBADF);
    }
    assert_int_equal(send_all(false, sender, out, 0), -EINVAL);
    assert_int_equal(recv_all(false, sender, in, 0), -EINVAL);
    assert_int_equal(ior__os_recv_error(NULL, sender, in), -EAGAIN);
    assert_int_equal(ior__os_recv_error(NULL, -1, in), -EBADF);
    net_close(&fd);
    net_close(&sender);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_in_every_way),
        cmocka_unit_test(joined_from_an_address),
        cmocka_unit_test(what_is_too_long_is_cut_and_said),
        cmocka_unit_test(errors_are_the_first_ones),
    };
    return cmocka_run_group_tests_name("os_datagrams", tests, NULL, NULL);
}
