/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages through struct ior_os, where the kernel answers what this one does not: no recvmmsg(2) or sendmmsg(2), no
 * segmentation, IPv6 where there is none, control messages that nobody asked for. The system calls are this file's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#if defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmsg.h"
#include "os_datagrams.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define ICMP 2 /* SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL */
#define ICMP6 3
#define LOCALLY 1

#if defined(__GLIBC__)
typedef int flags_type;
#else
typedef unsigned flags_type;
#endif

/* ---- the kernel ---- */

static struct {
    int many_error, many; /* of recvmmsg: an error, or how many */
    int ones;             /* of recvmsg: so many, then EAGAIN */
    _Alignas(struct cmsghdr) unsigned char control[2048];
    size_t control_len;
    int flags;          /* of what is received */
    int send_errors[4]; /* of the next calls that send; 0: it works */
    unsigned sends;     /* calls */
    unsigned runs[64];  /* what went: of each message, how many pieces */
    unsigned runs_n;
    int level, type; /* the first control message of the last one */
    unsigned char data[64];
    int most; /* sendmmsg takes so many; 0: all */
} kernel;

static void fresh(void)
{
    memset(&kernel, 0, sizeof(kernel));
    kernel.many_error = kernel.most = -1;
}

/* Adds a control message to what comes. */
static void comes_with(int level, int type, const void *data, size_t len)
{
    struct msghdr at = {.msg_control = kernel.control + kernel.control_len};
    at.msg_controllen = (__typeof__(at.msg_controllen))CMSG_SPACE(len);
    assert_true(kernel.control_len + CMSG_SPACE(len) <= sizeof(kernel.control));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&at);
    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = (__typeof__(cmsg->cmsg_len))CMSG_LEN(len);
    memcpy(CMSG_DATA(cmsg), data, len);
    kernel.control_len += CMSG_SPACE(len);
}

static void fill(struct msghdr *msg)
{
    if (msg->msg_control) {
        assert_true(msg->msg_controllen >= kernel.control_len);
        memcpy(msg->msg_control, kernel.control, kernel.control_len);
        msg->msg_controllen = (__typeof__(msg->msg_controllen))kernel.control_len;
    }
    msg->msg_namelen = 0;
    msg->msg_flags = kernel.flags;
    memset(msg->msg_iov[0].iov_base, 'x', 1);
}

static int refuse(int err)
{
    errno = err;
    return -1;
}

int recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, flags_type flags, struct timespec *timeout)
{
    (void)fd;
    (void)flags;
    (void)timeout;
    if (kernel.many_error > 0)
        return refuse(kernel.many_error);
    assert_true((unsigned)kernel.many <= n);
    for (int i = 0; i < kernel.many; i++) {
        fill(&msgs[i].msg_hdr);
        msgs[i].msg_len = 1;
    }
    return kernel.many;
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    (void)fd;
    (void)flags;
    if (kernel.ones == 0)
        return refuse(EAGAIN);
    kernel.ones--;
    fill(msg);
    return 1;
}

static void goes(const struct msghdr *msg)
{
    kernel.runs[kernel.runs_n++] = (unsigned)msg->msg_iovlen;
    const struct cmsghdr *cmsg = msg->msg_control ? CMSG_FIRSTHDR(msg) : NULL;
    if (!cmsg)
        return;
    kernel.level = cmsg->cmsg_level;
    kernel.type = cmsg->cmsg_type;
    size_t len = (size_t)cmsg->cmsg_len - CMSG_LEN(0);
    memcpy(kernel.data, CMSG_DATA((struct cmsghdr *)(uintptr_t)cmsg),
           len < sizeof(kernel.data) ? len : sizeof(kernel.data));
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    int err = kernel.send_errors[kernel.sends % 4];
    (void)fd;
    (void)flags;
    kernel.sends++;
    if (err)
        return refuse(err);
    goes(msg);
    return 1;
}

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, flags_type flags)
{
    int err = kernel.send_errors[kernel.sends % 4];
    (void)fd;
    (void)flags;
    kernel.sends++;
    if (err)
        return refuse(err);
    if (kernel.most >= 0 && (unsigned)kernel.most < n)
        n = (unsigned)kernel.most;
    for (unsigned i = 0; i < n; i++)
        goes(&msgs[i].msg_hdr);
    return (int)n;
}

