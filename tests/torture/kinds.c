/* SPDX-License-Identifier: Apache-2.0 */
/* Watches, a user's own kind of resource, and several services in one runtime. */
#include <errno.h>
#include <stdlib.h>

#include "torture.h"

/* A watch that reads what is ready for it would need the fd; here the test makes it ready and takes it back. */
static void unready(struct service *s, struct res *r, const struct ior_event *ev)
{
    const int *fds = s->run->arg;
    (void)ev;
    for (size_t i = 0; i < s->n; i++)
        if (&s->res[i] == r)
            (void)ior_sim_ready(s->run->sim, fds[i], 0);
}

static void watches(struct run *run)
{
    enum { N = 5 };
    struct service *s = t_service(run, NULL);
    static int fds[N]; /* events come after a return in the midst, too */
    ior_id ids[N];
    if (s == NULL)
        return;
    run->arg = fds;
    s->on_event = unready;
    for (int i = 0; i < N; i++) {
        fds[i] = ior_sim_fd(run->sim, run->here, IOR_FD_OTHER, NULL);
        ids[i] = t_watch(s, fds[i], i % 2 == 0 ? IOR_READ : IOR_READ | IOR_WRITE);
        if (ids[i] == 0)
            return; /* the hook finds fds by their order */
    }
    for (int round = 0; round < 15; round++) {
        for (int i = 0; i < N; i++)
            (void)ior_sim_ready(run->sim, fds[i], round % 3 == 2 ? IOR_HUP : IOR_READ | IOR_WRITE);
        t_pass(run, MS);
        if (round == 5)
            (void)t_ok(run, t_interest(s, ids[1], IOR_NONE));
        if (round == 7)
            (void)t_ok(run, t_interest(s, ids[1], IOR_READ));
        if (round == 9)
            (void)t_pause(s, ids[2]);
        if (round == 11)
            (void)t_resume(s, ids[2]);
        for (int i = 0; i < N; i++)
            (void)t_interest(s, ids[i], IOR_READ);
    }
    for (int i = 0; i < N; i++)
        t_want(run, t_res(s, ids[i])->readies > 5);
    (void)t_ok(run, t_unregister(s, ids[0]));
    (void)ior_sim_ready(run->sim, fds[0], IOR_READ);
    (void)t_ok(run, t_close(s, ids[1], 0));
    t_pass(run, MS);
    for (int i = 0; i < N; i++)
        (void)ior_sim_ready(run->sim, fds[i], 0);
    for (int i = 2; i < N; i++)
        (void)t_ok(run, t_unregister(s, ids[i]));
    t_pass(run, MS);
    for (int i = 0; i < N; i++)
        (void)ior_sim_close(run->sim, fds[i]);
}

/* A kind of the test's own on a Unix stream: it reads and writes through the runtime's table of calls. */
struct gadget {
    struct ior_resource base;
    struct run *run;
    const struct ior_os *os;
    bool told_open, at_end;
};

static unsigned gadget_interests(struct ior_resource *res)
{
    const struct gadget *g = (const struct gadget *)res;
    return g->at_end ? IOR_NONE : IOR_READ;
}

static int gadget_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct gadget *g = (struct gadget *)res;
    struct ior_event ev = {.type = IOR_EV_OPEN};
    unsigned char bytes[256];
    (void)io;
    if (!g->told_open && ior_emit(emit, &ev) == -ECANCELED)
        return IOR_IO_DONE;
    g->told_open = true;
    ssize_t n = g->os->recv(g->os->arg, res->fd, bytes, sizeof(bytes));
    if (n == -EAGAIN || n == -EINTR || n == -ENOMEM)
        return IOR_IO_DONE; /* it is told again */
    if (n < 0)
        return (int)n;
    g->at_end = n == 0;
    ev = n == 0 ? (struct ior_event){.type = IOR_EV_EOF}
                : (struct ior_event){.type = IOR_EV_DATA, .data = {.bytes = bytes, .len = (size_t)n}};
    if (ior_emit(emit, &ev) == 0 && n > 0) {
        ev = (struct ior_event){.type = IOR_EV_CUSTOM, .custom = {.kind = 3}};
        (void)ior_emit(emit, &ev);
    }
    return IOR_IO_DONE;
}

static ssize_t gadget_write(struct ior_resource *res, const struct iovec *iov, int n)
{
    struct gadget *g = (struct gadget *)res;
    ssize_t sent = g->os->send(g->os->arg, res->fd, iov, n);
    return sent == -EINTR ? -EAGAIN : sent;
}

static void gadget_destroy(struct ior_resource *res)
{
    struct gadget *g = (struct gadget *)res;
    (void)ior_sim_close(g->run->sim, res->fd);
    free(g);
}

static const struct ior_resource_ops gadget_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "gadget",
    .interests = gadget_interests,
    .handle_io = gadget_io,
    .write = gadget_write,
    .destroy = gadget_destroy,
};

