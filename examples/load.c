/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: many clients of an echo server in one loop. Every byte that comes back is compared with what was sent.
 *
 * Each connection sends its own endless random stream, as messages of --size bytes, --depth of them under way at once;
 * when one has come back, the next is sent. So a byte that is lost, doubled, changed, or echoed to somebody else is
 * seen.
 *
 * A run has four phases: RAMP, connecting (a bounded number at once, since servers have a bounded backlog; what is
 * connected sends already), RUN, for --seconds, in which latencies count; DRAIN, in which nothing new is sent and what
 * is under way comes back; DONE. What has not come back by then is lost.
 *
 * The exit status is 0 only if every connection was made and every byte came back.
 *
 * Try it:  build/release/examples/echo     and     build/release/examples/load --connections 1000 --progress
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <ioreactor.h>
#include "load/histogram.h"
#include "load/pattern.h"
#include "program.h"

#define CONNECTING_MAX 256
#define CONNECT_NS (15 * IOR_NS_PER_SEC)
#define DRAIN_NS (10 * IOR_NS_PER_SEC)
#define STOP_NS (2 * IOR_NS_PER_SEC)
#define RETRY_NS (5 * IOR_NS_PER_MS)
#define TICK_NS (100 * IOR_NS_PER_MS)
#define WINDOW_MAX_BYTES ((uint64_t)4 * 1024 * 1024) /* --depth times --size */
#define SPARE_FILES 64

enum phase { RAMP, RUN, DRAIN, DONE };

struct options {
    struct ior_addr connect;
    uint64_t connections;
    uint64_t active; /* of these, how many send */
    uint64_t depth;
    uint64_t size;
    uint64_t seconds;
    uint64_t pause_ms;
    bool json;
    bool progress;
};

struct load {
    struct options options;
    struct ior_context *cx;
    struct ior_stream_options stream;
    enum phase phase;
    uint64_t started;       /* connections asked for */
    uint64_t connecting;    /* of these, without a result yet */
    uint64_t opened;        /* of these, with success */
    uint64_t open;          /* of these, still there */
    uint64_t sent_bytes;    /* by all */
    uint64_t checked_bytes; /* came back, and were right */
    uint64_t lost_bytes;    /* of connections that have ended */
    uint64_t messages;      /* came back whole */
    uint64_t wrong;         /* connections on which something else came back */
    uint64_t errors;        /* connections that failed or ended too early */
    uint64_t run_ns;        /* when RUN began and ended */
    uint64_t end_ns;
    uint64_t run_messages; /* that came back between them */
    ior_timer_id tick;
    ior_timer_id retry;
    ior_timer_id end; /* of RUN, then of DRAIN */
    uint64_t next_progress_ns;
    uint64_t last_messages; /* at the last progress line */
    uint64_t chance;        /* a random number, good enough for pauses */
    bool stopped;           /* by a second signal */
    char first_error[160];
    unsigned char *window; /* room for the messages one event sends */
    struct histogram latency;
};

/* The `user` of a connection. */
struct peer {
    ior_id id;
    uint64_t seed;
    uint64_t sent;
    uint64_t received;
    bool active;
    bool opened;
    uint64_t sent_ns[]; /* of message i at i % depth */
};

static volatile sig_atomic_t interrupted;

static void note_error(struct load *load, const char *what, int err)
{
    load->errors++;
    if (load->first_error[0])
        return;
    if (err)
        snprintf(load->first_error, sizeof(load->first_error), "%s: %s (%s)", what, ior_strerror(err),
                 ior_errname(err));
    else
        snprintf(load->first_error, sizeof(load->first_error), "%s", what);
}

static void finish(struct load *load)
{
    load->phase = DONE;
    ior_stop(load->cx, STOP_NS);
}

/* Bytes that were sent and have not come back, on connections that are still there. */
static uint64_t under_way(const struct load *load)
{
    return load->sent_bytes - load->checked_bytes - load->lost_bytes;
}

static void begin_drain(struct load *load)
{
    if (load->phase == RAMP)
        load->run_ns = ior_now(load->cx);
    load->phase = DRAIN;
    load->end_ns = ior_now(load->cx);
    if (load->end)
        ior_timer_cancel(load->cx, load->end);
    load->end = 0;
    if (under_way(load) == 0 || ior_timer_set(load->cx, DRAIN_NS, NULL, &load->end) < 0)
        finish(load);
}

