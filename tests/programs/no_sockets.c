/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service tested without sockets and without waiting: the world behind it (the engine, the clock and the system
 * calls) is a struct of this file, which the runtime is given through config.engine_ops and config.os. The service is
 * unmodified and does not know. What takes minutes here takes no time, what is rare happens on demand (a write that
 * takes three bytes, a reset), and each run is the same.
 */
#include "program.h"

/*
 * --- The service: a doorman. Who says "hello NAME" is let in; who says nothing in ten seconds is sent away. -------
 */

#define PATIENCE_NS (10 * IOR_NS_PER_SEC)
#define CLOSE_NS (5 * IOR_NS_PER_SEC)

struct doorman {
    unsigned let_in, sent_away, resets, ends;
};

static int doorman_start(void *self, struct ior_context *cx)
{
    struct ior_addr addr;
    ior_id id;
    (void)self;
    CHECK(ior_addr_parse(&addr, "192.0.2.1:80") == 0);
    return ior_listen(cx, &addr, NULL, &id);
}

static void doorman_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

static void doorman_data(struct doorman *doorman, struct ior_context *cx, const struct ior_event *ev)
{
    const char *line = ev->data.bytes, *end = memchr(line, '\n', ev->data.len);
    char answer[64];
    if (!end) {
        ior_unread(cx, ev->id, ev->data.len);
        return;
    }
    if (end - line < 7 || memcmp(line, "hello ", 6) != 0) {
        ior_abort(cx, ev->id);
        return;
    }
    int n = snprintf(answer, sizeof answer, "come in, %.*s\n", (int)(end - line - 6), line + 6);
    ior_send(cx, ev->id, answer, (size_t)n);
    ior_deadline(cx, ev->id, IOR_DEADLINE_USER, IOR_NEVER);
    doorman->let_in++;
}

static void doorman_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct doorman *doorman = self;
    switch (ev->type) {
    case IOR_EV_OPEN:
        ior_deadline(cx, ev->id, IOR_DEADLINE_USER, PATIENCE_NS);
        break;
    case IOR_EV_DATA:
        doorman_data(doorman, cx, ev);
        break;
    case IOR_EV_DEADLINE:
        doorman->sent_away++;
        ior_send(cx, ev->id, "too late\n", 9);
        ior_close(cx, ev->id, CLOSE_NS);
        break;
    case IOR_EV_END:
        doorman->ends++;
        doorman->resets += ev->end.why == IOR_ERROR && ev->end.error == ECONNRESET;
        break;
    default:
        break;
    }
}

static const struct ior_handler doorman_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = doorman_start,
    .listener = doorman_listener,
    .transport = doorman_transport,
};

/*
 * --- The world: fds that are no fds, and a clock that goes on only when nothing else happens. ---------------------
 */

#define FD_FIRST (1 << 30) /* A stray real system call gets EBADF. */
#define FDS 8

struct line {
    bool open, watched, listening, connected;
    bool finished, reset;   /* by the peer */
    bool shut;              /* by the service */
    size_t takes;           /* how much the next send takes; then it would block, until the test says */
    char in[128], out[128]; /* what the peer sent, what it got */
    size_t in_len, out_len;
    ior_id id;
    unsigned interest;
};

struct world {
    uint64_t now_ns;
    struct line lines[FDS];
    int waiting[FDS]; /* connections nobody accepted yet */
    int waiting_n;
};

static struct world world;

static struct line *line_of(int fd)
{
    CHECK(fd >= FD_FIRST && fd < FD_FIRST + FDS && world.lines[fd - FD_FIRST].open);
    return &world.lines[fd - FD_FIRST];
}

static int line_new(void)
{
    for (int i = 0; i < FDS; i++) {
        if (!world.lines[i].open) {
            world.lines[i] = (struct line){.open = true, .takes = SIZE_MAX};
            return FD_FIRST + i;
        }
    }
    return -EMFILE;
}

/* The system calls. Those that are not here stay the real ones, and the fds make them fail. */

static uint64_t world_clock(void *arg)
{
    (void)arg;
    return world.now_ns;
}

static int world_socket(void *arg, int domain, int type, int protocol)
{
    (void)arg, (void)domain, (void)type, (void)protocol;
    return line_new();
}

static int world_bind(void *arg, int fd, const struct ior_addr *addr)
{
    (void)arg, (void)fd, (void)addr;
    return 0;
}

