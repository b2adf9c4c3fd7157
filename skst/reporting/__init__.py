"""What was found, on one page."""

from skst.reporting.page import report

__all__ = ["report"]
