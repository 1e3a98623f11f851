/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tail: follows files that grow, and prints their lines: a log follower.
 *
 * Changes come as events (ior_changes_open, inotify underneath), so a file that nobody writes to costs nothing. Each
 * file has two watches: one of the file, which says that there is more to read, and one of its directory, which says that
 * another file has got its name. So both ways of rotating are followed:
 *
 *  - by renaming: the file is renamed and a new one gets its name. The old one is read to its end first, and is followed
 *    further, since its writer may not have noticed; until the writer closes it, or the next rotation;
 *  - by copying and cutting: the file gets shorter than what was read of it, and is read from its beginning. (A file that
 *    is cut and grows past that point between two looks cannot be told from one that only grew.)
 *
 * Nothing is lost where the kernel's queue of changes overflows: then every file is looked at.
 *
 * Reading blocks as long as the disk does, so it is done in pieces, some in a turn (PIECES_OF_A_TURN). What is read is
 * sent to stdout, a stream like any other: a slow reader there stops the reading here.
 *
 * Try it:  build/release/examples/tail /var/log/syslog /tmp/my.log
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <ioreactor.h>
#include "program.h"
#include "tail/track.h"

#define MAX_FILES 1024
#define PIECES_OF_A_TURN 4                  /* of each file */
#define LOOK_AGAIN_NS (500 * IOR_NS_PER_MS) /* for a directory that is not there */

struct file {
    const char *path, *name; /* name: within its directory */
    char *directory;
    int watch;          /* of the directory; 0: it is not there */
    struct track now;   /* what has the name */
    struct track older; /* what had it before */
    bool told_missing;
    bool look_again; /* it was rotated once more, but the older one has still to be read */
};

struct tail {
    struct program *program;
    struct ior_context *cx;
    struct file *files;
    size_t count;
    ior_id changes;
    ior_id out;                /* 0: stdout is a file, which is written to */
    bool full;                 /* stdout takes no more now */
    bool named;                /* each line begins with the name of its file */
    bool at_work, looks_again; /* these timers are armed */
    uint64_t last_lines;
    int status;
};

static void say(const struct tail *tail, const struct file *file, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", tail->program->name, file->path, what);
}

static void fail(struct tail *tail, const char *what, int err)
{
    tail->status = program_fail(tail->program, what, err);
    ior_stop(tail->cx, 0);
}

/* ---- output ---- */

struct line_of {
    struct tail *tail;
    const struct file *file;
};

static bool write_all(struct tail *tail, struct iovec *iov, int n)
{
    for (int i = 0; i < n;) {
        ssize_t written = writev(STDOUT_FILENO, iov + i, n - i);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            fail(tail, "cannot write", errno);
            return false;
        }
        for (; i < n && (size_t)written >= iov[i].iov_len; i++)
            written -= (ssize_t)iov[i].iov_len;
        if (i < n) {
            iov[i].iov_base = (char *)iov[i].iov_base + written;
            iov[i].iov_len -= (size_t)written;
        }
    }
    return true;
}

/* A line, with the name in front of it. One that was taken when the stream became full is not asked for again. */
static bool print_line(void *arg, const char *bytes, size_t len, bool begins)
{
    const struct line_of *line = arg;
    struct tail *tail = line->tail;
    const char *path = line->file->path;
    struct iovec iov[3] = {{.iov_base = (void *)(uintptr_t)path, .iov_len = strlen(path)},
                           {.iov_base = (void *)(uintptr_t) ": ", .iov_len = 2},
                           {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len}};
    int first = tail->named && begins ? 0 : 2;
    if (!tail->out)
        return write_all(tail, iov + first, 3 - first);
    int r = ior_sendv(tail->cx, tail->out, iov + first, 3 - first);
    if (r < 0)
        fail(tail, "cannot write", r);
    tail->full = r == 1;
    return r == 0;
}

/* ---- reading ---- */

static void forget_track(struct tail *tail, struct track *track)
{
    if (track->watch)
        (void)ior_changes_remove(tail->cx, tail->changes, track->watch);
    track_close(track);
}

/* Reads a few pieces. False: there is more, or no room for it. */
static bool read_on(struct tail *tail, const struct file *file, struct track *track)
{
    struct line_of line = {tail, file};
    for (int i = 0; track->pending && i < PIECES_OF_A_TURN; i++) {
        unsigned resets = track->resets;
        int r = tail->full ? (int)TRACK_FULL : track_read(track, print_line, &line);
        if (track->resets != resets)
            say(tail, file, "was cut: reading from its beginning");
        if (r < 0)
            say(tail, file, ior_strerror(r));
        if (r == TRACK_FULL)
            return false;
        if (r == TRACK_END || r < 0)
            track->pending = false;
    }
    return !track->pending;
}

static void look(struct tail *tail, struct file *file);

