/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files on a ring of io_uring (config.files): what the ring does, what goes to threads all the same, and how it
 * ends with calls that hang. What hangs is an eventfd, adopted as a file: a read waits until something is in it, and a
 * write until there is room. Nothing depends on how long a disk takes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <stdio.h>

#if defined(IOR_URING) && defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/disk.h"
#include "support/live.h"
#include "support/probe.h"

#define SIZE ((size_t)1000003)
#define REFUSED_SIZE ((size_t)200003)
#define RING_TASKS 128u
#define WORD sizeof(uint64_t)
#define FULL UINT64_C(0xfffffffffffffffe) /* of an eventfd */

#define FILE_OPTIONS(...) \
    (&(const struct ior_file_options){.struct_size = sizeof(struct ior_file_options), __VA_ARGS__})

struct told {
    enum ior_file_op op;
    int error;
    size_t len;
    uint64_t word; /* the first bytes of a read */
};

struct bench {
    struct probe *p;
    char *dir;
    char path[512];
    struct told told[300];
    unsigned n;
    ior_id doomed; /* asked to read or write, and unregistered, in the next event of an operation */
    bool writes;
};

/* In an event of step 4, behind what enters: what is asked for here ends in the same turn, and was not entered. */
static void doom(struct bench *b)
{
    const uint64_t word = 5;
    ior_id id = b->doomed;
    b->doomed = 0;
    int err =
        b->writes ? ior_file_write(b->p->cx, id, 0, &word, WORD, NULL) : ior_file_read(b->p->cx, id, 0, WORD, NULL);
    assert_int_equal(err, 0);
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
}

static void on_event(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct bench *b = p->arg;
    (void)r;
    if (ev->type != IOR_EV_FILE)
        return;
    assert_true(b->n < sizeof(b->told) / sizeof(b->told[0]));
    struct told *told = &b->told[b->n++];
    *told = (struct told){.op = ev->file->op, .error = ev->file->error, .len = ev->file->len};
    if (ev->file->bytes && ev->file->len >= WORD)
        memcpy(&told->word, ev->file->bytes, WORD);
    if (b->doomed)
        doom(b);
}

static struct bench *bench_on(const struct ior_os *os)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct ior_config config = probe_config();
    assert_non_null(b);
    config.files = "uring";
    if (os)
        config.os = os;
    b->p = probe_new(&config);
    b->p->arg = b;
    b->p->on_event = on_event;
    b->p->pattern = true;
    b->dir = net_temp_dir();
    snprintf(b->path, sizeof(b->path), "%s/file", b->dir);
    return b;
}

static struct bench *bench_new(void)
{
    return bench_on(NULL);
}

static void bench_free(struct bench *b)
{
    if (b->p)
        probe_free(b->p);
    net_temp_dir_remove(b->dir);
    free(b);
}

static uint64_t ring_calls(const struct bench *b)
{
    return probe_stats(b->p).ring_calls;
}

static void make_file(const struct bench *b, size_t len, bool cold)
{
    int fd = open(b->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    net_write_pattern(fd, 0, len);
    if (cold) {
        assert_int_equal(fdatasync(fd), 0);
        assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    }
    close(fd);
}

static void expect_file(const struct bench *b, size_t len)
{
    unsigned char *bytes = malloc(len + 2);
    int fd = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n <= len; n += got > 0 ? (size_t)got : 0)
        got = read(fd, bytes + n, len + 1 - n);
    assert_int_equal(n, len);
    assert_true(net_is_pattern(bytes, 0, len));
    close(fd);
    free(bytes);
}

static ior_id open_file(struct bench *b, const struct ior_file_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_file_open(b->p->cx, b->path, opts, &id), 0);
    probe_of(b->p, id);
    return id;
}

static struct probe_res *ended(struct bench *b, ior_id id)
{
    probe_until(b->p, probe_of(b->p, id)->end == 1);
    return probe_of(b->p, id);
}

