/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds over Unix streams: each goes out once, in its place among the bytes, and none is leaked, whoever does not want it;
 * and who the peer is.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/live.h"
#include "support/probe.h"

/* ---- the other end, as plain sockets ---- */

/* musl's CMSG_NXTHDR mixes signed and unsigned. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wsign-compare"

enum { MOST = IOR_FDS_MAX };

/* All that a peer has got. */
struct got {
    unsigned char bytes[1 << 20];
    size_t len;
    int fds[2 * MOST];
    size_t from[2 * MOST], to[2 * MOST]; /* of the bytes of the call that brought each */
    size_t n;
};

static struct got got;

static void forget(void)
{
    for (size_t i = 0; i < got.n; i++)
        close(got.fds[i]);
    got.len = got.n = 0;
}

/* Reads what is there. False: the end, or nothing now. */
static bool hear(int peer)
{
    union {
        struct cmsghdr align;
        unsigned char bytes[CMSG_SPACE(sizeof(int) * MOST)];
    } control;
    struct iovec iov = {.iov_base = got.bytes + got.len, .iov_len = sizeof(got.bytes) - got.len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return false;
    assert_int_equal(msg.msg_flags & MSG_CTRUNC, 0);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&msg); header != NULL; header = CMSG_NXTHDR(&msg, header)) {
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        assert_int_equal(header->cmsg_type, SCM_RIGHTS);
        memcpy(got.fds + got.n, CMSG_DATA(header), count * sizeof(int));
        for (size_t i = got.n; i < got.n + count; i++) {
            got.from[i] = got.len;
            got.to[i] = got.len + (size_t)n;
        }
        got.n += count;
    }
    got.len += (size_t)n;
    return true;
}

/* Sends bytes with fds to the service. */
static void tell(int peer, const char *text, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        unsigned char bytes[CMSG_SPACE(sizeof(int) * MOST)];
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    memset(&control, 0, sizeof(control));
    msg.msg_control = &control;
    msg.msg_controllen = (__typeof__(msg.msg_controllen))CMSG_SPACE(sizeof(int) * n);
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (__typeof__(header->cmsg_len))CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * n);
    assert_int_equal(sendmsg(peer, &msg, 0), strlen(text));
}

static bool same_file(int a, int b)
{
    struct stat x, y;
    assert_int_equal(fstat(a, &x), 0);
    assert_int_equal(fstat(b, &y), 0);
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* `n` different files. */
static void make(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fds[i] = net_sparse_file(i + 1, 0, 1);
}

static void done_with(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* ---- sending ---- */

static void each_goes_out_in_its_place(void **state)
{
    enum { SETS = 5 };
    struct probe *p = probe_new(NULL);
    int files[SETS], peer;
    size_t at[SETS], len = 0;
    char text[64], sent[2048] = "";
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    make(files, SETS);
    for (int i = 0; i < SETS; i++) {
        (void)snprintf(text, sizeof(text), "before %d,", i);
        assert_int_equal(ior_send(p->cx, id, text, strlen(text)), 0);
        strcat(sent, text);
        at[i] = strlen(sent);
        (void)snprintf(text, sizeof(text), "with %d,", i);
        assert_int_equal(ior_send_fds(p->cx, id, text, strlen(text), &files[i], 1), 0);
        strcat(sent, text);
        if (i % 2 == 0)
            probe_turns(p, 1);
    }
    assert_int_equal(ior_send(p->cx, id, "end", 3), 0);
    strcat(sent, "end");
    len = strlen(sent);
    probe_until(p, (hear(peer), got.len >= len));
    assert_int_equal(got.len, len);
    assert_memory_equal(got.bytes, sent, len);
    assert_int_equal(got.n, SETS);
    for (size_t i = 0; i < SETS; i++) {
        assert_true(same_file(got.fds[i], files[i]));
        assert_in_range(at[i], got.from[i], got.to[i] - 1);
    }
    forget();
    done_with(files, SETS);
    close(peer);
    probe_free(p);
}

static void the_callers_fds_may_be_closed_at_once(void **state)
{
    struct probe *p = probe_new(NULL);
    int files[MOST + 1], peer;
    ior_id id = probe_unix(p, NULL, &peer);
    size_t before = net_fd_count();
    (void)state;
    make(files, MOST);
    files[MOST] = files[0];
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, files, MOST + 1), -EINVAL);
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, files, MOST), 0); /* the first fits, whatever it costs */
    assert_int_equal(ior_send_fds(p->cx, id, "y", 1, files, 1), -ENOBUFS);
    assert_int_equal(net_fd_count(), before + (size_t)2 * MOST);
    done_with(files, MOST);
    probe_until(p, (hear(peer), got.n == MOST));
    assert_int_equal(net_fd_count(), before + MOST); /* what the peer got, and no dup is left */
    struct stat st;
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(fstat(got.fds[i], &st), 0);
        assert_int_equal(st.st_size, i + 1);
    }
    probe_until(p, probe_of(p, id)->drained == 1);
    forget();
    close(peer);
    probe_free(p);
}

