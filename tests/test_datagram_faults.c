/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagram sockets, and what goes wrong where they are made: each system call and each allocation of each way fails in
 * turn, and leaves nothing. Options are asked for once and by their family's name; IPv6 is tried where there is none, too.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/datagrams.h"
#include "support/live.h"

/* ---- a system that fails, and writes down the options ---- */

struct option {
    int level, name, value;
};

static struct ior_os os;
static unsigned calls, fail_at;
static bool may_be_ignored; /* the call that failed */
static bool over_v6;        /* the socket that was made last */
static struct option options[32];
static unsigned options_n;

static bool fails(bool ignored)
{
    if (++calls != fail_at)
        return false;
    may_be_ignored = ignored;
    return true;
}

/* Of IPv6 too, as an IPv4 socket. */
static int make_socket(void *arg, int domain, int type, int protocol)
{
    over_v6 = domain == AF_INET6;
    return fails(false) ? -EIO : ior_os_default()->socket(arg, domain == AF_INET6 ? AF_INET : domain, type, protocol);
}

static int bind_it(void *arg, int fd, const struct ior_addr *addr)
{
    struct sockaddr sa;
    if (fails(false))
        return -EIO;
    memcpy(&sa, addr->raw, sizeof(sa));
    return sa.sa_family == AF_INET6 ? 0 : ior_os_default()->bind(arg, fd, addr);
}

static int connect_it(void *arg, int fd, const struct ior_addr *addr)
{
    static unsigned interrupted;
    if (interrupted++ % 2 == 0)
        return -EINTR;
    return fails(false) ? -EIO : ior_os_default()->connect(arg, fd, addr);
}

static int name_of(void *arg, int fd, struct ior_addr *addr)
{
    return fails(false) ? -EIO : ior_os_default()->getsockname(arg, fd, addr);
}

static int peer_of(void *arg, int fd, struct ior_addr *addr)
{
    return fails(true) ? -EIO : ior_os_default()->getpeername(arg, fd, addr);
}

static int get_option(void *arg, int fd, int level, int name, void *value, uint32_t *len)
{
    return fails(false) ? -EIO : ior_os_default()->getsockopt(arg, fd, level, name, value, len);
}

/* Written down only: some emulators know few of them. */
static int set_option(void *arg, int fd, int level, int name, const void *value, uint32_t len)
{
    bool six = level == IPPROTO_IPV6;
    bool errors = (level == IPPROTO_IP && name == IP_RECVERR) || (six && name == IPV6_RECVERR);
    bool second = over_v6 && level == IPPROTO_IP && name == IP_PKTINFO; /* the other way counts */
    struct option *option = &options[options_n];
    (void)arg;
    (void)fd;
    if (fails(errors || second))
        return -EIO;
    assert_true(options_n < sizeof(options) / sizeof(options[0]));
    *option = (struct option){.level = level, .name = name};
    memcpy(&option->value, value, len < sizeof(option->value) ? len : sizeof(option->value));
    options_n++;
    return 0;
}

static int kind_of(void *arg, int fd)
{
    return fails(false) ? -EIO : ior_os_default()->fd_kind(arg, fd);
}

static int nonblock(void *arg, int fd, bool on)
{
    return on && fails(false) ? -EIO : ior_os_default()->set_nonblock(arg, fd, on);
}

static int chmod_path(void *arg, const char *path, unsigned mode)
{
    return fails(false) ? -EIO : ior_os_default()->path_chmod(arg, path, mode);
}

static int stat_path(void *arg, const char *path, struct ior_os_path *ret)
{
    return fails(false) ? -EIO : ior_os_default()->path_stat(arg, path, ret);
}

static int chmod_fd(void *arg, int fd, unsigned mode)
{
    return fails(true) ? -EIO : ior_os_default()->fd_chmod(arg, fd, mode);
}

static struct probe *begin(void)
{
    struct ior_config config = probe_config();
    os = *ior_os_default();
    os.socket = make_socket;
    os.bind = bind_it;
    os.connect = connect_it;
    os.getsockname = name_of;
    os.getpeername = peer_of;
    os.getsockopt = get_option;
    os.setsockopt = set_option;
    os.fd_kind = kind_of;
    os.set_nonblock = nonblock;
    os.path_chmod = chmod_path;
    os.path_stat = stat_path;
    os.fd_chmod = chmod_fd;
    fail_at = calls = options_n = 0;
    over_v6 = false;
    config.os = &os;
    return dg_begin(&config);
}

