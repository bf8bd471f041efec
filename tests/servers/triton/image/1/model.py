"""One float an image: its first one."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend runs."""

    def execute(self, requests):
        """Answer each request of the batch on its own."""
        return [_answer(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()) for request in requests]


def _answer(images):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", images[:, 0, 0, :1].copy())])