/* R29: what is left over of a partial write goes on without the fds. */
static size_t most_of_a_call;
static unsigned calls_with_fds;

static ssize_t short_send_fds(void *arg, int fd, const void *bytes, size_t len, const int *fds, unsigned n)
{
    calls_with_fds++;
    return ior_os_default()->send_fds(arg, fd, bytes, len < most_of_a_call ? len : most_of_a_call, fds, n);
}

static void r29_a_partial_write_sends_no_fd_twice(void **state)
{
    static const char text[] = "a message that leaves in two parts";
    struct ior_os os = *ior_os_default();
    struct ior_config config = probe_config();
    (void)state;
    os.send_fds = short_send_fds;
    config.os = &os;
    for (most_of_a_call = 1; most_of_a_call < sizeof(text); most_of_a_call += 7) {
        struct probe *p = probe_new(&config);
        int files[2], peer;
        ior_id id = probe_unix(p, NULL, &peer);
        make(files, 2);
        calls_with_fds = 0;
        assert_int_equal(ior_send_fds(p->cx, id, text, sizeof(text), files, 2), 0);
        assert_int_equal(ior_send(p->cx, id, "next", 4), 0);
        probe_until(p, (hear(peer), got.len >= sizeof(text) + 4));
        assert_int_equal(calls_with_fds, 1);
        assert_int_equal(got.n, 2);
        assert_memory_equal(got.bytes, text, sizeof(text));
        assert_memory_equal(got.bytes + sizeof(text), "next", 4);
        forget();
        done_with(files, 2);
        close(peer);
        probe_free(p);
    }
}

/* The same for real: far more than the socket takes at once. */
static void r29_a_message_larger_than_the_socket(void **state)
{
    enum { LEN = 900000 };
    struct probe *p = probe_new(NULL);
    unsigned char *bytes = net_new_pattern(LEN);
    int files[3], peer;
    ior_id id = probe_unix(p, PROBE_STREAM(.cap_bytes = 4 << 20), &peer);
    (void)state;
    make(files, 3);
    assert_int_equal(ior_send_fds(p->cx, id, bytes, LEN - 10, files, 3), 1);
    assert_int_equal(ior_send(p->cx, id, bytes + LEN - 10, 10), 1);
    probe_turns(p, 2);
    assert_in_range(ior_queued(p->cx, id), 1, LEN - 1);
    probe_until(p, (hear(peer), got.len >= LEN));
    assert_int_equal(got.len, LEN);
    assert_true(net_is_pattern(got.bytes, 0, LEN));
    assert_int_equal(got.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(same_file(got.fds[i], files[i]) && got.from[i] == 0);
    assert_int_equal(probe_of(p, id)->end, 0);
    forget();
    done_with(files, 3);
    free(bytes);
    close(peer);
    probe_free(p);
}

static int send_error;
static unsigned send_errors;

static ssize_t failing_send_fds(void *arg, int fd, const void *bytes, size_t len, const int *fds, unsigned n)
{
    if (send_errors > 0) {
        send_errors--;
        return -send_error;
    }
    return ior_os_default()->send_fds(arg, fd, bytes, len, fds, n);
}

static void what_fails_for_now_is_tried_again(void **state)
{
    static const int errors[] = {EINTR, EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS};
    struct ior_os os = *ior_os_default();
    struct ior_config config = probe_config();
    (void)state;
    os.send_fds = failing_send_fds;
    config.os = &os;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct probe *p = probe_new(&config);
        int file, peer;
        ior_id id = probe_unix(p, NULL, &peer);
        make(&file, 1);
        send_error = errors[i];
        send_errors = 2;
        assert_int_equal(ior_send(p->cx, id, "a", 1), 0);
        assert_int_equal(ior_send_fds(p->cx, id, "b", 1, &file, 1), 0);
        assert_int_equal(ior_send(p->cx, id, "c", 1), 0);
        probe_until(p, (hear(peer), got.len >= 3));
        assert_memory_equal(got.bytes, "abc", 3);
        assert_int_equal(got.n, 1);
        assert_int_equal(send_errors, 0);
        forget();
        close(file);
        close(peer);
        probe_free(p);
    }
}

