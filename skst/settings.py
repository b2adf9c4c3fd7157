"""Parameters of networks, their losses and the telling of tissue, as objects that estimators are given.

``get_params`` and ``set_params`` of an estimator reach into them whether they are given or not:
``SemSTClusterer(7).set_params(network__lr=5e-4)``.
"""

import numbers
from typing import Any, Self

from skst import limits
from skst._constraints import Interval, StrOptions
from skst._parameters import Settings

_COUNT = Interval(numbers.Integral, 1, None, closed="left")
_WEIGHT = Interval(numbers.Real, 0, None, closed="left")
_ABOVE_ZERO = Interval(numbers.Real, 0, None, closed="neither")
_AUTO = StrOptions({"auto"})
_TRAINING: dict = {
    "max_epochs": [_COUNT, _AUTO],
    "lr": [_ABOVE_ZERO],
    "patience": [_COUNT, None],
    "callbacks": [list, None],
    "device": [str],
}


class GraphNetwork(Settings):
    """Networks of :class:`~skst.SemSTClusterer` and their training.

    Parameters
    ----------
    n_networks : int, default=2
        Networks trained, one after the other.
    n_components : int, default=20
        Columns of each view and each representation.
    n_hidden : int, default=128
        Columns of the hidden layers of the convolutions.
    n_top_genes : int, default=500
        Number of genes whose counts are decoded: those of largest variance on the principal axes.
    start : {"both", "averaged", "random"}, default="both"
        "averaged": :math:`S_g` is the expression averaged over the graph, and the network begins with it as its
        representation.  "random": :math:`S_g = 0`, as published.  "both": the networks take turns.
    zero_inflation : bool, default=False
        Whether counts can be zero for another reason than chance, as in the paper.
    max_epochs : int or "auto", default="auto"
        Most passes over the spots for a network.  "auto" is 80 where all spots make one batch; mini-batches make more
        steps a pass, and take 160 steps, but no fewer than 3 passes.
    lr : float, default=1e-3
        Learning rate of Adam; networks with a random start take twice that.
    patience : int or None, default=20
        Training ends when the training loss has not fallen for so many epochs; None runs all.
    batch_size : int or "auto", default="auto"
        Spots in a tile; eight tiles and what lies around them make a mini-batch.  "auto" takes all spots at once up to
        20,000 and tiles of 512 beyond.
    callbacks : list, default=None
        Callbacks of skorch that watch or steer the training of each network.
    device : str, default="auto"
        Where networks are trained, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
    """

    _parameter_constraints = {
        "n_networks": [_COUNT],
        "n_components": [_COUNT],
        "n_hidden": [_COUNT],
        "n_top_genes": [_COUNT],
        "start": [StrOptions({"both", "averaged", "random"})],
        "zero_inflation": ["boolean"],
        "batch_size": [_COUNT, _AUTO],
        **_TRAINING,
    }

    def __init__(
        self,
        *,
        n_networks=2,
        n_components=20,
        n_hidden=128,
        n_top_genes=500,
        start="both",
        zero_inflation=False,
        max_epochs="auto",
        lr=1e-3,
        patience=20,
        batch_size="auto",
        callbacks=None,
        device="auto",
    ):
        self.n_networks = n_networks
        self.n_components = n_components
        self.n_hidden = n_hidden
        self.n_top_genes = n_top_genes
        self.start = start
        self.zero_inflation = zero_inflation
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device

    def epochs(self, n_batches: int) -> int:
        """Most passes over spots that make so many batches."""
        if self.max_epochs != "auto":
            return self.max_epochs
        return 80 if n_batches == 1 else max(3, -(-160 // n_batches))

    def averaged_starts(self) -> list[bool]:
        """Which of the networks begin with averaged expression, a bool each."""
        return [self.start == "averaged" or (self.start == "both" and i % 2 == 0) for i in range(self.n_networks)]


class GraphLosses(Settings):
    """Weights of the losses of :class:`~skst.SemSTClusterer` beside the likelihood.

    Parameters
    ----------
    correlation, spatial : float, default=0.1, 0.1
        Weights of the correlation reduction and of the spatial regularisation.
    text : float, default=0.3
        Weight of the mean square of what the text adds to Z, relative to Z without it.
    balanced : bool, default=True
        Weigh neighbours and non-neighbours alike in the spatial regularisation; False is as published, see
        :func:`skst.nn.spatial_regularization`.
    """

    _parameter_constraints = {
        "correlation": [_WEIGHT],
        "spatial": [_WEIGHT],
        "text": [_WEIGHT],
        "balanced": ["boolean"],
    }

    def __init__(self, *, correlation=0.1, spatial=0.1, text=0.3, balanced=True):
        self.correlation = correlation
        self.spatial = spatial
        self.text = text
        self.balanced = balanced

    def weights(self) -> dict[str, Any]:
        """As :class:`skst.nn.training.SpotNet` takes them."""
        weights = {f"{name}_weight": getattr(self, name) for name in ("correlation", "spatial", "text")}
        return weights | {"balanced": self.balanced}


class CellNetwork(Settings):
    """Networks of :class:`~skst.LLMDSCClusterer` and their training.

    Parameters
    ----------
    n_networks : int, default=3
        Networks trained, one after the other; they take the choices of genes in turn.
    n_components : int, default=16
        Columns of the structural embedding of each network.
    n_hidden : int, default=256
        Columns of the hidden layer of encoder and decoder.
    n_projection : int, default=128
        Columns of the space of ``align_to="shared"``.
    linear : bool, default=False
        Leave the non-linearity out of the autoencoder, as the published code does.
    max_epochs : int or "auto", default="auto"
        Passes over the cells in each of the two stages.  "auto" is 60 where all cells make one batch, and 60 steps,
        but no fewer than 3 passes, where they do not.
    lr : float, default=1e-3
        Learning rate of Adam.
    patience : int or None, default=None
        A stage ends when the training loss has not fallen for so many epochs; None runs all.
    batch_size : int or "auto", default="auto"
        Cells in a batch; "auto" takes all at once up to 20,000 and 4,096 beyond.
    callbacks : list, default=None
        Callbacks of skorch that watch or steer the training.
    device : str, default="auto"
        Where networks are trained, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
    """

    _parameter_constraints = {
        "n_networks": [_COUNT],
        "n_components": [_COUNT],
        "n_hidden": [_COUNT],
        "n_projection": [_COUNT],
        "linear": ["boolean"],
        "batch_size": [Interval(numbers.Integral, 2, None, closed="left"), _AUTO],
        **_TRAINING,
    }

    def __init__(
        self,
        *,
        n_networks=3,
        n_components=16,
        n_hidden=256,
        n_projection=128,
        linear=False,
        max_epochs="auto",
        lr=1e-3,
        patience=None,
        batch_size="auto",
        callbacks=None,
        device="auto",
    ):
        self.n_networks = n_networks
        self.n_components = n_components
        self.n_hidden = n_hidden
        self.n_projection = n_projection
        self.linear = linear
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device

    def cells_a_batch(self, n_cells: int) -> int | None:
        """Number of cells in a batch; None for one batch of all."""
        if self.batch_size != "auto":
            return self.batch_size
        return None if n_cells <= limits.MAX_FULL_BATCH else limits.CELLS_A_BATCH

    def epochs(self, n_cells: int) -> int:
        """Passes over so many cells in each stage."""
        if self.max_epochs != "auto":
            return self.max_epochs
        size = self.cells_a_batch(n_cells)
        return limits.CELL_STEPS if size is None or size >= n_cells else max(3, -(-limits.CELL_STEPS * size // n_cells))


class CellLosses(Settings):
    r"""Weights and forms of the losses of :class:`~skst.LLMDSCClusterer`.

    Parameters
    ----------
    align, cut, mse, kl : float, default=0.3, 1.0, 1.0, 0.3
        Weights :math:`\alpha` to :math:`\delta`; 0 leaves a loss out.
    hinge : float, default=0.01
        Weight of the variance hinge within the alignment.
    temperature : float, default=0.1
        Of InfoNCE.
    n_contrast : int or None, default=1024
        Cells, drawn at each step, among which a cell is told by its text; None for all of the batch.
    cut_balance : float, default=0.21
        Weight of first-order affinities in the cut; second-order ones have the rest.
    ortho : float, default=0.32
        Weight within the cut that keeps columns orthogonal.
    target_power : float, default=5.0
        Sharpness of the optimal-transport target.
    """

    _parameter_constraints = {
        "align": [_WEIGHT],
        "cut": [_WEIGHT],
        "mse": [_WEIGHT],
        "kl": [_WEIGHT],
        "hinge": [_WEIGHT],
        "temperature": [_ABOVE_ZERO],
        "n_contrast": [Interval(numbers.Integral, 2, None, closed="left"), None],
        "cut_balance": [Interval(numbers.Real, 0, 1, closed="both")],
        "ortho": [_WEIGHT],
        "target_power": [_ABOVE_ZERO],
    }

    def __init__(
        self,
        *,
        align=0.3,
        cut=1.0,
        mse=1.0,
        kl=0.3,
        hinge=0.01,
        temperature=0.1,
        n_contrast=1024,
        cut_balance=0.21,
        ortho=0.32,
        target_power=5.0,
    ):
        self.align = align
        self.cut = cut
        self.mse = mse
        self.kl = kl
        self.hinge = hinge
        self.temperature = temperature
        self.n_contrast = n_contrast
        self.cut_balance = cut_balance
        self.ortho = ortho
        self.target_power = target_power

    def weights(self) -> dict[str, Any]:
        """As :class:`skst.nn.cells.CellNet` takes them."""
        weights = {f"{name}_weight": getattr(self, name) for name in ("cut", "mse", "hinge")}
        return weights | {"temperature": self.temperature, "n_contrast": self.n_contrast}


class Narration(Settings):
    """How :class:`~skst.STLLMClusterer` tells a tissue.

    Parameters
    ----------
    levels : sequence of {"spot", "neighborhood", "region"}, default=("spot", "neighborhood", "region")
        Levels that are told; none for expression alone.
    spot_text : {"auto", "read", "compose"}, default="auto"
        Whether the texts of spots are read, or composed of the vectors of the descriptions of their genes, which costs
        next to nothing; "auto" reads up to 10,000 spots.  The other levels are always read.  New slices are treated as
        those of ``fit``, whatever their size.
    k_g : int, default=10
        Most genes named of a spot and of a neighbourhood.
    max_tokens : int, default=200
        Most tokens of a text.
    n_regions : int, default=20
        Regions that are told of: groups of spots of like averaged expression, more than there are domains.
    """

    LEVELS = ("spot", "neighborhood", "region")

    _parameter_constraints = {
        "levels": [list, tuple],
        "spot_text": [StrOptions({"auto", "read", "compose"})],
        "k_g": [_COUNT],
        "max_tokens": [Interval(numbers.Integral, 60, None, closed="left")],
        "n_regions": [_COUNT],
    }

    def __init__(self, *, levels=LEVELS, spot_text="auto", k_g=10, max_tokens=200, n_regions=20):
        self.levels = levels
        self.spot_text = spot_text
        self.k_g = k_g
        self.max_tokens = max_tokens
        self.n_regions = n_regions

    def check(self) -> Self:
        """Raise a ValueError if a parameter is out of range, or a level is unknown."""
        super().check()
        if unknown := [level for level in self.levels if level not in self.LEVELS]:
            raise ValueError(f"levels hold {unknown[0]!r}, which is not one of {self.LEVELS}.")
        return self
