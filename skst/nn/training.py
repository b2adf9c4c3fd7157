"""skorch trains the networks: batches of spots in, a table of losses out."""

import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import skorch
import torch
from scipy import sparse
from skorch.callbacks import EarlyStopping, EpochTimer, PassthroughScoring, ProgressBar

from skst._threads import threads_worth
from skst.nn.autoencoder import SpotBatch
from skst.nn.batches import Halo, epoch_batches
from skst.nn.counts import zinb_loss
from skst.nn.losses import correlation_reduction, spatial_regularization
from skst.nn.propagation import SparseOperator

# Neighbours of a spot that a mini-batch sees of a graph other than the spatial one.
FANOUT = 5
# Of the tiles of a tissue, so many make one mini-batch: pairs of spots in it are near and far.
TILES_A_BATCH = 8


class SpotBatches:
    """All that is known of the spots, handed out whole or in mini-batches.

    Parameters
    ----------
    averaged, start : list of ndarray of shape (n_spots, n_columns), float32
        As in :class:`SpotBatch`, one entry a graph.
    operators : list of csr_array of shape (n_spots, n_spots)
        Averaging operator of each graph; the first is the spatial one.
    semantic : ndarray of shape (n_spots, n_semantic), float32, or None
        Text vectors.
    counts : ndarray, csr_array or RowsAside of shape (n_spots, n_genes), default=None
        Counts to be decoded.
    sizes : ndarray of shape (n_spots,), default=None
        Library sizes.
    tiles : list of ndarray of int, default=None
        Compact parts of the tissue, from :func:`skst.nn.batches.tiles`; None for one batch of all spots.
    random_state : RandomState, default=None
        Draws the batches.
    """

    def __init__(self, averaged, start, operators, semantic, *, counts=None, sizes=None, tiles=None, random_state=None):
        self.averaged, self.start, self.operators = averaged, start, operators
        self.semantic, self.counts, self.sizes = semantic, counts, sizes
        self.tiles, self.random_state = tiles, random_state
        fanout = [None] + [FANOUT] * (len(operators) - 1)
        self._halo = None if tiles is None else Halo(operators, hops=1, fanout=fanout)
        self._whole = None

    def __len__(self):
        return len(self.start[0])

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return 1 if self.tiles is None else -(-len(self.tiles) // TILES_A_BATCH)

    def __iter__(self):
        """Batches of one epoch, each with the None that stands for its labels."""
        if self.tiles is None:
            yield self.whole(), None
            return
        for core in epoch_batches(self.tiles, TILES_A_BATCH, self.random_state):
            patch = self._halo(core, self.random_state)
            yield self.batch(patch.nodes, patch.operators, patch.n_core), None

    def whole(self) -> SpotBatch:
        """All spots and all edges as one batch, without counts where training goes by mini-batches."""
        if self._whole is None:
            self._whole = self.batch(np.arange(len(self)), self.operators, len(self), counts=self.tiles is None)
        return self._whole

    def batch(self, nodes, operators, n_core, *, counts=True):
        """The :class:`SpotBatch` of some spots, the first `n_core` of which the loss looks at."""
        values = log_size = edges = None
        if counts and self.counts is not None:
            rows = self.counts[nodes[:n_core]]
            values = _tensor(rows.toarray() if sparse.issparse(rows) else rows)
            log_size = _tensor(np.log(self.sizes[nodes[:n_core]])[:, None])
            pairs = operators[0][:n_core, :n_core].tocoo()
            keep = pairs.row != pairs.col
            edges = torch.from_numpy(np.stack([pairs.row[keep], pairs.col[keep]]).astype(np.int64))
        return SpotBatch(
            [_tensor(part[nodes]) for part in self.averaged],
            [_tensor(part[nodes]) for part in self.start],
            [SparseOperator(operator) for operator in operators],
            None if self.semantic is None else _tensor(self.semantic[nodes]),
            values,
            log_size,
            edges,
            n_core,
        )


class _Moved:
    """Batches on a device; one that comes again, as that of all spots does in each epoch, is moved once."""

    def __init__(self, batches, device):
        self.batches, self.device = batches, device
        self._last = self._there = None

    def __iter__(self):
        for batch, labels in self.batches:
            if batch is not self._last:
                self._last, self._there = batch, batch.to(self.device)
            yield self._there, labels


class _Stop(Exception):
    """A callback has seen enough."""


class LossNet(skorch.NeuralNet):
    """Trains a module on batches that know their size, and writes down every term of the loss.

    A batch is a named tuple with ``n_core``, the number of rows that the loss looks at, and ``to(device)``.  Subclasses
    name the terms of the loss in ``terms`` and compute them in ``losses(output, batch)``, a dict from name to
    (weight, value).

    Parameters
    ----------
    module : torch.nn.Module
        The network, made already.
    **options
        Of :class:`skorch.NeuralNet`.
    """

    terms: tuple[str, ...] = ()

    def __init__(self, module, **options):
        super().__init__(module, criterion=torch.nn.Identity, **options)

    def get_split_datasets(self, X, y=None, **fit_params):
        return X, None

    def get_iterator(self, dataset, training=False):
        return _Moved(dataset, self.device)

    def check_data(self, X, y=None):
        pass

    def notify(self, method_name, **cb_kwargs):
        # skorch's callbacks end training as Ctrl-C does; tell the two apart.
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            if method_name in ("on_train_begin", "on_train_end"):  # outside of the loop, which alone can be stopped
                raise
            raise _Stop from error

    def on_batch_end(self, net, batch=None, **kwargs):
        # skorch counts the fields of a batch; the loss of an epoch is a mean over spots.
        self.history.record_batch("train_batch_size", batch[0].n_core)

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        self.interrupted = False
        try:
            super().fit_loop(X, y, epochs, **fit_params)
        except _Stop:
            pass
        except KeyboardInterrupt:  # skorch would swallow it without a trace
            self.interrupted = True
        return self

    def infer(self, x, **fit_params):
        return self.module_(x)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        total = 0.0
        for name, (weight, value) in self.losses(y_pred, X).items():
            number = value.item()  # once: a GPU is waited for
            self.history.record_batch(name, number)
            if not np.isfinite(number):
                raise ValueError(
                    f"training has diverged, as the loss {name!r} is {number} in epoch {len(self.history)}; see "
                    "that X holds raw counts, scale it down, or lower lr."
                )
            total = total + weight * value
        return total

    @property
    def _default_callbacks(self):
        terms = [(name, PassthroughScoring(name, on_train=True)) for name in self.terms]
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            *terms,
        ]


