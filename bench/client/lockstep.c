/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes echo and ping, in lock-step: all active connections send (depth many messages in one write), then all answers
 * are read and compared.
 *
 * What exceeds the kernel's buffers cannot be sent before something is read; it goes as far as it goes at once, and on
 * while the answers are read.
 */
#include "../ping.h"
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CONNECT_GROUP 100
#define AT_ONCE_BYTES 131072 /* fits into the kernel's buffers */

static char *message;
static const char *wanted; /* echo: the message */
static size_t message_len, wanted_len;
static size_t *sent; /* of messages that do not fit, by connection */

void client_connect_all(const struct options *options)
{
    long total = options->active + options->idle, end;
    client_fds = client_alloc((size_t)total * sizeof *client_fds);
    for (long begin = 0; begin < total; begin = end) {
        end = begin + CONNECT_GROUP < total ? begin + CONNECT_GROUP : total;
        for (long i = begin; i < end; i++)
            client_fds[i] = client_connect(options);
        /* Connections are accepted in their order: the last one's answer tells that all of the group are. */
        for (long i = options->fresh ? end - 1 : begin; i < end; i++)
            client_say(client_fds[i], message, message_len / (size_t)options->depth);
        for (long i = options->fresh ? end - 1 : begin; i < end; i++)
            client_hear(client_fds[i], wanted, wanted_len / (size_t)options->depth);
    }
}

static void echo_begin(const struct options *options)
{
    message_len = wanted_len = (size_t)(options->depth * options->size);
    message = client_alloc(message_len);
    wanted = message;
    client_fill(message, message_len);
    sent = client_alloc((size_t)options->active * sizeof *sent);
    client_connect_all(options);
}

static void ping_begin(const struct options *options)
{
    size_t depth = (size_t)options->depth;
    char *answers = client_alloc(depth * PING_ANSWER_BYTES);
    message_len = depth * PING_REQUEST_BYTES;
    wanted_len = depth * PING_ANSWER_BYTES;
    message = client_alloc(message_len);
    for (size_t i = 0; i < depth; i++) {
        memcpy(message + i * PING_REQUEST_BYTES, PING_REQUEST, PING_REQUEST_BYTES);
        memcpy(answers + i * PING_ANSWER_BYTES, PING_ANSWER, PING_ANSWER_BYTES);
    }
    wanted = answers;
    client_connect_all(options);
}

/* Sends the rest of a large message while its echo comes. */
static void exchange(int fd, size_t done)
{
    static char piece[65536];
    size_t got = 0;
    while (got < wanted_len) {
        struct pollfd at = {.fd = fd, .events = (short)(POLLIN | (done < message_len ? POLLOUT : 0))};
        if (poll(&at, 1, 60000) <= 0)
            client_die("poll");
        if (at.revents & POLLOUT) {
            ssize_t n = send(fd, message + done, message_len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
            done += n > 0 ? (size_t)n : 0;
        }
        if (!(at.revents & ~POLLOUT))
            continue;
        ssize_t n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            client_die("recv");
        if (n > 0 && ((size_t)n > wanted_len - got || memcmp(piece, wanted + got, (size_t)n) != 0)) {
            errno = EBADMSG;
            client_die("an answer differs");
        }
        got += n > 0 ? (size_t)n : 0;
    }
}

static void large_round(long active)
{
    for (long i = 0; i < active; i++) {
        ssize_t n = send(client_fds[i], message, message_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            client_die("send");
        sent[i] = n > 0 ? (size_t)n : 0;
    }
    for (long i = 0; i < active; i++)
        exchange(client_fds[i], sent[i]);
}

static void round_of(const struct options *options, long number)
{
    if (wanted == message) /* No two rounds' messages are alike. */
        memcpy(message, &number, sizeof number < message_len ? sizeof number : message_len);
    if (message_len > AT_ONCE_BYTES) {
        large_round(options->active);
        return;
    }
    for (long i = 0; i < options->active; i++)
        client_say(client_fds[i], message, message_len);
    for (long i = 0; i < options->active; i++)
        client_hear(client_fds[i], wanted, wanted_len);
}

static double messages(const struct options *options)
{
    return (double)options->active * (double)options->depth;
}

const struct mode mode_echo = {.name = "echo", .begin = echo_begin, .round = round_of, .messages = messages};
const struct mode mode_ping = {.name = "ping", .begin = ping_begin, .round = round_of, .messages = messages};
