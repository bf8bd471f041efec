/* A frontend that only echoes, as fast as C goes: each request's payload is its own answer's output.
 * Speaks the client protocol (docs/protocol.md); prints its ports and serves until it is killed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define MAX_CLIENTS 1024

static zmq_msg_t identities[MAX_CLIENTS];
static int clients;

static void *router(void *context) {
    void *socket = zmq_socket(context, ZMQ_ROUTER);
    int unlimited = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    if (zmq_bind(socket, "tcp://127.0.0.1:*")) exit(1);
    return socket;
}

static int port(void *socket) {
    char endpoint[64];
    size_t size = sizeof endpoint;
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size);
    return atoi(strrchr(endpoint, ':') + 1);
}

static void send_identity(void *socket, int client) {
    zmq_msg_t identity;
    zmq_msg_init(&identity);
    zmq_msg_copy(&identity, &identities[client]);
    zmq_msg_send(&identity, socket, ZMQ_SNDMORE);
    zmq_send(socket, "", 0, ZMQ_SNDMORE);
}

static void handshake(void *responses) {
    char ignored[8];
    if (clients == MAX_CLIENTS) exit(1);
    zmq_msg_init(&identities[clients]);
    zmq_msg_recv(&identities[clients], responses, 0);
    zmq_recv(responses, ignored, sizeof ignored, 0);
    zmq_recv(responses, ignored, sizeof ignored, 0);
    send_identity(responses, clients);
    zmq_send(responses, &clients, 4, 0);
    clients++;
}

/* The seven frames of a request, behind its sender's identity; 0 when none is waiting. */
static int echo(void *requests, void *responses) {
    zmq_msg_t payload;
    char ignored[256], id[4], type[4];
    int client;
    if (zmq_recv(requests, ignored, sizeof ignored, ZMQ_DONTWAIT) < 0) return 0;
    zmq_recv(requests, ignored, sizeof ignored, 0);
    zmq_recv(requests, &client, 4, 0);
    zmq_recv(requests, id, 4, 0);
    zmq_recv(requests, ignored, sizeof ignored, 0);
    zmq_recv(requests, type, 4, 0);
    zmq_recv(requests, ignored, sizeof ignored, 0);
    zmq_msg_init(&payload);
    zmq_msg_recv(&payload, requests, 0);
    send_identity(responses, client);
    zmq_send(responses, id, 4, ZMQ_SNDMORE);
    zmq_send(responses, type, 4, ZMQ_SNDMORE);
    zmq_msg_send(&payload, responses, 0);
    return 1;
}

int main(void) {
    void *context = zmq_ctx_new(), *responses = router(context), *requests = router(context);
    zmq_pollitem_t items[] = {{responses, 0, ZMQ_POLLIN, 0}, {requests, 0, ZMQ_POLLIN, 0}};
    printf("{\"response\": %d, \"request\": %d}\n", port(responses), port(requests));
    fflush(stdout);
    for (;;) {
        zmq_poll(items, 2, -1);
        if (items[0].revents) handshake(responses);
        for (int burst = 0; burst < 1000 && echo(requests, responses); burst++) {}
    }
}
