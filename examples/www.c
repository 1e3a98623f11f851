/* SPDX-License-Identifier: Apache-2.0 */
/*
 * www: a server of static files, by HTTP/1.0: one GET for each connection.
 *
 * It shows how a file is sent by a service that sees each byte, at the pace of whoever reads it, and without ever
 * waiting for the disk: the file is a resource like the connection. DATA of the file becomes a send on the connection,
 * without a copy (ior_file_take). Where that answers 1 the connection is full: the file pauses, until the connection
 * has drained. So a client that reads nothing costs a queue and two pieces of the file, whatever its size.
 *
 * (A server that need not look at the bytes sends the range of the file itself, with ior_send_file; then a slow disk
 * blocks the loop.)
 *
 * Try it:  build/release/examples/www --root docs     and     curl http://127.0.0.1:7080/limits.md
 */
#include <errno.h>
#include <ioreactor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "program.h"

#define REQUEST_MOST ((size_t)8192)
#define IDLE_NS (30 * IOR_NS_PER_SEC)
#define CLOSE_NS (10 * IOR_NS_PER_SEC)

/* One request. The connection and the file both point here, and end on their own: whoever is last frees it. */
struct visit {
    ior_id connection, file; /* 0: it has ended, or there was none */
    uint64_t left;           /* bytes of the file that were promised and not sent yet */
    bool head_only;
    bool answered;
    bool asked; /* the request was complete: the rest of the input means nothing */
};

static const char *root = ".";

static void visit_release(struct visit *visit)
{
    if (visit->connection == 0 && visit->file == 0)
        free(visit);
}

/* ---- answers ---- */

static void end_connection(struct ior_context *cx, const struct visit *visit)
{
    if (visit->connection)
        ior_close(cx, visit->connection, CLOSE_NS);
}

static void answer(struct ior_context *cx, struct visit *visit, const char *status, uint64_t len)
{
    char head[256];
    visit->answered = true;
    int n = snprintf(head, sizeof(head), "HTTP/1.0 %s\r\nContent-Length: %llu\r\nConnection: close\r\n\r\n", status,
                     (unsigned long long)len);
    if (visit->connection && ior_send(cx, visit->connection, head, (size_t)n) < 0)
        ior_abort(cx, visit->connection);
}

static void refuse(struct ior_context *cx, struct visit *visit, const char *status)
{
    answer(cx, visit, status, 0);
    end_connection(cx, visit);
}

static const char *status_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        return "404 Not Found";
    case EACCES:
    case EPERM:
    case ESPIPE: /* a pipe or a socket */
        return "403 Forbidden";
    default:
        return "500 Internal Server Error";
    }
}

/* ---- the request ---- */

/* Whether a path stays below the root: it begins with a slash, and no part of it begins with a dot. */
static bool path_allowed(const char *path)
{
    return path[0] == '/' && !strstr(path, "/.") && !strstr(path, "//") && path[strlen(path) - 1] != '/';
}

/* Opens the file of "GET /path HTTP/1.0"; what it is, is asked first, and told before any of its bytes. */
static void on_request(struct ior_context *cx, struct visit *visit, const char *line)
{
    char method[8], path[REQUEST_MOST], name[REQUEST_MOST + 512];
    if (sscanf(line, "%7s %8191s", method, path) != 2) {
        refuse(cx, visit, "400 Bad Request");
        return;
    }
    visit->head_only = strcmp(method, "HEAD") == 0;
    if (strcmp(method, "GET") != 0 && !visit->head_only) {
        refuse(cx, visit, "501 Not Implemented");
        return;
    }
    path[strcspn(path, "?#")] = '\0';
    int n = snprintf(name, sizeof(name), "%s%s", root, path);
    if (!path_allowed(path) || n < 0 || (size_t)n >= sizeof(name)) {
        refuse(cx, visit, "404 Not Found");
        return;
    }
    struct ior_file_options opts = {
        .struct_size = sizeof(opts), .flags = IOR_FILE_READ | IOR_FILE_STREAM, .user = visit};
    int err = ior_file_open(cx, name, &opts, &visit->file);
    if (err == 0)
        err = ior_file_stat(cx, visit->file, NULL);
    if (err == 0)
        return;
    if (visit->file)
        ior_unregister(cx, visit->file);
    refuse(cx, visit, err == -EAGAIN ? "503 Service Unavailable" : status_of(-err));
}

