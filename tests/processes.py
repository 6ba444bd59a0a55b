"""Processes that tests start: they must run the hgfast that the tests run, installed or in the checkout."""

from pathlib import Path

import hgfast

PACKAGE_FOLDER = Path(hgfast.__file__).parents[1]  # as the current folder of `python -m hgfast`
