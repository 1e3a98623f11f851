/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a resource as the promises say it: what may be told when, what the counts must be at the end, and that
 * nothing is owed to anybody once all is quiet.
 */
#include "story.h"

/* ---- what is known of ours ---- */

struct conn *conn_new(struct story *s, enum kind kind, int host)
{
    if (s->conns_n == CONNS)
        return NULL;
    struct conn *conn = &s->conns[s->conns_n];
    *conn = (struct conn){.kind = kind, .live = true, .host = host, .fd = -1};
    if (kind == KIND_STREAM || kind == KIND_OWN) {
        conn->out = flow_new(s);
        if (!conn->out)
            return NULL;
    }
    s->conns_n++;
    return conn;
}

void conn_loose(struct conn *conn)
{
    if (conn->out)
        conn->out->loose = true;
    inlet_loose(&conn->in);
}

void conn_freed(struct story *s, struct conn *conn, uint64_t unsent)
{
    const struct reg *reg = conn->reg;
    bool clean = reg && unsent == 0 && (reg->why == IOR_EOF || (reg->why == IOR_ASKED && reg->closing && !reg->asked));
    conn->live = false;
    conn->res = NULL;
    conn->reg = NULL;
    if (conn->own)
        conn->own->live = false;
    if (conn->out)
        conn->out->total -= unsent;
    if (clean)
        return;
    conn_loose(conn);
    if (conn->kind != KIND_WATCH)
        s->harsh++;
}

struct reg *reg_find(const struct runtime *rt, ior_id id)
{
    struct reg *reg = id >> 40 < SLOTS ? rt->slots[id >> 40] : NULL;
    while (reg && reg->id != id)
        reg = reg->same_slot;
    return reg;
}

static void idle_begins(struct story *s, struct reg *reg)
{
    reg->idle_ns = reg->conn->idle_ns;
    reg->at_ns[IOR_DEADLINE_IDLE] = ior_time_add(now(s), reg->idle_ns);
}

/* A request registered a resource. */
struct reg *reg_new(struct service *service, struct conn *conn, ior_id id)
{
    struct story *s = service->s;
    struct runtime *rt = service->rt;
    CHECK(s, 3, id != 0 && (id & 15) == 0, "the id %#llx is none", (unsigned long long)id);
    CHECK(s, 3, !reg_find(rt, id), "the id %#llx was given out twice", (unsigned long long)id);
    if (s->regs_n == REGS || id >> 40 >= SLOTS)
        return NULL;
    struct reg *reg = &s->regs[s->regs_n++];
    *reg = (struct reg){.conn = conn, .service = service, .id = id, .quiet_ns = now(s)};
    for (int i = 0; i < 4; i++)
        reg->at_ns[i] = IOR_NEVER;
    reg->same_slot = rt->slots[id >> 40];
    rt->slots[id >> 40] = reg;
    conn->reg = reg;
    conn->res = NULL;
    service->live++;
    if (!conn->user)
        conn->user = ior_user(service->cx, id);
    reg->idle_ns = IOR_NEVER;
    if (conn->connecting && conn->connect_ns > 0)
        reg->at_ns[IOR_DEADLINE_CONNECT] = ior_time_add(now(s), conn->connect_ns);
    if (!conn->connecting && conn->kind == KIND_STREAM && conn->idle_ns > 0)
        idle_begins(s, reg);
    reg->wrote = conn->out != NULL;
    NOTE(s, "  registered %#llx, flow %d", (unsigned long long)id, conn->out ? conn->out->number : -1);
    mix(s, id);
    return reg;
}

/* ---- what is told ---- */

struct reg *oracle_registered(struct service *service, ior_id id)
{
    struct story *s = service->s;
    struct reg *reg = reg_find(service->rt, id);
    CHECK(s, 1, reg && reg->service == service, "`registered` for %#llx, which nobody registered",
          (unsigned long long)id);
    CHECK(s, 1, !reg->told_registered, "`registered` was told twice");
    CHECK(s, 1, !reg->told_end, "`registered` after END");
    CHECK(s, 2, !reg->asked, "`registered` after unregister");
    reg->told_registered = true;
    return reg;
}

