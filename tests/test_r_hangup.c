/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R16-R21: hang-ups, half-closes and resets, as the kernel really tells them. All bytes that arrived come first, then
 * EOF or the cause, once; and nothing of it makes an idle loop spin.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

/* An idle loop may need a turn or two to see that there is nothing; a spinning one takes thousands in this time. */
#define QUIET_MS 50
#define QUIET_TURNS 4

static struct probe *pattern_probe(void)
{
    struct probe *p = probe_new(NULL);
    p->pattern = true;
    return p;
}

/* A TCP stream with room for `unread` bytes nobody has read yet, paused, so that they stay in the kernel. */
static ior_id paused_tcp(struct probe *p, size_t unread, int *peer)
{
    int pair[2], size = 1 << 20;
    ior_id id;
    net_tcp_pair(pair);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    *peer = pair[1];
    net_write_pattern(pair[1], 0, unread);
    net_await_unread(pair[0], unread);
    id = probe_adopt(p, pair[0], NULL);
    assert_int_equal(ior_pause(p->cx, id), 0);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->data, 0);
    return id;
}

static void r16_hangup_with_unread_data_unix(void **state)
{
    enum { LEN = 100000 };
    struct probe *p = pattern_probe();
    int pair[2];
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    net_write_pattern(pair[1], 0, LEN);
    close(pair[1]);
    id = probe_adopt(p, pair[0], NULL);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, LEN);
    assert_int_equal(probe_of(p, id)->eof, 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    assert_int_equal(probe_of(p, id)->error, 0);
    probe_free(p);
}

static void r16_reset_with_unread_data_tcp(void **state)
{
    enum { LEN = 200000 };
    struct probe *p = pattern_probe();
    int peer;
    ior_id id = paused_tcp(p, LEN, &peer);
    (void)state;
    net_reset(peer);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    assert_int_equal(probe_of(p, id)->data + probe_of(p, id)->end, 0);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, LEN);
    assert_int_equal(probe_of(p, id)->eof, 0);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, ECONNRESET);
    probe_free(p);
}

static void r16_both_sides_shut_with_unread_data_tcp(void **state)
{
    enum { LEN = 150000 };
    struct probe *p = pattern_probe();
    int peer;
    char byte;
    ior_id id = paused_tcp(p, LEN, &peer);
    (void)state;
    assert_int_equal(ior_finish(p->cx, id), 0);
    probe_turns(p, 2);
    net_await(peer, POLLIN);
    assert_int_equal(net_read_some(peer, &byte, 1), 0);
    assert_int_equal(shutdown(peer, SHUT_WR), 0); /* now poll says HUP with the data */
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, LEN);
    assert_int_equal(probe_of(p, id)->eof, 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    close(peer);
    probe_free(p);
}

/* Bytes with an fd attached: a plain read stops short at each of them, though more is there. */
static void send_with_fd(int sock, const void *bytes, size_t len)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
    struct cmsghdr *header;
    memset(&control, 0, sizeof(control));
    header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &sock, sizeof(int));
    assert_int_equal(sendmsg(sock, &msg, 0), len);
}

static void r17_short_read_beside_hangup_is_not_the_end_unix(void **state)
{
    enum { PIECE = 100, PIECES = 30 };
    struct probe *p = pattern_probe();
    unsigned char bytes[PIECE];
    int pair[2];
    size_t fds = net_fd_count();
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    for (uint64_t i = 0; i < PIECES; i++) {
        net_pattern(bytes, i * PIECE, PIECE);
        send_with_fd(pair[1], bytes, PIECE);
    }
    close(pair[1]);
    id = probe_adopt(p, pair[0], NULL);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, PIECE * PIECES);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    probe_turns(p, 1);
    assert_int_equal(net_fd_count(), fds); /* nobody asked for the fds that came along */
    probe_free(p);
}

static void r17_short_read_beside_hangup_is_not_the_end_pipe(void **state)
{
    enum { PIECE = 100, PIECES = 12 };
    struct probe *p = pattern_probe();
    int ends[2];
    ior_id id;
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_DIRECT), 0); /* packets: each read is a short one */
    for (uint64_t i = 0; i < PIECES; i++)
        net_write_pattern(ends[1], i * PIECE, PIECE);
    close(ends[1]);
    id = probe_adopt(p, ends[0], NULL);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, PIECE * PIECES);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    probe_free(p);
}

