/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ior_spawn: all or nothing. What can fail here (fds, memory, slots, the engine) is done before the program starts; if
 * something does, the pipes' streams, of which nothing was told yet, are taken back.
 */
#include <errno.h>
#include <string.h>

#include <ioreactor/child.h>

#include "child.h"

#if defined(__APPLE__)
#include <crt_externs.h>
#define environ (*_NSGetEnviron()) /* shared libraries have no other */
#else
extern char **environ;
#endif

#define MAP_MOST (IOR_CHILD_FDS_MAX + 3)

/* One request on its way. */
struct making {
    struct ior_context *cx;
    const struct ior_os *os;
    const struct ior_spawn_options *in;
    struct ior_os_spawn_fd map[MAP_MOST];
    size_t map_count;
    /* By place in the list; NULL and -1 for what is no pipe. */
    struct ior_resource *streams[IOR_CHILD_FDS_MAX];
    ior_id ids[IOR_CHILD_FDS_MAX];
    int far_ends[IOR_CHILD_FDS_MAX];
};

static bool is_pipe(const struct ior_child_fd *fd)
{
    return fd->kind == IOR_CHILD_READS || fd->kind == IOR_CHILD_WRITES;
}

/* ---- checks ---- */

static int check_fds(const struct ior_spawn_options *in)
{
    if (in->fd_count > IOR_CHILD_FDS_MAX || (in->fd_count > 0 && !in->fds))
        return -EINVAL;
    for (size_t i = 0; i < in->fd_count; i++) {
        const struct ior_child_fd *fd = &in->fds[i];
        if (fd->number < 0 || (unsigned)fd->kind > IOR_CHILD_WRITES)
            return -EINVAL;
        if (fd->kind == IOR_CHILD_FD && fd->fd < 0)
            return -EBADF;
        for (size_t k = 0; k < i; k++) {
            if (in->fds[k].number == fd->number)
                return -EINVAL;
        }
    }
    return 0;
}

/* Fills in what has a default. */
static int check(const struct ior_spawn_options *opts, struct ior_spawn_options *in)
{
    if (!opts || ior__struct_in(in, sizeof(*in), opts, sizeof(*in)) < 0)
        return -EINVAL;
    if (!in->argv || !in->argv[0])
        return -EINVAL;
    if (!in->file)
        in->file = in->argv[0];
    if (!in->envp)
        in->envp = environ;
    bool named = strchr(in->file, '/') != NULL || in->search_path != NULL;
    if (in->file[0] == '\0' || !named || (in->whole_group && !in->new_group && !in->new_session))
        return -EINVAL;
    return check_fds(in);
}

static bool has_calls(const struct ior_os_processes *calls)
{
    return calls && calls->pipe && calls->spawn && calls->wait && calls->kill && calls->process_close;
}

/* Room for the child and its streams. */
static int check_room(const struct ior_runtime *rt, const struct ior_spawn_options *in)
{
    uint32_t needed = 1;
    for (size_t i = 0; i < in->fd_count; i++)
        needed += is_pipe(&in->fds[i]);
    return rt->slots.max - rt->slots.live < needed ? -ENOSPC : 0;
}

/* ---- pipes ---- */

static int make_stream(struct making *making, size_t i, int near_end)
{
    const struct ior_child_fd *fd = &making->in->fds[i];
    const struct ior_os *os = making->os;
    struct ior__stream_opts *kept;
    int err = os->set_nonblock(os->arg, near_end, true);
    if (err >= 0)
        err = ior__stream_opts_new(making->cx->rt, fd->stream, &kept);
    if (err < 0)
        return err;
    uint32_t one_way = fd->kind == IOR_CHILD_READS ? (uint32_t)IOR__NO_READ : (uint32_t)IOR__NO_WRITE;
    struct ior_resource *res = ior__stream_new(near_end, kept, one_way);
    ior__stream_opts_unref(kept);
    if (!res)
        return -ENOMEM;
    err = ior__stream_attach(making->cx, res, IOR__TELL_REGISTERED | IOR__TELL_OPEN, &making->ids[i]);
    if (err < 0) {
        res->fd = -1;
        ior_resource_free(res);
        return err;
    }
    making->streams[i] = res;
    return 0;
}

