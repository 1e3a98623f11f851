/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R76-R82: sizes that overflow, readiness in any byte order, a process without its standard fds, names too long, mass
 * disconnects, the permissions of Unix listeners, and the memory that silent peers may cost.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

static void r76_sizes_are_checked_before_use(void **state)
{
    struct probe *p = probe_new(NULL);
    static char bytes[16];
    struct iovec wrap[2] = {{.iov_base = bytes, .iov_len = SIZE_MAX - 3}, {.iov_base = bytes, .iov_len = 16}};
    FILE *file = tmpfile();
    int peer, pair[2], fd;
    ior_id id = probe_unix(p, NULL, &peer), none = 0;
    (void)state;
    assert_int_equal(ior_send(p->cx, id, bytes, SIZE_MAX), -EMSGSIZE);
    assert_int_equal(ior_send(p->cx, id, bytes, (size_t)INT32_MAX + 1), -EMSGSIZE);
    assert_true(ior_sendv(p->cx, id, wrap, 2) < 0); /* the sum wraps to 12 */
    assert_int_equal(ior_sendv(p->cx, id, wrap, -1), -EINVAL);
    assert_int_equal(ior_queued(p->cx, id), 0);
    assert_non_null(file);
    fd = fileno(file);
    assert_int_equal(ior_send_file(p->cx, id, fd, UINT64_MAX - 3, 16), -EOVERFLOW);
    assert_int_equal(ior_send_file(p->cx, id, fd, INT64_MAX, 1), -EOVERFLOW);
    assert_int_equal(ior_send_file(p->cx, id, fd, 0, UINT64_MAX), -EOVERFLOW);
    assert_null(ior_buf_copy(bytes, SIZE_MAX));
    net_unix_pair(pair);
    assert_int_equal(ior_adopt(p->cx, pair[0], PROBE_STREAM(.high_bytes = SIZE_MAX), &none), -EINVAL);
    assert_int_equal(ior_adopt(p->cx, pair[0], PROBE_STREAM(.unread_max_bytes = SIZE_MAX - 10), &none), -EINVAL);
    assert_int_equal(
        ior_adopt(p->cx, pair[0], PROBE_STREAM(.high_bytes = SIZE_MAX / 2, .unread_max_bytes = SIZE_MAX / 2), &none),
        -EINVAL);
    assert_true(ior_adopt(p->cx, pair[0], PROBE_STREAM(.user_size = SIZE_MAX - 8), &none) < 0);
    assert_int_equal(none, 0);
    assert_int_equal(fcntl(pair[0], F_GETFD), FD_CLOEXEC); /* still the caller's */
    probe_turns(p, 2);
    assert_int_equal(probe_of(p, id)->end, 0);
    fclose(file);
    close(pair[0]);
    close(pair[1]);
    close(peer);
    probe_free(p);
}

/* What the engine tells is in this machine's byte order, whatever words the kernel packs it in. */
static void r77_readiness_is_the_same_in_any_byte_order(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2];
    (void)state;
    net_unix_pair(pair);
    ior_id id = probe_watch(p, pair[0], IOR_WRITE);
    probe_until(p, probe_of(p, id)->ready > 0);
    assert_int_equal(probe_of(p, id)->ready_bits, IOR_WRITE);
    assert_int_equal(ior_interest(p->cx, id, IOR_READ), 0);
    probe_turns(p, 2);
    unsigned told = probe_of(p, id)->ready;
    probe_turns(p, 2);
    assert_int_equal(probe_of(p, id)->ready, told); /* nothing is to be read */
    assert_int_equal(write(pair[1], "x", 1), 1);
    probe_until(p, probe_of(p, id)->ready > told);
    assert_int_equal(probe_of(p, id)->ready_bits, IOR_READ);
    assert_int_equal(ior_interest(p->cx, id, 0), 0);
    probe_turns(p, 2);
    told = probe_of(p, id)->ready;
    close(pair[1]);
    probe_until(p, probe_of(p, id)->ready > told);
    assert_int_equal(probe_of(p, id)->ready_bits & (IOR_READ | IOR_WRITE), 0);
    assert_int_not_equal(probe_of(p, id)->ready_bits & IOR_HUP, 0);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    close(pair[0]);
    probe_free(p);
}

