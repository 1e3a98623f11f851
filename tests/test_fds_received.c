/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds that come over Unix streams: told before the bytes they came with, and none is leaked, whoever does not want it; and
 * who the peer is.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "support/check.h"
#include "support/live.h"
#include "support/passing.h"
#include "support/probe.h"

/* ---- receiving ---- */

#define RECEIVES PROBE_STREAM(.receive_fds = true)

static struct {
    unsigned told, count, lost;
    uint64_t bytes_before; /* that were told before the last FDS */
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
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
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

/* What was lent goes back, with fds in the midst of it: the queue may borrow the bytes around them. */
static int echoed;

static void echo_with_fds(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_DATA || ev->data.len < 3)
        return;
    const char *bytes = ev->data.bytes;
    size_t third = ev->data.len / 3;
    assert_int_equal(ior_send(p->cx, ev->id, bytes, third), 0);
    assert_int_equal(ior_send_fds(p->cx, ev->id, bytes + third, third, &echoed, 1), 0);
    assert_int_equal(ior_send(p->cx, ev->id, bytes + 2 * third, ev->data.len - 2 * third), 0);
}

static void what_came_goes_back_with_fds(void **state)
{
    (void)state;
    for (int receives = 0; receives < 2; receives++) {
        struct probe *p = probe_new(NULL);
        int peer;
        make(&echoed, 1);
        ior_id id = probe_unix(p, receives ? RECEIVES : NULL, &peer);
        p->on_event = echo_with_fds;
        probe_turns(p, 1);
        for (size_t len = 3; len <= 6000; len = len * 3 - 2) {
            net_write_pattern(peer, 0, len);
            probe_until(p, (hear(peer), got.len >= len));
            assert_int_equal(got.len, len);
            assert_true(net_is_pattern(got.bytes, 0, len));
            assert_int_equal(got.n, 1);
            assert_true(same_file(got.fds[0], echoed));
            assert_in_range(len / 3, got.from[0], got.to[0] - 1);
            forget();
        }
        assert_int_equal(probe_of(p, id)->end, 0);
        close(echoed);
        close(peer);
        probe_free(p);
    }
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
    int next = dup(peer); /* room for one more */
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
    pid_t child = net_fork();
    if (child == 0) {
        char byte;
        int fd = net_connect(&addr);
        _exit(read(fd, &byte, 1) == 0 ? 0 : 1);
    }
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
        cmocka_unit_test(what_came_goes_back_with_fds),
        cmocka_unit_test(out_of_fds_the_loss_is_told),
        cmocka_unit_test(errors_of_receiving),
        cmocka_unit_test(who_the_peer_is),
        cmocka_unit_test(who_connected),
    };
    return cmocka_run_group_tests_name("fds_received", tests, NULL, NULL);
}
