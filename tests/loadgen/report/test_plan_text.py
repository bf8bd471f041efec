"""What a terminal shows of plans."""

from frontend_launch.launch.placement import Assignment, Placement
from loadgen.report.plan_text import placement_text


def test_placement():
    """The table has aligned columns and a dash where there is nothing to say."""
    placement = Placement(
        (
            Assignment("node-a", "client", (0,), None, shared=True),
            Assignment("node-a", "frontends", (0, 1, 2, 5), None, shared=True),
            Assignment("node-a", "replica-0", (6, 7), 1, shared=False, shares_physical=True),
        )
    )
    assert placement_text(placement).splitlines() == [
        "node    role       cores  gpu  shared",
        "node-a  client     0      -    yes",
        "node-a  frontends  0-2,5  -    yes",
        "node-a  replica-0  6,7    1    physical core",
    ]
