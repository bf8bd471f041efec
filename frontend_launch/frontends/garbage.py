"""When a frontend collects garbage: a full collection looks at everything there is, and holds the loop up for that.

With 20 000 applications, or a million queries in the queue, it takes a tenth of a second, and finds nothing: what they
leave behind goes without it. HTTP requests that are none leave cycles, of some kilobytes each. So full collections come
after so many connections, and applications, which stay for ever, are taken out of them.
"""

from __future__ import annotations

import gc

NEVER = 1 << 30
"""Young collections before a full one."""

AFTER_APPLICATIONS = 256
"""Those are taken out together."""

AFTER_CONNECTIONS = 4096
"""Of HTTP, closed since the last full collection."""


def full_ones_when_told() -> None:
    """From now on there are no full collections but those below."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, NEVER)
    keep()


def keep() -> None:
    """Collect, and look at nothing of what is left any more."""
    gc.collect()
    gc.freeze()


def collect() -> None:
    """Collect what is not kept."""
    gc.collect()
