"""One float a row: the row's mean."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend runs."""

    def execute(self, requests):
        """Answer each request of the batch on its own."""
        return [_answer(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()) for request in requests]


def _answer(rows):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", rows.mean(axis=1, keepdims=True))])
