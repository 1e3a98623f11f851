/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R01-R09: what happens when callbacks change the set of resources in the middle of a batch of records. Fds are made
 * ready while the loop does not run, so that one wait brings all of them, in whatever order the engine likes: each
 * test gives all resources the same role, so that the order does not matter.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

enum { MANY = 10 };

struct batch {
    ior_id ids[MANY];
    int peers[MANY];
    ior_id victim, fresh;
    int fresh_peer;
    unsigned calls;
    bool armed;
};

/* MANY streams, open and silent. */
static struct probe *many_streams(struct batch *b)
{
    struct probe *p = probe_new(NULL);
    memset(b, 0, sizeof(*b));
    p->arg = b;
    for (int i = 0; i < MANY; i++)
        b->ids[i] = probe_unix(p, NULL, &b->peers[i]);
    probe_until(p, probe_of(p, b->ids[MANY - 1])->open == 1);
    return p;
}

static void all_readable(struct batch *b)
{
    for (int i = 0; i < MANY; i++)
        net_write(b->peers[i], "x", 1);
}

static void close_peers(struct batch *b)
{
    for (int i = 0; i < MANY; i++)
        net_close(&b->peers[i]);
}

/* The first stream to be served kills its neighbour and puts a new stream on the neighbour's fd number. */
static void kill_and_reuse(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct batch *b = p->arg;
    int pair[2];
    if (ev->type != IOR_EV_DATA || b->victim != 0)
        return;
    b->victim = r->id == b->ids[0] ? b->ids[1] : b->ids[0];
    assert_int_equal(ior_abort(p->cx, b->victim), 0);
    net_unix_pair(pair);
    b->fresh_peer = pair[1];
    b->fresh = probe_adopt(p, pair[0], NULL);
}

static void r01_reused_fd_gets_no_old_event(void **state)
{
    struct batch b;
    struct probe *p = many_streams(&b);
    (void)state;
    p->on_event = kill_and_reuse;
    all_readable(&b);
    probe_turns(p, 3);
    assert_true(b.fresh != 0 && b.fresh != b.victim);
    assert_int_equal(probe_of(p, b.victim)->data, 0);
    assert_int_equal(probe_of(p, b.victim)->end, 1);
    assert_int_equal(probe_of(p, b.fresh)->data, 0);
    assert_int_equal(probe_of(p, b.fresh)->end, 0);
    net_write(b.fresh_peer, "y", 1);
    probe_until(p, probe_of(p, b.fresh)->bytes == 1);
    close(b.fresh_peer);
    close_peers(&b);
    probe_free(p);
}

static void abort_myself(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(ior_abort(p->cx, r->id), 0);
}

static void r02_finished_in_the_batch_is_not_dispatched_again(void **state)
{
    struct batch b;
    struct probe *p = many_streams(&b);
    (void)state;
    p->on_event = abort_myself;
    all_readable(&b);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(ior_send(p->cx, b.ids[i], "queued", 6), 0);
    close_peers(&b); /* data, EOF, a broken pipe and a hang-up for each, all at once */
    probe_turns(p, 5);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(probe_of(p, b.ids[i])->data, 1);
        assert_int_equal(probe_of(p, b.ids[i])->eof, 0);
        assert_int_equal(probe_of(p, b.ids[i])->end, 1);
    }
    assert_int_equal(probe_stats(p).resources, 0);
    probe_free(p);
}

static void unregister_the_others(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct batch *b = p->arg;
    ior_id id = r->id;
    if (ev->type != IOR_EV_DATA || b->calls++ != 0)
        return;
    for (int i = 0; i < MANY; i++)
        if (b->ids[i] != id)
            assert_int_equal(ior_unregister(p->cx, b->ids[i]), 0);
}

static void r03_unregistered_in_the_batch_is_silent(void **state)
{
    struct batch b;
    struct probe *p = many_streams(&b);
    unsigned data = 0, ends = 0;
    (void)state;
    p->on_event = unregister_the_others;
    all_readable(&b);
    probe_turns(p, 3);
    for (int i = 0; i < MANY; i++) {
        data += probe_of(p, b.ids[i])->data;
        ends += probe_of(p, b.ids[i])->end;
    }
    assert_int_equal(b.calls, 1);
    assert_int_equal(data, 1);
    assert_int_equal(ends, MANY - 1);
    close_peers(&b);
    probe_free(p);
}