static int world_listen(void *arg, int fd, int backlog)
{
    (void)arg, (void)backlog;
    line_of(fd)->listening = true;
    return 0;
}

static int world_accept(void *arg, int fd, struct ior_addr *peer)
{
    (void)arg;
    CHECK(line_of(fd)->listening);
    if (world.waiting_n == 0)
        return -EAGAIN;
    if (peer)
        CHECK(ior_addr_parse(peer, "192.0.2.2:1024") == 0);
    return world.waiting[--world.waiting_n];
}

static int world_address(void *arg, int fd, struct ior_addr *addr)
{
    (void)arg, (void)fd;
    return ior_addr_parse(addr, "192.0.2.1:80");
}

static int world_getsockopt(void *arg, int fd, int level, int name, void *value, uint32_t *len)
{
    (void)arg, (void)fd, (void)level, (void)name;
    memset(value, 0, *len);
    return 0;
}

static int world_setsockopt(void *arg, int fd, int level, int name, const void *value, uint32_t len)
{
    (void)arg, (void)fd, (void)level, (void)name, (void)value, (void)len;
    return 0;
}

static int world_fd_kind(void *arg, int fd)
{
    (void)arg;
    return line_of(fd)->listening ? IOR_FD_LISTENER : IOR_FD_TCP;
}

static int world_set_nonblock(void *arg, int fd, bool on)
{
    (void)arg, (void)fd, (void)on;
    return 0;
}

static int world_shutdown(void *arg, int fd, int how)
{
    (void)arg;
    line_of(fd)->shut = how != SHUT_RD;
    return 0;
}

static int world_close(void *arg, int fd)
{
    (void)arg;
    CHECK(!line_of(fd)->watched); /* Out of the engine first. */
    line_of(fd)->open = false;
    return 0;
}

static ssize_t world_recv(void *arg, int fd, void *bytes, size_t len)
{
    struct line *line = line_of(fd);
    (void)arg;
    if (line->in_len > 0) {
        len = len < line->in_len ? len : line->in_len;
        memcpy(bytes, line->in, len);
        line->in_len -= len;
        memmove(line->in, line->in + len, line->in_len);
        return (ssize_t)len;
    }
    return line->reset ? -ECONNRESET : line->finished ? 0 : -EAGAIN;
}

static ssize_t world_send(void *arg, int fd, const struct iovec *iov, int n)
{
    struct line *line = line_of(fd);
    size_t sent = 0;
    (void)arg;
    CHECK(!line->shut);
    for (int i = 0; i < n; i++) {
        size_t len = iov[i].iov_len < line->takes ? iov[i].iov_len : line->takes;
        CHECK(len < sizeof line->out - line->out_len);
        memcpy(line->out + line->out_len, iov[i].iov_base, len);
        line->out_len += len;
        line->takes -= len;
        sent += len;
    }
    return sent > 0 ? (ssize_t)sent : -EAGAIN;
}

/* The engine: what is ready is plain to see. */

static int world_open(const struct ior_engine_config *config, void **ret_engine)
{
    (void)config;
    *ret_engine = &world;
    return 0;
}

static void world_engine_close(void *engine, bool in_child)
{
    (void)engine, (void)in_child;
}

static int world_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct line *line = line_of(fd);
    (void)engine;
    line->watched = true;
    line->id = id;
    line->interest = interest;
    return 0;
}

static int world_unwatch(void *engine, int fd, ior_id id)
{
    (void)engine, (void)id;
    line_of(fd)->watched = false;
    return 0;
}

static unsigned line_ready(const struct line *line)
{
    bool readable = line->listening ? world.waiting_n > 0 : line->in_len > 0 || line->finished || line->reset;
    unsigned what = (readable ? IOR_READ : 0u) | (line->takes > 0 && !line->listening ? IOR_WRITE : 0u);
    return (what & line->interest) | (line->reset ? IOR_HUP | IOR_ERR : 0u);
}

static int world_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    int n = 0;
    (void)engine;
    for (int i = 0; i < FDS && n < max; i++) {
        const struct line *line = &world.lines[i];
        if (line->open && line->watched && line_ready(line))
            records[n++] = (struct ior_record){.id = line->id, .what = line_ready(line)};
    }
    if (n == 0 && deadline_ns > world.now_ns) {
        CHECK(deadline_ns != IOR_NEVER); /* It would hang. */
        world.now_ns = deadline_ns;
    }
    return n;
}

static int world_nothing(void *engine)
{
    (void)engine;
    return 0;
}

