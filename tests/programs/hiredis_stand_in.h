/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of hiredis's interface the program uses, where hiredis is not installed: a client that owns its socket and
 * asks its host to wait for it. It sends commands of two words and reads answers that are integers.
 */
#ifndef IOR_TESTS_HIREDIS_STAND_IN_H
#define IOR_TESTS_HIREDIS_STAND_IN_H

#include "program.h"
#include <arpa/inet.h>
#include <netinet/in.h>

#define REDIS_OK 0
#define REDIS_ERR (-1)
#define REDIS_REPLY_INTEGER 3

typedef struct redisReply {
    int type;
    long long integer;
} redisReply;

struct redisAsyncContext;
typedef void redisCallbackFn(struct redisAsyncContext *, void *, void *);
typedef void redisDisconnectCallback(const struct redisAsyncContext *, int status);

struct stand_in_request {
    redisCallbackFn *fn;
    void *user;
};

typedef struct redisAsyncContext {
    struct {
        int fd;
    } c;
    int err;
    void *data;
    struct {
        void *data;
        void (*addRead)(void *);
        void (*delRead)(void *);
        void (*addWrite)(void *);
        void (*delWrite)(void *);
        void (*cleanup)(void *);
    } ev;
    redisDisconnectCallback *on_disconnect;
    bool leaving;
    char out[65536], in[65536];
    size_t out_len, in_len;
    struct stand_in_request requests[1024]; /* a ring of those without an answer */
    unsigned asked, answered;
} redisAsyncContext;

static inline redisAsyncContext *redisAsyncConnect(const char *ip, int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    redisAsyncContext *redis = calloc(1, sizeof *redis);
    CHECK(redis && inet_pton(AF_INET, ip, &addr.sin_addr) == 1);
    redis->c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(redis->c.fd >= 0);
    CHECK(connect(redis->c.fd, (struct sockaddr *)&addr, sizeof addr) == 0 || errno == EINPROGRESS);
    return redis;
}

static inline int redisAsyncSetDisconnectCallback(redisAsyncContext *redis, redisDisconnectCallback *fn)
{
    redis->on_disconnect = fn;
    return REDIS_OK;
}

static inline int redisAsyncCommand(redisAsyncContext *redis, redisCallbackFn *fn, void *user, const char *format)
{
    int first = (int)strcspn(format, " "), second = (int)strlen(format) - first - 1;
    size_t room = sizeof redis->out - redis->out_len;
    int n = snprintf(redis->out + redis->out_len, room, "*2\r\n$%d\r\n%.*s\r\n$%d\r\n%s\r\n", first, first, format,
                     second, format + first + 1);
    if ((size_t)n >= room || redis->asked - redis->answered == 1024)
        return REDIS_ERR;
    redis->out_len += (size_t)n;
    redis->requests[redis->asked++ % 1024] = (struct stand_in_request){fn, user};
    redis->ev.addWrite(redis->ev.data);
    return REDIS_OK;
}

static inline void redisAsyncDisconnect(redisAsyncContext *redis)
{
    redis->leaving = true; /* We are inside an answer: the context goes when that is over. */
}

static inline void redisAsyncHandleWrite(redisAsyncContext *redis)
{
    ssize_t n = send(redis->c.fd, redis->out, redis->out_len, MSG_NOSIGNAL);
    CHECK(n >= 0 || errno == EAGAIN);
    if (n > 0) {
        redis->out_len -= (size_t)n;
        memmove(redis->out, redis->out + n, redis->out_len);
    }
    if (redis->out_len == 0)
        redis->ev.delWrite(redis->ev.data);
    redis->ev.addRead(redis->ev.data);
}

static inline void redisAsyncHandleRead(redisAsyncContext *redis)
{
    char *at = redis->in, *end;
    ssize_t n = recv(redis->c.fd, redis->in + redis->in_len, sizeof redis->in - redis->in_len, 0);
    CHECK(n > 0 || (n < 0 && errno == EAGAIN));
    redis->in_len += n > 0 ? (size_t)n : 0;
    while ((end = memchr(at, '\n', (size_t)(redis->in + redis->in_len - at)))) {
        redisReply reply = {REDIS_REPLY_INTEGER, strtoll(at + 1, NULL, 10)};
        const struct stand_in_request *request = &redis->requests[redis->answered++ % 1024];
        CHECK(*at == ':');
        at = end + 1;
        request->fn(redis, &reply, request->user);
    }
    redis->in_len -= (size_t)(at - redis->in);
    memmove(redis->in, at, redis->in_len);
    if (redis->leaving) {
        redis->ev.cleanup(redis->ev.data);
        redis->on_disconnect(redis, REDIS_OK);
        close(redis->c.fd);
        free(redis);
    }
}

#endif
