/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv's loop: uv_poll_t, stopped and started ("Calling uv_poll_start() on a handle that is already active is fine"),
 * and uv_timer_t, which uv_timer_start arms and moves. Its timers have milliseconds, which makes many of them equal.
 */
#include "loop.h"
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct watch {
    uv_poll_t poll; /* first: a handle is its watch */
    int fd;
};

static uv_loop_t loop;
static struct watch *watch_table;
static uv_timer_t *timer_table;

static void must(int err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(err));
        exit(1);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    const struct watch *watch = (const struct watch *)poll;
    (void)events;
    must(status, "poll");
    loop_on_readable((unsigned)(watch - watch_table), watch->fd);
}

static void on_timer(uv_timer_t *timer)
{
    loop_on_timer((unsigned)(timer - timer_table));
}

void loop_open(unsigned watches, unsigned timers)
{
    must(uv_loop_init(&loop), "uv_loop_init");
    watch_table = calloc(watches ? watches : 1, sizeof *watch_table);
    timer_table = calloc(timers ? timers : 1, sizeof *timer_table);
    must(watch_table && timer_table ? 0 : UV_ENOMEM, "calloc");
    for (unsigned i = 0; i < timers; i++)
        uv_timer_init(&loop, &timer_table[i]);
}

static void close_one(uv_handle_t *handle, void *arg)
{
    (void)arg;
    uv_close(handle, NULL);
}

void loop_close(void)
{
    uv_walk(&loop, close_one, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(watch_table);
    free(timer_table);
}

void loop_turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

void loop_watch(unsigned index, int fd)
{
    watch_table[index].fd = fd;
    must(uv_poll_init(&loop, &watch_table[index].poll, fd), "uv_poll_init");
    loop_start(index);
}

void loop_stop(unsigned index)
{
    uv_poll_stop(&watch_table[index].poll);
}

void loop_start(unsigned index)
{
    must(uv_poll_start(&watch_table[index].poll, UV_READABLE, on_poll), "uv_poll_start");
}

void loop_timer_set(unsigned index, uint64_t after_ns)
{
    uv_timer_start(&timer_table[index], on_timer, after_ns / 1000000, 0);
}

void loop_timer_move(unsigned index, uint64_t after_ns)
{
    loop_timer_set(index, after_ns);
}

void loop_timer_cancel(unsigned index)
{
    uv_timer_stop(&timer_table[index]);
}
