/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine that tells what is ready. Level-triggered as the contract wants it, and as epoll does it: a watch belongs
 * to an fd and its open file. What holds is on a list, in the order in which it came to hold; a wait looks at the list
 * alone, drops what no longer holds, and moves what it told to the end, so that everyone gets a turn. Waits cost
 * O(told), whatever is watched.
 *
 * A closed fd leaves the set with its open file: a duplicate keeps that alive, and goes on telling (as epoll's does)
 * until the set is rebuilt.
 */
#include "world.h"

#define INTEREST ((unsigned)(IOR_READ | IOR_WRITE))
#define INTEREST_DONE (INTEREST | (unsigned)(IOR_RECEIVES | IOR_ACCEPTS))

/* ---- the list of what is ready ---- */

static void ready_add(struct watch *watch)
{
    struct node *node = watch->node;
    watch->is_ready = true;
    watch->next_ready = NULL;
    watch->prev_ready = node->last_ready;
    if (node->last_ready)
        node->last_ready->next_ready = watch;
    else
        node->first_ready = watch;
    node->last_ready = watch;
}

static void ready_remove(struct watch *watch)
{
    struct node *node = watch->node;
    if (!watch->is_ready)
        return;
    watch->is_ready = false;
    if (watch->prev_ready)
        watch->prev_ready->next_ready = watch->next_ready;
    else
        node->first_ready = watch->next_ready;
    if (watch->next_ready)
        watch->next_ready->prev_ready = watch->prev_ready;
    else
        node->last_ready = watch->prev_ready;
}

static unsigned what_of(const struct watch *watch)
{
    if (watch->is_bad)
        return IOR_BAD;
    unsigned ready = ior__file_ready(watch->node->sim, watch->file);
    if (SIM_UNLIKELY(watch->node->does_io) && ior__done_is_armed(watch))
        return ior__done_what(watch, ready);
    return ready & ((watch->interest & INTEREST) | IOR_HUP | IOR_ERR);
}

/* The kernel may do at once what an engine that does I/O asked for. */
static void work_at_once(struct watch *watch)
{
    struct ior_sim *sim = watch->node->sim;
    if (watch->node->does_io && !sim->in_work && !watch->is_bad && ior__done_is_armed(watch) &&
        (what_of(watch) & WORK) && ior_sim_choose(sim, 2) == 1)
        ior__done_work(watch);
}

void ior__watches_look(struct file *file, const struct ior_sim *sim)
{
    (void)sim;
    for (struct watch *watch = file->watches; watch; watch = watch->next_of_file) {
        work_at_once(watch);
        if (!watch->is_ready && what_of(watch) != 0)
            ready_add(watch);
    }
}

bool ior__node_has_ready(struct node *node)
{
    while (node->first_ready && what_of(node->first_ready) == 0)
        ready_remove(node->first_ready);
    return node->first_ready != NULL;
}

/* ---- the set ---- */

static struct watch *find(const struct node *node, const struct file *file, int fd)
{
    for (struct watch *watch = file->watches; watch; watch = watch->next_of_file) {
        if (watch->node == node && watch->fd == fd)
            return watch;
    }
    return NULL;
}

static struct watch *find_bad(const struct node *node, int fd)
{
    for (uint32_t i = 0; i < node->set_n; i++) {
        if (node->set[i]->is_bad && node->set[i]->fd == fd)
            return node->set[i];
    }
    return NULL;
}

static void leave_file(struct watch *watch)
{
    struct watch **at = &watch->file->watches;
    while (*at != watch)
        at = &(*at)->next_of_file;
    *at = watch->next_of_file;
    watch->file = NULL;
}

static void forget(struct watch *watch)
{
    struct node *node = watch->node;
    struct watch *last = node->set[--node->set_n];
    ready_remove(watch);
    if (watch->file)
        leave_file(watch);
    node->set[watch->place] = last;
    last->place = watch->place;
    ior__mem_free(watch);
}

void ior__watches_fd_closed(struct ior_sim *sim, struct file *file, int fd, bool last, bool stolen)
{
    for (struct watch *watch = file->watches, *next; watch; watch = next) {
        next = watch->next_of_file;
        if (watch->fd == fd && stolen && sim->config.tells_bad) {
            leave_file(watch);
            watch->is_bad = true;
            if (!watch->is_ready)
                ready_add(watch);
        } else if (last) {
            forget(watch);
        }
    }
}

void ior__engine_forget(struct node *node)
{
    while (node->set_n > 0)
        forget(node->set[node->set_n - 1]);
}

static void check_arguments(struct call *call, ior_id id, unsigned interest)
{
    unsigned known = call->node->does_io ? INTEREST_DONE : INTEREST;
    if (id == 0 || (id & 15) != 0 || (interest & ~known) != 0)
        ior__violate(call->node->sim, IOR_SIM_BAD_ARGUMENT, "%s of fd %d under id %llx for %u",
                     ior_sim_call_name(call->kind), call->fd - IOR_SIM_FD_FIRST, (unsigned long long)id, interest);
}

int ior__engine_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct call call;
    struct node *node = engine;
    int err = ior__call_begin(&call, node, IOR_SIM_WATCH, fd);
    call.a = id;
    call.b = interest;
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0 && call.file->kind == FILE_REGULAR)
        err = -EPERM;
    if (err == 0 && find(node, call.file, fd))
        err = -EEXIST;
    if (err < 0)
        return (int)ior__call_end(&call, err);
    check_arguments(&call, id, interest);
    if (node->does_io)
        ior__done_watched(node, fd, id);
    struct watch *watch = ior__mem_new(sizeof(*watch));
    *watch = (struct watch){.node = node, .file = call.file, .fd = fd, .interest = interest, .id = id};
    watch->next_of_file = call.file->watches;
    call.file->watches = watch;
    node->set = ior__mem_room(node->set, node->set_n, &node->set_room, sizeof(struct watch *));
    watch->place = node->set_n;
    node->set[node->set_n++] = watch;
    if (what_of(watch) != 0)
        ready_add(watch);
    return (int)ior__call_end(&call, 0);
}

