/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What io_uring offers beyond what the engine uses, next to what it uses: CPU time of this process (its part of the
 * kernel and the ring's worker threads included) for each KiB.
 *
 *     uring_offers [BYTES [ROUNDS]]              a TCP connection over loopback, messages of so many bytes (65536)
 *     uring_offers BYTES ROUNDS ADDRESS NETNS    the other end listens at ADDRESS in a network namespace (a file)
 *
 *   send, zc                 IORING_OP_SEND and IORING_OP_SEND_ZC, a message at a time; 16 buffers go round, and one is
 *                            filled again only after its notice
 *   sendfile, splice         sendfile(2), and two IORING_OP_SPLICE through a pipe, linked
 *   pieces, whole, bundle    a multishot receive into 16 buffers of 64 KiB that are used up piece by piece (Linux 6.12);
 *                            into 256 of 4 KiB; and the same with bundles (Linux 6.10). All is copied out, as the
 *                            engine does, and a buffer given back at once. both: pieces with bundles.
 *
 * The ways take turns, and each figure is the median of ROUNDS (9). A way that the kernel does not have is left out.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bulk.h"
#include "server.h"
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <time.h>

#define ROUNDS_MOST 99
#define ROUND_NS 40e6
#define BUFFERS 16 /* for sending */
#define RECEIVE_BYTES (1u << 20)
#define PIECES_FLAG 2             /* IOU_PBUF_RING_INC, which liburing 2.3 does not know */
#define BUNDLE (1u << 4)          /* IORING_RECVSEND_BUNDLE */
#define FEATURE_BUNDLE (1u << 14) /* IORING_FEAT_RECVSEND_BUNDLE */
#define GOES_ON (1u << 4)         /* IORING_CQE_F_BUF_MORE */

static size_t len;
static const char *address = "127.0.0.1", *netns;
static char *image, *copy;
static int image_fd, pipe_fds[2];
static struct io_uring ring;

static double cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static struct io_uring_cqe *complete(void)
{
    struct io_uring_cqe *cqe;
    int err = io_uring_wait_cqe(&ring, &cqe);
    if (err < 0)
        server_fail("io_uring_wait_cqe", -err);
    return cqe;
}

/* ---- sending: what one message came to ---- */

static size_t by_send(int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_send(sqe, fd, image, len, MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_submit_and_wait(&ring, 1);
    struct io_uring_cqe *cqe = complete();
    if (cqe->res < 0)
        server_fail("send", -cqe->res);
    size_t sent = (size_t)cqe->res;
    io_uring_cqe_seen(&ring, cqe);
    return sent;
}

static size_t by_zc(int fd)
{
    static unsigned under_way;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    int sent = -1;
    io_uring_prep_send_zc(sqe, fd, image, len, MSG_WAITALL | MSG_NOSIGNAL, 0);
    io_uring_submit_and_wait(&ring, 1);
    under_way++;
    while (sent < 0 || under_way == BUFFERS) {
        struct io_uring_cqe *cqe = complete();
        if (cqe->flags & IORING_CQE_F_NOTIF)
            under_way--;
        else if (cqe->res < 0)
            server_fail("send_zc", -cqe->res);
        else
            sent = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
    }
    return (size_t)sent;
}

static size_t by_sendfile(int fd)
{
    off_t offset = 0;
    return (size_t)server_must((int)sendfile(fd, image_fd, &offset, len), "sendfile");
}

static size_t by_splice(int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_splice(sqe, image_fd, 0, pipe_fds[1], -1, (unsigned)len, 0);
    sqe->flags |= IOSQE_IO_LINK;
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_splice(sqe, pipe_fds[0], -1, fd, -1, (unsigned)len, 0);
    sqe->user_data = 1;
    io_uring_submit_and_wait(&ring, 2);
    size_t sent = 0;
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe = complete();
        if (cqe->res < 0)
            server_fail("splice", -cqe->res);
        sent = cqe->user_data == 1 ? (size_t)cqe->res : sent;
        io_uring_cqe_seen(&ring, cqe);
    }
    return sent;
}

/* ---- receiving: what one completion brought ---- */

static struct io_uring_buf_ring *free_buffers;
static unsigned buffer_count, buffer_bytes;
static unsigned next_buffer, at; /* buffers come back in the order in which they were given */
static char *buffers;
static bool by_pieces, by_bundles, armed;

static void give(unsigned index)
{
    io_uring_buf_ring_add(free_buffers, buffers + (size_t)index * buffer_bytes, buffer_bytes, (unsigned short)index,
                          io_uring_buf_ring_mask(buffer_count), 0);
    io_uring_buf_ring_advance(free_buffers, 1);
}

/* False: the kernel does not have them. */
static bool open_buffers(unsigned count, bool pieces, bool bundles)
{
    struct {
        uint64_t ring_addr;
        uint32_t ring_entries;
        uint16_t bgid, flags;
        uint64_t reserved[3];
    } reg = {.ring_entries = count, .flags = pieces ? PIECES_FLAG : 0};
    buffer_count = count;
    buffer_bytes = RECEIVE_BYTES / count;
    by_pieces = pieces;
    by_bundles = bundles;
    next_buffer = at = 0;
    armed = false;
    memset(free_buffers, 0, count * sizeof(struct io_uring_buf));
    reg.ring_addr = (uint64_t)(uintptr_t)free_buffers;
    int err = io_uring_register_buf_ring(&ring, (struct io_uring_buf_reg *)(void *)&reg, 0);
    if (err == -EINVAL || (bundles && !(ring.features & FEATURE_BUNDLE)))
        return false;
    if (err < 0)
        server_fail("io_uring_register_buf_ring", -err);
    for (unsigned i = 0; i < count; i++)
        give(i);
    return true;
}

/* Copies `n` bytes out of the buffers that come next, and gives back those that are used up. */
static void take(size_t n, bool goes_on)
{
    while (n > 0) {
        size_t part = buffer_bytes - at < n ? buffer_bytes - at : n;
        memcpy(copy, buffers + (size_t)next_buffer * buffer_bytes + at, part);
        n -= part;
        at += (unsigned)part;
        if (at < buffer_bytes && (goes_on || n > 0))
            continue;
        give(next_buffer);
        next_buffer = (next_buffer + 1) % buffer_count;
        at = 0;
    }
}

static size_t by_receiving(int fd)
{
    if (!armed) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->ioprio |= by_bundles ? BUNDLE : 0;
        armed = true;
    }
    io_uring_submit_and_wait(&ring, 1);
    size_t sum = 0;
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&ring, &cqe) == 0) {
        if (cqe->res < 0 && cqe->res != -ENOBUFS)
            server_fail("recv", -cqe->res);
        if (cqe->res > 0)
            take((size_t)cqe->res, by_pieces && (cqe->flags & GOES_ON));
        sum += cqe->res > 0 ? (size_t)cqe->res : 0;
        armed = cqe->flags & IORING_CQE_F_MORE;
        io_uring_cqe_seen(&ring, cqe);
    }
    return sum;
}

