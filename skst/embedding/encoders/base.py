"""What the graph encoders share: batches of spots, training, and the embedding of all of them."""

import numbers
import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skst import limits
from skst._constraints import Interval, StrOptions
from skst._modes import undisturbed
from skst.inputs.types import RandomState
from skst.nn.batches import Halo, epoch_batches, tiles
from skst.nn.propagation import SparseOperator
from skst.nn.training import LossNet, resolve_device, train

# Steps of the optimiser for max_epochs="auto", and the fewest passes over the spots.
STEPS = 300
MIN_EPOCHS = 3
# Of the tiles of a tissue, so many make one mini-batch of training, and so many are embedded at a time.
TILES_A_BATCH = 8
TILES_A_CHUNK = 64


class GraphBatch(NamedTuple):
    """Spots that an encoder sees at once: a whole tissue, or a patch of one and what lies around it.

    Attributes
    ----------
    inputs : Tensor of shape (n_nodes, n_inputs)
        Expression of spots.
    operator : SparseOperator of shape (n_nodes, n_nodes)
        Mean over a spot and its spatial neighbours.
    edges : Tensor of int64 of shape (2, n_edges)
        From (first row) and to which spot each edge goes, self-loops included, in the order of the spots they go to.
    more : dict of str to Tensor of shape (n_nodes, ...)
        What else a method knows of each spot.
    n_core : int
        Spots that the loss looks at, the first nodes.
    """

    inputs: torch.Tensor
    operator: SparseOperator
    edges: torch.Tensor
    more: dict[str, torch.Tensor]
    n_core: int

    def to(self, device: torch.device | str) -> "GraphBatch":
        """The same on another device."""
        more = {name: part.to(device) for name, part in self.more.items()}
        return GraphBatch(self.inputs.to(device), self.operator.to(device), self.edges.to(device), more, self.n_core)


