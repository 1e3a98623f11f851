/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv, as fast as its documentation says it goes: UV_UDP_RECVMMSG with a buffer for 20 datagrams, and uv_udp_try_send
 * with a queued send where that would block.
 */
#include "echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static uv_loop_t loop;
static uv_udp_t udp;
static char buffer[20 * 65536];

static void must(int err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(err));
        exit(1);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle, (void)size;
    *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_sent(uv_udp_send_t *req, int status)
{
    must(status, "uv_udp_send");
    free(req);
}

static void send_later(const char *bytes, size_t len, const struct sockaddr *peer)
{
    uv_udp_send_t *req = malloc(sizeof *req + len);
    must(req ? 0 : UV_ENOMEM, "malloc");
    memcpy(req + 1, bytes, len);
    uv_buf_t buf = uv_buf_init((char *)(req + 1), (unsigned)len);
    must(uv_udp_send(req, &udp, &buf, 1, peer, on_sent), "uv_udp_send");
}

static void on_recv(uv_udp_t *handle, ssize_t n, const uv_buf_t *buf, const struct sockaddr *peer, unsigned flags)
{
    (void)flags;
    must((int)n, "recv");
    int wish = peer ? wish_of(buf->base, (size_t)n) : 0;
    if (wish == WANTS_ECHO) {
        uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
        int r = uv_udp_try_send(handle, &out, 1, peer);
        if (r == UV_EAGAIN)
            send_later(buf->base, (size_t)n, peer);
        else
            must(r, "uv_udp_try_send");
    } else if (wish == WANTS_END) {
        uv_close((uv_handle_t *)handle, NULL);
    }
}

void echo_open(struct sockaddr_in *ret)
{
    int len = sizeof *ret;
    must(uv_loop_init(&loop), "uv_loop_init");
    must(uv_udp_init_ex(&loop, &udp, AF_INET | UV_UDP_RECVMMSG), "uv_udp_init_ex");
    must(uv_ip4_addr("127.0.0.1", 0, ret), "uv_ip4_addr");
    must(uv_udp_bind(&udp, (const struct sockaddr *)ret, 0), "uv_udp_bind");
    must(uv_udp_getsockname(&udp, (struct sockaddr *)ret, &len), "uv_udp_getsockname");
    must(uv_udp_recv_start(&udp, on_alloc, on_recv), "uv_udp_recv_start");
}

void echo_run(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
}

void echo_close(void)
{
    must(uv_loop_close(&loop), "uv_loop_close");
}