static bool is_data(enum ior_event_type type)
{
    return type == IOR_EV_ACCEPTED || type == IOR_EV_DATA || type == IOR_EV_EOF || type == IOR_EV_READY ||
           type == IOR_EV_CUSTOM;
}

static void told_open(struct story *s, struct reg *reg)
{
    struct conn *conn = reg->conn;
    struct ior_addr peer;
    CHECK(s, 1, conn->kind == KIND_STREAM && !reg->told_open, "OPEN was told twice");
    CHECK(s, 2, !reg->closing, "OPEN after close");
    reg->told_open = true;
    reg->open_turn = reg->service->rt->turn;
    reg->at_ns[IOR_DEADLINE_CONNECT] = IOR_NEVER;
    if (conn->connecting && conn->idle_ns > 0) {
        bool set =
            reg->idle_vague || reg->idle_ns != IOR_NEVER; /* by the service, before or after the connection was made */
        uint64_t at_ns = reg->at_ns[IOR_DEADLINE_IDLE], idle_ns = reg->idle_ns;
        idle_begins(s, reg);
        if (set && at_ns < reg->at_ns[IOR_DEADLINE_IDLE]) {
            reg->at_ns[IOR_DEADLINE_IDLE] = at_ns;
            reg->idle_ns = idle_ns;
        }
        reg->idle_vague = set;
    }
    if (conn->connecting) {
        int err = ASK(s, ior_peer(reg->service->cx, reg->id, &peer));
        CHECK(s, 1, err != -ENOTCONN || s->harsh > 0 || s->plan.faults, "OPEN of a stream that has no connection");
    }
    conn->connecting = false;
}

static void told_data(struct story *s, struct reg *reg, const struct ior_event *ev)
{
    struct conn *conn = reg->conn;
    struct runtime *rt = reg->service->rt;
    size_t len = ev->data.len;
    CHECK(s, 1, conn->kind == KIND_OWN || reg->told_open, "DATA before OPEN");
    CHECK(s, 6, !reg->told_eof, "DATA after EOF");
    CHECK(s, 4, len > 0 && len >= conn->held, "a DATA event of %zu bytes, where %llu were given back", len,
          (unsigned long long)conn->held);
    CHECK(s, 14, len <= (size_t)rt->config.read_bytes + conn->held + sizeof(((struct own *)0)->bytes),
          "a DATA event of %zu bytes is larger than the buffer", len);
    CHECK(s, 5,
          !reg->full || conn->full_reads || conn->files || s->harsh > 0 || s->plan.faults ||
              ior_queued(reg->service->cx, reg->id) <= conn->low,
          "DATA while the output is full");
    inlet_check(s, &conn->in, conn->consumed, ev->data.bytes, len);
    conn->consumed += len;
    conn->held = 0;
    if (conn->in.flow)
        conn->in.flow->heard = conn->consumed;
    if (!ticks(rt) || conn->kind == KIND_OWN)
        return;
    if (reg->data_turn != rt->turn)
        reg->datas = 0;
    reg->data_turn = rt->turn;
    reg->datas++;
    unsigned reads = rt->config.reads ? rt->config.reads : 4;
    CHECK(s, 11, reg->datas <= (reg->at_ns[IOR_DEADLINE_IDLE] == IOR_NEVER ? 1 : 2) * reads + 1,
          "%u reads of one resource in a turn", reg->datas);
}

/* All of the input was told. */
static void complete(struct story *s, const struct conn *conn, const char *what)
{
    const struct flow *flow = conn->in.flow;
    if (flow && !flow->loose && !conn->in.blind)
        CHECK(s, 6, conn->consumed + conn->held == flow->total, "%s of flow %u after %llu bytes of %llu", what,
              flow->number, (unsigned long long)(conn->consumed + conn->held), (unsigned long long)flow->total);
}

