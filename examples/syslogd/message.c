/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a message: a cursor that only moves forward, over bytes that end where the datagram does. Nothing is trusted:
 * they come from anybody.
 */
#include "message.h"

#include <stdio.h>
#include <string.h>

#define USER_NOTICE 13
#define HOST_MOST 255 /* of RFC 5424 */

struct cursor {
    const char *at, *end;
};

/* A piece of the message, or of something else. */
struct word {
    const char *at;
    size_t len;
};

static const char *const facilities[24] = {
    "kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
    "uucp",   "cron",   "authpriv", "ftp",    "ntp",    "audit",  "alert",  "clock",
    "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7",
};
static const char *const severities[8] = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "<13>": at most three digits, up to 191. Where there is none, nothing is taken. */
static unsigned read_priority(struct cursor *c)
{
    const char *at = c->at;
    unsigned value = 0;
    int digits = 0;
    if (at == c->end || *at++ != '<')
        return USER_NOTICE;
    for (; at < c->end && is_digit(*at) && digits < 3; at++, digits++)
        value = value * 10 + (unsigned)(*at - '0');
    if (digits == 0 || value > 191 || at == c->end || *at != '>')
        return USER_NOTICE;
    c->at = at + 1;
    return value;
}

/* Up to the next space, which is taken too. */
static struct word read_word(struct cursor *c)
{
    struct word word = {.at = c->at};
    while (c->at < c->end && *c->at != ' ')
        c->at++;
    word.len = (size_t)(c->at - word.at);
    if (c->at < c->end)
        c->at++;
    return word;
}

/* "Mmm dd hh:mm:ss " of RFC 3164. */
static bool read_old_time(struct cursor *c, struct word *ret)
{
    static const char form[] = "Aaa d0 00:00:00 ";
    if ((size_t)(c->end - c->at) < sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        char is = c->at[i];
        bool fits = form[i] == '0'   ? is_digit(is)
                    : form[i] == 'd' ? is == ' ' || is_digit(is)
                    : form[i] == 'A' ? is >= 'A' && is <= 'Z'
                    : form[i] == 'a' ? is >= 'a' && is <= 'z'
                                     : is == form[i];
        if (!fits)
            return false;
    }
    *ret = (struct word){.at = c->at, .len = sizeof(form) - 2};
    c->at += sizeof(form) - 1;
    return true;
}

/* Whether the next word is a host: what a tag has ("sshd[12]:", "cron:") would end it, or come right away. */
static bool host_follows(const struct cursor *c)
{
    struct cursor ahead = *c;
    struct word word = read_word(&ahead);
    if (word.len == 0 || word.len > HOST_MOST || ahead.at == ahead.end)
        return false;
    return word.at[word.len - 1] != ':' && !memchr(word.at, '[', word.len);
}

/* The structured data of RFC 5424: "-", or "[...]" one behind the other; in quotes a bracket ends nothing. */
static struct word read_structured(struct cursor *c)
{
    struct word data = {.at = c->at};
    bool quoted = false;
    if (c->at == c->end || *c->at != '[')
        return read_word(c);
    for (; c->at < c->end; c->at++) {
        if (quoted && *c->at == '\\' && c->at + 1 < c->end)
            c->at++;
        else if (*c->at == '"')
            quoted = !quoted;
        else if (!quoted && *c->at == ' ' && c->at[-1] == ']')
            break;
    }
    data.len = (size_t)(c->at - data.at);
    if (c->at < c->end)
        c->at++;
    return data;
}

/* ---- the line ---- */

static size_t put(char *line, size_t at, struct word word)
{
    for (size_t i = 0; i < word.len; i++) {
        unsigned char byte = (unsigned char)word.at[i];
        if (byte < 0x20 || byte == 0x7f)
            at += (size_t)sprintf(line + at, "\\x%02x", byte);
        else
            line[at++] = (char)byte;
    }
    return at;
}

static size_t put_text(char *line, size_t at, const char *text)
{
    return put(line, at, (struct word){.at = text, .len = strlen(text)});
}

static bool is_nil(struct word word)
{
    return word.len == 0 || (word.len == 1 && word.at[0] == '-');
}

/* "app[procid]: " of RFC 5424, and its data. */
static size_t put_new_tag(char *line, size_t at, struct cursor *c)
{
    struct word app = read_word(c), process = read_word(c);
    (void)read_word(c); /* the kind of message */
    struct word data = read_structured(c);
    if (c->end - c->at >= 3 && memcmp(c->at, "\xef\xbb\xbf", 3) == 0)
        c->at += 3; /* it says that the text is UTF-8 */
    at = put(line, at, app);
    if (!is_nil(process)) {
        line[at++] = '[';
        at = put(line, at, process);
        line[at++] = ']';
    }
    at = put_text(line, at, ": ");
    if (!is_nil(data)) {
        at = put(line, at, data);
        line[at++] = ' ';
    }
    return at;
}

size_t message_line(const char *bytes, size_t len, const char *host, bool is_cut, char *line)
{
    struct cursor c = {.at = bytes, .end = bytes + len};
    struct word time = {.at = "-", .len = 1}, from = {.at = host, .len = strlen(host)};
    while (c.end > c.at && (c.end[-1] == '\n' || c.end[-1] == '\0'))
        c.end--;
    unsigned priority = read_priority(&c);
    bool is_new = c.end - c.at >= 2 && c.at[0] == '1' && c.at[1] == ' ';
    if (is_new) {
        c.at += 2;
        time = read_word(&c);
        struct word word = read_word(&c);
        from = is_nil(word) ? from : word;
    } else if (read_old_time(&c, &time) && host_follows(&c)) {
        from = read_word(&c);
    }
    size_t at = put(line, 0, time);
    line[at++] = ' ';
    at = put(line, at, from);
    line[at++] = ' ';
    at = put_text(line, at, facilities[priority / 8]);
    line[at++] = '.';
    at = put_text(line, at, severities[priority % 8]);
    line[at++] = ' ';
    if (is_new)
        at = put_new_tag(line, at, &c);
    at = put(line, at, (struct word){.at = c.at, .len = (size_t)(c.end - c.at)});
    if (is_cut)
        at = put_text(line, at, " [cut]");
    line[at++] = '\n';
    return at;
}
