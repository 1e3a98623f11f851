/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bound addresses, and how connections come to them. A SYN travels, finds a listener with room in its backlog, and the
 * new end waits there to be accepted while the answer travels back. Over a full backlog it is tried again, as TCP does,
 * until the connect times out; over Unix sockets connect answers at once.
 */
#include "world.h"

#include <string.h>

#define PORT_FIRST 32768u
#define PORT_LAST 60999u
#define RETRY_MOST 6u

/* ---- binding ---- */

static bool same_place(const struct where *a, const struct where *b)
{
    return a->any || b->any || a->loop == b->loop;
}

static bool families_meet(const struct listener *a, const struct listener *b)
{
    if (a->where.family == b->where.family)
        return true;
    const struct listener *six = a->where.family == FAMILY_V6 ? a : b;
    return six->where.any && !six->v6_only;
}

static bool conflict(const struct listener *a, const struct listener *b)
{
    if (a->is_datagram != b->is_datagram || a->where.host != b->where.host || a->where.port != b->where.port ||
        a->where.family == FAMILY_UNIX || b->where.family == FAMILY_UNIX || !families_meet(a, b) ||
        !same_place(&a->where, &b->where))
        return false;
    return !(a->reuse_port && b->reuse_port) && !(a->reuse_addr && b->reuse_addr && !a->listening && !b->listening);
}

static bool taken(const struct ior_sim *sim, const struct listener *bound)
{
    for (uint32_t i = 0; i < sim->bounds_n; i++) {
        if (conflict(bound, sim->bounds[i]))
            return true;
    }
    return false;
}

uint32_t ior__port_for(struct ior_sim *sim, uint32_t host)
{
    struct host *at = sim->hosts[host - 1];
    uint32_t port = at->next_port;
    at->next_port = port == PORT_LAST ? PORT_FIRST : port + 1;
    return port;
}

static int bind_unix(struct ior_sim *sim, struct listener *bound)
{
    if (bound->where.path == 0)
        return -EINVAL;
    struct path *path = ior__path_at(sim, bound->where.path);
    if (path->exists)
        return -EADDRINUSE;
    ior__path_make(sim, path, true);
    path->bound = bound;
    return 0;
}

static int bind_tcp(struct ior_sim *sim, struct listener *bound)
{
    uint32_t tries = 0;
    bool chosen = bound->where.port != 0;
    if (bound->where.host == 0)
        return -EADDRNOTAVAIL;
    do {
        if (!chosen)
            bound->where.port = (uint16_t)ior__port_for(sim, bound->where.host);
        if (!taken(sim, bound))
            return 0;
    } while (!chosen && ++tries <= PORT_LAST - PORT_FIRST);
    return -EADDRINUSE;
}

int ior__bound_new(struct ior_sim *sim, uint32_t host, struct where *where, const struct listener *like,
                   struct listener **ret)
{
    struct listener *bound = ior__mem_new(sizeof(*bound));
    *bound = *like;
    bound->where = *where;
    if (where->host != host)
        bound->where.host = 0;
    int err = where->family == FAMILY_UNIX ? bind_unix(sim, bound) : bind_tcp(sim, bound);
    if (err < 0) {
        ior__mem_free(bound);
        return err;
    }
    sim->bounds = ior__mem_room(sim->bounds, sim->bounds_n, &sim->bounds_room, sizeof(struct listener *));
    bound->place = sim->bounds_n;
    sim->bounds[sim->bounds_n++] = bound;
    *where = bound->where;
    *ret = bound;
    return 0;
}

static void forget_path(struct ior_sim *sim, const struct listener *bound)
{
    if (bound->where.family != FAMILY_UNIX)
        return;
    struct path *path = ior__path_at(sim, bound->where.path);
    if (path->bound != bound)
        return;
    path->bound = NULL;
    if (path->name[0] == '@')
        path->exists = false;
}

void ior__bound_free(struct ior_sim *sim, struct listener *bound)
{
    bound->listening = false;
    for (struct end *end; (end = ior__listener_next(sim, bound)) != NULL;)
        ior__end_close(sim, end, true);
    forget_path(sim, bound);
    struct listener *last = sim->bounds[--sim->bounds_n];
    sim->bounds[bound->place] = last;
    last->place = bound->place;
    ior__mem_free(bound->queue);
    ior__mem_free(bound);
}

