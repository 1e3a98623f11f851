/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of the scripted world, modelled on Linux: what was said is read before an error, an error of a
 * socket is told once to whoever asks first (a read, a write, SO_ERROR), accept looks for a free fd before it looks for
 * a connection. A call on an fd that the library closed before fails the test; on one that was stolen it is EBADF.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "script_world.h"

/* Notes the call and answers 0, -EBADF or what it was told to fail with. */
static int begin(struct script *s, enum script_call call, int fd, struct line **ret_line,
                 struct script_entry **ret_entry)
{
    *ret_entry = world_note(s, call, fd);
    *ret_line = NULL;
    if (fd < SCRIPT_FD_FIRST || fd >= SCRIPT_FD_FIRST + s->lines_n)
        return (int)((*ret_entry)->result = -EBADF);
    *ret_line = world_line(s, fd);
    int err = world_fails(s, call);
    if (err == 0 && !(*ret_line)->open) {
        if ((*ret_line)->closed)
            fail_msg("%s of fd %d, which was closed", script_call_name(call), fd);
        err = -EBADF;
    }
    (*ret_entry)->result = err;
    return err;
}

/* ---- clocks, chance ---- */

static uint64_t os_clock(void *arg)
{
    struct script *s = arg;
    s->counts[SCRIPT_CLOCK]++;
    return s->now_ns;
}

static uint64_t os_wall(void *arg)
{
    struct script *s = arg;
    s->counts[SCRIPT_WALL]++;
    return s->wall_ns;
}

static uint64_t os_random(void *arg)
{
    struct script *s = arg;
    s->counts[SCRIPT_RANDOM]++;
    return s->random++;
}

static void os_sleep(void *arg, uint64_t ns)
{
    struct script *s = arg;
    world_note(s, SCRIPT_SLEEP, -1)->len = ns;
    s->now_ns += ns;
}

/* ---- making fds ---- */

static int no_fd(struct script *s, enum script_call call)
{
    int err = world_fails(s, call);
    return err == 0 && s->fd_limit != 0 && script_open_fds(s) >= s->fd_limit ? -EMFILE : err;
}

static int os_socket(void *arg, int domain, int type, int protocol)
{
    struct script *s = arg;
    struct script_entry *entry = world_note(s, SCRIPT_SOCKET, -1);
    (void)protocol;
    entry->arg = domain;
    int fd = no_fd(s, SCRIPT_SOCKET);
    if (fd == 0) {
        assert_int_equal(type & 15, SOCK_STREAM);
        fd = world_fd_new(s, IOR_FD_SOCKET);
        world_line(s, fd)->nonblock = true;
    }
    return (int)(entry->result = fd);
}

static int os_accept(void *arg, int fd, struct ior_addr *peer)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_ACCEPT, fd, &line, &entry);
    if (err < 0)
        return err;
    if (!line->listening)
        fail_msg("accept on fd %d, which does not listen", fd);
    if (s->fd_limit != 0 && script_open_fds(s) - line->backlog_len >= s->fd_limit)
        return (int)(entry->result = -EMFILE);
    if (line->backlog_len == 0)
        return (int)(entry->result = -EAGAIN);
    int new = line->backlog[0];
    memmove(line->backlog, line->backlog + 1, --line->backlog_len * sizeof(int));
    struct line *accepted = world_line(s, new);
    accepted->own = false;
    accepted->nonblock = true;
    if (peer != NULL)
        *peer = accepted->peer;
    return (int)(entry->result = new);
}

static int os_dup(void *arg, int fd)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_DUP, fd, &line, &entry);
    if (err < 0)
        return err;
    if (s->fd_limit != 0 && script_open_fds(s) >= s->fd_limit)
        return (int)(entry->result = -EMFILE);
    int new = world_fd_new(s, line->kind);
    line = world_line(s, fd);
    struct line *copy = world_line(s, new);
    copy->file = line->file;
    if (copy->file != NULL)
        copy->file->refs++;
    return (int)(entry->result = new);
}

static int os_close(void *arg, int fd)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_CLOSE, fd, &line, &entry);
    if (line == NULL || !line->open)
        return err;
    if (world_watched(s, fd) != NULL)
        fail_msg("fd %d is closed while the engine watches it", fd);
    world_fd_close(s, fd);
    line->closed = true;
    return err;
}

