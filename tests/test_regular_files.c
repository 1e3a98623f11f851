/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files: read as streams, written as streams, operated on; with back-pressure, on a disk that is slow or fails,
 * and ended at any moment. Nothing depends on how long a thread takes: a slow disk is one that the test holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/disk.h"
#include "support/live.h"
#include "support/probe.h"

#define SIZE ((size_t)1000003)

#define FILE_OPTIONS(...) \
    (&(const struct ior_file_options){.struct_size = sizeof(struct ior_file_options), __VA_ARGS__})

/* What the operations came to, in the order they were told. */
struct told {
    enum ior_file_op op;
    int error;
    void *user;
    size_t len;
    uint64_t offset;
    struct ior_file_stat stat;
    unsigned char bytes[64];
};

struct bench {
    struct disk disk;
    struct probe *p;
    char *dir;
    char path[512];
    struct told told[600];
    unsigned n;
    ior_id out; /* where DATA goes to */
    bool take, pauses;
    uint64_t accepted;
    atomic_uint freed; /* of the buffer around `lent` */
    char lent[100];
};

static void note_result(struct bench *b, const struct ior_file_result *result)
{
    struct told *told = &b->told[b->n++];
    assert_true(b->n < sizeof(b->told) / sizeof(b->told[0]));
    told->op = result->op;
    told->error = result->error;
    told->user = result->user;
    told->len = result->len;
    told->offset = result->offset;
    if (result->stat)
        told->stat = *result->stat;
    if (result->bytes)
        memcpy(told->bytes, result->bytes, result->len < 64 ? result->len : 64);
}

/* A pump: what the file tells goes to the stream, and pauses the file where that is full. */
static void pump(struct bench *b, const struct ior_event *ev)
{
    int r;
    if (b->take) {
        struct ior_buf *buf = ior_file_take(b->p->cx, ev);
        assert_non_null(buf);
        assert_null(ior_file_take(b->p->cx, ev));
        r = ior_send_buf(b->p->cx, b->out, buf);
        ior_buf_unref(buf);
    } else {
        r = ior_send(b->p->cx, b->out, ev->data.bytes, ev->data.len);
    }
    assert_true(r == 0 || r == 1); /* one piece always fits */
    if (r == 1)
        assert_int_equal(ior_pause(b->p->cx, ev->id), 0);
}

static void on_event(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct bench *b = p->arg;
    (void)r;
    if (ev->type == IOR_EV_FILE)
        note_result(b, ev->file);
    else if (ev->type == IOR_EV_DATA && b->out && ev->id != b->out)
        pump(b, ev);
    else if (ev->type == IOR_EV_DATA && b->pauses)
        assert_int_equal(ior_pause(p->cx, ev->id), 0);
    else if (ev->type == IOR_EV_DRAINED && b->out && ev->id == b->out)
        for (size_t i = 0; i < p->n; i++)
            if (p->res[i].id != b->out)
                (void)ior_resume(p->cx, p->res[i].id);
}

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct ior_config config = probe_config();
    assert_non_null(b);
    disk_init(&b->disk);
    config.os = &b->disk.os;
    b->p = probe_new(&config);
    b->p->arg = b;
    b->p->on_event = on_event;
    b->p->pattern = true;
    b->dir = net_temp_dir();
    snprintf(b->path, sizeof(b->path), "%s/file", b->dir);
    return b;
}

/*
 * Memory that threads left behind may have used last: they are gone, but no lock that ThreadSanitizer knows says so.
 * It is kept to the end.
 */
static struct bench *volatile kept[64]; /* volatile: the compiler may not drop what is never read */
static size_t kept_count;

static void bench_keep(struct bench *b)
{
    assert_true(kept_count < sizeof(kept) / sizeof(kept[0]));
    net_temp_dir_remove(b->dir);
    kept[kept_count++] = b;
}

static void bench_free(struct bench *b)
{
    if (b->p)
        probe_free(b->p);
    net_temp_dir_remove(b->dir);
    disk_deinit(&b->disk);
    free(b);
}

static void make_file(struct bench *b, size_t len)
{
    int fd = open(b->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    net_write_pattern(fd, 0, len);
    close(fd);
}

static void expect_file(struct bench *b, uint64_t from, size_t len)
{
    unsigned char *bytes = malloc(len + 2);
    int fd = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n <= len; n += got > 0 ? (size_t)got : 0)
        got = read(fd, bytes + n, len + 1 - n);
    assert_int_equal(n, len);
    assert_true(net_is_pattern(bytes, from, len));
    close(fd);
    free(bytes);
}

static ior_id open_file(struct bench *b, const struct ior_file_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_file_open(b->p->cx, b->path, opts, &id), 0);
    assert_true(id != 0);
    probe_of(b->p, id);
    return id;
}

static struct probe_res *ended(struct bench *b, ior_id id)
{
    probe_until(b->p, probe_of(b->p, id)->end == 1);
    return probe_of(b->p, id);
}

