/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners and what they accept. */
#include <errno.h>

#include "torture.h"

/* Peers that talk to an echo in rounds, and finish. */
static void talk(struct run *run, struct service *s, struct peer **peers, int n, int rounds, size_t len)
{
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < n; i++)
            t_say(peers[i], len + (size_t)round);
        t_pass(run, 10 * MS);
    }
    for (int i = 0; i < n; i++)
        t_until(run, peers[i]->heard == peers[i]->said);
    for (int i = 0; i < n; i++)
        t_finish(peers[i]);
    for (int i = 0; i < n; i++)
        t_until(run, peers[i]->eof);
    for (int i = 0; i < n; i++)
        t_want(run, t_ended(s, t_nth(s, (size_t)i + 1), IOR_EOF, 0));
}

static void echo_at(struct run *run, const char *listen, const char *dial, bool here)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[4];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    if (t_listen(s, listen, NULL) == 0)
        return;
    for (int i = 0; i < 4; i++)
        peers[i] = here ? t_dial_here(run, dial) : t_dial(run, dial);
    talk(run, s, peers, 4, 12, 300);
}

static void echo_tcp(struct run *run)
{
    echo_at(run, "0.0.0.0:7000", "10.0.0.1:7000", false);
}

static void echo_tcp6(struct run *run)
{
    echo_at(run, "[::]:7000", "[fd00::1]:7000", false);
}

static void echo_unix(struct run *run)
{
    echo_at(run, "unix:/run/echo", "unix:/run/echo", true);
}

/* A socket that a dead process left behind is replaced; the path is gone in the end. */
static void stale_path(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[2];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    (void)ior_sim_path(run->sim, run->here, "/run/stale", true);
    ior_id id = t_listen(s, "unix:/run/stale", T_LISTEN(.unix_mode = 0600));
    if (id == 0)
        return;
    for (int i = 0; i < 2; i++)
        peers[i] = t_dial_here(run, "unix:/run/stale");
    talk(run, s, peers, 2, 10, 100);
    (void)t_unregister(s, id);
    t_pass(run, 10 * MS);
    t_want(run, !ior_sim_path_exists(run->sim, run->here, "/run/stale"));
    /* A plain file is left alone. */
    (void)ior_sim_path(run->sim, run->here, "/run/file", false);
    struct ior_addr addr;
    id = 0;
    (void)ior_addr_parse(&addr, "unix:/run/file");
    t_want(run, ior_listen(s->cx, &addr, NULL, &id) == -EADDRINUSE);
    if (id != 0 || !ior_sim_path_exists(run->sim, run->here, "/run/file"))
        complain(run, "a plain file was taken for a stale socket");
}

/* More connections than one turn accepts, all at once; they are hung up at once, too. */
static void burst(struct run *run)
{
    struct service *s = t_service(run, T_CONFIG(.accepts = 4));
    struct peer *peers[24];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    ior_id id = t_listen(s, "0.0.0.0:7000", NULL);
    if (id == 0)
        return;
    for (int i = 0; i < 24; i++) {
        peers[i] = t_dial(run, "10.0.0.1:7000");
        t_say(peers[i], 50);
    }
    for (int i = 0; i < 24; i++)
        t_until(run, peers[i]->heard == 50);
    t_want(run, t_res(s, id)->accepts == 24);
    for (int i = 0; i < 24; i++)
        t_hang_up(peers[i]);
    t_until(run, ior_count(s->cx) == 1);
}

/* Out of fds: the listener tells it once, waits, and goes on when there are some again. */
static void out_of_fds(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[8];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    if (t_listen(s, "0.0.0.0:7000", NULL) == 0)
        return;
    t_pass(run, MS);
    (void)ior_sim_max_fds(run->sim, run->here, ior_sim_open_fds(run->sim, run->here) + 2);
    for (int i = 0; i < 8; i++) {
        peers[i] = t_dial(run, "10.0.0.1:7000");
        t_say(peers[i], 50);
    }
    t_pass(run, 2 * SEC);
    t_want(run, s->errors > 0);
    t_want(run, ior_count(s->cx) == 3);
    (void)ior_sim_max_fds(run->sim, run->here, 0);
    talk(run, s, peers, 8, 5, 60);
}

