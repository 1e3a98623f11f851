/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: an intrusive lock-free stack that is taken whole and reversed, one eventfd written by the push that finds
 * it empty, and a thread that does nothing but read that eventfd. No loop, no shutdown line, no references.
 */
#include "channel.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct message {
    struct message *next;
    enum { COUNT, ANSWER, STOP } kind;
};

_Static_assert(sizeof(struct message) <= CHANNEL_MESSAGE_BYTES, "messages are of one size");

static _Atomic(struct message *) head;
static int wake_fd;
static pthread_t thread;
static sem_t answered;

static struct message *take_all(void)
{
    struct message *message = atomic_exchange_explicit(&head, NULL, memory_order_acquire), *reversed = NULL;
    while (message) {
        struct message *next = message->next;
        message->next = reversed;
        reversed = message;
        message = next;
    }
    return reversed;
}

static void *run(void *arg)
{
    uint64_t wakes;
    bool stop = false;
    while (!stop && read(wake_fd, &wakes, sizeof wakes) == sizeof wakes) {
        for (struct message *message = take_all(), *next; message; message = next) {
            next = message->next;
            if (message->kind == COUNT)
                channel_on_message();
            else if (message->kind == ANSWER)
                sem_post(&answered);
            else
                stop = true;
        }
    }
    return arg;
}

void channel_open(void)
{
    sem_init(&answered, 0, 0);
    wake_fd = eventfd(0, EFD_CLOEXEC);
    if (wake_fd < 0 || pthread_create(&thread, NULL, run, NULL) != 0)
        abort();
}

void channel_send(void *bytes)
{
    struct message *message = bytes, *old = atomic_load_explicit(&head, memory_order_relaxed);
    uint64_t one = 1;
    do
        message->next = old;
    while (!atomic_compare_exchange_weak_explicit(&head, &old, message, memory_order_release, memory_order_relaxed));
    if (!old && write(wake_fd, &one, sizeof one) != sizeof one)
        abort();
}

void channel_close(void)
{
    struct message stop = {.kind = STOP};
    channel_send(&stop);
    pthread_join(thread, NULL);
    close(wake_fd);
    sem_destroy(&answered);
}

void channel_call(void *bytes)
{
    ((struct message *)bytes)->kind = ANSWER;
    channel_send(bytes);
    while (sem_wait(&answered) != 0)
        ;
}