int ior__engine_rewatch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct call call;
    struct node *node = engine;
    int err = ior__call_begin(&call, node, IOR_SIM_REWATCH, fd);
    call.a = id;
    call.b = interest;
    if (err == 0)
        err = ior__call_fault(&call, 0);
    struct watch *watch = err == 0 ? find(node, call.file, fd) : NULL;
    if (err == 0 && !watch)
        err = -ENOENT;
    if (err < 0)
        return (int)ior__call_end(&call, err);
    check_arguments(&call, id, interest);
    watch->id = id;
    watch->interest = interest;
    if (!watch->is_ready && what_of(watch) != 0)
        ready_add(watch);
    return (int)ior__call_end(&call, 0);
}

int ior__engine_unwatch(void *engine, int fd, ior_id id)
{
    struct call call;
    struct node *node = engine;
    int err = ior__call_begin(&call, node, IOR_SIM_UNWATCH, fd);
    call.a = id;
    if (err == 0)
        err = ior__call_fault(&call, 0);
    struct watch *watch = err == 0 ? find(node, call.file, fd) : find_bad(node, fd);
    if (watch)
        forget(watch);
    else if (err == 0)
        err = -ENOENT;
    return (int)ior__call_end(&call, err);
}

/* ---- waiting ---- */

static void tell(struct node *node, struct watch *watch, unsigned what, struct ior_record *record)
{
    watch->told = node->waits;
    *record = (struct ior_record){.id = watch->id, .what = what};
}

/* One that is watched and not ready, told all the same. */
static int spurious(struct node *node, struct ior_record *record)
{
    struct ior_sim *sim = node->sim;
    if (node->set_n == 0 || !ior__chance(sim, sim->config.rates.spurious))
        return 0;
    struct watch *watch = node->set[ior_sim_choose(sim, node->set_n)];
    if (watch->told == node->waits || watch->is_bad || watch->interest == 0)
        return 0;
    sim->faults++;
    unsigned what = watch->interest & (node->does_io && ior__done_is_armed(watch) ? (unsigned)IOR_WRITE : INTEREST);
    if (what == 0)
        return 0;
    tell(node, watch, what, record);
    return 1;
}

