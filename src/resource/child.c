/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes: told when they exit, stopped with grace. How they are started is in spawn_request.c.
 *
 * The fd of the process is readable from its exit on, also where nobody looked for it then, and the process stays a
 * zombie until it is reaped here; so neither an early exit nor a pid that is used anew can be missed or mistaken. What
 * the fd is where the system has none for processes: src/waiter.c.
 *
 * To stop it is SIGTERM, then SIGKILL at IOR_DEADLINE_DRAIN, then a last wait: a process that the kernel cannot end
 * now (it waits for a disk, say) must not hold up a shutdown for ever. A child whose resource is destroyed is killed
 * and reaped, which is the one place where a thread waits for another process.
 *
 * Invariant: while `gone` is false the process is this resource's: it runs, or is a zombie.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include <ioreactor/child.h>

#include "child.h"

#define KILL_WAIT_NS IOR_NS_PER_SEC /* a killed process takes microseconds, or is stuck */

static struct ior__child *child_of(const struct ior_resource *res)
{
    return (struct ior__child *)(uintptr_t)res;
}

static int wait_for(struct ior__child *child, uint64_t timeout_ns, bool reap, struct ior_exit *ret)
{
    const struct ior_os *os = child->os;
    return os->processes->wait(os->arg, &child->process, timeout_ns, reap, ret);
}

/* A group is named by a number, which may be another's once the process was reaped, by whomever. */
static bool group_is_gone(struct ior__child *child)
{
    struct ior_exit exit;
    return wait_for(child, 0, false, &exit) == -ECHILD;
}

static int send_signal(struct ior__child *child, int signo)
{
    const struct ior_os *os = child->os;
    if (child->gone || (child->group && group_is_gone(child)))
        return -ESRCH;
    return os->processes->kill(os->arg, &child->process, child->group, signo);
}

static void kill_it(struct ior__child *child)
{
    child->killed = true;
    int err = send_signal(child, SIGKILL);
    if (err < 0 && err != -ESRCH)
        ior__log(IOR_LOG_WARN, "process %ld cannot be killed: %s", (long)child->process.pid, ior_strerror(err));
}

/* A destroyed resource has no second chance to look: what was interrupted is asked again at once. */
static int wait_through(struct ior__child *child, uint64_t timeout_ns, bool reap, struct ior_exit *ret)
{
    int r;
    do {
        r = wait_for(child, timeout_ns, reap, ret);
    } while (r == -EINTR);
    return r;
}

/* Whether it has exited; then it is reaped, and the rest of its group killed, whose number its zombie kept from reuse. */
static int reap(struct ior__child *child, uint64_t timeout_ns, struct ior_exit *ret)
{
    int r = wait_through(child, timeout_ns, !child->group, ret);
    if (r == 1 && child->group) {
        (void)send_signal(child, SIGKILL);
        r = wait_through(child, 0, true, ret);
    }
    child->gone = r == 1;
    return r;
}

/* ---- the kind ---- */

static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

static void tell_exited(struct ior_resource *res, const struct ior_exit *exit)
{
    struct ior_event ev = {.type = IOR_EV_EXITED};
    ev.exit = exit;
    ior__tell(res, &ev);
    ior__end(res, (res->bits & IOR__CLOSING) ? (enum ior_why)res->why : IOR_EOF, 0, -1);
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct ior_exit exit;
    (void)io;
    (void)emit;
    int r = reap(child_of(res), 0, &exit);
    if (r == 1)
        tell_exited(res, &exit);
    if (r >= 0)
        return (res->bits & IOR__IN_SET) ? IOR_IO_DONE : IOR_IO_MORE;
    child_of(res)->gone = r == -ECHILD;
    return r;
}

/*
 * In a forked child of the program's the process is a sibling, which wait refuses: only what is this process's to reap
 * is killed.
 */
static void kill_and_reap(struct ior__child *child)
{
    struct ior_exit exit;
    int r = reap(child, 0, &exit);
    if (r != 0)
        return;
    kill_it(child);
    if (reap(child, KILL_WAIT_NS, &exit) != 1)
        ior__log(IOR_LOG_ERROR, "process %ld does not end: it is left to whoever reaps", (long)child->process.pid);
}

static void destroy(struct ior_resource *res)
{
    struct ior__child *child = child_of(res);
    bool open = res->fd >= 0 && !(res->bits & IOR__LOST);
    if (open && !child->gone)
        kill_and_reap(child);
    if (!open)
        child->process.fd = -1; /* not ours to close */
    child->os->processes->process_close(child->os->arg, &child->process);
    ior__free(child, sizeof(*child));
}

/* ---- stopping ---- */

