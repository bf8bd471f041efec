"""A script that pins itself, ties its life to its parent's, then becomes a command.

``python -I -S pin_and_exec.py CORES PARENT -- COMMAND…`` runs before anything else is loaded. So the command's threads
inherit the cores, and a killed parent leaves it behind at no moment. Standard library only; it imports nothing of this
project.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies; kept across execve."""


def main() -> None:
    """Pin to CORES (``0,1``; empty for no change), die with PARENT (a pid), become COMMAND."""
    cores, parent, _, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the line above
        sys.exit(1)
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point


if __name__ == "__main__":
    main()
