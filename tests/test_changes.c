/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of files and directories: what happened is told with its whole name, in order, and nothing of a watch that is
 * no more. Where the kernel cannot be brought to do something, a pipe says what an inotify fd would.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/live.h"
#include "support/probe.h"

#define ALL_OF_A_DIRECTORY                                                                                         \
    (IOR_CHANGE_CREATED | IOR_CHANGE_DELETED | IOR_CHANGE_MOVED_FROM | IOR_CHANGE_MOVED_TO | IOR_CHANGE_MODIFIED | \
     IOR_CHANGE_ATTRIBUTES)

enum { MOST = 40000 };

/* What was told. */
static struct {
    struct {
        uint32_t mask, cookie;
        int watch;
        char name[300];
    } events[MOST];
    size_t n;
    void (*then)(struct probe *p, ior_id id); /* in each event */
} told;

static void on_change(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_CHANGED)
        return;
    assert_true(told.n < MOST);
    const struct ior_change *change = ev->change;
    told.events[told.n].mask = change->mask;
    told.events[told.n].cookie = change->cookie;
    told.events[told.n].watch = change->watch;
    told.events[told.n].name[0] = '\0';
    if (change->name != NULL) {
        assert_int_equal(strlen(change->name), change->name_len);
        assert_true(change->name_len < sizeof(told.events[0].name));
        memcpy(told.events[told.n].name, change->name, change->name_len + 1);
    } else {
        assert_int_equal(change->name_len, 0);
    }
    told.n++;
    if (told.then != NULL)
        told.then(p, ev->id);
}

static struct probe *with_changes(const struct ior_config *config, ior_id *id)
{
    struct probe *p = probe_new(config);
    told.n = 0;
    told.then = NULL;
    p->on_event = on_change;
    assert_int_equal(ior_changes_open(p->cx, &told, id), 0);
    return p;
}

static void expect(size_t i, int watch, uint32_t mask, const char *name)
{
    assert_true(i < told.n);
    if (told.events[i].watch != watch || told.events[i].mask != mask || strcmp(told.events[i].name, name) != 0)
        fail_msg("event %zu: watch %d, mask %x, name %s", i, told.events[i].watch, told.events[i].mask,
                 told.events[i].name);
}

/* Everything that was there is told when what comes behind it is. */
static void settle(struct probe *p, ior_id id, const char *dir)
{
    char path[512];
    int watch;
    (void)snprintf(path, sizeof(path), "%s/last", dir);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ior_changes_add(p->cx, id, path, IOR_CHANGE_CLOSED_WRITTEN, &watch), 0);
    close(fd);
    probe_until(p, told.n > 0 && told.events[told.n - 1].watch == watch);
    told.n--;
    assert_int_equal(ior_changes_remove(p->cx, id, watch), 0);
    assert_int_equal(unlink(path), 0);
}

/* A folder, and paths in it. */
static char *dir;
static char path_of[4][600];

static const char *in_dir(const char *name)
{
    static unsigned next;
    char *path = path_of[next++ % 4];
    (void)snprintf(path, sizeof(path_of[0]), "%s/%s", dir, name);
    return path;
}