/* Waits for the empty line; until then the bytes are given back, and come again with those that follow. */
static void on_input(struct ior_context *cx, struct visit *visit, const struct ior_event_data *data)
{
    char request[REQUEST_MOST];
    if (visit->asked)
        return;
    size_t len = data->len < sizeof(request) - 1 ? data->len : sizeof(request) - 1;
    memcpy(request, data->bytes, len);
    request[len] = '\0';
    if (strstr(request, "\r\n\r\n") || strstr(request, "\n\n")) {
        visit->asked = true;
        on_request(cx, visit, request);
    } else if (data->len >= sizeof(request) - 1 || ior_unread(cx, visit->connection, data->len) < 0) {
        visit->asked = true;
        refuse(cx, visit, "400 Bad Request");
    }
}

/* ---- the connection ---- */

static void on_connection(struct ior_context *cx, struct visit *visit, const struct ior_event *ev)
{
    switch (ev->type) {
    case IOR_EV_DATA:
        on_input(cx, visit, &ev->data);
        break;
    case IOR_EV_EOF: /* it has asked all it wanted to ask; the answer may still be on its way */
        if (!visit->asked)
            ior_close(cx, ev->id, 0);
        break;
    case IOR_EV_DRAINED:
        if (visit->file)
            ior_resume(cx, visit->file);
        break;
    case IOR_EV_END:
        visit->connection = 0;
        if (visit->file)
            ior_unregister(cx, visit->file);
        visit_release(visit);
        break;
    default:
        break;
    }
}

/* ---- the file ---- */

static void on_stat(struct ior_context *cx, struct visit *visit, const struct ior_file_result *result)
{
    bool regular = result->error == 0 && S_ISREG(result->stat->mode);
    if (regular) {
        visit->left = result->stat->size;
        answer(cx, visit, "200 OK", visit->left);
    } else {
        refuse(cx, visit, result->error ? status_of(result->error) : "404 Not Found");
    }
    if (!regular || visit->head_only) {
        end_connection(cx, visit);
        ior_unregister(cx, visit->file);
    }
}

/* A piece of the file goes to the connection. Where the file has grown meanwhile, no more than was promised. */
static void on_piece(struct ior_context *cx, struct visit *visit, const struct ior_event *ev)
{
    int r;
    struct ior_buf *buf = ev->data.len <= visit->left ? ior_file_take(cx, ev) : NULL;
    size_t len = ev->data.len <= visit->left ? ev->data.len : (size_t)visit->left;
    if (buf)
        r = ior_send_buf(cx, visit->connection, buf);
    else
        r = ior_send(cx, visit->connection, ev->data.bytes, len);
    ior_buf_unref(buf);
    visit->left -= len;
    if (r < 0)
        ior_abort(cx, visit->connection); /* the peer is gone, or memory is */
    else if (r == 1)
        ior_pause(cx, visit->file);
}

static void on_file(struct ior_context *cx, struct visit *visit, const struct ior_event *ev)
{
    switch (ev->type) {
    case IOR_EV_FILE:
        on_stat(cx, visit, ev->file);
        break;
    case IOR_EV_DATA:
        on_piece(cx, visit, ev);
        break;
    case IOR_EV_END:
        visit->file = 0;
        if (!visit->answered)
            refuse(cx, visit, status_of(ev->end.error)); /* it could not be opened */
        else if (visit->left > 0 && !visit->head_only && visit->connection)
            ior_abort(cx, visit->connection); /* fewer bytes than were promised: the client must see that */
        else
            end_connection(cx, visit);
        visit_release(visit);
        break;
    default:
        break;
    }
}

/* ---- the service ---- */

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct visit *visit = ev->user;
    (void)self;
    if (ev->id == visit->file)
        on_file(cx, visit, ev);
    else
        on_connection(cx, visit, ev);
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type != IOR_EV_ACCEPTED)
        return;
    struct visit *visit = calloc(1, sizeof(*visit));
    if (!visit)
        return; /* not accepted: the connection is closed */
    struct ior_resource *res = ior_take(cx, ev);
    if (res)
        res->user = visit;
    if (!res || ior_register(cx, res, &visit->connection) < 0) {
        ior_resource_free(res);
        free(visit);
    }
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
};

int main(int argc, char **argv)
{
    const struct program_option options[] = {
        {.name = "--root",
         .value = "FOLDER",
         .help = "whose files are served (.)",
         .kind = PROGRAM_TEXT,
         .target = &root},
        {.name = NULL},
    };
    struct program program = {
        .name = "www", .summary = "Serves static files.", .listen = "127.0.0.1:7080", .options = options};
    program_init(&program, argc, argv);

    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, NULL, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);
    struct ior_listen_options opts = {
        .struct_size = sizeof(opts),
        .stream = {.struct_size = sizeof(opts.stream), .half_open = true, .idle_ns = IDLE_NS}};
    int status = PROGRAM_EXIT_FAILURE;
    if (program_listen(&program, ior_runtime_context(rt), &opts, NULL) == 0)
        status = program_run(&program, rt);
    ior_runtime_free(rt);
    return status;
}