static void what_fails_for_good_ends_the_stream(void **state)
{
    struct ior_os os = *ior_os_default();
    struct ior_config config = probe_config();
    size_t before = net_fd_count();
    (void)state;
    os.send_fds = failing_send_fds;
    config.os = &os;
    struct probe *p = probe_new(&config);
    int file, peer;
    ior_id id = probe_unix(p, NULL, &peer);
    make(&file, 1);
    send_error = EINVAL;
    send_errors = 1;
    assert_int_equal(ior_send_fds(p->cx, id, "b", 1, &file, 1), 0);
    assert_int_equal(ior_send_fds(p->cx, id, "cc", 2, &file, 1), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, EINVAL);
    assert_int_equal(probe_of(p, id)->unsent, 3);
    close(file);
    close(peer);
    probe_free(p);
    assert_int_equal(net_fd_count(), before);
}

static void refused_sends_change_nothing(void **state)
{
    struct probe *p = probe_new(NULL);
    int files[3], peer, tcp, pipes[2];
    ior_id id = probe_unix(p, NULL, &peer), other = probe_tcp(p, NULL, &tcp);
    (void)state;
    make(files, 3);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    ior_id writer = probe_adopt(p, pipes[1], NULL);
    size_t before = net_fd_count();
    assert_int_equal(ior_send_fds(p->cx, id, NULL, 1, files, 3), -EINVAL);
    assert_int_equal(ior_send_fds(p->cx, id, "x", 0, files, 3), -EINVAL);
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, NULL, 3), -EINVAL);
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, files, 0), -EINVAL);
    assert_int_equal(ior_send_fds(p->cx, id + 16, "x", 1, files, 3), -ENOENT);
    assert_int_equal(ior_send_fds(NULL, id, "x", 1, files, 3), -EINVAL);
    assert_int_equal(ior_send_fds(p->cx, other, "x", 1, files, 3), -EOPNOTSUPP);
    assert_int_equal(ior_send_fds(p->cx, writer, "x", 1, files, 3), -EOPNOTSUPP);
    assert_int_equal(ior_send_fds(p->cx, id, "x", (size_t)1 << 30, files, 3), -EMSGSIZE);
    int closed[3] = {files[0], files[1], -1};
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, closed, 3), -EBADF);
    closed[2] = 1 << 20;
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, closed, 3), -EBADF);
    assert_int_equal(net_fd_count(), before);
    assert_int_equal(ior_queued(p->cx, id), 0);
    assert_int_equal(ior_finish(p->cx, id), 0);
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, files, 3), -EPIPE);
    probe_turns(p, 2);
    assert_false(hear(peer));
    done_with(files, 3);
    close(pipes[0]);
    close(tcp);
    close(peer);
    probe_free(p);
}

static unsigned dups_left;

static int few_dups(void *arg, int fd)
{
    if (dups_left == 0)
        return -EMFILE;
    dups_left--;
    return ior_os_default()->dup(arg, fd);
}

