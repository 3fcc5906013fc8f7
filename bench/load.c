/* The clients: as many at once as asked for, each in a closed loop, in one thread over epoll.

   load line PORT CLIENTS SECONDS    connect, send a line, read to the end, close; again
   load echo PORT CLIENTS SECONDS    connect once; send a line, read it back; again
   load silent PORT CLIENTS SECONDS  connect all and say nothing; then each sends a line, and it
                                     is over when all have been answered (or after SECONDS)
   load udp PORT CLIENTS SECONDS     CLIENTS datagrams under way at once, from one socket

   And where it is compiled with WITH_TLS, for which it needs OpenSSL, by TLS 1.3:

   load tls PORT CLIENTS SECONDS       as line, with a whole handshake for each connection
   load tls-bulk PORT CLIENTS SECONDS  as echo, with MUCH back for each line

   To 127.0.0.1, or to the Unix socket that a path (with a slash) names in the place of PORT. TERM
   is the end of SECONDS. What was begun within SECONDS is waited for, for DRAIN seconds more, so that
   every operation that a server has worked for is counted. Prints one line of JSON:

   done      operations that were answered, and rightly
   failed    operations that were not
   seconds   how long: SECONDS, or for "silent" from the first connect to the last answer
   rate      answers a second within these seconds
   p50, p99  seconds from connecting ("line") or sending (the others) to the whole answer
   cpu       seconds of processor time that this program used */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define LINE "hello\n"

enum {
    LENGTH = sizeof LINE - 1,
    EVENTS = 256,
    /* Connections of "silent" that are not established yet, at most: clients that stay for long
       come one after the other, and a thousand in one millisecond would test the backlog. */
    CONNECTING = 64,
    TICK = 50, /* milliseconds between two looks at the clock when nothing happens */
};

static const double DRAIN = 5;
static const double LOST = 1; /* seconds after which a datagram is not coming back */

struct client {
    int socket; /* -1: none */
    int got;    /* bytes of the answer */
    bool asked;
    uint32_t turn; /* of a datagram: tells a late answer from that to the present one */
    double started;
};

static union {
    struct sockaddr any;
    struct sockaddr_in inet;
    struct sockaddr_un local;
} server;
static socklen_t server_length;
static struct client *clients;
static int count;
static int epoll;

static double begun;
static volatile double deadline;
static long done, failed, in_time;
static double *latencies;
static size_t room;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void succeed(double started)
{
    double ended = now();

    if ((size_t)done == room) {
        room = room ? 2 * room : 65536;
        latencies = realloc(latencies, room * sizeof *latencies);
        if (!latencies)
            err(1, "realloc");
    }
    latencies[done++] = ended - started;
    if (ended <= deadline)
        in_time++;
}

static void watch(struct client *client, uint32_t what, int how)
{
    struct epoll_event event = {.events = what, .data.ptr = client};

    if (epoll_ctl(epoll, how, client->socket, &event) < 0)
        err(1, "epoll_ctl");
}

static void leave(struct client *client)
{
    close(client->socket);
    client->socket = -1;
}

static void fail(struct client *client)
{
    failed++;
    leave(client);
}

/* Begin to connect, without waiting; false when the system refuses at once. */
static bool connects(struct client *client)
{
    client->got = 0;
    client->asked = false;
    client->started = now();
    client->socket = socket(server.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->socket < 0)
        err(1, "socket");
    if (connect(client->socket, &server.any, server_length) == 0)
        return true;
    if (errno == EINPROGRESS)
        return true;
    fail(client);
    return false;
}

/* Send the line; false, and errno says why, when that did not work. */
static bool asks(struct client *client)
{
    if (send(client->socket, LINE, LENGTH, MSG_NOSIGNAL) != LENGTH)
        return false;
    client->asked = true;
    return true;
}

enum answer { MORE, WHOLE, ENDED, WRONG };

/* Read a piece of the answer. ENDED: the server has closed after the whole of it. */
static enum answer read_answer(struct client *client)
{
    char piece[LENGTH + 1];
    ssize_t length = recv(client->socket, piece, sizeof piece, 0);

    if (length < 0)
        return errno == EAGAIN ? MORE : WRONG;
    if (length == 0)
        return client->got == LENGTH ? ENDED : WRONG;
    if (client->got + length > LENGTH || memcmp(piece, LINE + client->got, length))
        return WRONG;
    client->got += length;
    return client->got == LENGTH ? WHOLE : MORE;
}

