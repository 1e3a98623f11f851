/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading of files that grow. It blocks as long as the disk does, so each call reads one piece: whoever follows many
 * files lets the loop turn in between.
 */
#include "track.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int track_open(struct track *track, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no FIFO is waited for */
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    *track = (struct track){.fd = fd, .dev = (uint64_t)st.st_dev, .ino = (uint64_t)st.st_ino, .pending = true};
    return 0;
}

void track_close(struct track *track)
{
    if (track->fd >= 0)
        close(track->fd);
    *track = (struct track){.fd = -1};
}

bool track_is_same(const struct track *a, const struct track *b)
{
    return a->fd >= 0 && b->fd >= 0 && a->dev == b->dev && a->ino == b->ino;
}

static ssize_t read_at(const struct track *track, char *bytes, size_t len, uint64_t at)
{
    ssize_t n;
    do {
        n = pread(track->fd, bytes, len, (off_t)at);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int track_skip(struct track *track, uint64_t last_lines)
{
    char bytes[TRACK_PIECE_BYTES];
    struct stat st;
    if (fstat(track->fd, &st) < 0)
        return -errno;
    uint64_t ends_left = last_lines + 1;
    for (uint64_t to = (uint64_t)st.st_size; to > 0;) {
        size_t len = to < sizeof(bytes) ? (size_t)to : sizeof(bytes);
        ssize_t n = read_at(track, bytes, len, to - len);
        if (n < 0)
            return (int)n;
        if ((size_t)n < len)
            break; /* it is becoming shorter right now */
        for (size_t i = len; i-- > 0;) {
            if (bytes[i] == '\n' && --ends_left == 0) {
                track->at = to - len + i + 1;
                return 0;
            }
        }
        to -= len;
    }
    track->at = 0;
    return 0;
}

/* A file that is shorter than what was read of it was cut: what it holds now is new. */
static int look_for_cut(struct track *track)
{
    struct stat st;
    if (fstat(track->fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size >= track->at)
        return 0;
    track->at = 0;
    track->in_line = false;
    track->resets++;
    return 0;
}

int track_read(struct track *track, track_sink *sink, void *arg)
{
    char bytes[TRACK_PIECE_BYTES];
    int err = look_for_cut(track);
    if (err < 0)
        return err;
    ssize_t n = read_at(track, bytes, sizeof(bytes), track->at);
    if (n < 0)
        return (int)n;
    size_t len = (size_t)n, done = 0;
    for (const char *end; (end = memchr(bytes + done, '\n', len - done)) != NULL;) {
        size_t line = (size_t)(end - (bytes + done)) + 1;
        bool goes_on = sink(arg, bytes + done, line, !track->in_line);
        track->in_line = false;
        track->at += line;
        done += line;
        if (!goes_on)
            return TRACK_FULL;
    }
    if (len < sizeof(bytes))
        return TRACK_END;
    if (done > 0)
        return TRACK_MORE;
    bool goes_on = sink(arg, bytes, len, !track->in_line);
    track->in_line = true;
    track->at += len;
    return goes_on ? TRACK_MORE : TRACK_FULL;
}

void track_finish(struct track *track, track_sink *sink, void *arg)
{
    char bytes[TRACK_PIECE_BYTES + 1];
    ssize_t n = read_at(track, bytes, TRACK_PIECE_BYTES, track->at);
    if (n <= 0 && !track->in_line)
        return;
    size_t len = n > 0 ? (size_t)n : 0;
    bytes[len] = '\n';
    (void)sink(arg, bytes, len + 1, !track->in_line);
}
