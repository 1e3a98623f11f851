/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated struct ior_os: clocks, chance, fds, paths, and the table. */
#include "os_calls.h"

#include <string.h>

/* ---- time and chance ---- */

static uint64_t os_clock(void *arg)
{
    struct node *node = arg;
    node->sim->hosts[node->host - 1]->counts[IOR_SIM_CLOCK]++;
    return node->sim->now_ns;
}

static uint64_t os_wall(void *arg)
{
    struct node *node = arg;
    struct ior_sim *sim = node->sim;
    struct host *host = sim->hosts[node->host - 1];
    host->counts[IOR_SIM_WALL]++;
    if (ior__chance(sim, sim->config.rates.wall_jump)) {
        const uint64_t most_ns = 3600 * IOR_NS_PER_SEC;
        sim->faults++;
        ior_sim_wall_jump(sim, (int)node->host, (int64_t)ior_sim_choose(sim, 2 * most_ns) - (int64_t)most_ns);
    }
    return sim->config.wall_ns + (sim->now_ns - sim->begin_ns) + (uint64_t)host->wall_off_ns;
}

static uint64_t os_random(void *arg)
{
    struct node *node = arg;
    node->sim->hosts[node->host - 1]->counts[IOR_SIM_RANDOM]++;
    return ior__mix64(&node->random);
}

static void os_sleep(void *arg, uint64_t ns)
{
    struct call call;
    ior__call_begin(&call, arg, IOR_SIM_SLEEP, 0);
    call.a = ns;
    call.node->sim->now_ns = ior_time_add(call.node->sim->now_ns, ns);
    ior__call_end(&call, 0);
}

/* ---- fds ---- */

static int os_close(void *arg, int fd)
{
    struct call call;
    int err = ior__call_begin(&call, arg, IOR_SIM_CLOSE, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0) {
        for (const struct watch *watch = call.file->watches; watch; watch = watch->next_of_file) {
            if (watch->fd == fd)
                ior__violate(call.node->sim, IOR_SIM_CLOSE_WATCHED, "close of fd %d", fd - IOR_SIM_FD_FIRST);
        }
        ior__fd_close(call.node->sim, fd, FD_CLOSED);
    }
    return (int)ior__call_end(&call, err);
}

static int os_dup(void *arg, int fd)
{
    struct call call;
    int err = ior__call_begin(&call, arg, IOR_SIM_DUP, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0 && ior__fds_full(call.node->sim, call.node->host))
        err = -EMFILE;
    int copy = err < 0 ? err : ior__fd_new(call.node->sim, call.file, false);
    ior__call_end(&call, copy < 0 ? copy : copy - IOR_SIM_FD_FIRST);
    return copy;
}

static int kind_of(const struct file *file)
{
    switch ((enum file_kind)file->kind) {
    case FILE_LISTENER:
        return IOR_FD_LISTENER;
    case FILE_REGULAR:
        return IOR_FD_FILE | IOR_FD_NO_WRITE;
    case FILE_OTHER:
        return IOR_FD_OTHER;
    case FILE_STREAM:
        break;
    }
    switch ((enum end_kind)file->end->kind) {
    case END_PIPE_READER:
        return IOR_FD_PIPE | IOR_FD_NO_WRITE;
    case END_PIPE_WRITER:
        return IOR_FD_PIPE | IOR_FD_NO_READ;
    case END_UNIX:
        return file->end->state == END_OPEN ? IOR_FD_UNIX : IOR_FD_SOCKET;
    case END_TCP:
        break;
    }
    return file->end->state == END_OPEN ? IOR_FD_TCP : IOR_FD_SOCKET;
}

static int os_fd_kind(void *arg, int fd)
{
    struct call call;
    int err = ior__call_begin(&call, arg, IOR_SIM_FD_KIND, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    return (int)ior__call_end(&call, err < 0 ? err : kind_of(call.file));
}

static int os_set_nonblock(void *arg, int fd, bool on)
{
    struct call call;
    int err = ior__call_begin(&call, arg, IOR_SIM_SET_NONBLOCK, fd);
    call.a = on;
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err < 0)
        return (int)ior__call_end(&call, err);
    bool was_on = call.file->nonblock;
    call.file->nonblock = on;
    return (int)ior__call_end(&call, was_on);
}

/* ---- paths ---- */

/* The beginning of a call on a path; 0, or -errno. */
static int begin_path(struct call *call, void *arg, enum ior_sim_call kind, const char *name, struct path **ret)
{
    ior__call_begin(call, arg, kind, 0);
    struct ior_sim *sim = call->node->sim;
    uint32_t number = ior__path_number(sim, call->node->host, name, strlen(name));
    *ret = ior__path_at(sim, number);
    call->a = number;
    int err = ior__call_fault(call, 0);
    return err == 0 && !(*ret)->exists ? -ENOENT : err;
}

static int os_path_stat(void *arg, const char *name, struct ior_os_path *ret)
{
    struct call call;
    struct path *path;
    int err = begin_path(&call, arg, IOR_SIM_PATH_STAT, name, &path);
    if (err == 0)
        *ret = (struct ior_os_path){.is_socket = path->is_socket, .dev = 1, .ino = path->ino};
    return (int)ior__call_end(&call, err);
}

static int os_path_chmod(void *arg, const char *name, unsigned mode)
{
    struct call call;
    struct path *path;
    int err = begin_path(&call, arg, IOR_SIM_PATH_CHMOD, name, &path);
    call.b = mode;
    if (err == 0)
        path->mode = mode;
    return (int)ior__call_end(&call, err);
}

static int os_path_unlink(void *arg, const char *name)
{
    struct call call;
    struct path *path;
    int err = begin_path(&call, arg, IOR_SIM_PATH_UNLINK, name, &path);
    if (err == 0) {
        path->exists = false;
        path->bound = NULL;
    }
    return (int)ior__call_end(&call, err);
}

void ior__os_init(struct node *node)
{
    node->os = (struct ior_os){
        .struct_size = sizeof(struct ior_os),
        .arg = node,
        .clock = os_clock,
        .wall = os_wall,
        .random = os_random,
        .sleep = os_sleep,
        .socket = ior__sim_os_socket,
        .bind = ior__sim_os_bind,
        .listen = ior__sim_os_listen,
        .accept = ior__sim_os_accept,
        .connect = ior__sim_os_connect,
        .getsockname = ior__sim_os_getsockname,
        .getpeername = ior__sim_os_getpeername,
        .getsockopt = ior__sim_os_getsockopt,
        .setsockopt = ior__sim_os_setsockopt,
        .shutdown = ior__sim_os_shutdown,
        .close = os_close,
        .recv = ior__sim_os_recv,
        .send = ior__sim_os_send,
        .read = ior__sim_os_read,
        .write = ior__sim_os_write,
        .sendfile = ior__sim_os_sendfile,
        .pread = ior__sim_os_pread,
        .dup = os_dup,
        .fd_kind = os_fd_kind,
        .set_nonblock = os_set_nonblock,
        .path_stat = os_path_stat,
        .path_chmod = os_path_chmod,
        .path_unlink = os_path_unlink,
        .resolve = ior__sim_os_resolve,
    };
}
