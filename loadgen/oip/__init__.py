"""The Open Inference Protocol: what servers say of themselves and their models, and how requests and answers look."""