/* Wait for events, at most a tick; false when it is over: at the end of the drain. */
static bool wait_for(struct epoll_event *events, int *ready)
{
    *ready = epoll_wait(epoll, events, EVENTS, TICK);
    return now() < deadline + DRAIN;
}

static int still_open(void)
{
    int open = 0;

    for (int i = 0; i < count; i++)
        open += clients[i].socket >= 0;
    return open;
}

static void fail_the_rest(void)
{
    for (int i = 0; i < count; i++)
        if (clients[i].socket >= 0)
            fail(&clients[i]);
}

/* line */

static int idle; /* clients whose last connect was refused at once: they try at the next tick */

static void begin_line(struct client *client)
{
    if (!connects(client)) {
        idle++;
        return;
    }
    /* On the loopback a connection is mostly there already, unless the backlog is full. */
    if (asks(client))
        watch(client, EPOLLIN, EPOLL_CTL_ADD);
    else
        watch(client, EPOLLOUT, EPOLL_CTL_ADD);
}

static void next_line(struct client *client)
{
    if (now() < deadline)
        begin_line(client);
}

static void go_on_with_line(struct client *client)
{
    enum answer answer;

    if (!client->asked) {
        if (asks(client)) {
            watch(client, EPOLLIN, EPOLL_CTL_MOD);
        } else if (errno != EAGAIN) {
            fail(client);
            next_line(client);
        }
        return;
    }
    do
        answer = read_answer(client);
    while (answer == WHOLE);
    if (answer == MORE)
        return;
    if (answer == ENDED) {
        succeed(client->started);
        leave(client);
    } else {
        fail(client);
    }
    next_line(client);
}

static void retry_idle(void)
{
    idle = 0;
    for (int i = 0; i < count; i++)
        if (clients[i].socket < 0)
            next_line(&clients[i]);
}

static void run_line(void)
{
    struct epoll_event events[EVENTS];
    int ready;

    for (int i = 0; i < count; i++)
        begin_line(&clients[i]);
    while (wait_for(events, &ready)) {
        for (int i = 0; i < ready; i++)
            go_on_with_line(events[i].data.ptr);
        if (idle && now() < deadline)
            retry_idle();
        if (now() >= deadline && !still_open())
            return;
    }
    fail_the_rest();
}

/* Connecting, for those that stay. */

/* Connect all, a few at a time; returns when all are connected or have failed. */
static void connect_all(void)
{
    struct epoll_event events[EVENTS];
    int opened = 0, pending = 0, ready;

    while (opened < count || pending) {
        for (; opened < count && pending < CONNECTING; opened++) {
            if (!connects(&clients[opened]))
                continue;
            /* Once only: whatever happens to it next is seen when it has asked. */
            watch(&clients[opened], EPOLLOUT | EPOLLONESHOT, EPOLL_CTL_ADD);
            pending++;
        }
        if (!wait_for(events, &ready))
            return;
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;

            if (events[i].events & (EPOLLERR | EPOLLHUP))
                fail(client);
            pending--;
        }
    }
}

static void ask_again(struct client *client)
{
    client->got = 0;
    client->started = now();
    if (!asks(client))
        fail(client);
}

static void ask_all(void)
{
    for (int i = 0; i < count; i++) {
        if (clients[i].socket < 0)
            continue;
        watch(&clients[i], EPOLLIN, EPOLL_CTL_MOD);
        ask_again(&clients[i]);
    }
}

/* echo */

static void run_echo(void)
{
    struct epoll_event events[EVENTS];
    int ready;

    connect_all();
    deadline += now() - begun;
    begun = now();
    ask_all();
    while (still_open() && wait_for(events, &ready)) {
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            enum answer answer = read_answer(client);

            if (answer == MORE)
                continue;
            if (answer != WHOLE) {
                fail(client);
                continue;
            }
            succeed(client->started);
            if (now() < deadline)
                ask_again(client);
            else
                leave(client);
        }
    }
    fail_the_rest();
}

/* silent: the connections stay open until all have been answered. */

static void run_silent(void)
{
    struct epoll_event events[EVENTS];
    int ready;

    connect_all();
    ask_all();
    while (done + failed < count && now() < deadline) {
        ready = epoll_wait(epoll, events, EVENTS, TICK);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            enum answer answer = read_answer(client);

            if (answer == WHOLE)
                succeed(client->started);
            else if (answer != MORE)
                fail(client);
        }
    }
    deadline = now();
    failed = count - done;
}