static int make(const char *name)
{
    int fd = open(in_dir(name), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static int set_up(void **state)
{
    (void)state;
    dir = net_temp_dir();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    net_temp_dir_remove(dir);
    return 0;
}

static void what_happens_in_a_directory(void **state)
{
    ior_id id;
    struct probe *p = with_changes(NULL, &id);
    int watch;
    (void)state;
    assert_int_equal(ior_changes_add(p->cx, id, dir, ALL_OF_A_DIRECTORY, &watch), 0);
    int fd = make("a");
    net_write(fd, "x", 1);
    assert_int_equal(rename(in_dir("a"), in_dir("b")), 0);
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(unlink(in_dir("b")), 0);
    assert_int_equal(mkdir(in_dir("sub"), 0700), 0);
    assert_int_equal(rmdir(in_dir("sub")), 0);
    close(fd);
    probe_until(p, told.n >= 8);
    expect(0, watch, IOR_CHANGE_CREATED, "a");
    expect(1, watch, IOR_CHANGE_MODIFIED, "a");
    expect(2, watch, IOR_CHANGE_MOVED_FROM, "a");
    expect(3, watch, IOR_CHANGE_MOVED_TO, "b");
    assert_true(told.events[2].cookie != 0 && told.events[2].cookie == told.events[3].cookie);
    expect(4, watch, IOR_CHANGE_ATTRIBUTES, "b");
    expect(5, watch, IOR_CHANGE_DELETED, "b");
    expect(6, watch, IOR_CHANGE_CREATED | IOR_CHANGE_IS_DIRECTORY, "sub");
    expect(7, watch, IOR_CHANGE_DELETED | IOR_CHANGE_IS_DIRECTORY, "sub");
    assert_ptr_equal(probe_of(p, id)->user, &told);
    probe_free(p);
}

static void what_happens_to_a_file(void **state)
{
    ior_id id;
    struct probe *p = with_changes(NULL, &id);
    const unsigned mask = IOR_CHANGE_OPENED | IOR_CHANGE_READ | IOR_CHANGE_CLOSED | IOR_CHANGE_CLOSED_WRITTEN |
                          IOR_CHANGE_SELF_MOVED | IOR_CHANGE_SELF_DELETED;
    char byte;
    int watch, fd = make("f");
    (void)state;
    net_write(fd, "x", 1);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("f"), mask, &watch), 0);
    close(fd);
    fd = open(in_dir("f"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    assert_int_equal(rename(in_dir("f"), in_dir("g")), 0);
    assert_int_equal(unlink(in_dir("g")), 0);
    probe_until(p, told.n >= 7);
    expect(0, watch, IOR_CHANGE_CLOSED_WRITTEN, "");
    expect(1, watch, IOR_CHANGE_OPENED, "");
    expect(2, watch, IOR_CHANGE_READ, "");
    expect(3, watch, IOR_CHANGE_CLOSED, "");
    expect(4, watch, IOR_CHANGE_SELF_MOVED, "");
    expect(5, watch, IOR_CHANGE_SELF_DELETED, "");
    expect(6, watch, IOR_CHANGE_GONE, "");
    assert_int_equal(ior_changes_remove(p->cx, id, watch), -ENOENT);
    probe_free(p);
}

static void bad_requests(void **state)
{
    ior_id id, stream;
    struct probe *p = with_changes(NULL, &id);
    int watch = -7, peer;
    (void)state;
    stream = probe_unix(p, NULL, &peer);
    close(make("f"));
    assert_int_equal(ior_changes_open(p->cx, NULL, NULL), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, NULL, IOR_CHANGE_READ, &watch), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_READ, NULL), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, dir, 0, &watch), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_ONLY_DIRECTORY, &watch), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_READ | IOR_CHANGE_GONE, &watch), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_READ | 1u << 31, &watch), -EINVAL);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("none"), IOR_CHANGE_READ, &watch), -ENOENT);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("f"), IOR_CHANGE_READ | IOR_CHANGE_ONLY_DIRECTORY, &watch),
                     -ENOTDIR);
    assert_int_equal(ior_changes_add(p->cx, stream, dir, IOR_CHANGE_READ, &watch), -EOPNOTSUPP);
    assert_int_equal(ior_changes_remove(p->cx, stream, 1), -EOPNOTSUPP);
    assert_int_equal(watch, -7);
    for (int i = -1; i < 3; i++)
        assert_int_equal(ior_changes_remove(p->cx, id, i), -ENOENT);
    assert_int_equal(ior_send(p->cx, id, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_interest(p->cx, id, IOR_READ), -EOPNOTSUPP);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("f"), IOR_CHANGE_READ, &watch), 0);
    assert_true(watch > 0);
    assert_int_equal(link(in_dir("f"), in_dir("g")), 0);
    int other;
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("g"), IOR_CHANGE_MODIFIED, &other), -EEXIST);
    assert_int_equal(symlink("f", in_dir("s")), 0);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("s"), IOR_CHANGE_MODIFIED, &other), -EEXIST);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("s"), IOR_CHANGE_MODIFIED | IOR_CHANGE_NO_FOLLOW, &other), 0);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_READ, &watch), -EALREADY);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_READ, &watch), -ENOENT);
    close(peer);
    probe_free(p);
}