class GraphBatches:
    """All spots with their graph, handed out whole or in mini-batches.

    Parameters
    ----------
    inputs : ndarray of shape (n_spots, n_inputs), float32
        Expression.
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator of the spatial graph.
    more : dict of str to ndarray of shape (n_spots, ...)
        What else a method knows of each spot.
    hops : int
        Hops of neighbours that a spot's part of the loss depends on.
    parts : list of ndarray of int, default=None
        Compact parts of the tissue, from :func:`skst.nn.batches.tiles`; None for one batch of all spots.
    random_state : RandomState, default=None
        Draws the batches.
    """

    def __init__(self, inputs, average, more, *, hops, parts=None, random_state=None):
        self.inputs, self.average, self.more = inputs, average, more
        self.parts, self.random_state = parts, random_state
        self._halo = None if parts is None else Halo([average], hops=hops)
        self._whole = None

    def __len__(self):
        return len(self.inputs)

    @property
    def n_batches(self):
        """Steps of an epoch."""
        return 1 if self.parts is None else -(-len(self.parts) // TILES_A_BATCH)

    def __iter__(self):
        """Batches of one epoch, each with the None that stands for its labels."""
        if self.parts is None:
            self._whole = self._whole or self._batch(np.arange(len(self)), self.average, len(self))
            yield self._whole, None
            return
        for core in epoch_batches(self.parts, TILES_A_BATCH, self.random_state):
            yield self._patch(core), None

    def in_order(self):
        """Spots and their batch, chunk by chunk, until all have been seen once."""
        if self.parts is None:
            yield np.arange(len(self)), next(iter(self))[0]
            return
        for i in range(0, len(self.parts), TILES_A_CHUNK):
            core = np.concatenate(self.parts[i : i + TILES_A_CHUNK])
            yield core, self._patch(core)

    def _patch(self, core):
        patch = self._halo(core)
        return self._batch(patch.nodes, patch.operators[0], patch.n_core)

    def _batch(self, nodes, average, n_core):
        places = average.tocoo()
        return GraphBatch(
            torch.from_numpy(self.inputs[nodes]),
            SparseOperator(average),
            torch.from_numpy(np.stack([places.col, places.row]).astype(np.int64)),
            {name: torch.from_numpy(values[nodes]) for name, values in self.more.items()},
            n_core,
        )


class EncoderNet(LossNet):
    """Trains a module that names the terms of its loss in ``terms`` and computes them in ``losses``.

    Parameters
    ----------
    module : torch.nn.Module
    generator : torch.Generator
        Handed to ``losses``.
    **options
        Of :class:`skorch.NeuralNet`.
    """

    def __init__(self, module, *, generator, **options):
        self.generator = generator
        super().__init__(module, **options)

    @property
    def terms(self):
        return self.module.terms

    def losses(self, output, batch):
        return self.module_.losses(output, batch, self.generator)


class GraphEncoder(BaseEstimator):
    """Base of the encoders of :class:`~skst.SpatialGraphTransformer` that train a network.

    A subclass has the parameters below, with defaults of its own if it wants, and those of its method.  It makes its
    network in :meth:`_network`, and may know more of each spot by :meth:`_more`.  A network is a torch module with
    ``terms``, ``forward(batch)``, ``losses(output, batch, generator)``, a dict from term to (weight, value), and
    ``embed(batch)``, the representation of the core of a :class:`GraphBatch`.  Its first weights, float32, and what its
    losses draw come from the generator, on the CPU, that :meth:`_network` and ``losses`` are given: torch's own is not
    seeded.

    Parameters
    ----------
    n_inputs : int or None, default=50
        Leading principal axes of expression that the network reads; None for the genes themselves.
    n_hidden : int, default=64
        Columns of hidden layers.
    max_epochs : int or "auto", default="auto"
        Passes over the spots.  "auto" is 300 where all spots make one batch; mini-batches take as many steps, in
        no fewer than 3 passes.
    lr : float, default=1e-3
        Learning rate of Adam.
    weight_decay : float, default=0.0
        Weight of the squared norm of the parameters in Adam.
    patience : int or None, default=None
        Training ends when its loss has not fallen for so many epochs; None runs all.
    batch_size : int or "auto", default="auto"
        Spots in a tile; eight tiles and what lies around them make a mini-batch.  "auto" takes all spots at once up to
        20,000 and tiles of 512 beyond.
    callbacks : list, default=None
        Callbacks of skorch.
    device : str, default="auto"
        Where to train, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, on the CPU.
    history_ : DataFrame
        One row an epoch: "epoch", "train_loss", its terms and "dur" in seconds.
    interrupted_ : bool
        Whether training was cut short by Ctrl-C.
    """

    # Hops of neighbours that the loss, and the embedding, of a spot depend on.
    _hops = 2
    _parameter_constraints = {
        "n_inputs": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "n_hidden": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_epochs": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "lr": [Interval(numbers.Real, 0, None, closed="neither")],
        "weight_decay": [Interval(numbers.Real, 0, None, closed="left")],
        "patience": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "callbacks": [list, None],
        "device": [str],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        n_inputs=50,
        n_hidden=64,
        max_epochs="auto",
        lr=1e-3,
        weight_decay=0.0,
        patience=None,
        batch_size="auto",
        callbacks=None,
        device="auto",
        verbose=0,
    ):
        self.n_inputs = n_inputs
        self.n_hidden = n_hidden
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose

    PAPER: dict = {}
    """Published settings of the method."""
    PAPER_TRANSFORMER: dict = {}
    """Parameters of :class:`~skst.SpatialGraphTransformer` that go with them."""

    @classmethod
    def paper(cls, **parameters: Any) -> Self:
        """An encoder with the published settings.

        Parameters
        ----------
        **parameters
            Others, which win over those.

        Returns
        -------
        GraphEncoder
        """
        return cls(**cls.PAPER | parameters)

    def fit_embed(
        self,
        expression: NDArray[np.float32],
        average: csr_array,
        n_components: int,
        *,
        points: np.ndarray | None = None,
        batch: NDArray[np.integer] | None = None,
        random_state: RandomState = None,
    ) -> NDArray[np.float32]:
        """Train the network and embed the spots it was trained on.

        Parameters
        ----------
        expression : ndarray of shape (n_spots, n_inputs), float32
            Stabilised expression, or its scores on principal axes.
        average : csr_array of shape (n_spots, n_spots)
            Averaging operator of the spatial graph, from :func:`skst.graph.averaging_operator`.
        n_components : int
            Columns of the embedding; fewer where there are fewer spots or inputs, or the network is narrower.
        points : ndarray of shape (n_spots, n_dims), default=None
            Where spots lie; None where this is not known.
        batch : ndarray of int of shape (n_spots,), default=None
            Slice of each spot.
        random_state : int, RandomState instance or None, default=None
            Determines everything.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
            Centred, of unit total variance, on its principal axes.

        Warns
        -----
        UserWarning
            If training was cut short by Ctrl-C.
        """
        self._validate_params()
        rng = check_random_state(random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        self._centre = expression.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._scale = np.float32(np.sqrt(expression.var(axis=0, dtype=np.float64).mean()) or 1.0)
        inputs = (expression - self._centre) / self._scale
        n_components = min(n_components, *inputs.shape)
        more = self._more(inputs, points, batch, seed)
        batches = self._batches(inputs, average, more, points, batch, rng)
        with undisturbed():
            generator = torch.Generator("cpu").manual_seed(seed)
            network = self._network(inputs.shape[1], n_components, generator)
            self.history_, self.interrupted_ = train(
                network,
                batches,
                max_epochs=self._epochs(batches),
                lr=self.lr,
                patience=self.patience,
                device=resolve_device(self.device),
                callbacks=self.callbacks,
                verbose=self.verbose,
                weights={"optimizer__weight_decay": self.weight_decay, "generator": generator},
                net=EncoderNet,
            )
        if self.interrupted_:
            warnings.warn("Training was interrupted; spots are embedded by what had been learnt.", stacklevel=3)
        self.network_ = network.cpu().eval()
        raw = self._raw(batches)
        self._mean, self._axes = _principal(raw, n_components)
        return (raw - self._mean) @ self._axes

    def embed(
        self,
        expression: NDArray[np.float32],
        average: csr_array,
        *,
        points: np.ndarray | None = None,
        batch: NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32]:
        """Embed other spots, on a graph of their own.

        Parameters
        ----------
        expression, average, points, batch
            As in :meth:`fit_embed`.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
        """
        inputs = (expression - self._centre) / self._scale
        more = self._more_of_new(inputs)
        return (self._raw(self._batches(inputs, average, more, points, batch)) - self._mean) @ self._axes

    def _network(self, n_inputs, n_components, generator):
        raise NotImplementedError

    def _more(self, inputs, points, batch, seed):
        """What else the method knows of each spot, a dict of arrays with a row a spot."""
        return {}

    def _more_of_new(self, inputs):
        """The same of new spots, as far as their embedding needs it."""
        return {}

    def _batches(self, inputs, average, more, points, batch, rng=None):
        size = self.batch_size
        if size == "auto":
            size = limits.TILE_SIZE if len(inputs) > limits.MAX_FULL_BATCH else None
        parts = None if size is None else tiles(inputs if points is None else points, size, batch=batch)
        return GraphBatches(inputs, average, more, hops=self._hops, parts=parts, random_state=rng)

    def _epochs(self, batches):
        if self.max_epochs == "auto":
            return max(MIN_EPOCHS, STEPS // batches.n_batches)
        return self.max_epochs

    @undisturbed(gradients=False)
    def _raw(self, batches):
        """Representation of every spot."""
        found = [(core, self.network_.embed(batch).numpy()) for core, batch in batches.in_order()]
        raw = np.empty((len(batches), found[0][1].shape[1]), dtype=np.float32)
        for core, part in found:
            raw[core] = part
        return raw


def _principal(raw, n_components):
    """Mean and leading principal axes, scaled so that the scores on them have a total variance of 1."""
    mean = raw.mean(axis=0, dtype=np.float64)
    centred = raw - mean.astype(np.float32)
    variance, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(raw))
    variance, axes = variance[::-1][:n_components], axes[:, ::-1][:, :n_components]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes = axes * np.where(largest < 0, -1.0, 1.0)  # eigenvectors come with either sign
    total = np.sqrt(np.maximum(variance, 0).sum())
    return mean.astype(np.float32), (axes / (total or 1.0)).astype(np.float32)