/* ---- the queue of connections that wait to be accepted ---- */

static void queue_add(struct listener *listener, struct ref ref)
{
    if (listener->queue_len == listener->queue_room) {
        uint32_t room = listener->queue_room ? listener->queue_room * 2 : 8;
        struct ref *queue = ior__mem_new(room * sizeof(struct ref));
        for (uint32_t i = 0; i < listener->queue_len; i++)
            queue[i] = listener->queue[(listener->queue_head + i) % listener->queue_room];
        ior__mem_free(listener->queue);
        listener->queue = queue;
        listener->queue_room = room;
        listener->queue_head = 0;
    }
    listener->queue[(listener->queue_head + listener->queue_len++) % listener->queue_room] = ref;
}

struct end *ior__listener_next(struct ior_sim *sim, struct listener *listener)
{
    while (listener->queue_len > 0) {
        struct ref ref = listener->queue[listener->queue_head];
        listener->queue_head = (listener->queue_head + 1) % listener->queue_room;
        listener->queue_len--;
        struct end *end = ior__end_at(sim, ref);
        if (end)
            return end;
    }
    return NULL;
}

static bool is_full(const struct listener *listener)
{
    return listener->queue_len > listener->backlog;
}

static void queue_changed(struct ior_sim *sim, struct listener *listener)
{
    if (listener->is_peers)
        ior__peer_changed(sim, listener->owner, IOR_READ);
    else
        ior__watches_look(listener->owner, sim);
}

/* The end that waits to be accepted, for a client. To be followed by queue_changed, which may end it. */
static struct end *new_server(struct ior_sim *sim, struct listener *listener, struct end *client,
                              const struct where *to)
{
    struct end *server = ior__end_new(sim, (enum end_kind)client->kind, to->host);
    server->local = *to;
    server->remote = client->local;
    if (listener->where.family == FAMILY_V6 && to->family == FAMILY_V4) {
        server->local.family = server->remote.family = FAMILY_V6;
        server->local.mapped = server->remote.mapped = true;
    }
    ior__end_pair(sim, client, server);
    queue_add(listener, server->self);
    return server;
}

/* ---- connecting ---- */

/* How well a listener fits an address: 0: not. */
static int fits(const struct listener *listener, const struct where *to)
{
    const struct where *at = &listener->where;
    if (!listener->listening || at->host != to->host || at->port != to->port || at->family == FAMILY_UNIX)
        return 0;
    if (at->family != to->family && !(at->family == FAMILY_V6 && at->any && !listener->v6_only))
        return 0;
    if (at->any)
        return at->family == to->family ? 2 : 1;
    return at->loop == to->loop ? 3 : 0;
}

/* The best one; one of several that share the address is chosen. */
static struct listener *find(struct ior_sim *sim, const struct where *to)
{
    int best = 0;
    uint64_t count = 0;
    for (uint32_t i = 0; i < sim->bounds_n; i++) {
        int fit = fits(sim->bounds[i], to);
        count = fit > best ? 1 : fit == best && fit > 0 ? count + 1 : count;
        best = fit > best ? fit : best;
    }
    if (best == 0)
        return NULL;
    uint64_t chosen = ior_sim_choose(sim, count);
    for (uint32_t i = 0; i < sim->bounds_n; i++) {
        if (fits(sim->bounds[i], to) == best && chosen-- == 0)
            return sim->bounds[i];
    }
    return NULL;
}

static int connect_unix(struct ior_sim *sim, struct end *end, const struct where *to)
{
    if (to->path == 0)
        return -ECONNREFUSED;
    const struct path *path = ior__path_at(sim, to->path);
    if (!path->exists)
        return path->name[0] == '@' ? -ECONNREFUSED : -ENOENT;
    if (path->is_socket && path->bound && path->bound->is_datagram)
        return -EPROTOTYPE;
    if (!path->is_socket || !path->bound || !path->bound->listening)
        return -ECONNREFUSED;
    if (is_full(path->bound))
        return -EAGAIN;
    end->remote = *to;
    new_server(sim, path->bound, end, to);
    queue_changed(sim, path->bound);
    return 0;
}

