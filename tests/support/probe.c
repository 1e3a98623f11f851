/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recording service. Its notes are found by the slot in the id, so that tests with thousands of resources stay
 * linear. It runs on whatever thread runs the loop; so it notes broken promises and lets probe_free fail the test.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "os_processes.h"
#include "probe.h"
#include "signal_pipe.h"

static void complain(struct probe *p, const char *what)
{
    if (p->broken++ == 0)
        p->complaint = what;
}

static void *grown(void *old, size_t old_n, size_t new_n, size_t size)
{
    char *block = realloc(old, new_n * size);
    if (block == NULL)
        abort();
    memset(block + old_n * size, 0, (new_n - old_n) * size);
    return block;
}

struct probe_res *probe_of(struct probe *p, ior_id id)
{
    size_t slot = (size_t)(id >> 40);
    if (slot >= p->slots) {
        size_t slots = slot + slot / 2 + 64;
        p->by_slot = grown(p->by_slot, p->slots, slots, sizeof(*p->by_slot));
        p->slots = slots;
    }
    if (p->by_slot[slot] != 0 && p->res[p->by_slot[slot] - 1].id == id)
        return &p->res[p->by_slot[slot] - 1];
    for (size_t i = p->n; i-- > 0 && p->by_slot[slot] != 0;) /* an older id of a slot in use again: rare */
        if (p->res[i].id == id)
            return &p->res[i];
    if (p->n == p->cap) {
        size_t cap = p->cap * 2 + 16;
        p->res = grown(p->res, p->cap, cap, sizeof(*p->res));
        p->cap = cap;
    }
    p->res[p->n].id = id;
    p->by_slot[slot] = (uint32_t)++p->n;
    return &p->res[p->n - 1];
}

static int on_start(void *self, struct ior_context *cx)
{
    struct probe *p = self;
    p->cx = cx;
    p->starts++;
    return p->on_start != NULL ? p->on_start(p) : 0;
}

static void on_stop(void *self, struct ior_context *cx)
{
    struct probe *p = self;
    (void)cx;
    p->stops++;
    if (p->on_stop != NULL)
        p->on_stop(p);
}

static void on_tick(void *self, struct ior_context *cx, uint64_t now_ns)
{
    struct probe *p = self;
    (void)cx;
    (void)now_ns;
    p->ticks++;
    if (p->on_tick != NULL)
        p->on_tick(p);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct probe *p = self;
    (void)cx;
    p->timers++;
    if (p->on_timer != NULL)
        p->on_timer(p, id, user);
}

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct probe *p = self;
    (void)cx;
    p->commands++;
    if (p->on_command != NULL)
        p->on_command(p, command);
    else if (command->drop != NULL)
        command->drop(command);
}

static void on_registered(void *self, struct ior_context *cx, ior_id id, void *user)
{
    struct probe *p = self;
    struct probe_res *r = probe_of(p, id);
    (void)cx;
    if (r->registered++ != 0 || r->open + r->data + r->datagrams + r->eof + r->ready + r->end != 0)
        complain(p, "registered must come first and once");
    r->user = user;
    if (p->on_registered != NULL)
        p->on_registered(p, id);
}

static void note_data(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (p->pattern && !net_is_pattern(ev->data.bytes, r->bytes, ev->data.len))
        complain(p, "bytes were lost, doubled or out of order");
    if (r->eof != 0)
        complain(p, "data after EOF");
    if (r->open == 0 && !p->own_kind)
        complain(p, "data before OPEN");
    r->bytes += ev->data.len;
    r->data++;
}

static void note_end(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (r->end++ != 0)
        complain(p, "END more than once");
    p->last_end = ev->id;
    r->why = ev->end.why;
    r->error = ev->end.error;
    r->which = ev->end.deadline;
    r->written = ev->end.written;
    r->unsent = ev->end.unsent;
    r->unread = ev->end.unread;
}

