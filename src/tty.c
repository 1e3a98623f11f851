/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of terminals, and the system calls about them. On Linux the kernel's own struct is used, since it holds
 * any speed and the one of <termios.h> does not in every C library: what is put back is exactly what was found.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if !defined(__linux__)
#define _DARWIN_C_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#if defined(__linux__) && defined(__has_include)
#if __has_include(<asm/termbits.h>)
#define KERNEL_STRUCT 1
#endif
#endif
#if defined(KERNEL_STRUCT)
#include <asm/termbits.h> /* not together with <termios.h> */
#else
#include <termios.h>
#include <unistd.h>
#endif

#include "engine/engine.h"
#include "os_kinds.h"
#include "tty.h"
#include "util.h"

/* Some have the sign bit set. */
#if defined(__GLIBC__) || !defined(__linux__)
typedef unsigned long request_type;
#else
typedef int request_type;
#endif

static int ask(int fd, request_type request, void *value)
{
    return ioctl(fd, request, value);
}

/* ---- speeds ---- */

/* Speeds that have a constant. (The BSDs and macOS take the number itself.) */
static const struct {
    uint32_t speed;
    unsigned constant;
} speeds[] = {
    {50, B50},           {75, B75},     {110, B110},   {134, B134},     {150, B150},
    {200, B200},         {300, B300},   {600, B600},   {1200, B1200},   {1800, B1800},
    {2400, B2400},       {4800, B4800}, {9600, B9600}, {19200, B19200}, {38400, B38400},
#if defined(B57600)
    {57600, B57600},
#endif
#if defined(B115200)
    {115200, B115200},
#endif
#if defined(B230400)
    {230400, B230400},
#endif
#if defined(B460800)
    {460800, B460800},
#endif
#if defined(B921600)
    {921600, B921600},
#endif
#if defined(B1000000)
    {1000000, B1000000},
#endif
#if defined(B2000000)
    {2000000, B2000000},
#endif
#if defined(B4000000)
    {4000000, B4000000},
#endif
};

/* 0: it has none. */
static unsigned constant_of(uint32_t speed)
{
    for (size_t i = 0; i < IOR_COUNT_OF(speeds); i++) {
        if (speeds[i].speed == speed)
            return speeds[i].constant;
    }
    return 0;
}

/* One without a number here is answered as it is. */
static unsigned speed_of_constant(unsigned constant)
{
    for (size_t i = 0; i < IOR_COUNT_OF(speeds); i++) {
        if (speeds[i].constant == constant)
            return speeds[i].speed;
    }
    return constant;
}

/* ---- the struct ---- */

#if defined(KERNEL_STRUCT)
#if defined(TCGETS2)
typedef struct termios2 settings_type;

/* The first struct has no numbers of speeds. It is all that emulators and some sandboxes know. */
static bool is_unknown(int err)
{
    return err == ENOTTY || err == ENOSYS || err == EINVAL;
}

static int get(int fd, settings_type *settings)
{
    struct termios first;

    if (ask(fd, (request_type)TCGETS2, settings) == 0)
        return 0;
    if (!is_unknown(errno) || ask(fd, (request_type)TCGETS, &first) < 0)
        return -1;
    memset(settings, 0, sizeof(*settings));
    settings->c_iflag = first.c_iflag;
    settings->c_oflag = first.c_oflag;
    settings->c_cflag = first.c_cflag;
    settings->c_lflag = first.c_lflag;
    settings->c_line = first.c_line;
    memcpy(settings->c_cc, first.c_cc, sizeof(settings->c_cc));
    settings->c_ispeed = settings->c_ospeed = speed_of_constant(first.c_cflag & CBAUD);
    return 0;
}

static int set(int fd, const settings_type *settings)
{
    struct termios first = {.c_iflag = settings->c_iflag,
                            .c_oflag = settings->c_oflag,
                            .c_cflag = settings->c_cflag,
                            .c_lflag = settings->c_lflag,
                            .c_line = settings->c_line};

    if (ask(fd, (request_type)TCSETS2, (void *)(uintptr_t)settings) == 0)
        return 0;
    if (!is_unknown(errno))
        return -1;
    memcpy(first.c_cc, settings->c_cc, sizeof(first.c_cc));
    if ((first.c_cflag & CBAUD) != BOTHER)
        return ask(fd, (request_type)TCSETS, &first);
    errno = EINVAL;
    return -1;
}
#else /* powerpc: the first struct has the speeds already */
typedef struct termios settings_type;

