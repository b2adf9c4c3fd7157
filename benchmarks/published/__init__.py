"""Drivers of published code; none of that code is part of this repository, all of it is read from checkouts."""
