/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the scripted world, shared by the files that make it: script.c, script_os.c, script_engine.c. */
#ifndef TESTS_SUPPORT_SCRIPT_WORLD_H
#define TESTS_SUPPORT_SCRIPT_WORLD_H

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "eager.h"
#include "script.h"

#define FAIL_QUEUE 16
#define CALENDAR 64
#define EXTRA_RECORDS 64
#define PATHS 8
#define TURNS_MOST 20000 /* what no test needs to settle */

struct bytes {
    unsigned char *at;
    size_t len, room;
};

struct file {
    unsigned refs;
    uint64_t len;
};

struct line {
    bool open, own; /* own: the test made it, and may leave it open */
    bool closed;    /* by the library */
    bool datagram;
    int kind; /* enum ior_fd_kind with flags */
    bool nonblock, connecting, listening;
    bool eof, hung, err_told;     /* hung: both directions are gone */
    bool fin, lingers, was_reset; /* by the library: shut, SO_LINGER 0, closed with it */
    int error;                    /* the socket's pending error */
    unsigned ready;               /* set by script_ready */
    struct bytes in, out;
    uint64_t said, heard; /* in the fd's life */
    size_t heard_off;     /* of `out`: what the test has looked at */
    size_t room, take, give;
    bool deaf;
    struct file *file;
    struct ior_addr local, peer;
    int *backlog; /* fds to be accepted */
    unsigned backlog_len;
    int path; /* index in paths, -1 */
};

/* The engine's set. */
struct watched {
    int fd;
    ior_id id;
    unsigned interest;
    enum { WATCH_LIVE, WATCH_BAD, WATCH_GHOST } state;
    unsigned ghost; /* what a ghost goes on telling */
};

struct path {
    char name[128];
    bool exists, is_socket, listened;
    uint64_t ino;
    unsigned mode;
};

struct event {
    uint64_t at_ns;
    void (*fn)(struct script *s, void *arg);
    void *arg;
};

struct script {
    struct ior_os os;
    struct ior_engine_ops ops;
    struct eager_base eager; /* where the shape is "done" */
    uint64_t now_ns, wall_ns, random;
    struct line *lines;
    int lines_n;
    int last_fd;
    unsigned fd_limit;
    struct watched *set;
    unsigned set_n, set_room, set_next;
    struct ior_record extra[EXTRA_RECORDS];
    unsigned extra_n;
    struct event calendar[CALENDAR];
    unsigned calendar_n;
    struct path paths[PATHS];
    uint64_t next_ino;
    unsigned next_port;
    bool engine_open, in_loop, woken, reverse, connect_now, may_hang, hung;
    unsigned interrupts;
    int last_wait; /* what the last wait answered */
    int fails[SCRIPT_CALLS][FAIL_QUEUE];
    int always[SCRIPT_CALLS];
    uint64_t fail_nth, fail_seen;
    int fail_err;
    struct script_entry *log;
    unsigned log_n, log_room;
    unsigned counts[SCRIPT_CALLS];
};

struct line *world_line(struct script *s, int fd);
const struct line *world_look(const struct script *s, int fd);
int world_fd_new(struct script *s, int kind);
void world_fd_close(struct script *s, int fd);
void world_append(struct bytes *to, const void *bytes, size_t len);
struct path *world_path(struct script *s, const char *name);

/* Writes the call down. */
struct script_entry *world_note(struct script *s, enum script_call call, int fd);
/* Whether it is to fail: 0 or -errno. */
int world_fails(struct script *s, enum script_call call);

/* Whether the next wait would tell something. */
bool world_any_ready(struct script *s);
struct watched *world_watched(struct script *s, int fd);
void world_os_init(struct script *s);
void world_engine_init(struct script *s);

#endif
