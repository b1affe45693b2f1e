"""What every room uses: files that appear whole or not at all, readers of what strangers wrote, locks, workers.

Imports nothing of this package but its errors.
"""
