/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals and serial devices, on pseudo-terminals: every byte passes, options are in force or refused, and whatever
 * ends the stream, the terminal is as it was before.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/live.h"
#include "support/probe.h"

/* Some requests have the sign bit set, and musl's ioctl takes an int. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Woverflow"

#define SERIAL(...) (&(const struct ior_serial_options){.struct_size = sizeof(struct ior_serial_options), __VA_ARGS__})

/* ---- a pseudo-terminal, and how its line is set ---- */

static int master;
static char slave_path[128];

static struct ior_os_tty line(void)
{
    struct ior_os_tty now;
    assert_int_equal(ior_os_default()->tty_get(NULL, master, &now), 0); /* the master's are the line's */
    return now;
}

static bool is(const struct ior_os_tty *before)
{
    struct ior_os_tty now = line();
    return memcmp(&now, before, sizeof(now)) == 0;
}

static int set_up(void **state)
{
    (void)state;
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    assert_int_equal(ptsname_r(master, slave_path, sizeof(slave_path)), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (master >= 0)
        close(master);
    return 0;
}

static int open_slave(int flags)
{
    int fd = open(slave_path, O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
    assert_true(fd >= 0);
    return fd;
}

static ior_id open_serial(struct probe *p, const struct ior_serial_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_serial_open(p->cx, slave_path, opts, &id), 0);
    return id;
}

static unsigned char heard[4096];

static void keep_data(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)p;
    if (ev->type == IOR_EV_DATA && r->bytes <= sizeof(heard))
        memcpy(heard + r->bytes - ev->data.len, ev->data.bytes, ev->data.len);
}

/* Reads exactly so many bytes at the other side, turning meanwhile. */
static void probe_read(struct probe *p, int fd, unsigned char *bytes, size_t len)
{
    size_t got = 0;
    while (got < len) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        uint64_t end = net_now() + PROBE_LIMIT_NS;
        while (poll(&ready, 1, 0) != 1 && net_now() < end)
            probe_step(p);
        ssize_t n = read(fd, bytes + got, len - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
}

/* ---- bytes ---- */

static void every_byte_passes_both_ways(void **state)
{
    struct probe *p = probe_new(NULL);
    unsigned char all[256], back[256];
    (void)state;
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    p->on_event = keep_data;
    ior_id id = open_serial(p, SERIAL(.speed = 115200));
    net_nonblock(master);
    net_write(master, all, 256);
    probe_until(p, probe_of(p, id)->bytes == 256);
    assert_memory_equal(heard, all, 256);
    assert_int_equal(ior_send(p->cx, id, all, 256), 0);
    probe_read(p, master, back, 256);
    assert_memory_equal(back, all, 256);
    assert_int_equal(probe_of(p, id)->open, 1);
    probe_free(p);
}

/* More than the line holds is waited for. */
static void a_full_line_is_waited_for(void **state)
{
    enum { LEN = 100000 };
    struct probe *p = probe_new(NULL);
    unsigned char *bytes = net_new_pattern(LEN);
    (void)state;
    ior_id id =
        open_serial(p, SERIAL(.stream = {.struct_size = sizeof(struct ior_stream_options), .cap_bytes = 1 << 20}));
    assert_int_equal(ior_send(p->cx, id, bytes, LEN), 1);
    probe_turns(p, 3);
    assert_in_range(ior_queued(p->cx, id), 1, LEN - 1);
    unsigned char *back = malloc(LEN);
    assert_non_null(back);
    probe_read(p, master, back, LEN);
    assert_memory_equal(back, bytes, LEN);
    free(back);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->written, LEN);
    free(bytes);
    probe_free(p);
}

static void lines_where_they_are_asked_for(void **state)
{
    struct probe *p = probe_new(NULL);
    int slave = open_slave(0);
    struct ior_os_tty before = line();
    (void)state;
    p->on_event = keep_data;
    ior_id id = open_serial(p, SERIAL(.cooked = true));
    net_write(master, "half", 4);
    probe_turns(p, 5);
    assert_int_equal(probe_of(p, id)->bytes, 0);
    net_write(master, " and whole\r", 11);
    probe_until(p, probe_of(p, id)->bytes == 15);
    assert_memory_equal(heard, "half and whole\n", 15);
    probe_free(p);
    assert_true(is(&before));
    close(slave);
}

