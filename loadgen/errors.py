"""The errors of the load generator; each message is one line with the value and the remedy.

LoadgenError
 +- ConfigError   an option or a setting that makes no sense
 +- TargetError   the server cannot be reached or does not answer as the protocol says
 +- Interrupted   the user ended it before there was anything to measure
"""


class LoadgenError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(LoadgenError, ValueError):
    """An option or a setting that makes no sense.

    A ValueError too, so that a command line parser that calls ours adds the option's name to the message.
    """


class TargetError(LoadgenError):
    """The server cannot be reached or does not answer as the protocol says."""


class Interrupted(LoadgenError):  # noqa: N818 - it names what the user did, not a fault
    """The user ended it before there was anything to measure."""