static void without_fds_or_memory_nothing_is_taken(void **state)
{
    struct ior_os os = *ior_os_default();
    struct ior_config config = probe_config();
    int files[3], peer;
    (void)state;
    os.dup = few_dups;
    config.os = &os;
    live_alloc_start();
    struct probe *p = probe_new(&config);
    ior_id id = probe_unix(p, NULL, &peer);
    make(files, 3);
    probe_turns(p, 1);
    size_t before = net_fd_count();
    for (dups_left = 0; dups_left < 3;) {
        unsigned had = dups_left;
        assert_int_equal(ior_send_fds(p->cx, id, "x", 1, files, 3), -EMFILE);
        assert_int_equal(net_fd_count(), before);
        dups_left = had + 1;
    }
    for (uint64_t nth = 1;; nth++) {
        int answer;
        dups_left = 3;
        live_alloc_fail(nth, true);
        answer = ior_send_fds(p->cx, id, "x", 1, files, 3);
        bool failed = live_alloc_refused() > 0;
        live_alloc_fail(0, false);
        if (!failed) {
            assert_int_equal(answer, 0);
            assert_true(nth > 1);
            break;
        }
        assert_int_equal(answer, -ENOMEM);
        assert_int_equal(net_fd_count(), before);
        assert_int_equal(ior_queued(p->cx, id), 0);
    }
    probe_until(p, (hear(peer), got.len == 1));
    assert_int_equal(got.n, 3);
    forget();
    done_with(files, 3);
    close(peer);
    probe_free(p);
    live_alloc_stop();
}

/* ---- ends and handover ---- */

static void what_was_not_sent_is_closed_with_the_stream(void **state)
{
    size_t before = net_fd_count();
    struct probe *p = probe_new(NULL);
    int files[2], peer;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    make(files, 2);
    assert_int_equal(ior_send(p->cx, id, "a", 1), 0);
    assert_int_equal(ior_send_fds(p->cx, id, "bb", 2, files, 2), 0);
    assert_int_equal(ior_abort(p->cx, id), 0);
    done_with(files, 2);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->unsent, 3);
    close(peer);
    probe_free(p);
    assert_int_equal(net_fd_count(), before);
}

static void a_handover_keeps_them(void **state)
{
    struct probe *p = probe_new(NULL), *q = probe_new(NULL);
    int files[2], peer;
    ior_id id = probe_unix(p, NULL, &peer), other;
    (void)state;
    make(files, 2);
    p->keep = true;
    probe_turns(p, 1);
    assert_int_equal(ior_send_fds(p->cx, id, "bb", 2, files, 2), 0);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    struct ior_resource *res = probe_of(p, id)->handed;
    probe_of(p, id)->handed = NULL;
    struct iovec iov;
    int pieces;
    assert_int_equal(ior_resource_unsent(res, &iov, 1, &pieces), 2);
    assert_int_equal(pieces, 1);
    assert_memory_equal(iov.iov_base, "bb", 2);
    assert_false(hear(peer));
    assert_int_equal(ior_register(q->cx, res, &other), 0);
    probe_until(q, (hear(peer), got.len >= 2));
    assert_int_equal(got.n, 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(same_file(got.fds[i], files[i]));
    forget();
    done_with(files, 2);
    close(peer);
    probe_free(p);
    probe_free(q);
}

/* ---- receiving ---- */

#define RECEIVES PROBE_STREAM(.receive_fds = true)

static struct {
    unsigned told, count, lost;
    size_t bytes_before; /* that were told before the last FDS */
    int taken[8];
    unsigned taken_n;
    unsigned take;                        /* how many of each set */
    void (*then)(struct probe *, ior_id); /* in the first FDS */
    char text[64];
} in;

static void on_fds(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && r->bytes <= sizeof(in.text))
        memcpy(in.text + r->bytes - ev->data.len, ev->data.bytes, ev->data.len);
    if (ev->type != IOR_EV_FDS)
        return;
    in.told++;
    in.count += ev->fds->count;
    in.lost += ev->fds->lost;
    in.bytes_before = r->bytes;
    for (unsigned i = 0; i < in.take && i < ev->fds->count; i++) {
        int fd = ior_take_fd(p->cx, ev, i);
        assert_true(fd > 2);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(ior_take_fd(p->cx, ev, i), -EALREADY);
        in.taken[in.taken_n++] = fd;
    }
    assert_int_equal(ior_take_fd(p->cx, ev, ev->fds->count), -EINVAL);
    assert_int_equal(ior_take_fd(NULL, ev, 0), -EINVAL);
    assert_int_equal(ior_take_fd(p->cx, NULL, 0), -EINVAL);
    if (in.then != NULL && in.told == 1)
        in.then(p, ev->id);
}

