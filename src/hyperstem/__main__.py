"""``python -m hyperstem``."""

import sys

from hyperstem.cli import main

sys.exit(main())
