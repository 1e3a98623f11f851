/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies. All of them go through reply_raw, which is where the limit is kept: once a reply has failed, nothing is
 * added to it, and the caller sends an error in its place.
 */
#include "reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 4096
#define KEPT_ROOM ((size_t)256 * 1024)

void reply_reset(struct reply *reply)
{
    /* One huge reply should not cost memory for ever. */
    if (reply->room > KEPT_ROOM)
        reply_deinit(reply);
    reply->len = 0;
    reply->failed = false;
}

void reply_deinit(struct reply *reply)
{
    free(reply->bytes);
    reply->bytes = NULL;
    reply->room = 0;
    reply->len = 0;
}

void reply_raw(struct reply *reply, const char *bytes, size_t len)
{
    if (reply->failed || len == 0)
        return;
    if (len > reply->max - reply->len) {
        reply->failed = true;
        return;
    }
    if (len > reply->room - reply->len) {
        size_t room = reply->room ? reply->room : FIRST_ROOM;
        while (room - reply->len < len)
            room *= 2;
        char *grown = realloc(reply->bytes, room);
        if (!grown) {
            reply->failed = true;
            return;
        }
        reply->bytes = grown;
        reply->room = room;
    }
    memcpy(reply->bytes + reply->len, bytes, len);
    reply->len += len;
}

static void reply_text(struct reply *reply, const char *text)
{
    reply_raw(reply, text, strlen(text));
}

void reply_status(struct reply *reply, const char *text)
{
    reply_text(reply, "+");
    reply_text(reply, text);
    reply_text(reply, "\r\n");
}

void reply_error(struct reply *reply, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    /* An error is one line, whatever a client put into the name of its command. */
    for (char *p = text; *p; p++) {
        if (*p == '\r' || *p == '\n')
            *p = ' ';
    }
    reply_text(reply, "-");
    reply_text(reply, text);
    reply_text(reply, "\r\n");
}

static void reply_number(struct reply *reply, char type, int64_t number)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%c%" PRId64 "\r\n", type, number);
    reply_raw(reply, text, (size_t)len);
}

void reply_int(struct reply *reply, int64_t number)
{
    reply_number(reply, ':', number);
}

void reply_bulk(struct reply *reply, const char *bytes, size_t len)
{
    reply_number(reply, '$', (int64_t)len);
    reply_raw(reply, bytes, len);
    reply_text(reply, "\r\n");
}

void reply_nil(struct reply *reply)
{
    reply_text(reply, "$-1\r\n");
}

void reply_array(struct reply *reply, size_t count)
{
    reply_number(reply, '*', (int64_t)count);
}