/* An eventfd as a file; *ret_peer is another fd of it. */
static ior_id adopt_event(struct bench *b, uint64_t value, unsigned flags, int *ret_peer)
{
    ior_id id = 0;
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_true(fd >= 0);
    if (value > 0)
        assert_int_equal(write(fd, &value, WORD), WORD);
    *ret_peer = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_true(*ret_peer >= 0);
    assert_int_equal(ior_file_adopt(b->p->cx, fd, FILE_OPTIONS(.flags = flags), &id), 0);
    probe_of(b->p, id);
    return id;
}

static void release_read(int peer)
{
    const uint64_t word = 4711;
    assert_int_equal(write(peer, &word, WORD), WORD);
}

static uint64_t release_write(int peer)
{
    uint64_t word = 0;
    assert_int_equal(read(peer, &word, WORD), WORD);
    return word;
}

/* A file with a read that hangs. */
static ior_id hang(struct bench *b, int *ret_peer)
{
    ior_id id = adopt_event(b, 0, IOR_FILE_READ, ret_peer);
    uint64_t calls = ring_calls(b);
    assert_int_equal(ior_file_read(b->p->cx, id, 0, WORD, NULL), 0);
    probe_turns(b->p, 3);
    assert_int_equal(ring_calls(b), calls + 1);
    return id;
}

/* The loop comes to rest, whatever else interrupts a wait now and then: one that spins never does. */
static void rests(struct bench *b)
{
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    while (probe_quiet(b->p, 5) > 1)
        assert_true(net_now() < until);
}

/* ---- what it does ---- */

static void a_file_is_told_as_data(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, SIZE};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench *b = bench_new();
        make_file(b, sizes[i / 2], i % 2 == 1);
        ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->bytes, sizes[i / 2]);
        assert_int_equal(r->eof, 1);
        assert_int_equal(r->why, IOR_EOF);
        assert_true(ring_calls(b) >= sizes[i / 2] / 65536 + 1);
        bench_free(b);
    }
}

/* Pieces so large that the kernel is always asked to do it elsewhere, and a file that is shorter than was said. */
static void large_pieces_and_a_file_that_shrank(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, SIZE, false);
    ior_id id =
        open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .len = SIZE + 1, .piece_bytes = 400000));
    struct probe_res *r = ended(b, id);
    assert_int_equal(r->bytes, SIZE);
    assert_int_equal(r->eof, 0);
    assert_int_equal(r->error, EIO);
    bench_free(b);
}

static void paused_it_stands_still(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, SIZE, false);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .piece_bytes = 1000));
    probe_until(b->p, probe_of(b->p, id)->data >= 1);
    assert_int_equal(ior_pause(b->p->cx, id), 0);
    uint64_t bytes = probe_of(b->p, id)->bytes;
    assert_true(bytes < SIZE);
    rests(b);
    uint64_t calls = ring_calls(b);
    rests(b);
    assert_int_equal(probe_of(b->p, id)->bytes, bytes);
    assert_int_equal(ring_calls(b), calls);
    assert_int_equal(ior_resume(b->p->cx, id), 0);
    assert_int_equal(ended(b, id)->bytes, SIZE);
    bench_free(b);
}

static void what_is_sent_is_written(void **state)
{
    (void)state;
    for (int append = 0; append < 2; append++) {
        struct bench *b = bench_new();
        unsigned char *bytes = net_new_pattern(SIZE);
        unsigned flags = IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_SYNC | (append ? IOR_FILE_APPEND : 0u);
        size_t before = append ? 1000 : 0;
        if (append)
            make_file(b, before, false);
        ior_id id = open_file(b, FILE_OPTIONS(.flags = flags, .high_bytes = 2 * SIZE));
        assert_int_equal(ior_send(b->p->cx, id, bytes + before, SIZE - before), 0);
        assert_int_equal(ior_close(b->p->cx, id, IOR_NEVER), 0);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->error, 0);
        assert_int_equal(r->written, SIZE - before);
        assert_true(ring_calls(b) >= 2);
        expect_file(b, SIZE);
        free(bytes);
        bench_free(b);
    }
}