static int get(int fd, settings_type *settings)
{
    return ask(fd, (request_type)TCGETS, settings);
}

static int set(int fd, const settings_type *settings)
{
    return ask(fd, (request_type)TCSETS, (void *)(uintptr_t)settings);
}
#endif

static int set_speed(settings_type *settings, uint32_t speed)
{
    unsigned constant = constant_of(speed); /* of any other speed, older programs say that it is 0 */
    settings->c_cflag &= ~(tcflag_t)(CBAUD | (CBAUD << IBSHIFT)); /* the input's: as the output's */
    settings->c_cflag |= constant ? constant : BOTHER;
    settings->c_ispeed = settings->c_ospeed = speed;
    return 0;
}

static uint64_t speed_of(const settings_type *settings)
{
    return settings->c_ospeed;
}
#else
typedef struct termios settings_type;

static int get(int fd, settings_type *settings)
{
    return tcgetattr(fd, settings);
}

static int set(int fd, const settings_type *settings)
{
    return tcsetattr(fd, TCSANOW, settings);
}

static int set_speed(settings_type *settings, uint32_t speed)
{
    speed_t constant = constant_of(speed);
#if B9600 == 9600
    constant = speed;
#endif
    bool known = constant != 0 && cfsetispeed(settings, constant) == 0 && cfsetospeed(settings, constant) == 0;
    return known ? 0 : -EINVAL;
}

static uint64_t speed_of(const settings_type *settings)
{
    return speed_of_constant((unsigned)cfgetospeed(settings));
}
#endif

_Static_assert(sizeof(settings_type) <= sizeof(struct ior_os_tty), "the settings fit");

/* ---- what the options mean ---- */

#if !defined(CRTSCTS)
#define CRTSCTS 0 /* no flow control by lines here: it is found not to be taken */
#define NO_CRTSCTS 1
#endif
#if !defined(CMSPAR)
#define CMSPAR 0
#endif

#define FRAMING (CSIZE | CSTOPB | PARENB | PARODD | CMSPAR | CRTSCTS | CLOCAL)
#define RAW_IFLAG (IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | INPCK)
#define RAW_LFLAG (ECHO | ECHONL | ICANON | ISIG | IEXTEN)

static void set_data_bits(settings_type *settings, unsigned bits)
{
    static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};
    settings->c_cflag = (settings->c_cflag & ~(tcflag_t)CSIZE) | sizes[bits - 5];
}

static int set_parity(settings_type *settings, enum ior_parity parity)
{
    static const tcflag_t flags[] = {
        [IOR_PARITY_NONE] = 0,
        [IOR_PARITY_EVEN] = PARENB,
        [IOR_PARITY_ODD] = PARENB | PARODD,
        [IOR_PARITY_MARK] = PARENB | PARODD | CMSPAR,
        [IOR_PARITY_SPACE] = PARENB | CMSPAR,
    };
    if (CMSPAR == 0 && parity >= IOR_PARITY_MARK)
        return -EINVAL;
    settings->c_cflag = (settings->c_cflag & ~(tcflag_t)(PARENB | PARODD | CMSPAR)) | flags[parity];
    return 0;
}

static int set_flow(settings_type *settings, enum ior_flow flow)
{
#if defined(NO_CRTSCTS)
    if (flow == IOR_FLOW_RTS_CTS)
        return -EINVAL;
#endif
    settings->c_cflag &= ~(tcflag_t)CRTSCTS;
    settings->c_iflag &= ~(tcflag_t)(IXON | IXOFF | IXANY);
    if (flow == IOR_FLOW_RTS_CTS)
        settings->c_cflag |= CRTSCTS;
    else if (flow == IOR_FLOW_XON_XOFF)
        settings->c_iflag |= IXON | IXOFF;
    return 0;
}

