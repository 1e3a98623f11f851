/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other limit: an echo server by hand on io_uring, as liburing's own examples/proxy.c and the page "io_uring and
 * networking in 2023" of its wiki recommend: one multishot accept, a multishot receive for each connection, a ring of
 * provided buffers, deferred task work, one system call to submit and wait.
 *
 * A received buffer is sent from where it lies and given back to the ring once it is sent; answers of a connection leave
 * one after the other, so that they cannot pass each other. It is bounded: a connection with more than eight of them
 * unsent stops receiving until they are written. The ring has 8,192 buffers of 8 KiB for all connections; where fewer than
 * a quarter are free, what comes is copied and the buffer given back at once, so that peers that do not read cannot keep
 * the others waiting. A connection that finds none free is received from again once some come back.
 *
 * Fairness: receives do not poll first and sends wait for all (MSG_WAITALL), the fastest there is. Fixed files and
 * zero-copy sends are left out: the first gained nothing here, the second copies on loopback.
 */
#include "server.h"
#include <liburing.h>
#include <sys/mman.h>

#define RING_ENTRIES 4096
#define BUFFERS 8192 /* a power of two, at most 32768 */
#define BUFFER_BYTES 8192
#define FREE_MIN (BUFFERS / 4)
#define HELD_MAX 8
#define GROUP 0

enum operation { ACCEPT, RECEIVE, SEND, CANCEL, OPERATION_MASK = 7 };

/* What was received and is not sent yet: in a buffer of the ring, or in a copy behind it. */
struct piece {
    struct piece *next;
    char *bytes;
    uint32_t len;
};

struct connection {
    struct connection *next_starving;
    struct piece *first, *last;
    int fd;
    unsigned held; /* pieces */
    uint32_t at;   /* what of the first one is sent */
    bool receiving, sending, cancelling, starving, ending;
};

static struct io_uring ring;
static struct io_uring_buf_ring *free_buffers;
static char *memory;
static struct piece pieces[BUFFERS]; /* those of the ring's buffers */
static unsigned free_n;
static struct connection *starving;

static struct io_uring_sqe *new_entry(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    if (!sqe)
        server_fail("io_uring_get_sqe", EBUSY);
    return sqe;
}

/* The prep functions of liburing 2.3 clear user_data. */
static void mark(struct io_uring_sqe *sqe, enum operation operation, struct connection *connection)
{
    sqe->user_data = (uintptr_t)connection | operation;
}