static void operations_come_in_order(void **state)
{
    static const enum ior_file_op ops[] = {IOR_FILE_OP_WRITE, IOR_FILE_OP_SYNC, IOR_FILE_OP_READ, IOR_FILE_OP_STAT,
                                           IOR_FILE_OP_READ};
    struct bench *b = bench_new();
    const uint64_t word = 4711;
    (void)state;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_WRITE | IOR_FILE_CREATE));
    assert_int_equal(ior_file_write(b->p->cx, id, 3, &word, WORD, NULL), 0);
    assert_int_equal(ior_file_sync(b->p->cx, id, NULL), 0);
    assert_int_equal(ior_file_read(b->p->cx, id, 3, 100, NULL), 0); /* more than there is */
    assert_int_equal(ior_file_stat(b->p->cx, id, NULL), 0);
    assert_int_equal(ior_file_read(b->p->cx, id, 3, 0, NULL), 0);
    probe_until(b->p, b->n == 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(b->told[i].op, ops[i]);
        assert_int_equal(b->told[i].error, 0);
    }
    assert_int_equal(b->told[0].len, WORD);
    assert_int_equal(b->told[2].len, WORD);
    assert_int_equal(b->told[2].word, word);
    assert_int_equal(b->told[4].len, 0);
    assert_int_equal(ring_calls(b), 3);
    bench_free(b);
}

/* More files than the ring takes, all at once; and, with a ring that is full of what hangs, threads do the rest. */
static void the_ring_is_full(void **state)
{
    struct bench *b = bench_new();
    int peers[RING_TASKS + 1];
    ior_id ids[2 * RING_TASKS];
    (void)state;
    net_raise_fd_limit(1024);
    make_file(b, 20000, false);
    for (unsigned i = 0; i < 2 * RING_TASKS; i++)
        ids[i] = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    for (unsigned i = 0; i < 2 * RING_TASKS; i++)
        assert_int_equal(ended(b, ids[i])->bytes, 20000);
    for (unsigned i = 0; i < RING_TASKS; i++)
        ids[i] = hang(b, &peers[i]);
    uint64_t calls = ring_calls(b);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    assert_int_equal(ended(b, id)->bytes, 20000);
    assert_int_equal(ring_calls(b), calls);
    for (unsigned i = 0; i < RING_TASKS; i++) {
        release_read(peers[i]);
        net_close(&peers[i]);
    }
    probe_until(b->p, b->n == RING_TASKS);
    for (unsigned i = 0; i < RING_TASKS; i++)
        assert_int_equal(b->told[i].word, 4711);
    (void)hang(b, &peers[0]); /* there is room again */
    release_read(peers[0]);
    probe_until(b->p, b->n == RING_TASKS + 1);
    net_close(&peers[0]);
    bench_free(b);
}

/*
 * Lets the read that hangs go on, and sees that the engine has a record of it: mostly. A wait may be interrupted by the
 * very completion, which is found then without a record.
 */
static void expect_record(struct bench *b, int *peer)
{
    bool seen = false;
    for (unsigned i = 0; i < 30 && !seen; i++) {
        unsigned n = b->n;
        uint64_t records = probe_stats(b->p).records;
        if (i > 0)
            (void)hang(b, peer);
        release_read(*peer);
        probe_until(b->p, b->n == n + 1);
        net_close(peer);
        seen = probe_stats(b->p).records > records;
    }
    assert_true(seen);
}

