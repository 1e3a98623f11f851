/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R36, R37: peers that are gone, and peers that never read. No way of writing raises SIGPIPE, and what waits for a slow
 * reader is bounded, while others are served.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

/* Streams whose peers are gone, one for each way of writing: send, sendfile, write to a pipe, a file into a pipe. */
enum { BY_SEND, BY_SENDFILE, BY_PIPE, BY_FILE_TO_PIPE, WAYS };

static void write_to_the_dead(struct probe *p, int file, ior_id ids[WAYS])
{
    for (int way = 0; way < WAYS; way++) {
        int ends[2];
        if (way == BY_SEND || way == BY_SENDFILE)
            net_unix_pair(ends);
        else
            assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        ids[way] = probe_adopt(p, ends[1], NULL);
        close(ends[0]);
        if (way == BY_SEND || way == BY_PIPE)
            assert_int_equal(ior_send(p->cx, ids[way], "dead", 4), 0);
        else
            assert_in_range(ior_send_file(p->cx, ids[way], file, 0, 100000), 0, 1);
    }
}

/*
 * Runs in a child with SIGPIPE at its default: one would kill it. The caller's mask must be as before, and no SIGPIPE
 * left pending.
 */
static int survive(void *arg)
{
    sigset_t before, after, pending;
    int file = net_sparse_file(100000, 0, 10);
    (void)arg;
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&before);
    sigaddset(&before, SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &before, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    for (int at_shutdown = 0; at_shutdown < 2; at_shutdown++) {
        struct probe *p = probe_new(NULL);
        ior_id ids[WAYS];
        write_to_the_dead(p, file, ids);
        if (at_shutdown) /* the flush of a shutdown writes too */
            ior_stop(p->cx, IOR_NEVER);
        probe_until(p, probe_stats(p).resources == 0);
        for (int way = 0; way < WAYS; way++)
            if (probe_of(p, ids[way])->error != EPIPE)
                return 10 + way;
        probe_free(p);
    }
    sigemptyset(&after);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    sigpending(&pending);
    return sigismember(&after, SIGPIPE) == sigismember(&before, SIGPIPE) && !sigismember(&pending, SIGPIPE) ? 0 : 1;
}

static void r36_sigpipe_never_reaches_the_program(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(survive, NULL), 0);
}

/* A SIGPIPE of the program's own, blocked and pending, is not swallowed by the fence around our writes. */
static int keep_my_own(void *arg)
{
    struct probe *p = probe_new(NULL);
    ior_id ids[WAYS];
    sigset_t set;
    (void)arg;
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    raise(SIGPIPE);
    write_to_the_dead(p, net_sparse_file(100000, 0, 10), ids);
    probe_until(p, probe_stats(p).resources == 0);
    probe_free(p);
    sigemptyset(&set);
    sigpending(&set);
    return sigismember(&set, SIGPIPE) == 1 ? 0 : 1;
}

static void r36_a_pending_sigpipe_of_the_program_stays(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(keep_my_own, NULL), 0);
}

static void echo(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_in_range(ior_send(p->cx, r->id, ev->data.bytes, ev->data.len), 0, 1);
}

static void r37_slow_reader_costs_bounded_memory(void **state)
{
    const size_t bound = IOR_HIGH_BYTES_DEFAULT + 65536 + IOR_UNREAD_MAX_BYTES_DEFAULT;
    struct probe *p = probe_new(NULL);
    unsigned char chunk[65536], byte = 0;
    int greedy, other;
    ior_id id = probe_unix(p, NULL, &greedy), good = probe_unix(p, NULL, &other);
    uint64_t sent = 0, stuck = 0;
    (void)state;
    p->on_event = echo;
    net_nonblock(greedy);
    while (stuck < 50) { /* the client writes and never reads, until the service has stopped reading it for good */
        ssize_t n;
        net_pattern(chunk, sent, sizeof(chunk));
        n = write(greedy, chunk, sizeof(chunk));
        sent += n > 0 ? (uint64_t)n : 0;
        stuck = n > 0 ? 0 : stuck + 1;
        probe_turns(p, 1);
        assert_true(probe_stats(p).output_bytes <= bound + 65536);
        assert_true(ior_queued(p->cx, id) <= bound);
    }
    assert_true(probe_of(p, id)->bytes < sent);
    assert_true(sent < 4 << 20);
    assert_true(probe_quiet(p, 30) <= 4);
    net_write(other, "x", 1); /* the others are served meanwhile */
    probe_until(p, probe_of(p, good)->bytes == 1);
    net_read(other, &byte, 1);
    probe_read_pattern(p, greedy, 0, (size_t)sent, 65536); /* and once it reads, it gets all */
    close(greedy);
    close(other);
    probe_free(p);
}

static void r37_sends_past_the_cap_are_refused_whole(void **state)
{
    enum { PIECE = 10007 };
    struct probe *p = probe_new(NULL);
    unsigned char *chunk = net_new_pattern(PIECE);
    uint64_t taken = 0, queued = 0;
    unsigned drained;
    int peer, rc;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    do { /* until the kernel takes no more either */
        queued = ior_queued(p->cx, id);
        while ((rc = ior_send(p->cx, id, chunk, PIECE)) >= 0)
            net_pattern(chunk, taken += PIECE, PIECE);
        assert_int_equal(rc, -ENOBUFS);
        drained = probe_of(p, id)->drained;
        probe_turns(p, 1);
    } while (ior_queued(p->cx, id) != queued || probe_of(p, id)->drained != drained);
    probe_read_pattern(p, peer, 0, (size_t)taken, 65536); /* what was refused left no trace */
    probe_until(p, probe_of(p, id)->drained == drained + 1);
    assert_int_equal(ior_send(p->cx, id, chunk, PIECE), 0);
    probe_read_pattern(p, peer, taken, PIECE, 65536);
    assert_int_equal(probe_of(p, id)->drained, drained + 1);
    free(chunk);
    close(peer);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r36_sigpipe_never_reaches_the_program),
        cmocka_unit_test(r36_a_pending_sigpipe_of_the_program_stays),
        cmocka_unit_test(r37_slow_reader_costs_bounded_memory),
        cmocka_unit_test(r37_sends_past_the_cap_are_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