/* It knows UDP_SEGMENT. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
    (void)fd;
    (void)level;
    (void)value;
    (void)len;
    return name == UDP_SEGMENT ? 0 : refuse(ENOPROTOOPT);
}

/* ---- receiving ---- */

static void without_recvmmsg(void **state)
{
    unsigned char bytes[4];
    struct ior_os_datagram in[4];
    (void)state;
    fresh();
    for (int i = 0; i < 4; i++)
        in[i] = (struct ior_os_datagram){.bytes = bytes + i, .len = 1};
    kernel.many_error = ENOSYS;
    kernel.ones = 3;
    assert_int_equal(ior__os_recv_datagrams(NULL, 1, in, 4), 3);
    assert_int_equal(ior__os_recv_datagrams(NULL, 1, in, 4), -EAGAIN);
    kernel.ones = 9;
    assert_int_equal(ior__os_recv_datagrams(NULL, 1, in, 4), 4);
    assert_int_equal(kernel.ones, 5);
    kernel.many_error = ENOMEM;
    assert_int_equal(ior__os_recv_datagrams(NULL, 1, in, 4), -ENOMEM);
    kernel.many_error = 0;
    assert_int_equal(ior__os_recv_datagrams(NULL, 1, in, 4), -EAGAIN);
    assert_int_equal(kernel.ones, 5);
}

/* Receives one with room for its local address: the length of that. */
static uint32_t local_of(struct sockaddr_in6 *ret, uint32_t room, uint32_t *ret_interface)
{
    unsigned char byte;
    struct ior_os_datagram in = {.bytes = &byte, .len = 1, .local = ret, .local_len = room, .interface = 99};
    kernel.many_error = 0;
    kernel.many = 1;
    assert_int_equal(ior__os_recv_datagrams(NULL, 1, &in, 1), 1);
    *ret_interface = in.interface;
    return in.local_len;
}

