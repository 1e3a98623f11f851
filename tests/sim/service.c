/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The random service: its callbacks show the oracles what they are told, and then ask for something at random. Also how
 * runtimes and services come and go.
 */
#include "story.h"

static void enter(struct service *service, struct ior_context *cx, const char *what)
{
    struct story *s = service->s;
    CHECK(s, 13, !s->in_callback, "%s is called from inside a callback", what);
    CHECK(s, 13, !s->in_request, "%s is called from inside a request", what);
    CHECK(s, 13, cx == service->cx, "%s is called with the context of another service", what);
    CHECK(s, 1, !s->ended || what[0] == 'h', "%s comes between END and the handover", what);
    CHECK(s, 13, service->rt->rt || s->in_free, "%s is called for a runtime that is gone", what);
    s->in_callback = true;
    s->inside = service;
}

/* Now and then something is asked for inside the callback. */
static void leave(struct service *service)
{
    struct story *s = service->s;
    for (unsigned n = 3; n > 0 && !s->in_free && !s->ended && may_answer(s, 4); n--)
        act_any(s, service);
    s->in_callback = false;
    s->inside = NULL;
}

static int on_start(void *self, struct ior_context *cx)
{
    struct service *service = self;
    struct story *s = service->s;
    enter(service, cx, "start");
    CHECK(s, 1, !service->started, "start is called twice");
    service->started = true;
    bool fails = !s->plan.calm && once_in(s, 60);
    if (!fails)
        listen_at(service);
    leave(service);
    if (!fails)
        return 0;
    service->failed = service->line = service->soft_line = true;
    if (service->rt->turn == 0)
        service->rt->stopping = true; /* of the first turn: it fails the run */
    return -EINVAL;
}

static void on_stop(void *self, struct ior_context *cx)
{
    struct service *service = self;
    enter(service, cx, "stop");
    CHECK(service->s, 9, !service->stopped, "stop is called twice");
    CHECK(service->s, 9, service->line || service->rt->stopping, "stop is called, and nobody asked for it");
    CHECK(service->s, 9, !service->failed, "stop is called for a service that did not start");
    service->stopped = true;
    send_at_stop(service);
    leave(service);
}

static void on_tick(void *self, struct ior_context *cx, uint64_t now_ns)
{
    struct service *service = self;
    struct runtime *rt = service->rt;
    enter(service, cx, "tick");
    rt->turn++;
    CHECK(service->s, 10, now_ns <= now(service->s), "tick tells a time that is to come");
    oracle_turn(rt);
    times_turn(rt);
    if (once_in(service->s, 16)) {
        leave(service);
        return;
    }
    service->s->in_callback = false;
    service->s->inside = NULL;
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct service *service = self;
    enter(service, cx, "timer");
    timer_fired(service, id, user);
    leave(service);
}

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct service *service = self;
    enter(service, cx, "command");
    command_came(service, command);
    leave(service);
}

static void on_registered(void *self, struct ior_context *cx, ior_id id, void *user)
{
    struct service *service = self;
    enter(service, cx, "registered");
    const struct reg *reg = oracle_registered(service, id);
    CHECK(service->s, 1, user == reg->conn->user, "`registered` comes with another user pointer");
    leave(service);
}

static void on_event(struct service *service, struct ior_context *cx, const struct ior_event *ev, bool listener)
{
    struct story *s = service->s;
    enter(service, cx, ior_event_name(ev->type));
    s->in_listener = listener;
    struct reg *reg = oracle_event(service, ev);
    switch (ev->type) {
    case IOR_EV_ACCEPTED:
        act_accept(service, reg, ev);
        break;
    case IOR_EV_DATA:
        act_data(service, reg, &ev->data);
        break;
    case IOR_EV_READY:
        act_ready(service, reg, ev->ready);
        break;
    case IOR_EV_EOF:
    case IOR_EV_DRAINED:
        if (may_answer(s, 3))
            send_some(service, reg);
        break;
    default:
        break;
    }
    bool eof = ev->type == IOR_EV_EOF, end = ev->type == IOR_EV_END;
    leave(service);
    if (eof && (reg->conn->kind == KIND_OWN || !reg->conn->half_open) && !reg->asked && !reg->closing) {
        reg->closing = true; /* the runtime does, from here on */
        reg->paused = reg->owed = false;
        reg->at_ns[IOR_DEADLINE_DRAIN] = ior_time_add(now(s), reg->conn->drain_ns);
    }
    if (end && !s->ended)
        oracle_destroyed(reg);
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    on_event(self, cx, ev, true);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    on_event(self, cx, ev, false);
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct service *service = self;
    struct story *s = service->s;
    enter(service, cx, "error");
    CHECK(s, 6, err > 0, "error tells no error");
    CHECK(s, 6, s->plan.faults || s->plan.memory > 0 || err == ENOSPC || s->harsh > 0,
          "error tells %s, and nothing had failed", ior_errname(err));
    if (id != 0) {
        const struct reg *reg = reg_find(service->rt, id);
        CHECK(s, 1, reg && reg->service == service && !reg->told_end, "error for %#llx, which is none of the service's",
              (unsigned long long)id);
        CHECK(s, 2, !reg->asked, "error after unregister");
    }
    leave(service);
}