static void r18_bare_hangup_of_a_watch_is_told_once(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2];
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    id = probe_watch(p, pair[0], IOR_NONE);
    close(pair[1]);
    probe_until(p, probe_of(p, id)->ready == 1);
    assert_true((probe_of(p, id)->ready_bits & IOR_HUP) != 0);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    assert_int_equal(probe_of(p, id)->ready, 1);
    assert_int_equal(ior_interest(p->cx, id, IOR_READ), 0); /* asked anew: told anew, and level-triggered again */
    probe_until(p, probe_of(p, id)->ready >= 3);
    assert_true((probe_of(p, id)->ready_bits & IOR_READ) != 0);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    close(pair[0]);
    probe_free(p);
}

/* Only writing is wanted, and the pipe's reader goes: POLLERR alone. */
static void r18_bare_error_ends_a_stream(void **state)
{
    struct probe *p = probe_new(NULL);
    int ends[2];
    ior_id id;
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    id = probe_adopt(p, ends[1], NULL);
    probe_until(p, probe_of(p, id)->open == 1);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    close(ends[0]);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, EPIPE);
    probe_free(p);
}

static void r18_hangup_while_paused_waits_without_spinning(void **state)
{
    struct probe *p = pattern_probe();
    int peer;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    assert_int_equal(ior_pause(p->cx, id), 0);
    net_write_pattern(peer, 0, 5000);
    close(peer);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    assert_int_equal(probe_of(p, id)->data + probe_of(p, id)->eof + probe_of(p, id)->end, 0);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, 5000);
    assert_int_equal(probe_of(p, id)->eof, 1);
    probe_free(p);
}

static void answer_at_eof(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    unsigned char *bytes;
    const size_t len = *(size_t *)p->arg;
    if (ev->type != IOR_EV_EOF)
        return;
    bytes = net_new_pattern(len);
    assert_in_range(ior_send(p->cx, r->id, bytes, len), 0, 1);
    free(bytes);
}

static void r19_half_closed_peer_gets_its_answer(void **state)
{
    size_t len = 150000; /* more than the socket takes at once */
    (void)state;
    for (int half_open = 0; half_open < 2; half_open++) {
        struct probe *p = probe_new(NULL);
        int peer;
        char byte;
        ior_id id = probe_unix(p, PROBE_STREAM(.half_open = half_open != 0, .cap_bytes = 1 << 20), &peer);
        p->arg = &len;
        p->on_event = answer_at_eof;
        net_write(peer, "question", 8);
        assert_int_equal(shutdown(peer, SHUT_WR), 0);
        probe_until(p, probe_of(p, id)->eof == 1);
        probe_read_pattern(p, peer, 0, len, 8192);
        if (half_open) { /* nothing ends until the service says so */
            assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
            assert_int_equal(probe_of(p, id)->end, 0);
            assert_int_equal(ior_send(p->cx, id, "more", 4), 0);
            assert_int_equal(ior_finish(p->cx, id), 0);
        }
        probe_until(p, probe_of(p, id)->end == 1);
        assert_int_equal(probe_of(p, id)->bytes, 8);
        assert_int_equal(probe_of(p, id)->why, IOR_EOF);
        assert_int_equal(probe_of(p, id)->written, len + (half_open ? 4 : 0));
        assert_int_equal(probe_of(p, id)->unsent, 0);
        net_read(peer, &byte, half_open ? 1 : 0);
        close(peer);
        probe_free(p);
    }
}

static void r20_reset_without_interest_is_told_once(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2];
    ior_id id;
    (void)state;
    net_tcp_pair(pair);
    id = probe_watch(p, pair[0], IOR_NONE);
    net_reset(pair[1]);
    probe_until(p, probe_of(p, id)->ready == 1);
    assert_true((probe_of(p, id)->ready_bits & (IOR_HUP | IOR_ERR)) != 0);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    assert_int_equal(probe_of(p, id)->ready, 1);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_turns(p, 1);
    close(pair[0]);
    probe_free(p);
}

static void r20_reset_while_paused_is_told_once_after_resume(void **state)
{
    struct probe *p = probe_new(NULL);
    int peer;
    ior_id id = paused_tcp(p, 0, &peer);
    (void)state;
    net_reset(peer);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    assert_int_equal(probe_of(p, id)->end, 0);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->error, ECONNRESET);
    probe_free(p);
}

/* Output is past its mark, so that the library itself has stopped reading, when the reset comes. */
static void r20_reset_while_output_is_full_does_not_spin(void **state)
{
    struct probe *p = probe_new(NULL);
    int peer;
    ior_id id = probe_tcp(p, PROBE_STREAM(.cap_bytes = 64 << 20), &peer);
    size_t len = 32 << 20;
    char *bytes = calloc(1, len);
    (void)state;
    assert_non_null(bytes);
    probe_until(p, probe_of(p, id)->open == 1);
    assert_int_equal(ior_send(p->cx, id, bytes, len), 1);
    probe_turns(p, 3);
    net_reset(peer);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, ECONNRESET);
    assert_true(probe_of(p, id)->unsent > 0);
    assert_int_equal(probe_of(p, id)->written + probe_of(p, id)->unsent, len);
    assert_true(probe_quiet(p, QUIET_MS) <= QUIET_TURNS);
    free(bytes);
    probe_free(p);
}