static void where_it_came_to_over_v6(void **state)
{
    struct in6_pktinfo info = {.ipi6_ifindex = 3};
    struct sockaddr_in6 local = {.sin6_port = 7};
    uint32_t interface;
    int other = 1;
    (void)state;
    for (int link_local = 0; link_local < 2; link_local++) {
        fresh();
        memset(&info.ipi6_addr, 0, sizeof(info.ipi6_addr));
        info.ipi6_addr.s6_addr[0] = link_local ? 0xfe : 0x20;
        info.ipi6_addr.s6_addr[1] = link_local ? 0x80 : 0x01;
        info.ipi6_addr.s6_addr[15] = 9;
        comes_with(SOL_SOCKET, SO_TIMESTAMP, &other, sizeof(other));
        comes_with(IPPROTO_IP, IP_TTL, &other, sizeof(other));
        comes_with(IPPROTO_IPV6, IPV6_HOPLIMIT, &other, sizeof(other));
        comes_with(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
        assert_int_equal(local_of(&local, sizeof(local), &interface), sizeof(local));
        assert_int_equal(local.sin6_family, AF_INET6);
        assert_int_equal(local.sin6_port, 0);
        assert_memory_equal(&local.sin6_addr, &info.ipi6_addr, sizeof(info.ipi6_addr));
        assert_int_equal(local.sin6_scope_id, link_local ? 3 : 0); /* other addresses are of no interface */
        assert_int_equal(interface, 3);
        local.sin6_port = 7;
        assert_int_equal(local_of(&local, sizeof(local) - 1, &interface), 0);
        assert_int_equal(local.sin6_port, 7); /* untouched */
    }
}

static void where_it_came_to_over_v4(void **state)
{
    struct in_pktinfo info = {.ipi_ifindex = 2};
    struct sockaddr_in6 room = {.sin6_family = 7};
    struct sockaddr_in local;
    uint32_t interface;
    int other = 1;
    (void)state;
    fresh();
    comes_with(IPPROTO_IP, IP_TTL, &other, sizeof(other));
    assert_int_equal(local_of(&room, sizeof(room), &interface), 0); /* it does not say */
    assert_int_equal(interface, 0);
    assert_int_equal(room.sin6_family, 7);
    info.ipi_addr.s_addr = htonl(0x7f000005);
    comes_with(IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    assert_int_equal(local_of(&room, sizeof(local) - 1, &interface), 0);
    assert_int_equal(room.sin6_family, 7);
    assert_int_equal(local_of(&room, sizeof(local), &interface), sizeof(local));
    memcpy(&local, &room, sizeof(local));
    assert_int_equal(local.sin_addr.s_addr, htonl(0x7f000005));
    assert_int_equal(interface, 2);
}

/* ---- errors ---- */

static int error_with(int level, int type, uint8_t origin)
{
    struct {
        uint32_t number;
        uint8_t origin, rest[11];
    } err = {.number = ECONNREFUSED, .origin = origin};
    unsigned char byte;
    struct ior_os_datagram in = {.bytes = &byte, .len = 1, .error = 4711};
    fresh();
    kernel.ones = 1;
    if (type)
        comes_with(level, type, &err, sizeof(err));
    assert_int_equal(ior__os_recv_error(NULL, 1, &in), 0);
    return in.error;
}

/* What this host found out itself was the answer of the send already. */
static void only_icmp_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(error_with(IPPROTO_IP, IP_RECVERR, ICMP), ECONNREFUSED);
    assert_int_equal(error_with(IPPROTO_IPV6, IPV6_RECVERR, ICMP6), ECONNREFUSED);
    assert_int_equal(error_with(IPPROTO_IPV6, IPV6_RECVERR, ICMP), ECONNREFUSED); /* of a mapped address */
    assert_int_equal(error_with(IPPROTO_IP, IP_RECVERR, LOCALLY), 0);
    assert_int_equal(error_with(IPPROTO_IP, IP_TTL, ICMP), 0);
    assert_int_equal(error_with(IPPROTO_IPV6, IPV6_HOPLIMIT, ICMP6), 0);
    assert_int_equal(error_with(SOL_SOCKET, IP_RECVERR, ICMP), 0);
    assert_int_equal(error_with(0, 0, 0), 0);
}

/* ---- sending ---- */

static struct sockaddr_in to = {.sin_family = AF_INET};

/* Datagrams of one peer that could leave as one. */
static void alike(struct ior_os_datagram *out, int n)
{
    static unsigned char bytes[2000];
    for (int i = 0; i < n; i++)
        out[i] = (struct ior_os_datagram){.bytes = bytes, .len = 8, .peer = &to, .peer_len = sizeof(to), .joins = true};
}

static void expect_runs(const unsigned *runs, unsigned n, int line)
{
    bool same = kernel.runs_n == n && memcmp(kernel.runs, runs, n * sizeof(*runs)) == 0;
    if (!same)
        fail_msg("line %d: other messages than expected", line);
}
#define EXPECT_RUNS(...) \
    expect_runs((const unsigned[]){__VA_ARGS__}, sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned), __LINE__)

static void from_an_address_over_v6(void **state)
{
    struct sockaddr_in6 local = {.sin6_family = AF_INET6, .sin6_scope_id = 5};
    struct ior_os_datagram out;
    struct in6_pktinfo info;
    (void)state;
    fresh();
    alike(&out, 1);
    local.sin6_addr.s6_addr[0] = 0xfe;
    local.sin6_addr.s6_addr[1] = 0x80;
    out.local = &local;
    out.local_len = sizeof(local);
    assert_int_equal(ior__os_send_datagrams(NULL, 1, &out, 1), 1);
    assert_int_equal(kernel.level, IPPROTO_IPV6);
    assert_int_equal(kernel.type, IPV6_PKTINFO);
    memcpy(&info, kernel.data, sizeof(info));
    assert_memory_equal(&info.ipi6_addr, &local.sin6_addr, sizeof(info.ipi6_addr));
    assert_int_equal(info.ipi6_ifindex, 5);
}