/* What it is told is what woke the loop: it sleeps while a call hangs, also in an engine whose set was built anew. */
static void a_completion_wakes_the_loop(void **state)
{
    struct bench *b = bench_new();
    int peer, other;
    (void)state;
    (void)hang(b, &peer);
    rests(b);
    expect_record(b, &peer);
    rests(b);
    for (unsigned i = 0; i < 4; i++) { /* in turns one after the other */
        (void)hang(b, &peer);
        expect_record(b, &peer);
    }
    assert_int_equal(probe_stats(b->p).stale_records, 0);
    assert_int_equal(probe_stats(b->p).rebuilds, 0);

    ior_id lost = probe_unix(b->p, NULL, &other);
    probe_until(b->p, probe_of(b->p, lost)->open == 1);
    (void)hang(b, &peer);
    if (!probe_engine_does_io(b->p)) { /* which knows its fds by more than their number */
        for (int fd = 3; fd < 1024 && probe_stats(b->p).rebuilds == 0; fd++) {
            struct sockaddr_storage name;
            socklen_t len = sizeof(name);
            if (fd == other || getsockname(fd, (struct sockaddr *)&name, &len) < 0)
                continue;
            int kept = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
            close(fd);
            assert_int_equal(ior_unregister(b->p->cx, lost), 0);
            probe_turns(b->p, 2);
            net_close(&kept);
            break;
        }
        assert_true(probe_stats(b->p).rebuilds > 0);
    }
    rests(b);
    expect_record(b, &peer);
    net_close(&other);
    bench_free(b);
}

/* The same for a foreign loop: the runtime's fd, and a deadline that says that something is to be entered. */
static void a_completion_wakes_a_foreign_loop(void **state)
{
    struct bench *b = bench_new();
    int peer;
    (void)state;
    ior_id id = adopt_event(b, 0, IOR_FILE_READ, &peer);
    probe_until(b->p, probe_of(b->p, id)->open == 1);
    probe_turns(b->p, 3);
    assert_int_equal(ior_file_read(b->p->cx, id, 0, WORD, NULL), 0);
    assert_int_equal(ior_runtime_deadline(b->p->rt), 0);
    int fd = ior_runtime_fd(b->p->rt);
    if (fd >= 0) {
        probe_turns(b->p, 3);
        assert_int_equal(ior_runtime_deadline(b->p->rt), IOR_NEVER);
    }
    release_read(peer);
    if (fd >= 0)
        assert_int_equal(net_await(fd, POLLIN), POLLIN);
    probe_until(b->p, b->n == 1);
    net_close(&peer);
    bench_free(b);
}

/* The ring of files: the last one that was made; -1: there is none. */
static int ring_fd(void)
{
    int last = -1;
    for (int fd = 3; fd < 1024; fd++) {
        char path[64], name[64] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (readlink(path, name, sizeof(name) - 1) > 0 && strcmp(name, "anon_inode:[io_uring]") == 0)
            last = fd;
    }
    return last;
}

/* A call that was cancelled by somebody else is a thread's to do: this one finds that an eventfd has no offsets. */
static void a_call_that_was_cancelled(void **state)
{
    struct io_uring_sync_cancel_reg all = {
        .fd = -1, .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL, .timeout = {.tv_sec = -1, .tv_nsec = -1}};
    struct bench *b = bench_new();
    int peer;
    (void)state;
    (void)hang(b, &peer);
    assert_true(syscall(SYS_io_uring_register, ring_fd(), IORING_REGISTER_SYNC_CANCEL, &all, 1) >= 0);
    probe_until(b->p, b->n == 1);
    assert_int_equal(ring_calls(b), 1);
    assert_int_equal(b->told[0].error, ESPIPE);
    net_close(&peer);
    bench_free(b);
}

static void *turn_elsewhere(void *arg)
{
    struct bench *b = arg;
    probe_turns(b->p, 1); /* and so it is this thread's */
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .piece_bytes = 200));
    probe_until(b->p, probe_of(b->p, id)->bytes > 5000);
    return NULL;
}