static void shuffle(struct ior_sim *sim, struct ior_record *records, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int with = (int)ior_sim_choose(sim, (uint64_t)i + 1);
        struct ior_record record = records[i];
        records[i] = records[with];
        records[with] = record;
    }
}

static int collect(struct node *node, struct ior_record *records, int max)
{
    struct ior_sim *sim = node->sim;
    int n = 0;

    node->waits++;
    for (const struct watch *last = node->last_ready; node->first_ready && n < max;) {
        struct watch *watch = node->first_ready;
        unsigned what = what_of(watch);
        bool was_last = watch == last;
        if (what & WORK) {
            ior__done_work(watch);
            what = what_of(watch);
        }
        ready_remove(watch);
        if (what != 0)
            ready_add(watch);
        what &= ~WORK;
        if (what != 0) {
            if (ior__chance(sim, sim->config.rates.delayed))
                sim->faults++;
            else
                tell(node, watch, what, &records[n++]);
        }
        if (was_last)
            break;
    }
    if (n < max)
        n += spurious(node, &records[n]);
    if (n > 1 && ior__chance(sim, sim->config.rates.reordered))
        shuffle(sim, records, n);
    return n;
}

int ior__engine_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct call call;
    struct node *node = engine;
    ior__call_begin(&call, node, IOR_SIM_WAIT, 0);
    call.a = (uint64_t)(int64_t)max;
    call.b = deadline_ns;
    if (max <= 0) {
        ior__violate(node->sim, IOR_SIM_BAD_ARGUMENT, "a wait without room for records");
        return (int)ior__call_end(&call, -EINVAL);
    }
    int err = ior__call_fault(&call, 0);
    if (err == -EINTR) {
        ior__call_end(&call, err);
        return 0;
    }
    if (err < 0)
        return (int)ior__call_end(&call, err);
    ior__done_flush(node);
    if (!node->turning && !node->short_send)
        ior__sim_block(node, deadline_ns);
    node->woken = node->short_send = false;
    return (int)ior__call_end(&call, collect(node, records, max));
}

int ior__engine_wake(void *engine)
{
    struct call call;
    struct node *node = engine;
    ior__call_begin(&call, node, IOR_SIM_WAKE, 0);
    node->woken = true;
    return (int)ior__call_end(&call, 0);
}

/* ---- life ---- */

int ior__engine_open(const struct ior_engine_config *config, void **ret_engine)
{
    struct call call;
    struct node *node = config->arg;
    ior__call_begin(&call, node, IOR_SIM_ENGINE_OPEN, 0);
    int err = node->open ? -EBUSY : ior__call_fault(&call, 0);
    if (err == 0 && (config->os != &node->os || config->max_records == 0))
        ior__violate(node->sim, IOR_SIM_BAD_ARGUMENT,
                     "an engine is opened with another os, or without room for records");
    if (err == 0) {
        node->open = true;
        node->does_io = node->sim->config.shape == IOR_SIM_SHAPE_DONE;
        node->max_records = config->max_records;
        node->sim->hosts[node->host - 1]->runtimes++;
        *ret_engine = node;
    }
    return (int)ior__call_end(&call, err);
}

void ior__engine_close(void *engine, bool in_child)
{
    struct node *node = engine;
    (void)in_child;
    ior__engine_forget(node);
    ior__done_free(node);
    node->open = false;
    node->rt = NULL;
    node->sim->hosts[node->host - 1]->runtimes--;
}

int ior__engine_rebuild(void *engine)
{
    struct call call;
    struct node *node = engine;
    ior__call_begin(&call, node, IOR_SIM_REBUILD, 0);
    int err = ior__call_fault(&call, 0);
    if (err == 0)
        ior__engine_forget(node);
    return (int)ior__call_end(&call, err);
}

const struct ior_engine_ops ior__sim_engine_ready = {
    .struct_size = sizeof(struct ior_engine_ops),
    .name = "sim",
    .open = ior__engine_open,
    .close = ior__engine_close,
    .watch = ior__engine_watch,
    .rewatch = ior__engine_rewatch,
    .unwatch = ior__engine_unwatch,
    .wait = ior__engine_wait,
    .wake = ior__engine_wake,
    .rebuild = ior__engine_rebuild,
};