/* A long name in its whole length, and more events than one batch holds. */
static void names_are_never_cut(void **state)
{
    enum { FILES = 100 };
    ior_id id;
    struct probe *p = with_changes(NULL, &id);
    char name[NAME_MAX + 1];
    int watch;
    (void)state;
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_CREATED | IOR_CHANGE_DELETED, &watch), 0);
    for (size_t i = 0; i < FILES; i++) {
        size_t len = i % 2 == 0 ? NAME_MAX : 1 + i;
        memset(name, 'a', len);
        name[len] = '\0';
        name[0] = (char)('!' + i / 2 % 13);
        name[len - 1] = (char)('0' + i / 26);
        close(make(name));
    }
    probe_until(p, told.n == FILES);
    for (size_t i = 0; i < FILES; i++) {
        size_t len = i % 2 == 0 ? NAME_MAX : 1 + i;
        assert_int_equal(strlen(told.events[i].name), len);
        assert_int_equal(told.events[i].name[len - 1], '0' + (int)(i / 26));
        assert_int_equal(unlink(in_dir(told.events[i].name)), 0);
    }
    probe_free(p);
}

/* What was read already of a watch is not told once it was removed. */
static int first_watch;

static void remove_the_first(struct probe *p, ior_id id)
{
    assert_int_equal(ior_changes_remove(p->cx, id, first_watch), told.n == 1 ? 0 : -ENOENT);
}

static void a_removed_watch_is_silent(void **state)
{
    ior_id id;
    struct probe *p = with_changes(NULL, &id);
    int second, fd = make("f"), other = make("g");
    (void)state;
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("f"), IOR_CHANGE_MODIFIED, &first_watch), 0);
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("g"), IOR_CHANGE_MODIFIED, &second), 0);
    assert_true(first_watch != second);
    told.then = remove_the_first;
    for (int i = 0; i < 5; i++) {
        net_write(fd, "x", 1);
        net_write(other, "x", 1);
    }
    probe_until(p, told.n >= 6);
    told.then = NULL;
    settle(p, id, dir);
    assert_int_equal(told.n, 6);
    expect(0, first_watch, IOR_CHANGE_MODIFIED, "");
    for (size_t i = 1; i < 6; i++)
        expect(i, second, IOR_CHANGE_MODIFIED, "");
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("f"), IOR_CHANGE_MODIFIED, &first_watch), 0); /* anew */
    net_write(fd, "x", 1);
    probe_until(p, told.n == 7);
    expect(6, first_watch, IOR_CHANGE_MODIFIED, "");
    close(fd);
    close(other);
    probe_free(p);
}

static void pause_it(struct probe *p, ior_id id)
{
    assert_int_equal(ior_pause(p->cx, id), 0);
}

static void a_pause_in_a_batch_loses_nothing(void **state)
{
    enum { FILES = 20 };
    ior_id id;
    struct probe *p = with_changes(NULL, &id);
    char name[16];
    int watch;
    (void)state;
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_CREATED, &watch), 0);
    told.then = pause_it;
    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        close(make(name));
    }
    for (size_t i = 0; i < FILES; i++) {
        probe_until(p, told.n == i + 1);
        probe_turns(p, 2);
        assert_int_equal(told.n, i + 1);
        assert_int_equal(ior_resume(p->cx, id), 0);
    }
    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        expect(i, watch, IOR_CHANGE_CREATED, name);
    }
    probe_free(p);
}

static void unregister_it(struct probe *p, ior_id id)
{
    if (told.n % 7 == 0)
        assert_int_equal(ior_unregister(p->cx, id), 0);
}

