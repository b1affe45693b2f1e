"""What every room uses: files that appear whole or not at all, and readers of what strangers wrote.

Imports nothing of this package but its errors.
"""
