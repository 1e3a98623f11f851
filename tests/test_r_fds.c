/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R10-R15: tables that grow under a callback, queues fed by their own callbacks, and what ids, fds and files have to do
 * with each other when somebody else closes an fd or reuses its number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

/* Whether the engine watches the open file, as epoll does, and hears nothing of a number that was closed. */
static bool by_open_file(struct probe *p)
{
    return strcmp(ior_runtime_engine(p->rt), "poll") != 0;
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
    if (by_open_file(p)) {
        probe_turns(p, 3);
        if (probe_of(p, id)->end == 0)
            assert_int_equal(ior_unregister(p->cx, id), 0);
    }
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(probe_of(p, id)->end, 1);
    if (!by_open_file(p)) {
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
    if (by_open_file(p))
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
    if (!by_open_file(p))
        probe_until(p, probe_of(p, id)->handover == 1);
    other = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(other, pair[0]);
    if (by_open_file(p))
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