/* The thread that had the loop is gone, with calls of its on the ring. */
static void the_loop_moves_to_another_thread(void **state)
{
    struct bench *b = bench_new();
    int peer;
    (void)state;
    make_file(b, 50000, false);
    (void)hang(b, &peer);
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, turn_elsewhere, b), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    probe_turns(b->p, 1);
    for (size_t i = 0; i < b->p->n; i++)
        if (b->p->res[i].bytes > 0)
            assert_int_equal(ended(b, b->p->res[i].id)->bytes, 50000);
    release_read(peer);
    probe_until(b->p, b->n == 1);
    assert_int_equal(b->told[0].word, 4711);
    net_close(&peer);
    bench_free(b);
}

/* ---- how it ends ---- */

static void a_read_that_hangs_is_abandoned(void **state)
{
    struct bench *b = bench_new();
    int peer;
    (void)state;
    ior_id id = hang(b, &peer);
    size_t fds = net_fd_count();
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    assert_int_equal(ended(b, id)->error, 0);
    assert_int_equal(net_fd_count(), fds); /* the call's share of it */
    release_read(peer);
    probe_until(b->p, net_fd_count() == fds - 1);
    assert_int_equal(b->n, 0);
    net_close(&peer);
    bench_free(b);
}

/* Neither a read nor a write that waits to be entered is done where its file ends: no bytes come or go. */
static void inv04_what_was_not_entered_is_taken_back(void **state)
{
    (void)state;
    for (int writes = 0; writes < 2; writes++) {
        struct bench *b = bench_new();
        int first, peer;
        (void)hang(b, &first);
        b->writes = writes;
        b->doomed = adopt_event(b, 7, writes ? IOR_FILE_WRITE : IOR_FILE_READ, &peer);
        ior_id id = b->doomed;
        probe_until(b->p, probe_of(b->p, id)->open == 1);
        release_read(first);
        assert_int_equal(ended(b, id)->error, 0);
        assert_int_equal(ring_calls(b), 2);
        assert_int_equal(b->n, 1);
        probe_turns(b->p, 3);
        assert_int_equal(release_write(peer), 7);
        net_close(&first);
        net_close(&peer);
        bench_free(b);
    }
}

static void the_runtime_goes_while_calls_hang(void **state)
{
    int reader, writer;
    (void)state;
    for (int writes = 0; writes < 2; writes++) {
        size_t fds = net_fd_count();
        size_t threads = net_threads_at_rest();
        const uint64_t word = 5;
        live_alloc_start();
        struct bench *b = bench_new();
        (void)hang(b, &reader);
        ior_id id = adopt_event(b, FULL, IOR_FILE_WRITE, &writer);
        if (writes) {
            assert_int_equal(ior_send(b->p->cx, id, &word, WORD), 0);
            probe_turns(b->p, 3);
            assert_int_equal(ring_calls(b), 2);
        }
        ior_runtime_free(b->p->rt); /* waits a second for the write */
        b->p->rt = NULL;
        assert_int_equal(probe_of(b->p, id)->error, writes ? EINPROGRESS : 0);
        assert_true(live_alloc_blocks() > 0);
        release_read(reader);
        if (writes)
            assert_int_equal(release_write(writer), FULL);
        net_await_threads(threads);
        assert_int_equal(live_alloc_blocks(), 0);
        live_alloc_stop();
        if (writes)
            assert_int_equal(release_write(writer), word); /* it was left behind, and was done */
        net_close(&reader);
        net_close(&writer);
        bench_free(b);
        assert_int_equal(net_fd_count(), fds);
    }
}

static int no_more_threads(void *arg, pthread_t *ret, void *(*run)(void *), void *run_arg)
{
    (void)arg;
    (void)ret;
    (void)run;
    (void)run_arg;
    return -EAGAIN;
}