int ior__tty_configure(struct ior_os_tty *settings, const struct ior_serial_options *opts)
{
    settings_type own;
    memcpy(&own, settings, sizeof(own));
    enum ior_parity parity = opts->parity;
    enum ior_flow flow = opts->flow;
    unsigned data_bits = opts->data_bits, stop_bits = opts->stop_bits;
    if (!opts->cooked) {
        own.c_iflag &= ~(tcflag_t)RAW_IFLAG;
        own.c_oflag &= ~(tcflag_t)OPOST;
        own.c_lflag &= ~(tcflag_t)RAW_LFLAG;
        own.c_cc[VMIN] = 1; /* 0 would make nothing to read look like the end */
        own.c_cc[VTIME] = 0;
        parity = parity ? parity : IOR_PARITY_NONE;
        flow = flow ? flow : IOR_FLOW_NONE;
        data_bits = data_bits ? data_bits : 8;
        stop_bits = stop_bits ? stop_bits : 1;
    }
    own.c_cflag |= CREAD;
    own.c_cflag = opts->modem_lines ? own.c_cflag & ~(tcflag_t)CLOCAL : own.c_cflag | CLOCAL;
    if (data_bits)
        set_data_bits(&own, data_bits);
    if (stop_bits)
        own.c_cflag = stop_bits == 2 ? own.c_cflag | CSTOPB : own.c_cflag & ~(tcflag_t)CSTOPB;
    int err = parity ? set_parity(&own, parity) : 0;
    if (err == 0 && flow)
        err = set_flow(&own, flow);
    if (err == 0 && opts->speed)
        err = set_speed(&own, opts->speed);
    if (err == 0)
        memcpy(settings, &own, sizeof(own));
    return err;
}

bool ior__tty_took(const struct ior_os_tty *now, const struct ior_os_tty *asked)
{
    settings_type a, b;
    memcpy(&a, now, sizeof(a));
    memcpy(&b, asked, sizeof(b));
    uint64_t speed = speed_of(&a), wanted = speed_of(&b);
    uint64_t off = speed > wanted ? speed - wanted : wanted - speed;
    return ((a.c_cflag ^ b.c_cflag) & (tcflag_t)FRAMING) == 0 &&
           ((a.c_iflag ^ b.c_iflag) & (tcflag_t)(RAW_IFLAG | IXON | IXOFF)) == 0 &&
           ((a.c_lflag ^ b.c_lflag) & (tcflag_t)RAW_LFLAG) == 0 &&
           off * 20 <= wanted; /* devices divide a clock: more than 5 % is another speed */
}

/* ---- system calls ---- */

int ior__os_tty_open(void *arg, const char *path)
{
    (void)arg;
    return ior__above_stdio(open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

int ior__os_tty_get(void *arg, int fd, struct ior_os_tty *ret)
{
    settings_type settings;

    (void)arg;
    memset(&settings, 0, sizeof(settings)); /* C libraries fill only what their kernel has */
    if (get(fd, &settings) < 0)
        return -errno;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, &settings, sizeof(settings));
    return 0;
}

/* SIGTTOU is for people: a program in the background that puts a terminal back is not to be stopped in the midst of it. */
int ior__os_tty_set(void *arg, int fd, const struct ior_os_tty *settings)
{
    settings_type own;
    sigset_t ttou, before;

    (void)arg;
    memcpy(&own, settings, sizeof(own));
    (void)sigemptyset(&ttou);
    (void)sigaddset(&ttou, SIGTTOU);
    (void)pthread_sigmask(SIG_BLOCK, &ttou, &before);
    int err = set(fd, &own) < 0 ? -errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

int ior__os_tty_ask(void *arg, int fd, enum ior_os_tty_ask what)
{
    int count = 0, r = -1;

    (void)arg;
    switch (what) {
    case IOR_TTY_EXCLUSIVE:
        r = ask(fd, (request_type)TIOCEXCL, NULL);
        break;
    case IOR_TTY_SHARED:
        r = ask(fd, (request_type)TIOCNXCL, NULL);
        break;
    case IOR_TTY_QUEUED:
        r = ask(fd, (request_type)TIOCOUTQ, &count);
        break;
    case IOR_TTY_DROP_QUEUED:
#if defined(KERNEL_STRUCT)
        r = ioctl(fd, (request_type)TCFLSH, TCOFLUSH);
#else
        r = tcflush(fd, TCOFLUSH);
#endif
        break;
    default:
        errno = EINVAL;
        break;
    }
    return r < 0 ? -errno : count;
}