static struct probe *receiver(const struct ior_config *config)
{
    struct probe *p = probe_new(config);
    memset(&in, 0, sizeof(in));
    p->on_event = on_fds;
    return p;
}

static void taken_ones_are_the_services(void **state)
{
    struct probe *p = receiver(NULL);
    int files[3], peer;
    ior_id id = probe_unix(p, RECEIVES, &peer);
    (void)state;
    make(files, 3);
    in.take = 2;
    probe_turns(p, 1);
    size_t before = net_fd_count();
    tell(peer, "hello", files, 3);
    tell(peer, "again", files, 1);
    probe_until(p, probe_of(p, id)->bytes == 10);
    assert_int_equal(in.told, 2);
    assert_int_equal(in.count, 4);
    assert_int_equal(in.lost, 0);
    assert_int_equal(in.bytes_before, 5);
    assert_memory_equal(in.text, "helloagain", 10);
    assert_int_equal(in.taken_n, 3);
    assert_true(same_file(in.taken[0], files[0]));
    assert_true(same_file(in.taken[1], files[1]));
    assert_true(same_file(in.taken[2], files[0]));
    assert_int_equal(net_fd_count(), before + 3); /* the fourth was closed */
    done_with(in.taken, in.taken_n);
    done_with(files, 3);
    close(peer);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    probe_free(p);
}

static void not_asked_for_they_never_arrive(void **state)
{
    struct probe *p = receiver(NULL);
    int files[3], peer;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    make(files, 3);
    probe_turns(p, 1);
    size_t before = net_fd_count();
    tell(peer, "hello", files, 3);
    probe_until(p, probe_of(p, id)->bytes == 5);
    assert_int_equal(in.told, 0);
    assert_int_equal(net_fd_count(), before);
    done_with(files, 3);
    close(peer);
    probe_free(p);
}

static void from_accepted_and_connected_streams(void **state)
{
    struct probe *p = receiver(NULL);
    char *dir = net_temp_dir(), path[256];
    struct ior_listen_options opts = {.struct_size = sizeof(opts)};
    struct ior_addr addr, tcp;
    ior_id listener, id;
    int file;
    (void)state;
    (void)snprintf(path, sizeof(path), "unix:%s/s", dir);
    assert_int_equal(ior_addr_parse(&addr, path), 0);
    assert_int_equal(ior_addr_parse(&tcp, "127.0.0.1:0"), 0);
    opts.stream.struct_size = sizeof(opts.stream);
    opts.stream.receive_fds = true;
    assert_int_equal(ior_listen(p->cx, &tcp, &opts, &listener), -EOPNOTSUPP);
    assert_int_equal(ior_listen(p->cx, &addr, &opts, &listener), 0);
    assert_int_equal(ior_connect(p->cx, &tcp, RECEIVES, &id), -EOPNOTSUPP);
    assert_int_equal(ior_connect(p->cx, &addr, RECEIVES, &id), 0);
    probe_until(p, p->accepted != 0 && probe_of(p, id)->open == 1);
    make(&file, 1);
    assert_int_equal(ior_send_fds(p->cx, id, "there", 5, &file, 1), 0);
    probe_until(p, in.told == 1);
    assert_int_equal(ior_send_fds(p->cx, p->accepted, "and back", 8, &file, 1), 0);
    probe_until(p, in.told == 2 && probe_of(p, id)->bytes == 8);
    close(file);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void only_unix_streams_receive_them(void **state)
{
    struct probe *p = receiver(NULL);
    int tcp[2], pipes[2];
    ior_id id;
    (void)state;
    net_tcp_pair(tcp);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(ior_adopt(p->cx, tcp[0], RECEIVES, &id), -EOPNOTSUPP);
    assert_int_equal(ior_adopt(p->cx, pipes[0], RECEIVES, &id), -EOPNOTSUPP);
    done_with(tcp, 2);
    done_with(pipes, 2);
    probe_free(p);
}

/* What comes with fds is told after them, however the service answers these. */
static void pause_it(struct probe *p, ior_id id)
{
    assert_int_equal(ior_pause(p->cx, id), 0);
}

static void a_pause_holds_the_data_back(void **state)
{
    struct probe *p = receiver(NULL);
    int file, peer;
    ior_id id = probe_unix(p, RECEIVES, &peer);
    (void)state;
    make(&file, 1);
    in.then = pause_it;
    tell(peer, "hello", &file, 1);
    probe_until(p, in.told == 1);
    net_write(peer, " you", 4);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->bytes, 0);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->bytes == 9);
    assert_memory_equal(in.text, "hello you", 9);
    assert_int_equal(probe_of(p, id)->end, 0);
    close(file);
    close(peer);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    probe_free(p);
}