/* The older one first: its lines are older. */
static bool read_file(struct tail *tail, struct file *file)
{
    struct line_of line = {tail, file};
    if (!read_on(tail, file, &file->older))
        return false;
    if (file->look_again && !tail->full) {
        look(tail, file); /* what was the newer one is the older one now */
        if (!read_on(tail, file, &file->older))
            return false;
    }
    if (file->older.is_over && !tail->full) {
        track_finish(&file->older, print_line, &line);
        forget_track(tail, &file->older);
    }
    return read_on(tail, file, &file->now);
}

static void work(struct tail *tail)
{
    bool more = false;
    for (size_t i = 0; i < tail->count; i++)
        more = !read_file(tail, &tail->files[i]) || more;
    if (more && !tail->full && !tail->at_work) {
        ior_timer_id id;
        int err = ior_timer_set(tail->cx, 0, tail, &id); /* in the next turn */
        tail->at_work = err == 0;
        if (err < 0 && err != -ESHUTDOWN)
            fail(tail, "cannot set a timer", err);
    }
}

/* ---- looking ---- */

/* The track's own file is watched, whatever its name is by now. */
static int watch_track(struct tail *tail, struct track *track)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", track->fd);
    return ior_changes_add(tail->cx, tail->changes, path, IOR_CHANGE_MODIFIED | IOR_CHANGE_CLOSED_WRITTEN,
                           &track->watch);
}

/* Rotated twice: the oldest is read to its end now. Where stdout takes no more, the newest is looked for later. */
static bool older_is_read(struct tail *tail, struct file *file)
{
    file->look_again = false;
    if (file->older.fd < 0)
        return true;
    file->older.pending = true;
    while (!read_on(tail, file, &file->older) && !tail->full) {
    }
    file->look_again = tail->full;
    return !file->look_again;
}

/* Looks what has the name now. */
static void look(struct tail *tail, struct file *file)
{
    struct line_of line = {tail, file};
    struct track found;
    int err = track_open(&found, file->path);
    if (err < 0) {
        if (!file->told_missing)
            say(tail, file,
                err == -EINVAL   ? "is no regular file"
                : err == -ENOENT ? "is not there"
                                 : ior_strerror(err));
        file->told_missing = true;
        return;
    }
    file->told_missing = false;
    if (track_is_same(&found, &file->now) || track_is_same(&found, &file->older) || !older_is_read(tail, file)) {
        track_close(&found);
        return;
    }
    err = watch_track(tail, &found);
    if (err < 0) {
        say(tail, file, err == -EEXIST ? "is followed already, by another name" : ior_strerror(err));
        track_close(&found);
        return;
    }
    if (file->older.fd >= 0) {
        track_finish(&file->older, print_line, &line);
        forget_track(tail, &file->older);
    }
    if (file->now.fd >= 0)
        say(tail, file, "was replaced: following the new file");
    file->older = file->now;
    file->older.pending = file->older.fd >= 0;
    file->now = found;
}

/* Watches the directory, which files may share, before the file is looked for: so nothing is missed in between. */
static void watch_directory(struct tail *tail, struct file *file)
{
    const unsigned mask = IOR_CHANGE_CREATED | IOR_CHANGE_MOVED_TO | IOR_CHANGE_SELF_MOVED | IOR_CHANGE_ONLY_DIRECTORY;
    for (struct file *other = tail->files; other < tail->files + tail->count && file->watch == 0; other++) {
        struct stat a, b;
        if (other->watch != 0 && stat(other->directory, &a) == 0 && stat(file->directory, &b) == 0 &&
            a.st_dev == b.st_dev && a.st_ino == b.st_ino)
            file->watch = other->watch;
    }
    if (file->watch == 0) {
        int err = ior_changes_add(tail->cx, tail->changes, file->directory, mask, &file->watch);
        if (err < 0 && !file->told_missing)
            say(tail, file, ior_strerror(err));
        file->told_missing = file->told_missing || err < 0;
        if (err < 0 && !tail->looks_again) {
            ior_timer_id id;
            tail->looks_again = ior_timer_set(tail->cx, LOOK_AGAIN_NS, NULL, &id) == 0;
        }
    }
    if (file->watch != 0)
        look(tail, file);
}

/* ---- events ---- */

/* A directory was removed, or has another name now: what has its name is looked for. */
static void directory_gone(struct tail *tail, int watch)
{
    (void)ior_changes_remove(tail->cx, tail->changes, watch);
    for (size_t i = 0; i < tail->count; i++) {
        if (tail->files[i].watch == watch)
            tail->files[i].watch = 0;
    }
    for (size_t i = 0; i < tail->count; i++) {
        if (tail->files[i].watch == 0)
            watch_directory(tail, &tail->files[i]);
    }
}

