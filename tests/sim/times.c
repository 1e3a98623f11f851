/* SPDX-License-Identifier: Apache-2.0 */
/* Timers and deadlines: never early, in order, once, and not late: once all that is due is done, none is left. */
#include "story.h"

#include <limits.h>

static uint64_t some_time(struct story *s)
{
    static const uint64_t most[] = {1, 1000, 1000000, 20000000, 2000000000, UINT64_C(3600000000000)};
    uint64_t after_ns = pick(s, most[pick(s, 6)]);
    return once_in(s, 40) ? IOR_NEVER : after_ns;
}

static struct timer *some_timer(struct story *s)
{
    return &s->timers[pick(s, TIMERS)];
}

static void arm(struct service *service, struct timer *timer, uint64_t after_ns)
{
    struct story *s = service->s;
    timer->at_ns = ior_time_add(now(s), after_ns);
    timer->seq = s->seq++;
    timer->turn = service->rt->turn;
    timer->due_turns = 0;
    timer->in_timer = s->in_timer;
}

/* How many are armed in a runtime; UINT_MAX where a service is stopping, whose timers go when nobody is told. */
static unsigned armed_in(const struct runtime *rt)
{
    const struct story *s = rt->s;
    unsigned n = 0;
    for (unsigned i = 0; i < s->services_n; i++) {
        if (s->services[i].rt == rt && (s->services[i].line || rt->stopping))
            return UINT_MAX;
    }
    for (unsigned i = 0; i < TIMERS; i++)
        n += s->timers[i].state == TIMER_ARMED && s->timers[i].service->rt == rt;
    return n;
}

static void set(struct service *service)
{
    struct story *s = service->s;
    struct timer *timer = some_timer(s);
    if (timer->state == TIMER_ARMED)
        return;
    uint64_t after_ns = some_time(s);
    ior_timer_id id = 0;
    const struct service *before = timer->service;
    ior_timer_id old = timer->id;
    uint64_t at_least = now(s);
    uint64_t period_ns = s->plan.periodic && once_in(s, 2) ? IOR_NS_PER_MS + pick(s, 50 * IOR_NS_PER_MS) : 0;
    int r = period_ns == 0 ? ASK(s, ior_timer_set(service->cx, after_ns, timer, &id))
                           : ASK(s, ior_timer_every(service->cx, after_ns, period_ns, timer, &id));
    NOTE(s, "  timer in %llu ns, period %llu: %s", (unsigned long long)after_ns, (unsigned long long)period_ns,
         ior_errname(r));
    unsigned most = service->rt->config.max_timers, armed = armed_in(service->rt);
    CHECK(s, 10, most == 0 || armed == UINT_MAX || r == -ESHUTDOWN || r == -ENOMEM || (r == -ENOSPC) == (armed >= most),
          "a new timer answers %s, and %u of %u are armed", ior_errname(r), armed, most);
    if (r < 0) {
        CHECK(s, 10,
              (r == -ENOSPC && most > 0) || (r == -ESHUTDOWN && (service->line || service->rt->stopping)) ||
                  (r == -ENOMEM && s->plan.memory > 0),
              "a new timer answers %s", ior_errname(r));
        return;
    }
    CHECK(s, 3, id != 0 && (id & 15) == 0 && !(before && before->rt == service->rt && old == id),
          "the timer id %#llx was given out before", (unsigned long long)id);
    *timer = (struct timer){.id = id, .service = service, .period_ns = period_ns, .state = TIMER_ARMED};
    arm(service, timer, after_ns);
    if (after_ns != IOR_NEVER)
        timer->at_ns = ior_time_add(at_least, after_ns);
}

void timer_act(struct service *service)
{
    struct story *s = service->s;
    uint64_t what = pick(s, 4);
    if (what < 2) {
        set(service);
        return;
    }
    struct timer *timer = some_timer(s);
    if (timer->state == TIMER_FREE || timer->service != service)
        return;
    bool armed = timer->state == TIMER_ARMED;
    uint64_t after_ns = what == 2 ? some_time(s) : 0;
    int r = what == 2 ? ASK(s, ior_timer_move(service->cx, timer->id, after_ns))
                      : ASK(s, ior_timer_cancel(service->cx, timer->id));
    NOTE(s, "  timer %s: %s", what == 2 ? "moved" : "cancelled", ior_errname(r));
    if (r == -ENOENT && armed && (service->line || service->rt->stopping)) {
        timer->state = TIMER_CANCELLED; /* its service is gone */
        return;
    }
    CHECK(s, 10, r == (armed ? 0 : -ENOENT), "%s of a timer that is %s answers %s", what == 2 ? "move" : "cancel",
          armed ? "armed" : "over", ior_errname(r));
    if (!armed)
        return;
    if (what == 2)
        arm(service, timer, after_ns);
    else
        timer->state = TIMER_CANCELLED;
}