/* Without fds 0, 1 and 2, a socket must not take their numbers: what is printed would go to a peer. */
static int run_without_standard_fds(void *arg)
{
    struct ior_runtime *rt;
    struct ior_config config = probe_config();
    struct probe *p;
    struct ior_addr addr;
    ior_id listener, id = 0;
    (void)arg;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    p = probe_new(NULL);
    listener = probe_listen(p, NULL, &addr);
    if (ior_connect(p->cx, &addr, NULL, &id) != 0)
        return 1;
    probe_of(p, id);
    for (int i = 0; i < 2000 && (probe_of(p, listener)->accepted == 0 || probe_of(p, id)->open == 0); i++)
        probe_step(p);
    if (probe_of(p, listener)->accepted == 0 || probe_of(p, id)->open == 0)
        return 2;
    if (ior_send(p->cx, id, "works", 5) != 0)
        return 3;
    for (int i = 0; i < 2000 && probe_of(p, p->accepted)->bytes < 5; i++)
        probe_step(p);
    if (probe_of(p, p->accepted)->bytes != 5)
        return 4;
    for (int fd = 0; fd < 3; fd++) {
        struct stat info;
        if (fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode))
            return 10 + fd;
    }
    if (ior_runtime_new(&config, &probe_handler, p, &rt) != 0) /* a second one beside it */
        return 5;
    ior_runtime_free(rt);
    probe_free(p);
    return 0;
}

static void r78_works_without_standard_fds(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(run_without_standard_fds, NULL), 0);
}

static void r79_overlong_names_are_refused_never_cut(void **state)
{
    struct ior_addr addr, before;
    char text[400] = "unix:/";
    (void)state;
    memset(&before, 0x5a, sizeof(before));
    addr = before;
    memset(text + 6, 'a', 106); /* with the slash 107 bytes: the most a path can have */
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    addr = before;
    memset(text + 6, 'a', 107);
    assert_int_equal(ior_addr_parse(&addr, text), -ENAMETOOLONG);
    assert_memory_equal(&addr, &before, sizeof(addr));
    memset(text + 6, 'a', 300);
    assert_int_equal(ior_addr_parse(&addr, text), -ENAMETOOLONG);
    memset(text, '1', 300);
    strcpy(text + 300, ".0.0.1:80");
    assert_int_equal(ior_addr_parse(&addr, text), -EINVAL);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:65536"), -EINVAL);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:4294967376"), -EINVAL); /* 80 if it were cut to 16 or 32 bits */
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:18446744073709551696"), -EINVAL);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.257:80"), -EINVAL);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1.evil:80"), -EINVAL);
    assert_int_equal(ior_addr_parse(&addr, "[::1%interface-name-beyond-every-limit]:80"), -ENODEV);
    assert_memory_equal(&addr, &before, sizeof(addr));
}

static void sum_up(struct probe *p, uint64_t *data, uint64_t *ends, uint64_t *resets)
{
    *data = *ends = *resets = 0;
    for (size_t i = 0; i < p->n; i++) {
        *data += p->res[i].bytes;
        *ends += p->res[i].end;
        *resets += p->res[i].error == ECONNRESET;
    }
}

/* `n` TCP clients in a child's hands, as far as fds go. Each sends a byte; then all send `last` more, and reset. */
struct mob {
    struct ior_addr addr;
    size_t n, last;
    int go[2], ready[2];
};

static int be_the_mob(void *arg)
{
    struct mob *mob = arg;
    int *fds = calloc(mob->n, sizeof(*fds));
    char byte = 0;
    close(mob->go[1]);
    if (fds == NULL)
        return 1;
    for (size_t i = 0; i < mob->n; i++) {
        fds[i] = net_connect(&mob->addr);
        net_write_pattern(fds[i], 0, 1);
    }
    net_write(mob->ready[1], "r", 1);
    if (read(mob->go[0], &byte, 1) != 1)
        return 2;
    for (size_t i = 0; i < mob->n; i++) {
        net_write_pattern(fds[i], 1, mob->last);
        net_reset(fds[i]);
    }
    free(fds);
    return 0;
}