static void own_kind(struct run *run)
{
    enum { N = 4 };
    struct service *s = t_service(run, NULL);
    struct peer *peers[N];
    ior_id ids[N];
    if (s == NULL)
        return;
    s->on_event = t_echo;
    for (int i = 0; i < N; i++) {
        struct gadget *g = calloc(1, sizeof(*g));
        if (g == NULL)
            abort();
        g->run = run;
        g->os = ior_context_os(s->cx);
        peers[i] = &run->peers[run->peers_n++];
        *peers[i] = (struct peer){.run = run};
        int fd = ior_sim_fd(run->sim, run->here, IOR_FD_UNIX, &peers[i]->end);
        t_listen_to(peers[i]);
        (void)g->os->set_nonblock(g->os->arg, fd, true);
        ior_resource_init(&g->base, &gadget_ops, fd, NULL);
        ids[i] = t_register(s, &g->base, NULL);
    }
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < N; i++)
            t_say(peers[i], 120);
        t_pass(run, MS);
    }
    for (int i = 0; i < N; i++)
        t_until(run, peers[i]->heard == 12 * 120);
    for (int i = 0; i < N; i++)
        t_finish(peers[i]);
    for (int i = 0; i < N; i++)
        t_until(run, t_ended(s, ids[i], IOR_EOF, 0) && t_res(s, ids[i])->customs > 0);
}

/* Two services in one runtime; one is detached while it works, and comes again. */
static void two_services(struct run *run)
{
    struct service *first = t_service(run, NULL);
    struct peer *peers[9];
    ior_id ids[9];
    if (first == NULL)
        return;
    first->on_event = t_echo;
    for (int i = 0; i < 3; i++)
        ids[i] = t_adopt(first, IOR_FD_TCP, NULL, &peers[i]);
    for (int time = 0; time < 2; time++) {
        struct service *other = t_attach(first);
        if (other == NULL)
            continue;
        other->on_event = t_echo;
        for (int i = 3; i < 6; i++) {
            ids[i] = t_adopt(other, IOR_FD_UNIX, NULL, &peers[i]);
            if (ids[i] != 0 && ior_send(first->cx, ids[i], "x", 1) != -EACCES)
                complain(run, "one service may use the other's resource");
        }
        (void)t_timer(other, 100 * SEC);
        for (int round = 0; round < 5; round++) {
            for (int i = 0; i < 6; i++)
                t_say(peers[i], 30);
            t_pass(run, MS);
        }
        for (int i = 3; i < 6; i++)
            t_until(run, peers[i]->heard == 150);
        for (int i = 3; i < 6; i++)
            t_finish(peers[i]);
        if (time == 0 && t_alive(other, ids[3]))
            (void)t_ok(run, t_send(other, ids[3], 2000));
        bool leaving = t_ok(run, t_detach(other, SEC));
        t_pass(run, 5 * SEC);
        other->gone = leaving;
        for (int i = 3; i < 6; i++)
            t_want(run, ids[i] != 0 && t_res(other, ids[i])->ended);
    }
    for (int i = 0; i < 3; i++)
        t_until(run, peers[i]->heard == 300);
}

/* Fds that the program closes under the library's feet, with a duplicate that keeps them alive. */
static void stolen_fds(struct run *run)
{
    enum { N = 4 };
    struct service *s = t_service(run, NULL);
    int fds[N], dups[N];
    ior_id ids[N];
    if (s == NULL)
        return;
    s->on_event = NULL;
    for (int i = 0; i < N; i++) {
        fds[i] = ior_sim_fd(run->sim, run->here, IOR_FD_OTHER, NULL);
        dups[i] = ior_sim_dup(run->sim, fds[i]);
        ids[i] = t_watch(s, fds[i], IOR_READ);
    }
    t_pass(run, MS);
    for (int i = 0; i < N; i++)
        (void)ior_sim_close(run->sim, fds[i]);
    for (int i = 0; i < N; i++) {
        (void)ior_sim_ready(run->sim, dups[i], IOR_READ);
        (void)t_interest(s, ids[i], IOR_READ | IOR_WRITE);
        t_pass(run, MS);
        (void)ior_sim_ready(run->sim, dups[i], IOR_NONE);
        if (t_alive(s, ids[i]))
            (void)t_unregister(s, ids[i]);
        t_pass(run, MS);
    }
    for (int i = 0; i < N; i++) {
        t_want(run, ids[i] != 0 && t_res(s, ids[i])->ended);
        (void)ior_sim_close(run->sim, dups[i]);
    }
}

const struct scenario torture_kinds[] = {{"watches", watches},
                                         {"own_kind", own_kind},
                                         {"two_services", two_services},
                                         {"stolen_fds", stolen_fds},
                                         {NULL, NULL}};