static void on_handover_listener(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct service *service = self;
    enter(service, cx, "handover of a listener");
    struct conn *conn = oracle_handover(service, res);
    CHECK(service->s, 1, conn->kind == KIND_LISTENER, "a transport comes through handover_listener");
    act_handover(service, conn);
    leave(service);
}

static void on_handover_transport(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct service *service = self;
    enter(service, cx, "handover of a transport");
    struct conn *conn = oracle_handover(service, res);
    CHECK(service->s, 1, conn->kind != KIND_LISTENER, "a listener comes through handover_transport");
    act_handover(service, conn);
    leave(service);
}

/* ---- services and runtimes ---- */

static struct service *service_new(struct story *s, struct runtime *rt)
{
    if (s->services_n == SERVICES)
        return NULL;
    struct service *service = &s->services[s->services_n];
    *service = (struct service){.s = s, .rt = rt};
    struct ior_handler *handler = &service->handler;
    *handler = (struct ior_handler){
        .struct_size = sizeof(*handler),
        .start = on_start,
        .stop = on_stop,
        .timer = on_timer,
        .listener = on_listener,
        .transport = on_transport,
        .error = on_error,
    };
    if (!once_in(s, 8))
        handler->registered = on_registered;
    if (!once_in(s, 8))
        handler->command = on_command;
    if (!once_in(s, 6))
        handler->handover_transport = on_handover_transport;
    if (!once_in(s, 6))
        handler->handover_listener = on_handover_listener;
    s->services_n++;
    return service;
}

/* Its context is known; the rest of what belongs to it. */
static void service_begins(struct service *service, struct ior_context *cx)
{
    service->cx = cx;
    service->used = true;
    service->ctl = ior_controller_of(cx);
}

int runtime_new(struct story *s, struct runtime *rt)
{
    *rt = (struct runtime){.s = s, .host = s->hosts[pick(s, (uint64_t)s->plan.hosts)]};
    struct service *service = service_new(s, rt);
    if (!service)
        return -ENOSPC;
    plan_config(s, &rt->config);
    rt->has_tick = !once_in(s, 5);
    if (rt->has_tick)
        service->handler.tick = on_tick;
    int err = ior_sim_runtime_new(s->sim, rt->host, &rt->config, &service->handler, service, &rt->rt);
    NOTE(s, "runtime on host %d: %s", rt->host, ior_errname(err));
    if (err < 0) {
        CHECK(s, 14, s->plan.faults || s->plan.memory > 0, "ior_runtime_new answers %s", ior_errname(err));
        rt->rt = NULL;
        s->services_n--;
        return err;
    }
    if (rt->config.read_bytes == 0)
        rt->config.read_bytes = 65536;
    rt->first = service;
    service_begins(service, ior_runtime_context(rt->rt));
    return 0;
}

void service_attach(struct service *by)
{
    struct story *s = by->s;
    struct service *service = service_new(s, by->rt);
    if (!service)
        return;
    struct ior_context *cx;
    int err = ASK(s, ior_attach(by->cx, &service->handler, service, &cx));
    NOTE(s, "attach: %s", ior_errname(err));
    CHECK(s, 9, err == 0 || by->line || by->rt->stopping || s->plan.memory > 0, "ior_attach answers %s",
          ior_errname(err));
    if (err < 0)
        s->services_n--;
    else
        service_begins(service, cx);
}

bool service_usable(const struct service *service)
{
    const struct runtime *rt = service->rt;
    if (!service->used || !rt->rt)
        return false;
    return service == service->s->inside || service == rt->first || !(service->line || rt->stopping || rt->over);
}

struct service *service_any(struct story *s)
{
    for (unsigned tries = 0; tries < 4 && s->services_n > 0; tries++) {
        struct service *service = &s->services[pick(s, s->services_n)];
        if (service_usable(service))
            return service;
    }
    return NULL;
}

/* All that belongs to a runtime must be gone. */
void runtime_gone(struct runtime *rt)
{
    struct story *s = rt->s;
    CHECK(s, 1, !s->ended, "no handover after END");
    for (unsigned i = 0; i < s->regs_n; i++) {
        const struct reg *reg = &s->regs[i];
        CHECK(s, 1, reg->service->rt != rt || reg->gone, "%#llx was never handed over", (unsigned long long)reg->id);
    }
    for (unsigned i = 0; i < s->services_n; i++) {
        struct service *service = &s->services[i];
        if (service->rt != rt || !service->used)
            continue;
        CHECK(s, 9, service->stopped || !service->started || service->failed, "stop was never called");
        timers_forget(service);
        commands_gone(service);
        service->used = false;
    }
}

void runtime_free(struct runtime *rt)
{
    struct story *s = rt->s;
    if (!rt->rt)
        return;
    if (!rt->over)
        s->harsh++;
    rt->stopping = true;
    for (unsigned i = 0; i < s->services_n; i++) {
        if (s->services[i].rt == rt)
            s->services[i].line = true;
    }
    NOTE(s, "free of the runtime on host %d", rt->host);
    s->in_free = true;
    ior_runtime_free(rt->rt);
    s->in_free = false;
    rt->rt = NULL;
    runtime_gone(rt);
    rt->over = true;
}
