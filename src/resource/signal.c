/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals as events. The fd of signalfd(2) tells only signals that no thread takes, so they are blocked in the thread
 * that asks. Where the system tells them by handlers (src/signal_pipe.c) they must not be blocked in all threads, so they
 * are unblocked in the thread that asks.
 *
 * What had to be changed in the thread's mask is `held` by one resource of the runtime, and changed back when that ends
 * in the same thread; if another one there wants it still, the hold passes on to it. One signal is read at a time: what
 * was not told waits where it is, over a pause, an end, and a handover.
 *
 * Invariant: held is a part of set; a signal is held by at most one registered resource of a runtime and thread.
 */
#include <errno.h>
#include <signal.h>

#include <ioreactor/signal.h>

#include "kinds.h"

struct ior__signals {
    struct ior_resource base;
    const struct ior_os *os;
    struct ior__signals *next; /* of those that are registered */
    struct ior_os_signals signals;
    uintptr_t thread; /* whose mask was changed */
    sigset_t set, held;
    bool keep_blocked;
};

static struct ior__signals *signals_of(const struct ior_resource *res)
{
    return (struct ior__signals *)(uintptr_t)res;
}

static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__signals *signals = signals_of(res);
    const struct ior_os *os = signals->os;
    (void)io;
    (void)emit;
    for (uint32_t i = 0; i < rt->budget_reads; i++) {
        struct ior_signal signal;
        int err = os->processes->signal_read(os->arg, &signals->signals, &signal);
        if (err == -EAGAIN)
            return IOR_IO_DONE;
        if (err == -EINTR)
            continue;
        if (err < 0)
            return err;
        struct ior_event ev = {.type = IOR_EV_SIGNAL};
        ev.signal = &signal;
        ior__touch_idle(res);
        ior__tell(res, &ev);
        if (res->bits & (IOR__ENDING | IOR__PAUSED))
            return IOR_IO_DONE;
    }
    return (res->bits & IOR__IN_SET) ? IOR_IO_DONE : IOR_IO_MORE;
}

static void destroy(struct ior_resource *res)
{
    struct ior__signals *signals = signals_of(res);
    const struct ior_os *os = signals->os;
    if (res->fd < 0 || (res->bits & IOR__LOST))
        signals->signals.fd = -1; /* not ours to close */
    os->processes->signal_close(os->arg, &signals->signals);
    ior__free(signals, sizeof(*signals));
}

/* ---- the thread's mask ---- */

/* Signals are taken for the sake of a resource that is registered, and given back when it ends. */
static void take(struct ior_runtime *rt, struct ior_resource *res)
{
    struct ior__signals *signals = signals_of(res);
    bool handled = signals->signals.handled;
    sigset_t before;
    signals->thread = ior__thread();
    sigemptyset(&before);
    if (handled) /* first, since one may wait behind the block already */
        signals->os->processes->signal_take(signals->os->arg, &signals->signals, true);
    pthread_sigmask(handled ? SIG_UNBLOCK : SIG_BLOCK, &signals->set, &before);
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&signals->set, number) == 1 && sigismember(&before, number) == (int)handled)
            sigaddset(&signals->held, number);
    }
    signals->next = rt->signals;
    rt->signals = signals;
}

/* Another one in the same thread that wants the signal, too. */
static struct ior__signals *heir_of(struct ior_runtime *rt, const struct ior__signals *signals, int number)
{
    for (struct ior__signals *at = rt->signals; at; at = at->next) {
        if (at->thread == signals->thread && sigismember(&at->set, number) == 1)
            return at;
    }
    return NULL;
}

/* keep_blocked, of signals that were not blocked so far. */
static void block_for_good(struct ior_runtime *rt, const struct ior__signals *signals)
{
    sigset_t set = signals->set;
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&set, number) == 1 && heir_of(rt, signals, number))
            sigdelset(&set, number);
    }
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void leave(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__signals *signals = signals_of(res);
    struct ior__signals **link = &rt->signals;
    while (*link != signals)
        link = &(*link)->next;
    *link = signals->next;
    for (int number = 1; number < NSIG && !signals->keep_blocked; number++) {
        if (sigismember(&signals->held, number) != 1)
            continue;
        struct ior__signals *heir = heir_of(rt, signals, number);
        if (!heir)
            continue;
        sigaddset(&heir->held, number);
        sigdelset(&signals->held, number);
    }
    bool handled = signals->signals.handled;
    if (ior__thread() == signals->thread && !signals->keep_blocked)
        pthread_sigmask(handled ? SIG_BLOCK : SIG_UNBLOCK, &signals->held, NULL);
    else if (ior__thread() == signals->thread && handled)
        block_for_good(rt, signals);
    sigemptyset(&signals->held);
    if (handled) /* last, since what is sent again may have to wait behind the block */
        signals->os->processes->signal_take(signals->os->arg, &signals->signals, false);
}

static int enter(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id)
{
    int err = ior__attach_resource(cx, res, IOR__TELL_REGISTERED, ret_id);
    if (err == 0)
        take(cx->rt, res);
    return err;
}

static const struct ior__kind kind = {
    .enter = enter,
    .leave = leave,
};

const struct ior_resource_ops ior__signals_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "signals",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};

/* ---- making ---- */

/* Those that cannot be blocked, and those that say what the thread itself did wrong. */
static bool can_wait(int number)
{
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
        return false;
    default:
        return number > 0 && number < NSIG;
    }
}

static bool fill_set(sigset_t *set, const int *numbers, size_t count)
{
    sigemptyset(set);
    for (size_t i = 0; i < count; i++) {
        if (!can_wait(numbers[i]) || sigaddset(set, numbers[i]) < 0)
            return false;
    }
    return count > 0;
}

static bool has_calls(const struct ior_os_processes *calls)
{
    return calls && calls->signal_open && calls->signal_read && calls->signal_take && calls->signal_close;
}

int ior_signals(struct ior_context *cx, const int *numbers, size_t count, const struct ior_signal_options *opts,
                ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    struct ior_signal_options in;
    sigset_t set;
    if (!ret_id || !numbers || ior__struct_in(&in, sizeof(in), opts, sizeof(in)) < 0 || !fill_set(&set, numbers, count))
        return -EINVAL;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    if (!has_calls(os->processes))
        return -ENOSYS;
    struct ior__signals *signals = ior__calloc(sizeof(*signals));
    if (!signals)
        return -ENOMEM;
    err = os->processes->signal_open(os->arg, numbers, count, &signals->signals);
    if (err < 0) {
        ior__free(signals, sizeof(*signals));
        return err;
    }
    ior_resource_init(&signals->base, &ior__signals_ops, signals->signals.fd, in.user);
    signals->os = os;
    signals->set = set;
    signals->keep_blocked = in.keep_blocked;
    err = ior__attach_resource(cx, &signals->base, IOR__TELL_REGISTERED, ret_id);
    if (err < 0)
        destroy(&signals->base);
    else
        take(cx->rt, &signals->base);
    return err;
}
