"""``python -m hgfast`` is the command ``hgfast``."""

import sys

try:
    from hgfast.cli import main
except KeyboardInterrupt:
    print("hgfast: interrupted", file=sys.stderr)
    sys.exit(130)

sys.exit(main())
