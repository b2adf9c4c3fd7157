"""What every estimator of domains or cell types does alike: partition an embedding, predict, transform."""

from skst.base.cells import CellTypeMixin
from skst.base.domains import DOMAINS, DomainMixin
from skst.base.networks import TrainsNetworks
from skst.base.partition import PARTITION, PartitionMixin

__all__ = ["DOMAINS", "PARTITION", "CellTypeMixin", "DomainMixin", "PartitionMixin", "TrainsNetworks"]
