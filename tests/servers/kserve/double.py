"""Twice the input, on KServe's own model server; its options come from the command line."""

import kserve


class Double(kserve.Model):
    """What KServe runs."""

    def __init__(self):
        super().__init__("double")
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        """Answer one request."""
        rows = payload.inputs[0].as_numpy()
        output = kserve.InferOutput("OUTPUT", list(rows.shape), "FP32")
        output.set_data_from_numpy(rows * 2, binary_data=True)
        return kserve.InferResponse(payload.id, self.name, [output])

    def get_input_types(self):
        """For the metadata."""
        return [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 8]}]

    def get_output_types(self):
        """For the metadata."""
        return [{"name": "OUTPUT", "datatype": "FP32", "shape": [-1, 8]}]


if __name__ == "__main__":
    kserve.ModelServer(workers=1).start([Double()])
