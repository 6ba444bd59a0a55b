"""``python -m hgfast`` is the command ``hgfast``."""

import sys

from hgfast.cli import main

sys.exit(main())
