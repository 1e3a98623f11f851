/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scripted engine: a level-triggered set over the fds of the world, its calendar, and the book of calls. What is
 * ready is worked out anew in each wait; when more is ready than fits, the rest comes first in the next one.
 */
#include "script_world.h"

static const char *const call_names[SCRIPT_CALLS] = {
    "clock",  "wall",    "random",       "sleep",       "socket",     "bind",        "listen",
    "accept", "connect", "getsockname",  "getpeername", "getsockopt", "setsockopt",  "shutdown",
    "close",  "recv",    "send",         "read",        "write",      "sendfile",    "pread",
    "dup",    "fd_kind", "set_nonblock", "path_stat",   "path_chmod", "path_unlink", "open",
    "watch",  "rewatch", "unwatch",      "wait",        "wake",       "rebuild",
};

/* ---- the book of calls ---- */

struct script_entry *world_note(struct script *s, enum script_call call, int fd)
{
    s->counts[call]++;
    if (s->log_n == s->log_room) {
        s->log_room = s->log_room * 2 + 256;
        s->log = realloc(s->log, s->log_room * sizeof(*s->log));
        if (s->log == NULL)
            abort();
    }
    struct script_entry *entry = &s->log[s->log_n++];
    *entry = (struct script_entry){.call = call, .fd = fd};
    return entry;
}

/* Calls that a program cannot expect to fail, and those for which failing means more than an errno. */
static bool can_fail(enum script_call call)
{
    switch (call) {
    case SCRIPT_CLOCK:
    case SCRIPT_WALL:
    case SCRIPT_RANDOM:
    case SCRIPT_SLEEP:
    case SCRIPT_CLOSE:
    case SCRIPT_UNWATCH:
    case SCRIPT_WAKE:
        return false;
    default:
        return true;
    }
}

int world_fails(struct script *s, enum script_call call)
{
    if (s->fail_nth != 0 && can_fail(call) && ++s->fail_seen == s->fail_nth)
        return -s->fail_err;
    int err = s->fails[call][0];
    if (err == 0)
        return -s->always[call];
    memmove(&s->fails[call][0], &s->fails[call][1], (FAIL_QUEUE - 1) * sizeof(int));
    s->fails[call][FAIL_QUEUE - 1] = 0;
    return -err;
}

void script_fail_next(struct script *s, enum script_call call, int err)
{
    for (int i = 0; i < FAIL_QUEUE; i++) {
        if (s->fails[call][i] == 0) {
            s->fails[call][i] = err;
            return;
        }
    }
    fail_msg("too many failures queued for %s", call_names[call]);
}

void script_fail_always(struct script *s, enum script_call call, int err)
{
    s->always[call] = err;
}

void script_fail_nth(struct script *s, uint64_t n, int err)
{
    s->fail_nth = n;
    s->fail_seen = 0;
    s->fail_err = err;
}

bool script_failed_nth(const struct script *s)
{
    return s->fail_nth != 0 && s->fail_seen >= s->fail_nth;
}

unsigned script_count(const struct script *s, enum script_call call)
{
    return s->counts[call];
}

unsigned script_count_all(const struct script *s)
{
    unsigned n = 0;
    for (unsigned i = SCRIPT_SLEEP; i < SCRIPT_CALLS; i++)
        n += s->counts[i];
    return n;
}

unsigned script_count_fd(const struct script *s, enum script_call call, int fd)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->log_n; i++)
        n += s->log[i].call == call && s->log[i].fd == fd;
    return n;
}

void script_forget(struct script *s)
{
    memset(s->counts, 0, sizeof(s->counts));
    s->log_n = 0;
}

const struct script_entry *script_entry(const struct script *s, unsigned index)
{
    return index < s->log_n ? &s->log[index] : NULL;
}

const struct script_entry *script_last(const struct script *s, enum script_call call)
{
    for (unsigned i = s->log_n; i-- > 0;)
        if (s->log[i].call == call)
            return &s->log[i];
    return NULL;
}

const char *script_call_name(enum script_call call)
{
    return call_names[call];
}

void script_print(const struct script *s)
{
    for (unsigned i = 0; i < s->log_n; i++) {
        const struct script_entry *e = &s->log[i];
        if (e->call != SCRIPT_CLOCK)
            print_message("%s fd %d arg %lld len %llu = %lld\n", call_names[e->call],
                          e->fd >= SCRIPT_FD_FIRST ? e->fd - SCRIPT_FD_FIRST : e->fd, (long long)e->arg,
                          (unsigned long long)e->len, (long long)e->result);
    }
}

/* ---- the set ---- */

struct watched *world_watched(struct script *s, int fd)
{
    for (unsigned i = 0; i < s->set_n; i++)
        if (s->set[i].fd == fd && s->set[i].state == WATCH_LIVE)
            return &s->set[i];
    return NULL;
}

int script_interest(const struct script *s, int fd)
{
    const struct watched *watched = world_watched((struct script *)(uintptr_t)s, fd);
    return watched == NULL ? -1 : (int)watched->interest;
}

