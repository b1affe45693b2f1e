"""What every room uses: whole files, readers of what strangers wrote, names, locks, progress, workers.

Imports nothing of this package but its errors.
"""
