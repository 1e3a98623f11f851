/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of files: one inotify(7) fd with its watches.
 *
 * Events are read in batches into the resource's own buffer and told one by one; what a service leaves behind when it
 * pauses or ends the resource within a batch stays there, and is told first when it goes on, also after a handover.
 *
 * The kernel goes on telling a watch that was removed: what was queued before, and then IN_IGNORED. Its numbers come
 * again some day. So the watches are kept in a table: an event of a number that is not in it, or that belongs to an
 * earlier life of it (which IN_IGNORED ends), is dropped.
 */
#include <errno.h>
#include <string.h>

#include "kinds.h"

#if defined(__linux__)
#include <sys/inotify.h>

#ifndef IN_MASK_CREATE
#define IN_MASK_CREATE 0x10000000 /* Linux 4.18 */
#endif

/* The longest event: names of most file systems have 255 bytes at most, of some in user space a few thousand. */
#define BATCH_BYTES 8192u

/* A watch, or what is left of one. In a hash table with linear probing: a number of 0 is no entry. */
struct entry {
    int watch;
    uint32_t past; /* earlier lives of the number whose IN_IGNORED is still to come */
    bool live;
};

struct changes {
    struct ior_resource base;
    const struct ior_os *os; /* what closes the fd when no runtime is left */
    struct entry *table;
    uint32_t used, size; /* size: 0, or a power of two and at least twice `used` */
    bool overflowed;     /* an IN_IGNORED may have been dropped */
    uint32_t at, len;    /* of the batch, what is left: at .. len */
    _Alignas(struct inotify_event) unsigned char batch[BATCH_BYTES];
};

static struct changes *changes_of(const struct ior_resource *res)
{
    return (struct changes *)(uintptr_t)res;
}

/* ---- masks ---- */

static const struct {
    uint32_t own, kernel;
} asked[] =
    {
        {IOR_CHANGE_READ, IN_ACCESS},
        {IOR_CHANGE_MODIFIED, IN_MODIFY},
        {IOR_CHANGE_ATTRIBUTES, IN_ATTRIB},
        {IOR_CHANGE_OPENED, IN_OPEN},
        {IOR_CHANGE_CLOSED, IN_CLOSE_NOWRITE},
        {IOR_CHANGE_CLOSED_WRITTEN, IN_CLOSE_WRITE},
        {IOR_CHANGE_CREATED, IN_CREATE},
        {IOR_CHANGE_DELETED, IN_DELETE},
        {IOR_CHANGE_MOVED_FROM, IN_MOVED_FROM},
        {IOR_CHANGE_MOVED_TO, IN_MOVED_TO},
        {IOR_CHANGE_SELF_DELETED, IN_DELETE_SELF},
        {IOR_CHANGE_SELF_MOVED, IN_MOVE_SELF},
},
  along[] =
      {
          {IOR_CHANGE_ONLY_DIRECTORY, IN_ONLYDIR},
          {IOR_CHANGE_NO_FOLLOW, IN_DONT_FOLLOW},
},
  told[] = {
      {IOR_CHANGE_IS_DIRECTORY, IN_ISDIR},
      {IOR_CHANGE_UNMOUNTED, IN_UNMOUNT},
      {IOR_CHANGE_GONE, IN_IGNORED},
      {IOR_CHANGE_OVERFLOW, IN_Q_OVERFLOW},
};

/* The kernel's mask; 0: it asks for nothing, or for something unknown. */
static uint32_t kernel_mask(unsigned mask)
{
    uint32_t kernel = 0, flags = IN_MASK_CREATE, known = 0;
    for (size_t i = 0; i < IOR_COUNT_OF(asked); i++) {
        known |= asked[i].own;
        kernel |= (mask & asked[i].own) ? asked[i].kernel : 0u;
    }
    for (size_t i = 0; i < IOR_COUNT_OF(along); i++) {
        known |= along[i].own;
        flags |= (mask & along[i].own) ? along[i].kernel : 0u;
    }
    return kernel == 0 || (mask & ~known) ? 0 : kernel | flags;
}

static uint32_t own_mask(uint32_t kernel)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < IOR_COUNT_OF(asked); i++)
        mask |= (kernel & asked[i].kernel) ? asked[i].own : 0u;
    for (size_t i = 0; i < IOR_COUNT_OF(told); i++)
        mask |= (kernel & told[i].kernel) ? told[i].own : 0u;
    return mask;
}

/* ---- the table of watches ---- */

