/* SPDX-License-Identifier: Apache-2.0 */
/* Input: pausing, giving back, half-closing, hang-ups. */
#include <errno.h>

#include "torture.h"

static ior_id stream_of(struct service *s, int kind, const struct ior_stream_options *opts, struct peer **peer)
{
    ior_id id = t_adopt(s, kind, opts, peer);
    (*peer)->manual = false;
    return id;
}

/* Messages of ten bytes, cut anywhere. */
static void unread(struct run *run)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE | IOR_FD_NO_WRITE};
    struct service *s = t_service(run, NULL);
    struct peer *peers[3];
    ior_id ids[3];
    if (s == NULL)
        return;
    s->on_event = t_tens;
    for (int i = 0; i < 3; i++)
        ids[i] = stream_of(s, kinds[i], NULL, &peers[i]);
    for (int round = 0; round < 15; round++) {
        for (int i = 0; i < 3; i++)
            t_say(peers[i], 1 + (size_t)(round * 5 + i) % 17);
        t_pass(run, MS);
    }
    for (int i = 0; i < 3; i++)
        t_until(run, t_in(s, ids[i]) == peers[i]->said / 10 * 10);
    for (int i = 0; i < 3; i++)
        t_finish(peers[i]);
    for (int i = 0; i < 3; i++)
        t_until(run, t_ended(s, ids[i], IOR_EOF, 0));
    for (int i = 0; i < 3; i++)
        t_want(run, ids[i] != 0 && t_res(s, ids[i])->unread == peers[i]->said % 10);
}

/* Gives all back and pauses; after resume they come again, though nothing new was said. */
static void all_back(struct service *s, struct res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && s->step++ % 2 == 0) {
        (void)t_ok(s->run, t_unread(s, r->id, ev->data.len));
        (void)t_ok(s->run, t_pause(s, r->id));
    }
}

static void unread_and_pause(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peer;
    if (s == NULL)
        return;
    s->on_event = all_back;
    ior_id id = stream_of(s, IOR_FD_TCP, T_STREAM(.half_open = true), &peer);
    for (int round = 0; round < 20 && t_alive(s, id); round++) {
        t_say(peer, 40);
        t_pass(run, MS);
        (void)t_resume(s, id);
        t_pass(run, MS);
    }
    for (int i = 0; i < 100 && t_in(s, id) < 800 && t_alive(s, id); i++) {
        (void)t_resume(s, id);
        t_pass(run, MS);
    }
    t_until(run, t_in(s, id) == 800);
}

/* Pauses over data and a hang-up: nothing is told, the loop sleeps; after resume the data, then the end. */
static void pause_over_end(struct run *run)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE | IOR_FD_NO_WRITE};
    struct service *s = t_service(run, NULL);
    struct peer *peers[9];
    ior_id ids[9];
    if (s == NULL)
        return;
    for (int i = 0; i < 9; i++)
        ids[i] = stream_of(s, kinds[i % 3], NULL, &peers[i]);
    t_pass(run, MS);
    for (int i = 0; i < 9; i++)
        (void)t_ok(run, t_pause(s, ids[i]));
    for (int i = 0; i < 9; i++)
        t_say(peers[i], 700);
    t_pass(run, MS);
    for (int i = 0; i < 9; i++) {
        if (i / 3 == 0)
            t_finish(peers[i]);
        else if (i / 3 == 1)
            t_hang_up(peers[i]);
    }
    t_pass(run, SEC);
    for (int i = 0; i < 9; i++) {
        t_want(run, t_in(s, ids[i]) == 0 && t_alive(s, ids[i]));
        (void)t_resume(s, ids[i]);
    }
    for (int i = 0; i < 9; i++)
        t_until(run, t_in(s, ids[i]) == 700);
    for (int i = 0; i < 6; i++)
        t_until(run, t_ended(s, ids[i], IOR_EOF, 0));
    for (int i = 0; i < 6 && i < 3; i++)
        (void)t_pause(s, ids[6 + i]);
    for (int i = 6; i < 9; i++)
        t_reset(peers[i]);
    t_pass(run, SEC);
    for (int i = 6; i < 9; i++)
        (void)t_resume(s, ids[i]);
    for (int i = 6; i < 9; i++)
        t_until(run, ids[i] != 0 && t_res(s, ids[i])->ended);
}

