/* SPDX-License-Identifier: Apache-2.0 */
/* Resources that are handed back and go on elsewhere. */
#include <errno.h>

#include "torture.h"

/* Takes accepted connections as resources; they are registered in another runtime. */
static void hook_take(struct service *s, struct res *r, const struct ior_event *ev)
{
    struct service *other = s->run->arg;
    (void)r;
    if (ev->type != IOR_EV_ACCEPTED)
        return;
    struct ior_resource *res = ior_take(s->cx, ev);
    t_want(s->run, res != NULL);
    if (res != NULL && ior_take(s->cx, ev) != NULL)
        complain(s->run, "a connection was taken twice");
    (void)t_register(other, res, NULL);
}

static void take_and_give(struct run *run)
{
    struct service *acceptor = t_service(run, NULL), *worker = acceptor != NULL ? t_service(run, NULL) : NULL;
    struct peer *peers[6];
    if (worker == NULL)
        return;
    run->arg = worker;
    acceptor->on_event = hook_take;
    worker->on_event = t_echo;
    if (t_listen(acceptor, "0.0.0.0:7000", NULL) == 0)
        return;
    for (int i = 0; i < 6; i++)
        peers[i] = t_dial(run, "10.0.0.1:7000");
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 6; i++)
            t_say(peers[i], 100);
        t_pass(run, 10 * MS);
    }
    for (int i = 0; i < 6; i++)
        t_until(run, peers[i]->heard == 600);
}

/* A stream moves to and fro between two runtimes, in the midst of its output and its input. */
static void to_and_fro(struct run *run)
{
    struct service *a = t_service(run, NULL), *b = a != NULL ? t_service(run, NULL) : NULL;
    struct peer *peer;
    if (b == NULL)
        return;
    a->keep = b->keep = true;
    a->on_event = b->on_event = t_tens;
    ior_id id = t_adopt(a, IOR_FD_TCP, NULL, &peer);
    struct service *at = a;
    for (int move = 0; move < 8 && id != 0; move++) {
        t_say(peer, 33);
        t_until(run, t_in(at, id) == peer->said / 10 * 10);
        if (!t_alive(at, id))
            break;
        (void)t_ok(run, t_send(at, id, 30000));
        peer->manual = move % 2 == 0;
        t_pass(run, MS);
        if (!t_alive(at, id) || !t_ok(run, t_unregister(at, id)))
            break;
        t_pass(run, MS);
        const struct res *old = t_res(at, id);
        struct ior_resource *res = t_handed(at, id);
        t_want(run, res != NULL && ior_resource_unread(res, NULL, 0, NULL) == (33 * ((size_t)move + 1)) % 10);
        at = at == a ? b : a;
        id = t_register(at, res, old);
        peer->manual = false;
        (void)t_hear(peer, SIZE_MAX);
    }
    t_until(run, id != 0 && peer->heard == UINT64_C(8) * 30000);
    t_want(run, t_in(at, id) == 260);
}

/* A listener goes on in another runtime; its backlog comes along. */
static void listener_moves(struct run *run)
{
    struct service *a = t_service(run, NULL), *b = a != NULL ? t_service(run, NULL) : NULL;
    struct peer *peers[6];
    if (b == NULL)
        return;
    a->keep = true;
    a->on_event = b->on_event = t_echo;
    ior_id id = t_listen(a, "unix:/run/moves", NULL);
    if (id == 0)
        return;
    for (int i = 0; i < 3; i++) {
        peers[i] = t_dial_here(run, "unix:/run/moves");
        t_say(peers[i], 100);
    }
    t_pass(run, MS);
    (void)t_ok(run, t_unregister(a, id));
    for (int i = 3; i < 6; i++) {
        peers[i] = t_dial_here(run, "unix:/run/moves");
        t_say(peers[i], 100);
    }
    t_pass(run, MS);
    a->keep = false; /* only the listener */
    (void)t_register(b, t_handed(a, id), t_res(a, id));
    for (int i = 0; i < 6; i++)
        t_until(run, peers[i]->heard == 100);
    for (int i = 0; i < 6; i++)
        t_finish(peers[i]);
    for (int i = 0; i < 6; i++)
        t_until(run, peers[i]->eof);
}

