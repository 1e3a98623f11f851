/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes a resource: listens, connects, adopts, watches, own kinds, and what is registered again or freed. */
#include "story.h"

/* Why a new resource may be refused. */
void registered_or(struct service *service, int r, const char *what)
{
    struct story *s = service->s;
    bool ending = service->line || service->rt->stopping || service->rt->over;
    NOTE(s, "  %s: %s", what, ior_errname(r));
    if (r == -ESHUTDOWN) {
        CHECK(s, 9, ending, "%s answers ESHUTDOWN, and nobody asked to stop", what);
        return;
    }
    CHECK(s, 9, r < 0 || !service->line || service->soft_line, "%s is taken by a service that is being stopped", what);
    if (r >= 0)
        return;
    bool excused = s->plan.faults || s->plan.memory > 0 || (r == -ENOSPC && service->rt->config.max_resources > 0) ||
                   r == -EADDRINUSE || r == -ECONNREFUSED || r == -EAGAIN || r == -EADDRNOTAVAIL || r == -ENETUNREACH ||
                   r == -EHOSTUNREACH || r == -EBADF || r == -ENOENT ||
                   (r == -ENOBUFS && service->rt->config.output_cap_bytes > 0) || (r == -EEXIST && s->plan.steals);
    CHECK(s, 1, excused, "%s answers %s", what, ior_errname(r));
}

static void stream_options_of(struct conn *conn, const struct ior_stream_options *opts, const struct runtime *rt)
{
    conn->high = opts->high_bytes ? opts->high_bytes : IOR_HIGH_BYTES_DEFAULT;
    conn->low = opts->low_bytes ? opts->low_bytes : conn->high / 4;
    conn->unread_max = opts->unread_max_bytes ? opts->unread_max_bytes : IOR_UNREAD_MAX_BYTES_DEFAULT;
    conn->cap = opts->cap_bytes ? opts->cap_bytes : conn->high + rt->config.read_bytes + conn->unread_max;
    conn->half_open = opts->half_open;
    conn->full_reads = opts->read_when_full;
    conn->idle_ns = opts->idle_ns;
    conn->connect_ns = opts->connect_ns;
    conn->drain_ns = opts->drain_ns ? opts->drain_ns : IOR_DRAIN_NS_DEFAULT;
}

void listen_at(struct service *service)
{
    struct story *s = service->s;
    struct conn *conn = conn_new(s, KIND_LISTENER, service->rt->host);
    if (!conn)
        return;
    unsigned number = (unsigned)(conn - s->conns);
    if (s->plan.unix_only || once_in(s, 3))
        snprintf(conn->addr, sizeof(conn->addr), "unix:/l%u", number);
    else
        snprintf(conn->addr, sizeof(conn->addr), "10.0.0.%d:%u", conn->host, 7000 + number);
    struct ior_addr addr;
    ior_id id;
    CHECK(s, 1, ior_addr_parse(&addr, conn->addr) == 0, "ior_addr_parse fails");
    struct ior_listen_options opts = {.struct_size = sizeof(opts), .user = conn};
    plan_stream(s, &opts.stream, false);
    opts.stream.user = conn;
    if (once_in(s, 6))
        opts.backlog = 1 + (int)pick(s, 3);
    stream_options_of(conn, &opts.stream, service->rt);
    conn->user_size = opts.stream.user_size;
    conn->user = conn;
    int r = ASK(s, ior_listen(service->cx, &addr, &opts, &id));
    registered_or(service, r, "listen");
    if (r < 0 || !reg_new(service, conn, id))
        conn->live = r == 0;
}

void connect_to(struct service *service)
{
    struct story *s = service->s;
    int host = service->rt->host;
    const char *text = peer_address(s, host);
    char nowhere[40];
    if (!text || once_in(s, 12)) {
        snprintf(nowhere, sizeof(nowhere), "10.0.0.%u:%u", (unsigned)(1 + pick(s, HOSTS + 1)), 1u);
        text = nowhere;
    }
    struct conn *conn = conn_new(s, KIND_STREAM, host);
    if (!conn)
        return;
    struct ior_addr addr;
    ior_id id;
    CHECK(s, 1, ior_addr_parse(&addr, text) == 0, "ior_addr_parse fails");
    struct ior_stream_options opts;
    plan_stream(s, &opts, true);
    opts.user = conn;
    stream_options_of(conn, &opts, service->rt);
    conn->connecting = conn->socket = true;
    NOTE(s, "  connect to %s", text);
    int r = ASK(s, ior_connect(service->cx, &addr, &opts, &id));
    registered_or(service, r, "connect");
    if (r == 0) {
        (void)reg_new(service, conn, id);
        return;
    }
    conn->live = false;
    s->harsh++; /* the connection may have been made, and closed again */
}

