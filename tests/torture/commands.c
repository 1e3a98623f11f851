/* SPDX-License-Identifier: Apache-2.0 */
/* Commands from simulated threads, between services, and across a shutdown. */
#include <errno.h>
#include <stdlib.h>

#include "torture.h"

/* A thread that sends, every 100 us, until it is refused or has sent its share. */
struct sender {
    struct run *run;
    struct ior_controller *ctl, *reply_to;
    unsigned number, left;
};

static uint64_t act(void *arg)
{
    struct sender *sender = arg;
    for (int i = 0; i < 3 && sender->left > 0; i++, sender->left--)
        if (!t_command(sender->run, sender->ctl, sender->number, sender->reply_to))
            sender->left = 1;
    return sender->left > 0 ? 100000 : IOR_NEVER;
}

static void start_sender(struct run *run, struct sender *sender, struct ior_controller *ctl,
                         struct ior_controller *reply_to, unsigned number)
{
    *sender = (struct sender){.run = run, .ctl = ctl, .reply_to = reply_to, .number = number, .left = 40};
    if (ctl != NULL)
        ior_sim_thread(run->sim, act, sender);
}

/* Threads send to one service, which also echoes. */
static void threads(struct run *run)
{
    static struct sender senders[3];
    struct service *s = t_service(run, T_CONFIG(.commands = 8));
    struct peer *peer;
    if (s == NULL)
        return;
    s->on_event = t_echo;
    (void)t_adopt(s, IOR_FD_TCP, NULL, &peer);
    run->ctl = ior_controller_of(s->cx);
    t_want(run, run->ctl != NULL);
    for (unsigned i = 0; i < 3; i++)
        start_sender(run, &senders[i], run->ctl, i == 2 ? run->ctl : NULL, i);
    for (int round = 0; round < 20; round++) {
        t_say(peer, 50);
        t_pass(run, MS);
    }
    t_until(run, peer->heard == 1000);
    for (size_t i = 0; i < run->parcels_n; i++)
        t_want(run, run->parcels[i].delivered);
    t_want(run, run->ctl == NULL || run->parcels_n == 120);
}

/* The runtime stops while threads send: earlier ones are delivered, later ones refused. */
static void stop_line(struct run *run)
{
    static struct sender senders[3];
    struct service *s = t_service(run, T_CONFIG(.commands = 2));
    struct peer *peers[4];
    ior_id ids[4];
    if (s == NULL)
        return;
    for (int i = 0; i < 4; i++)
        ids[i] = t_adopt(s, i % 2 == 0 ? IOR_FD_TCP : IOR_FD_UNIX, NULL, &peers[i]);
    run->ctl = ior_controller_of(s->cx);
    for (unsigned i = 0; i < 3; i++)
        start_sender(run, &senders[i], run->ctl, NULL, i);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++)
            if (t_alive(s, ids[i]))
                (void)t_ok(run, t_send(s, ids[i], 100));
        t_pass(run, MS / 5);
    }
    if (run->ctl != NULL)
        (void)t_ok(run, ior_controller_shutdown(run->ctl, SEC));
    size_t before = run->parcels_n;
    t_pass(run, 10 * SEC);
    for (size_t i = 0; i < before; i++)
        t_want(run, !run->parcels[i].accepted || run->parcels[i].delivered);
    t_want(run, run->ctl == NULL || !t_command(run, run->ctl, 0, NULL));
    t_want(run, ior_sim_ended(run->sim, s->rt, NULL));
}

/* A runtime that never ran: its commands come back through drop. */
static void dropped(struct run *run)
{
    for (int way = 0; way < 4; way++) {
        struct service *s = t_service(run, NULL);
        if (s == NULL)
            return;
        struct ior_controller *ctl = ior_controller_of(s->cx);
        t_want(run, ctl != NULL);
        for (int i = 0; i < 10; i++)
            (void)t_command(run, ctl, (unsigned)way, i % 2 == 0 ? ctl : NULL);
        if (way % 2 == 1)
            t_pass(run, MS);
        for (int i = 0; i < 5; i++)
            (void)t_command(run, ctl, (unsigned)way, i % 2 == 0 ? ctl : NULL);
        t_free(s);
        if (ctl != NULL && t_command(run, ctl, (unsigned)way, NULL))
            complain(run, "a command was taken after the runtime was freed");
        ior_controller_unref(ctl);
    }
}

/* Two runtimes ask each other, and one of them goes. */
static void two_ask(struct run *run)
{
    struct service *a = t_service(run, NULL), *b = a != NULL ? t_service(run, NULL) : NULL;
    if (b == NULL)
        return;
    struct ior_controller *to_a = ior_controller_of(a->cx), *to_b = ior_controller_of(b->cx);
    t_want(run, to_a != NULL && to_b != NULL);
    for (int round = 0; round < 30; round++) {
        (void)t_command(run, to_a, 0, to_b);
        (void)t_command(run, to_b, 1, to_a);
        if (round % 3 == 0)
            t_pass(run, MS);
        if (round == 20)
            t_stop(b, 0);
    }
    t_pass(run, SEC);
    ior_controller_unref(to_a);
    ior_controller_unref(to_b);
}

const struct scenario torture_commands[] = {
    {"threads", threads}, {"stop_line", stop_line}, {"dropped", dropped}, {"two_ask", two_ask}, {NULL, NULL}};