static void a_pause_without_memory_ends_the_stream(void **state)
{
    int file, peer;
    (void)state;
    live_alloc_start();
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct probe *p = receiver(NULL);
        ior_id id = probe_unix(p, RECEIVES, &peer);
        make(&file, 1);
        in.then = pause_it;
        probe_turns(p, 2);
        tell(peer, "hello", &file, 1);
        live_alloc_fail(nth, true);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_true(live_alloc_refused() > 0);
        live_alloc_fail(0, false);
        assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
        assert_int_equal(probe_of(p, id)->error, ENOMEM);
        assert_int_equal(probe_of(p, id)->unread, 5);
        close(file);
        close(peer);
        probe_free(p);
    }
    live_alloc_stop();
}

static void unregister_it(struct probe *p, ior_id id)
{
    assert_int_equal(ior_unregister(p->cx, id), 0);
}

static void ended_in_fds_the_data_goes_along(void **state)
{
    struct probe *p = receiver(NULL);
    int file, peer;
    ior_id id = probe_unix(p, RECEIVES, &peer), again;
    (void)state;
    make(&file, 1);
    p->keep = true;
    in.then = unregister_it;
    tell(peer, "hello", &file, 1);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(probe_of(p, id)->bytes, 0);
    assert_int_equal(probe_of(p, id)->unread, 5);
    struct ior_resource *res = probe_of(p, id)->handed;
    probe_of(p, id)->handed = NULL;
    assert_int_equal(ior_register(p->cx, res, &again), 0);
    tell(peer, " you", &file, 1); /* it still receives them */
    probe_until(p, probe_of(p, again)->bytes == 9);
    assert_memory_equal(in.text, "hello you", 9);
    assert_int_equal(in.told, 2);
    p->keep = false;
    close(file);
    close(peer);
    probe_free(p);
}

static void close_it(struct probe *p, ior_id id)
{
    assert_int_equal(ior_close(p->cx, id, IOR_NS_PER_SEC), 0);
}

static void abort_it(struct probe *p, ior_id id)
{
    assert_int_equal(ior_abort(p->cx, id), 0);
}

static void closed_in_fds_no_data_follows(void **state)
{
    void (*const ways[])(struct probe *, ior_id) = {close_it, abort_it};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t before = net_fd_count();
        struct probe *p = receiver(NULL);
        int file, peer;
        ior_id id = probe_unix(p, RECEIVES, &peer);
        make(&file, 1);
        in.then = ways[i];
        tell(peer, "hello", &file, 1);
        probe_until(p, in.told == 1);
        if (i == 0)
            tell(peer, "more", &file, 1); /* read and thrown away, with its fd */
        close(peer);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_int_equal(probe_of(p, id)->bytes, 0);
        assert_int_equal(in.told, 1);
        assert_int_equal(probe_of(p, id)->unread, i == 0 ? 9 : 5);
        close(file);
        probe_free(p);
        assert_int_equal(net_fd_count(), before);
    }
}