static void only_what_is_alike_is_joined(void **state)
{
    struct sockaddr_in local = {.sin_family = AF_INET};
    struct ior_os_datagram out[6];
    (void)state;
    alike(out, 6);
    fresh();
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 6), 6);
    EXPECT_RUNS(6);
    assert_int_equal(kernel.level, IPPROTO_UDP);
    assert_int_equal(kernel.type, UDP_SEGMENT);
    fresh();
    out[2].joins = false;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 6), 6);
    EXPECT_RUNS(2, 1, 3);
    alike(out, 6);
    fresh();
    out[1].peer_len--; /* another peer */
    out[4].local = &local;
    out[4].local_len = sizeof(local);
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 6), 6);
    EXPECT_RUNS(1, 1, 2, 1, 1);
    alike(out, 6);
    fresh();
    out[0].len = 0;
    out[3].len = 0;
    out[5].len = 2000;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 6), 6);
    EXPECT_RUNS(1, 2, 1, 1, 1);
    fresh();
    kernel.most = 2; /* the third is refused, or the socket full */
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 6), 3);
    kernel.most = 0;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 6), -EAGAIN);
}

static void what_cannot_be_cut_goes_apart(void **state)
{
    static const int errors[] = {EINVAL, EIO, EMSGSIZE, EOPNOTSUPP, ENOPROTOOPT};
    struct ior_os_datagram out[3];
    (void)state;
    alike(out, 3);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fresh();
        kernel.send_errors[0] = errors[i];
        kernel.send_errors[1] = EAGAIN; /* nothing is known about the kernel then */
        assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), -EAGAIN);
        assert_int_equal(kernel.sends, 2);
    }
    fresh();
    kernel.send_errors[0] = ECONNREFUSED; /* that is the datagram's */
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), -ECONNREFUSED);
    assert_int_equal(kernel.sends, 1);
    fresh();
    for (int i = 0; i < 3; i++)
        out[i].joins = i == 0; /* nothing was joined: it is the datagram's, too */
    kernel.send_errors[0] = EINVAL;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), -EINVAL);
    assert_int_equal(kernel.sends, 1);
    alike(out, 3);
    fresh();
    kernel.send_errors[0] = EIO;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), 3);
    EXPECT_RUNS(1, 1, 1);
    fresh();
    for (int i = 0; i < 3; i++)
        assert_false(out[i].joins); /* the socket's; others go on */
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), 3);
    assert_int_equal(kernel.sends, 1);
    EXPECT_RUNS(1, 1, 1);
    alike(out, 3);
    fresh();
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), 3);
    EXPECT_RUNS(3);
}

static void without_sendmmsg(void **state)
{
    struct ior_os_datagram out[3];
    (void)state;
    alike(out, 3);
    for (int i = 0; i < 3; i++)
        out[i].joins = false;
    fresh();
    kernel.send_errors[0] = ENOSYS;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), 3);
    assert_int_equal(kernel.sends, 4);
    EXPECT_RUNS(1, 1, 1);
    fresh();
    kernel.send_errors[0] = ENOSYS;
    kernel.send_errors[2] = EPERM;
    assert_int_equal(ior__os_send_datagrams(NULL, 1, out, 3), 1);
}

/* ---- fds ---- */

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int some_fd(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(fd >= 3);
    return fd;
}

