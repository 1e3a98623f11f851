/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bulk servers send: an image of some 16 MiB over and over. Its pattern repeats after a prime number of bytes, so
 * that a piece that is lost, doubled or out of place shows. Each byte that a server receives asks for as many bytes as
 * its command line names.
 */
#ifndef IOR_BENCH_BULK_H
#define IOR_BENCH_BULK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BULK_PERIOD_BYTES ((size_t)1048573)
#define BULK_IMAGE_BYTES (16 * BULK_PERIOD_BYTES)
#define BULK_PIECE_BYTES ((size_t)65536) /* what is sent with one request, unless it is a file */

static inline char *bulk_image(size_t len)
{
    char *image = malloc(len);
    for (size_t i = 0; image && i < len; i++)
        image[i] = (char)((uint32_t)(i % BULK_PERIOD_BYTES) * UINT32_C(2654435761) >> 13);
    return image;
}

/* The image as a file, in memory: what a disk would do is not measured. */
static inline int bulk_file(const char *image)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < BULK_IMAGE_BYTES;) {
        ssize_t n = write(fd, image + at, BULK_IMAGE_BYTES - at);
        if (n < 0)
            fd = -1;
        at += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0) {
        perror("memfd");
        exit(1);
    }
    return fd;
}

/* A number of bytes from a command line; 0: it is none. */
static inline uint64_t bulk_bytes(const char *text)
{
    char *end;
    unsigned long long bytes = strtoull(text, &end, 10);
    return *end == '\0' && bytes < UINT64_C(1) << 50 ? bytes : 0;
}

#endif