static void send_syn(struct ior_sim *sim, struct end *end, uint64_t after_ns, uint32_t tries)
{
    ior__calendar_add(sim, ior_time_add(sim->now_ns, after_ns),
                      (struct due){.what = DUE_SYN, .a = end->self, .b = end->self, .n = tries});
}

static int connect_at_once(struct ior_sim *sim, struct end *end)
{
    struct listener *listener = find(sim, &end->remote);
    if (listener && is_full(listener))
        return -EINPROGRESS;
    if (!listener) {
        end->state = END_NEW;
        return -ECONNREFUSED;
    }
    new_server(sim, listener, end, &end->remote);
    queue_changed(sim, listener);
    return 0;
}

int ior__end_connect(struct ior_sim *sim, struct end *end, const struct where *to, bool now)
{
    if (to->family == FAMILY_UNIX)
        return connect_unix(sim, end, to);
    if (to->host == 0)
        return -ENETUNREACH;
    end->remote = *to;
    end->remote.loop = to->loop || to->any;
    end->remote.any = false;
    if (end->local.port == 0)
        end->local.port = (uint16_t)ior__port_for(sim, end->host);
    end->local.family = to->family;
    end->local.host = end->host;
    end->local.any = false;
    end->local.loop = end->remote.loop;
    end->local.mapped = to->mapped;
    end->link = ior__link_between(sim, end->host, to->host);
    end->limit = end->link->is.buffer_bytes;
    end->conn = ++sim->conns;
    end->state = END_CONNECTING;
    if (now && to->host == end->host && end->link->is.latency_ns == 0 && !ior__link_is_cut(sim, end->link)) {
        int answer = connect_at_once(sim, end);
        if (answer != -EINPROGRESS)
            return answer;
    }
    send_syn(sim, end, end->link->is.latency_ns, 0);
    return -EINPROGRESS;
}

/* A SYN arrives at a host. */
void ior__listener_syn(struct ior_sim *sim, const struct due *due)
{
    struct end *client = ior__end_at(sim, due->a);
    if (!client || client->state != END_CONNECTING || client->vanished)
        return;
    if (ior__link_is_cut(sim, client->link)) {
        ior__end_hold(sim, client);
        ior__calendar_hold(sim, due);
        return;
    }
    ior__trace_net(sim, "syn", client, due->n, 0);
    struct listener *listener = find(sim, &client->remote);
    if (listener && listener->vanished) {
        ior__end_hold(sim, client);
    } else if (!listener) {
        ior__calendar_add(sim, sim->now_ns + client->link->is.latency_ns,
                          (struct due){.what = DUE_REFUSED, .a = client->self});
    } else if (is_full(listener)) {
        if (due->n == 0)
            ior__end_hold(sim, client);
        send_syn(sim, client, IOR_NS_PER_SEC << (due->n < RETRY_MOST ? due->n : RETRY_MOST), due->n + 1);
    } else {
        client->held = 0;
        struct end *server = new_server(sim, listener, client, &client->remote);
        client->state = END_CONNECTING;
        server->last_ns = sim->now_ns + server->link->is.latency_ns;
        server->flying++;
        ior__calendar_add(sim, server->last_ns,
                          (struct due){.what = DUE_SYN_ACK, .a = client->self, .b = server->self});
        queue_changed(sim, listener);
    }
}

void ior__listener_syn_ack(struct ior_sim *sim, const struct due *due)
{
    struct end *client = ior__end_at(sim, due->a);
    struct end *server = ior__end_at(sim, due->b);
    const struct link *link = client ? client->link : server ? server->link : NULL;

    if (ior__link_is_cut(sim, link)) {
        if (server)
            ior__end_hold(sim, server);
        ior__calendar_hold(sim, due);
        return;
    }
    if (server && server->flying > 0)
        server->flying--;
    if (!client && server) {
        ior__calendar_add(sim, sim->now_ns + server->link->is.latency_ns,
                          (struct due){.what = DUE_RESET, .a = server->self});
    } else if (client && client->state == END_CONNECTING) {
        ior__trace_net(sim, "open", client, 0, 0);
        client->state = END_OPEN;
        ior__end_changed(sim, client, IOR_WRITE);
    }
}
