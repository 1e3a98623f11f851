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

/* A request about a live resource succeeded, or the resource is ending. */
static bool done(struct reg *reg, int r, const char *what)
{
    struct story *s = reg->service->s;
    NOTE(s, "  %s %#llx: %s", what, (unsigned long long)reg->id, ior_errname(r));
    CHECK(s, 2, !reg->asked || r == -EALREADY, "%s after unregister answers %s", what, ior_errname(r));
    CHECK(s, 3, r != -ENOENT, "%s of a resource whose END is to come answers ENOENT", what);
    return r >= 0;
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
            reg->asked = conn->aborted = true;
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
    if (how == 8 && !s->ending) {
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
    CHECK(s, 1, r != -ENOSPC || s->plan.faults, "a connection is accepted where there is no slot for it");
    if (r < 0 || !reg_new(service, conn, id)) {
        conn->live = false;
        s->harsh++;
        return;
    }
    if (may_answer(s, 3))
        send_some(service, conn->reg);
}

void act_data(struct service *service, struct reg *reg, const struct ior_event_data *data)
{
    struct story *s = service->s;
    struct conn *conn = reg->conn;
    size_t len = data->len;
    for (unsigned times = 0; conn->kind == KIND_STREAM && !s->ending && times < 2 && once_in(s, 6); times++) {
        size_t back = (size_t)pick(s, (once_in(s, 2) ? len : len < 20 ? len : 20) + 1);
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
    if (conn->kind == KIND_STREAM) {
        s->lent = (unsigned char *)(uintptr_t)data->bytes;
        s->lent_len = len - (size_t)conn->held;
    }
    if (may_answer(s, 5))
        send_some(service, reg);
    s->lent_len = 0;
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
        if (!conn->lost) {
            uint64_t set = pick(s, 16);
            unsigned ready = (set & 1 ? IOR_READ : 0u) | (set & 2 ? IOR_WRITE : 0u) | (set & 4 ? IOR_HUP : 0u) |
                             (set & 8 ? IOR_ERR : 0u);
            (void)ior_sim_ready(s->sim, conn->fd, ready);
        }
        return;
    }
    static const unsigned interests[] = {IOR_NONE, IOR_READ, IOR_WRITE, IOR_READ | IOR_WRITE};
    unsigned io = interests[pick(s, 4)];
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