static void note(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (r->end != 0 || r->handover != 0)
        complain(p, "an event after END");
    switch (ev->type) {
    case IOR_EV_ACCEPTED:
        r->accepted++;
        break;
    case IOR_EV_OPEN:
        if (r->open++ != 0)
            complain(p, "OPEN more than once");
        break;
    case IOR_EV_DATA:
        note_data(p, r, ev);
        break;
    case IOR_EV_EOF:
        if (r->eof++ != 0)
            complain(p, "EOF more than once");
        break;
    case IOR_EV_DRAINED:
        r->drained++;
        break;
    case IOR_EV_READY:
        r->ready++;
        r->ready_bits = ev->ready;
        break;
    case IOR_EV_DEADLINE:
        r->deadline++;
        break;
    case IOR_EV_CUSTOM:
        r->custom++;
        break;
    case IOR_EV_SIGNAL:
        r->signals++;
        r->signal = *ev->signal;
        break;
    case IOR_EV_EXITED:
        if (r->exited++ != 0)
            complain(p, "EXITED more than once");
        r->exit = *ev->exit;
        break;
    case IOR_EV_RESOLVED:
        r->resolved++;
        break;
    case IOR_EV_END:
        note_end(p, r, ev);
        break;
    case IOR_EV_JOB:
        break; /* of no resource: on_transport */
    case IOR_EV_DATAGRAM:
        r->datagrams++;
        break;
    case IOR_EV_SEND_ERROR:
        r->send_errors++;
        break;
    case IOR_EV_FILE:
        r->file++;
        break;
    default:
        break; /* what one kind of resource tells is looked at by the tests of that kind */
    }
}

static void on_event(struct probe *p, struct ior_context *cx, const struct ior_event *ev, bool listener)
{
    struct probe_res *r = probe_of(p, ev->id);
    r->listener = listener;
    note(p, r, ev);
    if (p->on_event != NULL)
        p->on_event(p, r, ev);
    if (ev->type == IOR_EV_ACCEPTED && !p->refuse) {
        ior_id id;
        int rc = ior_accept(cx, ev, &id);
        if (rc == 0)
            p->accepted = id;
        else if (rc != -EALREADY && rc != -ESHUTDOWN && rc != -ENOENT)
            complain(p, "ior_accept failed");
    }
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    on_event(self, cx, ev, true);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct probe *p = self;
    if (ev->type != IOR_EV_JOB) {
        on_event(p, cx, ev, false);
        return;
    }
    p->jobs++;
    if (ev->id != 0 || ev->user != ev->job->user)
        complain(p, "a job's event with another id or user");
    if (p->on_job != NULL)
        p->on_job(p, ev->job);
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct probe *p = self;
    (void)cx;
    p->errors++;
    if (id != 0) {
        struct probe_res *r = probe_of(p, id);
        r->errors++;
        r->last_error = err;
    } else {
        p->last_error = err;
    }
    if (p->on_error != NULL)
        p->on_error(p, id, err);
}

/* Handover comes right after its END. */
static void on_handover(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct probe *p = self;
    struct probe_res *r = probe_of(p, p->last_end);
    (void)cx;
    if (r->handover++ != 0)
        complain(p, "handed over more than once");
    if (r->end != 1)
        complain(p, "handed over before END");
    if (p->on_handover != NULL)
        p->on_handover(p, r, res);
    else if (p->keep)
        r->handed = res;
    else
        ior_resource_free(res);
}

const struct ior_handler probe_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = on_start,
    .stop = on_stop,
    .tick = on_tick,
    .timer = on_timer,
    .command = on_command,
    .registered = on_registered,
    .listener = on_listener,
    .transport = on_transport,
    .error = on_error,
    .handover_listener = on_handover,
    .handover_transport = on_handover,
};

void probe_await_count(const volatile sig_atomic_t *count, int n)
{
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    while (*count < n && net_now() < until)
        usleep(50);
    assert_int_equal(*count, n);
}

bool probe_os_is_plain(void)
{
    const char *wanted = getenv("IOR_PROCESSES");
    return wanted && strcmp(wanted, "plain") == 0;
}

void probe_signal_sent(void)
{
    for (int i = 0; PROBE_SIGNALS_HELD_BACK && i < 3; i++) /* a handler may have sent it again */
        usleep(0);
}

const struct ior_os *probe_os(void)
{
    static struct ior_os_processes processes;
    static struct ior_os os;
    if (!probe_os_is_plain())
        return ior_os_default();
    if (os.struct_size == 0) {
        processes = ior__os_processes;
        processes.signal_open = ior__signal_pipe_open;
        processes.spawn = ior__spawn_watched;
        os = *ior_os_default();
        os.processes = &processes;
    }
    return &os;
}

static uint64_t still_ns;

static uint64_t still_clock(void *arg)
{
    (void)arg;
    return still_ns;
}

void probe_clock_stop(struct ior_os *os)
{
    still_ns = net_now();
    os->clock = still_clock;
}

void probe_clock_move(uint64_t ns)
{
    still_ns += ns;
}

struct ior_config probe_config(void)
{
    struct ior_config config = {.struct_size = sizeof(config), .engine = ior_engine_from_env(), .os = probe_os()};
    return config;
}

