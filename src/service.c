/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services in a runtime: how they start, are served commands, and stop.
 *
 * A stop is a line in time. Asking for it (ior_stop, ior_detach, a controller's shutdown) closes the queue and refuses
 * new resources at once; then, from the loop and over as many bounded turns as it takes: `stop` is called, commands
 * from before the line are served, listeners end, transports close (flush, half-close, a short wait for the peer's
 * FIN), and what is left when the time is over ends as it is. A service is gone when its last resource was handed over.
 *
 * phase: NEW -> RUNNING -> ASKED -> SERVING -> ENDING -> GONE
 */
#include <errno.h>

#include "controller.h"
#include "core.h"
#include "jobs.h"
#include "kinds.h"
#include "output.h"

static void wake_runtime(void *arg)
{
    struct ior_runtime *rt = arg;
    (void)rt->engine_ops->wake(rt->engine); /* the command is queued either way */
}

/* In the place of event callbacks a service does not have. */
static void ignore(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    (void)cx;
    (void)ev;
}

int ior__context_new(struct ior_runtime *rt, const struct ior_handler *handler, void *self, struct ior_context **ret)
{
    struct ior_handler copy;
    if (!handler)
        return -EINVAL;
    int err = ior__struct_in(&copy, sizeof(copy), handler, sizeof(copy));
    if (err < 0)
        return err;
    struct ior_context *cx = ior__calloc(sizeof(*cx));
    if (!cx)
        return -ENOMEM;
    cx->ctl = ior__controller_new(wake_runtime, rt);
    if (!cx->ctl) {
        ior__free(cx, sizeof(*cx));
        return -ENOMEM;
    }
    atomic_init(&cx->ctl->loop_thread,
                rt->begun || rt->busy ? atomic_load(rt->owner) : 0); /* until it runs it is nobody's loop */
    cx->rt = rt;
    cx->handler = copy;
    if (!copy.listener)
        cx->handler.listener = ignore;
    if (!copy.transport)
        cx->handler.transport = ignore;
    rt->tickers += copy.tick != NULL;
    cx->self = self;
    cx->data_event.type = IOR_EV_DATA;
    struct ior_context **link = &rt->contexts;
    while (*link)
        link = &(*link)->next;
    *link = cx;
    rt->new_contexts++;
    *ret = cx;
    return 0;
}

/* Frees a context that is on no list any more. Commands nobody took go to `drop`. */
void ior__context_free(struct ior_context *cx)
{
    struct ior_command *command;
    ior__controller_close(cx->ctl);
    while ((command = ior__controller_take(cx->ctl)) != NULL)
        ior__command_drop(command);
    ior__controller_gone(cx->ctl);
    cx->rt->wakes_before += atomic_load(&cx->ctl->wakes);
    ior_controller_unref(cx->ctl);
    ior__free(cx, sizeof(*cx));
}

int ior_attach(struct ior_context *cx, const struct ior_handler *handler, void *self, struct ior_context **ret_cx)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret_cx)
        return -EINVAL;
    err = ior__may_register(cx);
    return err < 0 ? err : ior__context_new(cx->rt, handler, self, ret_cx);
}

/* ---- start and tick ---- */

static void ask_stop(struct ior_context *cx, uint64_t drain_ns)
{
    uint64_t at_ns = ior__deadline_after(cx->rt, drain_ns);
    if (cx->phase >= IOR__PHASE_ASKED) {
        if (at_ns < cx->stop_ns)
            cx->stop_ns = at_ns;
        return;
    }
    cx->phase = IOR__PHASE_ASKED;
    cx->stop_ns = at_ns;
    cx->rt->stops++;
    ior__controller_close(cx->ctl);
}

void ior__stop_all(struct ior_runtime *rt, uint64_t drain_ns)
{
    rt->stopping = true;
    for (struct ior_context *cx = rt->contexts; cx; cx = cx->next)
        ask_stop(cx, drain_ns);
}

static void start_failed(struct ior_context *cx, int err)
{
    struct ior_runtime *rt = cx->rt;
    ior__log(IOR_LOG_ERROR, "a service did not start: %s", ior_strerror(err));
    cx->stop_called = true; /* it never began */
    if (rt->begun) {
        ask_stop(cx, 0);
        return;
    }
    if (rt->failed == 0)
        rt->failed = err;
    ior__stop_all(rt, 0);
}

/* Calls start where it was not called yet. */
void ior__start_services(struct ior_runtime *rt)
{
    if (IOR_LIKELY(rt->new_contexts == 0))
        return;
    for (struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        if (cx->started)
            continue;
        rt->new_contexts--;
        cx->started = true;
        if (cx->phase == IOR__PHASE_NEW)
            cx->phase = IOR__PHASE_RUNNING;
        if (rt->failed < 0) {
            cx->stop_called = true; /* the run fails: neither start nor stop */
            continue;
        }
        int err = cx->handler.start ? cx->handler.start(cx->self, cx) : 0;
        if (err < 0)
            start_failed(cx, err);
    }
    rt->begun = true;
}