/* What the library has in use. (The allocator of support/live.h would look like a leak in a child.) */
static struct {
    size_t now, most;
} memory;

static void *count_memory(void *arg, void *old, size_t old_len, size_t len)
{
    (void)arg;
    void *block = len > 0 ? realloc(old, len) : NULL;
    if (len == 0)
        free(old);
    else if (!block)
        return NULL;
    memory.now += len - old_len;
    memory.most = memory.now > memory.most ? memory.now : memory.most;
    return block;
}

struct bill {
    uint64_t turns, records;
    size_t memory; /* of the library, at most, and more than before */
};

/* Turns until every stream of a mob of n has ended after a simultaneous reset; answers what that took. */
static struct bill reset_a_mob(struct probe *p, size_t n, size_t last, ior_id listener, struct ior_addr *addr)
{
    struct mob mob = {.addr = *addr, .n = n, .last = last};
    uint64_t data, ends, resets, before;
    size_t usual;
    struct ior_stats was, is;
    pid_t pid;
    int status;
    sum_up(p, &data, &before, &resets);
    assert_int_equal(pipe(mob.go), 0);
    assert_int_equal(pipe(mob.ready), 0);
    pid = net_fork();
    if (pid == 0)
        _exit(be_the_mob(&mob));
    close(mob.ready[1]);
    probe_until(p, probe_stats(p).resources == n + 1);
    net_await(mob.ready[0], POLLIN);
    probe_quiet(p, 20);
    was = probe_stats(p);
    usual = memory.most = memory.now;
    net_write(mob.go[1], "g", 1);
    while (waitpid(pid, &status, 0) < 0) /* all resets have happened before the next turn */
        assert_int_equal(errno, EINTR);
    assert_int_equal(status, 0);
    probe_until(p, probe_stats(p).resources == 1);
    is = probe_stats(p);
    sum_up(p, &data, &ends, &resets);
    assert_int_equal(ends - before, n);
    assert_int_equal(probe_of(p, listener)->end, 0);
    close(mob.go[0]);
    close(mob.go[1]);
    close(mob.ready[0]);
    return (struct bill){
        .turns = is.turns - was.turns, .records = is.records - was.records, .memory = memory.most - usual};
}

/*
 * A tenth of the mob, and all of it. No byte is lost, no end, no fd; work and memory are a little for each, whatever
 * they sent: what no service has been told yet waits in the kernel, or in buffers that all of them share.
 */
static void mass_disconnect(size_t last)
{
    struct ior_listen_options opts = {.struct_size = sizeof(opts), .backlog = 4096};
    size_t limit = net_raise_fd_limit(20000), n = limit > 10200 ? 10000 : (limit - 200), fds;
    struct probe *p;
    struct ior_addr addr;
    struct bill small, large;
    uint64_t data, ends, resets;
    ior_id listener;
    assert_int_equal(ior_set_alloc(count_memory, NULL), 0);
    p = probe_new(NULL);
    p->pattern = true;
    listener = probe_listen(p, &opts, &addr);
    probe_turns(p, 2);
    fds = net_fd_count();
    small = reset_a_mob(p, n / 10, last, listener, &addr);
    large = reset_a_mob(p, n, last, listener, &addr);
    print_message("%zu resets: %llu turns, %llu records, %zu KiB; %zu resets: %llu turns, %llu records, %zu KiB\n",
                  n / 10, (unsigned long long)small.turns, (unsigned long long)small.records, small.memory / 1024, n,
                  (unsigned long long)large.turns, (unsigned long long)large.records, large.memory / 1024);
    assert_in_range(large.records, n, 3 * n); /* a few records for each reset, however many there are */
    assert_in_range(large.turns, 1, n / 10);
    assert_in_range(large.memory, 0, n * 10 + (64u << 10)); /* the engines on readiness need none */
    sum_up(p, &data, &ends, &resets);
    assert_int_equal(data, (n / 10 + n) * (1 + last));
    assert_int_equal(resets, n / 10 + n);
    assert_int_equal(net_fd_count(), fds);
    assert_int_equal(probe_stats(p).output_bytes, 0);
    assert_int_equal(probe_stats(p).timers, 0);
    probe_free(p);
    assert_int_equal(memory.now, 0);
    assert_int_equal(ior_set_alloc(NULL, NULL), 0);
}

