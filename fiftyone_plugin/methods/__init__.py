"""Methods that turn features into labels; see :mod:`.base` for their contract."""

DEFAULT_METHOD = "mosaic"
"""The method of a run that names none; docs/mosaic.md says how it compares with the others."""
