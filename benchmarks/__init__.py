"""Quality and speed, side by side with baselines; prints tables, asserts nothing."""
