/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the random service asks for. Each request's answer is checked against what is known: a stale id answers -ENOENT
 * and changes nothing, a send that is refused has changed nothing, and nothing is refused without a reason.
 */
#include "story.h"

/* ---- whom to ask about ---- */

static struct reg *some_reg(struct story *s, bool ended)
{
    for (unsigned tries = 0; tries < 6 && s->regs_n > 0; tries++) {
        unsigned recent = s->regs_n < 24 ? s->regs_n : 24;
        struct reg *reg = &s->regs[s->regs_n - 1 - pick(s, recent)];
        if (service_usable(reg->service) && (ended ? reg->gone : !reg->told_end))
            return reg;
    }
    return NULL;
}

static bool transports(const struct reg *reg)
{
    return reg->conn->kind == KIND_STREAM || reg->conn->kind == KIND_OWN;
}

/* A request about a live resource succeeded, or the resource is ending. */
static bool done(struct reg *reg, int r, const char *what)
{
    struct story *s = reg->service->s;
    NOTE(s, "  %s %#llx: %s", what, (unsigned long long)reg->id, ior_errname(r));
    CHECK(s, 2, !reg->asked || r == -EALREADY, "%s after unregister answers %s", what, ior_errname(r));
    CHECK(s, 3, r != -ENOENT, "%s of a resource whose END is to come answers ENOENT", what);
    return r >= 0;
}

/* ---- sending ---- */

static void send_answer(struct reg *reg, size_t len, uint64_t before, int r, bool file)
{
    struct story *s = reg->service->s;
    struct conn *conn = reg->conn;
    uint64_t after = ior_queued(reg->service->cx, reg->id);
    bool crowded = reg->service->rt->config.output_cap_bytes > 0 || conn->files || conn->shared || file;
    bool gone = reg->finish || conn->was_finished || conn->connecting || reg->closing || reg->asked ||
                (reg->told_eof && !conn->half_open) || s->harsh > 0 || s->plan.faults || s->plan.memory > 0 ||
                reg->service->rt->stopping || reg->service->line;
    NOTE(s, "  send %zu to %#llx (%llu queued): %s", len, (unsigned long long)reg->id, (unsigned long long)before,
         r > 0 ? "full" : ior_errname(r));
    reg->wrote = true;
    if (before <= conn->low)
        reg->full = false; /* it has fallen so far, and DRAINED waits for still more room */
    if (r < 0) {
        CHECK(s, 5, after == before, "a send that answers %s has changed the queue from %llu to %llu", ior_errname(r),
              (unsigned long long)before, (unsigned long long)after);
        if (r == -ENOBUFS) {
            reg->owed = true;
            CHECK(s, 5, crowded || before + len > conn->cap, "a send is refused below the cap");
        } else if (r == -EMSGSIZE) {
            CHECK(s, 5, crowded || len > conn->cap, "a send of %zu bytes is too large for a cap of %zu", len,
                  conn->cap);
        } else if (r == -ENOTCONN) {
            CHECK(s, 5, conn->connecting, "a send to an open stream answers ENOTCONN");
        } else if (r == -EPIPE) {
            CHECK(s, 5, gone || ASK(s, ior_touch(reg->service->cx, reg->id)) == -EALREADY,
                  "a send is refused with EPIPE, and nobody finished");
        } else {
            CHECK(s, 5, (r == -ENOMEM && s->plan.memory > 0) || (file && s->plan.faults), "a send answers %s",
                  ior_errname(r));
        }
        return;
    }
    CHECK(s, 5, !reg->finish && !reg->closing && !reg->asked, "a send is taken after the end");
    conn->out->total += len;
    conn->files |= file;
    CHECK(s, 5, after == before + len, "a send of %zu bytes has changed the queue from %llu to %llu", len,
          (unsigned long long)before, (unsigned long long)after);
    if (!conn->files) {
        CHECK(s, 5, after <= conn->cap, "the queue holds %llu bytes, over its cap of %zu", (unsigned long long)after,
              conn->cap);
        CHECK(s, 5, (r == 1) == (after > conn->high), "a send answers %d with %llu bytes queued and a mark of %zu", r,
              (unsigned long long)after, conn->high);
    }
    if (r == 1)
        reg->owed = reg->full = true;
}