static void given_back_bytes_come_again_before(void **state)
{
    struct probe *p = receiver(NULL);
    int file, peer;
    ior_id id = probe_unix(p, RECEIVES, &peer);
    (void)state;
    make(&file, 1);
    net_write(peer, "ab", 2);
    probe_until(p, probe_of(p, id)->bytes == 2);
    in.then = pause_it;
    tell(peer, "c", &file, 1);
    probe_until(p, in.told == 1);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->bytes == 3);
    assert_memory_equal(in.text, "abc", 3);
    close(file);
    close(peer);
    probe_free(p);
}

/* A plain stream of bytes is one with receive_fds too, on engines that receive as well. */
static void bytes_alone_come_as_ever(void **state)
{
    enum { LEN = 400000 };
    struct probe *p = receiver(NULL);
    int peer;
    p->on_event = NULL;
    p->pattern = true;
    ior_id id = probe_unix(p, RECEIVES, &peer);
    (void)state;
    net_nonblock(peer);
    for (size_t at = 0; at < LEN; at += 1000) {
        probe_until(p, probe_of(p, id)->bytes + 50000 > at);
        net_write_pattern(peer, at, 1000);
    }
    probe_until(p, probe_of(p, id)->bytes == LEN);
    unsigned char *bytes = net_new_pattern(LEN);
    for (size_t at = 0; at < LEN; at += LEN / 4) {
        assert_in_range(ior_send(p->cx, id, bytes + at, LEN / 4), 0, 1);
        probe_read_pattern(p, peer, at, LEN / 4, 60000);
    }
    free(bytes);
    shutdown(peer, SHUT_WR);
    probe_until(p, probe_of(p, id)->end == 1);
    close(peer);
    probe_free(p);
}

static void out_of_fds_the_loss_is_told(void **state)
{
    struct probe *p = receiver(NULL);
    struct rlimit was, now;
    int files[4], peer;
    ior_id id = probe_unix(p, RECEIVES, &peer);
    (void)state;
    make(files, 4);
    in.take = 4;
    probe_turns(p, 1);
    tell(peer, "lost", files, 4);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0); /* room for one more */
    assert_true(next >= 0);
    close(next);
    now = was;
    now.rlim_cur = (rlim_t)next + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    for (int i = 0; i < 50 && probe_of(p, id)->bytes < 4; i++)
        probe_step(p);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(probe_of(p, id)->bytes, 4);
    assert_int_equal(in.told, 1);
    assert_int_equal(in.lost, 1);
    assert_int_equal(in.count, 1);
    assert_true(same_file(in.taken[0], files[0]));
    tell(peer, "!", files, 2); /* and it goes on */
    probe_until(p, in.told == 2);
    assert_int_equal(in.lost, 1);
    assert_int_equal(in.count, 3);
    done_with(in.taken, in.taken_n);
    done_with(files, 4);
    close(peer);
    probe_free(p);
}

static int recv_error;
static unsigned recv_errors;

static ssize_t failing_recv_fds(void *arg, int fd, void *bytes, size_t len, struct ior_os_fds *ret)
{
    if (recv_errors > 0) {
        recv_errors--;
        ret->count = 0;
        ret->lost = false;
        return -recv_error;
    }
    return ior_os_default()->recv_fds(arg, fd, bytes, len, ret);
}

static void errors_of_receiving(void **state)
{
    static const int errors[] = {EINTR, EAGAIN, ENOMEM, ENOBUFS, ECONNRESET};
    struct ior_os os = *ior_os_default();
    struct ior_config config = probe_config();
    (void)state;
    os.recv_fds = failing_recv_fds;
    config.os = &os;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct probe *p = receiver(&config);
        int file, peer;
        ior_id id = probe_unix(p, RECEIVES, &peer);
        make(&file, 1);
        recv_error = errors[i];
        recv_errors = 2;
        tell(peer, "hello", &file, 1);
        probe_until(p, probe_of(p, id)->bytes == 5 || probe_of(p, id)->end == 1);
        if (errors[i] == ECONNRESET) {
            assert_int_equal(probe_of(p, id)->error, ECONNRESET);
        } else {
            assert_int_equal(in.told, 1);
            assert_int_equal(recv_errors, 0);
        }
        close(file);
        close(peer);
        probe_free(p);
    }
}

