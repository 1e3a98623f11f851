/* SPDX-License-Identifier: Apache-2.0 */
/* Terminals, changes of files, fds over Unix streams. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/passing.h"

#include "real.h"

/* ---- terminals ---- */

static struct {
    int master;
    char path[128];
    struct ior_os_tty found;
} tty;

static struct ior_os_tty settings(void)
{
    struct ior_os_tty now;
    assert_int_equal(ior_os_default()->tty_get(NULL, tty.master, &now), 0); /* the master's are the line's */
    return now;
}

static bool as_found(void)
{
    struct ior_os_tty is = settings();
    return memcmp(&is, &tty.found, sizeof(is)) == 0;
}

static ior_id open_tty(struct run *run)
{
    ior_id id = 0;
    ask(run);
    int answer =
        ior_serial_open(run->cx, tty.path, OPTIONS(ior_serial_options, .speed = 19200, .exclusive = true), &id);
    id = given(run, answer, id);
    if (id == 0)
        assert_true(as_found());
    return id;
}

static void terminals(struct run *run)
{
    char bytes[6];
    tty.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(tty.master >= 0 && grantpt(tty.master) == 0 && unlockpt(tty.master) == 0);
    assert_int_equal(ptsname_r(tty.master, tty.path, sizeof(tty.path)), 0);
    tty.found = settings();
    int kept = open(tty.path, O_RDWR | O_NOCTTY | O_CLOEXEC); /* the line is not hung up between the two */
    assert_true(kept >= 0);
    ior_id id = open_tty(run);
    if (lives(run, id) && taken(run, ior_send(run->cx, id, "hello\n", 6))) {
        until(run, id, ior_queued(run->cx, id) == 0);
        if (lives(run, id)) {
            net_read(tty.master, bytes, 6);
            net_write(tty.master, bytes, 6);
        }
        until(run, id, res(run, id)->bytes == 6);
    }
    id = again(run, id);
    if (lives(run, id) && !taken(run, ior_close(run->cx, id, IOR_NS_PER_SEC)))
        assert_int_equal(ior_unregister(run->cx, id), 0);
    until(run, id, res(run, id)->end == 1);
    ior_id adopted = 0;
    ask(run);
    int answer = ior_serial_adopt(run->cx, kept, OPTIONS(ior_serial_options, .stop_bits = 2), &adopted);
    if (given(run, answer, adopted) == 0)
        (void)close(kept);
}

static void terminals_over(struct run *run)
{
    if (run->strict || run->fault->call != CALL_TTY_SET)
        assert_true(as_found());
    net_close(&tty.master);
}

/* ---- changes of files ---- */

static struct {
    int watch;
    unsigned created, gone;
} dir;

static void note_change(struct run *run, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_CHANGED)
        return;
    const struct ior_change *change = ev->change;
    if (change->watch != dir.watch || (change->mask & IOR_CHANGE_OVERFLOW))
        fail_msg("a change of watch %d", change->watch);
    if (change->name == NULL || strncmp(change->name, "file", 4) != 0 || change->name_len != 5)
        fail_msg("a name was cut, or is another's");
    dir.created += (change->mask & IOR_CHANGE_CREATED) != 0;
    (void)run;
}

static void create(struct run *run, char last)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/file%c", run->dir, last);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static int watch(struct run *run, ior_id id)
{
    int number = -4711;
    if (!lives(run, id) || !taken(run, ior_changes_add(run->cx, id, run->dir, IOR_CHANGE_CREATED, &number))) {
        assert_int_equal(number, -4711);
        return 0;
    }
    return number;
}

static void changes(struct run *run)
{
    ior_id id = 0;
    memset(&dir, 0, sizeof(dir));
    run->on_event = note_change;
    ask(run);
    int answer = ior_changes_open(run->cx, NULL, &id);
    id = given(run, answer, id);
    dir.watch = watch(run, id);
    if (dir.watch > 0) {
        create(run, '1');
        create(run, '2');
        until(run, id, dir.created == 2);
    }
    if (dir.watch > 0 && lives(run, id)) {
        create(run, '3');
        assert_int_equal(ior_changes_remove(run->cx, id, dir.watch), 0);
        unsigned until_now = dir.created; /* nothing more of it */
        probe_turns(run->p, 2);
        assert_int_equal(dir.created, until_now);
    }
    id = again(run, id);
    unsigned told = dir.created;
    dir.watch = watch(run, id);
    if (dir.watch > 0) {
        create(run, '4');
        until(run, id, dir.created > told);
    }
    so_far(run);
}

/* ---- fds ---- */

static struct {
    int kept, peer;
    unsigned told, lost;
} came;

static void take_first(struct run *run, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_FDS)
        return;
    came.told += ev->fds->count;
    came.lost += ev->fds->lost;
    if (came.kept < 0 && ev->fds->count > 0)
        came.kept = ior_take_fd(run->cx, ev, 0);
}

static void fds(struct run *run)
{
    struct ior_credentials who;
    int pair[2], own[3];
    ior_id id = 0;
    came.kept = -1;
    came.told = came.lost = 0;
    run->on_event = take_first;
    make(own, 3);
    net_unix_pair(pair);
    net_nonblock(pair[1]);
    ask(run);
    int answer = ior_adopt(run->cx, pair[0], PROBE_STREAM(.receive_fds = true), &id);
    id = given(run, answer, id);
    if (id == 0)
        net_close(&pair[0]);
    else
        tell(pair[1], "hello", own, 3);
    until(run, id, res(run, id)->bytes == 5);
    want(run, came.told == 3 && came.lost == 0 && came.kept >= 0);
    if (lives(run, id) && taken(run, ior_peer_credentials(run->cx, id, &who)))
        assert_int_equal(who.pid, getpid());
    id = again(run, id);
    for (int i = 0; i < 3 && lives(run, id); i++) {
        size_t open = net_fd_count();
        if (!taken(run, ior_send_fds(run->cx, id, "twice", 5, own, 2)))
            assert_int_equal(net_fd_count(), open);
        if (i == 0)
            until(run, id, ior_queued(run->cx, id) == 0);
    }
    so_far(run);
    done_with(own, 3);
    came.peer = pair[1];
}

static void fds_leave(struct run *run)
{
    (void)run;
    (void)shutdown(came.peer, SHUT_WR);
}

/* Each set came whole and once, with the bytes it was sent with. */
static void fds_over(struct run *run)
{
    while (hear(came.peer))
        continue;
    assert_true(got.n % 2 == 0 && got.n <= 6 && got.len <= 15);
    (void)run;
    for (size_t i = 0; i < got.n; i++)
        assert_true(got.from[i] <= i / 2 * 5 && i / 2 * 5 < got.to[i]);
    forget();
    net_close(&came.peer);
    if (came.kept >= 0)
        net_close(&came.kept);
}

const struct scene real_devices[] = {
    {.name = "terminals", .play = terminals, .over = terminals_over},
    {.name = "changes", .play = changes, .packets = true},
    {.name = "fds", .play = fds, .leave = fds_leave, .over = fds_over},
    {.name = NULL},
};