static int free_without_threads(void *arg)
{
    struct ior_os_blocking blocking = *ior_os_default()->blocking;
    struct ior_os os = *ior_os_default();
    int peer;
    (void)arg;
    os.blocking = &blocking;
    live_alloc_start();
    struct bench *b = bench_on(&os);
    (void)hang(b, &peer);
    blocking.thread = no_more_threads;
    probe_free(b->p);
    release_read(peer);
    return live_alloc_blocks() > 0 && ring_fd() >= 0 ? 0 : 1;
}

/* No thread waits for what hangs: what the kernel may write into is kept. In a child: it leaks, and is meant to. */
static void no_thread_for_what_hangs(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(free_without_threads, NULL), 0);
}

static void inv04_end_waits_for_a_write(void **state)
{
    struct bench *b = bench_new();
    const uint64_t word = 5;
    int peer;
    (void)state;
    ior_id id = adopt_event(b, FULL, IOR_FILE_WRITE, &peer);
    assert_int_equal(ior_send(b->p->cx, id, &word, WORD), 0);
    probe_turns(b->p, 3);
    assert_int_equal(ring_calls(b), 1);
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    probe_turns(b->p, 3);
    rests(b);
    assert_int_equal(probe_of(b->p, id)->end, 0);
    assert_int_equal(release_write(peer), FULL);
    struct probe_res *r = ended(b, id);
    assert_int_equal(r->written, WORD);
    assert_int_equal(r->unsent, 0);
    assert_int_equal(r->error, 0);
    net_close(&peer);
    bench_free(b);
}

static void inv04_what_was_left_behind_is_counted(void **state)
{
    struct bench *b = bench_new();
    const uint64_t word = 5;
    ior_id again;
    int peer, err;
    (void)state;
    b->p->keep = true;
    ior_id id = adopt_event(b, FULL, IOR_FILE_WRITE, &peer);
    assert_int_equal(ior_send(b->p->cx, id, &word, WORD), 0);
    probe_turns(b->p, 3);
    assert_int_equal(ior_abort(b->p->cx, id), 0);
    struct probe_res *r = ended(b, id);
    struct ior_resource *res = r->handed;
    r->handed = NULL;
    assert_int_equal(r->error, EINPROGRESS);
    assert_int_equal(r->unsent, WORD);
    assert_int_equal(ior_register(b->p->cx, res, &again), -EBUSY);
    assert_int_equal(release_write(peer), FULL);
    while ((err = ior_register(b->p->cx, res, &again)) == -EBUSY)
        probe_step(b->p);
    assert_int_equal(err, 0);
    b->p->keep = false;
    assert_int_equal(ior_close(b->p->cx, again, IOR_NEVER), 0);
    assert_int_equal(ended(b, again)->written, WORD);
    assert_int_equal(release_write(peer), word);
    net_close(&peer);
    bench_free(b);
}

static int be_the_child(void *arg)
{
    struct bench *b = arg;
    ior_id id;
    if (ior_file_open(b->p->cx, b->path, NULL, &id) != -EPERM)
        return 1;
    (void)ior_runtime_deadline(b->p->rt);
    ior_runtime_free(b->p->rt);
    return 0;
}

static void a_forked_child_may_only_free(void **state)
{
    struct bench *b = bench_new();
    int peer;
    (void)state;
    make_file(b, SIZE, false);
    (void)hang(b, &peer);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .piece_bytes = 1000));
    probe_until(b->p, probe_of(b->p, id)->data > 0); /* its next piece is on the ring */
    assert_int_equal(net_in_child(be_the_child, b), 0);
    assert_int_equal(ended(b, id)->bytes, SIZE);
    release_read(peer);
    probe_until(b->p, b->n == 1);
    net_close(&peer);
    bench_free(b);
}

/* ---- threads all the same ---- */