/* ---- read as a stream ---- */

static void a_file_is_told_as_data(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, SIZE};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench *b = bench_new();
        make_file(b, sizes[i]);
        b->disk.interrupt = i % 2 == 1;
        b->disk.most = i % 3 == 2 ? 1000 : 0;
        ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .user = b));
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->open, 1);
        assert_int_equal(r->bytes, sizes[i]);
        assert_int_equal(r->eof, 1);
        assert_int_equal(r->why, IOR_EOF);
        assert_int_equal(r->error, 0);
        assert_ptr_equal(r->user, b);
        bench_free(b);
    }
}

static void a_part_of_a_file(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, SIZE);
    b->p->pattern = false;
    ior_id id = open_file(
        b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .offset = 500000, .len = 200001, .piece_bytes = 777));
    struct probe_res *r = ended(b, id);
    assert_int_equal(r->bytes, 200001);
    assert_int_equal(r->why, IOR_EOF);
    assert_int_equal(r->data, 200001 / 777 + 1);
    bench_free(b);
}

/* Fewer bytes than were promised: all there are, then an error. */
static void a_file_that_shrank(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, 100000);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .len = 200000));
    struct probe_res *r = ended(b, id);
    assert_int_equal(r->bytes, 100000);
    assert_int_equal(r->eof, 0);
    assert_int_equal(r->why, IOR_ERROR);
    assert_int_equal(r->error, EIO);
    bench_free(b);
}

static void paused_it_reads_one_piece_ahead(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, SIZE);
    b->pauses = true;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    probe_until(b->p, probe_of(b->p, id)->data == 1);
    for (unsigned data = 1; data < 6; data++) {
        probe_until(b->p, disk_calls(&b->disk, DISK_READ) == data + 1);
        probe_turns(b->p, 5);
        assert_true(probe_quiet(b->p, 5) <= 3); /* no spinning */
        assert_int_equal(probe_of(b->p, id)->data, data);
        assert_int_equal(disk_calls(&b->disk, DISK_READ), data + 1);
        assert_int_equal(ior_resume(b->p->cx, id), 0);
        probe_until(b->p, probe_of(b->p, id)->data == data + 1);
    }
    b->pauses = false;
    assert_int_equal(ior_resume(b->p->cx, id), 0);
    assert_int_equal(ended(b, id)->bytes, SIZE);
    bench_free(b);
}

/* Paused in the last piece: EOF, or the error behind it, waits for the resume. */
static void paused_at_its_very_end(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        struct bench *b = bench_new();
        make_file(b, 1000);
        b->pauses = true;
        ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .len = cut ? 2000u : 0u));
        probe_until(b->p, probe_of(b->p, id)->data == 1);
        assert_true(probe_quiet(b->p, 5) <= 5);
        assert_int_equal(probe_of(b->p, id)->eof + probe_of(b->p, id)->end, 0);
        assert_int_equal(ior_resume(b->p->cx, id), 0);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->why, cut ? IOR_ERROR : IOR_EOF);
        assert_int_equal(r->error, cut ? EIO : 0);
        assert_int_equal(r->eof, !cut);
        bench_free(b);
    }
}

static void what_cannot_be_opened(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    ior_id id = open_file(b, NULL);
    assert_int_equal(ended(b, id)->error, ENOENT);
    assert_int_equal(probe_of(b->p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(b->p, id)->open, 0);
    make_file(b, 10);
    id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_EXCLUSIVE));
    assert_int_equal(ended(b, id)->error, EEXIST);
    assert_int_equal(ior_file_open(b->p->cx, b->dir, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM), &id), 0);
    assert_int_equal(ended(b, id)->error, EISDIR);
    assert_int_equal(unlink(b->path), 0);
    assert_int_equal(mkfifo(b->path, 0600), 0);
    id = open_file(b, NULL); /* and does not wait for a writer */
    assert_int_equal(ended(b, id)->error, ESPIPE);
    bench_free(b);
}

