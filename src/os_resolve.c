/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the real system: getaddrinfo(3), which knows /etc/hosts, DNS and all else that nsswitch.conf says, asks for A
 * and AAAA at once, and sorts what came by RFC 6724. It blocks, and cannot be called off: callers are worker threads.
 *
 * AI_ADDRCONFIG is not asked for. It hides a family by looking at the addresses of interfaces, and is wrong on machines
 * that have only local ones; an address that cannot be reached fails at once when it is tried.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lookup.h"

/* What there are besides: answers to arguments that are not given. */
static int error_of(int gai)
{
    switch (gai) {
    case EAI_NONAME:
#if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
    case EAI_NODATA:
#endif
#if defined(EAI_ADDRFAMILY) && EAI_ADDRFAMILY != EAI_NONAME
    case EAI_ADDRFAMILY:
#endif
        return -ENOENT;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_FAMILY:
        return -EAFNOSUPPORT;
    case EAI_SYSTEM:
        return errno != 0 ? -errno : -EIO;
    case EAI_FAIL:
        return -EIO;
    default:
        return -EINVAL;
    }
}

int ior__os_resolve(void *arg, const struct ior_os_name *name, struct ior_addr *addrs, uint32_t max, uint64_t *after_ns)
{
    struct addrinfo hints = {.ai_family = name->family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[16];
    uint32_t total = 0;

    (void)arg;
    *after_ns = 0;
    snprintf(port, sizeof(port), "%u", name->port);
    errno = 0;
    int gai = getaddrinfo(name->host, port, &hints, &found);
    if (gai != 0)
        return error_of(gai);
    for (const struct addrinfo *at = found; at && total < INT32_MAX; at = at->ai_next) {
        bool inet = at->ai_family == AF_INET || at->ai_family == AF_INET6;
        if (!inet || at->ai_addrlen > sizeof(addrs->raw))
            continue;
        if (total < max) {
            memset(&addrs[total], 0, sizeof(addrs[total]));
            memcpy(addrs[total].raw, at->ai_addr, at->ai_addrlen);
            addrs[total].len = (uint32_t)at->ai_addrlen;
        }
        total++;
    }
    freeaddrinfo(found);
    return total > 0 ? (int)total : -ENOENT;
}