static void r21_reset_behind_data_is_not_a_clean_end(void **state)
{
    struct probe *p = pattern_probe();
    int peer;
    ior_id id = probe_tcp(p, NULL, &peer);
    (void)state;
    probe_until(p, probe_of(p, id)->open == 1);
    net_write_pattern(peer, 0, 1000);
    net_reset(peer);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, 1000);
    assert_int_equal(probe_of(p, id)->eof, 0);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, ECONNRESET);
    probe_free(p);
}

/* The kernel tells a reset once: here to our write. The reads that follow get the data, and then a plain 0. */
static void r21_own_write_meets_the_reset_first(void **state)
{
    struct probe *p = pattern_probe();
    int peer;
    ior_id id = paused_tcp(p, 1000, &peer);
    (void)state;
    net_reset(peer);
    assert_int_equal(ior_send(p->cx, id, "too late", 8), 0);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->end, 0);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, 1000);
    assert_int_equal(probe_of(p, id)->eof, 0);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, ECONNRESET);
    assert_int_equal(probe_of(p, id)->written, 0);
    assert_int_equal(probe_of(p, id)->unsent, 8);
    probe_free(p);
}

static void send_at_data(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA) {
        int rc = ior_send(p->cx, r->id, "answer", 6);
        assert_true(rc == 0 || rc == -EPIPE);
    }
}

/*
 * The same without a pause: each answer to a piece of the data is a write that may meet the reset before the read

 * does.
 */
static void r21_echo_into_a_reset_delivers_all_data(void **state)
{
    struct ior_config config = probe_config();
    struct probe *p;
    int pair[2];
    ior_id id;
    (void)state;
    config.read_bytes = 512; /* many turns for the data */
    config.reads = 1;
    p = probe_new(&config);
    p->pattern = true;
    p->on_event = send_at_data;
    net_tcp_pair(pair);
    id = probe_adopt(p, pair[0], NULL);
    net_write_pattern(pair[1], 0, 20000);
    net_await_unread(pair[0], 20000);
    net_reset(pair[1]);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, 20000);
    assert_int_equal(probe_of(p, id)->eof, 0);
    assert_int_equal(probe_of(p, id)->error, ECONNRESET);
    probe_free(p);
}

/* Data and reset are there before the listener comes to accept. */
static void r21_reset_before_accept_delivers_all_data(void **state)
{
    struct probe *p = pattern_probe();
    struct ior_addr addr;
    int fd;
    (void)state;
    probe_listen(p, NULL, &addr);
    fd = net_connect(&addr);
    net_write_pattern(fd, 0, 1000);
    net_reset(fd);
    probe_until(p, p->accepted != 0 && probe_of(p, p->accepted)->end == 1);
    assert_int_equal(probe_of(p, p->accepted)->bytes, 1000);
    assert_int_equal(probe_of(p, p->accepted)->eof, 0);
    assert_int_equal(probe_of(p, p->accepted)->error, ECONNRESET);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r16_hangup_with_unread_data_unix),
        cmocka_unit_test(r16_reset_with_unread_data_tcp),
        cmocka_unit_test(r16_both_sides_shut_with_unread_data_tcp),
        cmocka_unit_test(r17_short_read_beside_hangup_is_not_the_end_unix),
        cmocka_unit_test(r17_short_read_beside_hangup_is_not_the_end_pipe),
        cmocka_unit_test(r18_bare_hangup_of_a_watch_is_told_once),
        cmocka_unit_test(r18_bare_error_ends_a_stream),
        cmocka_unit_test(r18_hangup_while_paused_waits_without_spinning),
        cmocka_unit_test(r19_half_closed_peer_gets_its_answer),
        cmocka_unit_test(r20_reset_without_interest_is_told_once),
        cmocka_unit_test(r20_reset_while_paused_is_told_once_after_resume),
        cmocka_unit_test(r20_reset_while_output_is_full_does_not_spin),
        cmocka_unit_test(r21_reset_behind_data_is_not_a_clean_end),
        cmocka_unit_test(r21_own_write_meets_the_reset_first),
        cmocka_unit_test(r21_echo_into_a_reset_delivers_all_data),
        cmocka_unit_test(r21_reset_before_accept_delivers_all_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
