"""The ``pseudomask`` command, one subcommand a file.

May import every room but operators.
"""

from .main import main

__all__ = ["main"]