/* The entry of a number, or the free one where it would be. The table has room. */
static struct entry *slot_of(const struct changes *changes, int watch)
{
    uint32_t i = (uint32_t)watch & (changes->size - 1); /* the kernel counts up: neighbours do not collide */
    while (changes->table[i].watch != 0 && changes->table[i].watch != watch)
        i = (i + 1) & (changes->size - 1);
    return &changes->table[i];
}

static struct entry *find(const struct changes *changes, int watch)
{
    if (changes->size == 0 || watch <= 0)
        return NULL;
    struct entry *entry = slot_of(changes, watch);
    return entry->watch != 0 ? entry : NULL;
}

/* Room for one entry more. */
static int reserve(struct changes *changes)
{
    if (2 * (changes->used + 1) <= changes->size)
        return 0;
    struct changes grown = {.size = changes->size ? 2 * changes->size : 16};
    grown.table = ior__calloc(grown.size * sizeof(*grown.table));
    if (!grown.table)
        return -ENOMEM;
    for (uint32_t i = 0; i < changes->size; i++) {
        if (changes->table[i].watch != 0)
            *slot_of(&grown, changes->table[i].watch) = changes->table[i];
    }
    ior__free(changes->table, changes->size * sizeof(*changes->table));
    changes->table = grown.table;
    changes->size = grown.size;
    return 0;
}

/* Takes an entry out; those behind it that were pushed away by it move up. */
static void erase(struct changes *changes, struct entry *entry)
{
    uint32_t mask = changes->size - 1;
    uint32_t hole = (uint32_t)(entry - changes->table);
    for (uint32_t i = (hole + 1) & mask; changes->table[i].watch != 0; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)changes->table[i].watch & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue; /* it is at home behind the hole */
        changes->table[hole] = changes->table[i];
        hole = i;
    }
    changes->table[hole] = (struct entry){.watch = 0};
    changes->used--;
}

/* Events were dropped, IN_IGNORED of removed watches perhaps among them. */
static void forget_past(struct changes *changes)
{
    changes->overflowed = true;
    for (uint32_t i = 0; i < changes->size;) {
        struct entry *entry = &changes->table[i];
        entry->past = 0;
        if (entry->watch != 0 && !entry->live)
            erase(changes, entry); /* another one may have moved here */
        else
            i++;
    }
}

/* ---- events ---- */

/* Whether the service is to hear of it. The watch may be gone then. */
static bool concerns(struct changes *changes, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        forget_past(changes);
        return true;
    }
    struct entry *entry = find(changes, event->wd);
    if (!entry)
        return false;
    bool of_the_past = entry->past > 0;
    if (event->mask & IN_IGNORED) {
        if (of_the_past)
            entry->past--;
        else
            entry->live = false;
        if (entry->past == 0 && !entry->live)
            erase(changes, entry);
    }
    return !of_the_past;
}

/* Tells the next event of the batch. */
static void tell_next(struct changes *changes)
{
    const unsigned char *at = changes->batch + changes->at;
    struct inotify_event event;
    memcpy(&event, at, sizeof(event));
    changes->at += (uint32_t)sizeof(event) + event.len;
    if (!concerns(changes, &event))
        return;
    const char *name = event.len > 0 ? (const char *)at + sizeof(event) : NULL;
    struct ior_change change = {.mask = own_mask(event.mask),
                                .cookie = event.cookie,
                                .watch = event.wd,
                                .name_len = name ? (uint32_t)strnlen(name, event.len) : 0,
                                .name = name};
    struct ior_event ev = {.type = IOR_EV_CHANGED};
    ev.change = &change;
    ior__touch_idle(&changes->base);
    ior__tell(&changes->base, &ev);
}

/* The next batch. 1: it is there; 0: there is none; else -errno. */
static int read_batch(struct changes *changes)
{
    const struct ior_os *os = changes->base.cx->rt->os;
    ssize_t n;
    do {
        n = os->read(os->arg, changes->base.fd, changes->batch, sizeof(changes->batch));
    } while (n == -EINTR);
    if (n == -ENOMEM || n == -ENOBUFS) {
        ior__backoff(&changes->base, (int)-n);
        return 0;
    }
    if (n <= 0)
        return n == -EAGAIN ? 0 : n == 0 ? -EIO : (int)n;
    changes->base.bits &= ~(uint32_t)IOR__TOLD_ERROR;
    changes->at = 0;
    changes->len = (uint32_t)n;
    return 1;
}

