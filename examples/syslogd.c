/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syslogd: takes the messages of syslog, from the network (UDP) and from programs of this host (a Unix datagram socket as
 * /dev/log), and writes them as lines. It shows datagram sockets, and what to do where the output does not keep up.
 *
 * Try it:  build/release/examples/syslogd --listen 127.0.0.1:5514 --unix unix:/tmp/log     and
 *          logger --server 127.0.0.1 --port 5514 --udp hello     or     logger --socket /tmp/log hello
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <ioreactor.h>

#include "program.h"
#include "syslogd/message.h"

enum { UDP, LOCAL, SOCKETS };

struct syslogd {
    const struct program *program;
    ior_id sockets[SOCKETS]; /* 0: there is none */
    int fd;                  /* the output, where it is a file or a terminal: it is written at once */
    ior_id out;              /* else: a stream */
    const char *failed;      /* what ended the service, and why */
    int error;
    char line[MESSAGE_LINE_MAX];
};

static void fail(struct syslogd *s, struct ior_context *cx, const char *what, int err)
{
    if (!s->failed) {
        s->failed = what;
        s->error = err;
    }
    ior_stop(cx, 0);
}

static void pause_all(struct syslogd *s, struct ior_context *cx)
{
    for (int i = 0; i < SOCKETS; i++) {
        if (s->sockets[i])
            ior_pause(cx, s->sockets[i]);
    }
}

static void resume_all(struct syslogd *s, struct ior_context *cx)
{
    for (int i = 0; i < SOCKETS; i++) {
        if (s->sockets[i])
            ior_resume(cx, s->sockets[i]);
    }
}

/*
 * A pipe or a socket whose reader is slow: its queue fills up to its mark, and no datagrams are read until it has
 * drained. Programs of this host wait meanwhile; of the network's messages the kernel keeps what fits and drops the
 * rest, as UDP does. A file is written at once; a slow disk slows us down in the same way.
 */
static void write_line(struct syslogd *s, struct ior_context *cx, size_t len)
{
    if (s->out) {
        int r = ior_send(cx, s->out, s->line, len);
        if (r == 1)
            pause_all(s, cx);
        else if (r < 0)
            fail(s, cx, "cannot write", r);
        return;
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = write(s->fd, s->line + done, len - done);
        if (n < 0 && errno != EINTR) {
            fail(s, cx, "cannot write", -errno);
            return;
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

/* Where a message comes from that does not say it: the address without its port. */
static const char *host_of(const struct ior_addr *peer, char *text, size_t size)
{
    if (peer->len == 0 || ior_addr_format(peer, text, size) < 0 || strncmp(text, "unix:", 5) == 0)
        return "localhost";
    *strrchr(text, ':') = '\0';
    return text;
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct syslogd *s = self;
    char host[IOR_ADDR_TEXT_MAX];
    if (ev->type == IOR_EV_DATAGRAM) {
        const struct ior_datagram *d = ev->datagram;
        const char *from = host_of(d->peer, host, sizeof(host));
        write_line(s, cx, message_line(d->bytes ? d->bytes : "", d->len, from, d->truncated, s->line));
    } else if (ev->type == IOR_EV_DRAINED && ev->id == s->out) {
        resume_all(s, cx);
    } else if (ev->type == IOR_EV_END && ev->id == s->out) {
        if (ev->end.why == IOR_ERROR)
            fail(s, cx, "cannot write", ev->end.error);
    } else if (ev->type == IOR_EV_END && ev->end.why == IOR_ERROR) {
        fail(s, cx, "a socket failed", ev->end.error);
    }
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .transport = on_transport,
};

/* Opens one socket; what fails is printed. */
static int open_socket(struct syslogd *s, struct ior_context *cx, int which, const struct ior_addr *addr)
{
    struct ior_datagram_options opts = {.struct_size = sizeof(opts), .max_bytes = MESSAGE_MAX_BYTES, .unix_mode = 0666};
    char text[IOR_ADDR_TEXT_MAX] = "", what[IOR_ADDR_TEXT_MAX + 32];
    int err = ior_datagram_open(cx, addr, &opts, &s->sockets[which]);
    if (err == 0)
        return 0;
    (void)ior_addr_format(addr, text, sizeof(text));
    snprintf(what, sizeof(what), "cannot listen on %s", text);
    program_fail(s->program, what, err);
    return err;
}

/* Where lines go to. A stream takes what waits at the other end; an fd that is always ready is none. */
static int open_output(struct syslogd *s, struct ior_context *cx, const char *path)
{
    s->fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : dup(STDOUT_FILENO);
    if (s->fd < 0) {
        program_fail(s->program, path ? path : "stdout", -errno);
        return -1;
    }
    if (isatty(s->fd))
        return 0;
    int err = ior_adopt(cx, s->fd, NULL, &s->out);
    if (err == 0)
        s->fd = -1; /* the stream's now */
    else if (err != -EPERM)
        program_fail(s->program, path ? path : "stdout", err);
    return err == -EPERM ? 0 : err;
}

int main(int argc, char **argv)
{
    static struct syslogd s;
    struct ior_addr local = {.len = 0};
    const char *output = NULL;
    const struct program_option options[] = {
        {"--unix", "unix:PATH", "also take messages of this host there", PROGRAM_ADDR, &local, 0, 0},
        {"--output", "FILE", "append lines to it (default: stdout)", PROGRAM_TEXT, &output, 0, 0},
        {0},
    };
    struct program program = {.name = "syslogd",
                              .summary = "Writes the messages of syslog as lines.",
                              .listen = "127.0.0.1:5514",
                              .options = options};
    program_init(&program, argc, argv);
    s.program = &program;
    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, &s, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);
    struct ior_context *cx = ior_runtime_context(rt);
    int status = PROGRAM_EXIT_FAILURE;
    struct ior_addr bound;
    s.fd = -1;
    if (open_socket(&s, cx, UDP, &program.listen_addr) == 0 &&
        (local.len == 0 || open_socket(&s, cx, LOCAL, &local) == 0) && ior_local(cx, s.sockets[UDP], &bound) == 0 &&
        ior_addr_format(&bound, program.address, sizeof(program.address)) >= 0) {
        program_announce(&program); /* before stdout is somebody else's */
        program.address[0] = '\0';
        if (open_output(&s, cx, output) == 0)
            status = program_run(&program, rt);
    }
    if (s.failed)
        status = program_fail(&program, s.failed, s.error);
    ior_runtime_free(rt);
    if (s.fd >= 0)
        close(s.fd);
    return status;
}
