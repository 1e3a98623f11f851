/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of endpoints: IPv4, IPv6 and Unix domain ones, in one value type. */
#ifndef IOREACTOR_ADDR_H
#define IOREACTOR_ADDR_H

#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A socket address: `raw` holds the platform's sockaddr, `len` its length (0: no address). Copy it as a value. */
struct ior_addr {
    uint32_t len;
    uint32_t reserved;
    union {
        unsigned char raw[128];
        uint64_t align;
    };
};

/* Room for any formatted address with its terminating zero. */
#define IOR_ADDR_TEXT_MAX 448

/*
 * Reads an address: "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80" (or a number for the zone), "unix:/run/x.sock",
 * "unix:@name" (abstract, Linux). Names are not resolved; the port is 0-65535 in decimal. Nothing is ever cut short.
 * Errors: -EINVAL (no such form), -ENAMETOOLONG (a path over 107 bytes), -ENODEV (an unknown zone). Any thread.
 */
IOR_API int ior_addr_parse(struct ior_addr *addr, const char *text);

/*
 * Writes what ior_addr_parse reads, zero-terminated. Unprintable bytes of Unix names are written as \xNN; an unnamed
 * Unix address is "unix:". Answers the length; -ENOSPC where `size` is too small (nothing is written); -EAFNOSUPPORT.
 * Any thread.
 */
IOR_API int ior_addr_format(const struct ior_addr *addr, char *text, size_t size);

/* The port of an IPv4 or IPv6 address, 0 for others. Any thread. */
IOR_API unsigned ior_addr_port(const struct ior_addr *addr);

/* Whether both name the same endpoint. Any thread. */
IOR_API bool ior_addr_equal(const struct ior_addr *a, const struct ior_addr *b);

#ifdef __cplusplus
}
#endif
#endif
