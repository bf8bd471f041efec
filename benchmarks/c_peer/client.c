/* A client of the client protocol (docs/protocol.md) as fast as C goes: keeps a window of requests in flight and
 * counts replies; prints what it measured as JSON.
 * client REQUEST_PORT RESPONSE_PORT PAYLOAD_BYTES WINDOW WARMUP_S SECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <zmq.h>

#define BURST 64
#define INPUTS 4

static void *dealer(void *context, const char *port) {
    void *socket = zmq_socket(context, ZMQ_DEALER);
    char address[64];
    int none = 0, patience_ms = 10000;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%s", port);
    if (zmq_connect(socket, address)) exit(1);
    return socket;
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void request(void *socket, int client, int id, void *payload, int bytes) {
    int floats = 2, elements = bytes / 4;
    zmq_send(socket, "", 0, ZMQ_SNDMORE);
    zmq_send(socket, &client, 4, ZMQ_SNDMORE);
    zmq_send(socket, &id, 4, ZMQ_SNDMORE);
    zmq_send(socket, "echo", 4, ZMQ_SNDMORE);
    zmq_send(socket, &floats, 4, ZMQ_SNDMORE);
    zmq_send(socket, &elements, 4, ZMQ_SNDMORE);
    /* Small payloads are cheaper copied; others are referred to, and never freed. */
    if (bytes < 2048) zmq_send(socket, payload, bytes, 0);
    else zmq_send_const(socket, payload, bytes, 0);
}

/* One reply of four frames, read whole; 0 when none is waiting. */
static int reply(void *socket) {
    char frame[64];
    zmq_msg_t output;
    if (zmq_recv(socket, frame, sizeof frame, ZMQ_DONTWAIT) < 0) return 0;
    zmq_recv(socket, frame, sizeof frame, 0);
    zmq_recv(socket, frame, sizeof frame, 0);
    zmq_msg_init(&output);
    zmq_msg_recv(&output, socket, 0);
    zmq_msg_close(&output);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    void *context = zmq_ctx_new(), *sending = dealer(context, argv[1]), *receiving = dealer(context, argv[2]);
    int bytes = atoi(argv[3]), window = atoi(argv[4]), client, sent = 0, measuring = 0;
    long done = 0, done_before = 0;
    char *payloads = malloc((size_t)bytes * INPUTS);
    for (long i = 0; i < (long)bytes * INPUTS; i++) payloads[i] = (char)rand();
    zmq_send(receiving, "", 0, ZMQ_SNDMORE);
    zmq_send(receiving, "", 0, 0);
    if (zmq_recv(receiving, &client, 4, 0) < 0) return 1;
    zmq_recv(receiving, &client, 4, 0);
    double begins = now_s() + atof(argv[5]), ends = begins + atof(argv[6]), cpu_before = 0, now;
    while ((now = now_s()) < ends) {
        if (!measuring && now >= begins) measuring = 1, begins = now, cpu_before = cpu_s(), done_before = done;
        int room = window - (sent - (int)done);
        if (room > BURST) room = BURST;
        for (int i = 0; i < room; i++) {
            request(sending, client, sent, payloads + (size_t)bytes * (sent % INPUTS), bytes);
            sent++;
        }
        long before = done;
        while (done - before < 512 && reply(receiving)) done++;
        if (done == before && room <= 0) {
            zmq_pollitem_t item = {receiving, 0, ZMQ_POLLIN, 0};
            zmq_poll(&item, 1, 100);
        }
    }
    printf("{\"requests\": %ld, \"wall_s\": %f, \"cpu_s\": %f}\n", done - done_before, now - begins, cpu_s() - cpu_before);
    return 0;
}