static void bad_arguments_have_no_effect(void **state)
{
    static const unsigned bad[] = {IOR_FILE_STREAM,
                                   IOR_FILE_CREATE,
                                   IOR_FILE_READ | IOR_FILE_TRUNCATE,
                                   IOR_FILE_READ | IOR_FILE_APPEND,
                                   IOR_FILE_READ | IOR_FILE_SYNC,
                                   IOR_FILE_WRITE | IOR_FILE_STREAM,
                                   IOR_FILE_WRITE | IOR_FILE_EXCLUSIVE,
                                   IOR_FILE_READ | 256u};
    struct bench *b = bench_new();
    struct ior_context *cx = b->p->cx;
    char deep[5000];
    ior_id id = 0;
    int ends[2], peer;
    (void)state;
    size_t fds = net_fd_count();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ior_file_open(cx, b->path, FILE_OPTIONS(.flags = bad[i]), &id), -EINVAL);
    assert_int_equal(ior_file_open(cx, NULL, NULL, &id), -EINVAL);
    assert_int_equal(ior_file_open(NULL, b->path, NULL, &id), -EINVAL);
    assert_int_equal(ior_file_open(cx, b->path, NULL, NULL), -EINVAL);
    assert_int_equal(ior_file_open(cx, "", NULL, &id), -ENOENT);
    assert_int_equal(ior_file_open(cx, b->path, FILE_OPTIONS(.mode = 010000), &id), -EINVAL);
    assert_int_equal(ior_file_open(cx, b->path, FILE_OPTIONS(.offset = UINT64_MAX), &id), -EINVAL);
    assert_int_equal(ior_file_open(cx, b->path, FILE_OPTIONS(.offset = 1, .len = INT64_MAX), &id), -EINVAL);
    assert_int_equal(ior_file_open(cx, b->path, FILE_OPTIONS(.low_bytes = 65537), &id), -EINVAL);
    assert_int_equal(ior_file_open(cx, b->path, FILE_OPTIONS(.cap_bytes = 65535), &id), -EINVAL);
    memset(deep, 'a', sizeof(deep));
    deep[sizeof(deep) - 1] = '\0';
    assert_int_equal(ior_file_open(cx, deep, NULL, &id), -ENAMETOOLONG);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(ior_file_adopt(cx, ends[0], NULL, &id), -ESPIPE);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(ior_file_adopt(cx, ends[0], NULL, &id), -EBADF);
    assert_int_equal(ior_file_adopt(cx, -1, NULL, &id), -EBADF);
    close(ends[1]);
    make_file(b, 10);
    int fd = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(ior_file_adopt(cx, fd, FILE_OPTIONS(.flags = IOR_FILE_WRITE), &id), -EBADF);
    close(fd);
    ior_id stream = probe_unix(b->p, NULL, &peer);
    assert_int_equal(ior_file_read(cx, stream, 0, 1, NULL), -EOPNOTSUPP);
    assert_int_equal(ior_file_sync(cx, 12345, NULL), -ENOENT);
    assert_int_equal(ior_unregister(cx, stream), 0);
    probe_turns(b->p, 3);
    close(peer);
    assert_int_equal(probe_stats(b->p).resources, 0);
    assert_int_equal(net_fd_count(), fds);
    bench_free(b);
}

/* ---- written as a stream ---- */

/* Sends the pattern from b->accepted on to a file, as far as it is taken. */
static int send_some(struct bench *b, ior_id id, size_t len)
{
    unsigned char *bytes = malloc(len);
    net_pattern(bytes, b->accepted, len);
    int r = ior_send(b->p->cx, id, bytes, len);
    free(bytes);
    if (r >= 0)
        b->accepted += len;
    return r;
}

static void send_all(struct bench *b, ior_id id, size_t len, size_t piece)
{
    while (b->accepted < len) {
        unsigned drained = probe_of(b->p, id)->drained;
        size_t left = len - (size_t)b->accepted;
        int r = send_some(b, id, left < piece ? left : piece);
        assert_true(r == 0 || r == 1 || r == -ENOBUFS);
        if (r != 0)
            probe_until(b->p, probe_of(b->p, id)->drained > drained);
    }
}

static void what_is_sent_is_written(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct bench *b = bench_new();
        unsigned flags = IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_SYNC;
        b->disk.most = variant == 1 ? 333 : 0;
        b->disk.interrupt = variant == 1;
        if (variant == 3)
            make_file(b, 0);
        ior_id id = open_file(b, FILE_OPTIONS(.flags = flags | (variant == 3 ? (unsigned)IOR_FILE_APPEND : 0u)));
        send_all(b, id, SIZE, variant == 2 ? 60000 : 7001);
        assert_int_equal(ior_close(b->p->cx, id, IOR_NEVER), 0);
        assert_int_equal(ior_send(b->p->cx, id, "x", 1), -EPIPE);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->why, IOR_ASKED);
        assert_int_equal(r->error, 0);
        assert_int_equal(r->written, SIZE);
        assert_int_equal(r->unsent, 0);
        assert_int_equal(disk_calls(&b->disk, DISK_SYNC), variant == 1 ? 2 : 1);
        expect_file(b, 0, SIZE);
        bench_free(b);
    }
}

static void append_goes_to_the_end(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, 1000);
    b->accepted = 1000;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_APPEND));
    assert_int_equal(send_some(b, id, 500), 0);
    assert_int_equal(ior_file_write(b->p->cx, id, 0, "x", 1, NULL), -EOPNOTSUPP);
    assert_int_equal(ior_close(b->p->cx, id, IOR_NEVER), 0);
    assert_int_equal(ended(b, id)->written, 500);
    expect_file(b, 0, 1500);
    bench_free(b);
}

