/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scripted world as tests see it: what peers do, what they get, how the loop is turned. The state is in
 * script_world.h; the system calls on it are in script_os.c, the engine in script_engine.c.
 */
#include <netinet/in.h>
#include <sys/socket.h>

#include "script_world.h"

/* ---- the pattern ---- */

unsigned char script_pattern_at(uint64_t offset)
{
    uint64_t x = offset * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)(x >> 56 ^ x >> 24 ^ offset);
}

void script_pattern(void *bytes, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((unsigned char *)bytes)[i] = script_pattern_at(offset + i);
}

bool script_is_pattern(const void *bytes, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((const unsigned char *)bytes)[i] != script_pattern_at(offset + i))
            return false;
    return true;
}

/* ---- fds ---- */

void world_append(struct bytes *to, const void *bytes, size_t len)
{
    if (to->room - to->len < len) {
        to->room = (to->len + len) * 2;
        to->at = realloc(to->at, to->room);
        if (to->at == NULL)
            abort();
    }
    memcpy(to->at + to->len, bytes, len);
    to->len += len;
}

const struct line *world_look(const struct script *s, int fd)
{
    if (fd < SCRIPT_FD_FIRST || fd >= SCRIPT_FD_FIRST + s->lines_n)
        fail_msg("fd %d was never made", fd);
    return &s->lines[fd - SCRIPT_FD_FIRST];
}

struct line *world_line(struct script *s, int fd)
{
    return (struct line *)(uintptr_t)world_look(s, fd);
}

static void line_wipe(struct line *line)
{
    free(line->in.at);
    free(line->out.at);
    free(line->backlog);
    if (line->file != NULL && --line->file->refs == 0)
        free(line->file);
    memset(line, 0, sizeof(*line));
}

int world_fd_new(struct script *s, int kind)
{
    int i = 0;
    while (i < s->lines_n && s->lines[i].open)
        i++;
    if (i == s->lines_n) {
        int n = s->lines_n * 2 + 64;
        s->lines = realloc(s->lines, (size_t)n * sizeof(*s->lines));
        if (s->lines == NULL)
            abort();
        memset(s->lines + s->lines_n, 0, (size_t)(n - s->lines_n) * sizeof(*s->lines));
        s->lines_n = n;
    }
    struct line *line = &s->lines[i];
    line_wipe(line);
    line->open = true;
    line->kind = kind;
    line->room = SIZE_MAX;
    line->path = -1;
    s->last_fd = SCRIPT_FD_FIRST + i;
    return s->last_fd;
}

/* What was heard can still be looked at after that, until the number is used again. */
void world_fd_close(struct script *s, int fd)
{
    struct line *line = world_line(s, fd);
    line->open = false;
    line->was_reset = line->lingers;
    if (line->path >= 0 && line->listening)
        s->paths[line->path].listened = false;
    for (unsigned i = 0; i < line->backlog_len; i++)
        world_line(s, line->backlog[i])->open = false;
    line->backlog_len = 0;
}

int script_fd(struct script *s, int kind)
{
    int fd = world_fd_new(s, kind);
    struct line *line = world_line(s, fd);
    line->own = true;
    if (line->kind == IOR_FD_LISTENER)
        assert_int_equal(ior_addr_parse(&line->local, "192.0.2.1:80"), 0);
    if ((kind & IOR_FD_KIND_MASK) == IOR_FD_TCP) {
        assert_int_equal(ior_addr_parse(&line->local, "192.0.2.1:80"), 0);
        assert_int_equal(ior_addr_parse(&line->peer, "192.0.2.2:4000"), 0);
    }
    line->datagram = (kind & IOR_FD_KIND_MASK) == IOR_FD_SOCKET;
    line->listening = (kind & IOR_FD_KIND_MASK) == IOR_FD_LISTENER;
    return fd;
}

int script_stream(struct script *s)
{
    return script_fd(s, IOR_FD_TCP);
}

int script_file(struct script *s, uint64_t len)
{
    int fd = script_fd(s, IOR_FD_FILE);
    struct file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        abort();
    file->refs = 1;
    file->len = len;
    world_line(s, fd)->file = file;
    return fd;
}

void script_shrink(struct script *s, int fd, uint64_t len)
{
    world_line(s, fd)->file->len = len;
}

bool script_is_open(const struct script *s, int fd)
{
    return world_look(s, fd)->open;
}

int script_last_fd(const struct script *s)
{
    return s->last_fd;
}

unsigned script_open_fds(const struct script *s)
{
    unsigned n = 0;
    for (int i = 0; i < s->lines_n; i++)
        n += s->lines[i].open;
    return n;
}

void script_fd_limit(struct script *s, unsigned most)
{
    s->fd_limit = most;
}

void script_close(struct script *s, int fd)
{
    if (world_watched(s, fd) != NULL)
        fail_msg("the test closes fd %d, which is watched", fd);
    world_fd_close(s, fd);
}

void script_give_away(struct script *s, int fd, bool away)
{
    world_line(s, fd)->own = !away;
}

