/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies. All of them go through reply_add, which is where the limit is kept: once a reply has failed, nothing is
 * added to it, and the caller sends an error in its place.
 */
#include "reply.h"

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

/* Makes room for `len` bytes more. */
static bool reply_grow(struct reply *reply, size_t len)
{
    size_t room = reply->room ? reply->room : FIRST_ROOM;
    while (room - reply->len < len)
        room *= 2;
    char *grown = realloc(reply->bytes, room);
    if (!grown)
        return false;
    reply->bytes = grown;
    reply->room = room;
    return true;
}

/* Where `len` bytes more go, all of which are to be written; NULL: the reply has failed. */
static inline char *reply_add(struct reply *reply, size_t len)
{
    if (reply->failed || len > reply->max - reply->len || (len > reply->room - reply->len && !reply_grow(reply, len))) {
        reply->failed = true;
        return NULL;
    }
    char *at = reply->bytes + reply->len;
    reply->len += len;
    return at;
}

void reply_raw(struct reply *reply, const char *bytes, size_t len)
{
    char *at = len > 0 ? reply_add(reply, len) : NULL;
    if (at)
        memcpy(at, bytes, len);
}

/* A line: its type, the text, and CRLF. */
static inline void reply_line(struct reply *reply, char type, const char *text, size_t len)
{
    char *at = reply_add(reply, len + 3);
    if (!at)
        return;
    at[0] = type;
    memcpy(at + 1, text, len);
    at[len + 1] = '\r';
    at[len + 2] = '\n';
}

void reply_status(struct reply *reply, const char *text)
{
    reply_line(reply, '+', text, strlen(text));
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
    reply_line(reply, '-', text, strlen(text));
}

static void reply_number(struct reply *reply, char type, int64_t number)
{
    char text[20]; /* a sign and 19 digits */
    size_t at = sizeof(text);
    uint64_t left = number < 0 ? UINT64_C(0) - (uint64_t)number : (uint64_t)number;
    do {
        text[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0)
        text[--at] = '-';
    reply_line(reply, type, text + at, sizeof(text) - at);
}

void reply_int(struct reply *reply, int64_t number)
{
    reply_number(reply, ':', number);
}

void reply_bulk(struct reply *reply, const char *bytes, size_t len)
{
    reply_number(reply, '$', (int64_t)len);
    char *at = reply_add(reply, len + 2);
    if (!at)
        return;
    memcpy(at, bytes, len);
    at[len] = '\r';
    at[len + 1] = '\n';
}

void reply_nil(struct reply *reply)
{
    reply_raw(reply, "$-1\r\n", 5);
}

void reply_array(struct reply *reply, size_t count)
{
    reply_number(reply, '*', (int64_t)count);
}