/* ---- ways ---- */

static const struct way {
    const char *name;
    size_t (*move)(int fd);
    unsigned buffers; /* to receive into; 0: it sends */
    bool pieces, bundles;
} ways[] = {
    {"send", by_send, 0, false, false},         {"zc", by_zc, 0, false, false},
    {"sendfile", by_sendfile, 0, false, false}, {"splice", by_splice, 0, false, false},
    {"pieces", by_receiving, 16, true, false},  {"whole", by_receiving, 256, false, false},
    {"bundle", by_receiving, 256, false, true}, {"both", by_receiving, 16, true, true},
};
#define WAYS (sizeof ways / sizeof ways[0])

static struct sockaddr_in address_at(in_port_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = port};
    if (inet_pton(AF_INET, address, &addr.sin_addr) != 1)
        server_fail(address, EINVAL);
    return addr;
}

/* The other end, in a process of its own: swallows, or sends. */
static void other_end(int port_pipe, bool sends)
{
    struct sockaddr_in addr = address_at(0);
    socklen_t addr_len = sizeof addr;
    if (netns)
        server_must(setns(server_must(open(netns, O_RDONLY), netns), CLONE_NEWNET), "setns");
    int fd = server_must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    server_must(bind(fd, (struct sockaddr *)&addr, sizeof addr), "bind");
    server_must(listen(fd, 1), "listen");
    server_must(getsockname(fd, (struct sockaddr *)&addr, &addr_len), "getsockname");
    server_must((int)write(port_pipe, &addr.sin_port, sizeof addr.sin_port), "write");
    fd = server_must(accept(fd, NULL, NULL), "accept");
    while ((sends ? send(fd, image, len, MSG_NOSIGNAL) : recv(fd, image, BULK_IMAGE_BYTES, 0)) > 0)
        ;
    _exit(0);
}

