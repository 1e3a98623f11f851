/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message from another thread to the loop costs: a million of them from one and from four producers, as fast
 * as they can (the time until the last has been delivered, and what the senders themselves took), and the round trip of
 * a call that waits for its reply, which is mostly the machine's waking of two threads.
 */
#include "bench.h"
#include <pthread.h>
#include <semaphore.h>

enum { COUNT = 1, ANSWER = 2 };

#define CALLS 20000

struct service {
    unsigned wanted, seen;
    sem_t done;
};

struct producer {
    pthread_t thread;
    struct ior_controller *ctl;
    struct ior_command *commands;
    unsigned n;
    double took_ns;
};

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct service *service = self;
    if (command->kind == ANSWER)
        ior_reply(cx, command, 0);
    else if (++service->seen == service->wanted)
        sem_post(&service->done);
}

static void *produce(void *arg)
{
    struct producer *producer = arg;
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < producer->n; i++)
        bench_must(ior_controller_send(producer->ctl, &producer->commands[i]), "ior_controller_send");
    producer->took_ns = bench_cpu_ns() - began;
    return NULL;
}

/* n commands from so many producers. */
static void flood(struct ior_controller *ctl, struct service *service, unsigned producers_n, unsigned n)
{
    struct ior_command *commands = calloc(n, sizeof *commands);
    struct producer producers[4];
    double sending = 0;
    bench_must(commands ? 0 : -1, "calloc");
    for (unsigned i = 0; i < n; i++)
        commands[i].kind = COUNT;
    n -= n % producers_n;
    service->seen = 0; /* The loop sees both once the first command comes. */
    service->wanted = n;
    double began = bench_ns();
    for (unsigned i = 0; i < producers_n; i++) {
        producers[i] =
            (struct producer){.ctl = ctl, .commands = commands + i * (n / producers_n), .n = n / producers_n};
        bench_must(-pthread_create(&producers[i].thread, NULL, produce, &producers[i]), "pthread_create");
    }
    while (sem_wait(&service->done) != 0)
        ;
    double took = bench_ns() - began;
    for (unsigned i = 0; i < producers_n; i++) {
        pthread_join(producers[i].thread, NULL);
        sending += producers[i].took_ns;
    }
    printf("delivered_%u=%.1f sent_%u=%.1f ", producers_n, took / n, producers_n, sending / n);
    free(commands);
}

static void round_trips(struct ior_controller *ctl)
{
    static double took_us[CALLS];
    struct ior_command command = {.kind = ANSWER};
    for (unsigned i = 0; i < CALLS; i++) {
        double began = bench_ns();
        bench_must(ior_controller_call(ctl, &command, IOR_NEVER), "ior_controller_call");
        took_us[i] = (bench_ns() - began) / 1000;
    }
    double p50 = bench_quantile(took_us, CALLS, 0.5);
    printf("roundtrip_p50_us=%.1f roundtrip_p99_us=%.1f\n", p50, bench_quantile(took_us, CALLS, 0.99));
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc, argv, 1000000);
    struct ior_handler handler = {.struct_size = sizeof handler, .command = on_command};
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env()};
    struct service service = {.seen = 0};
    struct ior_reactor *reactor;
    sem_init(&service.done, 0, 0);
    bench_must(ior_reactor_new(&config, &handler, &service, &reactor), "ior_reactor_new");
    struct ior_controller *ctl = ior_reactor_controller(reactor);
    flood(ctl, &service, 1, n);
    flood(ctl, &service, 4, n);
    round_trips(ctl);
    ior_reactor_free(reactor);
    sem_destroy(&service.done);
    return 0;
}
