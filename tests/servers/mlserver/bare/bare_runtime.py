"""One float a row: the row's mean."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Bare(MLModel):
    """What MLServer runs, in the server's own process."""

    async def load(self):
        """Nothing to load."""
        return True

    async def predict(self, payload):
        """Answer one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("OUTPUT", rows.mean(axis=1, keepdims=True))
        return InferenceResponse(model_name=self.name, outputs=[output])