static void begin_run_if_connected(struct load *load)
{
    if (load->phase != RAMP || load->started < load->options.connections || load->connecting > 0)
        return;
    load->run_ns = ior_now(load->cx);
    load->phase = RUN;
    if (load->open == 0 || ior_timer_set(load->cx, ior_time_from_secs(load->options.seconds), NULL, &load->end) < 0)
        begin_drain(load);
}

static void connect_more(struct load *load)
{
    while (load->phase == RAMP && load->started < load->options.connections && load->connecting < CONNECTING_MAX) {
        ior_id id;
        int err = ior_connect(load->cx, &load->options.connect, &load->stream, &id);
        if (err == -EAGAIN) {
            /* A Unix listener whose backlog is full says so at once: ask again soon. */
            if (load->connecting == 0 && load->retry == 0)
                ior_timer_set(load->cx, RETRY_NS, NULL, &load->retry);
            return;
        }
        uint64_t index = load->started++;
        if (err < 0) {
            note_error(load, "cannot connect", err);
            continue;
        }
        struct peer *peer = ior_user(load->cx, id);
        peer->id = id;
        peer->seed = index * UINT64_C(0xd1342543de82ef95) + 1;
        peer->active = index < load->options.active;
        load->connecting++;
    }
    begin_run_if_connected(load);
}

static void send_messages(struct load *load, struct peer *peer, uint64_t count)
{
    const struct options *options = &load->options;
    if (!peer->active || load->phase > RUN || count == 0)
        return;
    size_t len = (size_t)(count * options->size);
    pattern_fill(load->window, len, peer->seed, peer->sent);
    uint64_t now_ns = ior_now(load->cx);
    for (uint64_t i = 0; i < count; i++)
        peer->sent_ns[(peer->sent / options->size + i) % options->depth] = now_ns;
    int result = ior_send(load->cx, peer->id, load->window, len);
    if (result < 0) {
        /* With -EPIPE the server is gone, and END is about to tell why. */
        if (result != -EPIPE) {
            note_error(load, "cannot send", result);
            ior_abort(load->cx, peer->id);
        }
        return;
    }
    peer->sent += len;
    load->sent_bytes += len;
}

static void on_open(struct load *load, struct peer *peer)
{
    peer->opened = true;
    load->connecting--;
    load->opened++;
    load->open++;
    send_messages(load, peer, load->options.depth);
    connect_more(load);
}

/* From half of the pause to one and a half, so that connections do not march in step. */
static uint64_t next_pause_ns(struct load *load)
{
    uint64_t pause_ns = ior_time_from_ms(load->options.pause_ms);
    load->chance = load->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return pause_ns / 2 + (load->chance >> 20) % (pause_ns + 1);
}

static void on_data(struct load *load, struct peer *peer, const struct ior_event *ev)
{
    const struct options *options = &load->options;
    if (ev->data.len > peer->sent - peer->received ||
        !pattern_matches(ev->data.bytes, ev->data.len, peer->seed, peer->received)) {
        load->wrong++;
        note_error(load, "what came back is not what was sent", 0);
        ior_abort(load->cx, peer->id);
        return;
    }
    uint64_t first = peer->received / options->size;
    peer->received += ev->data.len;
    load->checked_bytes += ev->data.len;
    uint64_t last = peer->received / options->size;
    uint64_t now_ns = ior_now(load->cx);
    for (uint64_t i = first; i < last; i++) {
        uint64_t sent_ns = peer->sent_ns[i % options->depth];
        if (load->phase >= RUN && sent_ns >= load->run_ns)
            histogram_add(&load->latency, ior_time_sub(now_ns, sent_ns));
    }
    load->messages += last - first;
    if (load->phase == RUN)
        load->run_messages += last - first;
    if (options->pause_ms == 0)
        send_messages(load, peer, last - first);
    else if (peer->received == peer->sent)
        ior_deadline(load->cx, peer->id, IOR_DEADLINE_USER, next_pause_ns(load));
    if (load->phase == DRAIN && under_way(load) == 0)
        finish(load);
}

