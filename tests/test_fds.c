/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds that are sent over Unix streams: each goes out once, in its place among the bytes, and none is left behind whatever
 * fails or ends.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/check.h"
#include "support/live.h"
#include "support/passing.h"
#include "support/probe.h"

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

static int no_name(void *arg, int fd, struct ior_addr *addr)
{
    (void)arg;
    (void)fd;
    (void)addr;
    return -ENOBUFS;
}

/* "Not a Unix stream" would be for ever. */
static void where_the_system_does_not_tell_the_family(void **state)
{
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    struct ior_credentials who;
    int file, peer;
    (void)state;
    config.os = &os;
    struct probe *p = probe_new(&config);
    ior_id id = probe_unix(p, NULL, &peer);
    make(&file, 1);
    size_t before = net_fd_count();
    os.getsockname = no_name;
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, &file, 1), -ENOBUFS);
    assert_int_equal(ior_peer_credentials(p->cx, id, &who), -ENOBUFS);
    assert_int_equal(net_fd_count(), before);
    os.getsockname = ior_os_default()->getsockname;
    assert_int_equal(ior_send_fds(p->cx, id, "x", 1, &file, 1), 0);
    done_with(&file, 1);
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
        cmocka_unit_test(where_the_system_does_not_tell_the_family),
        cmocka_unit_test(without_fds_or_memory_nothing_is_taken),
        cmocka_unit_test(what_was_not_sent_is_closed_with_the_stream),
        cmocka_unit_test(a_handover_keeps_them),
    };
    return cmocka_run_group_tests_name("fds", tests, NULL, NULL);
}
