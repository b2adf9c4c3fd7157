"""Files from anywhere, read so that they can do no harm."""
