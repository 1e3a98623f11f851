/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a datagram of 64 bytes costs a server: CPU of its thread, for datagrams that are sent back, one by one and 32 at
 * a time, and for those that are only taken (of 32, the last one is sent back). The client, in a thread of its own, never
 * has more under way than it waits for, so that none is lost. Usage: datagrams NUMBER [echo_1|echo_32|sink_32].
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench.h"
#include "echo.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LEN = 64, BURST = 32 };

struct leg {
    const char *name;
    unsigned n, burst, echoes; /* of each burst, so many are sent back */
};

struct client {
    struct sockaddr_in server;
    struct leg leg;
};

static void *client_main(void *arg)
{
    const struct client *client = arg;
    unsigned char bytes[2][LEN], room[BURST][LEN];
    struct iovec iov[BURST], in[BURST];
    struct mmsghdr out[BURST], back[BURST];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bench_must(fd < 0 ? -errno : 0, "socket");
    bench_must(connect(fd, (const struct sockaddr *)&client->server, sizeof client->server) < 0 ? -errno : 0,
               "connect");
    memset(bytes[0], WANTS_NOTHING, LEN);
    memset(bytes[1], WANTS_ECHO, LEN);
    memset(out, 0, sizeof out);
    memset(back, 0, sizeof back);
    for (unsigned i = 0; i < BURST; i++) {
        bool echoed = i >= client->leg.burst - client->leg.echoes;
        iov[i] = (struct iovec){bytes[echoed], LEN};
        in[i] = (struct iovec){room[i], LEN};
        out[i].msg_hdr.msg_iov = &iov[i];
        out[i].msg_hdr.msg_iovlen = 1;
        back[i].msg_hdr.msg_iov = &in[i];
        back[i].msg_hdr.msg_iovlen = 1;
    }
    for (unsigned done = 0; done < client->leg.n; done += client->leg.burst) {
        for (unsigned sent = 0; sent < client->leg.burst;) {
            int n = sendmmsg(fd, out + sent, client->leg.burst - sent, 0);
            bench_must(n < 0 ? -errno : 0, "sendmmsg");
            sent += (unsigned)n;
        }
        for (unsigned got = 0; got < client->leg.echoes;) {
            int n = recvmmsg(fd, back, client->leg.echoes - got, MSG_WAITFORONE, NULL);
            bench_must(n < 0 ? -errno : 0, "recvmmsg");
            got += (unsigned)n;
        }
    }
    bytes[0][0] = WANTS_END;
    bench_must(send(fd, bytes[0], LEN, 0) < 0 ? -errno : 0, "send");
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc > 2 ? 2 : argc, argv, 200000);
    const struct leg legs[] = {{"echo_1", n, 1, 1}, {"echo_32", n, BURST, BURST}, {"sink_32", n, BURST, 1}};
    for (size_t i = 0; i < sizeof legs / sizeof legs[0]; i++) {
        struct client client = {.leg = legs[i]};
        pthread_t thread;
        if (argc > 2 && strcmp(argv[2], legs[i].name) != 0)
            continue;
        echo_open(&client.server);
        bench_must(-pthread_create(&thread, NULL, client_main, &client), "pthread_create");
        double began = bench_cpu_ns();
        echo_run();
        printf("%s=%.1f ", legs[i].name, (bench_cpu_ns() - began) / n);
        pthread_join(thread, NULL);
        echo_close();
    }
    printf("datagrams=%u\n", n);
    return 0;
}