static void told_drained(struct story *s, struct reg *reg)
{
    const struct conn *conn = reg->conn;
    CHECK(s, 5, reg->owed, "DRAINED was told, and nobody waited for it");
    CHECK(s, 2, !reg->closing, "DRAINED after close");
    reg->owed = false;
    bool fresh = reg->open_turn == reg->service->rt->turn; /* `registered` and OPEN came just before, and may send */
    if (!conn->files)
        CHECK(s, 5, ior_queued(reg->service->cx, reg->id) <= (fresh ? conn->high : conn->low),
              "DRAINED was told while the queue is above the low mark");
    if (!conn->files && !conn->shared && !fresh && !reg->service->rt->config.output_cap_bytes)
        CHECK(s, 5, ior_queued(reg->service->cx, reg->id) + reg->need <= conn->cap,
              "DRAINED is told, and what was refused would not fit");
    reg->need = 0;
    reg->full = false;
}

static void told_accepted(struct story *s, struct reg *reg, const struct ior_event *ev)
{
    struct runtime *rt = reg->service->rt;
    CHECK(s, 1, reg->conn->kind == KIND_LISTENER && ev->peer, "ACCEPTED of what does not listen");
    if (!ticks(rt))
        return;
    if (rt->accept_turn != rt->turn || reg->data_turn != rt->turn)
        reg->datas = 0;
    rt->accept_turn = reg->data_turn = rt->turn;
    reg->datas++;
    CHECK(s, 11, reg->datas <= (rt->config.accepts ? rt->config.accepts : 64), "%u connections accepted in a turn",
          reg->datas);
}

static void end_reason(struct story *s, struct reg *reg, const struct ior_event_end *end)
{
    struct conn *conn = reg->conn;
    bool excused = s->harsh > 0 || s->plan.faults || s->plan.memory > 0 || conn->lost;
    bool reads = !reg->service->line && !reg->service->rt->stopping && conn->kind == KIND_STREAM && !conn->pipe_out &&
                 !reg->told_eof && !reg->closing;
    switch (end->why) {
    case IOR_ASKED:
        if (conn->kind == KIND_STREAM && reg->closing && !reg->asked && conn->in.flow && s->harsh == 0 && conn->socket)
            CHECK(s, 4, conn->consumed + end->unread == conn->in.flow->total,
                  "flow %u: %llu bytes were told and %llu are unread, of %llu", conn->in.flow->number,
                  (unsigned long long)conn->consumed, (unsigned long long)end->unread,
                  (unsigned long long)conn->in.flow->total);
        CHECK(s, 1, reg->asked || reg->closing, "END says `asked`, and nobody did");
        break;
    case IOR_EOF:
        CHECK(s, 6, !reg->paused || !reads || conn->lost || s->plan.faults, "END by the peer while paused");
        if (!reg->closing)
            complete(s, conn, "END by EOF");
        break;
    case IOR_ERROR:
        CHECK(s, 6, end->error > 0, "END by an error, and no error");
        CHECK(s, 6, conn->kind != KIND_LISTENER || conn->lost || s->stolen, "a listener ends by %s",
              ior_errname(end->error));
        CHECK(s, 6, conn->failed == 0 || conn->failed == end->error || conn->lost,
              "END by %s, and the first cause was %s", ior_errname(end->error), ior_errname(conn->failed));
        if (conn->kind == KIND_STREAM && end->error != ENOMEM)
            conn->failed = end->error;
        CHECK(s, 6, excused || conn->connecting || conn->spells > 0, "END by %s, and nothing had failed",
              ior_errname(end->error));
        CHECK(s, 6, !reg->paused || !reads || conn->lost || s->plan.faults || s->plan.memory > 0 || conn->connecting,
              "END by %s while paused", ior_errname(end->error));
        break;
    case IOR_TIMEOUT:
        CHECK(s, 10, end->error == ETIMEDOUT, "END by a deadline says %s", ior_errname(end->error));
        break;
    case IOR_SHUTDOWN:
        CHECK(s, 9, end->unsent == 0 || !s->calm_end || !conn->peer || reg->service->rt->drain_ns < 60 * IOR_NS_PER_SEC,
              "a shutdown leaves %llu bytes unsent, and had the time", (unsigned long long)end->unsent);
        CHECK(s, 9, reg->service->rt->stopping || reg->service->line, "END by a shutdown, and nobody asked for it");
        break;
    }
    CHECK(s, 10, (end->why == IOR_TIMEOUT) == (end->deadline >= 0), "END names a deadline, and it is not its cause");
}

