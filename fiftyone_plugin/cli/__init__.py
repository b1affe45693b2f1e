"""The ``pseudomask`` command, one subcommand a file; :mod:`.shared` holds what they share.

May import every room but operators.
"""

from .main import main

__all__ = ["main"]