/* ---- settings ---- */

static void speeds_are_in_force(void **state)
{
    enum { WITH_A_CONSTANT = 7 };
    static const uint32_t speeds[] = {50, 1200, 9600, 38400, 115200, 921600, 4000000, 250000, 31250, 74880, 1234567};
    int slave = open_slave(0);
    struct ior_os_tty before = line();
    (void)state;
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
        struct probe *p = probe_new(NULL);
        char command[256], text[64];
        ior_id id;
        int err = ior_serial_open(p->cx, slave_path, SERIAL(.speed = speeds[i]), &id);
        if (err == -EINVAL && i >= WITH_A_CONSTANT) {
            probe_free(p); /* built without the kernel's headers */
            continue;
        }
        assert_int_equal(err, 0);
        assert_false(is(&before));
        if (i < WITH_A_CONSTANT) { /* what stty knows */
            (void)snprintf(command, sizeof(command), "stty -F %s speed", slave_path);
            FILE *stty = popen(command, "r");
            assert_non_null(stty);
            assert_non_null(fgets(text, sizeof(text), stty));
            assert_int_equal(pclose(stty), 0);
            assert_int_equal(strtoul(text, NULL, 10), speeds[i]);
        }
        assert_int_equal(ior_unregister(p->cx, id), 0);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_true(is(&before));
        probe_free(p);
    }
    close(slave);
}

/* A pseudo-terminal knows 8 bits without parity, and drops the rest in silence: then it is refused. */
static void what_the_device_does_not_take_is_refused(void **state)
{
    const struct ior_serial_options *refused[] = {
        SERIAL(.data_bits = 7),
        SERIAL(.data_bits = 5),
        SERIAL(.parity = IOR_PARITY_EVEN),
        SERIAL(.parity = IOR_PARITY_ODD),
        SERIAL(.parity = IOR_PARITY_MARK),
        SERIAL(.parity = IOR_PARITY_SPACE),
    };
    struct probe *p = probe_new(NULL);
    int slave = open_slave(0);
    struct ior_os_tty before = line();
    size_t fds = net_fd_count();
    ior_id id = 77;
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(ior_serial_open(p->cx, slave_path, refused[i], &id), -EINVAL);
        assert_int_equal(ior_serial_adopt(p->cx, slave, refused[i], &id), -EINVAL);
        assert_true(is(&before));
        assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
        assert_int_equal(net_fd_count(), fds);
    }
    assert_int_equal(id, 77);
    id = open_serial(p, SERIAL(.stop_bits = 2, .flow = IOR_FLOW_RTS_CTS, .modem_lines = true, .data_bits = 8,
                               .parity = IOR_PARITY_NONE));
    probe_free(p);
    assert_true(is(&before));
    close(slave);
}

