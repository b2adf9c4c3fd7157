"""What estimators that train networks do alike with slices that could be read one at a time."""

from skst import limits
from skst.inputs.reading import ReadsSpots


class TrainsNetworks(ReadsSpots):
    """Methods of an estimator whose networks see mini-batches where spots or cells are many."""

    def _holds(self, slices):
        return slices.n_spots <= limits.MAX_FULL_BATCH or all(one.at_hand for one in slices.slices)

    def _columns_seen(self, unknown):
        # What networks make of genes that were not measured is not known.
        return super()._columns_seen(unknown=False)
