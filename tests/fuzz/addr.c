/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and paths. A text that ior_addr_parse takes is written and read back as the same bytes; a sockaddr of any
 * bytes is written as a text that reads back as an equal address, or is refused. Nothing is written past the room that
 * was given, and a refusal leaves the output alone. The first byte says which of the two the rest is.
 */
#include "fuzz.h"

#include <errno.h>
#include <ioreactor.h>
#include <string.h>
#include <sys/socket.h>

/* Writes an address; -EAFNOSUPPORT: it has no text. One byte less than it needs is refused without a trace. */
static int written(const struct ior_addr *addr, char text[IOR_ADDR_TEXT_MAX])
{
    int len = ior_addr_format(addr, text, IOR_ADDR_TEXT_MAX);
    if (len < 0) {
        FUZZ_CHECK(len == -EAFNOSUPPORT, "any address that has a text fits");
        return len;
    }
    FUZZ_CHECK((size_t)len == strlen(text) && len < IOR_ADDR_TEXT_MAX, "the length is that of the text");
    char *tight = malloc((size_t)len + 1);
    FUZZ_CHECK(tight != NULL, "memory");
    FUZZ_CHECK(ior_addr_format(addr, tight, (size_t)len + 1) == len && strcmp(tight, text) == 0, "it fits exactly");
    memset(tight, '#', (size_t)len + 1);
    FUZZ_CHECK(ior_addr_format(addr, tight, (size_t)len) == -ENOSPC, "one byte less does not do");
    for (int i = 0; i <= len; i++)
        FUZZ_CHECK(tight[i] == '#', "a refusal writes nothing");
    free(tight);
    return len;
}

static void try_text(const uint8_t *data, size_t size)
{
    struct ior_addr addr, again, untouched;
    char text[IOR_ADDR_TEXT_MAX];
    char *given = malloc(size + 1);
    FUZZ_CHECK(given != NULL, "memory");
    memcpy(given, data, size);
    given[size] = '\0';
    memset(&addr, 0xa5, sizeof(addr));
    untouched = addr;
    int err = ior_addr_parse(&addr, given);
    free(given);
    if (err < 0) {
        FUZZ_CHECK(err == -EINVAL || err == -ENAMETOOLONG || err == -ENODEV, "an error of the interface");
        FUZZ_CHECK(memcmp(&addr, &untouched, sizeof(addr)) == 0, "a refusal leaves the address alone");
        return;
    }
    FUZZ_CHECK(err == 0, "0 or an error");
    FUZZ_CHECK(written(&addr, text) > 0, "what was read can be written");
    FUZZ_CHECK(ior_addr_parse(&again, text) == 0, "and read again");
    FUZZ_CHECK(memcmp(&addr, &again, sizeof(addr)) == 0, "as the same bytes");
    FUZZ_CHECK(ior_addr_equal(&addr, &again) && ior_addr_equal(&again, &addr), "which are equal");
}

/* The family, the length, then the bytes behind the family. */
static void try_bytes(struct fuzz_input in)
{
    static const sa_family_t families[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, 200};
    struct ior_addr addr, again;
    struct sockaddr sa;
    char text[IOR_ADDR_TEXT_MAX];
    memset(&addr, 0, sizeof(addr));
    memset(&sa, 0, sizeof(sa));
    sa.sa_family = families[fuzz_below(&in, sizeof(families) / sizeof(families[0]))];
    addr.len = (uint32_t)fuzz_below(&in, sizeof(addr.raw) + 2); /* one too many, too */
    size_t room = sizeof(addr.raw) - offsetof(struct sockaddr, sa_data);
    memcpy(addr.raw, &sa, sizeof(sa));
    memcpy(addr.raw + offsetof(struct sockaddr, sa_data), in.at, in.left < room ? in.left : room);
    FUZZ_CHECK(ior_addr_port(&addr) <= UINT16_MAX, "a port has 16 bits");
    if (written(&addr, text) < 0 || strcmp(text, "unix:") == 0)
        return;
    int err = ior_addr_parse(&again, text);
    /* Kernels give no path without room for its end, but some bytes are such a path. */
    if (err == -ENAMETOOLONG && sa.sa_family == AF_UNIX)
        return;
    FUZZ_CHECK(err == 0, "what was written can be read");
    FUZZ_CHECK(ior_addr_equal(&addr, &again) && ior_addr_equal(&again, &addr), "as an equal address");
    FUZZ_CHECK(ior_addr_port(&addr) == ior_addr_port(&again), "with the same port");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    if (fuzz_byte(&in) % 2 == 0)
        try_text(in.at, in.left);
    else
        try_bytes(in);
    return 0;
}