static bool before(const struct timer *a, const struct timer *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->seq < b->seq);
}

/* It is queued for the next time of its own that is not past, and says how many it left out. */
static void periodic_fired(struct service *service, struct timer *timer)
{
    struct story *s = service->s;
    uint64_t missed = ior_timer_missed(service->cx);
    if (!s->plan.calls_take_time) { /* else it is not known to the nanosecond when it was armed */
        uint64_t passed = ior_time_sub(ior_turn_ns(service->cx), timer->at_ns) / timer->period_ns;
        CHECK(s, 10, missed == passed, "a periodic timer missed %llu times, and says %llu", (unsigned long long)passed,
              (unsigned long long)missed);
    }
    timer->at_ns = ior_time_add(timer->at_ns + missed * timer->period_ns, timer->period_ns);
    timer->seq = s->seq++;
    timer->turn = service->rt->turn;
    timer->due_turns = 0;
    timer->in_timer = true;
}

void timer_fired(struct service *service, ior_timer_id id, void *user)
{
    struct story *s = service->s;
    struct timer *timer = user;
    struct runtime *rt = service->rt;
    CHECK(s, 10, timer >= s->timers && timer < s->timers + TIMERS, "a timer fires with another user pointer");
    CHECK(s, 10, timer->id == id && timer->service == service, "a timer fires with another id");
    CHECK(s, 10, timer->state == TIMER_ARMED, "a timer fires that was %s",
          timer->state == TIMER_CANCELLED ? "cancelled" : "told already");
    CHECK(s, 10, now(s) >= timer->at_ns, "a timer fires %llu ns early", (unsigned long long)(timer->at_ns - now(s)));
    for (unsigned i = 0; i < TIMERS && ticks(rt) && !s->plan.calls_take_time; i++) {
        const struct timer *other = &s->timers[i];
        if (other->state == TIMER_ARMED && other->service->rt == rt && other->turn < rt->turn && other != timer &&
            service_usable(other->service) && !other->service->line)
            CHECK(s, 10, !before(other, timer), "timers fire out of order");
    }
    CHECK(s, 11, !timer->in_timer || timer->turn < rt->turn || !ticks(rt), "a timer fires in the turn that armed it");
    if (timer->period_ns > 0)
        periodic_fired(service, timer);
    else
        timer->state = TIMER_FIRED;
    mix(s, id);
    if (rt->timer_turn != rt->turn)
        rt->timers = 0;
    rt->timer_turn = rt->turn;
    rt->timers++;
    CHECK(s, 11, !ticks(rt) || rt->timers <= (rt->config.timers ? rt->config.timers : 1024), "%u timers in a turn",
          rt->timers);
    if (s->plan.slow > 0 && once_in(s, 4)) {
        s->plan.slow--;
        const struct ior_os *os = ior_context_os(service->cx);
        os->sleep(os->arg, pick(s, 200 * IOR_NS_PER_MS)); /* the callback takes its time */
    }
    s->in_timer = true;
    if (!s->ending && once_in(s, 3))
        set(service);
    s->in_timer = false;
}

void timers_forget(struct service *service)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        struct timer *timer = &service->s->timers[i];
        if (timer->service == service)
            timer->state = TIMER_CANCELLED;
    }
}

static bool counts(const struct service *service)
{
    return service_usable(service) && !service->line && !service->rt->stopping && service->started;
}

/* What is due gets its turn within a bounded number of turns. */
void times_turn(struct runtime *rt)
{
    struct story *s = rt->s;
    unsigned budget = rt->config.timers ? rt->config.timers : 1024;
    for (unsigned i = 0; i < TIMERS; i++) {
        struct timer *timer = &s->timers[i];
        if (timer->state != TIMER_ARMED || timer->service->rt != rt || timer->at_ns > now(s))
            continue;
        if (!counts(timer->service))
            continue; /* it may be gone */
        timer->due_turns++;
        CHECK(s, 11, timer->due_turns <= 4 + (TIMERS + 2 * s->regs_n) / budget,
              "a timer was due in %llu turns and did not fire", (unsigned long long)timer->due_turns);
    }
}

/* ---- deadlines ---- */

void deadline_act(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    int which = (int)pick(s, 4);
    uint64_t after_ns = some_time(s);
    if (which == IOR_DEADLINE_IDLE && after_ns < 1000000)
        after_ns = 1000000;
    int r = ASK(s, ior_deadline(service->cx, reg->id, which, after_ns));
    NOTE(s, "  deadline %d of %#llx in %llu ns: %s", which, (unsigned long long)reg->id, (unsigned long long)after_ns,
         ior_errname(r));
    if (r < 0)
        return;
    reg->at_ns[which] = ior_time_add(now(s), after_ns);
    if (which == IOR_DEADLINE_IDLE) {
        reg->idle_ns = after_ns;
        reg->idle_vague |= !reg->told_open;
    }
}

