/* SPDX-License-Identifier: Apache-2.0 */
/* A loop that reads files and does slow work beside what else it has to do; files.c is linked once with each of them. */
#ifndef IOR_BENCH_DISK_H
#define IOR_BENCH_DISK_H

#include <stdint.h>

#define DISK_PIECE_BYTES 65536u
#define DISK_FULL_BYTES 65536u /* a socket with more queued than that waits until it has drained */

void disk_open(void);
/* Runs until disk_stop. */
void disk_run(void);
void disk_stop(void);

/* Calls disk_on_tick every millisecond (it is armed anew when it has fired). */
void disk_tick(void);

/* Reads the file through the service, piece by piece, and sends it to the socket; then disk_on_sent is called. */
void disk_send(const char *path, int fd);

/* Echoes what comes from the socket. */
void disk_echo(int fd);

/* Keeps so many jobs in the pool of threads, each of which sleeps for so long, until disk_stop. */
void disk_work(unsigned jobs, uint64_t ns);

/* From the program, on the loop's thread. */
void disk_on_tick(void);
void disk_on_sent(void);

#endif