void script_steal(struct script *s, int fd, enum script_steal how)
{
    struct watched *watched = world_watched(s, fd);
    world_fd_close(s, fd);
    if (watched == NULL)
        return;
    if (how == SCRIPT_STEAL_BAD)
        watched->state = WATCH_BAD;
    else if (how == SCRIPT_STEAL_DUP)
        watched->state = WATCH_GHOST;
    else
        *watched = s->set[--s->set_n];
}

/* ---- what the peer does ---- */

void script_say(struct script *s, int fd, const void *bytes, size_t len)
{
    struct line *line = world_line(s, fd);
    if (line->eof || line->hung)
        fail_msg("the peer of fd %d has finished, and cannot say more", fd);
    world_append(&line->in, bytes, len);
    line->said += len;
}

void script_say_pattern(struct script *s, int fd, size_t len)
{
    unsigned char block[4096];
    while (len > 0) {
        size_t part = len < sizeof(block) ? len : sizeof(block);
        script_pattern(block, world_line(s, fd)->said, part);
        script_say(s, fd, block, part);
        len -= part;
    }
}

void script_eof(struct script *s, int fd)
{
    world_line(s, fd)->eof = true;
}

void script_hangup(struct script *s, int fd)
{
    struct line *line = world_line(s, fd);
    line->eof = line->hung = true;
}

void script_error(struct script *s, int fd, int err)
{
    script_hangup(s, fd);
    world_line(s, fd)->error = err;
}

void script_reset(struct script *s, int fd)
{
    script_error(s, fd, ECONNRESET);
}

void script_connected(struct script *s, int fd)
{
    struct line *line = world_line(s, fd);
    if (!line->connecting)
        fail_msg("fd %d is not connecting", fd);
    line->connecting = false;
    line->kind = IOR_FD_TCP;
}

void script_refused(struct script *s, int fd, int err)
{
    script_connected(s, fd);
    script_error(s, fd, err);
}

void script_connect_now(struct script *s, bool on)
{
    s->connect_now = on;
}

int script_accept_from(struct script *s, int listener, const char *from)
{
    int fd = world_fd_new(s, IOR_FD_TCP);
    struct line *line = world_line(s, fd);
    struct line *listening = world_line(s, listener); /* the table may have moved */
    if (!listening->open || !listening->listening)
        fail_msg("fd %d is not listening", listener);
    assert_int_equal(ior_addr_parse(&line->peer, from), 0);
    line->local = listening->local;
    line->own = true; /* until it is accepted */
    listening->backlog = realloc(listening->backlog, (listening->backlog_len + 1) * sizeof(int));
    if (listening->backlog == NULL)
        abort();
    listening->backlog[listening->backlog_len++] = fd;
    return fd;
}

void script_ready(struct script *s, int fd, unsigned what)
{
    world_line(s, fd)->ready = what;
}

/* ---- what the peer gets ---- */

void script_room(struct script *s, int fd, size_t bytes)
{
    world_line(s, fd)->room = bytes;
}

void script_take(struct script *s, int fd, size_t most)
{
    world_line(s, fd)->take = most;
}

void script_give(struct script *s, int fd, size_t most)
{
    world_line(s, fd)->give = most;
}

void script_deaf(struct script *s, int fd)
{
    world_line(s, fd)->deaf = true;
}

uint64_t script_heard(const struct script *s, int fd)
{
    return world_look(s, fd)->heard;
}

void script_hear(struct script *s, int fd, const void *bytes, size_t len)
{
    struct line *line = world_line(s, fd);
    size_t new = line->out.len - line->heard_off;
    if (new != len)
        fail_msg("the peer of fd %d got %zu bytes where it should have got %zu", fd, new, len);
    if (len > 0)
        assert_memory_equal(line->out.at + line->heard_off, bytes, len);
    line->heard_off = line->out.len;
}

void script_hear_pattern(struct script *s, int fd, uint64_t offset, size_t len)
{
    struct line *line = world_line(s, fd);
    size_t new = line->out.len - line->heard_off;
    if (new != len)
        fail_msg("the peer of fd %d got %zu bytes where it should have got %zu", fd, new, len);
    if (len > 0 && !script_is_pattern(line->out.at + line->heard_off, offset, len))
        fail_msg("the peer of fd %d did not get the pattern", fd);
    line->heard_off = line->out.len;
}

bool script_got_fin(const struct script *s, int fd)
{
    return world_look(s, fd)->fin;
}

bool script_got_reset(const struct script *s, int fd)
{
    return world_look(s, fd)->was_reset;
}

size_t script_unread(const struct script *s, int fd)
{
    return world_look(s, fd)->in.len;
}

/* ---- paths ---- */

struct path *world_path(struct script *s, const char *name)
{
    for (int i = 0; i < PATHS; i++)
        if (strcmp(s->paths[i].name, name) == 0)
            return &s->paths[i];
    for (int i = 0; i < PATHS; i++) {
        if (s->paths[i].name[0] == '\0') {
            snprintf(s->paths[i].name, sizeof(s->paths[i].name), "%s", name);
            return &s->paths[i];
        }
    }
    fail_msg("too many paths");
    return NULL;
}

