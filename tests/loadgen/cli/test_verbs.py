"""The table of verbs, which stands for their modules until one is called."""

import pytest

from loadgen.cli.verbs import VERBS, verb


@pytest.mark.parametrize("name", VERBS)
def test_the_line_of_a_verb_is_what_it_says_of_itself(name):
    """In the list of all verbs and in its own help."""
    _, line = VERBS[name]
    assert verb(name).help == line
