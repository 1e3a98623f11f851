/* SPDX-License-Identifier: Apache-2.0 */
/* Output: marks, caps, pieces, shared buffers, pipes. */
#include <errno.h>
#include <stdlib.h>

#include "torture.h"

static void release(void *arg)
{
    struct run *run = arg;
    run->released++;
}

/* A service with streams that are there already, and their peers. */
static struct service *with_streams(struct run *run, int kind, const struct ior_stream_options *opts, int n,
                                    ior_id *ids, struct peer **peers)
{
    struct service *s = t_service(run, NULL);
    for (int i = 0; s != NULL && i < n; i++) {
        ids[i] = t_adopt(s, kind, opts, &peers[i]);
        peers[i]->manual = false;
    }
    if (s != NULL)
        t_pass(run, MS);
    return s;
}

/* A reader that takes its time: sends answer 1, reading stops meanwhile, DRAINED is told. */
static void slow_reader(struct run *run)
{
    struct peer *peer;
    ior_id id;
    struct service *s = with_streams(run, IOR_FD_TCP, T_STREAM(.high_bytes = 32768), 1, &id, &peer);
    bool full = false;
    if (s == NULL || id == 0)
        return;
    s->on_event = t_sink;
    peer->manual = true;
    for (int i = 0; i < 60 && !full && t_alive(s, id); i++) {
        int answer = t_send(s, id, 4000);
        full = answer == 1;
        (void)t_ok(run, answer);
        t_pass(run, MS);
    }
    t_want(run, full);
    t_say(peer, 300);
    t_pass(run, MS);
    t_want(run, t_in(s, id) == 0); /* full: it does not read */
    for (int i = 0; i < 200 && t_res(s, id)->owed && t_alive(s, id); i++) {
        (void)t_hear(peer, 3000);
        t_pass(run, MS);
    }
    t_want(run, !t_res(s, id)->owed);
    peer->manual = false;
    (void)t_hear(peer, SIZE_MAX);
    t_until(run, peer->heard == t_res(s, id)->accepted);
    t_until(run, t_in(s, id) == 300);
    (void)t_ok(run, t_close(s, id, SEC));
    t_until(run, peer->eof);
}

/* Past the cap sends are refused whole; those that can never fit, at once. */
static void caps(struct run *run)
{
    struct peer *peer;
    ior_id id;
    struct service *s = with_streams(run, IOR_FD_TCP, T_STREAM(.cap_bytes = 200 * 1024), 1, &id, &peer);
    if (s == NULL || id == 0)
        return;
    peer->manual = true;
    t_want(run, t_send(s, id, 300 * 1024) == -EMSGSIZE);
    int answer = 0;
    for (int i = 0; i < 12 && answer >= 0; i++)
        answer = t_send(s, id, 20 * 1024);
    t_want(run, answer == -ENOBUFS);
    t_pass(run, MS);
    for (int i = 0; i < 200 && t_res(s, id)->owed && t_alive(s, id); i++) {
        (void)t_hear(peer, 16 * 1024);
        t_pass(run, 5 * MS);
    }
    t_want(run, !t_res(s, id)->owed);
    peer->manual = false;
    (void)t_hear(peer, SIZE_MAX);
    t_until(run, peer->heard == t_res(s, id)->accepted);
}

/* Small and large pieces, in one turn and in several, on three kinds of stream. */
static void pieces(struct run *run)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE | IOR_FD_NO_READ};
    struct service *s = t_service(run, NULL);
    struct peer *peers[3];
    ior_id ids[3];
    if (s == NULL)
        return;
    for (int i = 0; i < 3; i++) {
        ids[i] = t_adopt(s, kinds[i], NULL, &peers[i]);
        peers[i]->manual = false;
    }
    t_pass(run, MS);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3; i++) {
            if (!t_alive(s, ids[i]))
                continue;
            (void)t_ok(run, t_send(s, ids[i], 1 + (size_t)round * 7));
            (void)t_ok(run, t_sendv(s, ids[i], 100 + (size_t)round * 333, 1 + round));
            (void)t_ok(run, t_send(s, ids[i], 2000));
        }
        t_pass(run, MS);
    }
    for (int i = 0; i < 3; i++)
        t_until(run, ids[i] != 0 && peers[i]->heard == t_res(s, ids[i])->accepted);
}

