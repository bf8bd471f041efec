"""Documentation: links lead somewhere, generated pages are current, and what the tutorials say can be typed."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import docs_site
import pictures
import pytest
import reference_pages
from program import asked
from tutorials import TUTORIALS, commands, words, write_files

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")})
LINK = re.compile(r"(?<!\\)\]\(([^()\s]*(?:\([^()]*\)[^()\s]*)*)\)")


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", lambda code: "`" * code[0].startswith("`") + "x", text, flags=re.DOTALL)


def anchors(path):
    """The anchors of a page's headings, as forges and the site make them."""
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To a file of the repository, and to a heading of it."""
    wrong = []
    for link in LINK.findall(without_code(page.read_text())):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("name", reference_pages.PAGES)
def test_the_reference_is_up_to_date(name):
    """It says what the program says of itself."""
    assert reference_pages.path(name).read_text() == reference_pages.page(name), "run make tables"


@pytest.mark.parametrize("name", pictures.DRAWINGS)
def test_drawings_are_up_to_date(name):
    """Their script draws what is kept."""
    assert (pictures.DIRECTORY / name).read_text() == pictures.DRAWINGS[name](), "run make pictures"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://host/x.js"></script>', ["https://host/x.js"]),
        ("a.html", '<link rel="stylesheet" href="//host/x.css">', ["//host/x.css"]),
        ("a.css", "@font-face { src: url(https://host/x.woff2) }", ["https://host/x.woff2"]),
        ("a.html", '<a href="https://host/">a link</a> <img src="x.png"> <link href="x.css">', []),
    ],
)
def test_a_site_that_loads_from_another_host(tmp_path, name, text, found):
    """It would not work offline; a link may lead anywhere."""
    (tmp_path / name).write_text(text)
    assert list(docs_site.loaded(tmp_path)) == [
        f"{name}: loads {address}; the site must work offline" for address in found
    ]


def test_each_page_is_on_the_site():
    """A page that no index names would be found by search only."""
    pages = {path for path in PAGES if path.is_relative_to(ROOT / "docs")} - {ROOT / "docs" / "package.md"}
    named = {ROOT / "docs" / "index.md"}
    for page in pages:
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if line and not line.startswith(":"):
                    named |= {path.resolve() for path in page.parent.glob(f"{line}.md")}
    assert pages - named == set()


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in TUTORIALS for line in commands(page)])
def test_tutorials_have_commands_that_exist(page, line):
    """Each option is one that its command has; tests/end_to_end and tests/servers run the lines."""
    verb, *rest = shlex.split(line)[1:]
    known = set(re.findall(r"`(?:-\w, )?(--[\w-]+)|, (--[\w-]+)|(?:^\| `)(-\w)\b", options_of(verb), re.MULTILINE))
    names = {name for names in known for name in names if name}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= names


def options_of(verb):
    text = reference_pages.page("options")
    return text.partition(f"## loadgen {verb}\n")[2].partition("\n## ")[0]


def test_lines_of_tutorials_run_for_a_second():
    """Whatever the unit of their durations is."""
    lines = [words(line, deploys=True) for page in TUTORIALS for line in commands(page)]
    flags = ("-d", "--duration_seconds")
    assert {line[line.index(flag) + 1] for line in lines for flag in flags if flag in line} == {"1"}


def test_the_dry_run_of_the_tutorial(tmp_path, monkeypatch):
    """Its search is planned from the file that the tutorial writes."""
    monkeypatch.chdir(tmp_path)
    page = next(page for page in TUTORIALS if page.stem == "your-model")
    write_files(page, tmp_path)
    (line,) = (line for line in commands(page) if "--dry-run" in line)
    done = asked(words(line, deploys=True))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("search for the cheapest configuration that carries 200 requests/s with p99<100ms")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("extras", "installed"), [("onnx", "[onnx]"), ("onnx,oip", "[onnx,oip]"), ("onnx oip", "[onnx,oip]")]
)
def test_extras_that_are_named_are_all_that_is_installed(extras, installed):
    """Without the tools for development."""
    done = subprocess.run(
        ["make", "-n", "-B", "install", f"EXTRAS={extras}", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if " install " in line and "--editable" in line]
    assert [line.rpartition(" ")[2] for line in lines] == [f"'.{installed}'"]
