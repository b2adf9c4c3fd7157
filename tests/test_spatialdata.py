"""A SpatialData in place of its table; a stand-in here, and the real one in test_scverse.py."""

import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

from skst import GeneTextEncoder, LLMDSCClusterer, SemSTClusterer, SpaLLMFusion, SpatialGraphTransformer, STLLMClusterer
from skst.datasets import make_spatial_domains
from skst.graph import spatial_graph
from skst.partition import ConsensusMixture

FEW = ConsensusMixture(n_leading=(5, 10), n_init=2, n_keep=1)
LEXICAL = {"text": GeneTextEncoder(model="lexical"), "random_state": 0}
ESTIMATORS = {
    "SpaLLMFusion": SpaLLMFusion(n_clusters=3, clusterer=FEW, **LEXICAL),
    "SemSTClusterer": SemSTClusterer(3, clusterer=FEW, **LEXICAL).set_params(
        network__max_epochs=2, network__n_networks=1
    ),
    "STLLMClusterer": STLLMClusterer(3, clusterer=FEW, **LEXICAL),
    "LLMDSCClusterer": LLMDSCClusterer(3, clusterer=FEW, **LEXICAL).set_params(
        network__max_epochs=2, network__n_networks=1
    ),
}
EXPRESSION = SpaLLMFusion(strategy="expression", n_clusters=3, clusterer=FEW, random_state=0)


class SpatialData:
    """As much of one as is looked at."""

    __module__ = "spatialdata._core.spatialdata"

    def __init__(self, **tables):
        self.tables = tables


def tissue(seed=0):
    return make_spatial_domains(n_samples=200, n_genes=60, n_domains=3, random_state=seed)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_table_is_read_and_written(name):
    sdata, following = SpatialData(cells=tissue()), SpatialData(cells=tissue(1))
    model = ESTIMATORS[name].fit(sdata)
    np.testing.assert_array_equal(model.labels_, model.predict(sdata))
    np.testing.assert_array_equal(model.transform(following), model.transform(following.tables["cells"]))
    model.write(sdata, key_added="found")
    model.write(following, key_added="found")
    np.testing.assert_array_equal(sdata.tables["cells"].obs["found"].cat.codes, model.labels_)
    np.testing.assert_array_equal(following.tables["cells"].obs["found"].cat.codes, model.predict(following))
    assert [one.tables["cells"].uns["found"]["predicted"] for one in (sdata, following)] == [False, True]
    assert "spatialdata" not in sys.modules


def test_a_list_is_read_slice_by_slice():
    slices = [SpatialData(table=tissue(seed)) for seed in (0, 0)]
    model = EXPRESSION.fit(slices)
    np.testing.assert_array_equal(model.labels_, EXPRESSION.fit([one.tables["table"] for one in slices]).labels_)
    model.write(slices)
    written = [one.tables["table"].obs["domain"].cat.codes for one in slices]
    np.testing.assert_array_equal(np.concatenate(written), model.labels_)
    del slices[1].tables["table"].obsm["spatial"]
    with pytest.raises(ValueError, match=r"Slice 1 of X cannot be used: there is no obsm\['spatial'\]"):
        model.predict(slices)


def test_what_is_read_of_a_table_tells_data_apart():
    sdata = SpatialData(table=tissue())
    table = sdata.tables["table"]
    table.obsm["rep"] = np.log1p(table.X.toarray())[:, :10]
    table.obsp["near"] = spatial_graph(table.obsm["spatial"], n_neighbors=5)
    spatial = SpatialGraphTransformer(use_rep="rep", graph="near")
    model = SpaLLMFusion(spatial, strategy="expression", n_clusters=3, clusterer=FEW, random_state=0).fit(sdata)
    model.write(table)
    assert table.uns["domain"]["predicted"] is False
    table.obsp["near"] = spatial_graph(table.obsm["spatial"], n_neighbors=12)
    model.write(sdata)
    assert table.uns["domain"]["predicted"] is True


class Counts(TransformerMixin, BaseEstimator):
    """A step that knows AnnData alone."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.X.toarray()[:, :5]


def test_steps_of_others_are_given_the_table():
    model = SpaLLMFusion(Counts(), strategy="expression", n_clusters=3, clusterer="kmeans", random_state=0)
    sdata = SpatialData(table=tissue())
    np.testing.assert_array_equal(model.fit(sdata).predict(sdata), model.labels_)


def test_counts_are_looked_for_in_its_layers():
    table = tissue()
    table.layers["counts"] = table.X.copy()
    table.X = np.log1p(table.X.toarray())
    with pytest.warns(UserWarning, match="layer='counts' seems to hold"):
        SpatialGraphTransformer().fit(SpatialData(table=table))


@pytest.mark.parametrize("region", ["cells", ["cells", "nuclei"]])
def test_where_centroids_are_is_told(region):
    table = tissue()
    table.uns["spatialdata_attrs"] = {"region": region, "region_key": "region", "instance_key": "cell_id"}
    del table.obsm["spatial"]
    told = r"spatialdata.get_centroids\(sdata\['cells'\]\).compute\(\), in the order of obs\['cell_id'\], or pass coord"
    with pytest.raises(ValueError, match=told):
        EXPRESSION.fit(SpatialData(table=table))


def test_only_spatialdata_is_meant():
    class Other(SpatialData):
        __module__ = "elsewhere"

    Other.__name__ = "Something"
    assert EXPRESSION.fit(Other(table=tissue())).labels_.shape == (200,)  # a subclass is one, too
    of_another_package = type("SpatialData", (), {"__module__": "mine", "tables": {"table": tissue()}})
    with pytest.raises(TypeError, match="X is of type SpatialData; pass an AnnData"):
        EXPRESSION.fit(of_another_package())