/* ---- credentials ---- */

static void who_the_peer_is(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_credentials who = {.pid = -7};
    int peer, tcp, pipes[2];
    ior_id id = probe_unix(p, NULL, &peer), other = probe_tcp(p, NULL, &tcp);
    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    ior_id reader = probe_adopt(p, pipes[0], NULL);
    assert_int_equal(ior_peer_credentials(p->cx, other, &who), -EOPNOTSUPP);
    assert_int_equal(ior_peer_credentials(p->cx, reader, &who), -EOPNOTSUPP);
    assert_int_equal(ior_peer_credentials(p->cx, id, NULL), -EINVAL);
    assert_int_equal(ior_peer_credentials(p->cx, id + 16, &who), -ENOENT);
    assert_int_equal(ior_peer_credentials(NULL, id, &who), -EINVAL);
    assert_int_equal(who.pid, -7);
    assert_int_equal(ior_peer_credentials(p->cx, id, &who), 0);
    assert_int_equal(who.pid, getpid());
    assert_int_equal(who.uid, geteuid());
    assert_int_equal(who.gid, getegid());
    close(pipes[1]);
    close(tcp);
    close(peer);
    probe_free(p);
}

static void who_connected(void **state)
{
    struct probe *p = probe_new(NULL);
    char *dir = net_temp_dir(), path[256];
    struct ior_addr addr;
    struct ior_credentials who;
    ior_id listener;
    (void)state;
    (void)snprintf(path, sizeof(path), "unix:%s/s", dir);
    assert_int_equal(ior_addr_parse(&addr, path), 0);
    assert_int_equal(ior_listen(p->cx, &addr, NULL, &listener), 0);
    assert_int_equal(ior_peer_credentials(p->cx, listener, &who), -EOPNOTSUPP);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        int fd = net_connect(&addr);
        _exit(read(fd, &byte, 1) == 0 ? 0 : 1);
    }
    assert_true(child > 0);
    probe_until(p, p->accepted != 0);
    assert_int_equal(ior_peer_credentials(p->cx, p->accepted, &who), 0);
    assert_int_equal(who.pid, child);
    probe_free(p);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    net_temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_goes_out_in_its_place),
        cmocka_unit_test(the_callers_fds_may_be_closed_at_once),
        cmocka_unit_test(r29_a_partial_write_sends_no_fd_twice),
        cmocka_unit_test(r29_a_message_larger_than_the_socket),
        cmocka_unit_test(what_fails_for_now_is_tried_again),
        cmocka_unit_test(what_fails_for_good_ends_the_stream),
        cmocka_unit_test(refused_sends_change_nothing),
        cmocka_unit_test(without_fds_or_memory_nothing_is_taken),
        cmocka_unit_test(what_was_not_sent_is_closed_with_the_stream),
        cmocka_unit_test(a_handover_keeps_them),
        cmocka_unit_test(taken_ones_are_the_services),
        cmocka_unit_test(not_asked_for_they_never_arrive),
        cmocka_unit_test(from_accepted_and_connected_streams),
        cmocka_unit_test(only_unix_streams_receive_them),
        cmocka_unit_test(a_pause_holds_the_data_back),
        cmocka_unit_test(a_pause_without_memory_ends_the_stream),
        cmocka_unit_test(ended_in_fds_the_data_goes_along),
        cmocka_unit_test(closed_in_fds_no_data_follows),
        cmocka_unit_test(given_back_bytes_come_again_before),
        cmocka_unit_test(bytes_alone_come_as_ever),
        cmocka_unit_test(out_of_fds_the_loss_is_told),
        cmocka_unit_test(errors_of_receiving),
        cmocka_unit_test(who_the_peer_is),
        cmocka_unit_test(who_connected),
    };
    return cmocka_run_group_tests_name("fds", tests, NULL, NULL);
}
