/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R01-R15: what happens when callbacks change the set of resources in the middle of a batch of records. Fds are made
 * ready while the loop does not run, so that one wait brings all of them, in whatever order the engine likes: each
 * test gives all resources the same role, so that the order does not matter.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
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

static bool is_epoll(struct probe *p)
{
    return strcmp(ior_runtime_engine(p->rt), "epoll") == 0;
}

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

/* More than 2^16 lives of one slot: ids grow and never come again. (Spent slots are retired: see the tests of slots.) */
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
                                            : ior_close(p->cx, id, IOR_NS_PER_SEC),
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

enum { CROWD = 10000 };

static void register_a_crowd(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    int *fds = p->arg;
    ior_id self = r->id;
    if (ev->type != IOR_EV_DATA || fds[0] >= 0)
        return;
    for (int i = 0; i < CROWD; i++) {
        fds[i] = fcntl(fds[CROWD], F_DUPFD_CLOEXEC, 3);
        assert_true(fds[i] >= 0);
        probe_watch(p, fds[i], IOR_READ);
    }
    assert_true(net_is_pattern(ev->data.bytes, 0, ev->data.len)); /* the lent bytes did not move */
    assert_true(ev->id == self);
    assert_int_equal(ior_send(p->cx, ev->id, ev->data.bytes, ev->data.len), 0);
}

static void ready_once(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    register_a_crowd(p, r, ev);
    if (ev->type == IOR_EV_READY)
        assert_int_equal(ior_unregister(p->cx, r->id), 0);
}

static void r10_ten_thousand_registrations_in_a_callback(void **state)
{
    static int fds[CROWD + 1];
    unsigned char answer[100];
    struct probe *p;
    int peer;
    ior_id id;
    (void)state;
    if (net_raise_fd_limit(CROWD + 100) < CROWD + 100) {
        print_message("the limit of open files is too low for %d registrations\n", CROWD);
        skip();
    }
    fds[0] = -1;
    fds[CROWD] = eventfd(1, EFD_CLOEXEC);
    p = probe_new(NULL);
    p->arg = fds;
    p->on_event = ready_once;
    id = probe_unix(p, NULL, &peer);
    net_write_pattern(peer, 0, sizeof(answer));
    probe_until(p, p->n == CROWD + 1);
    net_read(peer, answer, sizeof(answer) - 1); /* the answer leaves at the end of the turn */
    assert_true(net_is_pattern(answer, 0, sizeof(answer) - 1));
    probe_until(p, probe_stats(p).resources == 1);
    for (size_t i = 0; i < p->n; i++)
        if (p->res[i].id != id)
            assert_int_equal(p->res[i].ready, 1);
    for (int i = 0; i <= CROWD; i++)
        close(fds[i]);
    close(peer);
    probe_free(p);
}

/* Feeds what is being drained: a command sends the next one, a registration makes the next, a timer arms the next. */
struct feeder {
    struct ior_controller *ctl;
    struct ior_command command;
    int fd;
};

static void feed_command(struct probe *p, struct ior_command *command)
{
    struct feeder *f = p->arg;
    int rc = ior_controller_send(f->ctl, command);
    assert_true(rc == 0 || rc == -EPIPE);
}

static void feed_registration(struct probe *p, ior_id id)
{
    struct feeder *f = p->arg;
    ior_id next;
    int rc = ior_unregister(p->cx, id);
    assert_true(rc == 0 || rc == -EALREADY);
    if (ior_watch(p->cx, f->fd, IOR_READ, NULL, &next) == 0)
        probe_of(p, next);
}

static void feed_timer(struct probe *p, ior_timer_id id, void *user)
{
    ior_timer_id next;
    (void)id;
    (void)user;
    assert_int_equal(ior_timer_set(p->cx, 0, NULL, &next), 0);
}

