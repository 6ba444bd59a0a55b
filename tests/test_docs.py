"""What README and docs name is there: files, folders, modules."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("csrc", "hgfast", "tests", "benchmarks", "docs", ".ci")
EXAMPLES = {"tests/test_x.py"}
MADE = ("build/", "hgfast-demo/")  # by running what is described


@cache
def file_names() -> set[str]:
    return {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")}


def missing(page: str, text: str) -> list[str]:
    """What a page names and the repository lacks; <op> and * stand for anything."""
    paths = set(re.findall(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./<>*-]*", text))
    paths = {re.sub("<[^>]*>", "*", path.rstrip(".")) for path in paths - EXAMPLES}
    paths = {path for path in paths if not any(made in path for made in MADE)}
    lost = [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]
    modules = set(re.findall(r"(?:-m |^)((?:hgfast|tests|benchmarks)(?:\.\w+)*)(?=[ `\n])", text))
    places = {module: ROOT / module.replace(".", "/") for module in modules}
    lost += [name for name, place in places.items() if not (place.is_dir() or place.with_suffix(".py").is_file())]
    bare = set(re.findall(r"`(\w+\.(?:py|cuh|cu|cpp|h))`", text))
    lost += sorted(bare - file_names())
    links = {link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link}
    return lost + [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_everything_named_is_there(page: str) -> None:
    assert missing(page, (ROOT / page).read_text()) == []


def test_readme_has_a_line_for_each_package() -> None:
    readme = (ROOT / "README.md").read_text()
    packages = [path.parent.name for path in (ROOT / "hgfast").glob("*/__init__.py")]
    assert [name for name in packages if not name.startswith("_") and f"`hgfast/{name}`" not in readme] == []


@pytest.mark.parametrize(
    "text",
    [
        "`hgfast/nothing.py`",
        "in `csrc/cuda/no_such_*.cuh`",
        "python -m tests.nothing now",
        "[a](docs/no.md)",
        "`lost.cuh`",
    ],
)
def test_what_is_lost_is_found(text: str) -> None:
    assert len(missing("README.md", text)) >= 1
