"""A plus the sum of B; where the second of B is 99, all of A has to be the first: a test sees what arrives."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend runs."""

    def execute(self, requests):
        """Answer each request."""
        return [_answer(request) for request in requests]


def _answer(request):
    a, b = (pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in "AB")
    if b[1] == 99 and (a != b[0]).any():
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"A is {a.tolist()}, not {b[0]}"))
    return pb_utils.InferenceResponse([pb_utils.Tensor("SUM", a + np.float32(b.sum()))])
