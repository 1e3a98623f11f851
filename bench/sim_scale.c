/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated world with very many connections in one runtime: what they hold, and what an event costs among them
 * (ten bytes come in on one of them, chosen by chance, and are echoed). Under callgrind only the events are counted.
 *
 *     sim_scale [CONNECTIONS [EVENTS]]
 */
#include "bench.h"

#include <sys/resource.h>
#include <ioreactor/sim.h>

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif
#endif
#ifndef CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION (void)0
#endif

#define AT_ONCE 1000 /* connections that are made, and events that are under way, together */
#define EVENTS_AT_ONCE 8

struct service {
    uint64_t accepted, bytes;
};

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct service *service = self;
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED && ior_accept(cx, ev, &id) == 0)
        service->accepted++;
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct service *service = self;
    if (ev->type != IOR_EV_DATA)
        return;
    service->bytes += ev->data.len;
    ior_send(cx, ev->id, ev->data.bytes, ev->data.len);
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
};

static void connect_all(struct ior_sim *sim, int host, struct ior_sim_peer **peers, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        peers[i] = ior_sim_dial(sim, host, "10.0.0.1:80");
        ior_sim_drain(peers[i], UINT64_MAX);
        if (i % AT_ONCE == AT_ONCE - 1)
            ior_sim_settle(sim);
    }
    ior_sim_settle(sim);
}

static void talk(struct ior_sim *sim, struct ior_sim_peer **peers, unsigned n, unsigned events)
{
    for (unsigned i = 0; i < events; i++) {
        ior_sim_say(peers[ior_sim_choose(sim, n)], "0123456789", 10);
        if (i % EVENTS_AT_ONCE == EVENTS_AT_ONCE - 1)
            ior_sim_settle(sim);
    }
    ior_sim_settle(sim);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000000;
    unsigned events = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100000;
    struct service service = {0};
    struct ior_sim *sim;
    struct ior_runtime *rt;
    struct ior_sim_peer **peers = calloc(n, sizeof(struct ior_sim_peer *));
    struct rusage usage;
    ior_id id;

    if (n == 0 || !peers)
        return 2;
    bench_must(ior_sim_new(NULL, &sim), "ior_sim_new");
    int server = ior_sim_host(sim, "server"), client = ior_sim_host(sim, "client");
    bench_must(ior_sim_runtime_new(sim, server, NULL, &handler, &service, &rt), "ior_sim_runtime_new");
    struct ior_addr addr = ior_sim_host_addr(sim, server, false, 80);
    const struct ior_listen_options opts = {.struct_size = sizeof(opts), .backlog = AT_ONCE};
    bench_must(ior_listen(ior_runtime_context(rt), &addr, &opts, &id), "ior_listen");

    double began = bench_cpu_ns();
    connect_all(sim, client, peers, n);
    getrusage(RUSAGE_SELF, &usage);
    printf("%u connections: %.2f s, %.0f MB, both ends included\n", n, (bench_cpu_ns() - began) / 1e9,
           (double)usage.ru_maxrss / 1024);
    talk(sim, peers, n, AT_ONCE); /* what is made at first use */
    began = bench_cpu_ns();
    CALLGRIND_START_INSTRUMENTATION;
    talk(sim, peers, n, events);
    CALLGRIND_STOP_INSTRUMENTATION;
    printf("%u events among them: %.0f ns each\n", events, (bench_cpu_ns() - began) / events);
    bool good = service.accepted == n && service.bytes == 10 * ((uint64_t)events + AT_ONCE);
    ior_runtime_free(rt);
    unsigned violations = ior_sim_free(sim);
    free(peers);
    if (!good || violations)
        printf("FAILED: %u violations, or something did not come through\n", violations);
    return !good || violations;
}
