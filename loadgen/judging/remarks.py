"""Sentences for the reader of results on what the figures alone do not say; pure."""

from __future__ import annotations

import math

from frontend_launch.counters import Counters
from frontend_launch.quantities import number, plural, seconds
from loadgen.judging.warmup import slow_start
from loadgen.load.ending import Ending
from loadgen.load.record import Record
from loadgen.load.summary import FEW, LAG_SHARE, Summary
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

UNTOLD_TIMES = 1.1
"""A silence longer than this many times the longest latency hides requests that have no latency."""

MOST_REASONS = 5
"""Reasons of failures that are listed one by one."""


def error(record: Record) -> str | None:
    """Why the figures of a run are worthless, in one line; None where they are not."""
    if record.mismatched:
        return f"{record.mismatched:,} of {record.compared:,} answers that were compared are wrong"
    if record.latency.total:
        return None
    ended = ", ".join(f"{count:,} {outcome.words}" for outcome, count in record.outcomes.items() if count)
    where = " in the measured part" if record.outcomes[Outcome.COMPLETED] else ""
    return f"no request completed{where}: {f'{ended} in the whole run' if where else ended or 'none was sent'}"


def marked(summary: Summary) -> list[str]:
    """A line on the latencies that are the client's own to a large share."""
    if not summary.marked:
        return []
    each = "each of them" if len(summary.marked) > 1 else "it"
    names = ", ".join(summary.marked)
    return [f"marked with *: {names}; the same percentile of the client's own lag is {LAG_SHARE:.0%} or more of {each}"]


def uncertain(summary: Summary) -> list[str]:
    """A line on the latencies whose interval is not known, and one on percentiles of too few requests."""
    lines = []
    if wide := [name for name in summary.uncertain if name not in summary.few]:
        lines.append(f"{', '.join(wide)}: too few independent answers for an interval (marked with ~)")
    if summary.few:
        requests = plural(summary.measured.completed + (summary.lost or 0), "request")
        lines.append(f"{', '.join(summary.few)}: {requests} are too few; fewer than {FEW} of them are slower")
    return lines


def remarks(record: Record) -> list[str]:
    """A line for each fact that the figures of a run do not show."""
    lines = []
    if not record.measured_ns and record.ended.as_asked:
        lines.append("nothing was measured, the run ended within --warmup; make it longer, or use less --warmup")
    elif not record.measured_ns:
        lines.append("nothing was measured: the run ended before its measured part began")
    lines += _silence(record)
    lines += _pauses(record)
    if again := record.resent:
        lines.append(
            f"{again:,} request{' was' if again == 1 else 's were'} sent once more: the server had closed "
            f"{'its' if again == 1 else 'their'} connection before any of the answer came"
        )
    if record.unexpected:
        answers = plural(record.unexpected, "message")
        lines.append(f"{answers} answered no request that was sent, and counted for nothing")
    if record.failures:
        common = record.failures.most_common()
        lines += [f"{plural(count, 'request')} failed: {reason}" for reason, count in common[:MOST_REASONS]]
        if rest := sum(count for _, count in common[MOST_REASONS:]):
            lines.append(f"{plural(rest, 'request')} failed for other reasons, which the results have")
    return lines


def _silence(record: Record) -> list[str]:
    """A long time without completions that the latencies do not show."""
    longest_ns = record.latency.max_ns
    # A schedule's latencies count from the plan, so they do tell.
    if not record.silences or (record.offered is not None and longest_ns):
        return []
    from_ns, until_ns = max(record.silences, key=lambda silence: silence[1] - silence[0])
    if until_ns - from_ns <= UNTOLD_TIMES * longest_ns:
        return []
    none_s, measured_s = ((until_ns - from_ns) / NS_PER_S, record.measured_ns / NS_PER_S)
    begins_s = (from_ns - record.measured_from_ns) / NS_PER_S
    text = f"nothing completed for {seconds(none_s)} of {seconds(measured_s)}, from {seconds(begins_s)} after "
    text += "the measured part began"
    if not record.outcomes[Outcome.FAILED] + record.outcomes[Outcome.DEFAULTED]:  # which may be all that came
        text += ": latencies leave out the requests that are still waiting"
    return [text]


def short(record: Record, window: int) -> list[str]:
    """A closed loop that ended before its window turned over, so that no latency is that of a full window.

    Args:
        record: of the run.
        window: most requests in flight.
    """
    answers = record.latency.total
    in_flight_ns = sum(client.in_flight_ns for client in record.clients)
    if record.offered is not None or not answers or in_flight_ns <= answers * record.measured_ns:
        return []
    turned_over_s = window / answers * record.measured_ns / NS_PER_S
    return [
        f"the run was shorter than the {seconds(turned_over_s)} in which its window of {window:,} turns over: its "
        "latencies grow with its length; use a longer --duration or a smaller --max-in-flight"
    ]