static void a_slow_disk_holds_the_sender_back(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE));
    disk_hold(&b->disk, DISK_WRITE);
    int r = 0;
    while ((r = send_some(b, id, 10000)) >= 0)
        probe_turns(b->p, 1);
    assert_int_equal(r, -ENOBUFS);
    assert_in_range(b->accepted, 64 * 1024, 192 * 1024);
    probe_until(b->p, disk_calls(&b->disk, DISK_WRITE) == 1);
    assert_true(probe_quiet(b->p, 5) <= 3); /* it waits without spinning */
    assert_int_equal(probe_of(b->p, id)->drained, 0);
    disk_release(&b->disk);
    probe_until(b->p, probe_of(b->p, id)->drained == 1);
    assert_int_equal(ior_close(b->p->cx, id, IOR_NEVER), 0);
    assert_int_equal(ended(b, id)->written, b->accepted);
    expect_file(b, 0, (size_t)b->accepted);
    bench_free(b);
}

/* The disk is full: END says what is in the file; handed over, the rest is written later, nothing twice. */
static void a_full_disk_and_later_not(void **state)
{
    struct bench *b = bench_new();
    ior_id again;
    (void)state;
    b->p->keep = true;
    b->disk.most = 10000;
    b->disk.error = ENOSPC;
    b->disk.fail[DISK_WRITE] = 4;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE));
    assert_int_equal(send_some(b, id, 60000), 0);
    struct probe_res *r = ended(b, id);
    assert_int_equal(r->why, IOR_ERROR);
    assert_int_equal(r->error, ENOSPC);
    assert_int_equal(r->written, 30000);
    assert_int_equal(r->unsent, 30000);
    struct ior_resource *res = r->handed;
    r->handed = NULL;
    assert_int_equal(ior_resource_unsent(res, NULL, 0, NULL), 30000);
    expect_file(b, 0, 30000);
    ior_resource_free(res);
    /* one that was only stopped goes on */
    b->disk.fail[DISK_WRITE] = 0;
    assert_int_equal(unlink(b->path), 0);
    b->accepted = 0;
    id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE));
    assert_int_equal(send_some(b, id, 60000), 0);
    disk_hold(&b->disk, DISK_WRITE);
    probe_until(b->p, probe_of(b->p, id)->open == 1);
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    disk_release(&b->disk);
    r = ended(b, id);
    assert_int_equal(r->written + r->unsent, 60000);
    res = r->handed;
    r->handed = NULL;
    b->p->keep = false;
    assert_int_equal(ior_register(b->p->cx, res, &again), 0);
    probe_of(b->p, again);
    assert_int_equal(ior_close(b->p->cx, again, IOR_NEVER), 0);
    assert_int_equal(ended(b, again)->written, 60000);
    expect_file(b, 0, 60000);
    bench_free(b);
}

/* A file that is handed over in the midst of being read goes on behind what was told. */
static void a_reader_is_handed_over_and_goes_on(void **state)
{
    struct bench *b = bench_new();
    ior_id again;
    (void)state;
    make_file(b, SIZE);
    b->p->keep = true;
    b->pauses = true;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    probe_until(b->p, probe_of(b->p, id)->data == 1);
    uint64_t first = probe_of(b->p, id)->bytes;
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    struct ior_resource *res = ended(b, id)->handed;
    probe_of(b->p, id)->handed = NULL;
    b->p->keep = false;
    b->pauses = false;
    assert_int_equal(ior_register(b->p->cx, res, &again), 0);
    probe_of(b->p, again)->bytes = first; /* the pattern goes on */
    assert_int_equal(ended(b, again)->bytes, SIZE);
    assert_int_equal(probe_of(b->p, again)->open, 1);
    bench_free(b);
}

/* ---- operations ---- */