static void xon_and_xoff_stop_the_output(void **state)
{
    struct probe *p = probe_new(NULL);
    unsigned char text[16];
    (void)state;
    ior_id id = open_serial(p, SERIAL(.flow = IOR_FLOW_XON_XOFF));
    net_nonblock(master);
    net_write(master, "\023!", 2);
    probe_until(p, probe_of(p, id)->bytes == 1); /* then what came before it is in force */
    assert_int_equal(ior_send(p->cx, id, "held back", 9), 0);
    probe_turns(p, 3);
    assert_int_equal(read(master, text, sizeof(text)), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(ior_queued(p->cx, id), 9);
    net_write(master, "\021", 1);
    probe_read(p, master, text, 9);
    assert_memory_equal(text, "held back", 9);
    assert_int_equal(probe_of(p, id)->bytes, 1); /* they are no data */
    probe_free(p);
}

static void bad_options(void **state)
{
    const struct ior_serial_options *bad[] = {
        SERIAL(.data_bits = 4),
        SERIAL(.data_bits = 9),
        SERIAL(.stop_bits = 3),
        SERIAL(.parity = (enum ior_parity)6),
        SERIAL(.flow = (enum ior_flow)4),
        SERIAL(.speed = UINT32_MAX),
        SERIAL(.stream = {.struct_size = 8}),
        SERIAL(.stream = {.struct_size = sizeof(struct ior_stream_options), .high_bytes = SIZE_MAX}),
        SERIAL(.stream = {.struct_size = sizeof(struct ior_stream_options), .receive_fds = true}),
        &(const struct ior_serial_options){.struct_size = 4},
    };
    struct probe *p = probe_new(NULL);
    int slave = open_slave(0), pipes[2], file = net_sparse_file(1, 0, 1), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct ior_os_tty before = line();
    size_t fds;
    ior_id id = 77;
    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    fds = net_fd_count();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ior_serial_open(p->cx, slave_path, bad[i], &id), -EINVAL);
        assert_int_equal(ior_serial_adopt(p->cx, slave, bad[i], &id), -EINVAL);
    }
    assert_int_equal(ior_serial_open(p->cx, NULL, NULL, &id), -EINVAL);
    assert_int_equal(ior_serial_open(p->cx, slave_path, NULL, NULL), -EINVAL);
    assert_int_equal(ior_serial_open(p->cx, "/dev/null", NULL, &id), -ENOTTY);
    assert_int_equal(ior_serial_open(p->cx, "/nowhere/tty", NULL, &id), -ENOENT);
    assert_int_equal(ior_serial_open(p->cx, "/", NULL, &id), -EISDIR);
    assert_int_equal(ior_serial_adopt(p->cx, -1, NULL, &id), -EBADF);
    assert_int_equal(ior_serial_adopt(p->cx, 1 << 20, NULL, &id), -EBADF);
    assert_int_equal(ior_serial_adopt(p->cx, pipes[0], NULL, &id), -ENOTTY);
    assert_int_equal(ior_serial_adopt(p->cx, file, NULL, &id), -ENOTTY);
    assert_int_equal(ior_serial_adopt(p->cx, null, NULL, &id), -ENOTTY);
    assert_int_equal(id, 77);
    assert_true(is(&before));
    assert_int_equal(net_fd_count(), fds);
    assert_int_equal(ior_serial_adopt(p->cx, slave, NULL, &id), 0);
    ior_id other = 77;
    assert_int_equal(ior_serial_adopt(p->cx, slave, NULL, &other), -EEXIST);
    assert_false(is(&before)); /* that changed nothing of the first */
    assert_int_equal(other, 77);
    close(pipes[0]);
    close(pipes[1]);
    close(file);
    close(null);
    probe_free(p);
    assert_true(is(&before));
}

/* ---- ends ---- */

static bool restored_at_end;
static struct ior_os_tty was;

static void look_at_the_end(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)p;
    (void)r;
    if (ev->type == IOR_EV_END)
        restored_at_end = is(&was);
}

enum way { CLOSE, UNREGISTER, ABORT, SHUTDOWN, FREE, WAYS };

static void whatever_ends_it_restores(void **state)
{
    int slave = open_slave(0);
    (void)state;
    was = line();
    for (int way = 0; way < WAYS; way++) {
        struct probe *p = probe_new(NULL);
        ior_id id = open_serial(p, SERIAL(.speed = 19200, .exclusive = true));
        int exclusive = 0;
        p->on_event = look_at_the_end;
        restored_at_end = false;
        probe_turns(p, 2);
        assert_false(is(&was));
#if defined(TIOCGEXCL)
        assert_int_equal(ioctl(slave, TIOCGEXCL, &exclusive), 0);
        assert_int_equal(exclusive, 1);
#endif
        if (way == CLOSE)
            assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
        else if (way == UNREGISTER)
            assert_int_equal(ior_unregister(p->cx, id), 0);
        else if (way == ABORT)
            assert_int_equal(ior_abort(p->cx, id), 0);
        else if (way == SHUTDOWN)
            ior_stop(p->cx, IOR_NEVER);
        if (way == ABORT)
            assert_true(is(&was)); /* at once */
        if (way != FREE) {
            probe_until(p, probe_of(p, id)->end == 1);
            assert_true(restored_at_end);
        }
        probe_free(p);
        assert_true(is(&was));
        assert_true(restored_at_end);
#if defined(TIOCGEXCL)
        assert_int_equal(ioctl(slave, TIOCGEXCL, &exclusive), 0);
        assert_int_equal(exclusive, 0);
#endif
    }
    close(slave);
}