/* udp: a client is a place in the window, and its number stands in the datagram. */

struct datagram {
    uint32_t place, turn;
    char padding[8];
};

static int datagrams;
static int under_way;

static void send_datagram(int place)
{
    struct client *client = &clients[place];
    struct datagram datagram = {.place = place, .turn = ++client->turn, .padding = "datagr\n"};

    client->started = now();
    client->asked = true;
    under_way++;
    /* What cannot be sent is noticed as lost. */
    (void)!send(datagrams, &datagram, sizeof datagram, MSG_NOSIGNAL);
}

static void receive_datagrams(void)
{
    struct datagram datagram;
    ssize_t length;

    while ((length = recv(datagrams, &datagram, sizeof datagram, MSG_DONTWAIT)) >= 0) {
        struct client *client;

        if (length != sizeof datagram || datagram.place >= (uint32_t)count)
            continue;
        client = &clients[datagram.place];
        if (!client->asked || datagram.turn != client->turn)
            continue;
        client->asked = false;
        under_way--;
        succeed(client->started);
        if (now() < deadline)
            send_datagram(datagram.place);
    }
}

static void give_up_lost(void)
{
    double time = now();

    for (int i = 0; i < count; i++) {
        if (!clients[i].asked || time - clients[i].started < LOST)
            continue;
        clients[i].asked = false;
        under_way--;
        failed++;
        if (time < deadline)
            send_datagram(i);
    }
}

static void run_udp(void)
{
    double looked = now();

    datagrams = socket(server.any.sa_family, SOCK_DGRAM, 0);
    if (connect(datagrams, &server.any, server_length) < 0)
        err(1, "connect");
    for (int i = 0; i < count; i++)
        send_datagram(i);
    while (under_way && now() < deadline + DRAIN) {
        struct pollfd readable = {.fd = datagrams, .events = POLLIN};

        poll(&readable, 1, TICK);
        receive_datagrams();
        if (now() - looked > LOST / 10) {
            looked = now();
            give_up_lost();
        }
    }
    failed += under_way;
}

#ifdef WITH_TLS
/* tls, tls-bulk */

enum {
    MUCH = 1 << 20, /* as in handlers.py */
    PIECE = 1 << 16,
};

static SSL_CTX *context;
static SSL **sessions; /* of the clients, in their order */
static bool is_bulk;

/* Whoever it is: a chain is not built, which would take this program's time. */
static int believe(X509_STORE_CTX *certificates, void *unused)
{
    (void)certificates, (void)unused;
    return 1;
}

static void begin_tls(struct client *client)
{
    SSL **session = &sessions[client - clients];

    if (!connects(client)) {
        idle++;
        return;
    }
    *session = SSL_new(context);
    if (!*session || !SSL_set_fd(*session, client->socket))
        errx(1, "OpenSSL cannot begin");
    SSL_set_connect_state(*session);
    watch(client, EPOLLOUT, EPOLL_CTL_ADD);
}

static void next_tls(struct client *client)
{
    SSL_free(sessions[client - clients]);
    sessions[client - clients] = NULL;
    if (now() < deadline)
        begin_tls(client);
}

/* What a call of OpenSSL's that did not succeed is waiting for, which is watched for from now on. */
static enum answer wait_for_tls(struct client *client, int result)
{
    switch (SSL_get_error(sessions[client - clients], result)) {
    case SSL_ERROR_WANT_READ:
        watch(client, EPOLLIN, EPOLL_CTL_MOD);
        return MORE;
    case SSL_ERROR_WANT_WRITE:
        watch(client, EPOLLOUT, EPOLL_CTL_MOD);
        return MORE;
    case SSL_ERROR_ZERO_RETURN:
        return client->asked && client->got == LENGTH ? ENDED : WRONG;
    default:
        return WRONG;
    }
}

/* Go on until there is something to wait for: MORE; or to the end of an operation. */
static enum answer advance_tls(struct client *client)
{
    static char piece[PIECE];
    SSL *session = sessions[client - clients];
    int length;

