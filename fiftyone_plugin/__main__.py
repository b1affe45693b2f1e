"""``python -m fiftyone_plugin`` is the ``pseudomask`` command."""

import sys

from .cli import main

sys.exit(main())
