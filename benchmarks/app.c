/* The app that every supervisor runs: `app STAMPS NAME MODE [ARGUMENTS]`.
 *
 * Its first act is to append "NAME start PID NANOSECONDS" (CLOCK_MONOTONIC) to the file STAMPS. Modes:
 *   idle                      sleep for ever
 *   lines GO HZ SECONDS       once the file GO is there: numbered lines of 100 bytes at HZ, then sleep
 *   flood GO MEGABYTES BATCH  once GO is there: as many lines as fit, BATCH lines a write(), then sleep
 *   stubborn                  a child that ignores SIGTERM, SIGINT and SIGHUP; sleep
 *   serve PORT                answer every connection with a healthy HTTP response
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *stamps, *name;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void stamp(const char *what, long long when) {
    char line[256];
    int length = snprintf(line, sizeof line, "%s %s %d %lld\n", name, what, (int)getpid(), when);
    int file = open(stamps, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file >= 0) {
        if (write(file, line, length) != length) _exit(3);
        close(file);
    }
}

static void await(const char *go) {
    while (access(go, F_OK)) usleep(20000);
}

static void line_of(char *line, long number) {
    memset(line, 'x', 99);
    line[99] = '\n';
    char head[32];
    int length = snprintf(head, sizeof head, "%010ld ", number);
    memcpy(line, head, length);
}

static void put(const char *data, size_t left) {
    while (left) {
        ssize_t count = write(1, data, left);
        if (count <= 0) _exit(4);
        data += count;
        left -= count;
    }
}

static void serve(int port) {
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\nConnection: close\r\n\r\n"
        "{\"health\":\"good\"}";
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) _exit(5);
    for (;;) {
        char request[4096];
        int peer = accept(listener, 0, 0);
        if (peer < 0) continue;
        if (read(peer, request, sizeof request) > 0 && write(peer, answer, sizeof answer - 1) < 0) _exit(6);
        close(peer);
    }
}

int main(int count, char **words) {
    long long born = now();
    if (count < 4) return 2;
    stamps = words[1];
    name = words[2];
    stamp("start", born);
    const char *mode = words[3];
    if (!strcmp(mode, "lines")) {
        long hz = atol(words[5]), total = hz * atol(words[6]);
        char line[100];
        await(words[4]);
        long long first = now();
        for (long number = 0; number < total; number++) {
            line_of(line, number);
            put(line, sizeof line);
            long long due = first + (number + 1) * 1000000000LL / hz, left = due - now();
            if (left > 0) usleep(left / 1000);
        }
        stamp("done", now());
    } else if (!strcmp(mode, "flood")) {
        long total = atol(words[5]) * 10000L, batch = atol(words[6]);
        char *block = malloc(batch * 100);
        await(words[4]);
        stamp("begin", now());
        for (long number = 0; number < total;) {
            long lines = total - number < batch ? total - number : batch;
            for (long each = 0; each < lines; each++) line_of(block + each * 100, number + each);
            put(block, lines * 100);
            number += lines;
        }
        stamp("done", now());
    } else if (!strcmp(mode, "stubborn")) {
        if (!fork()) {
            signal(SIGTERM, SIG_IGN);
            signal(SIGINT, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
        }
    } else if (!strcmp(mode, "serve")) {
        serve(atoi(words[4]));
    }
    for (;;) pause();
}