/* ---- ways to come by one ---- */

struct way {
    const char *local;
    struct ior_datagram_options opts;
    unsigned least; /* calls */
};

static char *dir;
static char path[256];

static int go(struct probe *p, const struct way *way, int adopted, ior_id *ret_id)
{
    if (adopted >= 0)
        return ior_datagram_adopt(p->cx, adopted, &way->opts, ret_id);
    struct ior_addr addr = dg_addr(way->local);
    return ior_datagram_open(p->cx, &addr, &way->opts, ret_id);
}

#define ALL_OPTIONS                                                                                                \
    .struct_size = sizeof(struct ior_datagram_options), .receive_buffer_bytes = 65536, .send_buffer_bytes = 32768, \
    .reuse_addr = true, .reuse_port = true, .broadcast = true, .multicast_no_loop = true, .multicast_hops = 5,     \
    .multicast_interface = 1, .tell_local = true, .v6_only = true

/* The n-th call fails: nothing is left of it, but where it does not matter. */
static void each_call_of(const struct way *way, bool adopts)
{
    struct probe *p = begin();
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        int adopted = -1;
        if (adopts) {
            adopted = socket(AF_INET, SOCK_DGRAM, 0);
            assert_true(adopted >= 0);
        }
        size_t fds = net_fd_count(), count = ior_count(p->cx);
        ior_id id = 4711;
        calls = options_n = 0;
        fail_at = nth;
        may_be_ignored = false;
        int err = go(p, way, adopted, &id);
        failed = calls >= nth;
        fail_at = 0;
        if (err < 0) {
            assert_int_equal(err, -EIO);
            assert_true(failed && !may_be_ignored);
            assert_int_equal(id, 4711);
            assert_int_equal(net_fd_count(), fds);
            assert_int_equal(ior_count(p->cx), count);
            if (adopted >= 0) /* it blocks again */
                assert_int_equal(ior_os_default()->set_nonblock(NULL, adopted, false), 0);
            net_close(&adopted);
        } else {
            assert_true(!failed || may_be_ignored);
            assert_int_equal(ior_unregister(p->cx, id), 0);
            probe_until(p, probe_of(p, id)->handover == 1);
        }
        if (strncmp(way->local, "unix:/", 6) == 0)
            assert_int_equal(access(path, F_OK), -1);
        if (!failed)
            assert_true(nth > way->least);
    }
    probe_free(p);
}