void ior__tick_services(struct ior_runtime *rt)
{
    for (struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        if (cx->handler.tick && cx->started && cx->phase != IOR__PHASE_GONE)
            cx->handler.tick(cx->self, cx, rt->now_ns);
    }
}

/* ---- commands ---- */

/* `drop` is a callback: from the loop, not from inside a request. */
static void drop_later(struct ior_runtime *rt, struct ior_command *command)
{
    command->priv[0] = rt->drops;
    rt->drops = command;
}

void ior_reply(struct ior_context *cx, struct ior_command *command, int status)
{
    if (ior__enter(cx) == 0 && command && ior__command_reply(command, status) < 0)
        drop_later(cx->rt, command);
}

struct ior_controller *ior_controller_of(struct ior_context *cx)
{
    return ior__enter(cx) < 0 ? NULL : ior_controller_ref(cx->ctl);
}

static void call_drops(struct ior_runtime *rt)
{
    struct ior_command *command = rt->drops;
    rt->drops = NULL;
    while (command) {
        struct ior_command *next = command->priv[0];
        command->priv[0] = NULL;
        ior__command_drop(command);
        command = next;
    }
}

/*
 * Serves as many commands as a turn may, out of one batch: what comes meanwhile is the next turn's. A turn that went on
 * taking would find a handful each time, and leave an empty queue, that is, a wake to pay, to whoever sends next. The
 * next command is kept in a register: a queue read back from memory makes it wait for the store of the one before.
 */
static void serve(struct ior_context *cx)
{
    struct ior_runtime *rt = cx->rt;
    struct ior_controller *ctl = cx->ctl;
    bool undeliverable = rt->freeing || !cx->handler.command;
    struct ior_command *next = ior__controller_first(ctl);
    for (uint32_t i = 0; next && i < rt->budget_commands; i++) {
        struct ior_command *command = next;
        next = ior__controller_shift(ctl, command);
        if (IOR_UNLIKELY(undeliverable)) {
            drop_later(rt, command);
            continue;
        }
        rt->commands_served++;
        cx->handler.command(cx->self, cx, command);
    }
}

static void call_stop(struct ior_context *cx)
{
    cx->phase = IOR__PHASE_SERVING;
    if (cx->stop_called || !cx->started)
        return;
    cx->stop_called = true;
    if (cx->handler.stop)
        cx->handler.stop(cx->self, cx);
}

/* Step 4: shutdown that was asked for through controllers, `stop`, and a batch of commands of each service. */
void ior__serve_commands(struct ior_runtime *rt)
{
    ior__start_services(rt);
    rt->commands_left = false;
    if (rt->jobs) {
        ior__jobs_serve(rt);
        rt->commands_left = ior__jobs_ready(rt);
    }
    for (struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        uint32_t asks = atomic_load_explicit(&cx->ctl->asks, memory_order_acquire);
        if (IOR_LIKELY(asks == cx->ctl->asks_seen))
            continue;
        cx->ctl->asks_seen = asks;
        ior__stop_all(rt, atomic_load_explicit(&cx->ctl->drain_ns, memory_order_relaxed));
    }
    for (struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        if (IOR_UNLIKELY(!cx->started && !rt->freeing))
            continue; /* attached just now: its start comes first */
        if (IOR_UNLIKELY(cx->phase == IOR__PHASE_ASKED))
            call_stop(cx);
        serve(cx);
        rt->commands_left |= ior__controller_ready(cx->ctl); /* taken or not: whoever queued it will not wake again */
    }
    if (IOR_UNLIKELY(rt->drops != NULL))
        call_drops(rt);
}

/* ---- stop ---- */

void ior_stop(struct ior_context *cx, uint64_t drain_ns)
{
    if (ior__enter(cx) == 0)
        ior__stop_all(cx->rt, drain_ns);
}

int ior_detach(struct ior_context *cx, uint64_t drain_ns)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (cx == cx->rt->contexts)
        return -EINVAL;
    ask_stop(cx, drain_ns);
    return 0;
}

