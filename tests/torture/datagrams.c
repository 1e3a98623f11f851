/* SPDX-License-Identifier: Apache-2.0 */
/* Datagram sockets: UDP and Unix, errors, full queues, pause, handover. */
#include <errno.h>
#include <string.h>

#include "torture.h"

#define T_DATAGRAM(...) \
    (&(const struct ior_datagram_options){.struct_size = sizeof(struct ior_datagram_options), __VA_ARGS__})

/* What has come to a mailbox; each must be a run of the pattern. */
static unsigned take_all(struct run *run, struct ior_sim_mailbox *mailbox)
{
    unsigned char bytes[2048];
    unsigned n = 0;
    for (ssize_t len; (len = ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), NULL)) >= 0; n++) {
        if (!is_datagram(bytes, (size_t)len))
            complain(run, "a datagram came that nobody sent");
    }
    return n;
}

static void say(struct run *run, struct ior_sim_mailbox *mailbox, const char *addr, unsigned n)
{
    unsigned char bytes[300];
    struct ior_addr to;
    if (ior_addr_parse(&to, addr) < 0)
        complain(run, "no address");
    pattern(bytes, 7, sizeof(bytes));
    for (unsigned i = 0; i < n; i++)
        (void)ior_sim_mailbox_send(mailbox, &to, bytes, 1 + i * 40 % sizeof(bytes));
}

/* Both ways, with a peer that is not there, paused in between, over IPv4 and IPv6. */
static void udp(struct run *run)
{
    struct service *s = t_service(run, NULL);
    unsigned heard = 0;
    if (s == NULL)
        return;
    ior_id four = t_datagrams(s, "0.0.0.0:53", T_DATAGRAM(.tell_local = true, .max_bytes = 1000));
    ior_id six = t_datagrams(s, "[::]:54", T_DATAGRAM(.max_bytes = 1000));
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(run->sim, run->there, "0.0.0.0:99");
    if (mailbox == NULL)
        return;
    for (int round = 0; round < 4; round++) {
        say(run, mailbox, "10.0.0.1:53", 7);
        if (round == 1 && t_alive(s, four))
            (void)t_ok(run, t_pause(s, four));
        for (int i = 0; i < 5; i++) {
            (void)t_ok(run, t_send_to(s, four, "10.0.0.2:99", 100));
            (void)t_send_to(s, six, "[fd00::2]:9", 50); /* nobody */
        }
        t_pass(run, MS);
        heard += take_all(run, mailbox);
        if (round == 2 && t_alive(s, four))
            (void)t_ok(run, t_resume(s, four));
    }
    t_pass(run, 100 * MS);
    heard += take_all(run, mailbox);
    if (run->way == WAY_PLAIN) {
        t_want(run, heard == 20);
        t_want(run, t_res(s, four)->datagrams == 28);
        t_want(run, t_res(s, six)->send_errors == 20);
    }
    (void)t_ok(run, t_close(s, four, SEC));
    (void)t_ok(run, t_unregister(s, six));
    t_until(run, (four == 0 || t_res(s, four)->ended) && (six == 0 || t_res(s, six)->ended));
    ior_sim_mailbox_free(mailbox);
}

/* A connected Unix pair of sockets: a path that was left over, a reader that pauses, marks, DRAINED, a close that waits. */
static void unix_pair(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct ior_addr log;
    ior_id client = 0;
    bool full = false;
    if (s == NULL || ior_addr_parse(&log, "unix:/run/log") < 0)
        return;
    (void)ior_sim_path(run->sim, run->here, "/run/log", true);
    ior_id server = t_datagrams(s, "unix:/run/log", T_DATAGRAM(.max_bytes = 500, .unix_mode = 0666));
    if (server != 0)
        client = t_datagrams(s, "unix:/run/client", T_DATAGRAM(.peer = &log, .max_bytes = 500, .high_bytes = 2000));
    if (client == 0 || !t_ok(run, t_pause(s, server)))
        return;
    unsigned sent = 0;
    for (int i = 0; i < 2000 && !full && t_alive(s, client); i++) {
        int answer = t_send(s, client, 400);
        full = answer == 1;
        sent += answer >= 0;
        t_pass(run, 0);
    }
    t_want(run, full);
    if (t_alive(s, server))
        (void)t_ok(run, t_resume(s, server));
    t_until(run, !t_res(s, client)->owed);
    (void)t_ok(run, t_send(s, client, 400));
    (void)t_ok(run, t_close(s, client, SEC));
    t_until(run, t_res(s, client)->ended);
    t_until(run, t_res(s, server)->datagrams == sent + 1);
    (void)t_ok(run, t_close(s, server, SEC));
    t_until(run, t_res(s, server)->ended);
    t_want(run, !ior_sim_path_exists(run->sim, run->here, "/run/log"));
}

static void unregister_at_third(struct service *s, struct res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATAGRAM && r->datagrams == 3)
        (void)t_unregister(s, r->id);
}

/* Ended in the midst of a batch, with output that nobody took; registered again it goes on. */
static void handed_over(struct run *run)
{
    struct service *s = t_service(run, NULL);
    if (s == NULL)
        return;
    s->keep = true;
    s->on_event = unregister_at_third;
    ior_id id = t_datagrams(s, "0.0.0.0:53", T_DATAGRAM(.max_bytes = 1000));
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(run->sim, run->there, "0.0.0.0:99");
    if (mailbox == NULL || id == 0)
        goto out;
    say(run, mailbox, "10.0.0.1:53", 2);
    t_pass(run, MS);
    say(run, mailbox, "10.0.0.1:53", 10);
    t_until(run, t_res(s, id)->ended);
    struct ior_resource *res = t_handed(s, id);
    if (res == NULL)
        goto out;
    ior_id again = t_register(s, res, t_res(s, id));
    s->on_event = NULL;
    if (again == 0)
        goto out;
    t_pass(run, MS);
    (void)t_ok(run, t_send_to(s, again, "10.0.0.2:99", 100));
    t_pass(run, 50 * MS);
    if (run->way == WAY_PLAIN) {
        t_want(run, t_res(s, id)->datagrams + t_res(s, again)->datagrams == 12);
        t_want(run, take_all(run, mailbox) == 1);
    }
out:
    ior_sim_mailbox_free(mailbox);
}

const struct scenario torture_datagrams[] = {
    {"udp", udp},
    {"unix_pair", unix_pair},
    {"datagrams_handed_over", handed_over},
    {NULL, NULL},
};
