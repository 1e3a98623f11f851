/* SPDX-License-Identifier: Apache-2.0 */
/* What dialling decides without doing anything: the order of the attempts, and which error tells most. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "dial.h"

static sa_family_t family_of(const struct ior_addr *addr)
{
    struct sockaddr sa;
    memcpy(&sa, addr->raw, sizeof(sa));
    return sa.sa_family;
}

/* The first address from `at` on that is, or is not, of the family; n: none. */
static uint32_t next_of(const struct ior_addr *addrs, uint32_t n, uint32_t at, sa_family_t family, bool is)
{
    while (at < n && (family_of(&addrs[at]) == family) != is)
        at++;
    return at;
}

void ior__dial_order(const struct ior_addr *addrs, uint32_t n, uint32_t first, struct ior_dial_cause *causes)
{
    sa_family_t family = n > 0 ? family_of(&addrs[0]) : AF_UNSPEC;
    uint32_t mine = 0, other = next_of(addrs, n, 0, family, false);
    for (uint32_t i = 0; i < n; i++) {
        /* The turn of the first family: while it has its head start, and then each second time. */
        bool turn = i < first || (i - first) % 2 == 1;
        if (other == n || (turn && mine < n)) {
            causes[i].addr = addrs[mine];
            mine = next_of(addrs, n, mine + 1, family, true);
        } else {
            causes[i].addr = addrs[other];
            other = next_of(addrs, n, other + 1, family, false);
        }
    }
}

/*
 * How much an error says about why nothing is connected. Being out of something here comes first: nobody knows what the
 * peer would have said. Then what the peer said, then silence, then what says only that there is no way to an address
 * (mostly: of a family that is not there).
 */
static int weight(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
        return 5;
    case ECONNREFUSED:
    case ECONNRESET:
        return 4;
    case EHOSTUNREACH:
    case EHOSTDOWN:
        return 2;
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case 0:
        return 1;
    default:
        return 3;
    }
}

int ior__dial_error(const struct ior_dial_cause *causes, uint32_t n)
{
    const struct ior_dial_cause *best = causes;
    for (uint32_t i = 1; i < n; i++) {
        if (weight(causes[i].error) > weight(best->error))
            best = &causes[i];
    }
    return best->error;
}