/* A paused listener is handed over; an engine that accepts on its own has connections in its hands by then. */
static void paused_listener_moves(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[6];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    for (int round = 0; round < 3; round++) {
        s->keep = true;
        ior_id id = t_listen(s, "0.0.0.0:7000", NULL);
        if (id == 0)
            return;
        t_pass(run, MS);
        (void)t_ok(run, t_pause(s, id));
        for (int i = 0; i < 6; i++) {
            peers[i] = t_dial(run, "10.0.0.1:7000");
            t_say(peers[i], 30);
        }
        t_pass(run, MS);
        (void)t_ok(run, t_unregister(s, id));
        t_pass(run, MS);
        struct ior_resource *res = t_handed(s, id);
        s->keep = false;
        if (round == 2) { /* nobody wants them any more */
            ior_resource_free(res);
            t_pass(run, MS);
            for (int i = 0; i < 6; i++)
                t_until(run, peers[i]->eof || peers[i]->error != 0);
            return;
        }
        id = t_register(s, res, t_res(s, id));
        for (int i = 0; i < 6; i++)
            t_until(run, peers[i]->heard == 30);
        if (t_alive(s, id))
            (void)t_ok(run, t_unregister(s, id));
        for (int i = 0; i < 6; i++)
            t_hang_up(peers[i]);
        t_pass(run, MS);
    }
}

/* What is handed back is registered again where it was, many times, paused and full. */
static void again_here(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[2];
    ior_id ids[2];
    if (s == NULL)
        return;
    s->keep = true;
    for (int i = 0; i < 2; i++)
        ids[i] = t_adopt(s, i == 0 ? IOR_FD_TCP : IOR_FD_UNIX, T_STREAM(.idle_ns = 60 * SEC), &peers[i]);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 2; i++) {
            if (!t_alive(s, ids[i]))
                continue;
            t_say(peers[i], 20);
            (void)t_ok(run, t_send(s, ids[i], 10));
            if (round % 2 == 0)
                (void)t_ok(run, t_pause(s, ids[i]));
            if (round % 3 != 0)
                t_pass(run, MS);
            if (!t_alive(s, ids[i]) || !t_ok(run, t_unregister(s, ids[i])))
                continue;
            if (ior_send(s->cx, ids[i], "x", 1) >= 0)
                complain(run, "a send was taken after unregister");
            t_pass(run, MS);
            const struct res *old = t_res(s, ids[i]);
            ids[i] = t_register(s, t_handed(s, ids[i]), old);
        }
    }
    for (int i = 0; i < 2; i++)
        t_until(run, t_in(s, ids[i]) == 200 && peers[i]->heard == 100);
}

/* The fd is taken out, and used without the library. */
static void release_fd(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[4];
    ior_id ids[4];
    if (s == NULL)
        return;
    s->keep = true;
    for (int i = 0; i < 4; i++)
        ids[i] = t_adopt(s, IOR_FD_TCP, NULL, &peers[i]);
    t_pass(run, MS);
    for (int i = 0; i < 4; i++) {
        if (t_alive(s, ids[i]))
            (void)t_ok(run, i % 2 == 0 ? t_unregister(s, ids[i]) : t_abort(s, ids[i]));
        t_pass(run, MS);
        struct ior_resource *res = t_handed(s, ids[i]);
        if (res == NULL)
            continue;
        int fd = ior_resource_release(res);
        t_want(run, i % 2 == 0 ? fd >= IOR_SIM_FD_FIRST : fd == -EBADF);
        if (fd >= 0)
            (void)ior_sim_close(run->sim, fd);
    }
}

const struct scenario torture_handover[] = {
    {"take_and_give", take_and_give},
    {"to_and_fro", to_and_fro},
    {"listener_moves", listener_moves},
    {"paused_moves", paused_listener_moves},
    {"again_here", again_here},
    {"release_fd", release_fd},
    {NULL, NULL},
};
