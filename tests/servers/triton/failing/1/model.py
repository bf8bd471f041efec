"""An error for each request."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend runs."""

    def execute(self, requests):
        """Refuse each request of the batch."""
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("it always fails")) for _ in requests]