static int connect_to_other_end(bool sends, pid_t *ret_pid)
{
    int fds[2], fd;
    in_port_t port;
    server_must(pipe(fds), "pipe");
    *ret_pid = server_must(fork(), "fork");
    if (*ret_pid == 0)
        other_end(fds[1], sends);
    close(fds[1]);
    if (read(fds[0], &port, sizeof port) != sizeof port)
        server_fail("the other end", ECONNREFUSED);
    close(fds[0]);
    struct sockaddr_in addr = address_at(port);
    fd = server_must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    server_must(connect(fd, (struct sockaddr *)&addr, sizeof addr), "connect");
    return fd;
}

/* CPU ns for each KiB in one round of a way; 0: the kernel does not have it. */
static double measure(const struct way *way)
{
    pid_t pid;
    int fd = connect_to_other_end(way->buffers > 0, &pid);
    int err = io_uring_queue_init(64, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (err < 0)
        server_fail("io_uring_queue_init", -err);
    bool works = way->buffers == 0 || open_buffers(way->buffers, way->pieces, way->bundles);
    double begin = cpu_ns();
    size_t bytes = 0;
    while (works && cpu_ns() < begin + ROUND_NS) {
        for (int i = 0; i < 16; i++)
            bytes += way->move(fd);
    }
    double ns = cpu_ns() - begin;
    io_uring_queue_exit(&ring);
    close(fd);
    server_must(waitpid(pid, NULL, 0), "waitpid");
    return works ? ns / ((double)bytes / 1024) : 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void *pages(size_t bytes)
{
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED)
        server_fail("mmap", errno);
    return mem;
}

int main(int argc, char **argv)
{
    static double results[WAYS][ROUNDS_MOST];
    len = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 65536;
    size_t rounds = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 9;
    if (argc == 4 || argc > 5 || len == 0 || len > RECEIVE_BYTES || rounds == 0 || rounds > ROUNDS_MOST) {
        fprintf(stderr, "usage: %s [BYTES [ROUNDS [ADDRESS NETNS]]]\n", argv[0]);
        return 2;
    }
    address = argc > 3 ? argv[3] : address;
    netns = argc > 3 ? argv[4] : NULL;
    server_begin();
    image = bulk_image(BULK_IMAGE_BYTES);
    copy = malloc(RECEIVE_BYTES);
    image_fd = bulk_file(image);
    server_must(pipe(pipe_fds), "pipe");
    server_must(fcntl(pipe_fds[1], F_SETPIPE_SZ, RECEIVE_BYTES), "F_SETPIPE_SZ");
    free_buffers = pages(256 * sizeof(struct io_uring_buf));
    buffers = pages(RECEIVE_BYTES);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < WAYS; i++)
            results[i][round] = measure(&ways[i]);
    }
    for (size_t i = 0; i < WAYS; i++) {
        qsort(results[i], rounds, sizeof results[i][0], compare);
        if (results[i][rounds / 2] > 0)
            printf("%s%s=%.0f", i ? " " : "", ways[i].name, results[i][rounds / 2]);
    }
    printf("\n");
    return 0;
}