static void operations_come_in_order(void **state)
{
    struct bench *b = bench_new();
    struct ior_context *cx = b->p->cx;
    static const char text[] = "hello, file";
    struct ior_buf *buf = ior_buf_copy("HELLO", 5);
    (void)state;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_WRITE | IOR_FILE_CREATE, .mode = 0640));
    assert_int_equal(ior_file_write(cx, id, 3, text, 11, (void *)text), 0);
    assert_int_equal(ior_file_write_buf(cx, id, 3, buf, NULL), 0);
    assert_int_equal(ior_file_sync(cx, id, NULL), 0);
    assert_int_equal(ior_file_stat(cx, id, NULL), 0);
    assert_int_equal(ior_file_read(cx, id, 0, 64, b), 0);
    assert_int_equal(ior_file_read(cx, id, 14, 1, NULL), 0);
    assert_int_equal(ior_file_read(cx, id, 0, 0, NULL), 0);
    ior_buf_unref(buf);
    assert_int_equal(b->n, 0);
    assert_int_equal(ior_pause(cx, id), 0); /* results are no data */
    probe_until(b->p, b->n == 7);
    static const enum ior_file_op ops[] = {IOR_FILE_OP_WRITE, IOR_FILE_OP_WRITE, IOR_FILE_OP_SYNC, IOR_FILE_OP_STAT,
                                           IOR_FILE_OP_READ,  IOR_FILE_OP_READ,  IOR_FILE_OP_READ};
    for (int i = 0; i < 7; i++) {
        assert_int_equal(b->told[i].op, ops[i]);
        assert_int_equal(b->told[i].error, 0);
    }
    assert_ptr_equal(b->told[0].user, text);
    assert_int_equal(b->told[0].len, 11);
    assert_int_equal(b->told[0].offset, 3);
    assert_int_equal(b->told[1].len, 5);
    assert_int_equal(b->told[3].stat.size, 14);
    assert_true(S_ISREG(b->told[3].stat.mode));
    assert_int_equal(b->told[3].stat.mode & 0137, 0); /* 0640 less the umask */
    assert_int_equal(b->told[3].stat.links, 1);
    assert_true(b->told[3].stat.modified_ns > INT64_C(1500000000) * (int64_t)IOR_NS_PER_SEC);
    assert_ptr_equal(b->told[4].user, b);
    assert_int_equal(b->told[4].len, 14);
    assert_memory_equal(b->told[4].bytes, "\0\0\0HELLO, file", 14);
    assert_int_equal(b->told[5].len, 0); /* the end of the file */
    assert_int_equal(ior_close(cx, id, IOR_NEVER), 0);
    assert_int_equal(ended(b, id)->why, IOR_ASKED);
    bench_free(b);
}

static void operations_are_bounded(void **state)
{
    struct bench *b = bench_new();
    struct ior_context *cx = b->p->cx;
    (void)state;
    make_file(b, 10);
    disk_hold(&b->disk, DISK_OPEN);
    ior_id id = open_file(b, FILE_OPTIONS(.ops = 3, .ops_bytes = 1000));
    assert_int_equal(ior_file_read(cx, id, 0, 1001, NULL), -EMSGSIZE);
    assert_int_equal(ior_file_read(cx, id, 0, 600, NULL), 0);
    assert_int_equal(ior_file_read(cx, id, 0, 401, NULL), -EAGAIN);
    assert_int_equal(ior_file_read(cx, id, 0, 400, NULL), 0);
    assert_int_equal(ior_file_stat(cx, id, NULL), 0);
    assert_int_equal(ior_file_stat(cx, id, NULL), -EAGAIN);
    assert_int_equal(ior_file_write(cx, id, 0, "x", 1, NULL), -EBADF);
    assert_int_equal(ior_file_read(cx, id, INT64_MAX, 1, NULL), -EOVERFLOW);
    assert_int_equal(ior_send(cx, id, "x", 1), -EOPNOTSUPP);
    disk_release(&b->disk);
    probe_until(b->p, b->n == 3);
    assert_int_equal(ior_file_read(cx, id, 0, 1000, NULL), 0);
    assert_int_equal(ior_close(cx, id, IOR_NEVER), 0);
    assert_int_equal(ior_file_stat(cx, id, NULL), -EPIPE);
    (void)ended(b, id);
    assert_int_equal(b->n, 4); /* what was asked for before the close is done */
    bench_free(b);
}

/* A sync comes behind what was sent before it, and does not wait for what is sent after. */
static void a_sync_comes_behind_what_was_sent(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    b->disk.most = 1000;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE));
    for (unsigned i = 1; i <= 50; i++) {
        assert_true(send_some(b, id, 1500) >= 0);
        assert_int_equal(ior_file_stat(b->p->cx, id, NULL), 0);
        assert_true(send_some(b, id, 500) >= 0);
        if (i % 4 == 0)
            probe_until(b->p, b->n == i);
    }
    probe_until(b->p, b->n == 50);
    for (unsigned i = 0; i < 50; i++)
        assert_true(b->told[i].stat.size >= 2000 * i + 1500);
    assert_int_equal(ior_close(b->p->cx, id, IOR_NEVER), 0);
    assert_int_equal(ended(b, id)->written, 100000);
    bench_free(b);
}

/* ---- to a socket ---- */

static void from_a_file_to_a_slow_reader(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        struct bench *b = bench_new();
        int peer;
        make_file(b, 4 * SIZE);
        b->take = variant == 1;
        b->out = probe_unix(b->p, NULL, &peer);
        probe_until(b->p, probe_of(b->p, b->out)->open == 1);
        ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
        /* nobody reads: it comes to a stop with what the marks allow */
        probe_until(b->p, ior_queued(b->p->cx, b->out) > 64 * 1024);
        assert_true(probe_quiet(b->p, 20) <= 20);
        uint64_t before = probe_of(b->p, id)->bytes;
        assert_true(before < 2 * SIZE);
        assert_in_range(ior_queued(b->p->cx, b->out), 1, 192 * 1024);
        probe_read_pattern(b->p, peer, 0, 4 * SIZE, 9999);
        assert_int_equal(ended(b, id)->why, IOR_EOF);
        assert_int_equal(ior_unregister(b->p->cx, b->out), 0);
        probe_turns(b->p, 2);
        close(peer);
        bench_free(b);
    }
}