static void a_handover_restores_and_registering_puts_in_force(void **state)
{
    struct probe *p = probe_new(NULL), *q = probe_new(NULL);
    int keep = open_slave(0), slave = open_slave(0);
    struct ior_os_tty before = line(), raw;
    ior_id id, other;
    (void)state;
    p->keep = q->keep = true;
    q->on_event = keep_data;
    assert_int_equal(ior_serial_adopt(p->cx, slave, SERIAL(.speed = 4800), &id), 0);
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    raw = line();
    probe_turns(p, 1);
    assert_int_equal(ior_send(p->cx, id, "later", 5), 0);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_true(is(&before));
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
    struct ior_resource *res = probe_of(p, id)->handed;
    probe_of(p, id)->handed = NULL;
    assert_int_equal(ior_register(q->cx, res, &other), 0);
    assert_true(is(&raw));
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    unsigned char text[5];
    probe_read(q, master, text, 5);
    assert_memory_equal(text, "later", 5);
    net_write(master, "\003\004\r", 3);
    probe_until(q, probe_of(q, other)->bytes == 3);
    assert_memory_equal(heard, "\003\004\r", 3);
    assert_int_equal(ior_unregister(q->cx, other), 0);
    probe_until(q, probe_of(q, other)->handover == 1);
    res = probe_of(q, other)->handed;
    probe_of(q, other)->handed = NULL;
    assert_int_equal(ior_resource_release(res), slave);
    assert_true(is(&before));
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
    close(slave);
    close(keep);
    probe_free(p);
    probe_free(q);
}

static void a_hang_up_is_the_end(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    p->on_event = keep_data;
    ior_id id = open_serial(p, NULL);
    net_write(master, "last words", 10);
    probe_until(p, probe_of(p, id)->bytes == 10);
    close(master);
    master = -1;
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    assert_int_equal(probe_of(p, id)->error, 0);
    assert_int_equal(probe_of(p, id)->eof, 1);
    probe_free(p);
}

/* A line that is asked what it has still to send, and other faults: the calls of the real system, with some replaced. */
static struct ior_os fake_os;
static int queued_looks; /* how many times more something is queued */
static unsigned dropped;
static int tty_calls, failing_call, read_error;

static int fault(void)
{
    return ++tty_calls == failing_call ? -EIO : 0;
}

static int fake_open(void *arg, const char *path)
{
    int err = fault();
    return err < 0 ? err : ior_os_default()->tty_open(arg, path);
}

static int fake_get(void *arg, int fd, struct ior_os_tty *ret)
{
    int err = fault();
    return err < 0 ? err : ior_os_default()->tty_get(arg, fd, ret);
}

static int fake_set(void *arg, int fd, const struct ior_os_tty *settings)
{
    int err = fault();
    return err < 0 ? err : ior_os_default()->tty_set(arg, fd, settings);
}

static int fake_ask(void *arg, int fd, enum ior_os_tty_ask what)
{
    int err = fault();
    if (err < 0)
        return err;
    dropped += what == IOR_TTY_DROP_QUEUED;
    if (what == IOR_TTY_QUEUED)
        return queued_looks > 0 ? queued_looks-- : 0;
    return ior_os_default()->tty_ask(arg, fd, what);
}

static int fake_nonblock(void *arg, int fd, bool on)
{
    int err = fault();
    return err < 0 ? err : ior_os_default()->set_nonblock(arg, fd, on);
}

static ssize_t fake_read(void *arg, int fd, void *bytes, size_t len)
{
    return read_error != 0 ? -read_error : ior_os_default()->read(arg, fd, bytes, len);
}

static struct ior_config fake_config(void)
{
    struct ior_config config = probe_config();
    fake_os = *ior_os_default();
    fake_os.tty_open = fake_open;
    fake_os.tty_get = fake_get;
    fake_os.tty_set = fake_set;
    fake_os.tty_ask = fake_ask;
    fake_os.set_nonblock = fake_nonblock;
    fake_os.read = fake_read;
    config.os = &fake_os;
    queued_looks = tty_calls = failing_call = read_error = 0;
    dropped = 0;
    return config;
}

/* Depending on who comes first, the kernel tells a hang-up by 0 or by EIO. */
static void a_hang_up_that_is_told_as_an_error(void **state)
{
    struct ior_config config = fake_config();
    struct probe *p = probe_new(&config);
    (void)state;
    ior_id id = open_serial(p, NULL);
    probe_turns(p, 2);
    read_error = EIO;
    net_write(master, "x", 1);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_EOF);
    probe_free(p);
}