/* ---- addresses ---- */

static int family_of(const struct ior_addr *addr)
{
    struct sockaddr sa;
    memcpy(&sa, addr->raw, sizeof(sa));
    return sa.sa_family;
}

/* The path of a Unix address in the world's file system; abstract names begin with '@'. */
static struct path *path_of(struct script *s, const struct ior_addr *addr)
{
    struct sockaddr_un un;
    char name[sizeof(un.sun_path) + 1] = "";
    memset(&un, 0, sizeof(un));
    memcpy(&un, addr->raw, addr->len < sizeof(un) ? addr->len : sizeof(un));
    memcpy(name, un.sun_path, sizeof(un.sun_path));
    if (name[0] == '\0')
        name[0] = '@';
    return world_path(s, name);
}

static int os_bind(void *arg, int fd, const struct ior_addr *addr)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_BIND, fd, &line, &entry);
    if (err < 0)
        return err;
    line->local = *addr;
    if (family_of(addr) == AF_UNIX) {
        struct path *path = path_of(s, addr);
        if (path->exists)
            return (int)(entry->result = -EADDRINUSE);
        path->exists = path->is_socket = true;
        path->listened = false;
        path->ino = ++s->next_ino;
        path->mode = 0755;
        line->path = (int)(path - s->paths);
    } else if (ior_addr_port(addr) == 0) {
        struct sockaddr_in in; /* the port is at the same place in IPv6 addresses */
        memcpy(&in, addr->raw, sizeof(in));
        in.sin_port = htons((uint16_t)s->next_port++);
        memcpy(line->local.raw, &in, sizeof(in));
    }
    return 0;
}

static int os_listen(void *arg, int fd, int backlog)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_LISTEN, fd, &line, &entry);
    entry->arg = backlog;
    if (err < 0)
        return err;
    line->listening = true;
    line->kind = IOR_FD_LISTENER;
    if (line->path >= 0)
        s->paths[line->path].listened = true;
    return 0;
}

static int os_connect(void *arg, int fd, const struct ior_addr *addr)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_CONNECT, fd, &line, &entry);
    if (err == -EINTR)
        line->connecting = true; /* it goes on without the caller */
    if (err < 0)
        return err;
    line->peer = *addr;
    if (family_of(addr) == AF_UNIX) {
        struct path *path = path_of(s, addr);
        if (!path->exists)
            return (int)(entry->result = -ENOENT);
        if (!path->is_socket || !path->listened)
            return (int)(entry->result = -ECONNREFUSED);
        line->kind = IOR_FD_UNIX;
    } else if (s->connect_now) {
        line->kind = IOR_FD_TCP;
    } else {
        line->connecting = true;
        return (int)(entry->result = -EINPROGRESS);
    }
    return 0;
}

static int os_getsockname(void *arg, int fd, struct ior_addr *addr)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_GETSOCKNAME, fd, &line, &entry);
    if (err == 0)
        *addr = line->local;
    return err;
}

static int os_getpeername(void *arg, int fd, struct ior_addr *addr)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_GETPEERNAME, fd, &line, &entry);
    if (err == 0 && (line->connecting || (line->kind & IOR_FD_KIND_MASK) == IOR_FD_SOCKET))
        err = -ENOTCONN;
    if (err == 0)
        *addr = line->peer;
    entry->result = err;
    return err;
}

/* ---- options and kinds ---- */

static int os_getsockopt(void *arg, int fd, int level, int name, void *value, uint32_t *len)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_GETSOCKOPT, fd, &line, &entry);
    int answer = 0;
    entry->arg = (int64_t)level << 16 | name;
    if (err < 0)
        return err;
    if (level == SOL_SOCKET && name == SO_ERROR) {
        answer = line->error;
        line->error = 0;
    } else if (level == SOL_SOCKET && name == SO_TYPE) {
        answer = line->datagram ? SOCK_DGRAM : SOCK_STREAM;
    }
    entry->value = answer;
    memset(value, 0, *len);
    memcpy(value, &answer, *len < sizeof(answer) ? *len : sizeof(answer));
    return 0;
}

