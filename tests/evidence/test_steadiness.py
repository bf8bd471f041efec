"""How often `--until-steady` errs, on simulated runs."""

import contextlib
import io

import evidence
import pytest
import steady_error_rates


def test_tables_of_errors():
    """Made by the same program as the figures in docs/measuring.md."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr("sys.argv", ["steady_error_rates.py", "--seed", "2", "--runs", "100"])
        steady_error_rates.main()
    evidence.keep("steadiness", "How often a run is called steady, rightly and wrongly", out.getvalue())
    assert "%" in out.getvalue()