static const struct ior_engine_ops world_engine = {
    .struct_size = sizeof(struct ior_engine_ops),
    .name = "world",
    .open = world_open,
    .close = world_engine_close,
    .watch = world_watch,
    .rewatch = world_watch,
    .unwatch = world_unwatch,
    .wait = world_wait,
    .wake = world_nothing,
    .rebuild = world_nothing,
};

static struct ior_os world_os(void)
{
    struct ior_os os = *ior_os_default();
    os.clock = world_clock;
    os.socket = world_socket;
    os.bind = world_bind;
    os.listen = world_listen;
    os.accept = world_accept;
    os.getsockname = os.getpeername = world_address;
    os.getsockopt = world_getsockopt;
    os.setsockopt = world_setsockopt;
    os.fd_kind = world_fd_kind;
    os.set_nonblock = world_set_nonblock;
    os.shutdown = world_shutdown;
    os.close = world_close;
    os.recv = world_recv;
    os.send = world_send;
    return os;
}

/*
 * --- The test. ----------------------------------------------------------------------------------------------------
 */

static struct line *peer_connects(void)
{
    int fd = line_new();
    CHECK(fd >= FD_FIRST);
    world.waiting[world.waiting_n++] = fd;
    return line_of(fd);
}

static void peer_says(struct line *line, const char *text)
{
    size_t len = strlen(text);
    CHECK(len <= sizeof line->in - line->in_len);
    memcpy(line->in + line->in_len, text, len);
    line->in_len += len;
}

static bool peer_heard(const struct line *line, const char *text)
{
    return line->out_len == strlen(text) && memcmp(line->out, text, line->out_len) == 0;
}

/* Turns until the time has passed, so that all that was to happen by then has happened. */
static void let_pass(struct ior_runtime *runtime, uint64_t ns)
{
    uint64_t until_ns = world.now_ns + ns;
    for (int quiet = 0; quiet < 3;) {
        uint64_t before_ns = world.now_ns;
        CHECK(ior_runtime_turn(runtime, until_ns - world.now_ns) == 1);
        quiet = world.now_ns == before_ns && world.now_ns == until_ns ? quiet + 1 : 0;
    }
}

static void test_doorman(struct ior_runtime *runtime, const struct doorman *doorman)
{
    let_pass(runtime, 0);

    struct line *ann = peer_connects(), *bob = peer_connects();
    let_pass(runtime, 1);
    peer_says(ann, "hello a");
    ann->takes = 3;
    let_pass(runtime, 9 * IOR_NS_PER_SEC);
    CHECK(doorman->let_in == 0 && ann->out_len == 0);
    peer_says(ann, "nn\n");
    let_pass(runtime, 1);
    CHECK(doorman->let_in == 1 && peer_heard(ann, "com"));
    ann->takes = SIZE_MAX; /* The kernel has room again: the rest is written. */
    let_pass(runtime, 1);
    CHECK(peer_heard(ann, "come in, ann\n"));

    /* Bob has said nothing. Not one nanosecond before his time he is still welcome. */
    let_pass(runtime, IOR_NS_PER_SEC - 4);
    CHECK(doorman->sent_away == 0 && bob->out_len == 0);
    let_pass(runtime, 4);
    CHECK(doorman->sent_away == 1 && peer_heard(bob, "too late\n") && bob->shut && bob->open);
    bob->finished = true;
    let_pass(runtime, 1);
    CHECK(!bob->open && doorman->ends == 1);

    /* Ann stays for a year, and is cut off. */
    let_pass(runtime, UINT64_C(365) * 24 * 3600 * IOR_NS_PER_SEC);
    CHECK(ann->open && doorman->ends == 1);
    ann->reset = true;
    let_pass(runtime, 1);
    CHECK(!ann->open && doorman->ends == 2 && doorman->resets == 1);
}

int main(void)
{
    struct ior_os os = world_os();
    struct ior_config config = {.struct_size = sizeof config, .engine_ops = &world_engine, .os = &os};
    struct ior_runtime *runtime;
    struct doorman doorman = {0};

    program_begin();
    world.now_ns = 1000 * IOR_NS_PER_SEC;
    CHECK(ior_runtime_new(&config, &doorman_handler, &doorman, &runtime) == 0);
    test_doorman(runtime, &doorman);
    ior_runtime_free(runtime);
    for (int i = 0; i < FDS; i++)
        CHECK(!world.lines[i].open); /* No fd is left, not even one that is none. */
    return 0;
}
