/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups of names, and dialling: the world's names are known at once or after a while, on the loop. */
#include <errno.h>

#include "torture.h"

static void know_names(struct run *run)
{
    static const char *const both[] = {"[fd00::2]:1", "10.0.0.2:1"}, *const lost[] = {"[fd00::99]:1", "10.0.0.2:1"};
    struct ior_sim *sim = run->sim;
    if (ior_sim_name(sim, "server", both, 2, 0, 20 * MS) < 0 || ior_sim_name(sim, "lost", lost, 2, 0, 0) < 0 ||
        ior_sim_name(sim, "broken", NULL, 0, EAGAIN, 30 * MS) < 0 || ior_sim_name(sim, "slow", both, 2, 0, 5 * SEC) < 0)
        complain(run, "no names");
}

static void lookups(struct run *run)
{
    struct service *s = t_service(run, NULL);
    if (s == NULL)
        return;
    know_names(run);
    ior_id known = t_resolve(s, "server", 0), address = t_resolve(s, "10.0.0.9", 0),
           unknown = t_resolve(s, "nobody", 0), broken = t_resolve(s, "broken", 0), late = t_resolve(s, "slow", SEC),
           paused = t_resolve(s, "server", 0), gone = t_resolve(s, "slow", 0);
    if (paused != 0)
        (void)t_ok(run, t_pause(s, paused));
    t_pass(run, 100 * MS);
    if (t_alive(s, paused))
        (void)t_ok(run, t_resume(s, paused));
    (void)t_ok(run, t_unregister(s, gone));
    t_until(run, t_ended(s, known, IOR_EOF, 0) && t_ended(s, paused, IOR_EOF, 0) && t_ended(s, address, IOR_EOF, 0));
    t_until(run, t_ended(s, unknown, IOR_ERROR, ENOENT) && t_ended(s, broken, IOR_ERROR, EAGAIN));
    t_until(run, t_ended(s, late, IOR_TIMEOUT, ETIMEDOUT) && t_ended(s, gone, IOR_ASKED, 0));
    t_want(run, t_res(s, known)->resolved == 1 && t_res(s, paused)->resolved == 1 && t_res(s, address)->resolved == 1);
    (void)t_resolve(s, "slow", 0); /* the end calls it off */
}

/* The first address refuses, or says nothing; the second one answers. Some are called off, at any stage. */
static void dial(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *listener = t_serve(run, "10.0.0.2:80"), *peers[2] = {NULL, NULL};
    int n = 0;
    if (s == NULL)
        return;
    know_names(run);
    const ior_id ids[] = {t_dial_name(s, "server", 5 * SEC), t_dial_name(s, "lost", 5 * SEC)};
    ior_id nobody = t_dial_name(s, "nobody", 5 * SEC), late = t_dial_name(s, "slow", SEC),
           at_lookup = t_dial_name(s, "slow", 0);
    for (int tries = 0; tries < 100 && n < 2; tries++) {
        t_pass(run, 10 * MS);
        struct peer *peer = t_pick(run, listener);
        if (peer != NULL)
            peers[n++] = peer;
        if (tries == 1)
            (void)t_ok(run, t_unregister(s, at_lookup));
    }
    t_want(run, n == 2);
    for (int i = 0; i < 2; i++) {
        t_until(run, t_res(s, ids[i])->open);
        if (t_alive(s, ids[i]) && t_res(s, ids[i])->open)
            (void)t_ok(run, t_send(s, ids[i], 300));
    }
    for (int i = 0; i < n; i++)
        t_say(peers[i], 200);
    for (int i = 0; i < 2; i++)
        t_until(run, t_in(s, ids[i]) == 200);
    for (int i = 0; i < n; i++)
        t_until(run, peers[i]->heard == 300);
    t_until(run, t_ended(s, nobody, IOR_ERROR, ENOENT) && t_ended(s, late, IOR_TIMEOUT, ETIMEDOUT));
    t_want(run, t_ended(s, at_lookup, IOR_ASKED, 0));
    ior_id racing = t_dial_name(s, "lost", 0); /* with one attempt under way */
    t_pass(run, 100 * MS);
    (void)t_ok(run, t_unregister(s, racing));
    for (int i = 0; i < 2; i++)
        (void)t_ok(run, t_close(s, ids[i], SEC));
    for (int i = 0; i < n; i++)
        t_hang_up(peers[i]);
    t_until(run, t_ended(s, ids[0], IOR_ASKED, 0) && t_ended(s, ids[1], IOR_ASKED, 0));
    (void)t_dial_name(s, "lost", 0); /* the end calls it off */
    t_pass(run, 300 * MS);
}

const struct scenario torture_names[] = {{"lookups", lookups}, {"dial", dial}, {NULL, NULL}};