def unsteady(record: Record, until_steady: bool) -> list[str]:
    """A run that ended before it was steady.

    Args:
        record: of the run.
        until_steady: it should have ended when it was.
    """
    if not until_steady or record.ended is Ending.STEADY or not record.measured_ns:
        return []
    return ["the run was not shown to be steady before it ended (--until-steady); use a longer --duration"]


def warmup(record: Record, warmup_s: float) -> list[str]:
    """A measured part that began slower than all that followed, with the warm-up that leaves the start out.

    Args:
        record: of the run.
        warmup_s: the warm-up that it had.
    """
    slow = slow_start(record)
    if slow is None:
        return []
    enough_s = math.ceil(warmup_s + record.skipped_ns / NS_PER_S + slow.length_s)
    return [
        f"the first {seconds(slow.length_s, 2)} of the measured part were slower than all that followed: their mean "
        f"latency is {number(slow.times, 3)} times that of the rest, and the {slow.tail} with them is "
        f"{number(slow.tail_times, 3)} times that without; --warmup {enough_s}s leaves them out"
    ]


def steady(record: Record) -> list[str]:
    """A record that is limited to the steady time, with the figures that are not."""
    if not record.skipped_ns:
        return []
    from_s, until_s = record.skipped_ns / NS_PER_S, (record.skipped_ns + record.measured_ns) / NS_PER_S
    return [
        f"measured from {from_s:.1f} to {until_s:.1f} s after the warm-up, while the run was steady; the server's own "
        f"numbers, and the shares of stages, are of all {until_s:.1f} s"
    ]


def _pauses(record: Record) -> list[str]:
    """A time in which the client did not run, with the latencies that it makes uncertain."""
    if not record.pauses:
        return []
    from_ns, until_ns = max(record.pauses, key=lambda pause: pause[1] - pause[0])
    began_s = (from_ns - record.measured_from_ns) / NS_PER_S
    when = f"{seconds(abs(began_s))} {'after' if began_s >= 0 else 'before'} the measured part began"
    if not record.measured_from_ns:
        when = "before a measured part began"
    text = f"the client did not run for {seconds((until_ns - from_ns) / NS_PER_S)}, from {when}"
    if (times := len(record.pauses)) > 1:
        whole_s = sum(until_ns - from_ns for from_ns, until_ns in record.pauses) / NS_PER_S
        text += f", the longest of {times} pauses of {seconds(whole_s)} in all"
    if answers := record.upper_bounds:
        text += f"; it read {plural(answers, 'answer')} late, whose latency is an upper bound"
    return [text]


def failed_batches(counters: Counters | None) -> list[str]:
    """Whether batches failed.

    Args:
        counters: of the frontends, over the measured part; None where they are not known.
    """
    failed = failed_count(counters)
    if not counters or not failed:
        return []
    batches = max(failed, sum(model.batches for model in counters.models.values()))
    of = f"{failed:,} of {plural(batches, 'batch', 'batches')}"
    return [
        f"{of} failed, in the model or with an answer that could not be read, and were tried again input by input or "
        "on another replica: the logs of the replicas and of the frontends say why"
    ]


def failed_count(counters: Counters | None) -> int | None:
    """Batches that failed; None where that is not known."""
    return None if counters is None else sum(model.failed_batches for model in counters.models.values())


_REASONS = {
    "invalid_request": "the request was not valid",
    "no_replica": "the model had no replica",
    "overloaded": "the model's queue was full, and the frontend serves other models too",
    "model_failed": "the model failed on it: the log of its replica says why",
    "replicas_lost": "the second replica that had the request ended",
    "replicas_hung": "three replicas did not answer the request in time",
}


def default_outputs(counters: Counters | None) -> list[str]:
    """Why default outputs were sent, a line for each reason.

    Args:
        counters: of the frontends, over the measured part; None where they are not known.
    """
    reasons = {} if counters is None else counters.default_reasons
    why = {
        kind: _REASONS.get(kind, f"the answer of the second replica that had the request was none ({kind})")
        for kind in reasons
    }
    return [f"{plural(count, 'default output')}: {why[kind]}" for kind, count in reasons.items() if count]


def refused(counters: Counters | None) -> list[str]:
    """What the frontends refused, by kind.

    Args:
        counters: of the frontends, over the measured part; None where they are not known.
    """
    kinds = [f"{count:,} {kind}" for kind, count in ({} if counters is None else counters.dropped).items() if count]
    return [f"the frontends refused messages, or parts of them: {', '.join(kinds)}"] if kinds else []
