"""Methods that turn features into labels, a folder each; :mod:`.base` is their contract.

May import common, images, masks, features and clustering.
"""

DEFAULT_METHOD = "mosaic"
"""The method of a run that names none; docs/mosaic.md says how it compares with the others."""
