/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which call can fail, with what, and when it does: by chance, by script, or at its place in the count of all calls.
 * The table is the man pages' (Linux, section 2, and POSIX where they say more); a condition says in which state of the
 * fd an error is possible. Errors that mean the end of a connection end it, for both sides.
 */
#include "world.h"

#include <string.h>

enum fault_class {
    CLASS_SHORT_READ,
    CLASS_SHORT_WRITE,
    CLASS_AGAIN,
    CLASS_INTERRUPTED,
    CLASS_RESET,
    CLASS_ABORTED,
    CLASS_NO_FDS,
    CLASS_NO_MEMORY,
    CLASS_OTHER,
    CLASSES,
};

enum fault_when {
    WHEN_ALWAYS,
    WHEN_MORE,      /* it could move more than one byte */
    WHEN_TCP,       /* a TCP socket */
    WHEN_UNIX,      /* a Unix socket */
    WHEN_CONNECTED, /* a connected socket */
    WHEN_QUEUED,    /* a connection waits to be accepted */
    WHEN_NO_HUP,    /* neither hung up nor in error: then a kernel has an answer, and never says EAGAIN */
};

struct fault_line {
    enum ior_sim_call call;
    int error;
    enum fault_class class;
    enum fault_when when;
};

/* Lines of one call stand together, at most 32 of them. */
static const struct fault_line lines[] = {
    {IOR_SIM_SOCKET, EMFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_SOCKET, ENFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_SOCKET, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SOCKET, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SOCKET, EACCES, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_SOCKET, EAFNOSUPPORT, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_BIND, EADDRINUSE, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_BIND, EACCES, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_BIND, EADDRNOTAVAIL, CLASS_OTHER, WHEN_TCP},
    {IOR_SIM_BIND, ENOENT, CLASS_OTHER, WHEN_UNIX},
    {IOR_SIM_BIND, ENOMEM, CLASS_NO_MEMORY, WHEN_UNIX},
    {IOR_SIM_BIND, EROFS, CLASS_OTHER, WHEN_UNIX},
    {IOR_SIM_LISTEN, EADDRINUSE, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_ACCEPT, EAGAIN, CLASS_AGAIN, WHEN_ALWAYS},
    {IOR_SIM_ACCEPT, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_ACCEPT, ECONNABORTED, CLASS_ABORTED, WHEN_QUEUED},
    {IOR_SIM_ACCEPT, EPROTO, CLASS_ABORTED, WHEN_QUEUED},
    {IOR_SIM_ACCEPT, EPERM, CLASS_ABORTED, WHEN_QUEUED},
    {IOR_SIM_ACCEPT, ENETDOWN, CLASS_ABORTED, WHEN_QUEUED},
    {IOR_SIM_ACCEPT, EHOSTUNREACH, CLASS_ABORTED, WHEN_QUEUED},
    {IOR_SIM_ACCEPT, ENETUNREACH, CLASS_ABORTED, WHEN_QUEUED},
    {IOR_SIM_ACCEPT, EMFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_ACCEPT, ENFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_ACCEPT, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_ACCEPT, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_CONNECT, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_CONNECT, EACCES, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_CONNECT, EPERM, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_CONNECT, EAGAIN, CLASS_OTHER, WHEN_UNIX},
    {IOR_SIM_CONNECT, ENETUNREACH, CLASS_OTHER, WHEN_TCP},
    {IOR_SIM_CONNECT, EADDRNOTAVAIL, CLASS_OTHER, WHEN_TCP},
    {IOR_SIM_CONNECT, ECONNREFUSED, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_GETSOCKNAME, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_GETPEERNAME, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_GETSOCKOPT, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SETSOCKOPT, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SETSOCKOPT, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SHUTDOWN, ENOTCONN, CLASS_RESET, WHEN_CONNECTED},
    {IOR_SIM_CLOSE, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_RECV, IOR_SIM_SHORT, CLASS_SHORT_READ, WHEN_MORE},
    {IOR_SIM_RECV, EAGAIN, CLASS_AGAIN, WHEN_NO_HUP},
    {IOR_SIM_RECV, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_RECV, ECONNRESET, CLASS_RESET, WHEN_CONNECTED},
    {IOR_SIM_RECV, ETIMEDOUT, CLASS_RESET, WHEN_TCP},
    {IOR_SIM_RECV, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SEND, IOR_SIM_SHORT, CLASS_SHORT_WRITE, WHEN_MORE},
    {IOR_SIM_SEND, EAGAIN, CLASS_AGAIN, WHEN_ALWAYS},
    {IOR_SIM_SEND, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_SEND, ECONNRESET, CLASS_RESET, WHEN_CONNECTED},
    {IOR_SIM_SEND, EPIPE, CLASS_RESET, WHEN_CONNECTED},
    {IOR_SIM_SEND, ETIMEDOUT, CLASS_RESET, WHEN_TCP},
    {IOR_SIM_SEND, ENOBUFS, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_SEND, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_READ, IOR_SIM_SHORT, CLASS_SHORT_READ, WHEN_MORE},
    {IOR_SIM_READ, EAGAIN, CLASS_AGAIN, WHEN_NO_HUP},
    {IOR_SIM_READ, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_READ, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_WRITE, IOR_SIM_SHORT, CLASS_SHORT_WRITE, WHEN_MORE},
    {IOR_SIM_WRITE, EAGAIN, CLASS_AGAIN, WHEN_ALWAYS},
    {IOR_SIM_WRITE, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_WRITE, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_SENDFILE, IOR_SIM_SHORT, CLASS_SHORT_WRITE, WHEN_MORE},
    {IOR_SIM_SENDFILE, EAGAIN, CLASS_AGAIN, WHEN_ALWAYS},
    {IOR_SIM_SENDFILE, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_SENDFILE, ECONNRESET, CLASS_RESET, WHEN_CONNECTED},
    {IOR_SIM_SENDFILE, EPIPE, CLASS_RESET, WHEN_CONNECTED},
    {IOR_SIM_SENDFILE, EINVAL, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_SENDFILE, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_SENDFILE, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_PREAD, IOR_SIM_SHORT, CLASS_SHORT_READ, WHEN_MORE},
    {IOR_SIM_PREAD, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_PREAD, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_DUP, EMFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_FD_KIND, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_PATH_STAT, EACCES, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_STAT, ENOENT, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_STAT, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_PATH_CHMOD, EPERM, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_CHMOD, EROFS, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_CHMOD, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_CHMOD, ENOENT, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_CHMOD, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_PATH_UNLINK, EACCES, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_UNLINK, EBUSY, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_UNLINK, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_UNLINK, ENOENT, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_UNLINK, EROFS, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_PATH_UNLINK, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_RESOLVE, EAGAIN, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_RESOLVE, ENOENT, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_RESOLVE, EIO, CLASS_OTHER, WHEN_ALWAYS},
    {IOR_SIM_RESOLVE, EMFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_RESOLVE, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_ENGINE_OPEN, EMFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_ENGINE_OPEN, ENFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_ENGINE_OPEN, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_WATCH, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_WATCH, ENOSPC, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_REWATCH, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
    {IOR_SIM_WAIT, EINTR, CLASS_INTERRUPTED, WHEN_ALWAYS},
    {IOR_SIM_REBUILD, EMFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_REBUILD, ENFILE, CLASS_NO_FDS, WHEN_ALWAYS},
    {IOR_SIM_REBUILD, ENOMEM, CLASS_NO_MEMORY, WHEN_ALWAYS},
};

/* The lines of a call: the first, and how many. */
static const struct fault_line *lines_of(enum ior_sim_call kind, unsigned *count)
{
    unsigned first = 0, n = 0;
    while (first < SIM_COUNT_OF(lines) && lines[first].call != kind)
        first++;
    while (first + n < SIM_COUNT_OF(lines) && lines[first + n].call == kind)
        n++;
    *count = n;
    return lines + first;
}

bool ior__fault_possible(enum ior_sim_call kind, int error)
{
    for (size_t i = 0; i < SIM_COUNT_OF(lines); i++) {
        if ((lines[i].call == kind || kind == IOR_SIM_ANY) && lines[i].error == error)
            return true;
    }
    return false;
}

static bool holds(const struct call *call, enum fault_when when, uint64_t most)
{
    const struct file *file = call->file;
    const struct end *end = file && file->kind == FILE_STREAM ? file->end : NULL;

    switch (when) {
    case WHEN_ALWAYS:
        return true;
    case WHEN_MORE:
        return most > 1;
    case WHEN_TCP:
        return end && end->kind == END_TCP && (call->kind != IOR_SIM_RECV || end->state == END_OPEN) &&
               (call->kind != IOR_SIM_SEND || end->state == END_OPEN);
    case WHEN_UNIX:
        return end && end->kind == END_UNIX;
    case WHEN_CONNECTED:
        return end && (end->kind == END_TCP || end->kind == END_UNIX) && end->state == END_OPEN && !end->other_gone;
    case WHEN_QUEUED:
        return file && file->kind == FILE_LISTENER && file->bound->queue_len > 0;
    case WHEN_NO_HUP:
        return file && (ior__file_ready(call->node->sim, file) & (IOR_HUP | IOR_ERR)) == 0;
    }
    return false;
}

static uint32_t possible(const struct call *call, const struct fault_line *first, unsigned count, uint64_t most)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < count; i++)
        mask |= holds(call, first[i].when, most) ? UINT32_C(1) << i : 0;
    return mask;
}

