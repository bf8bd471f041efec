"""Strings, back as they came."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend runs."""

    def execute(self, requests):
        """Answer each request."""
        return [_answer(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()) for request in requests]


def _answer(words):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", words)])
