/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds and open files. An fd is the lowest number that is free, as kernels give them, so that a number comes again soon
 * after it was closed. The table is one for all hosts, so that an fd of another host is found out.
 */
#include "world.h"

#include <string.h>

/* ---- open files ---- */

struct file *ior__file_new(struct ior_sim *sim, uint32_t host, enum file_kind kind)
{
    struct file *file = ior__mem_new(sizeof(*file));
    file->kind = (uint8_t)kind;
    file->host = host;
    file->number = ++sim->files_made;
    return file;
}

void ior__file_unref(struct ior_sim *sim, struct file *file)
{
    if (--file->refs > 0)
        return;
    if (file->end)
        ior__end_close(sim, file->end,
                       file->linger && file->linger_s == 0 && file->end->kind == END_TCP); /* TCP's alone */
    if (file->box)
        ior__box_free(sim, file->box);
    if (file->bound)
        ior__bound_free(sim, file->bound);
    if (file->kind == FILE_REGULAR) {
        ior__mem_free(file->of.blob->bytes);
        ior__mem_free(file->of.blob);
    }
    ior__mem_free(file);
}

unsigned ior__file_ready(const struct ior_sim *sim, const struct file *file)
{
    switch ((enum file_kind)file->kind) {
    case FILE_STREAM:
        return ior__end_ready(sim, file->end);
    case FILE_LISTENER:
        return file->bound->queue_len > 0 ? IOR_READ : 0u;
    case FILE_OTHER:
        return file->of.ready;
    case FILE_DATAGRAM:
        return ior__box_ready(sim, file->box);
    case FILE_REGULAR:
        break;
    }
    return IOR_READ | IOR_WRITE;
}

/* ---- numbers ---- */

static void free_number(struct ior_sim *sim, uint32_t number)
{
    sim->free_fds = ior__mem_room(sim->free_fds, sim->free_fds_n, &sim->free_fds_room, sizeof(uint32_t));
    uint32_t at = sim->free_fds_n++;
    while (at > 0 && sim->free_fds[(at - 1) / 2] > number) {
        sim->free_fds[at] = sim->free_fds[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->free_fds[at] = number;
}

static uint32_t lowest_number(struct ior_sim *sim)
{
    if (sim->free_fds_n == 0) {
        sim->fds = ior__mem_room(sim->fds, sim->fds_n, &sim->fds_room, sizeof(struct fd));
        return sim->fds_n++;
    }
    uint32_t *heap = sim->free_fds;
    uint32_t lowest = heap[0], last = heap[--sim->free_fds_n], at = 0;
    for (uint32_t child = 1; child < sim->free_fds_n; child = at * 2 + 1) {
        child += child + 1 < sim->free_fds_n && heap[child + 1] < heap[child];
        if (heap[child] >= last)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return lowest;
}

bool ior__fds_full(const struct ior_sim *sim, uint32_t host)
{
    const struct host *at = sim->hosts[host - 1];
    return at->open_fds >= at->max_fds;
}

int ior__fd_new(struct ior_sim *sim, struct file *file, bool tests)
{
    uint32_t number = lowest_number(sim);
    sim->fds[number] = (struct fd){.file = file, .host = file->host & 0xffffff, .state = FD_OPEN, .tests = tests};
    file->refs++;
    sim->hosts[file->host - 1]->open_fds++;
    return IOR_SIM_FD_FIRST + (int)number;
}

struct fd *ior__fd_at(const struct ior_sim *sim, int fd)
{
    if (fd < IOR_SIM_FD_FIRST || (uint32_t)(fd - IOR_SIM_FD_FIRST) >= sim->fds_n)
        return NULL;
    return &sim->fds[fd - IOR_SIM_FD_FIRST];
}

void ior__fd_close(struct ior_sim *sim, int fd, enum fd_state then)
{
    struct fd *at = ior__fd_at(sim, fd);
    struct file *file = at->file;
    sim->hosts[at->host - 1]->open_fds--;
    *at = (struct fd){.host = at->host, .state = (uint32_t)then & 15};
    free_number(sim, (uint32_t)(fd - IOR_SIM_FD_FIRST));
    ior__watches_fd_closed(sim, file, fd, file->refs == 1, then == FD_STOLEN);
    ior__file_unref(sim, file);
}

void ior__fds_check_leaks(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->fds_n; i++) {
        struct fd *at = &sim->fds[i];
        if (at->state != FD_OPEN || at->tests || at->leaked || sim->hosts[at->host - 1]->runtimes > 0)
            continue;
        at->leaked = 1;
        ior__violate(sim, IOR_SIM_LEAK, "fd %u of %s is open", i, sim->hosts[at->host - 1]->name);
    }
}

void ior__fds_free(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->fds_n; i++) {
        if (sim->fds[i].state == FD_OPEN)
            ior__fd_close(sim, IOR_SIM_FD_FIRST + (int)i, FD_CLOSED);
    }
    ior__mem_free(sim->fds);
    ior__mem_free(sim->free_fds);
}

/* ---- what the test makes and does ---- */

int ior_sim_file(struct ior_sim *sim, int host, const void *bytes, size_t len)
{
    if (!sim || !ior__host_at(sim, host) || (!bytes && len > 0))
        return -EINVAL;
    struct file *file = ior__file_new(sim, (uint32_t)host, FILE_REGULAR);
    file->of.blob = ior__mem_new(sizeof(struct blob));
    file->of.blob->bytes = ior__mem_new(len + 1);
    file->of.blob->len = len;
    if (len > 0)
        memcpy(file->of.blob->bytes, bytes, len);
    return ior__fd_new(sim, file, true);
}

/* An open fd, or NULL. */
static struct fd *open_fd(const struct ior_sim *sim, int fd)
{
    struct fd *at = sim ? ior__fd_at(sim, fd) : NULL;
    return at && at->state == FD_OPEN ? at : NULL;
}

int ior_sim_file_resize(struct ior_sim *sim, int fd, size_t len)
{
    struct fd *at = open_fd(sim, fd);
    if (!at || at->file->kind != FILE_REGULAR)
        return -EBADF;
    struct blob *blob = at->file->of.blob;
    blob->bytes = ior__mem_grow(blob->bytes, len + 1);
    if (len > blob->len)
        memset(blob->bytes + blob->len, 0, len - blob->len);
    blob->len = len;
    return 0;
}

int ior_sim_ready(struct ior_sim *sim, int fd, unsigned what)
{
    struct fd *at = open_fd(sim, fd);
    if (!at || at->file->kind != FILE_OTHER)
        return -EBADF;
    if (what & ~(unsigned)(IOR_READ | IOR_WRITE | IOR_HUP | IOR_ERR))
        return -EINVAL;
    at->file->of.ready = what;
    ior__watches_look(at->file, sim);
    return 0;
}

int ior_sim_close(struct ior_sim *sim, int fd)
{
    if (!open_fd(sim, fd))
        return -EBADF;
    ior__fd_close(sim, fd, FD_STOLEN);
    return 0;
}

int ior_sim_dup(struct ior_sim *sim, int fd)
{
    const struct fd *at = open_fd(sim, fd);
    return at ? ior__fd_new(sim, at->file, true) : -EBADF;
}
