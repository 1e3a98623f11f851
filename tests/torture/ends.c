/* SPDX-License-Identifier: Apache-2.0 */
/* Ends: closing, aborting, shutting down, and freeing what still runs. */
#include <errno.h>

#include "torture.h"

static struct service *with_streams(struct run *run, int n, ior_id *ids, struct peer **peers)
{
    struct service *s = t_service(run, NULL);
    for (int i = 0; s != NULL && i < n; i++) {
        ids[i] = t_adopt(s, i % 2 == 0 ? IOR_FD_TCP : IOR_FD_UNIX, NULL, &peers[i]);
        peers[i]->manual = false;
    }
    if (s != NULL)
        t_pass(run, MS);
    return s;
}

/* Flush, half-close, read and discard until the peer finishes. */
static void close_drains(struct run *run)
{
    enum { N = 6 };
    struct peer *peers[N];
    ior_id ids[N];
    struct service *s = with_streams(run, N, ids, peers);
    if (s == NULL)
        return;
    for (int i = 0; i < N; i++) {
        t_say(peers[i], 5000);
        if (!t_alive(s, ids[i]))
            continue;
        (void)t_ok(run, t_send(s, ids[i], 40000));
        (void)t_ok(run, t_close(s, ids[i], 10 * SEC));
        t_want(run, t_send(s, ids[i], 1) == -EPIPE);
    }
    for (int i = 0; i < N; i++)
        t_until(run, peers[i]->heard == 40000 && peers[i]->eof);
    for (int i = 0; i < N; i++) {
        t_say(peers[i], 3000);
        t_pass(run, MS);
        t_finish(peers[i]);
    }
    for (int i = 0; i < N; i++) {
        t_until(run, t_ended(s, ids[i], IOR_ASKED, 0));
        t_want(run, t_res(s, ids[i])->unread == 8000 - t_in(s, ids[i]) && t_res(s, ids[i])->unsent == 0);
    }
}

/* Peers that never finish, or never read: the deadline ends it. */
static void close_times_out(struct run *run)
{
    enum { N = 6 };
    struct peer *peers[N];
    ior_id ids[N];
    struct service *s = with_streams(run, N, ids, peers);
    if (s == NULL)
        return;
    for (int i = 0; i < N; i++) {
        peers[i]->manual = i < 3;
        for (int part = 0; part < 4 && t_alive(s, ids[i]); part++)
            (void)t_ok(run, t_send(s, ids[i], 25000));
        if (t_alive(s, ids[i]))
            (void)t_ok(run, t_close(s, ids[i], 10 * SEC));
        t_pass(run, 100 * MS);
        if (i % 3 == 1 && ids[i] != 0)
            (void)t_ok(run, t_close(s, ids[i], SEC)); /* sooner */
        if (i % 3 == 2 && ids[i] != 0)
            (void)t_ok(run, t_deadline(s, ids[i], IOR_DEADLINE_DRAIN, 20 * SEC)); /* later */
    }
    t_pass(run, 60 * SEC);
    for (int i = 0; i < N; i++)
        t_want(run, t_ended(s, ids[i], IOR_TIMEOUT, ETIMEDOUT));
}

/* Resets, with output queued and input unread. */
static void aborts(struct run *run)
{
    enum { N = 8 };
    struct peer *peers[N];
    ior_id ids[N];
    struct service *s = with_streams(run, N, ids, peers);
    if (s == NULL)
        return;
    for (int i = 0; i < N; i++) {
        peers[i]->manual = true;
        for (int part = 0; part < i && part < 6 && t_alive(s, ids[i]); part++)
            (void)t_ok(run, t_send(s, ids[i], 20000));
        t_say(peers[i], 100);
        if (i % 3 == 0)
            t_pass(run, MS);
        if (t_alive(s, ids[i]))
            (void)t_ok(run, i % 4 == 3 ? t_unregister(s, ids[i]) : t_abort(s, ids[i]));
    }
    t_pass(run, 10 * MS);
    for (int i = 0; i < N; i++) {
        t_want(run, t_ended(s, ids[i], IOR_ASKED, 0));
        peers[i]->manual = false;
        (void)t_hear(peers[i], SIZE_MAX);
        t_until(run, peers[i]->eof || peers[i]->error != 0);
    }
}