static void released(void *arg)
{
    struct story *s = arg;
    CHECK(s, 13, !s->in_request, "a buffer is released inside a request");
    CHECK(s, 14, s->buffers > 0, "a buffer is released twice");
    s->buffers--;
}

/* A buffer around the pattern from an offset on; many may share it. */
static struct shared *shared_buf(struct story *s)
{
    struct shared *shared = &s->shared[pick(s, SHARED)];
    if (shared->buf && !once_in(s, 6))
        return shared;
    if (shared->buf) {
        struct ior_buf *old = shared->buf;
        shared->buf = NULL;
        ior_buf_unref(old);
    }
    shared->offset = (uint32_t)pick(s, PERIOD);
    shared->len = 1 + pick(s, once_in(s, 2) ? PERIOD : 40);
    void *bytes = (void *)(uintptr_t)pattern_at(shared->offset);
    shared->buf = once_in(s, 2) ? ior_buf_copy(bytes, shared->len) : ior_buf_wrap(bytes, shared->len, released, s);
    if (shared->buf && ior_buf_bytes(shared->buf) == bytes)
        s->buffers++;
    return shared->buf ? shared : NULL;
}

static int send_plain(struct service *service, struct reg *reg, size_t len)
{
    struct story *s = service->s;
    unsigned char bytes[12 * 1024];
    struct flow *out = reg->conn->out;
    flow_fill(out, out->total, bytes, len);
    uint64_t before = ior_queued(service->cx, reg->id);
    int r;
    if (once_in(s, 4) && len > 3) {
        size_t at = 1 + pick(s, len - 2);
        struct iovec iov[3] = {
            {.iov_base = bytes, .iov_len = at},
            {.iov_base = NULL, .iov_len = 0},
            {.iov_base = bytes + at, .iov_len = len - at},
        };
        r = ASK(s, ior_sendv(service->cx, reg->id, iov, 3));
    } else {
        r = ASK(s, ior_send(service->cx, reg->id, bytes, len));
    }
    send_answer(reg, len, before, r, false);
    return r;
}

static void send_shared(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    struct shared *shared = shared_buf(s);
    if (!shared)
        return;
    struct flow *out = reg->conn->out;
    size_t gap = (shared->offset + PERIOD - flow_offset(out, out->total)) % PERIOD;
    if (out->total < HEAD && gap < HEAD)
        gap += PERIOD;
    if (gap > 0 && send_plain(service, reg, gap) < 0)
        return;
    uint64_t before = ior_queued(service->cx, reg->id);
    reg->conn->shared = true;
    send_answer(reg, shared->len, before, ASK(s, ior_send_buf(service->cx, reg->id, shared->buf)), false);
}

static void send_file(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    struct flow *out = reg->conn->out;
    int host = service->rt->host;
    int fd = s->files[host - 1];
    if (out->total < HEAD || fd <= 0 || !s->plan.files)
        return;
    size_t len = 1 + pick(s, once_in(s, 3) ? PERIOD : 300);
    uint64_t before = ior_queued(service->cx, reg->id);
    uint64_t offset = flow_offset(out, out->total);
    send_answer(reg, len, before, ASK(s, ior_send_file(service->cx, reg->id, fd, offset, len)), true);
}

void send_some(struct service *service, struct reg *reg)
{
    static const unsigned most[] = {40, 400, 3000, 12 * 1024};
    struct story *s = service->s;
    if (!transports(reg) || reg->conn->pipe_in || reg->told_end)
        return;
    uint64_t how = pick(s, 10);
    if (how == 9)
        send_shared(service, reg);
    else if (how == 8)
        send_file(service, reg);
    else
        (void)send_plain(service, reg, 1 + pick(s, most[s->plan.flood ? 3 : pick(s, 4)]));
}

