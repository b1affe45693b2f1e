"""The panel "Pseudo-masks": one module a section, put together in :mod:`.pseudomasks`."""
