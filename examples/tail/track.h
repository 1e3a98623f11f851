/* SPDX-License-Identifier: Apache-2.0 */
/* One file that grows: where it is read to, and its next lines. Nothing here knows of the loop. */
#ifndef EXAMPLES_TAIL_TRACK_H
#define EXAMPLES_TAIL_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACK_PIECE_BYTES 65536 /* the most that is read at once; a longer line comes in parts */

struct track {
    int fd; /* -1: none */
    int watch;
    uint64_t dev, ino;
    uint64_t at;     /* where the next line begins; a line without an end is read again when there is more */
    bool in_line;    /* but for one that is told in parts: this is where the next part begins */
    bool pending;    /* there may be more to read */
    bool is_over;    /* its writer has closed it */
    unsigned resets; /* how often it became shorter: it is read from its beginning then */
};

enum track_state {
    TRACK_END,  /* read to its end */
    TRACK_MORE, /* a piece was read, and there is more */
    TRACK_FULL, /* the sink took a line, and wants no more now */
};

/* Takes a line, or a part of one. `begins`: it is the first part. False: no more now. */
typedef bool track_sink(void *arg, const char *bytes, size_t len, bool begins);

/* Opens a regular file, to be read from its beginning. -errno; -EINVAL: it is something else. */
int track_open(struct track *track, const char *path);
void track_close(struct track *track);
bool track_is_same(const struct track *a, const struct track *b);

/* Goes to where the last so many lines begin; one that has no end yet is not counted. */
int track_skip(struct track *track, uint64_t last_lines);

/* Reads a piece: enum track_state, or -errno. */
int track_read(struct track *track, track_sink *sink, void *arg);

/* Tells what is left behind the last end of a line, as a line. */
void track_finish(struct track *track, track_sink *sink, void *arg);

#endif
