/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as text and back. The text form is exact: whatever does not fit is an error and never cut short, because a
 * name that was cut names another host or another file.
 *
 * IPv6 zones are read by name or by number and written as numbers: a number needs no system call, and always reads
 * back as it was. Unix names are bytes; those that are not printable ASCII, and the backslash, are written as \xNN, and
 * \xNN is read back as that byte. A path that begins with '@' is written "\x40...", since '@' marks an abstract name.
 *
 * The platform's sockaddr is built in a local and copied, so that neither alignment nor aliasing is a question. Only
 * ports and IPv4 words are in network order, and only htons and inet_pton make them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ioreactor/addr.h>

#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"
#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)
#define PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)
/* The longest text of an IPv6 address, without brackets and zone. */
#define HOST_MAX 64

_Static_assert(sizeof(struct sockaddr_un) <= sizeof(((struct ior_addr *)0)->raw), "ior_addr holds a Unix address");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof(((struct ior_addr *)0)->raw), "ior_addr holds an IPv6 address");

static void addr_set(struct ior_addr *addr, const void *sa, size_t len)
{
    memset(addr, 0, sizeof(*addr));
    memcpy(addr->raw, sa, len);
    addr->len = (uint32_t)len;
}

static int family_of(const struct ior_addr *addr)
{
    struct sockaddr sa;

    if (addr->len < offsetof(struct sockaddr, sa_data) || addr->len > sizeof(addr->raw))
        return AF_UNSPEC;
    memcpy(&sa, addr->raw, sizeof(sa));
    switch (sa.sa_family) {
    case AF_INET:
        return addr->len >= sizeof(struct sockaddr_in) ? AF_INET : AF_UNSPEC;
    case AF_INET6:
        return addr->len >= sizeof(struct sockaddr_in6) ? AF_INET6 : AF_UNSPEC;
    default:
        return sa.sa_family;
    }
}

/* Decimal digits up to the end of the text, at most `max`. */
static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > max)
            return -EINVAL;
    }
    *ret = value;
    return 0;
}

static int parse_zone(const char *zone, uint32_t *ret)
{
    uint64_t number;

    if (!*zone)
        return -EINVAL;
    if (parse_number(zone, UINT32_MAX, &number) == 0) {
        *ret = (uint32_t)number;
        return 0;
    }
    if (strlen(zone) >= IF_NAMESIZE)
        return -ENODEV;
    *ret = if_nametoindex(zone);
    return *ret != 0 ? 0 : -ENODEV;
}

/* `host` is "fe80::1%eth0", without the brackets; it is changed. */
static int parse_v6(struct ior_addr *addr, char *host, uint16_t port)
{
    struct sockaddr_in6 sin6;
    char *zone = strchr(host, '%');

    memset(&sin6, 0, sizeof(sin6));
    sin6.sin6_family = AF_INET6;
    sin6.sin6_port = htons(port);
    if (zone)
        *zone++ = '\0';
    if (inet_pton(AF_INET6, host, &sin6.sin6_addr) != 1)
        return -EINVAL;
    if (zone) {
        uint32_t index;
        int err = parse_zone(zone, &index);

        if (err < 0)
            return err;
        sin6.sin6_scope_id = index;
    }
    addr_set(addr, &sin6, sizeof(sin6));
    return 0;
}