/* Stops with output queued: it is flushed first. */
static void stop_flushes(struct run *run)
{
    enum { N = 6 };
    struct peer *peers[N];
    ior_id ids[N];
    struct service *s = with_streams(run, N, ids, peers);
    if (s == NULL)
        return;
    (void)t_listen(s, "0.0.0.0:7000", NULL);
    (void)t_connect(s, "10.0.0.2:99", NULL);
    (void)t_timer(s, 100 * SEC);
    for (int i = 0; i < N; i++) {
        peers[i]->manual = true;
        for (int part = 0; part < 3 && t_alive(s, ids[i]); part++)
            (void)t_ok(run, t_send(s, ids[i], 30000));
    }
    t_pass(run, MS);
    t_stop(s, 30 * SEC);
    struct ior_addr addr;
    ior_id id = 0;
    (void)ior_addr_parse(&addr, "0.0.0.0:7001");
    t_pass(run, 100 * MS);
    if (!s->gone && !ior_sim_ended(run->sim, s->rt, NULL) && ior_listen(s->cx, &addr, NULL, &id) != -ESHUTDOWN)
        complain(run, "a listener was made while the runtime stops");
    for (int i = 0; i < N; i++) {
        peers[i]->manual = i == 0;
        if (i > 0)
            (void)t_hear(peers[i], SIZE_MAX);
    }
    for (int i = 1; i < N; i++)
        t_until(run, peers[i]->heard == 90000 && peers[i]->eof);
    t_pass(run, 60 * SEC);
    t_want(run, ior_sim_ended(run->sim, s->rt, NULL));
    for (int i = 0; i < N; i++)
        t_want(run, ids[i] != 0 && t_res(s, ids[i])->why == IOR_SHUTDOWN);
    t_want(run, ids[0] != 0 && t_res(s, ids[0])->unsent > 0);
}

/* Requests before the first turn, and a stop before it. */
static void stop_before_run(struct run *run)
{
    for (int way = 0; way < 4; way++) {
        struct service *s = t_service(run, NULL);
        struct peer *peer = NULL;
        if (s == NULL)
            return;
        s->on_event = t_echo;
        (void)t_listen(s, "0.0.0.0:7000", NULL);
        (void)t_connect(s, "10.0.0.2:80", NULL);
        ior_id id = t_adopt(s, IOR_FD_TCP, NULL, &peer);
        (void)t_timer(s, 0);
        if (id != 0)
            (void)t_ok(run, t_send(s, id, 100));
        if (way % 2 == 0)
            t_stop(s, way == 0 ? 0 : SEC);
        if (way != 1)
            t_pass(run, 2 * SEC);
        t_free(s); /* way 1: it never ran */
    }
}

/* A runtime that is freed in the midst of everything. */
static void free_at_once(struct run *run)
{
    enum { N = 6 };
    struct peer *peers[N];
    ior_id ids[N];
    struct service *s = with_streams(run, N, ids, peers);
    if (s == NULL)
        return;
    s->on_event = t_echo;
    (void)t_listen(s, "unix:/run/free", T_LISTEN(.unix_mode = 0700));
    for (int i = 0; i < 4; i++)
        t_say(t_dial_here(run, "unix:/run/free"), 500);
    for (int i = 0; i < N; i++) {
        peers[i]->manual = i < 2;
        t_say(peers[i], 100);
        if (t_alive(s, ids[i]))
            (void)t_ok(run, t_send(s, ids[i], 70000));
    }
    t_pass(run, MS);
    if (t_alive(s, ids[3]))
        (void)t_close(s, ids[3], SEC);
    if (t_alive(s, ids[4]))
        (void)t_pause(s, ids[4]);
    (void)t_connect(s, "10.0.0.2:99", NULL);
    t_free(s);
    t_pass(run, MS);
    for (int i = 2; i < N; i++)
        t_until(run, peers[i]->eof || peers[i]->error != 0);
    if (ior_sim_path_exists(run->sim, run->here, "/run/free") && run->strict)
        complain(run, "the path of a freed listener is left");
}

const struct scenario torture_ends[] = {
    {"close_drains", close_drains},
    {"close_times_out", close_times_out},
    {"aborts", aborts},
    {"stop_flushes", stop_flushes},
    {"stop_before_run", stop_before_run},
    {"free_at_once", free_at_once},
    {NULL, NULL},
};
