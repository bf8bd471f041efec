"""Option texts and the values they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.cli.argv import normalise_argv
from loadgen.errors import ConfigError, LoadgenError
from loadgen.parsing import (
    parse_duration,
    parse_duration_or_zero,
    parse_gpus,
    parse_int_list,
    parse_rate,
    parse_rates,
    parse_shape,
)

LISTS = {"--gpus": "gpus", "-g": "gpus", "--cpus": "cpus", "-c": "cpus", "--client-cpus": "client_cpus"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        pytest.param("3", (3,), id="one"),
        pytest.param("0 1", (0, 1), id="spaces"),
        pytest.param("0,1", (0, 1), id="commas"),
        pytest.param("0, 1,", (0, 1), id="commas, spaces and a trailing comma"),
        pytest.param("20-27", tuple(range(20, 28)), id="a range"),
        pytest.param("5-5", (5,), id="a range of one"),
        pytest.param("20-22,4 8-9", (20, 21, 22, 4, 8, 9), id="a mixture keeps its order"),
        pytest.param("1 2 1", (1, 2, 1), id="duplicates stay"),
        pytest.param(("0", "1-2"), (0, 1, 2), id="several texts"),
    ],
)
def test_int_list(text, numbers):
    """Lists are read in every style."""
    assert parse_int_list(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "'': names no number; write a list such as 0,1 or 20-27", id="empty"),
        pytest.param(" , ", "' , ': names no number; write a list such as 0,1 or 20-27", id="only separators"),
        pytest.param((), "'': names no number; write a list such as 0,1 or 20-27", id="no texts"),
        pytest.param("a", "'a': neither a whole number nor a range; write such as 7 or 20-27", id="a letter"),
        pytest.param("1,x", "'1,x': 'x': neither a whole number nor a range; write such as 7 or 20-27", id="inside"),
        pytest.param("-1", "'-1': neither a whole number nor a range; write such as 7 or 20-27", id="negative"),
        pytest.param("1.5", "'1.5': neither a whole number nor a range; write such as 7 or 20-27", id="a fraction"),
        pytest.param("٣", "'٣': neither a whole number nor a range; write such as 7 or 20-27", id="another script"),
        pytest.param("7-4", "'7-4': runs backwards; write 4-7", id="backwards"),
        pytest.param(
            "0-99999999", "'0-99999999': makes the list longer than 65536 numbers; name fewer", id="far too many"
        ),
    ],
)
def test_int_list_refuses(text, message):
    """Anything else is refused in one line with the value."""
    with pytest.raises(ConfigError) as caught:
        parse_int_list(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        pytest.param("none", (), id="none"),
        pytest.param(" None ", (), id="none, however it is written"),
        pytest.param(("none",), (), id="none as the only text"),
        pytest.param("0 1", (0, 1), id="a list"),
    ],
)
def test_gpus(text, gpus):
    """GPUs are a list of integers or none."""
    assert parse_gpus(text) == gpus


@pytest.mark.parametrize("text", ["none,0", "0 none", "all", ""])
def test_gpus_refuses(text):
    """None stands alone, and the message says so."""
    with pytest.raises(ConfigError, match="or none, alone, for no GPU"):
        parse_gpus(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("120", 120.0, id="bare seconds"),
        pytest.param("120s", 120.0, id="seconds"),
        pytest.param("2m", 120.0, id="minutes"),
        pytest.param("2min", 120.0, id="minutes in full"),
        pytest.param("1.5h", 5400.0, id="hours"),
        pytest.param("1m30s", 90.0, id="minutes and seconds"),
        pytest.param("1h2m3s4ms", 3723.004, id="every unit"),
        pytest.param("1H30MIN", 5400.0, id="hours and minutes, capitals"),
        pytest.param("1.5m.5s", 90.5, id="fractions of both"),
        pytest.param("87600h", 315_360_000.0, id="the bound"),
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param(".5", 0.5, id="no leading zero"),
        pytest.param(" 2M ", 120.0, id="spaces around, capital"),
    ],
)
def test_duration(text, seconds):
    """Durations become seconds."""
    assert parse_duration(text) == parse_duration_or_zero(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "m30s", "0", "0ms", "0m0s", "-1", "+1", "1e3", "nan", "inf", "2 m", "30s1m", "1m30", "1s2s"),
        *("٣s", "1m-30s", "87601h", "9" * 30, "9" * 400, "9" * 5000, "0." + "0" * 400 + "1"),
    ],
)
def test_duration_refuses(text):
    """What is no positive, finite duration is refused with its value."""
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert str(caught.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("text", "rate_rps"),
    [
        pytest.param("100", 100.0, id="bare"),
        pytest.param(" 1e3 ", 1000.0, id="an exponent, spaces around"),
        pytest.param("100/s", 100.0, id="a second"),
        pytest.param("6/m", 0.1, id="a minute"),
        pytest.param("6/MIN", 0.1, id="a minute in full, capitals"),
        pytest.param("360/h", 0.1, id="an hour"),
        pytest.param("2/ms", 2000.0, id="a millisecond"),
        pytest.param("-5", -5.0, id="what is for the field to refuse"),
    ],
)
def test_rate(text, rate_rps):
    """Rates become requests a second."""
    assert parse_rate(text) == pytest.approx(rate_rps)


@pytest.mark.parametrize(
    "text", ["", "/s", "6/", "6/d", "6 / m", "nan", "inf", "0x10", "1e9999", "1e999", "٣", "1_0", "1,0", "6m"]
)
def test_rate_refuses(text):
    """What is no number with a unit is refused with its value."""
    with pytest.raises(ConfigError) as caught:
        parse_rate(text)
    assert str(caught.value).startswith(f"{text!r}: not a rate; ")


def test_rates():
    """Each has its unit, and the one that is not a rate is named."""
    assert parse_rates("100,6/m") == pytest.approx((100.0, 0.1))
    with pytest.raises(ConfigError, match=r"^'x': not a rate"):
        parse_rates("100,x")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        pytest.param("299x299x3", (299, 299, 3), id="an image"),
        pytest.param("2048", (2048,), id="a vector"),
        pytest.param("2X3", (2, 3), id="capital"),
        pytest.param("1000000000", (10**9,), id="the bound"),
    ],
)
def test_shape(text, shape):
    """Shapes are their dimensions."""
    assert parse_shape(text) == shape


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "3x",
        "x3",
        "3xx3",
        "0",
        "299x0x3",
        "-1x3",
        "3,3",
        "1.5x2",
        "1000000001",
        "99999x99999",
        "9" * 5000,
        "x".join(["9" * 10] * 500),
    ],
)
def test_shape_refuses(text):
    """What is no shape, is empty or is too large is refused with its value."""
    with pytest.raises(ConfigError) as caught:
        parse_shape(text)
    assert str(caught.value).startswith(repr(text))


def test_bad_options_are_loadgen_errors_that_a_command_line_parser_understands():
    """The command line may catch them as its own kind or as a parser's."""
    assert issubclass(ConfigError, LoadgenError)
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        pytest.param("--gpus 0 1", "--gpus 0,1", id="two words"),
        pytest.param("-c 20 21 22", "-c 20,21,22", id="short flag, three words"),
        pytest.param("--cpus 20-27", "--cpus 20-27", id="a range"),
        pytest.param("--cpus=20 21", "--cpus 20,21", id="attached, then a word"),
        pytest.param("--cpus=20", "--cpus 20", id="attached alone"),
        pytest.param("-c20 21", "-c 20,21", id="attached to a short flag"),
        pytest.param("-c=20 21", "-c 20,21", id="attached to a short flag with an equals sign"),
        pytest.param("--gpus 0,1", "--gpus 0,1", id="commas stay"),
        pytest.param("--gpus 0, 1", "--gpus 0,1", id="comma and space"),
        pytest.param("--gpus 0, 1, --dry-run", "--gpus 0,1 --dry-run", id="a trailing comma"),
        pytest.param("--gpus none", "--gpus none", id="none"),
        pytest.param("-g none -m noop", "-g none -m noop", id="none and another option"),
        pytest.param("-g 0 -g 1", "-g 0,1", id="repeated flags"),
        pytest.param("--gpus 0 -g 1 --gpus=2", "--gpus 0,1,2", id="repeated under all its names"),
        pytest.param("--gpus 0,1 2", "--gpus 0,1,2", id="a mixture"),
        pytest.param("-c 0-3 8 10-11,13 -c 15", "-c 0-3,8,10-11,13,15", id="a larger mixture"),
        pytest.param("saturate --model vgg -g 0 1 -c 2 3", "saturate --model vgg -g 0,1 -c 2,3", id="two lists"),
        pytest.param("-g 0 1 -d 30 -g 2", "-g 0,1,2 -d 30", id="repeated around another option"),
        pytest.param("--gpus 0 1 saturate 2", "--gpus 0,1,saturate,2", id="other words: refused by the parser"),
        pytest.param("--gpus 0 1 --dry-run 2", "--gpus 0,1 --dry-run 2", id="stops at an option"),
        pytest.param("--gpus 0 -1", "--gpus 0 -1", id="a negative number is no member"),
        pytest.param("--gpus 0 1 -- 2 -g 3 4", "--gpus 0,1 -- 2 -g 3 4", id="nothing after two dashes"),
        pytest.param("-- -g 0 1", "-- -g 0 1", id="only after two dashes"),
        pytest.param("-r 1 2 --duration 120 30", "-r 1 2 --duration 120 30", id="other options keep their words"),
        pytest.param("--gpus", "--gpus", id="no value at the end"),
        pytest.param("-c 1 2 --gpus", "-c 1,2 --gpus", id="no value at the end after another list"),
        pytest.param("--gpus --dry-run", "--gpus --dry-run", id="no value before an option"),
        pytest.param("--gpus --cpus 1 2", "--gpus --cpus 1 2", id="no value before a list: left to be refused"),
        pytest.param("--gpus -- 1", "--gpus -- 1", id="no value before two dashes"),
        pytest.param("--gpus= 1 2", "--gpus= 1 2", id="an empty value"),
        pytest.param("--gpus=-1 2", "--gpus=-1 2", id="a negative value"),
        pytest.param("--gpus none 0", "--gpus none,0", id="none with a number: refused by the parser"),
        pytest.param("-g 0 -g none", "-g 0,none", id="none repeated: refused by the parser"),
        pytest.param("--gpus all 1", "--gpus all,1", id="nonsense: refused by the parser"),
        pytest.param("--gpus-max 0 1", "--gpus-max 0 1", id="a longer option that begins alike"),
        pytest.param("--g 0 1", "--g 0 1", id="two dashes before a letter are another option"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_normalise(typed, normal):
    """Words of one list become one word, and no other word changes."""
    assert normalise_argv(typed.split(), LISTS) == normal.split()


def test_an_empty_word_is_no_value():
    """An empty shell variable is left for the parser to refuse."""
    assert normalise_argv(["--gpus", "", "1"], LISTS) == ["--gpus", "", "1"]


WORDS = st.one_of(
    st.sampled_from(
        [*LISTS, "--", "-r", "--dry-run", "saturate", "none", "-1", ",", "", "-c3", "--cpus=4", "-g=", "1,"]
    ),
    st.integers(0, 40).map(str),
    st.text(alphabet="-gc=,0x", max_size=5),
)


@given(st.lists(WORDS, max_size=12))
def test_normalise_is_idempotent(argv):
    """What has been normalised stays as it is."""
    once = normalise_argv(argv, LISTS)
    assert normalise_argv(once, LISTS) == once


@given(st.lists(WORDS, max_size=12))
def test_no_list_options_no_change(argv):
    """Without list options every word stays."""
    assert normalise_argv(argv, {}) == argv


@st.composite
def written(draw: st.DrawFn) -> tuple[list[int], list[str]]:
    """A list of integers, and one of the many ways to type it as an option."""
    numbers: list[int] = []
    argv: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        flag, attached = draw(st.sampled_from([("-c", ""), ("-c", None), ("--cpus", "="), ("--cpus", None)]))
        words = []
        for _ in range(draw(st.integers(1, 4))):
            first, length = draw(st.integers(0, 300)), draw(st.integers(1, 3))
            run = list(range(first, first + length))
            style = draw(st.sampled_from(["range", "commas", "trailing comma"]))
            commas = ",".join(map(str, run))
            words.append({"range": f"{run[0]}-{run[-1]}", "commas": commas, "trailing comma": commas + ","}[style])
            numbers += run
        argv += [flag, *words] if attached is None else [flag + attached + words[0], *words[1:]]
        argv += draw(st.sampled_from([[], ["--dry-run"], ["--model", "noop"]]))
    return numbers, argv


@given(written())
def test_any_style_reads_the_same(case):
    """However a list is typed, it arrives as one word that parses to the same integers."""
    numbers, argv = case
    normal = normalise_argv(argv, LISTS)
    flags = [i for i, word in enumerate(normal) if word in LISTS]
    assert len(flags) == 1
    assert parse_int_list(normal[flags[0] + 1]) == tuple(numbers)
    assert [w for w in normal if w in ("--dry-run", "--model", "noop")] == [
        w for w in argv if w in ("--dry-run", "--model", "noop")
    ]
