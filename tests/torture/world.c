/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of a run, its peers, its memory, and the passing of time. A run ends with everything freed: no fd, no block
 * of the library and no engine may be left, whatever failed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "torture.h"
#include "alloc.h"

/* A run that takes more steps goes round in circles. */
#define MOST_STEPS 400000

void complain(struct run *run, const char *format, ...)
{
    va_list args;
    if (run->complaint[0] != '\0')
        return; /* the first one is the cause of the others */
    va_start(args, format);
    (void)vsnprintf(run->complaint, sizeof(run->complaint), format, args);
    va_end(args);
}

bool t_want_at(struct run *run, bool condition, const char *text, const char *file, int line)
{
    const char *name = strrchr(file, '/');
    if (!condition && run->strict)
        complain(run, "%s:%d: does not hold: %s", name != NULL ? name + 1 : file, line, text);
    return condition;
}

bool t_ok_at(struct run *run, int64_t answer, const char *text, const char *file, int line)
{
    const char *name = strrchr(file, '/');
    if (answer < 0 && run->strict)
        complain(run, "%s:%d: %s answered %s", name != NULL ? name + 1 : file, line, text, ior_errname((int)answer));
    return answer >= 0;
}

/* ---- bytes ---- */

/* The pattern repeats after a prime number of bytes; it lies here twice, so that a piece of that length is in one part. */
enum { PERIOD = 4093 };
static unsigned char table[2 * PERIOD];

static void make_table(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < PERIOD; i++) {
        state = state * UINT32_C(1664525) + UINT32_C(1013904223);
        table[i] = table[i + PERIOD] = (unsigned char)(state >> 24);
    }
}

void pattern(void *bytes, uint64_t offset, size_t len)
{
    unsigned char *at = bytes;
    for (size_t part; len > 0; at += part, offset += part, len -= part) {
        part = len < PERIOD ? len : PERIOD;
        memcpy(at, table + offset % PERIOD, part);
    }
}

bool is_pattern(const void *bytes, uint64_t offset, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t part; len > 0; at += part, offset += part, len -= part) {
        part = len < PERIOD ? len : PERIOD;
        if (memcmp(at, table + offset % PERIOD, part) != 0)
            return false;
    }
    return true;
}

bool is_datagram(const void *bytes, size_t len)
{
    for (uint64_t offset = 0; offset < PERIOD; offset++) {
        if (is_pattern(bytes, offset, len))
            return true;
    }
    return false;
}

/* ---- the world ---- */

/* Whether services and peers may not see that this failed (what is told by `error` alone does not count). */
static bool is_quiet(enum ior_sim_call call, int error)
{
    bool moves = call == IOR_SIM_RECV || call == IOR_SIM_SEND || call == IOR_SIM_READ || call == IOR_SIM_WRITE ||
                 call == IOR_SIM_SENDFILE || call == IOR_SIM_RECV_DATAGRAMS || call == IOR_SIM_SEND_DATAGRAMS;
    switch (error) {
    case IOR_SIM_SHORT:
    case EINTR:
        return true;
    case EAGAIN:
        return moves || call == IOR_SIM_ACCEPT;
    case ENOMEM:
    case ENOBUFS:
        return (moves && call != IOR_SIM_READ && call != IOR_SIM_WRITE) || call == IOR_SIM_ACCEPT;
    case EMFILE:
    case ENFILE:
        return call == IOR_SIM_ACCEPT;
    default:
        return false;
    }
}

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    complain(arg, "%s: %s", ior_sim_violation_name(what), text);
}