static void fd_refused(struct story *s, struct conn *conn, int fd)
{
    conn->live = false;
    conn_loose(conn);
    s->harsh++;
    (void)ior_sim_close(s->sim, fd);
}

/* Streams and own kinds around an fd of ours. */
void adopt(struct service *service, bool own)
{
    static const int kinds[] = {IOR_FD_UNIX, IOR_FD_TCP, IOR_FD_PIPE | IOR_FD_NO_WRITE, IOR_FD_PIPE | IOR_FD_NO_READ};
    struct story *s = service->s;
    if (s->conns_n == CONNS || s->flows_n + 2 >= FLOWS || s->owns_n == OWNS)
        return;
    int kind = kinds[pick(s, 4)];
    struct peer *peer = NULL;
    int fd = peer_fd(s, service->rt->host, kind, &peer);
    if (fd < 0)
        return;
    struct conn *conn = conn_new(s, own ? KIND_OWN : KIND_STREAM, service->rt->host);
    conn->fd = fd;
    conn->socket = (kind & IOR_FD_KIND_MASK) != IOR_FD_PIPE;
    conn->tcp = kind == IOR_FD_TCP;
    conn->pipe_in = (kind & IOR_FD_NO_WRITE) != 0;
    conn->pipe_out = (kind & IOR_FD_NO_READ) != 0;
    conn->peer = peer;
    peer->conn = conn;
    conn->in.flow = peer->out;
    peer->out->receiver = &conn->in;
    peer->in.flow = conn->out;
    conn->out->receiver = &peer->in;
    ior_id id;
    int r;
    if (own) {
        struct ior_stream_options none = {.struct_size = sizeof(none)};
        stream_options_of(conn, &none, service->rt);
        conn->idle_ns = 0;
        const struct ior_os *os = ior_context_os(service->cx);
        (void)os->set_nonblock(os->arg, fd, true);
        (void)own_new(service, conn, fd, conn->socket);
        r = ASK(s, ior_register(service->cx, conn->res, &id));
    } else {
        struct ior_stream_options opts;
        plan_stream(s, &opts, false);
        opts.user = conn;
        stream_options_of(conn, &opts, service->rt);
        r = ASK(s, ior_adopt(service->cx, fd, &opts, &id));
    }
    registered_or(service, r, own ? "register an own kind" : "adopt");
    if (r == 0 && reg_new(service, conn, id))
        return;
    if (r < 0) {
        conn->res = NULL;
        fd_refused(s, conn, fd);
    }
}

void watch(struct service *service)
{
    struct story *s = service->s;
    struct conn *conn = conn_new(s, KIND_WATCH, service->rt->host);
    if (!conn)
        return;
    struct ior_sim_peer *none = NULL;
    int fd = ior_sim_fd(s->sim, conn->host, IOR_FD_OTHER, &none);
    conn->fd = fd;
    static const unsigned interests[] = {IOR_READ, IOR_WRITE, IOR_READ | IOR_WRITE};
    conn->interest = interests[pick(s, 3)];
    ior_id id;
    int r = ASK(s, ior_watch(service->cx, fd, conn->interest, conn, &id));
    registered_or(service, r, "watch");
    if (r < 0) {
        conn->live = false;
        (void)ior_sim_close(s->sim, fd);
    } else {
        (void)reg_new(service, conn, id);
    }
}

/* One that was handed back, or taken, goes on. */
int conn_register(struct service *service, struct conn *conn)
{
    struct story *s = service->s;
    ior_id id;
    if (s->regs_n > REGS - 24 || conn->spells++ > 8)
        return -ENOSPC;
    int r = ASK(s, ior_register(service->cx, conn->res, &id));
    registered_or(service, r, "register again");
    if (r < 0)
        return r;
    if (!reg_new(service, conn, id))
        CHECK(s, 3, false, "too many registrations");
    conn->reg->full = conn->out && ior_queued(service->cx, id) > conn->high;
    return 0;
}

void conn_free(struct story *s, struct conn *conn)
{
    struct ior_resource *res = conn->res;
    int fd = conn->kind == KIND_WATCH ? conn->fd : -1;
    uint64_t unsent = conn->out ? ior_resource_unsent(res, NULL, 0, NULL) : 0;
    conn_freed(s, conn, unsent);
    ior_resource_free(res);
    if (fd >= 0 && !conn->lost)
        (void)ior_sim_close(s->sim, fd);
}