static void r80_mass_disconnect_costs_o_of_n(void **state)
{
    (void)state;
    mass_disconnect(0);
}

static void r80_bytes_before_the_disconnect_are_told(void **state)
{
    (void)state;
    mass_disconnect(1000);
}

/* The real system, with a look at the path between its calls. */
static char spied_path[300];
static unsigned spied_mode, spied_calls;

static int spying_listen(void *arg, int fd, int backlog)
{
    struct stat info;
    const struct ior_os *real = ior_os_default();
    (void)arg;
    if (stat(spied_path, &info) == 0)
        spied_mode = info.st_mode & 0777;
    spied_calls++;
    return real->listen(real->arg, fd, backlog);
}

static void r81_unix_permissions_are_set_before_anyone_can_connect(void **state)
{
    struct ior_listen_options opts = {.struct_size = sizeof(opts), .unix_mode = 0600};
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    char *dir = net_temp_dir(), text[320];
    struct ior_addr addr;
    struct stat info;
    struct probe *p;
    mode_t mask = umask(0);
    ior_id id = 0;
    (void)state;
    snprintf(spied_path, sizeof(spied_path), "%s/private", dir);
    snprintf(text, sizeof(text), "unix:%s", spied_path);
    os.listen = spying_listen;
    config.os = &os;
    spied_mode = 0777;
    spied_calls = 0;
    p = probe_new(&config);
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    assert_int_equal(ior_listen(p->cx, &addr, &opts, &id), 0);
    probe_of(p, id);
    assert_int_equal(spied_calls, 1);
    assert_int_equal(spied_mode, 0600); /* nobody can connect before listen(2) */
    assert_int_equal(stat(spied_path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    umask(mask);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(stat(spied_path, &info), -1); /* the path goes with the listener */
    net_temp_dir_remove(dir);
    probe_free(p);
}

static void r81_only_a_stale_unix_socket_is_replaced(void **state)
{
    char *dir = net_temp_dir(), path[300], text[320];
    struct probe *p = probe_new(NULL);
    struct ior_addr addr;
    struct stat before, after;
    int other, fd;
    ior_id id = 0;
    (void)state;
    snprintf(path, sizeof(path), "%s/taken", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    other = net_unix_listener(path, 5);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(ior_listen(p->cx, &addr, NULL, &id), -EADDRINUSE); /* somebody listens there */
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    close(other); /* now nobody does: the file is stale */
    assert_int_equal(ior_listen(p->cx, &addr, NULL, &id), 0);
    probe_of(p, id);
    fd = net_connect(&addr);
    probe_until(p, probe_of(p, id)->accepted == 1);
    close(fd);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* a file that is no socket is never touched */
    assert_true(fd >= 0);
    net_write(fd, "precious", 8);
    close(fd);
    assert_int_equal(ior_listen(p->cx, &addr, NULL, &id), -EADDRINUSE);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, 8);
    net_temp_dir_remove(dir);
    probe_free(p);
}

/* Another process takes the path over between two calls, and the second one fails. */
static int replacing_chmod(void *arg, const char *path, unsigned mode)
{
    (void)arg;
    (void)mode;
    assert_int_equal(unlink(path), 0);
    close(net_unix_listener(path, 1));
    return -EPERM;
}

static void r81_a_failing_listener_leaves_the_path_of_another(void **state)
{
    struct ior_listen_options opts = {.struct_size = sizeof(opts), .unix_mode = 0600};
    struct ior_datagram_options datagrams = {.struct_size = sizeof(datagrams), .unix_mode = 0600};
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    char *dir = net_temp_dir(), path[300], text[320];
    struct ior_addr addr;
    struct stat info;
    ior_id id = 0;
    (void)state;
    snprintf(path, sizeof(path), "%s/shared", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    os.path_chmod = replacing_chmod;
    config.os = &os;
    struct probe *p = probe_new(&config);
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    assert_int_equal(ior_listen(p->cx, &addr, &opts, &id), -EPERM);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ior_datagram_open(p->cx, &addr, &datagrams, &id), -EPERM);
    assert_int_equal(stat(path, &info), 0);
    net_temp_dir_remove(dir);
    probe_free(p);
}

static void r82_output_is_capped_for_each_transport_and_for_all(void **state)
{
    enum { PEERS = 20, CAP = 300000, WHOLE = 1000000, PIECE = 10000 };
    struct ior_config config = probe_config();
    static char bytes[PIECE];
    struct probe *p;
    int peers[PEERS], rc = 0;
    ior_id ids[PEERS];
    (void)state;
    config.output_cap_bytes = WHOLE;
    p = probe_new(&config);
    for (int i = 0; i < PEERS; i++)
        ids[i] = probe_unix(p, PROBE_STREAM(.cap_bytes = CAP), &peers[i]);
    for (int i = 0; i < PEERS; i++) { /* peers that never read, nor say who they are */
        size_t taken = 0;
        while ((rc = ior_send(p->cx, ids[i], bytes, PIECE)) >= 0)
            taken += PIECE;
        assert_int_equal(rc, -ENOBUFS);
        assert_true(taken <= CAP);
        assert_true(ior_queued(p->cx, ids[i]) <= CAP);
        assert_true(probe_stats(p).output_bytes <= WHOLE);
        if (i == 0)
            assert_int_equal(taken, CAP);
    }
    assert_true(probe_stats(p).output_bytes >= WHOLE - 2 * CAP);
    for (int i = 0; i < PEERS; i++) /* room made by one is room for the others, and each refusal is owed a DRAINED */
        close(peers[i]);
    probe_until(p, probe_stats(p).resources == 0);
    assert_int_equal(probe_stats(p).output_bytes, 0);
    probe_free(p);
}

static void r82_refused_for_the_runtimes_cap_is_told_when_there_is_room(void **state)
{
    struct ior_config config = probe_config();
    static char bytes[400000];
    struct probe *p;
    int peers[2];
    ior_id a, b;
    (void)state;
    config.output_cap_bytes = 700000;
    p = probe_new(&config);
    a = probe_unix(p, PROBE_STREAM(.cap_bytes = 600000), &peers[0]);
    b = probe_unix(p, PROBE_STREAM(.cap_bytes = 600000), &peers[1]);
    probe_turns(p, 2);
    assert_int_equal(ior_send(p->cx, a, bytes, sizeof(bytes)), 1);
    assert_int_equal(ior_send(p->cx, b, bytes, sizeof(bytes)), -ENOBUFS);
    assert_int_equal(probe_of(p, b)->drained, 0);
    assert_int_equal(ior_abort(p->cx, a), 0);
    probe_until(p, probe_of(p, b)->drained == 1);
    assert_int_equal(ior_send(p->cx, b, bytes, sizeof(bytes)), 1);
    close(peers[0]);
    close(peers[1]);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r76_sizes_are_checked_before_use),
        cmocka_unit_test(r77_readiness_is_the_same_in_any_byte_order),
        cmocka_unit_test(r78_works_without_standard_fds),
        cmocka_unit_test(r79_overlong_names_are_refused_never_cut),
        cmocka_unit_test(r80_mass_disconnect_costs_o_of_n),
        cmocka_unit_test(r80_bytes_before_the_disconnect_are_told),
        cmocka_unit_test(r81_unix_permissions_are_set_before_anyone_can_connect),
        cmocka_unit_test(r81_only_a_stale_unix_socket_is_replaced),
        cmocka_unit_test(r81_a_failing_listener_leaves_the_path_of_another),
        cmocka_unit_test(r82_output_is_capped_for_each_transport_and_for_all),
        cmocka_unit_test(r82_refused_for_the_runtimes_cap_is_told_when_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