static bool is_live(const struct script *s, int fd)
{
    return fd >= SCRIPT_FD_FIRST && fd < SCRIPT_FD_FIRST + s->lines_n && s->lines[fd - SCRIPT_FD_FIRST].open;
}

static int engine_open(const struct ior_engine_config *config, void **ret_engine)
{
    struct script *s = config->arg;
    world_note(s, SCRIPT_OPEN, -1);
    int err = world_fails(s, SCRIPT_OPEN);
    if (err < 0)
        return err;
    if (config->os->clock != s->os.clock || config->max_records == 0)
        fail_msg("the engine was opened with another clock, or without room for records");
    assert_false(s->engine_open);
    s->engine_open = true;
    *ret_engine = s;
    return 0;
}

static void engine_close(void *engine, bool in_child)
{
    struct script *s = engine;
    (void)in_child;
    assert_true(s->engine_open);
    s->engine_open = false;
    s->set_n = 0;
}

static int engine_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct script *s = engine;
    struct script_entry *entry = world_note(s, SCRIPT_WATCH, fd);
    entry->arg = interest;
    int err = world_fails(s, SCRIPT_WATCH);
    if (err == 0 && !is_live(s, fd))
        err = -EBADF;
    if (err == 0 && world_watched(s, fd) != NULL)
        err = -EEXIST;
    if (err == 0 && (world_line(s, fd)->kind & IOR_FD_KIND_MASK) == IOR_FD_FILE)
        err = -EPERM;
    entry->result = err;
    if (err < 0)
        return err;
    if (id == 0 || (id & 15) != 0 || (interest & ~(unsigned)(IOR_READ | IOR_WRITE)) != 0)
        fail_msg("watch of id %llx for %u", (unsigned long long)id, interest);
    if (s->set_n == s->set_room) {
        s->set_room = s->set_room * 2 + 64;
        s->set = realloc(s->set, s->set_room * sizeof(*s->set));
        if (s->set == NULL)
            abort();
    }
    s->set[s->set_n++] = (struct watched){.fd = fd, .id = id, .interest = interest};
    return 0;
}

static int engine_rewatch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct script *s = engine;
    struct watched *watched = world_watched(s, fd);
    struct script_entry *entry = world_note(s, SCRIPT_REWATCH, fd);
    entry->arg = interest;
    int err = world_fails(s, SCRIPT_REWATCH);
    if (err == 0 && !is_live(s, fd))
        err = -EBADF;
    if (err == 0 && watched == NULL)
        err = -ENOENT;
    entry->result = err;
    if (err < 0)
        return err;
    if (watched->id != id)
        fail_msg("rewatch of fd %d under another id", fd);
    if (watched->interest == interest)
        fail_msg("rewatch of fd %d without a change", fd);
    watched->interest = interest;
    return 0;
}

static int engine_unwatch(void *engine, int fd, ior_id id)
{
    struct script *s = engine;
    struct script_entry *entry = world_note(s, SCRIPT_UNWATCH, fd);
    int err = world_fails(s, SCRIPT_UNWATCH);
    for (unsigned i = 0; i < s->set_n && err == 0; i++) {
        if (s->set[i].fd != fd || s->set[i].id != id)
            continue;
        if (s->set[i].state == WATCH_GHOST) {
            err = -EBADF;
        } else {
            s->set[i] = s->set[--s->set_n];
            return 0;
        }
    }
    if (err == 0)
        err = is_live(s, fd) ? -ENOENT : -EBADF;
    entry->result = err;
    return err;
}

static int engine_rebuild(void *engine)
{
    struct script *s = engine;
    world_note(s, SCRIPT_REBUILD, -1);
    int err = world_fails(s, SCRIPT_REBUILD);
    if (err == 0)
        s->set_n = 0;
    return err;
}

/* ---- waiting ---- */

static unsigned stream_state(const struct line *line)
{
    unsigned what = line->ready;
    bool pipe = (line->kind & IOR_FD_KIND_MASK) == IOR_FD_PIPE;
    if (line->connecting)
        return what;
    if (line->listening)
        return what | (line->backlog_len > 0 ? (unsigned)IOR_READ : 0u);
    if (pipe && line->hung && (line->kind & IOR_FD_NO_READ)) /* nobody reads the pipe */
        return what | IOR_WRITE | IOR_ERR;
    if (line->in.len > 0 || (line->eof && !pipe) || line->error != 0)
        what |= IOR_READ;
    if (line->room > 0 || line->hung || line->fin)
        what |= IOR_WRITE;
    if (line->hung || (line->eof && line->fin) || (pipe && line->eof))
        what |= IOR_HUP;
    if (line->error != 0)
        what |= IOR_ERR;
    return what;
}