struct probe *probe_bare(void)
{
    struct probe *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    return p;
}

struct probe *probe_new(const struct ior_config *config)
{
    struct ior_config defaults = probe_config();
    struct probe *p = probe_bare();
    assert_int_equal(ior_runtime_new(config != NULL ? config : &defaults, &probe_handler, p, &p->rt), 0);
    p->cx = ior_runtime_context(p->rt);
    return p;
}

void probe_free(struct probe *p)
{
    const char *complaint;
    ior_runtime_free(p->rt);
    for (size_t i = 0; i < p->n; i++) {
        struct probe_res *r = &p->res[i];
        if (r->end != 1)
            complain(p, "a resource without its END");
        if (r->handover != 1)
            complain(p, "a resource that was not handed over");
        ior_resource_free(r->handed);
    }
    complaint = p->broken != 0 ? p->complaint : NULL;
    free(p->res);
    free(p->by_slot);
    free(p);
    if (complaint != NULL)
        fail_msg("broken promise: %s", complaint);
}

ior_id probe_adopt(struct probe *p, int fd, const struct ior_stream_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_adopt(p->cx, fd, opts, &id), 0);
    assert_true(id != 0);
    probe_of(p, id);
    return id;
}

ior_id probe_unix(struct probe *p, const struct ior_stream_options *opts, int *peer)
{
    int fds[2];
    net_unix_pair(fds);
    *peer = fds[1];
    return probe_adopt(p, fds[0], opts);
}

ior_id probe_tcp(struct probe *p, const struct ior_stream_options *opts, int *peer)
{
    int fds[2];
    net_tcp_pair(fds);
    *peer = fds[1];
    return probe_adopt(p, fds[0], opts);
}

ior_id probe_watch(struct probe *p, int fd, unsigned io)
{
    ior_id id = 0;
    assert_int_equal(ior_watch(p->cx, fd, io, NULL, &id), 0);
    assert_true(id != 0);
    probe_of(p, id);
    return id;
}

ior_id probe_listen(struct probe *p, const struct ior_listen_options *opts, struct ior_addr *addr)
{
    struct ior_addr any;
    ior_id id = 0;
    assert_int_equal(ior_addr_parse(&any, "127.0.0.1:0"), 0);
    assert_int_equal(ior_listen(p->cx, &any, opts, &id), 0);
    assert_int_equal(ior_local(p->cx, id, addr), 0);
    probe_of(p, id);
    return id;
}

void probe_turns(struct probe *p, unsigned n)
{
    while (n-- > 0)
        assert_true(ior_runtime_turn(p->rt, 0) >= 0);
}

uint64_t probe_quiet(struct probe *p, unsigned ms)
{
    uint64_t end = net_now() + ior_time_from_ms(ms);
    uint64_t turns = 0, now = net_now();
    do {
        assert_true(ior_runtime_turn(p->rt, ior_time_sub(end, now)) >= 0);
        turns++;
        now = net_now();
    } while (now < end);
    return turns;
}

void probe_step(struct probe *p)
{
    assert_true(ior_runtime_turn(p->rt, 20 * IOR_NS_PER_MS) >= 0);
}

struct ior_stats probe_stats(struct probe *p)
{
    struct ior_stats stats = {.struct_size = sizeof(stats)};
    assert_int_equal(ior_runtime_stats(p->rt, &stats), 0);
    return stats;
}

bool probe_engine_does_io(const struct probe *p)
{
    const struct ior_engine_ops *ops = ior_engine_named(ior_runtime_engine(p->rt));
    return ops != NULL && (ops->features & IOR_ENGINE_DOES_IO) != 0;
}

void probe_read_pattern(struct probe *p, int peer, uint64_t from, size_t len, size_t piece)
{
    unsigned char bytes[65536];
    uint64_t at = 0, end = net_now() + PROBE_LIMIT_NS;
    if (piece > sizeof(bytes))
        piece = sizeof(bytes);
    while (at < len && net_now() < end) {
        size_t want = len - at < piece ? (size_t)(len - at) : piece;
        ssize_t n = net_read_some(peer, bytes, want);
        assert_true(n > 0 || n == -EAGAIN);
        if (n < 0) {
            probe_step(p); /* waits, so that threads that are to bring more are let in */
            continue;
        }
        assert_true(net_is_pattern(bytes, from + at, (size_t)n));
        at += (uint64_t)n;
        end = net_now() + PROBE_LIMIT_NS;
        probe_turns(p, 1);
    }
    assert_int_equal(at, len);
}
