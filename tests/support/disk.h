/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that is slow and fails on demand: a struct ior_os that does the real thing, but for what the test says. The
 * calls come from worker threads; everything here is under a mutex.
 */
#ifndef TESTS_SUPPORT_DISK_H
#define TESTS_SUPPORT_DISK_H

#include <ioreactor.h>
#include <pthread.h>

enum disk_call { DISK_OPEN, DISK_READ, DISK_WRITE, DISK_SYNC, DISK_STAT, DISK_THREAD, DISK_CALLS };

struct disk {
    struct ior_os os; /* for ior_config */
    struct ior_os_blocking blocking;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned calls[DISK_CALLS], all;
    /* faults */
    unsigned fail_nth;         /* of all calls but threads, from 1 on; 0: none */
    unsigned fail[DISK_CALLS]; /* from the n-th call of its kind on, every one; 0: none */
    int error;
    size_t most;    /* bytes of one read or write; 0: any */
    bool interrupt; /* every second call is interrupted */
    unsigned failed;
    /* slowness: calls of this kind wait while it is held */
    enum disk_call held;
    bool holds;
    unsigned waiting;
};

void disk_init(struct disk *disk);
void disk_deinit(struct disk *disk);

/* Calls of a kind wait from now on, until disk_release; disk_await returns when `n` of them do. */
void disk_hold(struct disk *disk, enum disk_call call);
void disk_await(struct disk *disk, unsigned n);
void disk_release(struct disk *disk);

unsigned disk_calls(struct disk *disk, enum disk_call call);

#endif