static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct changes *changes = changes_of(res);
    (void)io;
    (void)emit;
    res->bits &= ~(uint32_t)IOR__AGAIN;
    for (uint32_t reads = res->cx->rt->budget_reads;; reads--) {
        while (changes->at < changes->len) {
            if (res->bits & (IOR__ENDING | IOR__PAUSED))
                return IOR_IO_DONE; /* the rest comes first when it goes on */
            tell_next(changes);
        }
        if (reads == 0 || (res->bits & (IOR__ENDING | IOR__PAUSED)))
            return IOR_IO_DONE;
        int r = read_batch(changes);
        if (r <= 0)
            return r;
    }
}

static bool holds(const struct ior_resource *res)
{
    return changes_of(res)->at < changes_of(res)->len;
}

static void destroy(struct ior_resource *res)
{
    struct changes *changes = changes_of(res);
    if (res->fd >= 0 && !(res->bits & IOR__LOST))
        changes->os->close(changes->os->arg, res->fd);
    ior__free(changes->table, changes->size * sizeof(*changes->table));
    ior__free(changes, sizeof(*changes));
}

/* ---- requests ---- */

static int open_changes(struct ior_context *cx, void *user, ior_id *ret_id)
{
    const struct ior_os *os = cx->rt->os;
    struct changes *changes = ior__calloc(sizeof(*changes));
    if (!changes)
        return -ENOMEM;
    int fd = os->changes_open ? os->changes_open(os->arg) : -EOPNOTSUPP;
    ior_resource_init(&changes->base, &ior__changes_ops, fd, user);
    changes->os = os;
    int err = fd < 0 ? fd : ior__attach_resource(cx, &changes->base, IOR__TELL_REGISTERED, ret_id);
    if (err < 0)
        destroy(&changes->base);
    return err;
}

static int add(struct changes *changes, const char *path, unsigned mask, int *ret_watch)
{
    const struct ior_os *os = changes->base.cx->rt->os;
    uint32_t kernel = kernel_mask(mask);
    if (kernel == 0)
        return -EINVAL;
    int err = reserve(changes);
    if (err < 0)
        return err;
    int watch = os->changes_add(os->arg, changes->base.fd, path, kernel);
    if (watch <= 0)
        return watch < 0 ? watch : -EIO;
    struct entry *entry = slot_of(changes, watch);
    changes->used += entry->watch == 0;
    entry->watch = watch;
    entry->live = true;
    *ret_watch = watch;
    return 0;
}

static int take_away(struct changes *changes, int watch)
{
    const struct ior_os *os = changes->base.cx->rt->os;
    struct entry *entry = find(changes, watch);
    if (!entry || !entry->live)
        return -ENOENT;
    int err = os->changes_remove(os->arg, changes->base.fd, watch);
    entry->live = false;
    entry->past++;
    if (err < 0 && changes->overflowed)
        erase(changes, entry); /* the kernel ended it itself, and what it said of that may be lost */
    return 0;
}

#else /* no inotify */

struct changes {
    struct ior_resource base;
};

static struct changes *changes_of(const struct ior_resource *res)
{
    return (struct changes *)(uintptr_t)res;
}

static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return 0;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    (void)res;
    (void)io;
    (void)emit;
    return IOR_IO_DONE;
}

static void destroy(struct ior_resource *res)
{
    (void)res;
}

static bool holds(const struct ior_resource *res)
{
    (void)res;
    return false;
}

static int open_changes(struct ior_context *cx, void *user, ior_id *ret_id)
{
    (void)cx;
    (void)user;
    (void)ret_id;
    return -EOPNOTSUPP;
}

static int add(struct changes *changes, const char *path, unsigned mask, int *ret_watch)
{
    (void)changes;
    (void)path;
    (void)mask;
    (void)ret_watch;
    return -EOPNOTSUPP;
}

static int take_away(struct changes *changes, int watch)
{
    (void)changes;
    (void)watch;
    return -EOPNOTSUPP;
}
#endif

static const struct ior__kind kind = {
    .holds = holds,
};

const struct ior_resource_ops ior__changes_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "changes",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};

int ior_changes_open(struct ior_context *cx, void *user, ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret_id)
        return -EINVAL;
    err = ior__may_register(cx);
    return err < 0 ? err : open_changes(cx, user, ret_id);
}

int ior_changes_add(struct ior_context *cx, ior_id id, const char *path, unsigned mask, int *ret_watch)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (res->ops != &ior__changes_ops)
        return -EOPNOTSUPP;
    return path && ret_watch ? add(changes_of(res), path, mask, ret_watch) : -EINVAL;
}

int ior_changes_remove(struct ior_context *cx, ior_id id, int watch)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    return res->ops == &ior__changes_ops ? take_away(changes_of(res), watch) : -EOPNOTSUPP;
}