static int parse_v4(struct ior_addr *addr, const char *host, uint16_t port)
{
    struct sockaddr_in sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    if (inet_pton(AF_INET, host, &sin.sin_addr) != 1)
        return -EINVAL;
    addr_set(addr, &sin, sizeof(sin));
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One byte of a Unix name, an \xNN counting as one; moves *text past it. */
static unsigned char next_byte(const char **text)
{
    const char *t = *text;

    if (t[0] == '\\' && t[1] == 'x' && hex_digit(t[2]) >= 0 && hex_digit(t[3]) >= 0) {
        *text = t + 4;
        return (unsigned char)(hex_digit(t[2]) * 16 + hex_digit(t[3]));
    }
    *text = t + 1;
    return (unsigned char)t[0];
}

static int parse_unix(struct ior_addr *addr, const char *name)
{
    struct sockaddr_un sun;
    bool abstract = *name == '@';
    size_t len = 0;

    if (!*name)
        return -EINVAL;
    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    if (abstract) {
#if defined(__linux__)
        name++;
        len = 1; /* The zero byte that marks an abstract name. */
#else
        return -EINVAL;
#endif
    }
    while (*name) {
        unsigned char byte = next_byte(&name);

        if (byte == 0 && !abstract)
            return -EINVAL;
        if (len >= (abstract ? PATH_SIZE : PATH_SIZE - 1))
            return -ENAMETOOLONG;
        sun.sun_path[len++] = (char)byte;
    }
    /* A path goes with its terminating zero; the length of an abstract name is exactly its bytes. */
    addr_set(addr, &sun, PATH_OFFSET + len + (abstract ? 0 : 1));
    return 0;
}

int ior_addr_parse(struct ior_addr *addr, const char *text)
{
    char host[HOST_MAX + IF_NAMESIZE];
    uint64_t port;

    if (!addr || !text)
        return -EINVAL;
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return parse_unix(addr, text + strlen(UNIX_PREFIX));

    bool v6 = text[0] == '[';
    const char *begin = v6 ? text + 1 : text;
    const char *end = strchr(begin, v6 ? ']' : ':');
    if (!end)
        return -EINVAL;
    const char *colon = v6 ? end + 1 : end;
    if (*colon != ':' || parse_number(colon + 1, UINT16_MAX, &port) < 0)
        return -EINVAL;
    size_t host_len = (size_t)(end - begin);
    if (host_len >= sizeof(host))
        return memchr(begin, '%', host_len) ? -ENODEV : -EINVAL;
    memcpy(host, begin, host_len);
    host[host_len] = '\0';
    return v6 ? parse_v6(addr, host, (uint16_t)port) : parse_v4(addr, host, (uint16_t)port);
}

/* The name of a Unix address: how many bytes of sun_path count. A path ends at its first zero. */
static size_t unix_name(const struct ior_addr *addr, const unsigned char **ret_name, bool *ret_abstract)
{
    const unsigned char *name = addr->raw + PATH_OFFSET;
    size_t len = addr->len > PATH_OFFSET ? addr->len - PATH_OFFSET : 0;

    /* A kernel may count one byte more: the zero behind a path that fills sun_path. */
    if (len > PATH_SIZE)
        len = PATH_SIZE;
    *ret_abstract = len > 0 && name[0] == 0;
#if !defined(__linux__)
    *ret_abstract = false;
#endif
    if (!*ret_abstract)
        len = strnlen((const char *)name, len);
    *ret_name = name;
    return len;
}

static int format_unix(const struct ior_addr *addr, char *text, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char out[sizeof(UNIX_PREFIX) + 1 + 4 * sizeof(addr->raw)] = UNIX_PREFIX;
    size_t at = strlen(UNIX_PREFIX);
    const unsigned char *name;
    bool abstract;
    size_t len = unix_name(addr, &name, &abstract);

    if (abstract)
        out[at++] = '@';
    for (size_t i = abstract ? 1 : 0; i < len; i++) {
        unsigned char byte = name[i];
        bool plain = byte >= ' ' && byte < 0x7f && byte != '\\' && !(byte == '@' && i == 0);

        if (plain) {
            out[at++] = (char)byte;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[byte >> 4];
            out[at++] = digits[byte & 15];
        }
    }
    out[at] = '\0';
    if (at >= size)
        return -ENOSPC;
    memcpy(text, out, at + 1);
    return (int)at;
}

static int format_inet(const struct ior_addr *addr, int family, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    char out[INET6_ADDRSTRLEN + 32];
    int len;

    if (family == AF_INET) {
        struct sockaddr_in sin;

        memcpy(&sin, addr->raw, sizeof(sin));
        if (!inet_ntop(AF_INET, &sin.sin_addr, host, sizeof(host)))
            return -errno;
        len = snprintf(out, sizeof(out), "%s:%u", host, (unsigned)ntohs(sin.sin_port));
    } else {
        struct sockaddr_in6 sin6;
        char zone[16] = "";

        memcpy(&sin6, addr->raw, sizeof(sin6));
        if (!inet_ntop(AF_INET6, &sin6.sin6_addr, host, sizeof(host)))
            return -errno;
        if (sin6.sin6_scope_id != 0)
            snprintf(zone, sizeof(zone), "%%%u", (unsigned)sin6.sin6_scope_id);
        len = snprintf(out, sizeof(out), "[%s%s]:%u", host, zone, (unsigned)ntohs(sin6.sin6_port));
    }
    if (len < 0 || (size_t)len >= size)
        return -ENOSPC;
    memcpy(text, out, (size_t)len + 1);
    return len;
}

int ior_addr_format(const struct ior_addr *addr, char *text, size_t size)
{
    if (!addr || (!text && size > 0))
        return -EINVAL;
    int family = family_of(addr);
    if (family == AF_INET || family == AF_INET6)
        return format_inet(addr, family, text, size);
    if (family == AF_UNIX)
        return format_unix(addr, text, size);
    return -EAFNOSUPPORT;
}

unsigned ior_addr_port(const struct ior_addr *addr)
{
    struct sockaddr_in sin;
    struct sockaddr_in6 sin6;

    switch (addr ? family_of(addr) : AF_UNSPEC) {
    case AF_INET:
        memcpy(&sin, addr->raw, sizeof(sin));
        return ntohs(sin.sin_port);
    case AF_INET6:
        memcpy(&sin6, addr->raw, sizeof(sin6));
        return ntohs(sin6.sin6_port);
    default:
        return 0;
    }
}

static bool equal_unix(const struct ior_addr *a, const struct ior_addr *b)
{
    const unsigned char *a_name, *b_name;
    bool a_abstract, b_abstract;
    size_t a_len = unix_name(a, &a_name, &a_abstract);
    size_t b_len = unix_name(b, &b_name, &b_abstract);

    /* Two unnamed sockets are not the same endpoint. */
    return a_len > 0 && a_len == b_len && a_abstract == b_abstract && memcmp(a_name, b_name, a_len) == 0;
}

bool ior_addr_equal(const struct ior_addr *a, const struct ior_addr *b)
{
    int family = a && b ? family_of(a) : AF_UNSPEC;

    if (family == AF_UNSPEC || family != family_of(b))
        return false;
    if (family == AF_UNIX)
        return equal_unix(a, b);
    if (family == AF_INET) {
        struct sockaddr_in sa, sb;

        memcpy(&sa, a->raw, sizeof(sa));
        memcpy(&sb, b->raw, sizeof(sb));
        return sa.sin_port == sb.sin_port && sa.sin_addr.s_addr == sb.sin_addr.s_addr;
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 sa, sb;

        /* The flow label belongs to packets, not to the endpoint. */
        memcpy(&sa, a->raw, sizeof(sa));
        memcpy(&sb, b->raw, sizeof(sb));
        return sa.sin6_port == sb.sin6_port && sa.sin6_scope_id == sb.sin6_scope_id &&
               memcmp(&sa.sin6_addr, &sb.sin6_addr, sizeof(sa.sin6_addr)) == 0;
    }
    return a->len == b->len && memcmp(a->raw, b->raw, a->len) == 0;
}