/* Handed over in the midst of a batch, it goes on in another runtime where it was, watches and all. */
static void a_handover_in_a_batch_loses_nothing(void **state)
{
    enum { FILES = 20 };
    ior_id id;
    struct probe *p = with_changes(NULL, &id), *q;
    char name[16];
    int watch;
    (void)state;
    assert_int_equal(ior_changes_add(p->cx, id, dir, IOR_CHANGE_CREATED, &watch), 0);
    p->keep = true;
    told.then = unregister_it;
    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        close(make(name));
    }
    probe_until(p, probe_of(p, id)->handover == 1);
    while (told.n < FILES) {
        struct ior_resource *res = probe_of(p, id)->handed;
        probe_of(p, id)->handed = NULL;
        assert_int_equal(told.n % 7, 0);
        q = probe_new(NULL);
        q->keep = true;
        q->on_event = on_change;
        assert_int_equal(ior_register(q->cx, res, &id), 0);
        probe_until(q, probe_of(q, id)->handover == 1 || told.n == FILES);
        probe_free(p);
        p = q;
    }
    p->keep = false;
    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        expect(i, watch, IOR_CHANGE_CREATED, name);
    }
    assert_int_equal(ior_changes_remove(p->cx, id, watch), 0);
    probe_free(p);
}

