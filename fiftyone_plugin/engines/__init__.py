"""Where work on many items is done: in this process and its own, or on the machines of a Ray cluster.

``base.Engine`` is the contract, of two functions; nothing outside of this room asks which engine it has.
"""