static void fds_of_other_messages(void **state)
{
    static struct ior_os_fds in;
    const struct ior_os *os = ior_os_default();
    int process = some_fd(), fds[3], none = -1;
    char byte;
    (void)state;
    fresh();
    for (int i = 0; i < 3; i++)
        fds[i] = some_fd();
    comes_with(SOL_SOCKET, SCM_CREDENTIALS, fds, sizeof(fds)); /* numbers, but no fds */
    comes_with(IPPROTO_IP, SCM_RIGHTS, fds, sizeof(fds));
    comes_with(SOL_SOCKET, SCM_PIDFD, &process, sizeof(process));
    comes_with(SOL_SOCKET, SCM_PIDFD, &none, sizeof(none));
    comes_with(SOL_SOCKET, SCM_RIGHTS, fds, 2 * sizeof(int));
    kernel.ones = 1;
    assert_int_equal(os->recv_fds(os->arg, 1, &byte, 1, &in), 1);
    assert_int_equal(in.count, 2);
    assert_int_equal(in.fds[0], fds[0]);
    assert_int_equal(in.fds[1], fds[1]);
    assert_false(in.lost);
    assert_false(is_open(process)); /* SO_PASSPIDFD, which nobody asked for */
    for (int i = 0; i < 3; i++) {
        assert_true(is_open(fds[i]));
        close(fds[i]);
    }
    assert_int_equal(os->recv_fds(os->arg, 1, &byte, 1, &in), -EAGAIN);
    assert_int_equal(in.count, 0);
    fresh();
    comes_with(SOL_SOCKET, SCM_RIGHTS, &none, sizeof(none));
    kernel.ones = 1;
    assert_int_equal(os->recv_fds(os->arg, 1, &byte, 1, &in), 1);
    assert_int_equal(in.count, 0);
    assert_true(in.lost);
}

/* No kernel sends so many today. */
static void more_fds_than_there_is_room_for(void **state)
{
    enum { MANY = IOR_FDS_MAX + 20 };
    static struct ior_os_fds in;
    static int fds[MANY];
    const struct ior_os *os = ior_os_default();
    char byte;
    (void)state;
    fresh();
    for (int i = 0; i < MANY; i++)
        fds[i] = some_fd();
    comes_with(SOL_SOCKET, SCM_RIGHTS, fds, sizeof(fds));
    kernel.ones = 1;
    assert_int_equal(os->recv_fds(os->arg, 1, &byte, 1, &in), 1);
    assert_int_equal(in.count, IOR_FDS_MAX);
    assert_true(in.lost);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(is_open(fds[i]), i < IOR_FDS_MAX);
    for (int i = 0; i < IOR_FDS_MAX; i++)
        close(fds[i]);
}

static void fds_that_cannot_be_sent(void **state)
{
    static int fds[IOR_FDS_MAX + 1];
    const struct ior_os *os = ior_os_default();
    (void)state;
    fresh();
    assert_int_equal(os->send_fds(os->arg, 1, "x", 1, fds, 0), -EINVAL);
    assert_int_equal(os->send_fds(os->arg, 1, "x", 1, fds, IOR_FDS_MAX + 1), -EINVAL);
    assert_int_equal(kernel.sends, 0);
#if defined(__GLIBC__) /* elsewhere the library asks the kernel itself */
    kernel.send_errors[0] = ETOOMANYREFS;
    assert_int_equal(os->send_fds(os->arg, 1, "x", 1, fds, 1), -ETOOMANYREFS);
    assert_int_equal(os->send_fds(os->arg, 1, "x", 1, fds, IOR_FDS_MAX), 1);
    assert_int_equal(kernel.type, SCM_RIGHTS);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_recvmmsg),
        cmocka_unit_test(where_it_came_to_over_v6),
        cmocka_unit_test(where_it_came_to_over_v4),
        cmocka_unit_test(only_icmp_is_an_error),
        cmocka_unit_test(from_an_address_over_v6),
        cmocka_unit_test(only_what_is_alike_is_joined),
        cmocka_unit_test(what_cannot_be_cut_goes_apart),
        cmocka_unit_test(without_sendmmsg),
        cmocka_unit_test(fds_of_other_messages),
        cmocka_unit_test(more_fds_than_there_is_room_for),
        cmocka_unit_test(fds_that_cannot_be_sent),
    };
    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
#else
int main(void)
{
    print_message("skipped: the calls of Linux\n");
    return 77;
}
#endif