static void told_end(struct story *s, struct reg *reg, const struct ior_event_end *end)
{
    struct conn *conn = reg->conn;
    NOTE(s, "  %s, %s: %llu written, %llu unsent, %llu unread", ior_why_name(end->why), ior_errname(end->error),
         (unsigned long long)end->written, (unsigned long long)end->unsent, (unsigned long long)end->unread);
    reg->told_end = true;
    reg->why = end->why;
    reg->unread_told = end->unread;
    end_reason(s, reg, end);
    if (conn->out && !s->stolen) {
        CHECK(s, 4, end->written + end->unsent == conn->out->total,
              "END of flow %u: %llu written and %llu unsent, of %llu that were accepted", conn->out->number,
              (unsigned long long)end->written, (unsigned long long)end->unsent, (unsigned long long)conn->out->total);
    }
    CHECK(s, 4, end->unread >= conn->held, "END counts %llu unread bytes, where %llu were given back",
          (unsigned long long)end->unread, (unsigned long long)conn->held);
    if (end->why == IOR_ERROR || end->why == IOR_TIMEOUT || end->why == IOR_SHUTDOWN) {
        if (end->why == IOR_ERROR)
            s->harsh++;
        conn_loose(conn);
    }
    if (reg->closing || end->why == IOR_SHUTDOWN || reg->service->line || reg->service->rt->stopping) {
        inlet_loose(&conn->in);
        conn->was_finished = true;
        if (end->unread > conn->held || conn->kind == KIND_OWN)
            conn->in.blind = true; /* that much was discarded, or is held; positions are known no more */
    }
    conn->in.blind |= s->plan.memory > 0 && end->unread > conn->held; /* there may have been no memory to keep it */
    const struct ior_handler *handler = &reg->service->handler;
    bool handed =
        conn->kind == KIND_LISTENER ? handler->handover_listener != NULL : handler->handover_transport != NULL;
    reg->unsent_told = end->unsent;
    if (handed)
        s->ended = reg;
}

/* END was told, and nobody takes the resource over: it is gone when the callback returns. */
void oracle_destroyed(struct reg *reg)
{
    reg->gone = true;
    reg->service->live--;
    conn_freed(reg->service->s, reg->conn, reg->unsent_told);
}

