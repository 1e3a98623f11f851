/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk transfers on the library; bare_bulk.c does the same by hand. Usage: bulk copy|give|file BYTES [ENGINE]. Each byte
 * received asks for BYTES bytes of the image (bulk.h):
 *   copy  ior_send of pieces of 64 KiB, which are copied into the queue
 *   give  ior_send_buf of the same pieces, each in a buffer around its bytes: nothing is copied in user space
 *   file  ior_send_file of the image's file
 * All marks are the defaults. It goes on where a send answered that the queue is full, when it has drained.
 */
#include "bulk.h"
#include "service.h"

struct stream {
    uint64_t due, at; /* bytes still to send; the place in the image */
};

struct source {
    enum { COPY, GIVE, FILE_RANGE } how;
    uint64_t wanted;
    char *image;
    int fd;
};

static void on_released(void *arg)
{
    (void)arg; /* The image stays. */
}

static int send_piece(const struct source *source, struct ior_context *cx, ior_id id, uint64_t at, uint64_t len)
{
    if (source->how == FILE_RANGE)
        return ior_send_file(cx, id, source->fd, at, len);
    if (source->how == COPY)
        return ior_send(cx, id, source->image + at, (size_t)len);
    struct ior_buf *buf = ior_buf_wrap(source->image + at, (size_t)len, on_released, NULL);
    if (!buf)
        return -ENOMEM;
    int answer = ior_send_buf(cx, id, buf);
    ior_buf_unref(buf);
    return answer;
}

static void pump(const struct source *source, struct ior_context *cx, ior_id id, struct stream *stream)
{
    int answer = 0;
    while (stream->due > 0 && answer == 0) {
        uint64_t left = BULK_IMAGE_BYTES - stream->at, len = stream->due < left ? stream->due : left;
        if (source->how != FILE_RANGE && len > BULK_PIECE_BYTES)
            len = BULK_PIECE_BYTES;
        answer = send_piece(source, cx, id, stream->at, len);
        if (answer < 0)
            break;
        stream->due -= len;
        stream->at = stream->due == 0 ? 0 : (stream->at + len) % BULK_IMAGE_BYTES;
    }
    if (answer < 0 && answer != -ENOBUFS)
        ior_abort(cx, id);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    const struct source *source = self;
    struct stream *stream = ev->user;
    if (ev->type == IOR_EV_DATA)
        stream->due += ev->data.len * source->wanted;
    if (ev->type == IOR_EV_DATA || ev->type == IOR_EV_DRAINED)
        pump(source, cx, ev->id, stream);
}

int main(int argc, char **argv)
{
    static const char *const ways[] = {"copy", "give", "file"};
    struct source source = {.fd = -1, .wanted = argc > 2 ? bulk_bytes(argv[2]) : 0};
    struct ior_stream_options options = {.struct_size = sizeof options, .user_size = sizeof(struct stream)};
    struct ior_handler handler = {
        .struct_size = sizeof handler, .listener = service_on_listener, .transport = on_transport};
    unsigned way = 0;
    while (argc > 1 && way < 3 && strcmp(argv[1], ways[way]) != 0)
        way++;
    if (argc < 3 || argc > 4 || way == 3 || source.wanted == 0) {
        fprintf(stderr, "usage: bulk copy|give|file BYTES [ENGINE]\n");
        return 2;
    }
    source.how = way;
    source.image = bulk_image(BULK_IMAGE_BYTES);
    bench_must(source.image ? 0 : -ENOMEM, "malloc");
    if (source.how == FILE_RANGE)
        source.fd = bulk_file(source.image);
    return service_run(argc > 3 ? argv[3] : NULL, &handler, &source, &options);
}