static void on_end(struct load *load, struct peer *peer, const struct ior_event *ev)
{
    if (!peer->opened)
        load->connecting--;
    else
        load->open--;
    if (load->phase == DONE)
        return;
    load->lost_bytes += peer->sent - peer->received;
    if (ev->end.why != IOR_ASKED)
        note_error(load, peer->opened ? "the server ended a connection" : "cannot connect", ev->end.error);
    connect_more(load);
    if (load->phase == RUN && load->open == 0)
        begin_drain(load);
    else if (load->phase == DRAIN && under_way(load) == 0)
        finish(load);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct load *load = self;
    (void)cx;
    switch (ev->type) {
    case IOR_EV_OPEN:
        on_open(load, ev->user);
        break;
    case IOR_EV_DATA:
        on_data(load, ev->user, ev);
        break;
    case IOR_EV_DEADLINE:
        send_messages(load, ev->user, load->options.depth);
        break;
    case IOR_EV_END:
        on_end(load, ev->user, ev);
        break;
    default:
        break;
    }
}

static void show_progress(struct load *load, uint64_t now_ns)
{
    static const char *const names[] = {"connecting", "running", "draining"};
    if (!load->options.progress || load->phase == DONE || now_ns < load->next_progress_ns)
        return;
    fprintf(stderr, "%-10s  %6" PRIu64 " connections  %7" PRIu64 " messages/s  %10" PRIu64 " bytes verified\n",
            names[load->phase], load->open, load->messages - load->last_messages, load->checked_bytes);
    load->last_messages = load->messages;
    load->next_progress_ns = ior_time_add(now_ns, IOR_NS_PER_SEC);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct load *load = self;
    (void)user;
    if (id == load->tick) {
        show_progress(load, ior_now(cx));
        ior_timer_set(cx, TICK_NS, NULL, &load->tick);
        if (interrupted && load->phase < DRAIN)
            begin_drain(load);
    } else if (id == load->retry) {
        load->retry = 0;
        connect_more(load);
    } else if (id == load->end) {
        load->end = 0;
        if (load->phase == RUN)
            begin_drain(load);
        else
            finish(load);
    }
}

static int on_start(void *self, struct ior_context *cx)
{
    struct load *load = self;
    load->next_progress_ns = ior_time_add(ior_now(cx), IOR_NS_PER_SEC);
    connect_more(load);
    return ior_timer_set(cx, TICK_NS, NULL, &load->tick);
}

static void on_stop(void *self, struct ior_context *cx)
{
    struct load *load = self;
    if (load->phase == DONE)
        return;
    if (load->phase < DRAIN)
        load->end_ns = ior_now(cx);
    load->phase = DONE;
    load->stopped = true;
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = on_start,
    .stop = on_stop,
    .timer = on_timer,
    .transport = on_transport,
};

/* Prints the report; answers whether all is well. */
static bool report(const struct load *load)
{
    uint64_t lost_bytes = under_way(load) + load->lost_bytes;
    uint64_t lost = load->sent_bytes / load->options.size - load->messages;
    double seconds = (double)ior_time_sub(load->end_ns, load->run_ns) / 1e9;
    double rate = seconds > 0 ? (double)load->run_messages / seconds : 0;
    double p50_us = (double)histogram_permille(&load->latency, 500) / 1e3;
    double p99_us = (double)histogram_permille(&load->latency, 990) / 1e3;
    double max_us = (double)load->latency.max / 1e3;
    bool good = lost_bytes == 0 && load->errors == 0 && !load->stopped;
    if (load->options.json) {
        printf("{\"connections\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"bytes_verified\": %" PRIu64
               ", \"lost\": %" PRIu64 ", \"lost_bytes\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"errors\": %" PRIu64
               ", \"seconds\": %.3f, \"messages_per_second\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
               "\"max_us\": %.1f, \"good\": %s}\n",
               load->opened, load->messages, load->checked_bytes, lost, lost_bytes, load->wrong, load->errors, seconds,
               rate, p50_us, p99_us, max_us, good ? "true" : "false");
    } else {
        printf("connections     %" PRIu64 "\nmessages        %" PRIu64 "\nbytes verified  %" PRIu64
               "\nlost            %" PRIu64 " (%" PRIu64 " bytes)\nerrors          %" PRIu64 " (%" PRIu64
               " of them wrong bytes)\n"
               "rate            %.0f messages/s in %.1f s\nlatency         p50 %.1f us, p99 %.1f us, max %.1f us\n",
               load->opened, load->messages, load->checked_bytes, lost, lost_bytes, load->errors, load->wrong, rate,
               seconds, p50_us, p99_us, max_us);
    }
    if (load->first_error[0])
        fprintf(stderr, "load: the first error: %s\n", load->first_error);
    if (load->stopped)
        fprintf(stderr, "load: stopped before everything had come back\n");
    return good && fflush(stdout) == 0;
}