static void a_close_waits_for_what_the_device_has_to_send(void **state)
{
    struct ior_config config = fake_config();
    struct probe *p = probe_new(&config);
    (void)state;
    ior_id id = open_serial(p, NULL);
    probe_turns(p, 2);
    queued_looks = 3;
    assert_int_equal(ior_send(p->cx, id, "slow", 4), 0);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(queued_looks, 0);
    assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
    assert_int_equal(probe_of(p, id)->written, 4);
    assert_int_equal(dropped, 0);
    probe_free(p);
}

static void a_stuck_device_is_left_at_the_deadline(void **state)
{
    struct ior_config config = fake_config();
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        struct probe *p = probe_new(&config);
        ior_id id = open_serial(p, NULL);
        was = line();
        p->on_event = look_at_the_end;
        probe_turns(p, 2);
        queued_looks = INT32_MAX;
        dropped = 0;
        if (stop)
            ior_stop(p->cx, 30 * IOR_NS_PER_MS);
        else
            assert_int_equal(ior_close(p->cx, id, 30 * IOR_NS_PER_MS), 0);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_int_equal(probe_of(p, id)->why, stop ? IOR_SHUTDOWN : IOR_TIMEOUT);
        assert_int_equal(dropped, 1);
        probe_free(p);
    }
}

/* ---- faults ---- */

static void each_call_fails(void **state)
{
    int keep = open_slave(0);
    struct ior_os_tty before = line();
    size_t fds = net_fd_count();
    unsigned refused = 0;
    (void)state;
    for (int adopt = 0; adopt < 2; adopt++) {
        bool reached = true;
        for (int nth = 1; reached; nth++) {
            struct ior_config config = fake_config();
            struct probe *p = probe_new(&config);
            int slave = adopt ? open_slave(0) : -1;
            ior_id id = 77;
            failing_call = nth;
            int err = adopt ? ior_serial_adopt(p->cx, slave, SERIAL(.exclusive = true), &id)
                            : ior_serial_open(p->cx, slave_path, SERIAL(.exclusive = true), &id);
            if (err < 0) {
                assert_int_equal(err, -EIO);
                assert_int_equal(id, 77);
                assert_true(is(&before));
                if (adopt) {
                    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
                    close(slave);
                }
                refused++;
            } else {
                assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
                probe_until(p, probe_of(p, id)->end == 1);
                assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
            }
            reached = tty_calls >= failing_call;
            probe_free(p);
            assert_int_equal(net_fd_count(), fds);
            (void)ior_os_default()->tty_set(NULL, master, &before); /* where it was just that which failed */
            (void)ior_os_default()->tty_ask(NULL, keep, IOR_TTY_SHARED);
        }
    }
    assert_in_range(refused, 8, 12);
    close(keep);
}

static unsigned interruptions;

static int interrupted_set(void *arg, int fd, const struct ior_os_tty *settings)
{
    return interruptions++ % 2 == 0 ? -EINTR : ior_os_default()->tty_set(arg, fd, settings);
}

static void interrupted_settings_are_repeated(void **state)
{
    struct ior_config config = fake_config();
    int keep = open_slave(0);
    struct ior_os_tty before = line();
    (void)state;
    fake_os.tty_set = interrupted_set;
    interruptions = 0;
    struct probe *p = probe_new(&config);
    ior_id id = open_serial(p, NULL);
    assert_false(is(&before));
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(interruptions, 4);
    assert_true(is(&before));
    probe_free(p);
    close(keep);
}

/* A terminal that was its caller's alone is so after a request that failed. */
static void a_failure_leaves_the_lock_of_the_caller(void **state)
{
    (void)state;
#if defined(TIOCGEXCL)
    for (int nth = 1; nth <= 3; nth++) {
        struct ior_config config = fake_config();
        struct probe *p = probe_new(&config);
        int slave = open_slave(0), exclusive = 0;
        ior_id id = 77;
        assert_int_equal(ioctl(slave, TIOCEXCL), 0);
        failing_call = nth;
        assert_int_equal(ior_serial_adopt(p->cx, slave, SERIAL(.exclusive = true), &id), -EIO);
        assert_int_equal(ioctl(slave, TIOCGEXCL, &exclusive), 0);
        assert_int_equal(exclusive, 1);
        assert_int_equal(ioctl(slave, TIOCNXCL), 0);
        close(slave);
        probe_free(p);
    }
#endif
}

