/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libev's loop: ev_io, and ev_timer, moved with ev_timer_again as ev(3) recommends ("Be smart about timeouts", the second
 * way). ev_timer_again makes timers repeat; those that are to fire are armed with ev_timer_start.
 */
#include "loop.h"
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>

static struct ev_loop *loop;
static ev_io *io_table;
static ev_timer *timer_table;

static void on_io(struct ev_loop *on, ev_io *io, int events)
{
    (void)on, (void)events;
    loop_on_readable((unsigned)(io - io_table), io->fd);
}

static void on_timer(struct ev_loop *on, ev_timer *timer, int events)
{
    (void)on, (void)events;
    loop_on_timer((unsigned)(timer - timer_table));
}

void loop_open(unsigned watches, unsigned timers)
{
    loop = ev_loop_new(EVBACKEND_EPOLL);
    io_table = calloc(watches ? watches : 1, sizeof *io_table);
    timer_table = calloc(timers ? timers : 1, sizeof *timer_table);
    if (!loop || !io_table || !timer_table) {
        fprintf(stderr, "ev_loop_new failed\n");
        exit(1);
    }
    for (unsigned i = 0; i < timers; i++)
        ev_timer_init(&timer_table[i], on_timer, 0., 0.);
}

void loop_close(void)
{
    ev_loop_destroy(loop);
    free(io_table);
    free(timer_table);
}

void loop_turn(void)
{
    ev_run(loop, EVRUN_NOWAIT);
}

void loop_watch(unsigned index, int fd)
{
    ev_io_init(&io_table[index], on_io, fd, EV_READ);
    ev_io_start(loop, &io_table[index]);
}

void loop_stop(unsigned index)
{
    ev_io_stop(loop, &io_table[index]);
}

void loop_start(unsigned index)
{
    ev_io_start(loop, &io_table[index]);
}

void loop_timer_set(unsigned index, uint64_t after_ns)
{
    ev_timer_set(&timer_table[index], (double)after_ns / 1e9, 0.);
    ev_timer_start(loop, &timer_table[index]);
}

void loop_timer_move(unsigned index, uint64_t after_ns)
{
    timer_table[index].repeat = (double)after_ns / 1e9;
    ev_timer_again(loop, &timer_table[index]);
}

void loop_timer_cancel(unsigned index)
{
    ev_timer_stop(loop, &timer_table[index]);
}