struct reg *oracle_event(struct service *service, const struct ior_event *ev)
{
    struct story *s = service->s;
    struct reg *reg = reg_find(service->rt, ev->id);
    bool end = ev->type == IOR_EV_END;
    const char *name = ior_event_name(ev->type);
    CHECK(s, 1, reg && reg->service == service, "%s of %#llx, which is none of the service's", name,
          (unsigned long long)ev->id);
    CHECK(s, 1, !reg->told_end, "%s after END", name);
    CHECK(s, 1, end || reg->told_registered || !service->handler.registered, "%s before `registered`", name);
    CHECK(s, 2, end || !reg->asked, "%s after unregister", name);
    CHECK(s, 2, !reg->paused || !is_data(ev->type), "%s while paused", name);
    CHECK(s, 2, !reg->closing || !is_data(ev->type), "%s after close", name);
    CHECK(s, 1, ev->user == reg->conn->user, "%s comes with another user pointer", name);
    CHECK(s, 1, (reg->conn->kind == KIND_LISTENER) == (s->in_listener), "%s came to the other callback", name);
    reg->quiet_ns = now(s);
    if (ev->type == IOR_EV_EOF || (ev->type == IOR_EV_DATA && ev->data.len > reg->conn->held))
        reg->active_ns = now(s);
    NOTE(s, "  event %s of %#llx", name, (unsigned long long)ev->id);
    mix(s, (uint64_t)ev->type << 32 ^ ev->id);
    switch (ev->type) {
    case IOR_EV_ACCEPTED:
        told_accepted(s, reg, ev);
        break;
    case IOR_EV_OPEN:
        told_open(s, reg);
        break;
    case IOR_EV_DATA:
        told_data(s, reg, ev);
        break;
    case IOR_EV_EOF:
        CHECK(s, 6, !reg->told_eof, "EOF was told twice");
        CHECK(s, 1, reg->conn->kind == KIND_OWN || reg->told_open, "EOF before OPEN");
        reg->told_eof = true;
        CHECK(s, 6, reg->conn->failed == 0, "EOF of a stream that ended by %s before", ior_errname(reg->conn->failed));
        complete(s, reg->conn, "EOF");
        if (reg->conn->in.flow)
            reg->conn->in.flow->heard = reg->conn->consumed + reg->conn->held; /* that comes no more */
        break;
    case IOR_EV_DRAINED:
        told_drained(s, reg);
        break;
    case IOR_EV_JOB: /* there are no threads in a simulation */
    case IOR_EV_FILE:
    case IOR_EV_RESOLVED:
        break;
    case IOR_EV_READY:
        CHECK(s, 1, reg->conn->kind == KIND_WATCH, "READY of what is no watch");
        CHECK(s, 2, ev->ready & (reg->conn->interest | IOR_HUP | IOR_ERR), "READY of what nobody asked for");
        break;
    case IOR_EV_DEADLINE:
        deadline_told(reg, ev);
        break;
    case IOR_EV_CUSTOM:
        CHECK(s, 1, reg->conn->kind == KIND_OWN, "CUSTOM of what is no kind of ours");
        break;
    case IOR_EV_END:
        if (ev->end.why == IOR_TIMEOUT)
            deadline_told(reg, ev);
        told_end(s, reg, &ev->end);
        break;
    default:
        CHECK(s, 1, false, "%s of a kind that no story has", ior_event_name(ev->type));
        break;
    }
    return reg;
}

/* ---- handover ---- */

static void read_back(struct story *s, struct conn *conn, struct ior_resource *res, struct reg *reg)
{
    struct iovec iov[64];
    int n = 0;
    size_t unsent = ior_resource_unsent(res, iov, 64, &n);
    uint64_t pos = conn->out->total - unsent;
    for (int i = 0; i < n && i < 64; i++) {
        const unsigned char *bytes = iov[i].iov_base;
        for (size_t at = 0; bytes && at < iov[i].iov_len; at++, pos++) {
            unsigned char byte;
            flow_fill(conn->out, pos, &byte, 1);
            CHECK(s, 4, bytes[at] == byte, "unsent bytes of flow %u read back are others", conn->out->number);
        }
        if (!bytes)
            pos += iov[i].iov_len;
    }
    size_t unread = ior_resource_unread(res, iov, 64, &n);
    uint64_t read = conn->consumed;
    for (int i = 0; i < n && !conn->in.blind; i++) {
        inlet_check(s, &conn->in, read, iov[i].iov_base, iov[i].iov_len);
        read += iov[i].iov_len;
    }
    CHECK(s, 4, unread >= conn->held, "%zu unread bytes came back, of %llu", unread, (unsigned long long)conn->held);
    CHECK(s, 4, conn->in.blind || unread == reg->unread_told, "%zu unread bytes came back, and END counts %llu", unread,
          (unsigned long long)reg->unread_told);
}