/* Both sides finish, in either order, and go on in the other direction. */
static void half_closes(struct run *run)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX};
    struct service *s = t_service(run, NULL);
    struct peer *peers[6];
    ior_id ids[6];
    if (s == NULL)
        return;
    for (int i = 0; i < 6; i++)
        ids[i] = stream_of(s, kinds[i % 2], T_STREAM(.half_open = true), &peers[i]);
    t_pass(run, MS);
    for (int i = 0; i < 6; i++) {
        t_say(peers[i], 100);
        if (i < 3) {
            t_finish(peers[i]);
        } else if (t_alive(s, ids[i])) {
            (void)t_ok(run, t_send(s, ids[i], 50));
            (void)t_ok(run, t_fin(s, ids[i]));
            (void)t_ok(run, t_fin(s, ids[i]));
            t_want(run, t_send(s, ids[i], 1) == -EPIPE);
        }
    }
    t_pass(run, MS);
    for (int i = 0; i < 3; i++) {
        t_until(run, ids[i] != 0 && t_res(s, ids[i])->eof && t_in(s, ids[i]) == 100);
        for (int part = 0; part < 5 && t_alive(s, ids[i]); part++) {
            (void)t_ok(run, t_send(s, ids[i], 1000));
            t_pass(run, MS);
        }
        if (t_alive(s, ids[i]))
            (void)t_ok(run, t_fin(s, ids[i]));
        t_until(run, peers[i]->heard == 5000 && peers[i]->eof);
    }
    for (int i = 3; i < 6; i++) {
        t_until(run, peers[i]->heard == 50 && peers[i]->eof);
        for (int part = 0; part < 5; part++) {
            t_say(peers[i], 1000);
            t_pass(run, MS);
        }
        t_finish(peers[i]);
        t_until(run, t_in(s, ids[i]) == 5100);
    }
    for (int i = 0; i < 6; i++)
        t_until(run, t_ended(s, ids[i], IOR_EOF, 0));
}

/* Large input in many reads, with answers that fill the queue: reading stops and goes on. */
static void flood(struct run *run)
{
    struct service *s = t_service(run, T_CONFIG(.read_bytes = 4096, .reads = 2));
    struct peer *peers[2];
    ior_id ids[2];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    for (int i = 0; i < 2; i++) {
        ids[i] = stream_of(s, i == 0 ? IOR_FD_TCP : IOR_FD_UNIX, T_STREAM(.high_bytes = 8192), &peers[i]);
        peers[i]->manual = true;
        t_say(peers[i], 200000);
    }
    for (int i = 0; i < 30; i++) {
        t_pass(run, MS);
        (void)t_hear(peers[i % 2], 9000);
    }
    for (int i = 0; i < 2; i++) {
        peers[i]->manual = false;
        (void)t_hear(peers[i], SIZE_MAX);
    }
    for (int i = 0; i < 2; i++)
        t_until(run, peers[i]->heard == 200000);
    t_want(run, t_in(s, ids[0]) == 200000 && t_in(s, ids[1]) == 200000);
}

/* The peer hangs up over bytes it has not read, and over its last words. */
static void hang_ups(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[8];
    ior_id ids[8];
    if (s == NULL)
        return;
    for (int i = 0; i < 8; i++) {
        ids[i] = stream_of(s, i % 2 == 0 ? IOR_FD_TCP : IOR_FD_UNIX, T_STREAM(.half_open = i >= 4), &peers[i]);
        peers[i]->manual = i % 4 >= 2;
    }
    t_pass(run, MS);
    for (int i = 0; i < 8; i++) {
        if (t_alive(s, ids[i]))
            (void)t_ok(run, t_send(s, ids[i], 100));
        t_pass(run, MS);
        t_say(peers[i], 60);
        t_hang_up(peers[i]);
    }
    t_pass(run, SEC);
    for (int i = 0; i < 4; i++)
        t_until(run, ids[i] != 0 && t_res(s, ids[i])->ended);
    for (int i = 4; i < 8; i++) {
        if (t_alive(s, ids[i]))
            (void)t_send(s, ids[i], 100);
        t_pass(run, 10 * MS);
        if (t_alive(s, ids[i]))
            (void)t_close(s, ids[i], SEC);
    }
    for (int i = 4; i < 8; i++)
        t_until(run, ids[i] != 0 && t_res(s, ids[i])->ended);
}

const struct scenario torture_input[] = {
    {"unread", unread},
    {"unread_pause", unread_and_pause},
    {"pause_over_end", pause_over_end},
    {"half_closes", half_closes},
    {"flood", flood},
    {"hang_ups", hang_ups},
    {NULL, NULL},
};