static uint32_t rate_of(const struct ior_sim_rates *rates, enum fault_class class)
{
    const uint32_t of[CLASSES] = {
        rates->short_read, rates->short_write, rates->again,     rates->interrupted, rates->reset,
        rates->aborted,    rates->no_fds,      rates->no_memory, rates->other_error,
    };
    return of[class];
}

/* One of the possible lines of a class. */
static const struct fault_line *any_of(struct ior_sim *sim, const struct fault_line *first, unsigned count,
                                       uint32_t mask, enum fault_class class)
{
    const struct fault_line *found[32] = {NULL};
    uint32_t n = 0;
    for (unsigned i = 0; i < count; i++) {
        if ((mask >> i & 1) && first[i].class == class)
            found[n++] = &first[i];
    }
    return found[ior_sim_choose(sim, n)];
}

static const struct fault_line *by_chance(struct ior_sim *sim, const struct fault_line *first, unsigned count,
                                          uint32_t mask)
{
    uint32_t asked = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!(mask >> i & 1) || (asked >> first[i].class & 1))
            continue;
        asked |= UINT32_C(1) << first[i].class;
        if (ior__chance(sim, rate_of(&sim->config.rates, first[i].class)))
            return any_of(sim, first, count, mask, first[i].class);
    }
    return NULL;
}

