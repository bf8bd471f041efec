"""The errors of the replica side.

ModelContainersError
 +- WireError      a message that does not follow the protocol
 +- ModelError     a model that is unknown, cannot be loaded, or does not keep its own description
 +- SettingsError  a flag or an environment variable that makes no sense
"""


class ModelContainersError(Exception):
    """Base of every error this package raises on purpose."""


class WireError(ModelContainersError):
    """A message that does not follow the protocol.

    Args:
        kind: short name of what is wrong, for counting.
        text: the message, one line.

    Attributes:
        kind: a short stable word for counters, such as ``frame_count``.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class ModelError(ModelContainersError):
    """A model that is unknown, cannot be loaded, or does not keep its own description."""


class SettingsError(ModelContainersError):
    """A flag or an environment variable whose value makes no sense."""