static void give_back(uint16_t id)
{
    io_uring_buf_ring_add(free_buffers, memory + (size_t)id * BUFFER_BYTES, BUFFER_BYTES, id,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(free_buffers, 1);
    free_n++;
}

/* A piece for what came in a buffer. */
static struct piece *new_piece(uint16_t id, uint32_t len)
{
    struct piece *piece = &pieces[id];
    if (--free_n < FREE_MIN) {
        piece = malloc(sizeof *piece + len);
        if (!piece)
            server_fail("malloc", ENOMEM);
        piece->bytes = memcpy(piece + 1, memory + (size_t)id * BUFFER_BYTES, len);
        give_back(id);
    }
    piece->len = len;
    return piece;
}

static void free_piece(struct piece *piece)
{
    if (piece >= pieces && piece < pieces + BUFFERS)
        give_back((uint16_t)(piece - pieces));
    else
        free(piece);
}

static void receive(struct connection *connection)
{
    struct io_uring_sqe *sqe = new_entry();
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    mark(sqe, RECEIVE, connection);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    connection->receiving = true;
}

static void send_first(struct connection *connection)
{
    struct io_uring_sqe *sqe = new_entry();
    const struct piece *piece = connection->first;
    io_uring_prep_send(sqe, connection->fd, piece->bytes + connection->at, piece->len - connection->at,
                       MSG_WAITALL | MSG_NOSIGNAL);
    mark(sqe, SEND, connection);
    connection->sending = true;
}

static void drop_first(struct connection *connection)
{
    struct piece *piece = connection->first;
    connection->first = piece->next;
    connection->held--;
    connection->at = 0;
    free_piece(piece);
    if (starving && free_n > 0) {
        struct connection *first = starving;
        starving = first->next_starving;
        first->starving = false;
        receive(first);
    }
}

/* Does what the state of a connection asks for next. */
static void go_on(struct connection *connection)
{
    if (connection->held > 0 && !connection->sending)
        send_first(connection);
    if (connection->ending) {
        if (connection->held > 0 || connection->receiving || connection->sending || connection->starving)
            return;
        close(connection->fd);
        free(connection);
    } else if (connection->receiving && connection->held > HELD_MAX && !connection->cancelling) {
        struct io_uring_sqe *sqe = new_entry();
        io_uring_prep_cancel64(sqe, (uintptr_t)connection | RECEIVE, 0);
        mark(sqe, CANCEL, NULL);
        connection->cancelling = true;
    } else if (!connection->receiving && !connection->starving && connection->held <= HELD_MAX) {
        receive(connection);
    }
}

static void on_received(struct connection *connection, int result, unsigned flags)
{
    if (result > 0) {
        struct piece *piece = new_piece((uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT), (uint32_t)result);
        if (connection->held++ == 0)
            connection->first = piece;
        else
            connection->last->next = piece;
        connection->last = piece;
    }
    if (!(flags & IORING_CQE_F_MORE)) {
        connection->receiving = connection->cancelling = false;
        if (result == -ENOBUFS) {
            connection->starving = true;
            connection->next_starving = starving;
            starving = connection;
        } else if (result <= 0 && result != -ECANCELED && result != -EINTR) {
            connection->ending = true;
        }
    }
    go_on(connection);
}

static void on_sent(struct connection *connection, int result)
{
    connection->sending = false;
    if (result < 0) {
        while (connection->held > 0)
            drop_first(connection);
        if (connection->receiving)
            shutdown(connection->fd, SHUT_RDWR); /* Its receive ends, and that ends it. */
        else
            connection->ending = true;
    } else {
        connection->at += (uint32_t)result;
        if (connection->at == connection->first->len)
            drop_first(connection);
    }
    go_on(connection);
}

static void accept_all(int listener)
{
    struct io_uring_sqe *sqe = new_entry();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    mark(sqe, ACCEPT, NULL);
}

static void on_accepted(int listener, int result, unsigned flags)
{
    int one = 1;
    if (result >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            server_fail("calloc", ENOMEM);
        connection->fd = result;
        setsockopt(result, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        receive(connection);
    }
    if (!(flags & IORING_CQE_F_MORE))
        accept_all(listener);
}

static void open_ring(void)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * RING_ENTRIES,
    };
    int err = io_uring_queue_init_params(RING_ENTRIES, &ring, &params);
    if (err < 0)
        server_fail("io_uring_queue_init_params", -err);
    size_t size = BUFFERS * sizeof(struct io_uring_buf);
    free_buffers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    memory = mmap(NULL, (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (free_buffers == MAP_FAILED || memory == MAP_FAILED)
        server_fail("mmap", errno);
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)free_buffers, .ring_entries = BUFFERS, .bgid = GROUP};
    err = io_uring_register_buf_ring(&ring, &reg, 0);
    if (err < 0)
        server_fail("io_uring_register_buf_ring", -err);
    io_uring_buf_ring_init(free_buffers);
    for (unsigned i = 0; i < BUFFERS; i++) {
        pieces[i].bytes = memory + (size_t)i * BUFFER_BYTES;
        give_back((uint16_t)i);
    }
}

int main(void)
{
    server_begin();
    open_ring();
    int listener = server_listen();
    accept_all(listener);
    server_announce(listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        int err = io_uring_submit_and_wait(&ring, 1);
        if (err < 0 && err != -EINTR)
            server_fail("io_uring_submit_and_wait", -err);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            struct connection *connection =
                (struct connection *)(uintptr_t)(cqe->user_data & ~(uint64_t)OPERATION_MASK);
            switch (cqe->user_data & OPERATION_MASK) {
            case ACCEPT:
                on_accepted(listener, cqe->res, cqe->flags);
                break;
            case RECEIVE:
                on_received(connection, cqe->res, cqe->flags);
                break;
            case SEND:
                on_sent(connection, cqe->res);
                break;
            default:
                break;
            }
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
}