/* What a service says when it stops must still arrive. */
void send_at_stop(struct service *service)
{
    struct story *s = service->s;
    for (unsigned i = 0; i < s->regs_n; i++) {
        struct reg *reg = &s->regs[i];
        if (reg->service == service && !reg->told_end && reg->conn->peer && transports(reg) && !reg->conn->pipe_in &&
            once_in(s, 2))
            (void)send_plain(service, reg, 1 + pick(s, 3000));
    }
}

/* ---- registering ---- */

/* Why a new resource may be refused. */
static void registered_or(struct service *service, int r, const char *what)
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

static void connect_to(struct service *service)
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
static void adopt(struct service *service, bool own)
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

static void watch(struct service *service)
{
    struct story *s = service->s;
    struct conn *conn = conn_new(s, KIND_WATCH, service->rt->host);
    if (!conn)
        return;
    struct ior_sim_peer *none = NULL;
    int fd = ior_sim_fd(s->sim, conn->host, IOR_FD_OTHER, &none);
    conn->fd = fd;
    conn->interest = 1 + (unsigned)pick(s, 3);
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

/* ---- ends ---- */

/* Who may end what: in calm stories only in order. */
static void end_it(struct service *service, struct reg *reg)
{
    static const uint64_t drains[] = {60 * IOR_NS_PER_SEC, IOR_NEVER, IOR_NS_PER_SEC, 2 * IOR_NS_PER_MS, 0};
    struct story *s = service->s;
    struct conn *conn = reg->conn;
    bool calm = s->plan.calm;
    uint64_t how = pick(s, 4);
    if (calm && conn->kind == KIND_LISTENER)
        return;
    if (how == 0 && transports(reg)) {
        uint64_t drain_ns = drains[pick(s, calm ? 2 : 5)];
        bool at_once;
        if (done(reg, ASK(s, ior_close(service->cx, reg->id, drain_ns)), "close")) {
            at_once = ASK(s, ior_touch(service->cx, reg->id)) == -EALREADY;
            reg->closing = conn->was_finished = true;
            reg->asked |= at_once;
            reg->paused = reg->owed = false;
            reg->at_ns[IOR_DEADLINE_DRAIN] = ior_time_add(now(s), drain_ns);
            inlet_loose(&conn->in);
            conn->in.blind |= conn->kind == KIND_OWN;
            if (at_once)
                s->harsh++;
        }
    } else if (how == 1 && conn->kind == KIND_STREAM) {
        if (done(reg, ASK(s, ior_finish(service->cx, reg->id)), "finish"))
            reg->finish = conn->was_finished = true;
    } else if (how == 2 && !calm && transports(reg)) {
        if (done(reg, ASK(s, ior_abort(service->cx, reg->id)), "abort")) {
            reg->asked = true;
            conn_loose(conn);
            s->harsh++;
        }
    } else if (how == 3) {
        if (done(reg, ASK(s, ior_unregister(service->cx, reg->id)), "unregister")) {
            reg->asked = true;
            if (!service->handler.handover_transport)
                s->harsh++;
        }
    }
}

static void pause_or_resume(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    if (reg->paused ? pick(s, 2) == 0 : pick(s, 3) == 2) {
        if (done(reg, ASK(s, ior_resume(service->cx, reg->id)), "resume"))
            reg->paused = false;
    } else if (done(reg, ASK(s, ior_pause(service->cx, reg->id)), "pause") && !reg->closing) {
        reg->paused = true;
    }
}

/* All that is asked of a resource that is gone answers -ENOENT. */
static void ask_stale(struct service *service, const struct reg *reg)
{
    struct story *s = service->s;
    ior_id id = reg->id;
    int r = 0;
    switch (pick(s, 8)) {
    case 0:
        r = ASK(s, ior_unregister(service->cx, id));
        break;
    case 1:
        r = ASK(s, ior_send(service->cx, id, "stale", 5));
        break;
    case 2:
        r = ASK(s, ior_close(service->cx, id, 0));
        break;
    case 3:
        r = ASK(s, ior_pause(service->cx, id));
        break;
    case 4:
        r = ASK(s, ior_abort(service->cx, id));
        break;
    case 5:
        r = ASK(s, ior_deadline(service->cx, id, IOR_DEADLINE_USER, 1));
        break;
    case 6:
        r = ASK(s, ior_resume(service->cx, id));
        break;
    default:
        r = ASK(s, ior_finish(service->cx, id));
        break;
    }
    CHECK(s, 3, r == -ENOENT, "a stale id answers %s", ior_errname(r));
}

/* ---- inside events ---- */

void act_accept(struct service *service, struct reg *reg, const struct ior_event *ev)
{
    struct story *s = service->s;
    const struct conn *listener = reg->conn;
    uint64_t how = pick(s, 10);
    struct conn *conn = how == 9 && !s->plan.calm ? NULL : conn_new(s, KIND_STREAM, listener->host);
    if (!conn) {
        s->harsh++; /* it is closed */
        return;
    }
    conn->high = listener->high;
    conn->low = listener->low;
    conn->cap = listener->cap;
    conn->unread_max = listener->unread_max;
    conn->half_open = listener->half_open;
    conn->full_reads = listener->full_reads;
    conn->idle_ns = listener->idle_ns;
    conn->drain_ns = listener->drain_ns;
    conn->socket = true;
    if (how == 8) {
        conn->res = ior_take(service->cx, ev);
        NOTE(s, "  take: %s", conn->res ? "ok" : "NULL");
        CHECK(s, 1, conn->res || s->plan.memory > 0, "ior_take answers NULL");
        conn->live = conn->res != NULL;
        if (conn->live)
            conn->user = conn->res->user;
        else
            s->harsh++;
        return;
    }
    ior_id id;
    int r = ASK(s, ior_accept(service->cx, ev, &id));
    registered_or(service, r, "accept");
    if (r < 0 || !reg_new(service, conn, id)) {
        conn->live = false;
        s->harsh++;
        return;
    }
    if (may_answer(s, 3))
        send_some(service, conn->reg);
}

void act_data(struct service *service, struct reg *reg, size_t len)
{
    struct story *s = service->s;
    struct conn *conn = reg->conn;
    for (unsigned times = 0; conn->kind == KIND_STREAM && !s->ending && times < 2 && once_in(s, 6); times++) {
        size_t back = pick(s, (once_in(s, 2) ? len : len < 20 ? len : 20) + 1);
        int r = ASK(s, ior_unread(service->cx, reg->id, back));
        NOTE(s, "  unread %zu of %zu: %s", back, len, ior_errname(r));
        if (r < 0) {
            CHECK(s, 4,
                  (r == -EMSGSIZE && back > conn->unread_max) || (r == -ENOMEM && s->plan.memory > 0) ||
                      (r == -EALREADY && reg->asked),
                  "ior_unread answers %s", ior_errname(r));
            break;
        }
        conn->consumed = conn->consumed + conn->held - back;
        conn->held = back;
        reg->gave_back = true;
        if (conn->in.flow)
            conn->in.flow->heard = conn->consumed;
    }
    if (may_answer(s, 5))
        send_some(service, reg);
}

void act_ready(struct service *service, struct reg *reg, unsigned ready)
{
    struct story *s = service->s;
    struct conn *conn = reg->conn;
    (void)ready;
    uint64_t how = pick(s, 4);
    if (how == 3 && ASK(s, ior_interest(service->cx, reg->id, IOR_NONE)) == 0) {
        conn->interest = IOR_NONE;
        return;
    }
    if (how < 2 || s->ending)
        (void)ior_sim_ready(s->sim, conn->fd, IOR_NONE);
}

void act_handover(struct service *service, struct conn *conn)
{
    struct story *s = service->s;
    const struct reg *reg = conn->reg;
    bool clean =
        reg->why == IOR_EOF || (reg->why == IOR_ASKED && reg->closing && !reg->asked) || reg->why == IOR_TIMEOUT;
    uint64_t what = pick(s, 6);
    if (conn->own && (conn->own->kept > 0 || conn->own->eof))
        conn_loose(conn); /* it has read more than it told, and may never be asked again */
    if (s->in_free || s->ending || (what == 0 && (clean || !s->plan.calm)) || conn->kind == KIND_WATCH) {
        conn_free(s, conn);
        return;
    }
    if (what < 3 || conn->res->fd < 0)
        return; /* kept for later */
    for (unsigned tries = 0; tries < 3; tries++) {
        struct service *to = what == 5 ? service_any(s) : service;
        if (to && to->rt->host == conn->host) {
            (void)conn_register(to, conn);
            return;
        }
    }
}

/* ---- any ---- */

static void bag_act(struct story *s)
{
    for (unsigned i = s->conns_n; i-- > 0;) {
        struct conn *conn = &s->conns[i];
        if (!conn->live || !conn->res || (conn->reg && !conn->reg->gone) || !once_in(s, 2))
            continue;
        struct service *to = service_any(s);
        bool was_clean = conn->reg && conn->reg->why == IOR_EOF;
        if ((was_clean || !s->plan.calm) && once_in(s, 4))
            conn_free(s, conn);
        else if (to && to->rt->host == conn->host && conn->res->fd >= 0)
            (void)conn_register(to, conn);
        return;
    }
}

static void watch_act(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    struct conn *conn = reg->conn;
    if (once_in(s, 2)) {
        if (!conn->lost)
            (void)ior_sim_ready(s->sim, conn->fd, (unsigned)pick(s, 16));
        return;
    }
    unsigned io = (unsigned)pick(s, 4);
    if (done(reg, ASK(s, ior_interest(service->cx, reg->id, io)), "interest"))
        conn->interest = io;
}

static void ask_new(struct service *service)
{
    struct story *s = service->s;
    switch (pick(s, 8)) {
    case 0:
    case 1:
    case 2:
        connect_to(service);
        break;
    case 3:
        adopt(service, false);
        break;
    case 4:
        if (s->plan.own)
            adopt(service, true);
        break;
    case 5:
        watch(service);
        break;
    case 6:
        listen_at(service);
        break;
    default:
        if (once_in(s, 3))
            service_attach(service);
        break;
    }
}

static void ask_known(struct story *s)
{
    struct reg *reg = some_reg(s, false);
    if (!reg)
        return;
    struct service *service = reg->service;
    if (reg->conn->kind == KIND_WATCH) {
        watch_act(service, reg);
        return;
    }
    switch (pick(s, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        send_some(service, reg);
        break;
    case 6:
    case 7:
        pause_or_resume(service, reg);
        break;
    case 8:
    case 9:
        deadline_act(service, reg);
        break;
    case 10:
        (void)done(reg, ASK(s, ior_touch(service->cx, reg->id)), "touch");
        break;
    default:
        end_it(service, reg);
        break;
    }
}

void act_any(struct story *s, struct service *service)
{
    if (!service)
        service = service_any(s);
    if (!service || s->ending)
        return;
    uint64_t what = pick(s, 16);
    if (what < 9) {
        ask_known(s);
    } else if (what < 11) {
        ask_new(service);
    } else if (what < 13) {
        timer_act(service);
    } else if (what == 13) {
        command_send(s, 0);
    } else if (what == 14) {
        const struct reg *reg = some_reg(s, true);
        if (reg)
            ask_stale(reg->service, reg);
    } else {
        bag_act(s);
    }
}