struct conn *oracle_handover(struct service *service, struct ior_resource *res)
{
    struct story *s = service->s;
    struct reg *reg = s->ended;
    CHECK(s, 1, reg && reg->service == service, "a handover that follows no END");
    CHECK(s, 1, !ior_resource_context(res), "a handover of what is registered");
    struct conn *conn = reg->conn;
    s->ended = NULL;
    reg->gone = true;
    service->live--;
    conn->res = res;
    CHECK(s, 1, res->user == conn->user, "another resource is handed over than the one that ended");
    if (conn->kind == KIND_STREAM)
        read_back(s, conn, res, reg);
    if (conn->fd >= 0 && !conn->lost && res->fd >= 0)
        CHECK(s, 1, res->fd == conn->fd, "another fd is handed over than the one that ended");
    return conn;
}

/* ---- at the end of a turn, and when all is quiet ---- */

void oracle_turn(struct runtime *rt)
{
    struct story *s = rt->s;
    struct ior_stats stats = {.struct_size = sizeof(stats)};
    ior_runtime_stats(rt->rt, &stats);
    size_t cap_bytes = rt->config.output_cap_bytes ? rt->config.output_cap_bytes : (size_t)256 << 20;
    CHECK(s, 14, stats.output_bytes <= cap_bytes, "queued output holds %llu bytes, over the cap of %zu",
          (unsigned long long)stats.output_bytes, cap_bytes);
    CHECK(s, 14, rt->config.max_resources == 0 || stats.resources <= rt->config.max_resources,
          "%u resources are registered, of at most %u", stats.resources, rt->config.max_resources);
    CHECK(s, 8, stats.wakes <= rt->sent, "%llu wakes for %u commands", (unsigned long long)stats.wakes, rt->sent);
}

static void quiet_reg(struct story *s, struct reg *reg)
{
    const struct conn *conn = reg->conn;
    struct ior_context *cx = reg->service->cx;
    if (reg->told_end || !service_usable(reg->service) || reg->service->line || reg->service->rt->stopping ||
        !reg->service->started)
        return;
    if (reg->asked)
        CHECK(s, 1, false, "END does not come after unregister");
    CHECK(s, 11, reg->told_registered || !reg->service->handler.registered, "`registered` is never told");
    if (conn->kind == KIND_STREAM && !conn->connecting && !reg->closing)
        CHECK(s, 11, reg->told_open, "OPEN is never told");
    if (conn->kind == KIND_STREAM && reg->told_open && !reg->paused && !reg->full && !reg->closing && !reg->told_eof &&
        !s->plan.faults && !s->plan.memory && s->harsh == 0)
        CHECK(s, 4, conn->held == 0 || reg->gave_back, "what was given back does not come again");
    bool blocked = conn->out && ior_queued(cx, reg->id) > 0;
    bool crowded = reg->service->rt->config.output_cap_bytes > 0 && !s->ending;
    if (!blocked && !crowded && !reg->closing && !reg->paused && !s->plan.faults && !s->plan.memory && !conn->lost &&
        s->harsh == 0)
        CHECK(s, 5, !reg->owed, "DRAINED is never told");
}

void oracle_quiet(struct story *s)
{
    for (unsigned i = 0; i < s->regs_n; i++)
        quiet_reg(s, &s->regs[i]);
    for (unsigned i = 0; i < s->services_n; i++) {
        struct service *service = &s->services[i];
        if (!service_usable(service))
            continue;
        CHECK(s, 1, ior_count(service->cx) == service->live, "ior_count says %zu, where %u are registered",
              ior_count(service->cx), service->live);
    }
    commands_quiet(s);
}

/* All obstacles are gone, and all had its time. */
void oracle_arrived(struct story *s)
{
    if (s->stolen)
        return;
    for (unsigned i = 0; i < s->regs_n; i++) {
        const struct reg *reg = &s->regs[i];
        if (!reg->told_end && (reg->service->line || reg->service->rt->stopping))
            conn_loose(reg->conn); /* it closes, and discards what comes */
    }
    for (unsigned i = 0; i < s->flows_n; i++) {
        const struct flow *flow = &s->flows[i];
        if (!flow->loose && flow->receiver)
            CHECK(s, 4, flow->heard == flow->total, "flow %u: %llu bytes arrived of %llu", flow->number,
                  (unsigned long long)flow->heard, (unsigned long long)flow->total);
    }
}