/* From file to file: by DATA and sends, and by a range that the queue reads. */
static void from_a_file_to_a_file(void **state)
{
    struct bench *b = bench_new();
    char copy[600];
    ior_id to;
    (void)state;
    make_file(b, SIZE);
    snprintf(copy, sizeof(copy), "%s/copy", b->dir);
    assert_int_equal(ior_file_open(b->p->cx, copy, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE), &to), 0);
    b->out = to;
    probe_of(b->p, to);
    int fd = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(ior_send_file(b->p->cx, to, fd, 0, 300000), 0);
    close(fd);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .offset = 300000));
    b->p->pattern = false;
    assert_int_equal(ended(b, id)->why, IOR_EOF);
    assert_int_equal(ior_close(b->p->cx, to, IOR_NEVER), 0);
    assert_int_equal(ended(b, to)->written, SIZE);
    snprintf(b->path, sizeof(b->path), "%.400s/copy", b->dir);
    expect_file(b, 0, SIZE);
    bench_free(b);
}

/* ---- ends at any moment ---- */

static void released(void *arg)
{
    atomic_fetch_add(&((struct bench *)arg)->freed, 1);
}

/* Each call in turn never comes back until the runtime is gone, or only the file; nothing is leaked either way. */
static void a_stuck_disk_holds_nothing_up(void **state)
{
    size_t threads = net_threads_at_rest();
    (void)state;
    for (int call = DISK_OPEN; call <= DISK_STAT; call++) {
        for (int only_file = 0; only_file < 2; only_file++) {
            size_t fds = net_fd_count();
            struct bench *b = bench_new();
            struct ior_buf *buf = ior_buf_wrap(b->lent, sizeof(b->lent), released, b);
            make_file(b, SIZE);
            disk_hold(&b->disk, (enum disk_call)call);
            ior_id id =
                open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_WRITE | IOR_FILE_SYNC | IOR_FILE_STREAM));
            assert_int_equal(ior_file_write_buf(b->p->cx, id, 0, buf, NULL), 0);
            ior_buf_unref(buf);
            assert_int_equal(ior_file_read(b->p->cx, id, 0, 10, NULL), 0);
            assert_int_equal(ior_file_stat(b->p->cx, id, NULL), 0);
            assert_int_equal(ior_file_sync(b->p->cx, id, NULL), 0);
            probe_until(b->p, disk_calls(&b->disk, (enum disk_call)call) == 1);
            disk_await(&b->disk, 1);
            if (only_file) {
                if (call == DISK_WRITE)
                    assert_int_equal(ior_abort(b->p->cx, id), 0);
                else
                    assert_int_equal(ior_unregister(b->p->cx, id), 0);
                assert_int_equal(ended(b, id)->why, IOR_ASKED);
                assert_int_equal(ended(b, id)->error, call == DISK_WRITE ? EINPROGRESS : 0);
                assert_int_equal(probe_stats(b->p).resources, 0);
                disk_release(&b->disk);
                if (call == DISK_WRITE)
                    probe_until(b->p, atomic_load(&b->freed) == 1); /* from the loop */
                probe_free(b->p);
            } else {
                probe_free(b->p);
                disk_release(&b->disk);
            }
            net_await_threads(threads);
            assert_int_equal(atomic_load(&b->freed), 1);
            bench_keep(b);
            assert_int_equal(net_fd_count(), fds);
        }
    }
}

/* Handed back while it was being opened, and registered again: the first open comes back late, and is not its own. */
static void an_open_that_comes_too_late(void **state)
{
    size_t threads = net_threads_at_rest();
    size_t fds = net_fd_count();
    struct bench *b = bench_new();
    ior_id again;
    (void)state;
    make_file(b, 100);
    b->p->keep = true;
    disk_hold(&b->disk, DISK_OPEN);
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    disk_await(&b->disk, 1);
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    struct ior_resource *res = ended(b, id)->handed;
    probe_of(b->p, id)->handed = NULL;
    b->p->keep = false;
    assert_int_equal(ior_register(b->p->cx, res, &again), 0);
    probe_turns(b->p, 2);
    disk_await(&b->disk, 2);
    disk_release(&b->disk);
    assert_int_equal(ended(b, again)->bytes, 100);
    probe_free(b->p);
    b->p = NULL;
    net_await_threads(threads);
    bench_keep(b);
    assert_int_equal(net_fd_count(), fds);
}