static const struct fault_line *line_with(const struct fault_line *first, unsigned count, uint32_t mask, int error)
{
    for (unsigned i = 0; i < count; i++) {
        if ((mask >> i & 1) && first[i].error == error)
            return &first[i];
    }
    return NULL;
}

static const struct fault_line *by_script(struct ior_sim *sim, const struct call *call, const struct fault_line *first,
                                          unsigned count, uint32_t mask)
{
    for (uint32_t i = 0; i < sim->scripted_n; i++) {
        struct fault *fault = &sim->scripted[i];
        const struct ior_sim_fault *is = &fault->is;
        if ((is->call != IOR_SIM_ANY && is->call != call->kind) ||
            (is->host != 0 && (uint32_t)is->host != call->node->host) || (is->fd != 0 && is->fd != call->fd))
            continue;
        const struct fault_line *line = line_with(first, count, mask, is->error);
        if (!line)
            continue;
        fault->seen++;
        if (fault->seen >= is->nth && fault->seen - is->nth < is->count)
            return line;
    }
    return NULL;
}

static const struct fault_line *by_index(const struct ior_sim *sim, uint64_t index, const struct fault_line *first,
                                         unsigned count, uint32_t mask)
{
    for (uint32_t i = 0; i < sim->fail_at_n; i++) {
        if (sim->fail_at[i].index == index)
            return line_with(first, count, mask, sim->fail_at[i].error);
    }
    return NULL;
}

/* The connection ends, here and there; what was received and not read is lost with it. */
static void connection_ends(struct ior_sim *sim, struct call *call, int error)
{
    struct end *end = call->file->end;
    end->arrived = 0;
    ior__end_send_reset(sim, end, ior_sim_choose(sim, 2) == 1);
    ior__end_die(sim, end, call->kind == IOR_SIM_SHUTDOWN ? ECONNRESET : 0);
    end->ended = (int16_t)(error == ENOTCONN ? ECONNRESET : error);
    if (end->kind == END_UNIX)
        end->other_gone = true;
}

/* What a fault does besides its answer. */
static int happen(struct call *call, const struct fault_line *line)
{
    struct ior_sim *sim = call->node->sim;
    sim->faults++;
    if (line->error == IOR_SIM_SHORT) {
        call->short_of = true;
        return 0;
    }
    if (line->class == CLASS_RESET) {
        connection_ends(sim, call, line->error);
    } else if (line->class == CLASS_ABORTED) {
        struct end *end = ior__listener_next(sim, call->file->bound);
        if (end)
            ior__end_close(sim, end, true);
    } else if ((call->kind == IOR_SIM_CONNECT && line->error == EINTR) || call->kind == IOR_SIM_CLOSE) {
        call->late_error = line->error;
        return 0;
    }
    return -line->error;
}

