"""Graph networks by name, and their training in an order of the spots that does not depend on how they came."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import clone

from skst.expression.smooth import AveragedPCA
from skst.expression.views import AveragedViews
from skst.inputs.order import content_order
from skst.inputs.spots import Spots

# Names of the encoders that train a network; their classes are in skst.embedding.encoders, which loads torch.
ENCODERS = {"stagate": "STAGATE", "graphst": "GraphST", "spaceflow": "SpaceFlow", "stcluster": "StCluster"}


def encoder_class(name: str) -> type[Any]:
    """The class of an encoder, by its name."""
    return getattr(import_module(f"skst.embedding.encoders.{name}"), ENCODERS[name])


def make_encoder(method: Any) -> Any:
    """The encoder to be fitted, None for no network.

    Parameters
    ----------
    method : str or encoder
        As :class:`~skst.SpatialGraphTransformer` is given it.

    Returns
    -------
    encoder or None
    """
    if isinstance(method, str):
        return None if method in ("smooth", "views") else encoder_class(method)()
    return clone(method)


def make_axes(method: Any, n_components: int, **settings: Any) -> AveragedPCA | AveragedViews:
    """The averaged principal components that a method consists of, or that its network reads.

    Parameters
    ----------
    method : str or encoder
        As :class:`~skst.SpatialGraphTransformer` is given it.
    n_components : int
    **settings
        Others of :class:`~skst.expression.smooth.AveragedPCA`.

    Returns
    -------
    AveragedPCA or AveragedViews
        Not fitted.
    """
    make = AveragedViews if method == "views" else AveragedPCA
    return make(n_components, **settings)


def fit_in_content_order(
    encoder: Any,
    spots: Spots,
    average: csr_array,
    inputs: NDArray[np.float32],
    n_components: int,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Embedding by a network that is trained on spots in an order of their own, so that draws are the same.

    Parameters
    ----------
    encoder : encoder
        Fitted here.
    spots : Spots
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator.
    inputs : ndarray of shape (n_spots, n_inputs)
        What the network reads.
    n_components : int
    rng : RandomState

    Returns
    -------
    ndarray of shape (n_spots, n_columns), float32
        Spots as they came.
    """
    order = content_order(spots.X, spots.coordinates)
    places = {"points": spots.coordinates, "batch": spots.batch}
    ordered = {name: None if values is None else values[order] for name, values in places.items()}
    embedded = encoder.fit_embed(inputs[order], average[order][:, order], n_components, random_state=rng, **ordered)
    embedding = np.empty_like(embedded)
    embedding[order] = embedded
    return embedding