static void on_change(struct tail *tail, const struct ior_change *change)
{
    if (change->mask & (IOR_CHANGE_GONE | IOR_CHANGE_SELF_MOVED)) {
        directory_gone(tail, change->watch);
        return;
    }
    for (struct file *file = tail->files; file < tail->files + tail->count; file++) {
        bool lost = (change->mask & IOR_CHANGE_OVERFLOW) != 0;
        if (lost || (file->watch == change->watch && change->name && strcmp(change->name, file->name) == 0))
            look(tail, file);
        struct track *tracks[] = {&file->now, &file->older};
        for (int i = 0; i < 2; i++) {
            if (tracks[i]->fd < 0 || (tracks[i]->watch != change->watch && !lost))
                continue;
            tracks[i]->pending = true;
            if (i == 1 && (change->mask & IOR_CHANGE_CLOSED_WRITTEN))
                tracks[i]->is_over = true;
        }
    }
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct tail *tail = self;
    (void)cx;
    if (ev->type == IOR_EV_CHANGED) {
        on_change(tail, ev->change);
        work(tail);
    } else if (ev->type == IOR_EV_DRAINED) {
        tail->full = false;
        work(tail);
    } else if (ev->type == IOR_EV_END && ev->end.why == IOR_ERROR && ev->end.error != EPIPE) {
        fail(tail, ev->id == tail->out ? "cannot write" : "cannot watch", ev->end.error);
    } else if (ev->type == IOR_EV_END && ev->id == tail->out) {
        ior_stop(tail->cx, 0); /* nobody reads any more */
    }
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct tail *tail = self;
    (void)cx;
    (void)id;
    if (user) {
        tail->at_work = false;
    } else {
        tail->looks_again = false;
        directory_gone(tail, 0);
    }
    work(tail);
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .transport = on_transport,
    .timer = on_timer,
};

/* ---- beginning ---- */

/* stdout becomes a stream; 0 or -errno. A terminal gets back in the end what being one changes. */
static int open_output(struct tail *tail)
{
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode))
        return 0;
    const struct ior_serial_options terminal = {.struct_size = sizeof(terminal), .cooked = true};
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    bool writes_only = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    int err =
        isatty(fd) ? ior_serial_adopt(tail->cx, fd, &terminal, &tail->out) : ior_adopt(tail->cx, fd, NULL, &tail->out);
    if (err < 0)
        close(fd);
    else if (!writes_only)
        (void)ior_pause(tail->cx, tail->out); /* what is typed is not for us */
    return err;
}

static int open_files(struct tail *tail, char **paths, size_t count)
{
    tail->files = calloc(count, sizeof(*tail->files));
    if (!tail->files)
        return -ENOMEM;
    for (tail->count = 0; tail->count < count; tail->count++) {
        struct file *file = &tail->files[tail->count];
        const char *slash = strrchr(paths[tail->count], '/');
        size_t len = slash ? (size_t)(slash - paths[tail->count]) : 1;
        *file = (struct file){.path = paths[tail->count], .now.fd = -1, .older.fd = -1};
        file->name = slash ? slash + 1 : file->path;
        file->directory = strndup(!slash ? "." : len == 0 ? "/" : file->path, len ? len : 1);
        if (!file->directory)
            return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        struct file *file = &tail->files[i];
        watch_directory(tail, file);
        int err = file->now.fd >= 0 ? track_skip(&file->now, tail->last_lines) : 0;
        if (err < 0)
            return err;
    }
    work(tail);
    return 0;
}

static void close_files(struct tail *tail)
{
    for (size_t i = 0; i < tail->count; i++) {
        track_close(&tail->files[i].now);
        track_close(&tail->files[i].older);
        free(tail->files[i].directory);
    }
    free(tail->files);
}

int main(int argc, char **argv)
{
    struct tail tail = {.last_lines = 10};
    const struct program_option options[] = {
        {"--lines", "N", "begin with the last N lines of each file", PROGRAM_NUMBER, &tail.last_lines, 0, 1000000},
        {.name = NULL},
    };
    struct program program = {
        .name = "tail",
        .summary = "Prints the lines that files get, and follows them when they are rotated.",
        .options = options,
        .operands = "FILE...",
    };
    program_init(&program, argc, argv);
    if (program.operand_count == 0)
        program_bad_option(&program, "FILE", NULL, "name a file to follow");
    if (program.operand_count > MAX_FILES)
        program_bad_option(&program, "FILE", NULL, "these are too many");
    tail.program = &program;
    tail.named = program.operand_count > 1;

    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, &tail, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);
    tail.cx = ior_runtime_context(rt);
    int status = PROGRAM_EXIT_FAILURE;
    if ((err = ior_changes_open(tail.cx, NULL, &tail.changes)) < 0)
        program_fail(&program, "cannot watch for changes", err);
    else if ((err = open_output(&tail)) < 0)
        program_fail(&program, "cannot write to stdout", err);
    else if ((err = open_files(&tail, program.operand, (size_t)program.operand_count)) < 0)
        program_fail(&program, "cannot begin", err);
    else
        status = program_run(&program, rt);
    ior_runtime_free(rt);
    close_files(&tail);
    return status ? status : tail.status;
}
