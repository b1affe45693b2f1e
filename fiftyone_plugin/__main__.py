"""``python -m fiftyone_plugin`` is the ``pseudomask`` command."""

import sys

from .cli.main import main

sys.exit(main())