static void each_allocation_fails(void **state)
{
    int keep = open_slave(0);
    struct ior_os_tty before = line();
    size_t fds = net_fd_count();
    (void)state;
    for (uint64_t nth = 1, failed = 1; failed > 0; nth++) {
        live_alloc_start();
        struct probe *p = probe_new(NULL);
        ior_id id = 77;
        live_alloc_fail(nth, true);
        int err = ior_serial_open(
            p->cx, slave_path,
            SERIAL(.stream = {.struct_size = sizeof(struct ior_stream_options), .user_size = 100, .idle_ns = 1}), &id);
        failed = live_alloc_refused();
        live_alloc_fail(0, false);
        assert_int_equal(err, failed > 0 ? -ENOMEM : 0);
        assert_int_equal(is(&before), failed > 0);
        if (failed == 0)
            memset(ior_user(p->cx, id), 1, 100);
        probe_free(p);
        live_alloc_stop();
        assert_true(is(&before));
        assert_int_equal(net_fd_count(), fds);
        assert_true(nth < 100);
    }
    close(keep);
}

static void where_there_are_none(void **state)
{
    struct ior_config config = fake_config();
    ior_id id;
    (void)state;
    fake_os.tty_open = NULL;
    struct probe *p = probe_new(&config);
    assert_int_equal(ior_serial_open(p->cx, slave_path, NULL, &id), -EOPNOTSUPP);
    assert_int_equal(ior_serial_adopt(p->cx, master, NULL, &id), -EOPNOTSUPP);
    probe_free(p);
}

/* ---- processes ---- */

/* A child that frees what it inherited leaves the parent's terminal as it is. */
static void a_forked_child_restores_nothing(void **state)
{
    struct probe *p = probe_new(NULL);
    ior_id id = open_serial(p, SERIAL(.speed = 2400));
    struct ior_os_tty raw = line();
    int status;
    (void)state;
    probe_turns(p, 1);
    pid_t child = fork();
    if (child == 0) {
        ior_runtime_free(p->rt);
        _exit(is(&raw) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(is(&raw));
    assert_int_equal(probe_of(p, id)->end, 0);
    probe_free(p);
}

/* A session leader without a terminal does not get one by opening a device. */
static int open_as_leader(void *arg)
{
    struct ior_config config = probe_config();
    struct ior_runtime *rt;
    ior_id id;
    static const struct ior_handler nothing = {.struct_size = sizeof(nothing)};
    (void)arg;
    if (setsid() < 0 || ior_runtime_new(&config, &nothing, NULL, &rt) < 0 ||
        ior_serial_open(ior_runtime_context(rt), slave_path, NULL, &id) < 0)
        return 1;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    ior_runtime_free(rt);
    return fd >= 0 ? 2 : 0;
}

static void it_never_becomes_the_controlling_terminal(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(open_as_leader, NULL), 0);
}

/* In the background of its terminal a program may put it back, and is not stopped for that. */
static int in_the_background(void *arg)
{
    struct ior_os_tty settings;
    int slave, status;
    (void)arg;
    if (setsid() < 0 || (slave = open(slave_path, O_RDWR)) < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
        return 1;
    pid_t job = fork();
    if (job == 0) {
        const struct ior_os *os = ior_os_default();
        if (setpgid(0, 0) < 0 || os->tty_get(NULL, slave, &settings) < 0)
            _exit(2);
        _exit(os->tty_set(NULL, slave, &settings) < 0 ? 3 : 0);
    }
    if (waitpid(job, &status, WUNTRACED) != job)
        return 4;
    if (WIFSTOPPED(status)) {
        kill(job, SIGKILL);
        return 5;
    }
    return WEXITSTATUS(status);
}

static void putting_back_does_not_stop_a_job_in_the_background(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(in_the_background, NULL), 0);
}

/* ---- other byte streams, by ior_adopt ---- */

static void both_ends_of_a_fifo(void **state)
{
    struct probe *p = probe_new(NULL);
    char *dir = net_temp_dir(), path[256];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    p->on_event = keep_data;
    int in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), out = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(in >= 0 && out >= 0);
    ior_id reader = probe_adopt(p, in, NULL), writer = probe_adopt(p, out, NULL);
    assert_int_equal(ior_send(p->cx, reader, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_send(p->cx, writer, "through", 7), 0);
    probe_until(p, probe_of(p, reader)->bytes == 7);
    assert_memory_equal(heard, "through", 7);
    assert_int_equal(ior_close(p->cx, writer, IOR_NEVER), 0);
    probe_until(p, probe_of(p, reader)->end == 1 && probe_of(p, writer)->end == 1);
    assert_int_equal(probe_of(p, reader)->why, IOR_EOF);
    assert_int_equal(probe_of(p, writer)->why, IOR_ASKED);

    /* Open for both, it does not end when the last writer goes. */
    ior_id both = probe_adopt(p, open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), NULL);
    for (unsigned i = 1; i <= 3; i++) {
        out = open(path, O_WRONLY | O_CLOEXEC);
        net_write(out, "again", 5);
        close(out);
        probe_until(p, probe_of(p, both)->bytes == (uint64_t)5 * i);
    }
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, both)->eof, 0);

    /* The reader goes: the writer is told, without SIGPIPE. */
    in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    writer = probe_adopt(p, open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), NULL);
    assert_int_equal(ior_unregister(p->cx, both), 0);
    probe_until(p, probe_of(p, both)->end == 1);
    close(in);
    probe_until(p, probe_of(p, writer)->end == 1 || ior_send(p->cx, writer, "x", 1) < 0);
    probe_until(p, probe_of(p, writer)->end == 1);
    probe_free(p);
    net_temp_dir_remove(dir);
}