void script_path(struct script *s, const char *path, bool is_socket, bool listened)
{
    struct path *p = world_path(s, path);
    p->exists = true;
    p->is_socket = is_socket;
    p->listened = listened;
    p->ino = ++s->next_ino;
    p->mode = 0755;
}

bool script_path_exists(const struct script *s, const char *path)
{
    return world_path((struct script *)(uintptr_t)s, path)->exists;
}

unsigned script_path_mode(const struct script *s, const char *path)
{
    return world_path((struct script *)(uintptr_t)s, path)->mode;
}

void script_path_replace(struct script *s, const char *path)
{
    world_path(s, path)->ino = ++s->next_ino;
}

/* ---- the world and its time ---- */

struct script *script_new(void)
{
    struct script *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->now_ns = 1000 * IOR_NS_PER_SEC;
    s->wall_ns = 1700000000 * IOR_NS_PER_SEC;
    s->random = 1;
    s->next_port = 40000;
    s->last_fd = -1;
    world_os_init(s);
    world_engine_init(s);
    return s;
}

void script_free(struct script *s)
{
    int left = -1;
    bool engine_open = s->engine_open;
    for (int i = 0; i < s->lines_n; i++) {
        if (s->lines[i].open && !s->lines[i].own)
            left = SCRIPT_FD_FIRST + i;
        line_wipe(&s->lines[i]);
    }
    free(s->lines);
    free(s->set);
    free(s->log);
    free(s);
    if (left >= 0)
        fail_msg("fd %d was not closed", left);
    if (engine_open)
        fail_msg("the engine was not closed");
}

uint64_t script_now(const struct script *s)
{
    return s->now_ns;
}

void script_advance(struct script *s, uint64_t ns)
{
    s->now_ns += ns;
}

void script_set_wall(struct script *s, uint64_t ns)
{
    s->wall_ns = ns;
}

void script_at(struct script *s, uint64_t at_ns, void (*fn)(struct script *s, void *arg), void *arg)
{
    if (s->calendar_n == CALENDAR)
        fail_msg("the calendar is full");
    unsigned i = s->calendar_n++;
    for (; i > 0 && s->calendar[i - 1].at_ns > at_ns; i--)
        s->calendar[i] = s->calendar[i - 1];
    s->calendar[i] = (struct event){.at_ns = at_ns, .fn = fn, .arg = arg};
}

/* ---- the loop ---- */

int script_turn_for(struct script *s, struct ior_runtime *rt, uint64_t wait_ns)
{
    s->last_wait = 0;
    s->in_loop = true;
    int r = ior_runtime_turn(rt, wait_ns);
    s->in_loop = false;
    if (r < 0 || r > 1)
        fail_msg("ior_runtime_turn answered %d", r);
    return r;
}

int script_turn(struct script *s, struct ior_runtime *rt)
{
    return script_turn_for(s, rt, 0);
}

static bool quiet(struct script *s, struct ior_runtime *rt)
{
    return s->last_wait == 0 && !world_any_ready(s) && ior_runtime_deadline(rt) > s->now_ns;
}

unsigned script_settle(struct script *s, struct ior_runtime *rt)
{
    for (unsigned n = 1; n < TURNS_MOST; n++)
        if (script_turn_for(s, rt, 0) == 0 || quiet(s, rt))
            return n;
    fail_msg("the loop spins: %d turns, and there is still something to do", TURNS_MOST);
    return 0;
}

unsigned script_pass(struct script *s, struct ior_runtime *rt, uint64_t ns)
{
    uint64_t until_ns = s->now_ns + ns;
    for (unsigned n = 1; n < TURNS_MOST; n++) {
        uint64_t left_ns = until_ns > s->now_ns ? until_ns - s->now_ns : 0;
        if (script_turn_for(s, rt, left_ns) == 0 || (s->now_ns >= until_ns && left_ns == 0 && quiet(s, rt)))
            return n;
    }
    fail_msg("the loop spins: %d turns, and the time is not over", TURNS_MOST);
    return 0;
}

bool script_idle(struct script *s, struct ior_runtime *rt)
{
    script_settle(s, rt);
    uint64_t deadline_ns = ior_runtime_deadline(rt);
    s->may_hang = true;
    s->hung = false;
    if (deadline_ns == IOR_NEVER)
        script_turn_for(s, rt, IOR_NEVER);
    s->may_hang = false;
    return s->hung;
}

int script_run(struct script *s, struct ior_runtime *rt)
{
    s->in_loop = true;
    int r = ior_runtime_run(rt);
    s->in_loop = false;
    return r;
}

void script_free_runtime(struct script *s, struct ior_runtime *rt)
{
    s->in_loop = true;
    ior_runtime_free(rt);
    s->in_loop = false;
}

bool script_in_loop(const struct script *s)
{
    return s->in_loop;
}

void script_interrupt(struct script *s, unsigned n)
{
    s->interrupts = n;
}

void script_record(struct script *s, ior_id id, unsigned what)
{
    if (s->extra_n == EXTRA_RECORDS)
        fail_msg("too many records");
    s->extra[s->extra_n++] = (struct ior_record){.id = id, .what = what};
}

void script_reverse(struct script *s, bool on)
{
    s->reverse = on;
}