static void r04_stale_id_is_an_error_without_effect(void **state)
{
    struct ior_config config = probe_config();
    struct probe *p;
    int peer, fresh_peer;
    char byte;
    ior_id old, fresh;
    struct ior_addr addr;
    (void)state;
    config.max_resources = 1; /* the new stream gets the old one's slot */
    p = probe_new(&config);
    old = probe_unix(p, NULL, &peer);
    assert_int_equal(ior_abort(p->cx, old), 0);
    probe_until(p, probe_of(p, old)->handover == 1);
    fresh = probe_unix(p, NULL, &fresh_peer);
    assert_int_equal(fresh >> 40, old >> 40);
    assert_int_equal(ior_send(p->cx, old, "x", 1), -ENOENT);
    assert_int_equal(ior_unregister(p->cx, old), -ENOENT);
    assert_int_equal(ior_close(p->cx, old, 0), -ENOENT);
    assert_int_equal(ior_abort(p->cx, old), -ENOENT);
    assert_int_equal(ior_finish(p->cx, old), -ENOENT);
    assert_int_equal(ior_pause(p->cx, old), -ENOENT);
    assert_int_equal(ior_resume(p->cx, old), -ENOENT);
    assert_int_equal(ior_interest(p->cx, old, IOR_READ), -ENOENT);
    assert_int_equal(ior_deadline(p->cx, old, IOR_DEADLINE_USER, 0), -ENOENT);
    assert_int_equal(ior_local(p->cx, old, &addr), -ENOENT);
    assert_int_equal(ior_touch(p->cx, old), -ENOENT);
    assert_null(ior_user(p->cx, old));
    assert_int_equal(ior_send(p->cx, 0, "x", 1), -ENOENT);
    assert_int_equal(ior_send(p->cx, fresh ^ (ior_id)1 << 39, "x", 1), -ENOENT);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, fresh)->end + probe_of(p, fresh)->deadline, 0);
    assert_int_equal(net_read_some(fresh_peer, &byte, 1), -EAGAIN);
    close(peer);
    close(fresh_peer);
    probe_free(p);
}

/*
 * More than 2^16 lives of one slot: ids grow and never come again. (Spent slots are retired: see the tests of slots.)
 */
static void r05_generations_never_repeat(void **state)
{
    struct ior_config config = probe_config();
    struct ior_handler nothing = {.struct_size = sizeof(nothing)};
    struct ior_runtime *rt;
    struct ior_context *cx;
    int fd = eventfd(0, EFD_CLOEXEC);
    ior_id id = 0, last = 0;
    (void)state;
    config.max_resources = 1;
    assert_int_equal(ior_runtime_new(&config, &nothing, NULL, &rt), 0);
    cx = ior_runtime_context(rt);
    for (int i = 0; i < 70000; i++) {
        assert_int_equal(ior_watch(cx, fd, IOR_READ, NULL, &id), 0);
        assert_int_equal(id & 15, 0);
        assert_true(id > last);
        last = id;
        assert_int_equal(ior_unregister(cx, id), 0);
        assert_int_equal(ior_runtime_turn(rt, 0), 1);
    }
    ior_runtime_free(rt);
    close(fd);
}

static void r06_dup_of_an_ended_fd_does_not_spin(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_stats before, after;
    int pair[2], twin;
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    twin = fcntl(pair[0], F_DUPFD_CLOEXEC, 0); /* keeps the file open, as a fork would */
    assert_true(twin >= 0);
    id = probe_adopt(p, pair[0], NULL);
    probe_until(p, probe_of(p, id)->open == 1);
    net_write(pair[1], "unread", 6);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    before = probe_stats(p);
    assert_true(probe_quiet(p, 50) <= 3);
    after = probe_stats(p);
    assert_int_equal(after.records, before.records);
    assert_int_equal(after.stale_records, before.stale_records);
    close(twin);
    close(pair[1]);
    probe_free(p);
}

static void watch_again(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct batch *b = p->arg;
    if (ev->type != IOR_EV_READY || b->fresh != 0)
        return;
    assert_int_equal(ior_unregister(p->cx, r->id), 0);
    b->fresh = probe_watch(p, b->peers[0], IOR_READ);
}