/* A stop waits for what was sent, until its time is over. */
static void a_stop_flushes_files(void **state)
{
    size_t threads = net_threads_at_rest();
    (void)state;
    for (int stuck = 0; stuck < 2; stuck++) {
        struct bench *b = bench_new();
        ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_SYNC));
        disk_hold(&b->disk, DISK_WRITE);
        assert_int_equal(send_some(b, id, 50000), 0);
        probe_until(b->p, disk_calls(&b->disk, DISK_WRITE) == 1);
        probe_clock_stop(&b->disk.os);
        ior_stop(b->p->cx, stuck ? IOR_NS_PER_MS : IOR_NEVER);
        probe_turns(b->p, 3);
        if (stuck) {
            probe_clock_move(IOR_NS_PER_MS);
            probe_turns(b->p, 3);
            assert_int_equal(probe_of(b->p, id)->end, 0);
            probe_clock_move(IOR_NS_PER_SEC); /* which a write that is under way is waited for */
        } else {
            disk_release(&b->disk);
        }
        assert_int_equal(ior_runtime_run(b->p->rt), 0);
        struct probe_res *r = probe_of(b->p, id);
        assert_int_equal(r->why, IOR_SHUTDOWN);
        assert_int_equal(r->error, stuck ? EINPROGRESS : 0);
        assert_int_equal(r->written, stuck ? 0 : 50000);
        assert_int_equal(r->unsent, stuck ? 50000 : 0);
        assert_int_equal(disk_calls(&b->disk, DISK_SYNC), !stuck);
        disk_release(&b->disk);
        probe_free(b->p);
        net_await_threads(threads);
        bench_keep(b);
    }
}

/* ---- faults ---- */

/* A story of everything. Whatever fails, it comes to its end. */
static void play(struct bench *b, unsigned *told_errors)
{
    struct ior_context *cx = b->p->cx;
    ior_id from = 0, to = 0;
    char copy[600];
    snprintf(copy, sizeof(copy), "%s/copy", b->dir);
    (void)ior_file_open(cx, b->path, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .piece_bytes = 3000),
                        &from);
    (void)ior_file_open(cx, copy,
                        FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_SYNC), &to);
    unsigned asked = 0;
    if (to) {
        probe_of(b->p, to);
        asked += ior_file_write(cx, to, 100000, "behind", 6, NULL) == 0;
        asked += ior_file_stat(cx, to, NULL) == 0;
        (void)ior_send(cx, to, "before", 6);
        asked += ior_file_sync(cx, to, NULL) == 0;
        asked += ior_file_read(cx, to, 0, 6, NULL) == 0;
    }
    if (from) {
        probe_of(b->p, from);
        (void)ended(b, from);
        *told_errors += probe_of(b->p, from)->error != 0;
    }
    if (to) {
        probe_until(b->p, b->n == asked || probe_of(b->p, to)->end == 1);
        (void)ior_close(cx, to, IOR_NEVER);
        (void)ended(b, to);
        *told_errors += probe_of(b->p, to)->error != 0;
        for (unsigned i = 0; i < b->n; i++)
            *told_errors += b->told[i].error != 0;
    }
}

static void each_call_fails(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    (void)state;
    for (size_t e = 0; e < 2; e++) {
        bool failed = true;
        for (unsigned nth = 1; failed; nth++) {
            size_t fds = net_fd_count();
            struct bench *b = bench_new();
            unsigned told = 0;
            make_file(b, 10000);
            b->disk.fail_nth = nth;
            b->disk.error = errors[e];
            play(b, &told);
            failed = b->disk.failed > 0;
            assert_int_equal(told > 0, failed); /* no failure is hushed up, and none is made up */
            bench_free(b);
            assert_int_equal(net_fd_count(), fds);
        }
    }
}

static void each_allocation_fails(void **state)
{
    unsigned nth = 1;
    (void)state;
    live_alloc_start();
    for (bool failed = true; failed; nth++) {
        size_t fds = net_fd_count();
        struct bench *b = bench_new();
        unsigned told = 0;
        make_file(b, 10000);
        live_alloc_fail(nth, false);
        play(b, &told);
        failed = live_alloc_refused() > 0;
        live_alloc_fail(0, false);
        assert_int_equal(told, 0); /* it is tried again, or was the answer of a request */
        bench_free(b);
        assert_int_equal(net_fd_count(), fds);
    }
    live_alloc_stop();
    assert_true(nth > 15);
}

