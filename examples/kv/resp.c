/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of requests. Two forms: an array of bulk strings, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", which programs send,
 * and a line of words, "GET k\r\n", which people type. Errors have the words that Redis has for them.
 *
 * Invariants: never more than RESP_MORE for any proper start of a good request; a request that would be longer than
 * RESP_REQUEST_MAX_BYTES is refused as soon as a length says so, so that nobody has to keep more than that.
 */
#include "resp.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The longest line with a length that makes sense: a sign and 19 digits, and its end. */
#define HEADER_MAX_BYTES 32

static enum resp_result refuse(struct resp_request *request, const char *why)
{
    snprintf(request->error, sizeof(request->error), "Protocol error: %s", why);
    return RESP_ERROR;
}

/* A decimal number, with nothing around it. */
static bool parse_number(const char *bytes, size_t len, int64_t *ret)
{
    bool negative = len > 0 && bytes[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t number = 0;
    if (i == len || len - i > 18)
        return false;
    for (; i < len; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return false;
        number = number * 10 + (bytes[i] - '0');
    }
    *ret = negative ? -number : number;
    return true;
}

/*
 * Reads "<type><number>\r\n" at *pos and moves it behind. `invalid` and `endless` are what is wrong where it is no
 * number, or has no end.
 */
static enum resp_result parse_header(const char *bytes, size_t len, size_t *pos, int64_t *ret,
                                     struct resp_request *request, const char *invalid, const char *endless)
{
    size_t left = len - *pos, most = left < HEADER_MAX_BYTES ? left : HEADER_MAX_BYTES, end = 0;
    const char *start = bytes + *pos;
    while (end < most && start[end] != '\r')
        end++;
    if (end == HEADER_MAX_BYTES)
        return refuse(request, endless);
    if (left - end < 2) {
        request->need = len + 1;
        return RESP_MORE;
    }
    if (start[end + 1] != '\n' || !parse_number(start + 1, end - 1, ret))
        return refuse(request, invalid);
    *pos += end + 2;
    return RESP_REQUEST;
}

static enum resp_result parse_bulk(const char *bytes, size_t len, size_t *pos, struct resp_request *request)
{
    int64_t size = 0;
    if (*pos == len) {
        request->need = len + 1;
        return RESP_MORE;
    }
    if (bytes[*pos] != '$') {
        char why[40];
        unsigned char c = (unsigned char)bytes[*pos];
        snprintf(why, sizeof(why), c >= 0x20 && c < 0x7f ? "expected '$', got '%c'" : "expected '$', got 0x%02x", c);
        return refuse(request, why);
    }
    enum resp_result result =
        parse_header(bytes, len, pos, &size, request, "invalid bulk length", "too big bulk count string");
    if (result != RESP_REQUEST)
        return result;
    if (size < 0)
        return refuse(request, "invalid bulk length");
    if ((uint64_t)size > RESP_REQUEST_MAX_BYTES || *pos + (size_t)size + 2 > RESP_REQUEST_MAX_BYTES)
        return refuse(request, "too big request");
    if (len - *pos < (size_t)size + 2) {
        request->need = *pos + (size_t)size + 2;
        return RESP_MORE;
    }
    const char *start = bytes + *pos;
    if (start[size] != '\r' || start[size + 1] != '\n')
        return refuse(request, "expected CRLF behind a bulk string");
    request->args[request->count].bytes = start;
    request->args[request->count].len = (size_t)size;
    request->count++;
    *pos += (size_t)size + 2;
    return RESP_REQUEST;
}

static enum resp_result parse_array(const char *bytes, size_t len, struct resp_request *request)
{
    size_t pos = 0;
    int64_t count = 0;
    enum resp_result result =
        parse_header(bytes, len, &pos, &count, request, "invalid multibulk length", "too big mbulk count string");
    if (result != RESP_REQUEST)
        return result;
    if (count > RESP_ARGS_MAX)
        return refuse(request, "invalid multibulk length");
    for (int64_t i = 0; i < count; i++) {
        result = parse_bulk(bytes, len, &pos, request);
        if (result != RESP_REQUEST)
            return result;
    }
    request->used = pos;
    return RESP_REQUEST;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Words between blanks; one in quotes (" or ') may hold blanks. There are no escapes: programs use arrays. */
static enum resp_result parse_words(const char *bytes, size_t len, struct resp_request *request)
{
    size_t pos = 0;
    for (;;) {
        while (pos < len && is_blank(bytes[pos]))
            pos++;
        if (pos == len)
            return RESP_REQUEST;
        if (request->count == RESP_ARGS_MAX)
            return refuse(request, "too big inline request");
        struct resp_arg *arg = &request->args[request->count++];
        char quote = bytes[pos];
        if (quote == '"' || quote == '\'') {
            const char *end = memchr(bytes + pos + 1, quote, len - pos - 1);
            if (!end || (end + 1 < bytes + len && !is_blank(end[1])))
                return refuse(request, "unbalanced quotes in request");
            arg->bytes = bytes + pos + 1;
            arg->len = (size_t)(end - arg->bytes);
            pos += arg->len + 2;
        } else {
            arg->bytes = bytes + pos;
            while (pos < len && !is_blank(bytes[pos]))
                pos++;
            arg->len = (size_t)(bytes + pos - arg->bytes);
        }
    }
}

static enum resp_result parse_inline(const char *bytes, size_t len, struct resp_request *request)
{
    const char *end = memchr(bytes, '\n', len < RESP_INLINE_MAX_BYTES ? len : RESP_INLINE_MAX_BYTES);
    if (!end && len >= RESP_INLINE_MAX_BYTES)
        return refuse(request, "too big inline request");
    request->need = len + 1;
    if (!end)
        return RESP_MORE;
    size_t line = (size_t)(end - bytes);
    request->used = line + 1;
    if (line > 0 && bytes[line - 1] == '\r')
        line--;
    return parse_words(bytes, line, request);
}

enum resp_result resp_parse(const char *bytes, size_t len, struct resp_request *request)
{
    request->used = 0;
    request->need = 1;
    request->count = 0;
    if (len == 0)
        return RESP_MORE;
    return bytes[0] == '*' ? parse_array(bytes, len, request) : parse_inline(bytes, len, request);
}