static void each_call_fails(void **state)
{
    struct ior_addr peer = dg_addr("127.0.0.1:9");
    char text[300];
    (void)state;
    dir = net_temp_dir();
    snprintf(path, sizeof(path), "%s/socket", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    const struct way ways[] = {
        {"127.0.0.1:0", {ALL_OPTIONS, .peer = &peer}, 14},
        {"[::1]:0", {ALL_OPTIONS}, 15},
        {text, {.struct_size = sizeof(struct ior_datagram_options), .unix_mode = 0600, .send_buffer_bytes = 32768}, 7},
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        each_call_of(&ways[i], false);
    const struct way adopt = {"", {.struct_size = sizeof(struct ior_datagram_options), .tell_local = true}, 6};
    each_call_of(&adopt, true);
    net_temp_dir_remove(dir);
}

static void each_allocation_fails(void **state)
{
    char text[300];
    (void)state;
    dir = net_temp_dir();
    snprintf(path, sizeof(path), "%s/socket", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    for (int kind = 0; kind < 4; kind++) {
        bool adopts = kind % 2 == 1, grows = kind >= 2; /* it wants larger buffers of the runtime than there are */
        uint64_t nth = 1;
        for (int err = -ENOMEM; err < 0; nth++) {
            live_alloc_start();
            struct probe *p = begin();
            int adopted = adopts ? socket(AF_INET, SOCK_DGRAM, 0) : -1;
            const struct way small = {text, *DG_OPTIONS(.max_bytes = 100), 0}, large = {text, *DG_OPTIONS(0), 0};
            size_t fds = net_fd_count();
            ior_id id = 4711, first = 0;
            if (grows) {
                struct ior_addr any = dg_addr("127.0.0.1:0");
                assert_int_equal(ior_datagram_open(p->cx, &any, &small.opts, &first), 0);
                fds++;
            }
            live_alloc_fail(nth, false);
            err = go(p, &large, adopted, &id);
            bool refused = live_alloc_refused() > 0;
            live_alloc_fail(0, false);
            assert_int_equal(err, refused ? -ENOMEM : 0);
            if (refused) {
                assert_int_equal(id, 4711);
                assert_int_equal(net_fd_count(), fds);
                assert_int_equal(access(path, F_OK), -1);
                assert_int_equal(go(p, &large, adopted, &id), 0); /* nothing is in its way */
            }
            probe_free(p);
            live_alloc_stop();
        }
        assert_true(nth > (grows ? 2 : 4));
    }
    net_temp_dir_remove(dir);
}

/* ---- options ---- */

static unsigned times(int level, int name, int value)
{
    unsigned n = 0;
    for (unsigned i = 0; i < options_n; i++)
        n += options[i].level == level && options[i].name == name && options[i].value == value;
    return n;
}

static void options_have_their_familys_names(void **state)
{
    const struct ior_datagram_options opts = {ALL_OPTIONS};
    (void)state;
    for (int six = 0; six < 2; six++) {
        struct probe *p = begin();
        struct ior_addr addr = dg_addr(six ? "[::1]:0" : "127.0.0.1:0");
        ior_id id;
        int level = six ? IPPROTO_IPV6 : IPPROTO_IP;
        assert_int_equal(ior_datagram_open(p->cx, &addr, &opts, &id), 0);
        assert_int_equal(times(SOL_SOCKET, SO_RCVBUF, 65536), 1);
        assert_int_equal(times(SOL_SOCKET, SO_SNDBUF, 32768), 1);
        assert_int_equal(times(SOL_SOCKET, SO_REUSEADDR, 1), 1);
        assert_int_equal(times(SOL_SOCKET, SO_REUSEPORT, 1), 1);
        assert_int_equal(times(SOL_SOCKET, SO_BROADCAST, 1), 1);
        assert_int_equal(times(IPPROTO_IPV6, IPV6_V6ONLY, 1), six);
        assert_int_equal(times(level, six ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP, 0), 1);
        assert_int_equal(times(level, six ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL, 5), 1);
        assert_int_equal(times(IPPROTO_IPV6, IPV6_MULTICAST_IF, 1), six);
        assert_int_equal(times(IPPROTO_IP, IP_MULTICAST_IF, 0), 1 - six); /* of a struct that begins with 0 */
        assert_int_equal(times(IPPROTO_IP, IP_PKTINFO, 1), 1);
        assert_int_equal(times(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1), six);
        assert_int_equal(times(IPPROTO_IP, IP_RECVERR, 1), 1);
        assert_int_equal(times(IPPROTO_IPV6, IPV6_RECVERR, 1), six);
        assert_int_equal(options_n, six ? 13 : 10);
        options_n = 0;
        assert_int_equal(ior_datagram_open(p->cx, &addr, DG_OPTIONS(.ignore_errors = true), &id), 0);
        assert_int_equal(options_n, six); /* IPV6_V6ONLY, whatever the system's default is */
        assert_int_equal(times(IPPROTO_IPV6, IPV6_V6ONLY, 0), six);
        probe_free(p);
    }
}

/* ---- arguments ---- */

static void refused_at(struct probe *p, const struct ior_addr *addr, const struct ior_datagram_options *opts, int err,
                       int line)
{
    ior_id id = 4711;
    unsigned before = calls;
    int answer = ior_datagram_open(p->cx, addr, opts, &id);
    if (answer != err || id != 4711 || calls != before || ior_count(p->cx) != 0)
        fail_msg("line %d: %s in place of %s, or an effect", line, ior_errname(answer), ior_errname(err));
}
#define refused(opts, err) refused_at(p, &addr, (opts), (err), __LINE__)

static void limits_of_options(void **state)
{
    struct probe *p = begin();
    struct ior_addr addr = dg_addr("127.0.0.1:0"), cut = addr;
    struct ior_datagram_options old = *DG_OPTIONS(0);
    ior_id id = 4711;
    (void)state;
    refused(DG_OPTIONS(.high_bytes = SIZE_MAX / 2), -EINVAL);
    refused(DG_OPTIONS(.max_bytes = INT32_MAX / (2 * IOR_OS_DATAGRAMS) + 1), -EINVAL);
    refused(DG_OPTIONS(.low_bytes = IOR_HIGH_BYTES_DEFAULT + 1), -EINVAL);
    refused(DG_OPTIONS(.max_bytes = 1000, .cap_bytes = IOR_HIGH_BYTES_DEFAULT + 999), -EINVAL);
    refused(DG_OPTIONS(.cap_bytes = SIZE_MAX / 2), -EINVAL);
    refused(DG_OPTIONS(.receive_buffer_bytes = UINT32_C(1) << 31), -EINVAL);
    refused(DG_OPTIONS(.send_buffer_bytes = UINT32_C(1) << 31), -EINVAL);
    refused(DG_OPTIONS(.multicast_hops = 256), -EINVAL);
    old.struct_size = 4;
    refused(&old, -EINVAL);
    cut.len = sizeof(cut.raw) + 1;
    refused_at(p, &cut, NULL, -EAFNOSUPPORT, __LINE__);
    assert_int_equal(ior_datagram_adopt(p->cx, 0, DG_OPTIONS(.peer = &addr), &id), -EINVAL);
    assert_int_equal(ior_datagram_adopt(p->cx, -1, NULL, &id), -EBADF);
    os.send_datagrams = NULL;
    refused(NULL, -ENOSYS);
    os.send_datagrams = ior_os_default()->send_datagrams;
    os.recv_datagrams = NULL;
    refused(NULL, -ENOSYS);
    os.recv_datagrams = ior_os_default()->recv_datagrams;
    assert_int_equal(
        ior_datagram_open(p->cx, &addr, DG_OPTIONS(.max_bytes = 1000, .cap_bytes = IOR_HIGH_BYTES_DEFAULT + 1000), &id),
        0);
    cut = addr;
    cut.len = 8;
    assert_int_equal(ior_multicast_join(p->cx, id, &cut, 0), -EAFNOSUPPORT);
    probe_free(p);
}

static void what_cannot_be_adopted(void **state)
{
    struct probe *p = begin();
    int pair[2], ends[2];
    ior_id id = 4711;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ior_datagram_adopt(p->cx, ends[0], NULL, &id), -EPROTOTYPE);
    int packets = ior_datagram_adopt(p->cx, pair[0], NULL, &id);
    int stream = socket(AF_INET, SOCK_STREAM, 0); /* not connected: no stream yet */
    assert_int_equal(packets, -EPROTOTYPE);
    assert_int_equal(ior_datagram_adopt(p->cx, stream, NULL, &id), -EPROTOTYPE);
    assert_int_equal(id, 4711);
    for (int i = 0; i < 2; i++) {
        net_close(&pair[i]);
        net_close(&ends[i]);
    }
    net_close(&stream);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(ior_datagram_adopt(p->cx, pair[0], NULL, &id), 0);
    assert_int_equal(ior_send(p->cx, id, "hello", 5), 0);
    probe_turns(p, 2);
    assert_string_equal(dg_hear(pair[1], NULL), "hello");
    net_close(&pair[1]);
    probe_free(p);
}

/* ---- a device that cannot cut ---- */

static unsigned tried, apart;

static int no_cutting(void *arg, int fd, struct ior_os_datagram *datagrams, int n)
{
    bool joins = datagrams[0].joins;
    tried += joins;
    apart += !joins;
    for (int i = 0; i < n; i++)
        datagrams[i].joins = false;
    return ior_os_default()->send_datagrams(arg, fd, datagrams, n);
}

static void a_device_that_cannot_cut(void **state)
{
    struct probe *p = begin();
    struct ior_addr any = dg_addr("127.0.0.1:0"), to;
    int receiver = socket(AF_INET, SOCK_DGRAM, 0);
    ior_id id;
    (void)state;
    os.send_datagrams = no_cutting;
    tried = apart = 0;
    assert_int_equal(ior_os_default()->bind(NULL, receiver, &any), 0);
    assert_int_equal(ior_os_default()->getsockname(NULL, receiver, &to), 0);
    assert_int_equal(ior_datagram_open(p->cx, &any, DG_OPTIONS(.peer = &to), &id), 0);
    for (int i = 0; i < 1 + 64 + 1; i++) {
        for (int k = 0; k < 2; k++)
            assert_int_equal(ior_send(p->cx, id, "x", 1), 0);
        probe_turns(p, 1);
        assert_int_equal(tried + apart, i + 1);
        assert_int_equal(tried, i <= 64 ? 1 : 2);
    }
    os.send_datagrams = ior_os_default()->send_datagrams;
    net_close(&receiver);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(options_have_their_familys_names),
        cmocka_unit_test(limits_of_options),
        cmocka_unit_test(what_cannot_be_adopted),
        cmocka_unit_test(a_device_that_cannot_cut),
    };
    return cmocka_run_group_tests_name("datagrams, faults", tests, NULL, NULL);
}
