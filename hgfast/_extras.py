"""Packages that only some commands need, and how they are installed beside this hgfast."""

from __future__ import annotations

import importlib
import json
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def require(module: str, purpose: str, extra: str = "train") -> Any:
    """Return a module of an optional package, asked for before the work whose results it is to write or measure.

    Args:
        module: its full name.
        purpose: who needs it.
        extra: of hgfast's, that brings it.

    Raises:
        ImportError: it is not installed; the message says who needs it and what installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ImportError(f"{purpose} needs {package} ({install_command(extra)})") from None


def install_command(extra: str) -> str:
    """Say what installs an extra from where this hgfast came from; no index has it."""
    source = _source()
    where = "" if source else " in the folder of hgfast's source"
    return f"pip install {shlex.quote(_with_extra(source or '.', extra))}{where}"


def _with_extra(source: str, extra: str) -> str:
    return f"hgfast[{extra}] @ {source}" if "://" in source else f"{source}[{extra}]"


def _source() -> str:
    """Folder, or address, that this hgfast was installed from; "" where nothing tells it."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return str(checkout)
    try:
        record = json.loads(metadata.distribution("hgfast").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    url = str(record.get("url", ""))
    if "vcs_info" in record:
        return f"{record['vcs_info']['vcs']}+{url}"
    if "dir_info" not in record:
        return url
    folder = unquote(urlsplit(url).path)
    return folder if Path(folder, "pyproject.toml").is_file() else ""
