"""The one place that holds the version and the name of the distribution."""

__version__ = "0.1.0"

DISTRIBUTION = "fiftyone-pseudomask"
"""Tells this package from any other that may be called ``fiftyone_plugin``."""

PLUGIN_NAME = "@pseudomask/pseudomask"