static uint64_t kernel_limit(const char *name)
{
    char path[128], text[32] = "";
    (void)snprintf(path, sizeof(path), "/proc/sys/fs/inotify/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 ? strtoull(text, NULL, 10) : UINT64_MAX;
}

static void an_overflow_is_told(void **state)
{
    uint64_t limit = kernel_limit("max_queued_events");
    ior_id id;
    (void)state;
    if (limit > MOST - 100) {
        print_message("skipped: the kernel keeps %llu events\n", (unsigned long long)limit);
        skip();
    }
    struct probe *p = with_changes(NULL, &id);
    int watch, fd = make("f");
    assert_int_equal(ior_changes_add(p->cx, id, in_dir("f"), IOR_CHANGE_MODIFIED | IOR_CHANGE_ATTRIBUTES, &watch), 0);
    for (uint64_t i = 0; i < limit + 100; i += 2) {
        net_write(fd, "x", 1);
        assert_int_equal(fchmod(fd, 0600), 0);
    }
    probe_until(p, told.n > 0 && told.events[told.n - 1].mask == IOR_CHANGE_OVERFLOW);
    assert_int_equal(told.n, limit + 1);
    expect(told.n - 1, -1, IOR_CHANGE_OVERFLOW, "");
    told.n = 0;
    net_write(fd, "x", 1); /* and it goes on */
    probe_until(p, told.n == 1);
    expect(0, watch, IOR_CHANGE_MODIFIED, "");
    assert_int_equal(unlink(in_dir("f")), 0);
    close(fd);
    probe_until(p, told.events[told.n - 1].mask == IOR_CHANGE_GONE);
    assert_int_equal(ior_changes_remove(p->cx, id, watch), -ENOENT);
    probe_free(p);
}

/* ---- a pipe in the place of the kernel ---- */

static int say_fd, next_watch, add_error, remove_error, open_error;
static int read_errors[4]; /* the next reads */
static unsigned adds, removes;

static int fake_open(void *arg)
{
    int fds[2];
    (void)arg;
    if (open_error != 0)
        return -open_error;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    say_fd = fds[1];
    return fds[0];
}

static int fake_add(void *arg, int fd, const char *path, uint32_t mask)
{
    (void)arg;
    (void)fd;
    (void)path;
    (void)mask;
    adds++;
    return add_error != 0 ? -add_error : next_watch;
}

static int fake_remove(void *arg, int fd, int watch)
{
    (void)arg;
    (void)fd;
    (void)watch;
    removes++;
    return -remove_error;
}

static ssize_t fake_read(void *arg, int fd, void *bytes, size_t len)
{
    for (size_t i = 0; i < sizeof(read_errors) / sizeof(read_errors[0]); i++) {
        int err = read_errors[i];
        read_errors[i] = 0;
        if (err != 0)
            return -err;
    }
    return ior_os_default()->read(arg, fd, bytes, len);
}

static void say(int watch, uint32_t mask, const char *name)
{
    unsigned char bytes[sizeof(struct inotify_event) + 16] = {0};
    struct inotify_event event = {.wd = watch, .mask = mask, .len = name != NULL ? 16 : 0};
    memcpy(bytes, &event, sizeof(event));
    if (name != NULL)
        (void)snprintf((char *)bytes + sizeof(event), 16, "%s", name);
    net_write(say_fd, bytes, sizeof(event) + event.len);
}

static struct ior_os fake_os;

static struct ior_config fake_config(void)
{
    struct ior_config config = probe_config();
    fake_os = *ior_os_default();
    fake_os.changes_open = fake_open;
    fake_os.changes_add = fake_add;
    fake_os.changes_remove = fake_remove;
    fake_os.read = fake_read;
    config.os = &fake_os;
    open_error = add_error = remove_error = 0;
    memset(read_errors, 0, sizeof(read_errors));
    return config;
}

static int add(struct probe *p, ior_id id, int watch)
{
    int got = -1;
    next_watch = watch;
    int err = ior_changes_add(p->cx, id, "f", IOR_CHANGE_MODIFIED, &got);
    assert_int_equal(got, err == 0 ? watch : -1);
    return err;
}

/* The kernel's numbers come again: what belongs to an earlier life of one is not told. */
static void numbers_that_come_again(void **state)
{
    struct ior_config config = fake_config();
    ior_id id;
    struct probe *p = with_changes(&config, &id);
    (void)state;
    assert_int_equal(add(p, id, 5), 0);
    say(5, IN_MODIFY, NULL);
    probe_until(p, told.n == 1);
    say(5, IN_MODIFY, "old"); /* these are queued when it is removed */
    assert_int_equal(ior_changes_remove(p->cx, id, 5), 0);
    assert_int_equal(ior_changes_remove(p->cx, id, 5), -ENOENT);
    assert_int_equal(removes, 1);
    say(5, IN_IGNORED, NULL);
    assert_int_equal(add(p, id, 5), 0); /* the number anew, twice */
    say(5, IN_MODIFY, "between");
    assert_int_equal(ior_changes_remove(p->cx, id, 5), 0);
    say(5, IN_IGNORED, NULL);
    assert_int_equal(add(p, id, 5), 0);
    say(5, IN_MODIFY, "new");
    say(6, IN_MODIFY, "unknown");
    say(5, IN_UNMOUNT, NULL);
    say(5, IN_IGNORED, NULL);
    say(5, IN_MODIFY, "past its end");
    say(-1, IN_Q_OVERFLOW, NULL);
    probe_until(p, told.events[told.n - 1].mask == IOR_CHANGE_OVERFLOW);
    assert_int_equal(told.n, 5);
    expect(1, 5, IOR_CHANGE_MODIFIED, "new");
    expect(2, 5, IOR_CHANGE_UNMOUNTED, "");
    expect(3, 5, IOR_CHANGE_GONE, "");
    expect(4, -1, IOR_CHANGE_OVERFLOW, "");
    close(say_fd);
    probe_until(p, probe_of(p, id)->end == 1);
    probe_free(p);
}

/* After an overflow nobody waits for what may have been dropped. */
static void after_an_overflow(void **state)
{
    struct ior_config config = fake_config();
    ior_id id;
    struct probe *p = with_changes(&config, &id);
    (void)state;
    for (int watch = 1; watch <= 40; watch++)
        assert_int_equal(add(p, id, watch), 0);
    for (int watch = 1; watch <= 40; watch += 2)
        assert_int_equal(ior_changes_remove(p->cx, id, watch), 0);
    say(-1, IN_Q_OVERFLOW, NULL);
    probe_until(p, told.n == 1);
    for (int watch = 1; watch <= 40; watch += 2)
        assert_int_equal(add(p, id, watch), 0); /* their IN_IGNORED was lost */
    for (int watch = 1; watch <= 40; watch++)
        say(watch, IN_MODIFY, NULL);
    probe_until(p, told.n == 41);
    remove_error = EINVAL; /* the kernel has dropped it, and said so; that was lost */
    assert_int_equal(ior_changes_remove(p->cx, id, 7), 0);
    assert_int_equal(add(p, id, 7), 0);
    say(7, IN_MODIFY, NULL);
    probe_until(p, told.n == 42);
    expect(41, 7, IOR_CHANGE_MODIFIED, "");
    close(say_fd);
    probe_free(p);
}

/* The table of watches against a plain array, with numbers that collide. */
static void many_watches_come_and_go(void **state)
{
    enum { RANGE = 600 };
    static unsigned char live[RANGE], past[RANGE];
    struct ior_config config = fake_config();
    ior_id id;
    struct probe *p = with_changes(&config, &id);
    uint32_t random = 1;
    size_t expected = 0;
    (void)state;
    memset(live, 0, sizeof(live));
    memset(past, 0, sizeof(past));
    for (int step = 0; step < 20000; step++) {
        random = random * UINT32_C(1664525) + UINT32_C(1013904223);
        int i = (int)(random >> 16) % RANGE, watch = 1 + i * (i % 3 == 0 ? 64 : 1) * (i % 7 == 0 ? 1024 : 1);
        if (i % 3 == 0 && i % 7 != 0)
            continue; /* numbers that could be another's */
        switch (random >> 8 & 3) {
        case 0:
            if (!live[i] && past[i] < 3) {
                assert_int_equal(add(p, id, watch), 0);
                live[i] = 1;
            }
            break;
        case 1:
            assert_int_equal(ior_changes_remove(p->cx, id, watch), live[i] ? 0 : -ENOENT);
            past[i] += live[i];
            live[i] = 0;
            break;
        case 2:
            say(watch, IN_IGNORED, NULL);
            if (past[i] > 0) {
                past[i]--;
            } else {
                expected += live[i];
                live[i] = 0;
            }
            break;
        default:
            say(watch, IN_MODIFY, NULL);
            expected += live[i] && past[i] == 0;
            break;
        }
        probe_turns(p, 1);
        if (told.n != expected)
            fail_msg("step %d: %zu told instead of %zu", step, told.n, expected);
    }
    close(say_fd);
    probe_free(p);
}

static void in_bounded_turns(void **state)
{
    enum { EVENTS = 4000 };
    struct ior_config config = fake_config();
    ior_id id;
    config.reads = 1;
    struct probe *p = with_changes(&config, &id);
    unsigned turns = 0;
    (void)state;
    assert_int_equal(add(p, id, 1), 0);
    for (int i = 0; i < EVENTS; i++)
        say(1, IN_MODIFY, NULL);
    for (size_t before = 0; told.n < EVENTS; turns++, before = told.n) {
        probe_turns(p, 1);
        assert_true(told.n - before <= 8192 / sizeof(struct inotify_event));
    }
    assert_in_range(turns, 7, 20);
    close(say_fd);
    probe_free(p);
}

/* ---- faults ---- */

static void errors_are_answers(void **state)
{
    static const int errors[] = {EACCES, ENOSPC, ENOMEM, ENOENT, EMFILE};
    struct ior_config config = fake_config();
    size_t before = net_fd_count();
    ior_id id;
    struct probe *p = probe_new(&config);
    (void)state;
    size_t with_runtime = net_fd_count();
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        id = 77;
        open_error = errors[i];
        assert_int_equal(ior_changes_open(p->cx, NULL, &id), -errors[i]);
        assert_int_equal(id, 77);
    }
    open_error = 0;
    assert_int_equal(net_fd_count(), with_runtime);
    assert_int_equal(ior_changes_open(p->cx, NULL, &id), 0);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        add_error = errors[i];
        assert_int_equal(add(p, id, 1), -errors[i]);
        assert_int_equal(ior_changes_remove(p->cx, id, 1), -ENOENT);
    }
    close(say_fd);
    probe_free(p);
    fake_os.changes_open = NULL; /* elsewhere */
    p = probe_new(&config);
    assert_int_equal(ior_changes_open(p->cx, NULL, &id), -EOPNOTSUPP);
    probe_free(p);
    assert_int_equal(net_fd_count(), before);
}

