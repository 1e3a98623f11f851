/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode bulk: asks each active connection's server for its bytes, `size` many, and reads and compares them. A MiB counts
 * as a message.
 */
#include "../bulk.h"
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define PIECE_BYTES 262144

static char *image, *piece;

static void begin(const struct options *options)
{
    image = bulk_image(BULK_PERIOD_BYTES + PIECE_BYTES);
    piece = client_alloc(PIECE_BYTES);
    if (!image)
        client_die("malloc");
    client_fds = client_alloc((size_t)options->active * sizeof *client_fds);
    for (long i = 0; i < options->active; i++)
        client_fds[i] = client_connect(options);
}

static void take(int fd, uint64_t len)
{
    for (uint64_t at = 0; at < len;) {
        ssize_t n = recv(fd, piece, PIECE_BYTES, 0);
        if (n <= 0 || (uint64_t)n > len - at) {
            errno = n < 0 ? errno : n == 0 ? EPIPE : EBADMSG;
            client_die("recv");
        }
        /* The image itself begins anew after a whole number of periods. */
        if (memcmp(piece, image + at % BULK_PERIOD_BYTES, (size_t)n) != 0) {
            errno = EBADMSG;
            client_die("a byte differs");
        }
        at += (uint64_t)n;
    }
}

static void round_of(const struct options *options, long number)
{
    (void)number;
    for (long i = 0; i < options->active; i++)
        client_say(client_fds[i], "!", 1);
    for (long i = 0; i < options->active; i++)
        take(client_fds[i], (uint64_t)options->size);
}

static double messages(const struct options *options)
{
    return (double)options->active * (double)options->size / 1048576;
}

const struct mode mode_bulk = {.name = "bulk", .begin = begin, .round = round_of, .messages = messages};
