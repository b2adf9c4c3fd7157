"""What ``X`` may be, and how it is read."""
