"""What mkdocs asks of this site: the plots of benchmarks/results lie outside of its folder and are copied in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PLOTS = "benchmarks/results"


def on_files(files: Any, config: Any) -> Any:
    """Add the plots."""
    for plot in sorted((ROOT / PLOTS).glob("*.png")):
        files.append(File(f"{PLOTS}/{plot.name}", str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Points to the copies; other files of the repository are named without a link."""
    markdown = re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./([^)]*)\)", r"\1 (`\2`)", markdown)
    return markdown.replace(f"](../{PLOTS}/", f"]({PLOTS}/")