static void only_what_is_known(void **state)
{
    static const char *const files[] = {"threads", "uring", "", "ring", "Uring"};
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct ior_config config = probe_config();
        struct ior_runtime *rt = NULL;
        config.files = files[i];
        assert_int_equal(ior_runtime_new(&config, &probe_handler, NULL, &rt), i < 2 ? 0 : -EINVAL);
        ior_runtime_free(rt);
    }
}

/* A ring would go past the program's own system calls. */
static void own_system_calls_are_asked(void **state)
{
    struct disk disk;
    (void)state;
    disk_init(&disk);
    struct bench *b = bench_on(&disk.os);
    make_file(b, SIZE, false);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    assert_int_equal(ended(b, id)->bytes, SIZE);
    assert_int_equal(ring_calls(b), 0);
    assert_true(disk_calls(&disk, DISK_READ) > SIZE / 65536);
    bench_free(b);
    disk_deinit(&disk);
}

/* Those that the file was opened with: also where it is registered again in a runtime without any. */
static void own_system_calls_go_along(void **state)
{
    static struct disk disk; /* a thread that was left behind may be the last to use it */
    size_t threads = net_threads_at_rest();
    ior_id again;
    (void)state;
    disk_init(&disk);
    struct bench *from = bench_on(&disk.os), *to = bench_new();
    make_file(from, 1000, false);
    from->p->keep = true;
    ior_id id = open_file(from, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    probe_until(from->p, probe_of(from->p, id)->open == 1);
    assert_int_equal(ior_unregister(from->p->cx, id), 0);
    struct ior_resource *res = ended(from, id)->handed;
    probe_of(from->p, id)->handed = NULL;
    unsigned reads = disk_calls(&disk, DISK_READ);
    assert_int_equal(ior_register(to->p->cx, res, &again), 0);
    assert_int_equal(ended(to, again)->eof, 1);
    assert_int_equal(ring_calls(to), 0);
    assert_true(disk_calls(&disk, DISK_READ) > reads);
    bench_free(from);
    bench_free(to);
    net_await_threads(threads);
}

enum { CANNOT_FILTER = 77 };

struct refusal {
    long call;
    int error;
    bool on_ring; /* goes on with it */
    bool told;    /* in the log */
};

static unsigned lines;

static void count_line(void *arg, int level, const char *line)
{
    (void)arg;
    lines += level == IOR_LOG_WARN && strstr(line, "files are on worker threads: io_uring: ");
}

static bool refuse(const struct refusal *refusal)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refusal->call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int read_refused(void *arg)
{
    const struct refusal *refusal = arg;
    struct bench *b = bench_new();
    make_file(b, REFUSED_SIZE, false);
    ior_set_log(count_line, NULL, IOR_LOG_INFO);
    if (!refuse(refusal))
        return CANNOT_FILTER;
    for (unsigned i = 0; i < 2; i++) {
        ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
        assert_int_equal(ended(b, id)->bytes, REFUSED_SIZE);
    }
    assert_int_equal(lines, refusal->told);
    if (refusal->on_ring)
        assert_true(ring_calls(b) >= 2 * REFUSED_SIZE / 65536);
    else
        assert_true(ring_calls(b) <= 1);
    bench_free(b);
    return 0;
}

static void the_system_refuses(void **state)
{
    static const struct refusal refusals[] = {
        {SYS_io_uring_setup, ENOSYS, false, true},
        {SYS_io_uring_setup, EPERM, false, true},
        {SYS_io_uring_setup, EMFILE, false, true},
        {SYS_io_uring_setup, EINVAL, false, true},
        {SYS_io_uring_register, EPERM, false, true},
        {SYS_io_uring_register, EINVAL, false, true},
        {SYS_io_uring_enter, EPERM, false, true},
        {SYS_io_uring_enter, EAGAIN, true, false},
        {451 /* cachestat */, ENOSYS, true, false},
        {451, EPERM, true, false},
        {SYS_statx, EPERM, true, false},
    };
    struct bench *b = bench_new();
    bool by_ring = probe_engine_does_io(b->p); /* which could not go on without */
    (void)state;
    bench_free(b);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (by_ring && refusals[i].call == SYS_io_uring_enter)
            continue;
        int status = net_in_child(read_refused, (void *)(uintptr_t)&refusals[i]);
        if (status == CANNOT_FILTER) {
            print_message("no seccomp filters here\n");
            skip();
        }
        if (status != 0)
            fail_msg("refusal %zu: %d", i, status);
    }
}