static int os_setsockopt(void *arg, int fd, int level, int name, const void *value, uint32_t len)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_SETSOCKOPT, fd, &line, &entry);
    int given = 0;
    memcpy(&given, value, len < sizeof(given) ? len : sizeof(given));
    entry->arg = (int64_t)level << 16 | name;
    entry->value = given;
    if (err < 0)
        return err;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger linger;
        assert_int_equal(len, sizeof(linger));
        memcpy(&linger, value, sizeof(linger));
        line->lingers = linger.l_onoff && linger.l_linger == 0;
    }
    return 0;
}

static int os_shutdown(void *arg, int fd, int how)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_SHUTDOWN, fd, &line, &entry);
    entry->arg = how;
    if (err < 0)
        return err;
    if (line->hung)
        return (int)(entry->result = -ENOTCONN);
    if (how == SHUT_WR || how == SHUT_RDWR)
        line->fin = true;
    return 0;
}

static int os_fd_kind(void *arg, int fd)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_FD_KIND, fd, &line, &entry);
    return err < 0 ? err : line->kind;
}

static int os_set_nonblock(void *arg, int fd, bool on)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_SET_NONBLOCK, fd, &line, &entry);
    entry->arg = on;
    if (err < 0)
        return err;
    bool was = line->nonblock;
    line->nonblock = on;
    return was;
}

/* ---- bytes ---- */

static ssize_t take_in(struct script *s, enum script_call call, int fd, void *bytes, size_t len)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, call, fd, &line, &entry);
    entry->len = len;
    if (err < 0)
        return err;
    if (!line->nonblock)
        fail_msg("fd %d is read while it is blocking", fd);
    if (len > 0 && line->in.len > 0) {
        size_t n = line->in.len < len ? line->in.len : len;
        n = line->give != 0 && line->give < n ? line->give : n;
        memcpy(bytes, line->in.at, n);
        line->in.len -= n;
        memmove(line->in.at, line->in.at + n, line->in.len);
        return (ssize_t)(entry->result = (int64_t)n);
    }
    if (line->connecting)
        return (ssize_t)(entry->result = -ENOTCONN);
    if (line->error != 0) {
        entry->result = -line->error;
        line->error = 0;
        return (ssize_t)entry->result;
    }
    return (ssize_t)(entry->result = line->eof || len == 0 ? 0 : -EAGAIN);
}

static ssize_t os_recv(void *arg, int fd, void *bytes, size_t len)
{
    return take_in(arg, SCRIPT_RECV, fd, bytes, len);
}

static ssize_t os_read(void *arg, int fd, void *bytes, size_t len)
{
    return take_in(arg, SCRIPT_READ, fd, bytes, len);
}

/* How much of `len` bytes the kernel takes now, or -errno. */
static int64_t admit(struct line *line, int fd, uint64_t len)
{
    if (!line->nonblock)
        fail_msg("fd %d is written while it is blocking", fd);
    if (line->fin && len > 0)
        fail_msg("bytes are sent on fd %d after its sending side was shut", fd);
    if (line->error != 0) {
        int err = line->error;
        line->error = 0;
        return -err;
    }
    if (line->hung)
        return -EPIPE;
    if (line->connecting)
        return -EAGAIN;
    uint64_t n = len < line->room ? len : line->room;
    n = line->take != 0 && line->take < n ? line->take : n;
    if (n == 0 && len > 0)
        return -EAGAIN;
    if (line->room != SIZE_MAX)
        line->room -= (size_t)n;
    line->heard += n;
    return (int64_t)n;
}

static ssize_t put_out(struct script *s, enum script_call call, int fd, const struct iovec *iov, int n)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, call, fd, &line, &entry);
    entry->arg = n;
    for (int i = 0; i < n; i++)
        entry->len += iov[i].iov_len;
    if (err < 0)
        return err;
    if (n > 1024)
        fail_msg("%d pieces in one write", n);
    entry->result = admit(line, fd, entry->len);
    uint64_t left = entry->result > 0 && !line->deaf ? (uint64_t)entry->result : 0;
    for (int i = 0; left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : (size_t)left;
        world_append(&line->out, iov[i].iov_base, part);
        left -= part;
    }
    return (ssize_t)entry->result;
}

static ssize_t os_send(void *arg, int fd, const struct iovec *iov, int n)
{
    return put_out(arg, SCRIPT_SEND, fd, iov, n);
}

