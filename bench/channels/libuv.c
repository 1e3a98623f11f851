/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv: uv_async_send wakes the loop, and "libuv will coalesce calls to uv_async_send()", so that a queue behind a mutex
 * carries the messages. The loop takes the whole queue at once, the best for it.
 */
#include "channel.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

struct message {
    struct message *next;
    bool wants_answer;
};

_Static_assert(sizeof(struct message) <= CHANNEL_MESSAGE_BYTES, "messages are of one size");

static uv_loop_t loop;
static uv_async_t async;
static uv_mutex_t mutex;
static uv_thread_t thread;
static struct message *first, **last = &first;
static bool stopping;
static sem_t answered;

static void on_async(uv_async_t *handle)
{
    uv_mutex_lock(&mutex);
    struct message *message = first;
    bool stop = stopping;
    first = NULL;
    last = &first;
    uv_mutex_unlock(&mutex);
    while (message) {
        struct message *next = message->next;
        if (message->wants_answer)
            sem_post(&answered);
        else
            channel_on_message();
        message = next;
    }
    if (stop)
        uv_close((uv_handle_t *)handle, NULL);
}

static void run(void *arg)
{
    (void)arg;
    uv_run(&loop, UV_RUN_DEFAULT);
}

void channel_open(void)
{
    sem_init(&answered, 0, 0);
    if (uv_loop_init(&loop) < 0 || uv_async_init(&loop, &async, on_async) < 0 || uv_mutex_init(&mutex) < 0 ||
        uv_thread_create(&thread, run, NULL) < 0)
        abort();
}

void channel_close(void)
{
    uv_mutex_lock(&mutex);
    stopping = true;
    uv_mutex_unlock(&mutex);
    uv_async_send(&async);
    uv_thread_join(&thread);
    uv_loop_close(&loop);
    uv_mutex_destroy(&mutex);
    sem_destroy(&answered);
}

void channel_send(void *bytes)
{
    struct message *message = bytes;
    message->next = NULL;
    uv_mutex_lock(&mutex);
    *last = message;
    last = &message->next;
    uv_mutex_unlock(&mutex);
    uv_async_send(&async);
}

void channel_call(void *bytes)
{
    ((struct message *)bytes)->wants_answer = true;
    channel_send(bytes);
    while (sem_wait(&answered) != 0)
        ;
}