    ERR_clear_error();
    if (!client->asked) {
        length = SSL_write(session, LINE, LENGTH); /* after the handshake */
        if (length != LENGTH)
            return wait_for_tls(client, length);
        client->asked = true;
    }
    while ((length = SSL_read(session, piece, sizeof piece)) > 0) {
        if (!is_bulk && (client->got + length > LENGTH || memcmp(piece, LINE + client->got, length)))
            return WRONG;
        client->got += length;
        if (is_bulk && client->got >= MUCH)
            return client->got == MUCH ? WHOLE : WRONG;
    }
    return wait_for_tls(client, length);
}

static void go_on_with_tls(struct client *client)
{
    enum answer answer;

    while ((answer = advance_tls(client)) == WHOLE) {
        succeed(client->started);
        if (now() >= deadline) {
            leave(client);
            return;
        }
        client->got = 0;
        client->asked = false;
        client->started = now();
    }
    if (answer == MORE)
        return;
    if (answer == ENDED && !is_bulk) {
        succeed(client->started);
        SSL_shutdown(sessions[client - clients]);
        leave(client);
    } else {
        fail(client);
    }
    next_tls(client);
}

static void retry_idle_tls(void)
{
    idle = 0;
    for (int i = 0; i < count; i++)
        if (clients[i].socket < 0)
            next_tls(&clients[i]);
}

static void run_tls(void)
{
    struct epoll_event events[EVENTS];
    int ready;

    context = SSL_CTX_new(TLS_client_method());
    sessions = calloc(count, sizeof *sessions);
    if (!context || !sessions || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION))
        errx(1, "OpenSSL cannot begin");
    SSL_CTX_set_cert_verify_callback(context, believe, NULL);
    /* The servers of the standard library end without TLS's own end. */
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < count; i++)
        begin_tls(&clients[i]);
    while (wait_for(events, &ready)) {
        for (int i = 0; i < ready; i++)
            go_on_with_tls(events[i].data.ptr);
        if (idle && now() < deadline)
            retry_idle_tls();
        if (now() >= deadline && !still_open())
            return;
    }
    fail_the_rest();
}

static void run_tls_bulk(void)
{
    is_bulk = true;
    run_tls();
}
#endif

/* The report. */

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;

    return (a > b) - (a < b);
}

static double percentile(double share)
{
    return done ? latencies[(long)((done - 1) * share + 0.5)] : 0;
}

static double seconds_of(struct timeval time)
{
    return time.tv_sec + time.tv_usec * 1e-6;
}

static void report(void)
{
    struct rusage usage;
    double seconds = deadline - begun;

    getrusage(RUSAGE_SELF, &usage);
    qsort(latencies, done, sizeof *latencies, compare);
    printf("{\"done\": %ld, \"failed\": %ld, \"seconds\": %.6f, \"rate\": %.3f, ", done, failed,
           seconds, seconds > 0 ? in_time / seconds : 0);
    printf("\"p50\": %.9f, \"p99\": %.9f, \"cpu\": %.6f}\n", percentile(0.5), percentile(0.99),
           seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
}

static void find_server(const char *where)
{
    if (strchr(where, '/')) {
        server.local.sun_family = AF_UNIX;
        if (strlen(where) >= sizeof server.local.sun_path)
            errx(2, "%s: too long for a Unix socket", where);
        strcpy(server.local.sun_path, where);
        server_length = sizeof server.local;
    } else {
        server.inet.sin_family = AF_INET;
        server.inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        server.inet.sin_port = htons(atoi(where));
        server_length = sizeof server.inet;
    }
}

static void finish(int number)
{
    (void)number;
    deadline = now();
}

int main(int argument_count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {
        {"line", run_line}, {"echo", run_echo}, {"silent", run_silent}, {"udp", run_udp},
#ifdef WITH_TLS
        {"tls", run_tls}, {"tls-bulk", run_tls_bulk},
#endif
    };

    if (argument_count != 5 || atoi(arguments[3]) < 1)
        errx(2, "usage: load line|echo|silent|udp PORT|PATH CLIENTS SECONDS");
    find_server(arguments[2]);
    count = atoi(arguments[3]);
    clients = calloc(count, sizeof *clients);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || epoll < 0)
        err(1, "cannot begin");
    for (int i = 0; i < count; i++)
        clients[i].socket = -1;
    begun = now();
    deadline = begun + atof(arguments[4]);
    signal(SIGTERM, finish);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (!strcmp(arguments[1], modes[i].name)) {
            modes[i].run();
            report();
            return 0;
        }
    }
    errx(2, "no mode \"%s\"", arguments[1]);
}