static unsigned what_of(struct script *s, const struct watched *watched)
{
    if (watched->state == WATCH_BAD)
        return IOR_BAD;
    if (watched->state == WATCH_GHOST)
        return watched->interest;
    const struct line *line = world_line(s, watched->fd);
    int kind = line->kind & IOR_FD_KIND_MASK;
    unsigned state = line->ready;
    if (kind == IOR_FD_TCP || kind == IOR_FD_UNIX || kind == IOR_FD_PIPE || kind == IOR_FD_LISTENER)
        state = stream_state(line);
    return state & (watched->interest | IOR_HUP | IOR_ERR);
}

static int collect(struct script *s, struct ior_record *records, int max)
{
    int n = 0;
    unsigned taken = 0;
    for (; taken < s->extra_n && n < max; taken++)
        records[n++] = s->extra[taken];
    s->extra_n -= taken;
    memmove(s->extra, s->extra + taken, s->extra_n * sizeof(*s->extra));
    unsigned first = s->set_next < s->set_n ? s->set_next : 0;
    for (unsigned i = 0; i < s->set_n; i++) {
        unsigned at = (first + i) % s->set_n;
        if (s->reverse)
            at = s->set_n - 1 - at;
        unsigned what = what_of(s, &s->set[at]);
        if (what == 0)
            continue;
        if (n == max) {
            s->set_next = (first + i) % s->set_n;
            return n;
        }
        records[n++] = (struct ior_record){.id = s->set[at].id, .what = what};
    }
    s->set_next = 0;
    return n;
}

bool world_any_ready(struct script *s)
{
    if (eager_any_ready(&s->eager))
        return true;
    for (unsigned i = 0; i < s->set_n; i++)
        if (what_of(s, &s->set[i]) != 0)
            return true;
    return s->extra_n > 0 || s->woken;
}

/* Jumps to the next thing on the calendar that is not later than the deadline; false: there is none. */
static bool next_event(struct script *s, uint64_t deadline_ns)
{
    if (s->calendar_n == 0 || s->calendar[0].at_ns > (deadline_ns > s->now_ns ? deadline_ns : s->now_ns))
        return false;
    struct event event = s->calendar[0];
    memmove(&s->calendar[0], &s->calendar[1], --s->calendar_n * sizeof(s->calendar[0]));
    if (event.at_ns > s->now_ns)
        s->now_ns = event.at_ns;
    event.fn(s, event.arg);
    return true;
}

static int engine_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct script *s = engine;
    struct script_entry *entry = world_note(s, SCRIPT_WAIT, -1);
    entry->value = (int64_t)deadline_ns;
    entry->len = (uint64_t)max;
    unsigned at = s->log_n - 1;
    int n = world_fails(s, SCRIPT_WAIT);
    if (n == 0 && max <= 0)
        fail_msg("a wait without room for records");
    if (n == 0 && s->interrupts > 0) {
        s->interrupts--;
    } else if (n == 0) {
        while (s->calendar_n > 0 && s->calendar[0].at_ns <= s->now_ns)
            next_event(s, 0);
        n = collect(s, records, max);
        while (n == 0 && !s->woken && deadline_ns > s->now_ns && next_event(s, deadline_ns))
            n = collect(s, records, max);
        if (n == 0 && !s->woken && deadline_ns == IOR_NEVER) {
            s->hung = true;
            if (!s->may_hang)
                fail_msg("the loop waits for ever");
        } else if (n == 0 && !s->woken && deadline_ns > s->now_ns) {
            s->now_ns = deadline_ns;
        }
        s->woken = false;
    }
    s->last_wait = n > 0 ? n : 0;
    s->log[at].result = n;
    return n;
}

static int engine_wake(void *engine)
{
    struct script *s = engine;
    world_note(s, SCRIPT_WAKE, -1);
    s->woken = true;
    return world_fails(s, SCRIPT_WAKE);
}

static int engine_fd(void *engine)
{
    (void)engine;
    return SCRIPT_FD_FIRST - 1;
}

void world_engine_init(struct script *s)
{
    s->ops = (struct ior_engine_ops){
        .struct_size = sizeof(struct ior_engine_ops),
        .features = IOR_ENGINE_HAS_FD,
        .name = "script",
        .open = engine_open,
        .close = engine_close,
        .watch = engine_watch,
        .rewatch = engine_rewatch,
        .unwatch = engine_unwatch,
        .wait = engine_wait,
        .wake = engine_wake,
        .rebuild = engine_rebuild,
        .fd = engine_fd,
    };
}

const struct ior_engine_ops *script_ops(struct script *s)
{
    return &s->ops;
}

struct ior_config script_config(struct script *s)
{
    const char *shape = getenv("IOR_SCRIPT_SHAPE");
    struct ior_config config = {.struct_size = sizeof(config), .engine_ops = &s->ops, .engine_arg = s, .os = &s->os};
    if (shape && strcmp(shape, "done") == 0) {
        s->eager = (struct eager_base){.ops = &s->ops, .arg = s};
        config.engine_ops = &eager_ops;
        config.engine_arg = &s->eager;
    }
    return config;
}
