/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting: the ways that end with OPEN, and the others. */
#include <errno.h>

#include "torture.h"

enum { CONNECTS = 6 };

/* A client that speaks first and reads the answers. */
static void converse(struct run *run, const char *addr, bool here)
{
    struct service *s = t_service(run, NULL);
    struct peer *listener = here ? t_serve_here(run, addr) : t_serve(run, addr);
    struct peer *peers[CONNECTS] = {NULL};
    ior_id ids[CONNECTS];
    int n = 0;
    if (s == NULL)
        return;
    for (int i = 0; i < CONNECTS; i++)
        ids[i] = t_connect(s, addr, T_STREAM(.connect_ns = 5 * SEC, .keep_alive = true));
    for (int tries = 0; tries < 100 && n < CONNECTS; tries++) {
        t_pass(run, 10 * MS);
        struct peer *peer = t_pick(run, listener);
        if (peer != NULL)
            peers[n++] = peer;
    }
    t_want(run, n == CONNECTS);
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < CONNECTS; i++)
            if (t_alive(s, ids[i]) && t_res(s, ids[i])->open)
                (void)t_ok(run, t_send(s, ids[i], 200));
        for (int i = 0; i < n; i++)
            t_say(peers[i], 100);
        t_pass(run, 10 * MS);
    }
    for (int i = 0; i < n; i++)
        t_until(run, peers[i]->heard == 8 * 200);
    for (int i = 0; i < CONNECTS; i++)
        t_until(run, t_in(s, ids[i]) == 8 * 100);
    for (int i = 0; i < CONNECTS; i++)
        (void)t_ok(run, t_close(s, ids[i], SEC));
    for (int i = 0; i < n; i++)
        t_until(run, peers[i]->eof);
    for (int i = 0; i < n; i++)
        t_hang_up(peers[i]);
    for (int i = 0; i < CONNECTS; i++)
        t_until(run, t_ended(s, ids[i], IOR_ASKED, 0));
}

static void connect_tcp(struct run *run)
{
    converse(run, "10.0.0.2:80", false);
}

static void connect_unix(struct run *run)
{
    converse(run, "unix:/run/server", true);
}

/* Nobody listens: END with the cause, or for a Unix path the answer of the request. */
static void connect_refused(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct ior_addr addr;
    ior_id ids[8], unix_id = 0;
    if (s == NULL)
        return;
    for (int i = 0; i < 8; i++)
        ids[i] = t_connect(s, i % 2 == 0 ? "10.0.0.2:81" : "[fd00::2]:81", T_STREAM(.user_size = 16));
    s->keep = true;
    for (int i = 0; i < 8; i++)
        t_until(run, t_ended(s, ids[i], IOR_ERROR, ECONNREFUSED));
    for (int i = 0; i < 4; i++) { /* what was refused stays so, wherever it is registered again */
        ior_id again = t_register(s, t_handed(s, ids[i]), NULL);
        t_until(run, t_ended(s, again, IOR_ERROR, ECONNREFUSED));
    }
    (void)ior_sim_path(run->sim, run->here, "/run/nobody", true);
    for (int i = 0; i < 4; i++) {
        (void)ior_addr_parse(&addr, i % 2 == 0 ? "unix:/run/nobody" : "unix:/run/nothing");
        size_t count = ior_count(s->cx);
        uint32_t fds = ior_sim_open_fds(run->sim, run->here);
        int answer = ior_connect(s->cx, &addr, NULL, &unix_id);
        t_want(run, answer == (i % 2 == 0 ? -ECONNREFUSED : -ENOENT));
        if (answer >= 0 || unix_id != 0 || ior_count(s->cx) != count || ior_sim_open_fds(run->sim, run->here) != fds)
            complain(run, "a connect that was refused at once left something");
    }
}

/* Nobody answers: the service's limit comes first, or the system's. */
static void connect_timeout(struct run *run)
{
    struct service *s = t_service(run, NULL);
    ior_id ids[6];
    if (s == NULL)
        return;
    (void)ior_sim_cut(run->sim, run->here, run->there);
    for (int i = 0; i < 6; i++)
        ids[i] = t_connect(s, "10.0.0.2:80", i == 5 ? NULL : T_STREAM(.connect_ns = (uint64_t)(i + 1) * SEC));
    t_pass(run, 10 * MS);
    for (int i = 0; i < 6; i++)
        if (t_alive(s, ids[i]))
            t_want(run, t_send(s, ids[i], 10) == -ENOTCONN);
    if (t_alive(s, ids[1]))
        (void)t_ok(run, t_deadline(s, ids[1], IOR_DEADLINE_CONNECT, 3 * SEC));
    if (t_alive(s, ids[2]))
        (void)t_ok(run, t_close(s, ids[2], SEC)); /* as unregister */
    t_pass(run, 10 * SEC);
    for (int i = 0; i < 5; i++)
        t_want(run, i == 2 ? t_ended(s, ids[i], IOR_ASKED, 0) : t_ended(s, ids[i], IOR_TIMEOUT, ETIMEDOUT));
    t_pass(run, 200 * SEC);
    t_want(run, t_ended(s, ids[5], IOR_ERROR, ETIMEDOUT));
}

/* Connects end while they are under way: unregister, abort, stop. */
static void connect_and_leave(struct run *run)
{
    struct service *s = t_service(run, NULL);
    ior_id ids[9];
    if (s == NULL)
        return;
    (void)t_serve(run, "10.0.0.2:80");
    for (int i = 0; i < 9; i++) {
        ids[i] = t_connect(s, "10.0.0.2:80", NULL);
        if (i % 3 == 0 && ids[i] != 0)
            (void)t_ok(run, t_unregister(s, ids[i]));
    }
    t_pass(run, 20000);
    for (int i = 1; i < 9; i += 3)
        if (t_alive(s, ids[i]))
            (void)t_abort(s, ids[i]);
    t_pass(run, 10 * MS);
    for (int i = 2; i < 9; i += 3)
        t_want(run, t_alive(s, ids[i]) && t_res(s, ids[i])->open);
}

/* The server accepts and resets: what it said before is told first, where it arrived. */
static void connect_then_reset(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *listener = t_serve(run, "10.0.0.2:80");
    ior_id ids[6];
    if (s == NULL)
        return;
    for (int i = 0; i < 6; i++) {
        ids[i] = t_connect(s, "10.0.0.2:80", NULL);
        t_pass(run, 10 * MS);
        struct peer *peer = t_pick(run, listener);
        t_say(peer, 1000);
        t_pass(run, 10 * MS);
        if (t_alive(s, ids[i]) && t_res(s, ids[i])->open)
            (void)t_ok(run, t_send(s, ids[i], 500));
        t_pass(run, 10 * MS);
        t_reset(peer);
        t_until(run, t_ended(s, ids[i], IOR_ERROR, ECONNRESET));
        t_want(run, t_in(s, ids[i]) == 1000);
    }
}

const struct scenario torture_connect[] = {
    {"connect_tcp", connect_tcp},
    {"connect_unix", connect_unix},
    {"connect_refused", connect_refused},
    {"connect_timeout", connect_timeout},
    {"connect_leave", connect_and_leave},
    {"connect_reset", connect_then_reset},
    {NULL, NULL},
};
