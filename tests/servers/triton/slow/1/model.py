"""One float a row, 50 ms a batch."""

import time

import triton_python_backend_utils as pb_utils

BATCH_S = 0.05


class TritonPythonModel:
    """What the Python backend runs."""

    def execute(self, requests):
        """Answer the whole batch when its time is over."""
        time.sleep(BATCH_S)
        return [_answer(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()) for request in requests]


def _answer(rows):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", rows.mean(axis=1, keepdims=True))])
