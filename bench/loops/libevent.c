/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libevent's loop: events that are assigned once, added and deleted. Its common time-outs, which are cheaper where many
 * timers have the same length (event_base_init_common_timeout), do not apply: the lengths here are random.
 */
#include "loop.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>

static struct event_base *base;
static struct event *watch_table, *timer_table;

static void on_event(int fd, short what, void *arg)
{
    (void)what;
    loop_on_readable((unsigned)((struct event *)arg - watch_table), fd);
}

static void on_timer(int fd, short what, void *arg)
{
    (void)fd, (void)what;
    loop_on_timer((unsigned)((struct event *)arg - timer_table));
}

void loop_open(unsigned watches, unsigned timers)
{
    base = event_base_new();
    watch_table = calloc(watches ? watches : 1, sizeof *watch_table);
    timer_table = calloc(timers ? timers : 1, sizeof *timer_table);
    if (!base || !watch_table || !timer_table) {
        fprintf(stderr, "event_base_new failed\n");
        exit(1);
    }
    for (unsigned i = 0; i < timers; i++)
        evtimer_assign(&timer_table[i], base, on_timer, &timer_table[i]);
}

void loop_close(void)
{
    event_base_free(base);
    free(watch_table);
    free(timer_table);
}

void loop_turn(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

void loop_watch(unsigned index, int fd)
{
    event_assign(&watch_table[index], base, fd, EV_READ | EV_PERSIST, on_event, &watch_table[index]);
    event_add(&watch_table[index], NULL);
}

void loop_stop(unsigned index)
{
    event_del(&watch_table[index]);
}

void loop_start(unsigned index)
{
    event_add(&watch_table[index], NULL);
}

void loop_timer_set(unsigned index, uint64_t after_ns)
{
    struct timeval after = {.tv_sec = (time_t)(after_ns / 1000000000),
                            .tv_usec = (suseconds_t)(after_ns % 1000000000 / 1000)};
    evtimer_add(&timer_table[index], &after);
}

void loop_timer_move(unsigned index, uint64_t after_ns)
{
    loop_timer_set(index, after_ns);
}

void loop_timer_cancel(unsigned index)
{
    evtimer_del(&timer_table[index]);
}