static void on_trace(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

void run_begin(struct run *run, enum ior_sim_shape shape, enum way way, uint64_t seed, const struct fault *fault,
               bool counting)
{
    struct ior_sim_config config = {.struct_size = sizeof(config),
                                    .shape = shape,
                                    .seed = seed,
                                    .keep_calls = counting,
                                    .violation = on_violation,
                                    .violation_arg = run};
    if (way == WAY_NARROW)
        config.link = (struct ior_sim_link){.jitter_ns = 30000, .buffer_bytes = 6000};
    if (torture_prints_trace)
        config.trace = on_trace;
    memset(run, 0, sizeof(*run));
    make_table();
    alloc_begin(fault->kind == FAULT_ALLOC || fault->kind == FAULT_ALLOC_ALL ? fault->index : UINT64_MAX,
                fault->kind == FAULT_ALLOC_ALL);
    if (ior_sim_new(&config, &run->sim) < 0)
        abort(); /* the caller asked whether there is such a shape */
    run->way = way;
    run->counting = counting;
    run->here = ior_sim_host(run->sim, "here");
    run->there = ior_sim_host(run->sim, "there");
    run->strict = fault->kind == FAULT_NONE;
    if (fault->kind == FAULT_CALL) {
        run->strict = is_quiet(torture_call_of(fault->index), fault->error);
        if (ior_sim_fail_at(run->sim, fault->index, fault->error) < 0)
            complain(run, "this call cannot fail so");
    }
}

static bool all_ended(struct run *run)
{
    for (size_t i = 0; i < run->services_n; i++) {
        struct service *s = run->services[i];
        if (s->rt != NULL && !s->attached && !ior_sim_ended(run->sim, s->rt, NULL))
            return false;
    }
    return true;
}

static void check_parcels(struct run *run)
{
    for (size_t i = 0; i < run->parcels_n; i++) {
        const struct parcel *parcel = &run->parcels[i];
        unsigned came = (unsigned)parcel->delivered + (unsigned)parcel->dropped;
        if (came != (parcel->accepted ? 1u : 0u))
            complain(run, "command %zu: accepted %d, delivered %d, dropped %d", i, parcel->accepted, parcel->delivered,
                     parcel->dropped);
    }
}

void run_over(struct run *run)
{
    for (size_t i = 0; i < run->peers_n; i++)
        run->peers[i].manual = false;
    for (size_t i = 0; i < run->peers_n; i++)
        (void)t_hear(&run->peers[i], SIZE_MAX);
    for (size_t i = 0; i < run->services_n; i++) {
        struct service *s = run->services[i];
        if (s->rt != NULL && !s->attached && !s->gone)
            t_stop(s, 5 * SEC);
    }
    for (int i = 0; i < 60 && !all_ended(run) && run->steps < MOST_STEPS; i++)
        t_pass(run, SEC);
    if (!all_ended(run))
        complain(run, "a runtime that was stopped does not come to its end");
    for (size_t i = run->services_n; i-- > 0;)
        t_free(run->services[i]);
    for (size_t i = 0; i < run->services_n; i++)
        service_check_end(run->services[i]);
    ior_controller_unref(run->ctl);
    check_parcels(run);
    ior_sim_settle(run->sim);
}

void run_end(struct run *run)
{
    for (size_t i = 0; i < run->peers_n; i++)
        ior_sim_peer_free(run->peers[i].end);
    if (ior_sim_free(run->sim) > 0)
        complain(run, "a violation");
    for (size_t i = 0; i < run->services_n; i++)
        free(run->services[i]);
    if (alloc_blocks() > 0 || alloc_bytes() > 0)
        complain(run, "memory of the library is left: %zu blocks, %zu bytes", alloc_blocks(), alloc_bytes());
}

static void nothing(void *arg)
{
    (void)arg;
}

void t_pass(struct run *run, uint64_t ns)
{
    uint64_t until = ior_sim_now(run->sim) + ns;
    ior_sim_at(run->sim, ns, nothing, NULL); /* the clock stops there */
    while (ior_sim_now(run->sim) < until && ior_sim_step(run->sim) > 0) {
        if (++run->steps >= MOST_STEPS) {
            complain(run, "does not come to rest");
            return;
        }
    }
}

/* ---- peers ---- */

static void on_peer(void *arg, struct ior_sim_peer *end, unsigned what)
{
    struct peer *peer = arg;
    (void)end;
    if ((what & (IOR_READ | IOR_ERR)) != 0 && !peer->manual)
        (void)t_hear(peer, SIZE_MAX);
}

void t_listen_to(struct peer *peer)
{
    ior_sim_peer_on(peer->end, on_peer, peer);
}

static struct peer *peer_new(struct run *run, struct ior_sim_peer *end)
{
    struct peer *peer = &run->peers[run->peers_n];
    if (end == NULL || run->peers_n == MAX_PEERS)
        abort(); /* the scenario is wrong */
    run->peers_n++;
    *peer = (struct peer){.run = run, .end = end};
    t_listen_to(peer);
    return peer;
}

struct peer *t_dial(struct run *run, const char *addr)
{
    return peer_new(run, ior_sim_dial(run->sim, run->there, addr));
}

struct peer *t_dial_here(struct run *run, const char *addr)
{
    return peer_new(run, ior_sim_dial(run->sim, run->here, addr));
}

static struct peer *serve(struct run *run, int host, const char *addr)
{
    struct peer *peer = peer_new(run, ior_sim_serve(run->sim, host, addr));
    if (peer != NULL)
        peer->manual = true; /* there is nothing to hear */
    return peer;
}

struct peer *t_serve(struct run *run, const char *addr)
{
    return serve(run, run->there, addr);
}

struct peer *t_serve_here(struct run *run, const char *addr)
{
    return serve(run, run->here, addr);
}

struct peer *t_pick(struct run *run, struct peer *listener)
{
    struct ior_sim_peer *end = listener != NULL ? ior_sim_pick_up(listener->end) : NULL;
    return end != NULL ? peer_new(run, end) : NULL;
}

void t_say(struct peer *peer, size_t len)
{
    unsigned char bytes[4096];
    while (peer != NULL && len > 0) {
        size_t part = len < sizeof(bytes) ? len : sizeof(bytes);
        pattern(bytes, peer->said, part);
        if (ior_sim_say(peer->end, bytes, part) < 0)
            return;
        peer->said += part;
        len -= part;
    }
}

size_t t_hear(struct peer *peer, size_t most)
{
    unsigned char bytes[4096];
    size_t sum = 0;
    if (peer == NULL || peer->eof || peer->error != 0)
        return 0;
    while (sum < most) {
        size_t part = most - sum < sizeof(bytes) ? most - sum : sizeof(bytes);
        ssize_t n = ior_sim_hear(peer->end, bytes, part);
        if (n == 0)
            peer->eof = true;
        else if (n < 0 && n != -EAGAIN)
            peer->error = (int)-n;
        if (n <= 0)
            break;
        if (!is_pattern(bytes, peer->heard, (size_t)n))
            complain(peer->run, "a peer heard bytes that were not sent, after %llu good ones",
                     (unsigned long long)peer->heard);
        peer->heard += (size_t)n;
        sum += (size_t)n;
    }
    return sum;
}

void t_finish(struct peer *peer)
{
    if (peer == NULL)
        return;
    ior_sim_finish(peer->end);
    if (peer->pipe)
        ior_sim_hang_up(peer->end); /* a writer of a pipe finishes by closing it */
}

void t_hang_up(struct peer *peer)
{
    if (peer != NULL)
        ior_sim_hang_up(peer->end);
}

void t_reset(struct peer *peer)
{
    if (peer != NULL)
        ior_sim_reset(peer->end);
}

int t_file(struct run *run, size_t len)
{
    unsigned char *bytes = malloc(len > 0 ? len : 1);
    if (bytes == NULL)
        abort();
    pattern(bytes, 0, len);
    int fd = ior_sim_file(run->sim, run->here, bytes, len);
    free(bytes);
    return fd;
}
