"""Normalises the words of the command line before the parser: lists in any style become one value. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_OF_ALL = {
    "--cpus": "cpus",
    "--model_cpus": "cpus",
    "-c": "cpus",
    "--gpus": "gpus",
    "--model_gpus": "gpus",
    "-g": "gpus",
    "--client-cpus": "client_cpus",
    "--frontends-cpus": "frontends_cpus",
    "--redis-cpus": "redis_cpus",
    "--management-cpus": "management_cpus",
    "--query-cpus": "query_cpus",
}
"""Options whose value is a list of integers, by all of their spellings."""

_OF_SWEEP = {
    **dict.fromkeys(("--batch-sizes", "--batch_sizes", "--batch-size", "-b"), "batch_sizes"),
    **dict.fromkeys(("--replicas", "--num_replicas", "-r"), "replicas"),
    **dict.fromkeys(("--cpus-per-replica", "--cpus_per_replica_nums", "-p"), "cpus_per_replica"),
    "--in-flight": "in_flight",
    "--rates": "rates",
}
"""The same, and rates, of `sweep` and `size`; verbs of one size read such a list to refuse it as a whole."""

_SIZED = ("size", "sweep", "saturate", "rate", "capacity", "up")

_VALUE = re.compile(r"[^-,].*", re.DOTALL)
"""A word that is an option's value, for better or worse: ``none``, or something for the parser to refuse."""


def list_options(argv: Sequence[str]) -> Mapping[str, str]:
    """Each spelling of a list option to the option's name, for the verb that the words begin with."""
    return _OF_ALL | _OF_SWEEP if argv[:1] and argv[0] in _SIZED else _OF_ALL


def normalise_argv(argv: Sequence[str], list_options: Mapping[str, str]) -> list[str]:
    """Give each list option one comma-separated value, where it was first written.

    An option's value is the word attached to it or next to it, and the words up to the next option: verbs with lists
    take no arguments. ``--gpus 0 1 -r 2 -g 3`` becomes ``--gpus 0,1,3 -r 2``. From ``--`` on, and from a list option
    without a value on, words stay as they are: the first are no options, and the second is for the parser to refuse.

    Args:
        argv: the words after the program's name.
        list_options: each spelling of a list option to the option's name, such as ``{"--gpus": "gpus", "-g": "gpus"}``.
    """
    argv = _with_values(argv)
    words: list[str] = []
    value_at: dict[str, int] = {}
    at = 0
    while at < len(argv) and argv[at] != "--":
        flag, attached = _split_option(argv[at], list_options)
        if flag is None:
            words.append(argv[at])
            at += 1
            continue
        values = attached or list(argv[at + 1 : at + 2])
        if not values or _VALUE.fullmatch(values[0]) is None:
            break
        at += 1 if attached else 2
        while at < len(argv) and _VALUE.fullmatch(argv[at]):
            values.append(argv[at])
            at += 1
        name = list_options[flag]
        if name in value_at:
            words[value_at[name]] = _joined([words[value_at[name]], *values])
        else:
            words += [flag, _joined(values)]
            value_at[name] = len(words) - 1
    return [*words, *argv[at:]]


_WITHOUT_VALUE = {"--web": "0"}
"""Options whose value may be left out, and what that means."""

_OPTION = re.compile(r"-(?!\d)")
"""The beginning of an option; a negative number is a value."""


def _with_values(argv: Sequence[str]) -> list[str]:
    """The words, with the value of each option that has none and may do without."""
    words = list(argv)
    until = words.index("--") if "--" in words else len(words)
    for at in reversed(range(until)):
        if words[at] in _WITHOUT_VALUE and (at + 1 == until or _OPTION.match(words[at + 1])):
            words[at] += f"={_WITHOUT_VALUE[words[at]]}"
    return words


def _split_option(word: str, list_options: Mapping[str, str]) -> tuple[str | None, list[str]]:
    """The list option that a word is, or None, and the value attached to it (``--cpus=20``, ``-c20``), if any."""
    flag, equals, value = word.partition("=")
    if flag in list_options:
        return flag, [value] if equals else []
    if word[:2] in list_options:
        return word[:2], [word[2:]]
    return None, []


def _joined(values: Iterable[str]) -> str:
    # "0, 1" arrives as the words "0," and "1".
    return re.sub(",+", ",", ",".join(values)).strip(",")