static void keep(struct ior_sim *sim, const struct call *call, uint32_t mask)
{
    if (sim->calls > UINT32_MAX)
        return;
    sim->kept = ior__mem_room(sim->kept, (uint32_t)sim->calls, &sim->kept_room, sizeof(*sim->kept));
    sim->kept[sim->calls] = (struct kept_call){
        .errors = mask, .fd = call->fd, .host = (uint16_t)call->node->host, .kind = (uint8_t)call->kind};
}

int ior__faults_pick(struct call *call, uint64_t most)
{
    struct ior_sim *sim = call->node->sim;
    unsigned count;
    const struct fault_line *first = lines_of(call->kind, &count);
    uint32_t mask = possible(call, first, count, most);

    if (sim->config.keep_calls)
        keep(sim, call, mask);
    const struct fault_line *line = by_index(sim, sim->calls, first, count, mask);
    if (!line)
        line = by_script(sim, call, first, count, mask);
    if (!line)
        line = by_chance(sim, first, count, mask);
    return line ? happen(call, line) : 0;
}

/* ---- what the test asks for ---- */

int ior_sim_fail(struct ior_sim *sim, const struct ior_sim_fault *fault)
{
    if (!sim || !fault || (unsigned)fault->call >= IOR_SIM_CALLS || (fault->host && !ior__host_at(sim, fault->host)))
        return -EINVAL;
    if (!ior__fault_possible(fault->call, fault->error))
        return -ENOTSUP;
    sim->scripted = ior__mem_room(sim->scripted, sim->scripted_n, &sim->scripted_room, sizeof(struct fault));
    struct fault *new = &sim->scripted[sim->scripted_n++];
    *new = (struct fault){.is = *fault};
    new->is.nth = fault->nth ? fault->nth : 1;
    new->is.count = fault->count ? fault->count : 1;
    sim->faulty = true;
    return 0;
}

void ior_sim_fail_none(struct ior_sim *sim)
{
    sim->scripted_n = 0;
    sim->fail_at_n = 0;
}

int ior_sim_fail_at(struct ior_sim *sim, uint64_t index, int error)
{
    if (!sim)
        return -EINVAL;
    if (!ior__fault_possible(IOR_SIM_ANY, error))
        return -ENOTSUP;
    sim->fail_at = ior__mem_room(sim->fail_at, sim->fail_at_n, &sim->fail_at_room, sizeof(struct fault_at));
    sim->fail_at[sim->fail_at_n++] = (struct fault_at){.index = index, .error = error};
    sim->faulty = true;
    return 0;
}

int ior_sim_call_at(const struct ior_sim *sim, uint64_t index, struct ior_sim_call_info *ret)
{
    if (!sim || !ret)
        return -EINVAL;
    if (!sim->config.keep_calls)
        return -ENOTSUP;
    if (index >= sim->calls || index >= UINT32_MAX)
        return -ERANGE;
    const struct kept_call *kept = &sim->kept[index];
    unsigned count;
    const struct fault_line *first = lines_of((enum ior_sim_call)kept->kind, &count);
    memset(ret, 0, sizeof(*ret));
    ret->call = (enum ior_sim_call)kept->kind;
    ret->host = kept->host;
    ret->fd = kept->fd;
    for (unsigned i = 0; i < count && ret->n_errors < (int)SIM_COUNT_OF(ret->errors); i++) {
        if (kept->errors >> i & 1)
            ret->errors[ret->n_errors++] = first[i].error;
    }
    return 0;
}

uint64_t ior_sim_calls(const struct ior_sim *sim)
{
    return sim->calls;
}

uint64_t ior_sim_faults(const struct ior_sim *sim)
{
    return sim->faults;
}

static bool any_rate(const struct ior_sim_rates *rates)
{
    for (int class = 0; class < CLASSES; class ++) {
        if (rate_of(rates, (enum fault_class) class) > 0)
            return true;
    }
    return false;
}

void ior_sim_set_rates(struct ior_sim *sim, const struct ior_sim_rates *rates)
{
    sim->config.rates = rates ? *rates : (struct ior_sim_rates){0};
    if (sim->config.rates.cut_ns == 0)
        sim->config.rates.cut_ns = IOR_NS_PER_SEC;
    sim->faulty = any_rate(&sim->config.rates) || sim->config.keep_calls || sim->scripted_n > 0 || sim->fail_at_n > 0;
}

void ior__faults_free(struct ior_sim *sim)
{
    ior__mem_free(sim->kept);
    ior__mem_free(sim->scripted);
    ior__mem_free(sim->fail_at);
}