void deadline_told(struct reg *reg, const struct ior_event *ev)
{
    struct story *s = reg->service->s;
    int which = ev->type == IOR_EV_DEADLINE ? IOR_DEADLINE_USER : ev->end.deadline;
    CHECK(s, 10, which >= 0 && which < 4, "END by a deadline that is none");
    if (which == IOR_DEADLINE_IDLE && !reg->told_open && reg->conn->idle_ns > 0)
        return; /* since when it has a connection was never told */
    CHECK(s, 10, reg->at_ns[which] != IOR_NEVER, "deadline %d is told, and is not armed", which);
    uint64_t slack_ns = s->plan.calls_take_time ? 200000 : 0;        /* armed before the answer came */
    bool turn_is_short = !s->plan.calls_take_time && !s->plan.slows; /* idle time counts from the beginning of a turn */
    CHECK(s, 10, reg->at_ns[which] <= now(s) + slack_ns || (which == IOR_DEADLINE_IDLE && s->plan.slows),
          "deadline %d is told %llu ns early", which, (unsigned long long)(reg->at_ns[which] - now(s)));
    if (which == IOR_DEADLINE_IDLE && turn_is_short)
        CHECK(s, 10, reg->sent_ns == 0 || ev->end.unsent > 0 || now(s) >= ior_time_add(reg->sent_ns, reg->idle_ns),
              "END by the idle deadline, and bytes went in time");
    if (which == IOR_DEADLINE_IDLE && turn_is_short)
        CHECK(s, 10, reg->active_ns == 0 || now(s) >= ior_time_add(reg->active_ns, reg->idle_ns),
              "END by the idle deadline, and bytes came in time");
    reg->at_ns[which] = IOR_NEVER;
}

/* Since when nothing was written is not told: looked at before time passes, and after it. */
void deadlines_look(struct story *s)
{
    for (unsigned i = 0; i < s->regs_n; i++) {
        struct reg *reg = &s->regs[i];
        if (reg->told_end || !reg->wrote || !service_usable(reg->service))
            continue;
        reg->quiet_ns = now(s);
        reg->wrote = ior_queued(reg->service->cx, reg->id) > 0;
    }
}

static void due_reg(struct story *s, const struct reg *reg)
{
    if (reg->told_end || !counts(reg->service) || reg->asked || reg->conn->lost)
        return;
    for (int which = 0; which < 4; which++) {
        uint64_t at_ns = reg->at_ns[which];
        if (which == IOR_DEADLINE_CONNECT && reg->closing)
            continue; /* it had a connection, and OPEN was not told any more */
        if (which == IOR_DEADLINE_IDLE) {
            if (reg->closing || reg->wrote || reg->idle_vague || reg->idle_ns == IOR_NEVER)
                continue;
            uint64_t quiet_ns = ior_time_add(reg->quiet_ns, reg->idle_ns);
            at_ns = at_ns == IOR_NEVER || at_ns > quiet_ns ? at_ns : quiet_ns;
        }
        uint64_t late_ns = s->plan.calls_take_time ? 100000 : 0;
        CHECK(s, 10, at_ns == IOR_NEVER || at_ns >= now(s) - late_ns, "deadline %d of %#llx is %llu ns late", which,
              (unsigned long long)reg->id, (unsigned long long)(now(s) - at_ns));
    }
}

/* All that is due is done. */
void times_quiet(struct story *s)
{
    uint64_t counted[SERVICES] = {0};
    uint64_t late_ns = s->plan.calls_take_time ? 100000 : 0; /* it was armed a little later than asked for */
    for (unsigned i = 0; i < TIMERS; i++) {
        const struct timer *timer = &s->timers[i];
        if (timer->state != TIMER_ARMED)
            continue;
        counted[timer->service - s->services]++;
        if (counts(timer->service))
            CHECK(s, 10, timer->at_ns >= now(s) - late_ns, "a timer is %llu ns late",
                  (unsigned long long)(now(s) - timer->at_ns));
    }
    for (unsigned i = 0; i < s->services_n; i++) {
        const struct service *service = &s->services[i];
        if (counts(service))
            CHECK(s, 10, ior_timer_count(service->cx) == counted[i], "ior_timer_count says %zu, and %llu are armed",
                  ior_timer_count(service->cx), (unsigned long long)counted[i]);
    }
    if (!s->plan.faults && !s->plan.memory) {
        for (unsigned i = 0; i < s->regs_n; i++)
            due_reg(s, &s->regs[i]);
    }
}
