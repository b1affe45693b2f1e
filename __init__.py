"""Entry of the FiftyOne plugin.

FiftyOne executes this file again on every request, so it stays a few lines and imports nothing heavy. The
import of ``.operators`` is inside ``register`` because pytest imports this file too, without a parent
package.
"""

import importlib.util
import sys
from pathlib import Path


def register(plugin):
    """Called by FiftyOne: register the operators and panels listed in ``fiftyone.yml``."""
    find_library(Path(__file__).resolve().parent)
    from .operators import register as register_operators

    register_operators(plugin)


def find_library(folder):
    """Make ``fiftyone_plugin`` importable by that one name, from here where it is not installed."""
    if importlib.util.find_spec("fiftyone_plugin") is None:
        if not (folder / "fiftyone_plugin" / "__init__.py").is_file():
            raise ImportError(
                f"the plugin in {folder} needs the package fiftyone-pseudomask in {sys.executable}: "
                "pip install fiftyone-pseudomask"
            )
        sys.path.append(str(folder))
    import fiftyone_plugin

    if getattr(fiftyone_plugin, "DISTRIBUTION", None) != "fiftyone-pseudomask":
        raise ImportError(
            f"{list(fiftyone_plugin.__path__)} is another package called fiftyone_plugin and hides that of "
            "fiftyone-pseudomask: remove it, or install fiftyone-pseudomask ahead of it on sys.path"
        )