static void r07_end_then_register_keeps_its_order(void **state)
{
    struct batch b = {.fresh = 0};
    struct probe *p = probe_new(NULL);
    int pair[2];
    ior_id old;
    (void)state;
    net_unix_pair(pair);
    b.peers[0] = pair[0];
    p->arg = &b;
    p->on_event = watch_again;
    old = probe_watch(p, pair[0], IOR_READ);
    net_write(pair[1], "x", 1);
    probe_until(p, b.fresh != 0 && probe_of(p, b.fresh)->ready >= 2);
    assert_int_equal(probe_of(p, old)->ready, 1);
    assert_int_equal(probe_of(p, old)->end, 1);
    assert_int_equal(probe_of(p, b.fresh)->end, 0);
    assert_int_equal(ior_unregister(p->cx, b.fresh), 0);
    probe_until(p, probe_of(p, b.fresh)->end == 1);
    close(pair[0]);
    close(pair[1]);
    probe_free(p);
}

static void r08_late_close_spares_the_new_owner(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2], old_fd, old_peer;
    ior_id old, fresh;
    (void)state;
    net_unix_pair(pair);
    old_fd = pair[0];
    old_peer = pair[1];
    old = probe_adopt(p, old_fd, NULL);
    probe_until(p, probe_of(p, old)->open == 1);
    p->keep = true;
    assert_int_equal(ior_abort(p->cx, old), 0);
    assert_int_equal(fcntl(old_fd, F_GETFD), -1);
    net_unix_pair(pair);
    assert_int_equal(pair[0], old_fd); /* the kernel gives the lowest free number */
    fresh = probe_adopt(p, pair[0], NULL);
    probe_until(p, probe_of(p, old)->handover == 1);
    assert_non_null(probe_of(p, old)->handed);
    assert_int_equal(probe_of(p, old)->handed->fd, -1);
    ior_resource_free(probe_of(p, old)->handed);
    probe_of(p, old)->handed = NULL;
    net_write(pair[1], "alive", 5);
    probe_until(p, probe_of(p, fresh)->bytes == 5);
    p->keep = false;
    close(old_peer);
    close(pair[1]);
    probe_free(p);
}

enum ending { BY_ABORT, BY_UNREGISTER, BY_CLOSE, ENDINGS };

static void end_in_read(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    ior_id id = r->id;
    int way = (int)(intptr_t)p->arg;
    if (ev->type != IOR_EV_DATA)
        return;
    assert_int_equal(ior_send(p->cx, id, "answer", 6), 0);
    assert_int_equal(way == BY_ABORT        ? ior_abort(p->cx, id)
                     : way == BY_UNREGISTER ? ior_unregister(p->cx, id)
                                            : ior_close(p->cx, id, IOR_NEVER),
                     0);
    assert_int_equal(ior_send(p->cx, id, "late", 4), -EPIPE);
}

static void r09_read_callback_may_end_its_resource(void **state)
{
    (void)state;
    for (int way = 0; way < ENDINGS; way++) {
        for (int gone = 0; gone < 2; gone++) {
            struct probe *p = probe_new(NULL);
            int peer;
            ior_id id = probe_tcp(p, NULL, &peer);
            p->arg = (void *)(intptr_t)way;
            p->on_event = end_in_read;
            probe_until(p, probe_of(p, id)->open == 1);
            net_write_pattern(peer, 0, 300); /* then more for a second read, or a reset */
            if (gone)
                net_reset(peer);
            probe_turns(p, 2);
            if (!gone)
                close(peer);
            probe_until(p, probe_of(p, id)->end == 1);
            assert_int_equal(probe_of(p, id)->data, 1);
            assert_int_equal(probe_of(p, id)->eof, 0);
            assert_int_equal(probe_of(p, id)->written + probe_of(p, id)->unsent, 6);
            probe_free(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r01_reused_fd_gets_no_old_event),
        cmocka_unit_test(r02_finished_in_the_batch_is_not_dispatched_again),
        cmocka_unit_test(r03_unregistered_in_the_batch_is_silent),
        cmocka_unit_test(r04_stale_id_is_an_error_without_effect),
        cmocka_unit_test(r05_generations_never_repeat),
        cmocka_unit_test(r06_dup_of_an_ended_fd_does_not_spin),
        cmocka_unit_test(r07_end_then_register_keeps_its_order),
        cmocka_unit_test(r08_late_close_spares_the_new_owner),
        cmocka_unit_test(r09_read_callback_may_end_its_resource),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
