/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all system calls and calls of the engine have in common: they are counted, may fail, take their time and are
 * traced; and a call on an fd that is none of the host's is found out.
 */
#include "world.h"

static bool only_looks(enum ior_sim_call kind)
{
    /* A bad number given to a request is the caller's mistake, and the request's answer. */
    return kind == IOR_SIM_FD_KIND || kind == IOR_SIM_DUP || kind == IOR_SIM_WATCH || kind == IOR_SIM_REWATCH ||
           kind == IOR_SIM_UNWATCH;
}

static int bad_fd(struct call *call, const struct fd *at)
{
    struct ior_sim *sim = call->node->sim;
    const char *name = ior_sim_call_name(call->kind);
    int fd = call->fd >= IOR_SIM_FD_FIRST ? call->fd - IOR_SIM_FD_FIRST : call->fd;

    if (only_looks(call->kind))
        return -EBADF;
    if (!at || at->state == FD_NEVER || at->host != call->node->host)
        ior__violate(sim, IOR_SIM_BAD_FD, "%s of fd %d", name, fd);
    else if (at->state == FD_CLOSED && call->kind == IOR_SIM_CLOSE)
        ior__violate(sim, IOR_SIM_DOUBLE_CLOSE, "close of fd %d", fd);
    else if (at->state == FD_CLOSED)
        ior__violate(sim, IOR_SIM_USE_AFTER_CLOSE, "%s of fd %d", name, fd);
    return -EBADF;
}

int ior__call_begin(struct call *call, void *arg, enum ior_sim_call kind, int fd)
{
    struct node *node = arg;
    struct ior_sim *sim = node->sim;

    *call = (struct call){.node = node, .kind = kind, .fd = fd};
    sim->hosts[node->host - 1]->counts[kind]++;
    sim->now_ns += sim->config.call_ns;
    if (SIM_UNLIKELY(sim->config.rates.thread > 0) && ior__chance(sim, sim->config.rates.thread))
        ior__thread_in_call(sim);
    if (fd == 0)
        return 0;
    const struct fd *at = ior__fd_at(sim, fd);
    if (SIM_UNLIKELY(!at || at->state != FD_OPEN || at->host != node->host))
        return bad_fd(call, at);
    call->file = at->file;
    return 0;
}

int ior__call_fault(struct call *call, uint64_t most)
{
    struct ior_sim *sim = call->node->sim;
    int err = SIM_UNLIKELY(sim->faulty) ? ior__faults_pick(call, most) : 0;
    sim->calls++;
    return err;
}

/* Calls whose success is progress. */
static bool moves(enum ior_sim_call kind)
{
    return kind == IOR_SIM_ACCEPT || (kind >= IOR_SIM_RECV && kind <= IOR_SIM_SENDFILE) ||
           kind == IOR_SIM_RECV_DATAGRAMS || kind == IOR_SIM_SEND_DATAGRAMS;
}

int64_t ior__call_end(struct call *call, int64_t result)
{
    if (SIM_UNLIKELY(call->late_error != 0))
        result = -call->late_error;
    if (moves(call->kind) && result > 0)
        call->node->turns_here = 0;
    ior__trace_call(call, result);
    return result;
}
