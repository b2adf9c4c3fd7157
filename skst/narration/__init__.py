"""A tissue told in words."""

from skst.narration.narrator import TissueNarrator

__all__ = ["TissueNarrator"]
