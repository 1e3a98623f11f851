/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counting allocator. A block has a header with its length in front and a mark behind its end. It is called from
 * whatever thread uses the library, where a test cannot be failed, so it notes the first complaint and
 * live_alloc_stop tells it.
 */
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include <ioreactor.h>

#include "check.h"
#include "live.h"

#define MARK UINT64_C(0x5ca1ab1e0ddba11)
#define GARBAGE 0xa5
#define FREED 0x5a

struct header {
    alignas(max_align_t) size_t len;
    uint64_t mark;
    unsigned start; /* which live_alloc_start it came after: only those of the last one count */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t calls, refused, fail_nth;
static bool fail_all, in_place;
static unsigned starts;
static size_t blocks, bytes, peak;
static const char *complaint;

static void complain(const char *what)
{
    if (complaint == NULL)
        complaint = what;
}

static struct header *header_of(void *block)
{
    return (struct header *)block - 1;
}

static void *block_new(size_t len)
{
    uint64_t mark = MARK;
    calls++;
    if (fail_nth != 0 && (calls == fail_nth || (fail_all && calls > fail_nth))) {
        refused++;
        return NULL;
    }
    struct header *header = malloc(sizeof(*header) + len + sizeof(mark));
    if (header == NULL)
        abort();
    header->len = len;
    header->mark = MARK;
    header->start = starts;
    memset(header + 1, GARBAGE, len);
    memcpy((char *)(header + 1) + len, &mark, sizeof(mark));
    blocks++;
    bytes += len;
    if (bytes > peak)
        peak = bytes;
    return header + 1;
}

static void block_free(void *block, size_t len)
{
    struct header *header = header_of(block);
    uint64_t mark;
    if (header->mark != MARK) {
        complain("a block that was never handed out, or is freed already, was given back");
        return;
    }
    if (header->len != len)
        complain("a block was given back with another length than it had");
    memcpy(&mark, (char *)block + header->len, sizeof(mark));
    if (mark != MARK)
        complain("a block was written past its end");
    if (header->start == starts) {
        blocks--;
        bytes -= header->len;
    }
    memset(block, FREED, header->len);
    header->mark = 0;
    free(header);
}

static void *hook(void *arg, void *old, size_t old_len, size_t len)
{
    void *block = NULL;
    (void)arg;
    pthread_mutex_lock(&lock);
    if (len > 0) {
        block = block_new(len);
        if (block != NULL && old != NULL)
            memcpy(block, old, old_len < len ? old_len : len);
    }
    if (old != NULL && (block != NULL || len == 0))
        block_free(old, old_len);
    pthread_mutex_unlock(&lock);
    return block;
}

void live_alloc_start(void)
{
    pthread_mutex_lock(&lock);
    starts++;
    calls = refused = fail_nth = 0;
    blocks = bytes = peak = 0;
    complaint = NULL;
    pthread_mutex_unlock(&lock);
    if (in_place) /* since a test failed that had it */
        return;
    int err = ior_set_alloc(hook, NULL);
    if (err < 0)
        fail_msg("the allocator cannot be exchanged: %s; a test before this one failed and left blocks",
                 ior_errname(err));
    in_place = true;
}

void live_alloc_stop(void)
{
    live_alloc_fail(0, false);
    pthread_mutex_lock(&lock);
    size_t left = blocks, left_bytes = bytes;
    const char *told = complaint;
    pthread_mutex_unlock(&lock);
    if (left > 0) /* the allocator stays, since they may still be freed */
        fail_msg("%zu blocks of the library (%zu bytes) are still in use", left, left_bytes);
    in_place = ior_set_alloc(NULL, NULL) < 0; /* then blocks are left of a test that failed */
    if (told != NULL)
        fail_msg("%s", told);
}

void live_alloc_fail(uint64_t nth, bool all)
{
    pthread_mutex_lock(&lock);
    calls = refused = 0;
    fail_nth = nth;
    fail_all = all;
    pthread_mutex_unlock(&lock);
}

uint64_t live_alloc_calls(void)
{
    pthread_mutex_lock(&lock);
    uint64_t n = calls;
    pthread_mutex_unlock(&lock);
    return n;
}

uint64_t live_alloc_refused(void)
{
    pthread_mutex_lock(&lock);
    uint64_t n = refused;
    pthread_mutex_unlock(&lock);
    return n;
}

static size_t read_size(const size_t *which)
{
    pthread_mutex_lock(&lock);
    size_t n = *which;
    pthread_mutex_unlock(&lock);
    return n;
}

size_t live_alloc_blocks(void)
{
    return read_size(&blocks);
}

size_t live_alloc_bytes(void)
{
    return read_size(&bytes);
}

size_t live_alloc_peak(void)
{
    return read_size(&peak);
}