static int write_too_much(void *arg)
{
    static const unsigned char bytes[100000];
    const struct rlimit limit = {50000, 50000};
    struct bench *b = bench_new();
    (void)arg;
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 1;
    signal(SIGXFSZ, SIG_DFL);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE));
    assert_int_equal(ior_file_write(b->p->cx, id, 0, bytes, sizeof(bytes), NULL), 0);
    probe_until(b->p, b->n == 1);
    assert_int_equal(b->told[0].error, EFBIG);
    assert_int_equal(b->told[0].len, 50000);
    assert_int_equal(ring_calls(b), 1);
    bench_free(b);
    return 0;
}

/* Past the limit of a file's size: an error, as on threads, and no signal for the loop. */
static void a_file_that_may_not_grow(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(write_too_much, NULL), 0);
}

static void each_allocation_fails(void **state)
{
    uint64_t nth = 1;
    (void)state;
    live_alloc_start();
    for (bool failed = true; failed; nth++) {
        size_t fds = net_fd_count();
        struct bench *b = bench_new();
        ior_id from = 0;
        make_file(b, 200000, false);
        live_alloc_fail(nth, false);
        if (ior_file_open(b->p->cx, b->path, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM), &from) == 0)
            assert_int_equal(ended(b, from)->bytes, 200000);
        failed = live_alloc_refused() > 0;
        live_alloc_fail(0, false);
        bench_free(b);
        assert_int_equal(net_fd_count(), fds);
        assert_int_equal(live_alloc_blocks(), 0);
    }
    live_alloc_stop();
    assert_true(nth > 10);
}

/* Whether there are such rings here. */
static bool have_rings(void)
{
    struct bench *b = bench_new();
    make_file(b, 1, false);
    (void)ended(b, open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM)));
    bool have = ring_calls(b) > 0;
    bench_free(b);
    return have;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_told_as_data),
        cmocka_unit_test(large_pieces_and_a_file_that_shrank),
        cmocka_unit_test(paused_it_stands_still),
        cmocka_unit_test(what_is_sent_is_written),
        cmocka_unit_test(operations_come_in_order),
        cmocka_unit_test(the_ring_is_full),
        cmocka_unit_test(a_completion_wakes_the_loop),
        cmocka_unit_test(a_completion_wakes_a_foreign_loop),
        cmocka_unit_test(a_call_that_was_cancelled),
        cmocka_unit_test(the_loop_moves_to_another_thread),
        cmocka_unit_test(a_read_that_hangs_is_abandoned),
        cmocka_unit_test(the_runtime_goes_while_calls_hang),
        cmocka_unit_test(no_thread_for_what_hangs),
        cmocka_unit_test(inv04_end_waits_for_a_write),
        cmocka_unit_test(inv04_what_was_not_entered_is_taken_back),
        cmocka_unit_test(inv04_what_was_left_behind_is_counted),
        cmocka_unit_test(a_forked_child_may_only_free),
        cmocka_unit_test(only_what_is_known),
        cmocka_unit_test(own_system_calls_are_asked),
        cmocka_unit_test(own_system_calls_go_along),
        cmocka_unit_test(the_system_refuses),
        cmocka_unit_test(a_file_that_may_not_grow),
        cmocka_unit_test(each_allocation_fails),
    };
    if (!have_rings()) {
        printf("skipped: no io_uring here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    printf("skipped: built without io_uring\n");
    return 77;
}
#endif
