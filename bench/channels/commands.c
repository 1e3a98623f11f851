/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message from another thread to the loop costs: a million of them from one and from four producers, as fast
 * as they can (the time until the last has been delivered, and what the senders themselves took), and the round trip of
 * a call that waits for its reply, which is mostly the machine's waking of two threads.
 */
#include "bench.h"
#include "channel.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#define CALLS 20000

struct producer {
    pthread_t thread;
    char *messages;
    unsigned n;
    double took_ns;
};

/*
 * The loop sees both once the first message comes. They are alone in their lines of the cache: the loop counts each
 * message, and where the linker would put a channel's own variables next to that, its senders would pay for it.
 */
static struct {
    _Alignas(128) unsigned wanted;
    unsigned seen;
} count;
static sem_t done;

void channel_on_message(void)
{
    if (++count.seen == count.wanted)
        sem_post(&done);
}

static void *produce(void *arg)
{
    struct producer *producer = arg;
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < producer->n; i++)
        channel_send(producer->messages + i * CHANNEL_MESSAGE_BYTES);
    producer->took_ns = bench_cpu_ns() - began;
    return NULL;
}

/* n messages from so many producers. */
static void flood(unsigned producers_n, unsigned n)
{
    char *messages = calloc(n, CHANNEL_MESSAGE_BYTES);
    struct producer producers[4];
    double sending = 0;
    bench_must(messages ? 0 : -ENOMEM, "calloc");
    n -= n % producers_n;
    count.seen = 0;
    count.wanted = n;
    /* The pages must be there before the clock runs; a memset after calloc is no work to a compiler. */
    explicit_bzero(messages, n * CHANNEL_MESSAGE_BYTES);
    double began = bench_ns();
    for (unsigned i = 0; i < producers_n; i++) {
        unsigned part = n / producers_n;
        producers[i] = (struct producer){.messages = messages + i * part * CHANNEL_MESSAGE_BYTES, .n = part};
        bench_must(-pthread_create(&producers[i].thread, NULL, produce, &producers[i]), "pthread_create");
    }
    while (sem_wait(&done) != 0)
        ;
    double took = bench_ns() - began;
    for (unsigned i = 0; i < producers_n; i++) {
        pthread_join(producers[i].thread, NULL);
        sending += producers[i].took_ns;
    }
    printf("delivered_%u=%.1f sent_%u=%.1f ", producers_n, took / n, producers_n, sending / n);
    free(messages);
}

static void round_trips(unsigned n)
{
    double *took_us = calloc(n, sizeof *took_us);
    void *message = calloc(1, CHANNEL_MESSAGE_BYTES);
    bench_must(took_us && message ? 0 : -ENOMEM, "calloc");
    for (unsigned i = 0; i < n; i++) {
        double began = bench_ns();
        channel_call(message);
        took_us[i] = (bench_ns() - began) / 1000;
    }
    printf("roundtrip_p50_us=%.1f ", bench_quantile(took_us, n, 0.5));
    printf("roundtrip_p99_us=%.1f\n", bench_quantile(took_us, n, 0.99));
    free(took_us);
    free(message);
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc, argv, 1000000);
    sem_init(&done, 0, 0);
    channel_open();
    flood(1, n);
    flood(4, n);
    round_trips(n < CALLS ? n : CALLS);
    channel_close();
    sem_destroy(&done);
    return 0;
}