static void close_one(struct ior_context *cx, struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    if (kind && kind->close) {
        if (kind->close(res, IOR_SHUTDOWN, cx->stop_ns) < 0)
            (void)kind->close(res, IOR_SHUTDOWN, IOR_NEVER); /* it is forced when the service's time is over */
        return;
    }
    if ((res->bits & (IOR__LISTENER | IOR__CONNECTING)) || !res->ops->write) {
        ior__end(res, IOR_SHUTDOWN, 0, -1);
        return;
    }
    const struct ior__deadlines *deadlines = res->deadlines;
    uint64_t at_ns = cx->stop_ns;
    if ((res->bits & IOR__CLOSING) && deadlines && deadlines->at_ns[IOR_DEADLINE_DRAIN] < at_ns)
        at_ns = deadlines->at_ns[IOR_DEADLINE_DRAIN]; /* a stop never lengthens what the service asked for */
    if (ior__start_close(res, IOR_SHUTDOWN, at_ns) < 0)
        (void)ior__start_close(res, IOR_SHUTDOWN, IOR_NEVER); /* the service's own deadline will end it */
}

static bool forced(struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    return kind && kind->force && kind->force(res);
}

/* All resources of a service: listeners first, then the rest closes; or, with `force`, ends. */
static void end_all(struct ior_context *cx, bool force)
{
    struct ior_runtime *rt = cx->rt;
    for (int listeners = 1; listeners >= 0; listeners--) {
        for (uint32_t i = 0; i < rt->slots.made; i++) {
            struct ior_resource *res = ior__slots_at(&rt->slots, i);
            if (!res || res->cx != cx || (res->bits & IOR__ENDING))
                continue;
            if (listeners != ((res->bits & IOR__LISTENER) != 0))
                continue;
            if (force && !forced(res))
                ior__end(res, IOR_SHUTDOWN, 0, -1);
            else if (!force)
                close_one(cx, res);
        }
    }
}

/* How long after a service's time is over its resources may still wait for threads: END tells what was done then. */
#define THREADS_WAIT_NS IOR_NS_PER_SEC

static uint64_t give_up_at(const struct ior_context *cx)
{
    return ior_time_add(cx->stop_ns, THREADS_WAIT_NS);
}

static void give_up_all(struct ior_context *cx)
{
    for (uint32_t i = 0; cx->awaiting > 0 && i < cx->rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&cx->rt->slots, i);
        if (res && res->cx == cx)
            (void)ior__end_give_up(res);
    }
}

static void advance(struct ior_context *cx)
{
    if (cx->phase == IOR__PHASE_SERVING && !ior__controller_ready(cx->ctl)) {
        end_all(cx, false);
        ior__jobs_stop(cx);
        cx->phase = IOR__PHASE_ENDING;
        cx->forced = false;
    } else if (cx->phase == IOR__PHASE_ENDING && cx->resources + cx->jobs > 0 && !cx->forced &&
               cx->rt->now_ns >= cx->stop_ns) {
        end_all(cx, true);
        ior__jobs_abandon(cx);
        cx->forced = true;
    } else if (cx->awaiting > 0 && cx->forced && cx->rt->now_ns >= give_up_at(cx)) {
        give_up_all(cx);
    }
    if (cx->phase == IOR__PHASE_ENDING && cx->resources == 0 && cx->jobs == 0) {
        ior__drop_timers(cx);
        cx->phase = IOR__PHASE_GONE;
    }
}

/* Step 4, behind the commands: services that stop get one step further. */
void ior__advance_stops(struct ior_runtime *rt)
{
    struct ior_context **link = &rt->contexts;
    while (*link) {
        struct ior_context *cx = *link;
        if (cx->phase >= IOR__PHASE_SERVING)
            advance(cx);
        if (cx->phase == IOR__PHASE_GONE && cx != rt->contexts) {
            *link = cx->next;
            rt->new_contexts -= !cx->started && !rt->freeing;
            rt->stops--;
            rt->tickers -= cx->handler.tick != NULL;
            ior__context_free(cx);
        } else {
            link = &cx->next;
        }
    }
}

bool ior__over(const struct ior_runtime *rt)
{
    return rt->stops > 0 && rt->contexts->phase == IOR__PHASE_GONE && !rt->contexts->next && !rt->drops;
}

/* When the loop must turn for the sake of a stop, or of what a batch of commands left over; IOR_NEVER: no need. */
uint64_t ior__stop_deadline(const struct ior_runtime *rt)
{
    uint64_t least = ior__jobs_ready(rt) ? 0 : IOR_NEVER;
    for (const struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        if (IOR_LIKELY(cx->phase <= IOR__PHASE_RUNNING && !ior__controller_ready(cx->ctl)))
            continue;
        if (cx->phase == IOR__PHASE_GONE)
            continue;
        uint64_t at_ns = 0;
        if (cx->phase == IOR__PHASE_ENDING && cx->resources + cx->jobs > 0)
            at_ns = !cx->forced        ? cx->stop_ns
                    : cx->awaiting > 0 ? give_up_at(cx)
                                       : IOR_NEVER; /* for killed children, and jobs nobody may abandon */
        if (at_ns < least)
            least = at_ns;
    }
    return least;
}