static void r11_callback_feeding_its_queue_does_not_hold_the_turn(void **state)
{
    struct feeder f = {.fd = eventfd(0, EFD_CLOEXEC)};
    struct ior_config config = probe_config();
    struct probe *p;
    ior_timer_id timer;
    (void)state;
    config.commands = 16;
    p = probe_new(&config);
    p->arg = &f;
    f.ctl = ior_controller_of(p->cx);
    p->on_command = feed_command;
    p->on_registered = feed_registration;
    p->on_timer = feed_timer;
    assert_int_equal(ior_controller_send(f.ctl, &f.command), 0);
    assert_int_equal(ior_timer_set(p->cx, 0, NULL, &timer), 0);
    probe_watch(p, f.fd, IOR_READ);
    probe_turns(p, 20); /* that they return at all is the point */
    assert_in_range(p->commands, 10, 20 * 16);
    assert_in_range(p->timers, 10, 20);
    assert_in_range(p->n, 2, 20 * 16);
    p->on_registered = NULL;
    p->on_timer = NULL;
    p->on_command = NULL;
    ior_controller_unref(f.ctl);
    probe_free(p);
    close(f.fd);
}

static void r12_ids_are_not_made_from_fds(void **state)
{
    struct probe *p = probe_new(NULL);
    int fd = eventfd(0, EFD_CLOEXEC);
    ior_id a = probe_watch(p, fd, IOR_READ), b, twice = 0;
    (void)state;
    assert_int_equal(ior_watch(p->cx, fd, IOR_READ, NULL, &twice), -EEXIST);
    assert_int_equal(twice, 0);
    assert_int_equal(ior_unregister(p->cx, a), 0);
    b = probe_watch(p, fd, IOR_READ); /* in the same turn, on the same fd, before the END of the first */
    assert_true(a != b);
    probe_turns(p, 2);
    assert_int_equal(probe_of(p, a)->end, 1);
    assert_int_equal(probe_of(p, b)->end, 0);
    assert_int_equal(probe_of(p, b)->registered, 1);
    probe_free(p);
    close(fd);
}

/* poll says POLLNVAL and the resource ends; epoll forgets the fd in silence, and the service's own request ends it. */
static void end_foreign_closed(struct probe *p, ior_id id)
{
    if (is_epoll(p)) {
        probe_turns(p, 3);
        if (probe_of(p, id)->end == 0)
            assert_int_equal(ior_unregister(p->cx, id), 0);
    }
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(probe_of(p, id)->end, 1);
    if (!is_epoll(p)) {
        assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
        assert_int_equal(probe_of(p, id)->error, EBADF);
    }
}

static void r13_fd_closed_by_others_ends_once(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2];
    ior_id id;
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        net_unix_pair(pair);
        id = stream ? probe_adopt(p, pair[0], NULL) : probe_watch(p, pair[0], IOR_READ);
        probe_turns(p, 2);
        close(pair[0]);
        assert_true(probe_quiet(p, 30) <= 5);
        end_foreign_closed(p, id);
        assert_true(probe_quiet(p, 30) <= 3);
        close(pair[1]);
    }
    probe_free(p);
}

static void r13_dup_of_an_fd_closed_by_others_does_not_spin(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2], twin;
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    id = probe_watch(p, pair[0], IOR_READ);
    probe_turns(p, 2);
    twin = fcntl(pair[0], F_DUPFD_CLOEXEC, 3); /* epoll goes on to report the file under the dead number */
    close(pair[0]);
    net_write(pair[1], "never read", 10);
    end_foreign_closed(p, id);
    assert_true(probe_quiet(p, 50) <= 4);
    if (is_epoll(p))
        assert_true(probe_stats(p).rebuilds >= 1);
    assert_true(probe_stats(p).stale_records <= 4);
    close(twin);
    close(pair[1]);
    probe_free(p);
}

/* The number belongs to another file by the time the resource is destroyed: it must stay open. */
static void r13_number_reused_by_another_file_is_not_closed(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2], other;
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    p->keep = true;
    id = probe_adopt(p, pair[0], NULL);
    probe_turns(p, 2);
    close(pair[0]);
    if (!is_epoll(p))
        probe_until(p, probe_of(p, id)->handover == 1);
    other = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(other, pair[0]);
    if (is_epoll(p))
        end_foreign_closed(p, id);
    ior_resource_free(probe_of(p, id)->handed);
    probe_of(p, id)->handed = NULL;
    assert_int_equal(fcntl(other, F_GETFD), FD_CLOEXEC);
    close(other);
    close(pair[1]);
    p->keep = false;
    probe_free(p);
}