/* Nobody answers ACCEPTED: the runtime closes them. */
static void refuse(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[10];
    if (s == NULL)
        return;
    ior_id id = t_listen(s, "0.0.0.0:7000", NULL);
    for (int i = 0; i < 10; i++)
        peers[i] = t_dial(run, "10.0.0.1:7000");
    for (int i = 0; i < 10; i++)
        t_until(run, peers[i]->eof);
    t_want(run, id != 0 && t_res(s, id)->accepts == 10);
}

/* A listener that pauses, and connections that are gone before they are accepted. */
static void pause_listener(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[12];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    ior_id id = t_listen(s, "0.0.0.0:7000", NULL);
    if (id == 0)
        return;
    (void)t_ok(run, t_pause(s, id));
    for (int i = 0; i < 12; i++) {
        peers[i] = t_dial(run, "10.0.0.1:7000");
        t_say(peers[i], 20);
    }
    t_pass(run, 100 * MS);
    t_want(run, t_res(s, id)->accepts == 0);
    for (int i = 6; i < 9; i++)
        t_reset(peers[i]);
    for (int i = 9; i < 12; i++)
        t_finish(peers[i]);
    t_pass(run, 100 * MS);
    (void)t_ok(run, t_resume(s, id));
    for (int i = 0; i < 6; i++)
        t_until(run, peers[i]->heard == 20);
    for (int i = 9; i < 12; i++)
        t_until(run, peers[i]->eof && peers[i]->heard == 20);
    (void)t_close(s, id, 0);
    t_pass(run, 10 * MS);
    struct peer *late = t_dial(run, "10.0.0.1:7000");
    t_until(run, late->error == ECONNREFUSED);
    for (int i = 0; i < 6; i++)
        t_finish(peers[i]);
    for (int i = 0; i < 6; i++)
        t_until(run, peers[i]->eof);
}

/* The address is in use, several listeners share one, a port of the system's choice. */
static void addresses(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct ior_addr addr, local;
    ior_id id = 0;
    if (s == NULL)
        return;
    s->on_event = t_echo;
    (void)t_listen(s, "0.0.0.0:7000", NULL);
    (void)ior_addr_parse(&addr, "0.0.0.0:7000");
    t_want(run, ior_listen(s->cx, &addr, NULL, &id) == -EADDRINUSE);
    if (id != 0)
        t_res_new(s, id);
    for (int i = 0; i < 2; i++)
        (void)t_listen(s, "10.0.0.1:7001", T_LISTEN(.reuse_port = true));
    (void)t_listen(s, "[::]:7002", T_LISTEN(.v6_only = true));
    (void)t_listen(s, "0.0.0.0:7002", T_LISTEN(.backlog = 1));
    ior_id any = t_listen(s, "10.0.0.1:0", NULL);
    if (any != 0 && t_ok(run, ior_local(s->cx, any, &local)))
        t_want(run, ior_addr_port(&local) > 0);
    struct peer *peers[5] = {t_dial(run, "10.0.0.1:7000"), t_dial(run, "10.0.0.1:7001"), t_dial(run, "10.0.0.1:7001"),
                             t_dial(run, "[fd00::1]:7002"), t_dial(run, "10.0.0.1:7002")};
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 5; i++)
            t_say(peers[i], 100);
        t_pass(run, 10 * MS);
    }
    for (int i = 0; i < 5; i++)
        t_until(run, peers[i]->heard == 400);
}

const struct scenario torture_accept[] = {
    {"echo_tcp", echo_tcp},   {"echo_tcp6", echo_tcp6},
    {"echo_unix", echo_unix}, {"stale_path", stale_path},
    {"burst", burst},         {"out_of_fds", out_of_fds},
    {"refuse", refuse},       {"pause_listener", pause_listener},
    {"addresses", addresses}, {NULL, NULL},
};
