"""The command with standard streams that are closed, or whose reader goes away."""

import json

import pytest
from program import DEADLINE_S, noop, ran, started


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_is_saved(tmp_path, closed):
    """Whatever of its parts writes to them."""
    words = noop(tmp_path, "saturate", "--requests", "100")
    done = ran(["bash", "-c", f'exec "$@" {closed}', "bash", *words])
    (saved,) = (tmp_path / "results").glob("results-*.json")
    assert (done.returncode, json.loads(saved.read_text())["ended"]) == (0, "requests")


def test_a_run_whose_output_is_not_read_to_its_end(tmp_path):
    """As with `| head -1`: standard error says where the results are."""
    process = started(noop(tmp_path, "saturate", "--requests", "100"), "client: cores")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(DEADLINE_S) == 1
    (saved,) = (tmp_path / "results").glob("results-*.json")
    assert said == f"loadgen: the output cannot be written: Broken pipe; the results are in {saved}\n"
