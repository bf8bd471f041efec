"""The errors of the serving side; each message is one line with the value and the remedy.

FrontendLaunchError
 +- PlacementError   the machine does not have what was asked of it
 |   +- RequestError      what was asked of it contradicts itself, or makes no sense
 +- LaunchError      a process that cannot be started or never becomes ready
 |   +- ImageError         a container image that cannot be built
 |   +- UnavailableError   what every deployment of these settings needs is not there
 +- ActorLostError   an actor on a node of a cluster that cannot be reached any more
 |   +- HeadLostError      nor can any other, without the head of the cluster
 +- AdminError       the management frontend cannot be reached or refuses
 +- DescribeError    a model that cannot be asked about itself
 +- StoreError       the configuration store does not answer
 +- RestError        a request to the management frontend that it refuses
"""


class FrontendLaunchError(Exception):
    """Base of every error this package raises on purpose."""


class PlacementError(FrontendLaunchError):
    """The machine does not have what was asked of it."""


class RequestError(PlacementError):
    """What was asked of a machine or a cluster contradicts itself, makes no sense, or describes none."""


class LaunchError(FrontendLaunchError):
    """A process that cannot be started or never becomes ready.

    Args:
        text: the message, one line.
        log_tail: empty without one.

    Attributes:
        log_tail: the last lines that the culprit wrote, possibly empty.
    """

    def __init__(self, text: str, log_tail: str = "") -> None:
        super().__init__(text)
        self.log_tail = log_tail


class ImageError(LaunchError):
    """A container image that cannot be built; `log_tail` is the end of what the failing step wrote."""


class UnavailableError(LaunchError):
    """What every deployment of these settings needs is not there: a port, an engine, an image."""


class ActorLostError(FrontendLaunchError):
    """An actor on a node of a cluster cannot be reached any more; its text says why, in one line."""


class HeadLostError(ActorLostError):
    """The head of a cluster cannot be reached any more, and without it no actor."""


class AdminError(FrontendLaunchError):
    """The management frontend cannot be reached or refuses."""


class DescribeError(FrontendLaunchError):
    """A model that cannot be asked about itself."""


class StoreError(FrontendLaunchError):
    """The configuration store does not answer."""


class RestError(FrontendLaunchError):
    """A REST body that cannot be read, or that asks for what cannot be; its text is the answer."""