/* One buffer in many queues; some peers read, one does not, one is gone. */
static void broadcast(struct run *run)
{
    enum { N = 6, LEN = 9000 };
    struct peer *peers[N];
    ior_id ids[N];
    struct service *s = with_streams(run, IOR_FD_TCP, NULL, N, ids, peers);
    unsigned made = 0;
    unsigned char *bytes = malloc(LEN);
    if (bytes == NULL)
        abort();
    if (s != NULL) {
        peers[0]->manual = true;
        for (unsigned round = 0; round < 8; round++) {
            pattern(bytes, (uint64_t)round * LEN, LEN);
            struct ior_buf *copy = ior_buf_copy(bytes, LEN);
            t_want(run, copy != NULL);
            for (int i = 0; i < N; i++)
                if (t_alive(s, ids[i]) && t_res(s, ids[i])->accepted == (uint64_t)round * LEN)
                    (void)t_ok(run, t_send_buf(s, ids[i], copy));
            ior_buf_unref(copy);
            if (round == 4)
                t_reset(peers[N - 1]);
            t_pass(run, MS);
        }
        pattern(bytes, UINT64_C(8) * LEN, LEN);
        struct ior_buf *wrapped = ior_buf_wrap(bytes, LEN, release, run);
        made += wrapped != NULL;
        for (int i = 0; i < N; i++)
            if (t_alive(s, ids[i]) && t_res(s, ids[i])->accepted == UINT64_C(8) * LEN)
                (void)t_ok(run, t_send_buf(s, ids[i], wrapped));
        ior_buf_unref(wrapped);
        for (int i = 1; i < N - 1; i++)
            t_until(run, peers[i]->heard == UINT64_C(9) * LEN);
        peers[0]->manual = false;
        (void)t_hear(peers[0], SIZE_MAX);
        t_until(run, peers[0]->heard == UINT64_C(9) * LEN);
        t_free(s);
    }
    if (run->released != made)
        complain(run, "a wrapped buffer was released %u times", run->released);
    free(bytes);
}

/* The runtime's own cap, shared by streams. */
static void runtime_cap(struct run *run)
{
    struct service *s = t_service(run, T_CONFIG(.output_cap_bytes = 128 * 1024));
    struct peer *peers[3];
    ior_id ids[3];
    int refused = 0;
    if (s == NULL)
        return;
    for (int i = 0; i < 3; i++)
        ids[i] = t_adopt(s, IOR_FD_UNIX, NULL, &peers[i]);
    t_pass(run, MS);
    for (int round = 0; round < 12; round++)
        for (int i = 0; i < 3; i++)
            refused += t_alive(s, ids[i]) && t_send(s, ids[i], 8000) == -ENOBUFS;
    t_want(run, refused > 0);
    for (int i = 0; i < 3; i++)
        peers[i]->manual = false;
    t_pass(run, MS);
    for (int i = 0; i < 3; i++)
        (void)t_hear(peers[i], SIZE_MAX);
    for (int i = 0; i < 3; i++)
        t_until(run, ids[i] != 0 && peers[i]->heard == t_res(s, ids[i])->accepted && !t_res(s, ids[i])->owed);
}

/* The reader of a pipe goes; the peer of a Unix stream goes while much is queued. */
static void readers_go(struct run *run)
{
    static const int kinds[] = {IOR_FD_PIPE | IOR_FD_NO_READ, IOR_FD_UNIX, IOR_FD_TCP};
    struct service *s = t_service(run, NULL);
    struct peer *peers[6];
    ior_id ids[6];
    if (s == NULL)
        return;
    for (int i = 0; i < 6; i++) {
        ids[i] = t_adopt(s, kinds[i % 3], NULL, &peers[i]);
        peers[i]->manual = true;
    }
    t_pass(run, MS);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 6; i++)
            if (t_alive(s, ids[i]))
                (void)t_ok(run, t_send(s, ids[i], 30000));
        t_pass(run, MS);
    }
    for (int i = 0; i < 6; i++) {
        if (i < 3)
            t_hang_up(peers[i]);
        else
            t_reset(peers[i]);
    }
    for (int i = 0; i < 6; i++)
        t_until(run, ids[i] != 0 && t_res(s, ids[i])->ended);
}

const struct scenario torture_output[] = {
    {"slow_reader", slow_reader},
    {"caps", caps},
    {"pieces", pieces},
    {"broadcast", broadcast},
    {"runtime_cap", runtime_cap},
    {"readers_go", readers_go},
    {NULL, NULL},
};
