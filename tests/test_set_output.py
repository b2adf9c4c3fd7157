"""DataFrames in place of arrays: rows are called as spots are, whatever X is."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import make_spatial_domains

TEXT = GeneTextEncoder(model="lexical")
ESTIMATORS = {
    "transformer": SpatialGraphTransformer(n_components=5),
    "text": TEXT,
    "fusion": SpaLLMFusion(n_clusters=3, text=TEXT, clusterer="kmeans", random_state=0),
}


def tissue(seed=0):
    adata = make_spatial_domains(n_samples=150, n_genes=60, n_domains=3, random_state=seed)
    adata.obs_names = [f"spot{i}-{seed}" for i in range(adata.n_obs)]
    return adata


@pytest.mark.parametrize("name", ESTIMATORS)
def test_rows_are_called_as_those_of_an_anndata(name):
    adata = tissue()
    estimator = sklearn.base.clone(ESTIMATORS[name]).set_output(transform="pandas")
    for found in (estimator.fit_transform(adata), estimator.transform(adata), estimator.transform(adata[::-1])):
        assert isinstance(found, pd.DataFrame) and list(found.columns) == list(estimator.get_feature_names_out())
        assert set(found.index) == set(adata.obs_names)
    plain = sklearn.base.clone(ESTIMATORS[name]).fit_transform(adata)
    assert isinstance(plain, np.ndarray)
    np.testing.assert_allclose(estimator.transform(adata[::-1]).loc[adata.obs_names], plain, atol=1e-5)


def test_those_of_a_dataframe_stay_and_an_array_has_none():
    adata = tissue()
    estimator = sklearn.base.clone(TEXT).set_output(transform="pandas")
    frame = adata.to_df()
    assert estimator.fit_transform(frame).index.equals(frame.index)
    estimator = sklearn.base.clone(TEXT).set_params(gene_names=adata.var_names).set_output(transform="pandas")
    assert estimator.fit_transform(frame.to_numpy()).index.equals(pd.RangeIndex(len(frame)))


def test_slices_of_a_list_are_frames_of_a_list(tmp_path):
    slices = [tissue(0), tissue(1)]
    estimator = SpatialGraphTransformer(n_components=5).set_output(transform="pandas")
    whole = estimator.fit_transform(slices)
    assert list(whole.index) == [*slices[0].obs_names, *slices[1].obs_names]
    assert list(estimator.fit_transform(tuple(slices)).index) == list(whole.index)
    for found, one in zip(estimator.transform(slices), slices, strict=True):
        assert list(found.index) == list(one.obs_names) and found.shape == (150, 5)
    paths = [tmp_path / f"slice{i}.h5ad" for i in range(2)]
    for one, path in zip(slices, paths, strict=True):
        one.write_h5ad(path)
    for found, one in zip(estimator.transform(paths), estimator.transform(slices), strict=True):
        assert found.index.equals(pd.RangeIndex(150))  # names in files are not read
        np.testing.assert_allclose(found, one, atol=1e-5)


def test_steps_and_unions_agree_on_rows():
    adata = tissue()
    both = make_union(SpatialGraphTransformer(n_components=5), TEXT)
    pipeline = make_pipeline(both, StandardScaler()).set_output(transform="pandas")
    found = pipeline.fit_transform(adata)
    assert list(found.index) == list(adata.obs_names) and not found.isna().to_numpy().any()


@pytest.mark.parametrize("listed", [False, True])
def test_polars(listed):
    polars = pytest.importorskip("polars")
    adata = tissue()
    estimator = SpatialGraphTransformer(n_components=5).set_output(transform="polars").fit(adata)
    found = estimator.transform([adata])[0] if listed else estimator.transform(adata)
    assert isinstance(found, polars.DataFrame) and found.columns == list(estimator.get_feature_names_out())
    np.testing.assert_allclose(found.to_numpy(), estimator.embedding_, atol=1e-5)


def test_the_setting_of_all_estimators_counts():
    adata = tissue()
    with sklearn.config_context(transform_output="pandas"):
        assert list(SpatialGraphTransformer(n_components=5).fit_transform(adata).index) == list(adata.obs_names)