static void check_options(const struct program *program, struct options *options)
{
    char value[64];
    if (options->depth * options->size > WINDOW_MAX_BYTES) {
        snprintf(value, sizeof(value), "%" PRIu64, options->depth);
        program_bad_option(program, "--depth", value, "depth times size must not be over 4 MiB");
    }
    if (options->active > options->connections)
        options->active = options->connections;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        options->connections + SPARE_FILES > limit.rlim_cur) {
        options->connections = limit.rlim_cur > SPARE_FILES ? limit.rlim_cur - SPARE_FILES : 1;
        fprintf(stderr, "load: the limit of open files (ulimit -n) allows %" PRIu64 " connections only\n",
                options->connections);
    }
}

static int run(const struct program *program, struct load *load)
{
    const struct options *options = &load->options;
    size_t window = (size_t)(options->depth * options->size);
    load->window = malloc(window);
    if (!load->window)
        return program_fail(program, "cannot start", -ENOMEM);
    load->stream = (struct ior_stream_options){
        .struct_size = sizeof(load->stream),
        .user_size = sizeof(struct peer) + (size_t)options->depth * sizeof(uint64_t),
        .high_bytes = window + 1, /* what is under way never fills the queue */
        .connect_ns = CONNECT_NS,
    };
    struct ior_config config = {.struct_size = sizeof(config), .engine = program->engine};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, load, &rt);
    if (err < 0)
        return program_fail(program, "cannot make a runtime", err);
    load->cx = ior_runtime_context(rt);
    int status = program_run(program, rt);
    ior_runtime_free(rt);
    return status == 0 && !report(load) ? PROGRAM_EXIT_FAILURE : status;
}

int main(int argc, char **argv)
{
    static struct load load = {
        .options = {.connections = 100, .active = UINT32_MAX, .depth = 1, .size = 64, .seconds = 5}};
    struct options *o = &load.options;
    const struct program_option options[] = {
        {"--connect", "ADDR", "the echo server (default 127.0.0.1:7000)", PROGRAM_ADDR, &o->connect, 0, 0},
        {"--connections", "N", "how many connections", PROGRAM_NUMBER, &o->connections, 1, 16000000},
        {"--active", "N", "how many of them send; the others are idle", PROGRAM_NUMBER, &o->active, 0, UINT32_MAX},
        {"--depth", "D", "messages under way on each", PROGRAM_NUMBER, &o->depth, 1, 4096},
        {"--size", "BYTES", "of a message", PROGRAM_NUMBER, &o->size, 1, 1048576},
        {"--seconds", "S", "how long, once all are connected", PROGRAM_NUMBER, &o->seconds, 0, 86400},
        {"--pause", "MS", "on average, between an echo and the next message", PROGRAM_NUMBER, &o->pause_ms, 0, 3600000},
        {"--progress", NULL, "a line each second, on stderr", PROGRAM_FLAG, &o->progress, 0, 0},
        {"--json", NULL, "the report as JSON", PROGRAM_FLAG, &o->json, 0, 0},
        {0},
    };
    struct program program = {
        .name = "load",
        .summary = "Many clients of an echo server, which verify every byte that comes back.",
        .options = options,
        .interrupted = &interrupted,
    };
    ior_addr_parse(&o->connect, "127.0.0.1:7000");
    program_init(&program, argc, argv);
    check_options(&program, o);
    int status = run(&program, &load);
    free(load.window);
    return status;
}