static void errors_of_reading(void **state)
{
    static const int passing[] = {EINTR, EAGAIN, ENOMEM, ENOBUFS};
    struct ior_config config = fake_config();
    ior_id id;
    struct probe *p = with_changes(&config, &id);
    (void)state;
    assert_int_equal(add(p, id, 1), 0);
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        read_errors[0] = read_errors[1] = passing[i];
        say(1, IN_MODIFY, NULL);
        probe_until(p, told.n == i + 1);
    }
    assert_int_equal(probe_of(p, id)->errors, 2); /* without memory: once for each spell */
    read_errors[0] = EIO;
    say(1, IN_MODIFY, NULL);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, EIO);
    close(say_fd);
    probe_free(p);
}

static void each_allocation_fails(void **state)
{
    (void)state;
    for (uint64_t nth = 1, failed = 1; failed > 0; nth++) {
        struct ior_config config = fake_config();
        ior_id id = 0;
        live_alloc_start();
        struct probe *p = probe_new(&config);
        size_t before = net_fd_count();
        live_alloc_fail(nth, true);
        int err = ior_changes_open(p->cx, NULL, &id);
        bool open = err == 0;
        assert_true(err == 0 || err == -ENOMEM);
        bool made = live_alloc_calls() > 1; /* the pipe was, of which this end is the test's */
        if (!open)
            assert_int_equal(net_fd_count(), before + made);
        adds = 0;
        for (int watch = 1; open && watch < 30; watch++) {
            unsigned had = adds;
            err = add(p, id, watch);
            if (err < 0) {
                assert_int_equal(err, -ENOMEM);
                assert_int_equal(adds, had); /* the kernel was not asked */
                break;
            }
        }
        failed = live_alloc_refused();
        live_alloc_fail(0, false);
        if (!open && made)
            close(say_fd);
        if (open) {
            assert_int_equal(add(p, id, 30), 0);
            say(30, IN_MODIFY, NULL);
            p->on_event = on_change;
            told.n = 0;
            probe_until(p, told.n == 1);
            close(say_fd);
        }
        probe_free(p);
        live_alloc_stop();
        assert_true(nth > 1 || failed > 0);
    }
}