static int make_pipe(struct making *making, size_t i)
{
    const struct ior_os *os = making->os;
    int ends[2];
    int err = os->processes->pipe(os->arg, ends);
    if (err < 0)
        return err;
    bool child_reads = making->in->fds[i].kind == IOR_CHILD_READS;
    int near_end = child_reads ? ends[1] : ends[0];
    making->far_ends[i] = child_reads ? ends[0] : ends[1];
    err = make_stream(making, i, near_end);
    if (err < 0)
        os->close(os->arg, near_end);
    return err;
}

static int make_pipes(struct making *making)
{
    for (size_t i = 0; i < making->in->fd_count; i++) {
        int err = is_pipe(&making->in->fds[i]) ? make_pipe(making, i) : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

static void close_far_ends(struct making *making)
{
    for (size_t i = 0; i < making->in->fd_count; i++) {
        if (making->far_ends[i] >= 0)
            making->os->close(making->os->arg, making->far_ends[i]);
        making->far_ends[i] = -1;
    }
}

static void take_back_streams(struct making *making)
{
    for (size_t i = 0; i < making->in->fd_count; i++) {
        if (!making->streams[i])
            continue;
        ior__attach_undo(making->streams[i]);
        ior_resource_free(making->streams[i]);
    }
}

/* ---- the child ---- */

/* Which fd of ours is which of the child's. */
static void fill_map(struct making *making)
{
    bool has[3] = {false, false, false};
    for (size_t i = 0; i < making->in->fd_count; i++) {
        const struct ior_child_fd *fd = &making->in->fds[i];
        int from = is_pipe(fd) ? making->far_ends[i] : fd->kind == IOR_CHILD_FD ? fd->fd : -1;
        making->map[making->map_count++] = (struct ior_os_spawn_fd){.from = from, .to = fd->number};
        if (fd->number < 3)
            has[fd->number] = true;
    }
    for (int number = 0; number < 3; number++) {
        if (!has[number])
            making->map[making->map_count++] = (struct ior_os_spawn_fd){.from = -1, .to = number};
    }
}

static int start(struct making *making, struct ior__child *child)
{
    const struct ior_spawn_options *in = making->in;
    fill_map(making);
    struct ior_os_spawn spawn = {
        .file = in->file,
        .search_path = in->search_path,
        .cwd = in->cwd,
        .argv = in->argv,
        .envp = in->envp,
        .fds = making->map,
        .fd_count = making->map_count,
        .new_group = in->new_group,
        .new_session = in->new_session,
    };
    int err = making->os->processes->spawn(making->os->arg, &spawn, &child->process);
    if (err < 0)
        return err;
    ior_resource_init(&child->base, &ior__child_ops, child->process.fd, in->user);
    child->os = making->os;
    child->group = in->whole_group;
    return 0;
}

static int make_child(struct making *making, ior_id *ret_id)
{
    struct ior__child *child = ior__calloc(sizeof(*child));
    if (!child)
        return -ENOMEM;
    int err = start(making, child);
    if (err < 0) {
        ior__free(child, sizeof(*child));
        return err;
    }
    err = ior__attach_resource(making->cx, &child->base, IOR__TELL_REGISTERED, ret_id);
    if (err < 0)
        ior_resource_free(&child->base); /* with the program that runs already */
    return err;
}

int ior_spawn(struct ior_context *cx, const struct ior_spawn_options *opts, ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    struct ior_spawn_options in;
    err = ret_id ? check(opts, &in) : -EINVAL;
    if (err < 0)
        return err;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    if (!has_calls(os->processes))
        return -ENOSYS;
    err = check_room(cx->rt, &in);
    if (err < 0)
        return err;
    struct making making = {.cx = cx, .os = os, .in = &in};
    for (size_t i = 0; i < IOR_CHILD_FDS_MAX; i++)
        making.far_ends[i] = -1;
    ior_id id = 0;
    err = make_pipes(&making);
    if (err == 0)
        err = make_child(&making, &id);
    close_far_ends(&making);
    if (err < 0) {
        take_back_streams(&making);
        return err;
    }
    for (size_t i = 0; i < in.fd_count; i++) {
        if (making.streams[i])
            in.fds[i].id = making.ids[i];
    }
    *ret_id = id;
    return 0;
}
