/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of files in the queue. */
#include <errno.h>

#include "torture.h"

static ior_id stream_of(struct service *s, int kind, struct peer **peer)
{
    ior_id id = t_adopt(s, kind, NULL, peer);
    (*peer)->manual = false;
    return id;
}

/* Memory and ranges in turn, on sockets and on a pipe (which cannot take sendfile everywhere). */
static void file_ranges(struct run *run)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE | IOR_FD_NO_READ};
    struct service *s = t_service(run, NULL);
    int file = t_file(run, 200000);
    struct peer *peers[3];
    ior_id ids[3];
    if (s == NULL)
        return;
    for (int i = 0; i < 3; i++)
        ids[i] = stream_of(s, kinds[i], &peers[i]);
    t_pass(run, MS);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 3; i++) {
            if (!t_alive(s, ids[i]))
                continue;
            (void)t_ok(run, t_send(s, ids[i], 100));
            (void)t_ok(run, t_send_file(s, ids[i], file, 5000 + (size_t)round * 1000));
            (void)t_ok(run, t_send_file(s, ids[i], file, 1));
        }
        t_pass(run, MS);
    }
    for (int i = 0; i < 3; i++)
        t_until(run, ids[i] != 0 && peers[i]->heard == t_res(s, ids[i])->accepted);
    t_want(run, ior_sim_close(run->sim, file) == 0); /* the caller's, open to the end */
}

/* A large file to a slow reader, and the end of the stream in the midst of it. */
static void large_file(struct run *run)
{
    struct service *s = t_service(run, NULL);
    int file = t_file(run, 1100000);
    struct peer *peers[2];
    ior_id ids[2];
    if (s == NULL)
        return;
    for (int i = 0; i < 2; i++)
        ids[i] = stream_of(s, IOR_FD_TCP, &peers[i]);
    peers[1]->manual = true;
    t_pass(run, MS);
    for (int i = 0; i < 2; i++)
        if (t_alive(s, ids[i]))
            (void)t_ok(run, t_send_file(s, ids[i], file, i == 0 ? 1100000 : 300000));
    for (int i = 0; i < 20; i++) {
        t_pass(run, MS);
        (void)t_hear(peers[1], 5000);
    }
    t_until(run, peers[0]->heard == 1100000);
    if (t_alive(s, ids[1]))
        (void)t_ok(run, t_unregister(s, ids[1]));
    t_pass(run, MS);
    t_want(run, ids[1] != 0 && t_res(s, ids[1])->unsent > 0);
}

/* A file that is shorter than it was promised to be ends the transport. */
static void file_shrinks(struct run *run)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX};
    struct service *s = t_service(run, NULL);
    int file = t_file(run, 90000);
    struct peer *peers[6];
    ior_id ids[6];
    if (s == NULL)
        return;
    for (int i = 0; i < 6; i++)
        ids[i] = stream_of(s, kinds[i % 2], &peers[i]);
    t_pass(run, MS);
    for (int i = 0; i < 6; i++) {
        peers[i]->manual = true;
        if (!t_alive(s, ids[i]))
            continue;
        (void)t_ok(run, t_send(s, ids[i], 50));
        (void)t_ok(run, t_send_file(s, ids[i], file, 80000));
        (void)t_ok(run, t_send(s, ids[i], 50));
    }
    t_pass(run, MS);
    (void)ior_sim_file_resize(run->sim, file, 70000);
    for (int i = 0; i < 6; i++) {
        peers[i]->manual = false;
        (void)t_hear(peers[i], SIZE_MAX);
    }
    for (int i = 0; i < 6; i++) {
        t_until(run, ids[i] != 0 && t_res(s, ids[i])->ended);
        t_want(run, t_ended(s, ids[i], IOR_ERROR, EIO));
    }
}

/* Stale ids, fds that are no files, ranges beyond all bounds: nothing happens. */
static void file_refused(struct run *run)
{
    struct service *s = t_service(run, NULL);
    int file = t_file(run, 1000);
    int other = ior_sim_fd(run->sim, run->here, IOR_FD_OTHER, NULL);
    struct peer *peer;
    if (s == NULL)
        return;
    ior_id id = stream_of(s, IOR_FD_TCP, &peer);
    t_pass(run, MS);
    for (int i = 0; i < 10 && t_alive(s, id); i++) {
        t_want(run, ior_send_file(s->cx, id, -1, 0, 10) == -EBADF);
        t_want(run, ior_send_file(s->cx, id, file, UINT64_MAX, 10) == -EOVERFLOW);
        (void)t_ok(run, t_send_file(s, id, file, 50));
        t_pass(run, MS);
    }
    if (t_alive(s, id)) /* told when its turn comes: it ends the stream */
        (void)t_send_file(s, id, other, 10);
    t_until(run, t_res(s, id)->ended);
    (void)ior_sim_close(run->sim, other);
}

const struct scenario torture_files[] = {
    {"file_ranges", file_ranges},
    {"large_file", large_file},
    {"file_shrinks", file_shrinks},
    {"file_refused", file_refused},
    {NULL, NULL},
};