static void shut_down_with_watches(void **state)
{
    ior_id id;
    size_t before = net_fd_count();
    struct probe *p = with_changes(NULL, &id);
    int watch;
    (void)state;
    assert_int_equal(ior_changes_add(p->cx, id, dir, ALL_OF_A_DIRECTORY, &watch), 0);
    close(make("f"));
    ior_stop(p->cx, IOR_NEVER);
    assert_int_equal(ior_runtime_run(p->rt), 0);
    assert_int_equal(probe_of(p, id)->end, 1);
    assert_int_equal(probe_of(p, id)->why, IOR_SHUTDOWN);
    assert_int_equal(ior_changes_open(p->cx, NULL, &id), -ESHUTDOWN);
    probe_free(p);
    assert_int_equal(net_fd_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_happens_in_a_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_happens_to_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_never_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_removed_watch_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pause_in_a_batch_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_handover_in_a_batch_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_overflow_is_told, set_up, tear_down),
        cmocka_unit_test(numbers_that_come_again),
        cmocka_unit_test(after_an_overflow),
        cmocka_unit_test(many_watches_come_and_go),
        cmocka_unit_test(in_bounded_turns),
        cmocka_unit_test(errors_are_answers),
        cmocka_unit_test(errors_of_reading),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test_setup_teardown(shut_down_with_watches, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