static ssize_t os_write(void *arg, int fd, const struct iovec *iov, int n)
{
    return put_out(arg, SCRIPT_WRITE, fd, iov, n);
}

static uint64_t file_left(const struct file *file, uint64_t offset, size_t len)
{
    uint64_t left = offset < file->len ? file->len - offset : 0;
    return left < len ? left : len;
}

static ssize_t os_sendfile(void *arg, int out, int in, uint64_t offset, size_t len)
{
    struct script *s = arg;
    struct line *line;
    struct script_entry *entry;
    int err = begin(s, SCRIPT_SENDFILE, out, &line, &entry);
    entry->arg = (int64_t)offset;
    entry->len = len;
    if (err < 0)
        return err;
    const struct line *from = world_line(s, in);
    if (!from->open || from->file == NULL)
        fail_msg("sendfile from fd %d, which is no open file", in);
    uint64_t left = file_left(from->file, offset, len);
    entry->result = left == 0 ? 0 : admit(line, out, left);
    unsigned char block[4096];
    uint64_t keep = entry->result > 0 && !line->deaf ? (uint64_t)entry->result : 0;
    for (uint64_t done = 0; done < keep;) {
        size_t part = keep - done < sizeof(block) ? (size_t)(keep - done) : sizeof(block);
        script_pattern(block, offset + done, part);
        world_append(&line->out, block, part);
        done += part;
    }
    return (ssize_t)entry->result;
}

static ssize_t os_pread(void *arg, int fd, void *bytes, size_t len, uint64_t offset)
{
    struct line *line;
    struct script_entry *entry;
    int err = begin(arg, SCRIPT_PREAD, fd, &line, &entry);
    entry->arg = (int64_t)offset;
    entry->len = len;
    if (err < 0)
        return err;
    uint64_t n = file_left(line->file, offset, len);
    script_pattern(bytes, offset, (size_t)n);
    return (ssize_t)(entry->result = (int64_t)n);
}

/* ---- paths ---- */

static int begin_path(struct script *s, enum script_call call, const char *name, struct path **ret)
{
    struct script_entry *entry = world_note(s, call, -1);
    *ret = world_path(s, name);
    int err = world_fails(s, call);
    if (err == 0 && !(*ret)->exists)
        err = -ENOENT;
    return (int)(entry->result = err);
}

static int os_path_stat(void *arg, const char *name, struct ior_os_path *ret)
{
    struct path *path;
    int err = begin_path(arg, SCRIPT_PATH_STAT, name, &path);
    if (err == 0)
        *ret = (struct ior_os_path){.is_socket = path->is_socket, .dev = 1, .ino = path->ino};
    return err;
}

static int os_path_chmod(void *arg, const char *name, unsigned mode)
{
    struct path *path;
    int err = begin_path(arg, SCRIPT_PATH_CHMOD, name, &path);
    if (err == 0)
        path->mode = mode;
    return err;
}

static int os_path_unlink(void *arg, const char *name)
{
    struct path *path;
    int err = begin_path(arg, SCRIPT_PATH_UNLINK, name, &path);
    if (err == 0)
        path->exists = path->listened = false;
    return err;
}

void world_os_init(struct script *s)
{
    s->os = (struct ior_os){
        .struct_size = sizeof(struct ior_os),
        .arg = s,
        .clock = os_clock,
        .wall = os_wall,
        .random = os_random,
        .sleep = os_sleep,
        .socket = os_socket,
        .bind = os_bind,
        .listen = os_listen,
        .accept = os_accept,
        .connect = os_connect,
        .getsockname = os_getsockname,
        .getpeername = os_getpeername,
        .getsockopt = os_getsockopt,
        .setsockopt = os_setsockopt,
        .shutdown = os_shutdown,
        .close = os_close,
        .recv = os_recv,
        .send = os_send,
        .read = os_read,
        .write = os_write,
        .sendfile = os_sendfile,
        .pread = os_pread,
        .dup = os_dup,
        .fd_kind = os_fd_kind,
        .set_nonblock = os_set_nonblock,
        .path_stat = os_path_stat,
        .path_chmod = os_path_chmod,
        .path_unlink = os_path_unlink,
    };
}

const struct ior_os *script_os(struct script *s)
{
    return &s->os;
}