/* The last wait begins. */
static int kill_now(struct ior_resource *res)
{
    int err = ior__deadline_set(res, IOR_DEADLINE_DRAIN, ior__deadline_after(res->cx->rt, KILL_WAIT_NS));
    if (err == 0)
        kill_it(child_of(res));
    return err;
}

static int set_grace(struct ior_resource *res, uint64_t drain_at_ns)
{
    if (drain_at_ns != IOR_NEVER)
        return ior__deadline_set(res, IOR_DEADLINE_DRAIN, drain_at_ns);
    ior__deadline_clear(res, IOR_DEADLINE_DRAIN);
    return 0;
}

/* SIGTERM now, SIGKILL when the time comes, then EXITED and END. */
static int close_child(struct ior_resource *res, enum ior_why why, uint64_t drain_at_ns)
{
    struct ior__child *child = child_of(res);
    bool first = !(res->bits & IOR__CLOSING);
    if (first)
        child->killed = false;
    const struct ior__deadlines *deadlines = res->deadlines;
    if (!first && why == IOR_SHUTDOWN && deadlines && deadlines->at_ns[IOR_DEADLINE_DRAIN] < drain_at_ns)
        drain_at_ns = deadlines->at_ns[IOR_DEADLINE_DRAIN]; /* a stop never lengthens what the service asked for */
    if (!child->killed) {
        bool at_once = drain_at_ns <= ior__deadline_after(res->cx->rt, 0);
        int err = at_once ? kill_now(res) : set_grace(res, drain_at_ns);
        if (err < 0)
            return err;
    }
    if (first || why == IOR_SHUTDOWN)
        res->why = (uint8_t)why;
    res->bits = (res->bits & ~(uint32_t)IOR__PAUSED) | IOR__CLOSING;
    ior__work_add(res->cx->rt, res);
    if (first && !child->killed) {
        (void)send_signal(child, SIGTERM);
        (void)send_signal(child, SIGCONT); /* one that was stopped would not notice */
    }
    return 0;
}

static void overdue(struct ior_resource *res)
{
    struct ior__child *child = child_of(res);
    if (!child->killed && kill_now(res) == 0)
        return;
    if (res->why == IOR_SHUTDOWN)
        ior__end(res, IOR_SHUTDOWN, 0, -1);
    else
        ior__end(res, IOR_TIMEOUT, ETIMEDOUT, IOR_DEADLINE_DRAIN);
}

/* Nobody turns the loop any more: what it would do, here. */
static bool end_without_loop(struct ior_resource *res)
{
    struct ior_exit exit;
    ior__tell_pending(res);
    if (res->bits & IOR__ENDING)
        return true;
    kill_it(child_of(res));
    if (reap(child_of(res), KILL_WAIT_NS, &exit) != 1)
        return false;
    tell_exited(res, &exit);
    return true;
}

static bool force(struct ior_resource *res)
{
    struct ior__child *child = child_of(res);
    res->why = IOR_SHUTDOWN;
    res->bits |= IOR__CLOSING;
    if (res->cx->rt->freeing)
        return end_without_loop(res);
    return child->killed || kill_now(res) == 0;
}

/* EXITED, and so END, come when it has. */
static bool settled(struct ior_resource *res)
{
    (void)res;
    return false;
}

/* The child is the caller's: it is neither killed nor reaped when the resource is destroyed. */
static void let_go(struct ior_resource *res)
{
    child_of(res)->gone = true;
}

static const struct ior__kind kind = {
    .close = close_child,
    .overdue = overdue,
    .force = force,
    .settled = settled,
    .let_go = let_go,
};

const struct ior_resource_ops ior__child_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "child",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};

/* ---- requests ---- */

static int find_child(struct ior_context *cx, ior_id id, struct ior_resource **ret)
{
    int err = ior__find(cx, id, ret);
    if (err == 0 && (*ret)->ops != &ior__child_ops)
        return -EOPNOTSUPP;
    return err;
}

int ior_kill(struct ior_context *cx, ior_id id, int signo)
{
    struct ior_resource *res;
    int err = find_child(cx, id, &res);
    if (err < 0)
        return err;
    if (signo < 0 || signo >= NSIG)
        return -EINVAL;
    struct ior_exit exit;
    if (wait_for(child_of(res), 0, false, &exit) == 1)
        return -ESRCH; /* a zombie would take it without a word */
    return send_signal(child_of(res), signo);
}

int ior_child_pid(struct ior_context *cx, ior_id id, pid_t *ret_pid)
{
    struct ior_resource *res;
    int err = find_child(cx, id, &res);
    if (err < 0)
        return err;
    if (!ret_pid)
        return -EINVAL;
    *ret_pid = child_of(res)->process.pid;
    return 0;
}