/* The master's side, as a terminal emulator has it: the last close of the other side is an error (EIO) there. */
static void the_master_of_a_pseudo_terminal(void **state)
{
    struct probe *p = probe_new(NULL);
    int slave = open_slave(0);
    (void)state;
    p->on_event = keep_data;
    ior_id id = probe_adopt(p, master, NULL);
    master = -1;
    assert_int_equal(ior_send(p->cx, id, "typed\r", 6), 0);
    probe_until(p, probe_of(p, id)->bytes == 7);
    assert_memory_equal(heard, "typed\r\n", 7); /* echoed */
    unsigned char text[6];
    probe_read(p, slave, text, 6);
    assert_memory_equal(text, "typed\n", 6);
    net_write(slave, "bye", 3);
    close(slave);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->bytes, 10);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, EIO);
    probe_free(p);
}

#define TERMINAL_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        printf("skipped: there are no pseudo-terminals here: %s\n", strerror(errno));
        return 77;
    }
    close(fd);
    const struct CMUnitTest tests[] = {
        TERMINAL_TEST(every_byte_passes_both_ways),
        TERMINAL_TEST(a_full_line_is_waited_for),
        TERMINAL_TEST(lines_where_they_are_asked_for),
        TERMINAL_TEST(speeds_are_in_force),
        TERMINAL_TEST(what_the_device_does_not_take_is_refused),
        TERMINAL_TEST(xon_and_xoff_stop_the_output),
        TERMINAL_TEST(bad_options),
        TERMINAL_TEST(whatever_ends_it_restores),
        TERMINAL_TEST(a_handover_restores_and_registering_puts_in_force),
        TERMINAL_TEST(a_hang_up_is_the_end),
        TERMINAL_TEST(a_hang_up_that_is_told_as_an_error),
        TERMINAL_TEST(a_close_waits_for_what_the_device_has_to_send),
        TERMINAL_TEST(a_stuck_device_is_left_at_the_deadline),
        TERMINAL_TEST(each_call_fails),
        TERMINAL_TEST(interrupted_settings_are_repeated),
        TERMINAL_TEST(a_failure_leaves_the_lock_of_the_caller),
        TERMINAL_TEST(each_allocation_fails),
        TERMINAL_TEST(where_there_are_none),
        TERMINAL_TEST(a_forked_child_restores_nothing),
        TERMINAL_TEST(it_never_becomes_the_controlling_terminal),
        TERMINAL_TEST(putting_back_does_not_stop_a_job_in_the_background),
        cmocka_unit_test(both_ends_of_a_fifo),
        TERMINAL_TEST(the_master_of_a_pseudo_terminal),
    };
    return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
