"""The page as text: how large it is, and what it names."""

import json
import re

import pytest
from sample_pages import collection, large, small
from sample_results import results

from loadgen.report.page import page, page_data

pytest.importorskip("plotly", reason="needs the extra report")

PLOTLY_BYTES = 5_500_000
"""No more than that are plotly's own."""

CELL_BYTES = 40_000
"""Most that a cell adds, however long it ran."""


def test_200_cells_stay_small():
    """However long they ran, and with plotly in it once."""
    text = page(large())
    assert len(text) < PLOTLY_BYTES + 200 * CELL_BYTES
    assert text.count("plotly.js v") == 1
    long = page_data(collection([results(8, 8, 512, described=True, seconds=36_000, throughput_rps=50.0)]))
    assert len(json.dumps(long)) < CELL_BYTES


def test_the_page_asks_no_network_for_anything():
    """Its own parts name no address, and its policy allows none."""
    from plotly.offline import get_plotlyjs

    own = page(small()).replace(get_plotlyjs(), "")
    assert "default-src 'none'" in own
    assert set(re.findall(r"https?://[^\"' )]+", own)) <= {"http://www.w3.org/2000/svg"}