/* A file that was handed back needs a thread where it is registered again, too. */
static void no_thread_where_it_is_registered_again(void **state)
{
    struct bench *a = bench_new();
    struct bench *b = bench_new();
    ior_id again = 4711;
    (void)state;
    make_file(a, 10);
    a->p->keep = true;
    ior_id id = open_file(a, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    assert_int_equal(ior_unregister(a->p->cx, id), 0);
    struct ior_resource *res = ended(a, id)->handed;
    probe_of(a->p, id)->handed = NULL;
    b->disk.os.blocking = NULL;
    assert_int_equal(ior_register(b->p->cx, res, &again), -ENOSYS);
    b->disk.os.blocking = &b->disk.blocking;
    b->disk.error = EAGAIN;
    b->disk.fail[DISK_THREAD] = 1;
    assert_int_equal(ior_register(b->p->cx, res, &again), -EAGAIN);
    assert_int_equal(again, 4711);
    b->disk.fail[DISK_THREAD] = 0;
    assert_int_equal(ior_register(b->p->cx, res, &again), 0);
    assert_int_equal(ended(b, again)->bytes, 10);
    bench_free(a);
    bench_free(b);
}

/* No memory to open it at first, and by the time there is, it holds all that it may: it is opened all the same. */
static void no_memory_to_open_and_then_full(void **state)
{
    (void)state;
    live_alloc_start();
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct bench *b = bench_new();
        live_alloc_fail(nth, true);
        ior_id id = 0;
        int err = ior_file_open(b->p->cx, b->path,
                                FILE_OPTIONS(.flags = IOR_FILE_WRITE | IOR_FILE_CREATE, .high_bytes = 10), &id);
        live_alloc_fail(0, false);
        if (err == 0) {
            assert_int_equal(ior_send(b->p->cx, id, "0123456789ab", 12), 1);
            probe_until(b->p, probe_of(b->p, id)->drained == 1);
            assert_int_equal(ior_close(b->p->cx, id, IOR_NEVER), 0);
            assert_int_equal(ended(b, id)->written, 12);
        }
        bench_free(b);
    }
    live_alloc_stop();
}

static void the_system_has_no_thread(void **state)
{
    struct bench *b = bench_new();
    ior_id id;
    (void)state;
    make_file(b, 10);
    b->disk.error = EAGAIN;
    b->disk.fail[DISK_THREAD] = 1;
    assert_int_equal(ior_file_open(b->p->cx, b->path, NULL, &id), -EAGAIN);
    b->disk.os.blocking = NULL;
    assert_int_equal(ior_file_open(b->p->cx, b->path, NULL, &id), -ENOSYS);
    b->disk.os.blocking = &b->disk.blocking;
    b->disk.fail[DISK_THREAD] = 0;
    id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    assert_int_equal(ended(b, id)->bytes, 10);
    bench_free(b);
}

static int be_the_child(void *arg)
{
    struct bench *b = arg;
    ior_id id;
    if (ior_file_open(b->p->cx, b->path, NULL, &id) != -EPERM)
        return 1;
    ior_runtime_free(b->p->rt);
    return 0;
}

static void a_forked_child_may_only_free(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    make_file(b, SIZE);
    b->pauses = true;
    ior_id id = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM));
    ior_id slow = open_file(b, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_WRITE));
    probe_until(b->p, probe_of(b->p, id)->data == 1 && probe_of(b->p, slow)->open == 1);
    probe_until(b->p, disk_calls(&b->disk, DISK_READ) == 2);
    disk_hold(&b->disk, DISK_SYNC);
    assert_int_equal(ior_file_sync(b->p->cx, slow, NULL), 0);
    assert_int_equal(ior_file_stat(b->p->cx, slow, NULL), 0);
    disk_await(&b->disk, 1);
    assert_int_equal(net_in_child(be_the_child, b), 0);
    disk_release(&b->disk);
    b->pauses = false;
    assert_int_equal(ior_resume(b->p->cx, id), 0);
    assert_int_equal(ended(b, id)->bytes, SIZE);
    probe_until(b->p, b->n == 2);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_told_as_data),
        cmocka_unit_test(a_part_of_a_file),
        cmocka_unit_test(a_file_that_shrank),
        cmocka_unit_test(paused_it_reads_one_piece_ahead),
        cmocka_unit_test(paused_at_its_very_end),
        cmocka_unit_test(what_cannot_be_opened),
        cmocka_unit_test(bad_arguments_have_no_effect),
        cmocka_unit_test(what_is_sent_is_written),
        cmocka_unit_test(append_goes_to_the_end),
        cmocka_unit_test(a_slow_disk_holds_the_sender_back),
        cmocka_unit_test(a_full_disk_and_later_not),
        cmocka_unit_test(a_reader_is_handed_over_and_goes_on),
        cmocka_unit_test(operations_come_in_order),
        cmocka_unit_test(operations_are_bounded),
        cmocka_unit_test(a_sync_comes_behind_what_was_sent),
        cmocka_unit_test(from_a_file_to_a_slow_reader),
        cmocka_unit_test(from_a_file_to_a_file),
        cmocka_unit_test(a_stuck_disk_holds_nothing_up),
        cmocka_unit_test(an_open_that_comes_too_late),
        cmocka_unit_test(a_stop_flushes_files),
        cmocka_unit_test(each_call_fails),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(no_memory_to_open_and_then_full),
        cmocka_unit_test(no_thread_where_it_is_registered_again),
        cmocka_unit_test(the_system_has_no_thread),
        cmocka_unit_test(a_forked_child_may_only_free),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
