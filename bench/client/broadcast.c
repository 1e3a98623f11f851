/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode broadcast: the first connection sends a message, all of them (it, too) receive it. Each is greeted with one byte
 * by the server, which tells that it has joined. A delivery counts as a message.
 */
#include "client.h"

#include <string.h>

#define CONNECT_GROUP 100

static char *message;

static void begin(const struct options *options)
{
    long end;
    message = client_alloc((size_t)options->size);
    client_fill(message, (size_t)options->size);
    client_fds = client_alloc((size_t)options->active * sizeof *client_fds);
    for (long i = 0; i < options->active; i = end) {
        end = i + CONNECT_GROUP < options->active ? i + CONNECT_GROUP : options->active;
        for (long j = i; j < end; j++)
            client_fds[j] = client_connect(options);
        for (long j = i; j < end; j++)
            client_hear(client_fds[j], "+", 1);
    }
}

static void round_of(const struct options *options, long number)
{
    size_t len = (size_t)options->size;
    memcpy(message, &number, sizeof number < len ? sizeof number : len);
    client_say(client_fds[0], message, len);
    for (long i = 0; i < options->active; i++)
        client_hear(client_fds[i], message, len);
}

static double messages(const struct options *options)
{
    return (double)options->active;
}

const struct mode mode_broadcast = {.name = "broadcast", .begin = begin, .round = round_of, .messages = messages};