class SpotNet(LossNet):
    """Trains a :class:`SpotAutoencoder` on :class:`SpotBatches`.

    Parameters
    ----------
    module : SpotAutoencoder
        The network, made already.
    correlation_weight, spatial_weight : float
        Weights of the correlation reduction and the spatial regularisation beside the likelihood.
    text_weight : float, default=0.0
        Weight of what the text moves, the mean square of its part of the representation.
    balanced : bool, default=True
        See :func:`spatial_regularization`.
    **options
        Of :class:`skorch.NeuralNet`.
    """

    terms = ("zinb", "correlation", "spatial", "text")

    def __init__(self, module, *, correlation_weight, spatial_weight, text_weight=0.0, balanced=True, **options):
        self.correlation_weight = correlation_weight
        self.spatial_weight = spatial_weight
        self.text_weight = text_weight
        self.balanced = balanced
        super().__init__(module, **options)

    def losses(self, output, batch):
        likelihood = zinb_loss(batch.counts, output.log_mean, output.log_dispersion, output.dropout_logits)
        losses = {"zinb": (1.0, likelihood)}
        if len(output.views) > 1 and self.correlation_weight:
            losses["correlation"] = self.correlation_weight, correlation_reduction(*output.views[:2])
        if batch.edges.shape[1] and self.spatial_weight:
            spatial = spatial_regularization(output.embedding, batch.edges, balanced=self.balanced)
            losses["spatial"] = self.spatial_weight, spatial
        if self.text_weight:
            losses["text"] = self.text_weight, output.moved
        return losses


def train(module, batches, *, max_epochs, lr, patience, device, callbacks, verbose, weights, net=SpotNet):
    """Train `module` in place until the loss no longer falls, `max_epochs` are over, or Ctrl-C.

    Parameters
    ----------
    module : torch.nn.Module
    batches : SpotBatches or another iterable of batches
    max_epochs : int
    lr : float
        Learning rate of Adam.
    patience : int or None
        Epochs without a fall of ``train_loss`` by 0.01 % after which training ends; None to run all.
    device : str
    callbacks : list or None
        More callbacks of skorch.
    verbose : int
        1 shows a progress bar.
    weights : dict
        Weights of the loss terms, and whatever else `net` takes.
    net : type, default=SpotNet
        The :class:`LossNet` that does it.

    Returns
    -------
    history : DataFrame
        One row an epoch: ``epoch``, ``train_loss``, its terms and ``dur`` in seconds.
    interrupted : bool
        Whether Ctrl-C ended it.
    """
    callbacks = list(callbacks or [])
    if patience is not None:
        stop = EarlyStopping("train_loss", patience=patience, threshold=1e-4, sink=lambda _: None)
        callbacks.append(stop)
    if verbose:
        callbacks.append(ProgressBar(batches_per_epoch=batches.n_batches))
    net = net(
        module,
        optimizer=torch.optim.Adam,
        lr=lr,
        max_epochs=max_epochs,
        device=device,
        callbacks=callbacks,
        verbose=0,
        **weights,
    )
    with threads_worth(len(batches) // batches.n_batches), repeatable(device):
        net.fit(batches, None)
    # An epoch that was cut short has no loss.
    columns = ("epoch", "train_loss", *net.terms, "dur")
    rows = [{name: row[name] for name in columns if name in row} for row in net.history if "train_loss" in row]
    return pd.DataFrame(rows, columns=[name for name in columns if not rows or name in rows[0]]), net.interrupted


@contextmanager
def repeatable(device):
    """On a GPU, kernels that give the same sums each time where there are such."""
    if torch.device(device).type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        # What has no such kernel says so; products of dense matrices always do, and differ only between streams.
        warnings.filterwarnings("ignore", message=".*[Dd]eterministic")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def resolve_device(device: str) -> str:
    """ "cuda" where there is one for "auto", else `device` itself; ValueError if torch cannot use it here."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(f'device={device!r} is no device that torch has here; use "auto" or "cpu".') from error
    return device


def _tensor(values):
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
