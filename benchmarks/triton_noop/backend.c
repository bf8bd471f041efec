/* A Triton backend that does nothing: it answers each request with one float and never looks at the input.
 *
 * What it uses of Triton's backend API (triton-inference-server/core, include/triton/core/tritonbackend.h) is declared
 * here, so that it builds without Triton's headers; the server resolves the names when it loads the library.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <time.h>

typedef struct TRITONSERVER_Error Error;
typedef struct TRITONBACKEND_ModelInstance Instance;
typedef struct TRITONBACKEND_Output Output;
typedef struct TRITONBACKEND_Request Request;
typedef struct TRITONBACKEND_Response Response;

/* TRITONSERVER_DataType, TRITONSERVER_MemoryType and two flags: all enumerations, which C passes as int. */
enum { TYPE_FP32 = 11 };
enum { MEMORY_CPU = 0 };
enum { RESPONSE_COMPLETE_FINAL = 1 };
enum { REQUEST_RELEASE_ALL = 1 };

extern Error* TRITONBACKEND_ResponseNew(Response** response, Request* request);
extern Error* TRITONBACKEND_ResponseOutput(Response* response, Output** output, const char* name, int type,
                                           const int64_t* shape, uint32_t dimensions);
extern Error* TRITONBACKEND_OutputBuffer(Output* output, void** buffer, uint64_t bytes, int* memory,
                                         int64_t* memory_id);
extern Error* TRITONBACKEND_ResponseSend(Response* response, uint32_t flags, Error* error);
extern Error* TRITONBACKEND_RequestRelease(Request* request, uint32_t flags);
extern Error* TRITONBACKEND_ModelInstanceReportStatistics(Instance* instance, Request* request, bool success,
                                                          uint64_t begin_ns, uint64_t compute_begin_ns,
                                                          uint64_t compute_end_ns, uint64_t end_ns);
extern Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(Instance* instance, uint64_t batch_size,
                                                               uint64_t begin_ns, uint64_t compute_begin_ns,
                                                               uint64_t compute_end_ns, uint64_t end_ns);

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One float, 0, or what Triton says against it. */
static Error* write_output(Response* response)
{
    static const int64_t shape[] = {1};
    Output* output;
    void* buffer;
    int memory = MEMORY_CPU;
    int64_t memory_id = 0;
    Error* error = TRITONBACKEND_ResponseOutput(response, &output, "OUTPUT", TYPE_FP32, shape, 1);
    if (error == NULL)
        error = TRITONBACKEND_OutputBuffer(output, &buffer, sizeof(float), &memory, &memory_id);
    if (error == NULL)
        *(float*)buffer = 0;
    return error;
}

static bool answer(Request* request)
{
    Response* response;
    if (TRITONBACKEND_ResponseNew(&response, request) != NULL)
        return false;
    Error* error = write_output(response);
    bool success = error == NULL;
    return TRITONBACKEND_ResponseSend(response, RESPONSE_COMPLETE_FINAL, error) == NULL && success;
}

/* What Triton calls with the requests of a batch; they belong to us until they are released. */
Error* TRITONBACKEND_ModelInstanceExecute(Instance* instance, Request** requests, uint32_t count)
{
    uint64_t begin_ns = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        bool success = answer(requests[i]);
        uint64_t end_ns = now_ns();
        TRITONBACKEND_ModelInstanceReportStatistics(instance, requests[i], success, begin_ns, begin_ns, end_ns, end_ns);
        TRITONBACKEND_RequestRelease(requests[i], REQUEST_RELEASE_ALL);
    }
    uint64_t end_ns = now_ns();
    TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, count, begin_ns, begin_ns, end_ns, end_ns);
    return NULL; /* an error would give the requests back, and they are released */
}
