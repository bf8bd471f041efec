"""What a terminal shows of the catalogue."""

from frontend_launch.launch.topology import describe
from loadgen.report.models_text import models_text
from model_containers import catalog


def test_the_catalogue_says_where_this_machine_is_too_small():
    """A line for each default that is not to be had; none where everything is."""
    models = [catalog.describe(name) for name in catalog.NAMES]
    large = models_text(models, describe("cpus=0-31,gpus=0")).splitlines()
    assert [line.split()[0] for line in large] == ["name", *catalog.NAMES]
    small = models_text(models, describe("cpus=0-1")).splitlines()
    assert "here: vgg's default 2 cores per replica: there is room for 1" in small
    assert "here: inception's default cores 16-18: not here, or too few; others are planned" in small
    assert "here: inception's default GPU 0: not here" in small
