/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual day of an echo service with very many connections, mixed traffic and faults: how long it takes. Each
 * connection acts every five minutes or so: it says something, small or large, is slow for a while, finishes, hangs up,
 * is reset, and comes again. The service ends those that are idle for ten minutes.
 *
 *     sim_day [CONNECTIONS [HOURS [SEED]]]
 */
#include "bench.h"

#include <ioreactor/sim.h>

#define ACT_NS (300 * IOR_NS_PER_SEC) /* on average */
#define LARGE_BYTES 50000

struct day;

struct person {
    struct day *day;
    struct ior_sim_peer *peer;
};

struct day {
    struct ior_sim *sim;
    int host;
    uint64_t acts, dials, accepted, ended, bytes;
    char large[LARGE_BYTES];
};

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct day *day = self;
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED && ior_accept(cx, ev, &id) == 0)
        day->accepted++;
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct day *day = self;
    if (ev->type == IOR_EV_DATA) {
        day->bytes += ev->data.len;
        ior_send(cx, ev->id, ev->data.bytes, ev->data.len);
    } else if (ev->type == IOR_EV_END) {
        day->ended++;
    }
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
};

static void dial(struct person *person)
{
    struct day *day = person->day;
    ior_sim_peer_free(person->peer);
    person->peer = ior_sim_dial(day->sim, day->host, "10.0.0.1:80");
    ior_sim_drain(person->peer, UINT64_MAX);
    day->dials++;
}

static void act(void *arg)
{
    struct person *person = arg;
    struct day *day = person->day;
    struct ior_sim_peer_info info;

    day->acts++;
    ior_sim_peer_info(person->peer, &info);
    uint64_t what =
        info.state == IOR_SIM_PEER_CLOSED || info.finished || info.eof ? 100 : ior_sim_choose(day->sim, 100);
    if (what < 80)
        ior_sim_say(person->peer, day->large, 1 + (size_t)ior_sim_choose(day->sim, 200));
    else if (what < 85)
        ior_sim_say(person->peer, day->large, LARGE_BYTES);
    else if (what < 90)
        ior_sim_drain(person->peer, ior_sim_choose(day->sim, 2) ? 1000 : UINT64_MAX);
    else if (what < 94)
        ior_sim_finish(person->peer);
    else if (what < 97)
        ior_sim_hang_up(person->peer);
    else if (what < 99)
        ior_sim_reset(person->peer);
    else
        dial(person);
    ior_sim_at(day->sim, ior_sim_choose(day->sim, 2 * ACT_NS), act, person);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10000;
    unsigned hours = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 24;
    struct ior_sim_config config = {
        .struct_size = sizeof(config),
        .seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1,
        .rates = {.short_read = 20,
                  .short_write = 20,
                  .again = 50,
                  .interrupted = 50,
                  .reset = 10000,
                  .aborted = 1000,
                  .no_fds = 1000,
                  .no_memory = 1000,
                  .delayed = 20,
                  .reordered = 20,
                  .spurious = 100,
                  .cut = 10000},
        .link = {.latency_ns = 20 * IOR_NS_PER_MS, .jitter_ns = 5 * IOR_NS_PER_MS},
    };
    struct day *day = calloc(1, sizeof(*day));
    struct person *people = calloc(n, sizeof(*people));
    struct ior_listen_options opts = {.struct_size = sizeof(opts)};
    struct ior_runtime *rt;
    ior_id id;

    if (n == 0 || !day || !people)
        return 2;
    bench_must(ior_sim_new(&config, &day->sim), "ior_sim_new");
    int server = ior_sim_host(day->sim, "server");
    day->host = ior_sim_host(day->sim, "people");
    bench_must(ior_sim_runtime_new(day->sim, server, NULL, &handler, day, &rt), "ior_sim_runtime_new");
    struct ior_addr addr = ior_sim_host_addr(day->sim, server, false, 80);
    opts.stream.struct_size = sizeof(opts.stream);
    opts.stream.idle_ns = 600 * IOR_NS_PER_SEC;
    while (ior_listen(ior_runtime_context(rt), &addr, &opts, &id) < 0) {
        /* A fault. */
    }
    for (unsigned i = 0; i < n; i++) {
        people[i].day = day;
        people[i].peer = NULL;
        dial(&people[i]);
        ior_sim_at(day->sim, ior_sim_choose(day->sim, ACT_NS), act, &people[i]);
    }
    double began = bench_cpu_ns();
    ior_sim_run_for(day->sim, hours * 3600 * IOR_NS_PER_SEC);
    double took = (bench_cpu_ns() - began) / 1e9;
    printf("%u connections, %u hours: %.1f s; %llu acts, %llu dials, %llu accepted, %llu ended, %.1f MB echoed, "
           "%llu system calls, %llu faults, sum %016llx\n",
           n, hours, took, (unsigned long long)day->acts, (unsigned long long)day->dials,
           (unsigned long long)day->accepted, (unsigned long long)day->ended, (double)day->bytes / 1e6,
           (unsigned long long)ior_sim_calls(day->sim), (unsigned long long)ior_sim_faults(day->sim),
           (unsigned long long)ior_sim_hash(day->sim));
    ior_runtime_free(rt);
    unsigned violations = ior_sim_free(day->sim);
    if (violations)
        printf("FAILED: %u violations\n", violations);
    free(people);
    free(day);
    return violations != 0;
}