static void r14_read_and_write_readiness_are_one_event(void **state)
{
    struct probe *p = probe_new(NULL);
    int pair[2];
    ior_id id;
    (void)state;
    net_unix_pair(pair);
    id = probe_watch(p, pair[0], IOR_READ | IOR_WRITE);
    net_write(pair[1], "x", 1);
    probe_until(p, probe_of(p, id)->ready != 0);
    assert_int_equal(probe_of(p, id)->ready, 1);
    assert_int_equal(probe_of(p, id)->ready_bits, IOR_READ | IOR_WRITE);
    assert_int_equal(ior_interest(p->cx, id, IOR_WRITE), 0);
    probe_until(p, probe_of(p, id)->ready >= 2);
    assert_int_equal(probe_of(p, id)->ready_bits, IOR_WRITE);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_turns(p, 1);
    close(pair[0]);
    close(pair[1]);
    probe_free(p);
}

/* A resource of the test's own kind over a regular file: it is always ready. */
struct file_res {
    struct ior_resource base;
    bool destroyed;
};

static unsigned file_interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

static int file_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    char bytes[4];
    struct ior_event ev = {.type = IOR_EV_DATA};
    ssize_t n = read(res->fd, bytes, sizeof(bytes));
    (void)io;
    if (n < 0)
        return -errno;
    ev.type = n == 0 ? IOR_EV_EOF : IOR_EV_DATA;
    ev.data.bytes = bytes;
    ev.data.len = (size_t)n;
    ior_emit(emit, &ev);
    return IOR_IO_DONE;
}

static void file_destroy(struct ior_resource *res)
{
    struct file_res *file = (struct file_res *)res;
    close(res->fd);
    file->destroyed = true;
}

static const struct ior_resource_ops file_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "file",
    .interests = file_interests,
    .handle_io = file_io,
    .destroy = file_destroy,
};

static void r15_regular_files_are_the_same_on_every_engine(void **state)
{
    struct probe *p = probe_new(NULL);
    struct file_res file = {.destroyed = false};
    FILE *stream = tmpfile();
    int fd;
    size_t before = net_fd_count();
    ior_id id = 0;
    (void)state;
    assert_non_null(stream);
    fputs("0123456789", stream);
    fflush(stream);
    assert_int_equal(ior_adopt(p->cx, fileno(stream), NULL, &id), -EPERM);
    assert_int_equal(ior_watch(p->cx, fileno(stream), IOR_READ, NULL, &id), -EPERM);
    assert_int_equal(id, 0);
    assert_int_equal(net_fd_count(), before);
    fd = dup(fileno(stream));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    ior_resource_init(&file.base, &file_ops, fd, NULL);
    p->own_kind = true;
    assert_int_equal(ior_register(p->cx, &file.base, &id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(probe_of(p, id)->bytes, 10);
    assert_int_equal(probe_of(p, id)->eof, 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    assert_true(file.destroyed);
    assert_true(probe_quiet(p, 20) <= 3);
    fclose(stream);
    probe_free(p);
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
        cmocka_unit_test(r10_ten_thousand_registrations_in_a_callback),
        cmocka_unit_test(r11_callback_feeding_its_queue_does_not_hold_the_turn),
        cmocka_unit_test(r12_ids_are_not_made_from_fds),
        cmocka_unit_test(r13_fd_closed_by_others_ends_once),
        cmocka_unit_test(r13_dup_of_an_fd_closed_by_others_does_not_spin),
        cmocka_unit_test(r13_number_reused_by_another_file_is_not_closed),
        cmocka_unit_test(r14_read_and_write_readiness_are_one_event),
        cmocka_unit_test(r15_regular_files_are_the_same_on_every_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
