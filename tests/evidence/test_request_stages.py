"""A delay of 5 ms in each stage of a request in turn moves that stage and no other."""

import evidence
import pytest
from slow_stages import STAGES, SlowStages, slow_stages

from loadgen.report.timeline import REQUEST_STAGES

DELAY_MS = 5.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    with slow_stages(tmp_path_factory.mktemp("stages")) as slow:
        yield slow


def medians_ms(deployment: SlowStages, rate_rps: float | None) -> dict[str, float]:
    """By stage."""
    histograms = deployment.run(300 if rate_rps is None else 100, rate_rps).stages.histograms
    return {name: (histograms[name].percentile_ns(50) or 0) / 1e6 for name in STAGES}


def test_a_delay_moves_its_own_stage(deployment):
    """By about as much, and the median of no other by more than 1 ms; in an open and in a closed loop."""
    tables, wrong = [], []
    for kind, rate_rps in (("Open loop, 25 requests/s", 25.0), ("Closed loop, one in flight", None)):
        names = STAGES if rate_rps is not None else STAGES[1:]
        rows = []
        for slowed in names:
            before_ms = medians_ms(deployment, rate_rps)
            setattr(deployment.delays, slowed, DELAY_MS / 1e3)
            try:
                after_ms = medians_ms(deployment, rate_rps)
            finally:
                setattr(deployment.delays, slowed, 0.0)
            moved = {name: after_ms[name] - before_ms[name] for name in STAGES}
            rows.append(f"| {REQUEST_STAGES[slowed]} | " + " | ".join(f"{moved[name]:+.2f}" for name in STAGES) + " |")
            wrong += [
                f"{kind}, {slowed}: {name} moved by {ms:+.2f} ms"
                for name, ms in moved.items()
                if abs(ms - DELAY_MS * (name == slowed)) > 1
            ]
        head = "| slowed | " + " | ".join(REQUEST_STAGES[name] for name in STAGES) + " |"
        tables.append("\n".join([f"{kind}:", "", head, "|---" * (1 + len(STAGES)) + "|", *rows]))
    text = (
        f"Client, frontend and replica on real sockets; one stage at a time is held {DELAY_MS:g} ms. By how many "
        "ms the median of each stage moves against a run without a delay just before it; 100 requests a run, 300 in "
        "the closed loop."
    )
    evidence.keep("request-stages", "A delay shows in its own stage", "\n\n".join([text, *tables]))
    assert not wrong, wrong
