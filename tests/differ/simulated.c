/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated world: one host, whose own connections take no time, as those of loopback. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "differ.h"

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct world *w = arg;
    if (w->complaint[0] == '\0')
        (void)snprintf(w->complaint, sizeof(w->complaint), "%s: %s", ior_sim_violation_name(what), text);
}

static void on_trace(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

static void sim_open(struct world *w)
{
    struct ior_sim_config config = {.struct_size = sizeof(config),
                                    .shape = w->shape,
                                    .seed = w->program->seed,
                                    .violation = on_violation,
                                    .violation_arg = w};
    if (w->verbose)
        config.trace = on_trace;
    if (ior_sim_new(&config, &w->sim) < 0)
        abort(); /* main asked for the shape */
    w->host = ior_sim_host(w->sim, "host");
    (void)snprintf(w->service_tcp, sizeof(w->service_tcp), "127.0.0.1:7000");
    (void)snprintf(w->peer_tcp, sizeof(w->peer_tcp), "127.0.0.1:7001");
    (void)snprintf(w->nobody_tcp, sizeof(w->nobody_tcp), "127.0.0.1:7002");
    (void)snprintf(w->service_unix, sizeof(w->service_unix), "unix:/run/service");
    (void)snprintf(w->peer_unix, sizeof(w->peer_unix), "unix:/run/peer");
    (void)snprintf(w->nobody_unix, sizeof(w->nobody_unix), "unix:/run/nobody");
    w->sim_tcp = ior_sim_serve(w->sim, w->host, w->peer_tcp);
    w->sim_unix = ior_sim_serve(w->sim, w->host, w->peer_unix);
    (void)ior_sim_path(w->sim, w->host, "/run/nobody", true);
    (void)ior_sim_runtime_new(w->sim, w->host, NULL, &differ_handler, w, &w->rt);
}

static void sim_close(struct world *w)
{
    for (int i = 0; i < MAX_CONNS; i++)
        if (w->conns[i].peer != NULL)
            ior_sim_peer_free(w->conns[i].peer);
    (void)ior_sim_close(w->sim, w->file);
    (void)ior_sim_free(w->sim);
}

static int sim_step(struct world *w, bool wait)
{
    (void)wait;
    ior_sim_settle(w->sim);
    return ior_sim_ended(w->sim, w->rt, NULL) ? 0 : 1;
}

static int sim_pair(struct conn *c)
{
    static const int kinds[HOWS] = {[ADOPT_TCP] = IOR_FD_TCP,
                                    [ADOPT_UNIX] = IOR_FD_UNIX,
                                    [ADOPT_PIPE_IN] = IOR_FD_PIPE | IOR_FD_NO_WRITE,
                                    [ADOPT_PIPE_OUT] = IOR_FD_PIPE | IOR_FD_NO_READ};
    return ior_sim_fd(c->world->sim, c->world->host, kinds[c->plan->how], &c->peer);
}

static void sim_close_fd(struct world *w, int fd)
{
    (void)ior_sim_close(w->sim, fd);
}

static void sim_dial(struct conn *c, const char *addr)
{
    c->peer = ior_sim_dial(c->world->sim, c->world->host, addr);
}

static bool sim_pick_up(struct conn *c)
{
    c->peer = ior_sim_pick_up(c->plan->how == CONNECT_TCP ? c->world->sim_tcp : c->world->sim_unix);
    return c->peer != NULL;
}

static ssize_t sim_hear(struct conn *c, void *bytes, size_t len)
{
    if (c->world->rt == NULL)
        ior_sim_settle(c->world->sim);
    ssize_t n = ior_sim_hear(c->peer, bytes, len);
    return n == -EPIPE ? 0 : n; /* a reset behind a FIN: peers are told, who reads a socket sees the FIN */
}

static size_t sim_say(struct conn *c, const void *bytes, size_t len)
{
    return ior_sim_say(c->peer, bytes, len) == 0 ? len : 0;
}

static void sim_finish(struct conn *c)
{
    ior_sim_finish(c->peer);
}

static void sim_hang_up(struct conn *c)
{
    ior_sim_hang_up(c->peer);
}

static void sim_reset(struct conn *c)
{
    ior_sim_reset(c->peer);
}

static int sim_file(struct world *w, const void *bytes, size_t len)
{
    return ior_sim_file(w->sim, w->host, bytes, len);
}

const struct backend backend_sim = {
    .open = sim_open,
    .close = sim_close,
    .step = sim_step,
    .pair = sim_pair,
    .close_fd = sim_close_fd,
    .dial = sim_dial,
    .pick_up = sim_pick_up,
    .hear = sim_hear,
    .say = sim_say,
    .finish = sim_finish,
    .hang_up = sim_hang_up,
    .reset = sim_reset,
    .file = sim_file,
};
