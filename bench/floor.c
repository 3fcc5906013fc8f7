/* The floor: what a line or a datagram costs when a plain epoll loop in C answers it.

   floor line PORT   a line in, the same line out, close
   floor echo PORT   a line in, the same line out, and so on until the client closes
   floor udp PORT    a datagram in, the same datagram out

   Listens on 127.0.0.1. Ended by SIGTERM, it prints {"served": N}: connections closed after
   their line, lines, or datagrams. Its loop is the textbook's, each connection in the epoll, and
   none of the tricks that would make a lower floor. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS = 256, LONGEST = 65536 };

static volatile sig_atomic_t stopping;
static long served;
static int epoll;
static char buffer[LONGEST];

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

/* Let SIGTERM in while waiting only, so that it is never missed between two waits. */
static sigset_t obey_term(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigset_t term, waiting;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigaction(SIGTERM, &action, NULL);
    sigprocmask(SIG_BLOCK, &term, &waiting);
    sigdelset(&waiting, SIGTERM);
    return waiting;
}

static int bound(int type, int port)
{
    int on = 1;
    int listener = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };

    if (listener < 0)
        err(1, "socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "bind 127.0.0.1:%d", port);
    if (type == SOCK_STREAM && listen(listener, BACKLOG) < 0)
        err(1, "listen");
    return listener;
}

static void watch(int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) < 0)
        err(1, "epoll_ctl");
}

static void accept_all(int listener)
{
    int connection;

    while ((connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        watch(connection);
}

/* Send back what has come. A line that comes in pieces goes back in pieces. */
static void answer(int connection, bool stay)
{
    ssize_t length = recv(connection, buffer, sizeof buffer, 0);

    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0 || send(connection, buffer, length, MSG_NOSIGNAL) != length) {
        close(connection);
        return;
    }
    if (buffer[length - 1] != '\n')
        return;
    served++;
    if (!stay)
        close(connection);
}

static void answer_datagrams(int datagrams)
{
    for (;;) {
        struct sockaddr_in client;
        socklen_t size = sizeof client;
        ssize_t length =
            recvfrom(datagrams, buffer, sizeof buffer, 0, (struct sockaddr *)&client, &size);

        if (length < 0)
            return;
        if (sendto(datagrams, buffer, length, 0, (struct sockaddr *)&client, size) == length)
            served++;
    }
}

int main(int count, char **arguments)
{
    const char *mode = count == 3 ? arguments[1] : "";
    bool udp = !strcmp(mode, "udp"), stay = !strcmp(mode, "echo");
    struct epoll_event events[EVENTS];
    sigset_t waiting = obey_term();
    int listener;

    if (!udp && !stay && strcmp(mode, "line"))
        errx(2, "usage: floor line|echo|udp PORT");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = bound(udp ? SOCK_DGRAM : SOCK_STREAM, atoi(arguments[2]));
    watch(listener);
    while (!stopping) {
        int ready = epoll_pwait(epoll, events, EVENTS, -1, &waiting);

        for (int i = 0; i < ready; i++) {
            int descriptor = events[i].data.fd;

            if (descriptor != listener)
                answer(descriptor, stay);
            else if (udp)
                answer_datagrams(listener);
            else
                accept_all(listener);
        }
    }
    printf("{\"served\": %ld}\n", served);
    return 0;
}
