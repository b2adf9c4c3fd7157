"""Vectors of cells and spots from what is written about their genes."""

import numbers
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skst._constraints import Interval, StrOptions
from skst._parameters import NestedParameters
from skst.genes.described import as_descriptions
from skst.genes.ranking import K_RULES
from skst.inputs.counting import check_counts
from skst.inputs.reading import ON_MISSING, READING, ReadsSpots
from skst.text.dependencies import outside_content
from skst.text.learning import LearnsText
from skst.text.models import as_text_model


class GeneTextEncoder(
    LearnsText, NestedParameters, ReadsSpots, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Encode cells or spots by what is written about the genes they express.

    A frozen language model turns text into vectors.  In mode "aggregate" the text is about genes, and a cell is the sum
    of its genes' vectors, weighted by expression; in the modes "sentence" and "prompt" the text is about the cell, and
    names its most expressed genes; "dual" mixes "aggregate" and "sentence".  Nothing is trained, labels are not used,
    and new cells are encoded with the statistics of those seen in `fit`.

    Parameters
    ----------
    model : str, object or TextModel, default="auto"
        What makes the vectors: "auto" (all-MiniLM-L6-v2), any Sentence Transformers or Hugging Face name or local path,
        "lexical" (hashed words; no model, no download), or an object with ``encode``.  A
        :class:`skst.text.TextModel` says on which device it runs and what is cached, too.
    mode : {"aggregate", "sentence", "prompt", "dual"}, default="aggregate"
        "aggregate": sum of gene vectors (SpaLLM [1]_; path AW of scLLM-DSC [2]_).  "sentence": the expressed
        genes' symbols in descending order (Cell2Sentence; path SC of scLLM-DSC).  "prompt": the same genes
        within a request for the function of the spot (SemST [3]_).  "dual": ``omega * aggregate + (1 - omega)
        * sentence``.
    k_g : int or {"entropy", "mass"}, default=30
        Number of genes that a sentence or prompt names, or fewer where fewer are expressed.  "entropy" and "mass"
        choose it for each spot, from 5 to 50: the effective number of its genes, or the leading genes that hold half
        of its counts; see :func:`skst.genes.ranking.adaptive_k`.  scLLM-DSC names 2,048, which is more than most
        encoders read: all-MiniLM-L6-v2 stops after 256 tokens, some 60 to 80 genes.  Longer sentences are read in
        pieces, and their vectors averaged; a prompt is cut off.
    max_texts : int or None, default=None
        In the modes "sentence", "prompt" and "dual", encode no more than this many distinct texts of cells with
        counts (at least 10).  If those of `fit` are more, a random sample is encoded, and the vectors of all cells,
        then and in `transform`, are predicted by :class:`~skst.text.regression.TextRegression` from the genes that
        they name.  None encodes all.  Nothing is predicted with ``control="gaussian"``.
    n_top_genes : int or None, default=3000
        In the modes "aggregate" and "dual" only the genes of largest variance get a vector, as in
        :class:`~skst.SpatialGraphTransformer`; None gives one to all, at the cost of reading their texts.
    omega : float, default=0.5
        Share of "aggregate" in mode "dual", from 0 to 1.
    weighting : {"contrast", "abundance"}, default="contrast"
        How expression weighs gene vectors.  "contrast": the square root of each gene's share of counts less its mean
        (of each gene in `fit`), times gene vectors that are centred and of unit length; this shows how a cell
        differs from the others.  "abundance": the papers' sum ``X @ F``, with each row of counts scaled to sum to
        1 and the vectors as they are; most of it is common to all cells.
    control : {None, "permuted", "unrelated", "gaussian"}, default=None
        A control against which to claim that text helps.  "permuted": every gene gets the text of another, drawn with
        `random_state`.  "unrelated": every gene gets a text of its own that is not about genes and the same in all
        data (SemST's Table 2), a sentence about everyday things for its description and three everyday words for its
        symbol; not with `vectors`.  "gaussian": random vectors in place of gene vectors (of the same root mean
        square), and in place of the vector of each distinct cell text (of about unit length).
    vectors : str, path-like, dict or DataFrame, default=None
        Precomputed gene vectors, such as GenePT's; see :func:`skst.genes.read_gene_vectors`.  Mode
        "aggregate" then needs no model.  Not accepted in the modes "sentence" and "prompt", which use no gene
        vectors.
    descriptions : DataFrame, str, path-like or GeneDescriptions, default=None
        What is written about genes: a table, by default what :func:`skst.genes.fetch_gene_descriptions` left in the
        data home, else the marker table of the package.  A :class:`skst.genes.GeneDescriptions` says which species it
        is, and what of it is read in the modes "aggregate" and "dual" (summaries by default), too.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of `X`; by default its own.
    layer : str, default=None
        Layer of an AnnData to read; by default its ``X``.
    normalize : bool, default=True
        Normalise counts as `weighting` says.  False or None takes `X` as it is: "contrast" still centres it.
    on_missing : {"warn", "error"}, default="warn"
        What to do if `X` has no gene names, or none of its genes has a text: warn and return zeros, or raise.
    random_state : int, RandomState instance or None, default=None
        Seed of `control` and of the sample that `max_texts` allows.
    verbose : int, default=0
        Show progress while encoding.

    Attributes
    ----------
    gene_vectors_ : ndarray of shape (n_genes, d), float32
        Vector of each gene after `control`; zeros where there is no text, or the gene is not among `n_top_genes`.
        Only in "aggregate" and "dual".
    gene_report_ : DataFrame of shape (n_genes, 6)
        What became of each gene: "gene" (the name in `X`), "symbol", "matched" (by what; see
        :func:`skst.genes.match_genes`), "has_summary", "source" and "text" (before `control`).
    coverage_ : float
        Share of the counts in `X` that are of genes with a text or vector.
    species_ : {"human", "mouse"}
        Species in use.
    has_text_ : bool
        False if `X` had no gene names, or none of its genes has a text; the output is then a single column of zeros.
    backend_name_ : str or None
        What made the vectors.
    n_genes_named_ : ndarray of shape (n_spots,), int32
        Number of genes that the text of each spot of `fit` names.  Not in "aggregate".
    text_r2_ : float or None
        Share of the variance of text vectors that is predicted for texts left out, if `max_texts` made it necessary
        to predict; else None.  Not in "aggregate".
    cache_hits_, cache_misses_ : int
        Texts that `fit` or `fit_transform` found in the cache, and those it had to encode.
    gene_mean_ : ndarray of shape (n_genes,), float32
        Mean of normalised expression, for "contrast".
    n_features_in_, feature_names_in_
        Number and, if `X` has them, names of genes.

    Raises
    ------
    ValueError
        If a parameter is out of range, counts are negative, or, in ``transform``, the model of `fit` is not to be had;
        with ``on_missing="error"`` if no gene has a name or a text.

    Warns
    -----
    UserWarning
        If `X` has no gene names, genes with text make up less than half of its counts or are none, or `text_r2_` is
        below 0.5.

    Notes
    -----
    Vectors of cells in "contrast" are ``(Y - mean) @ F``.  `Y` stays sparse: the mean is subtracted after the
    product.  Expression is not divided by its SD: counts have the same noise in every gene once their square root
    is taken, and the division would lift genes that are noise alone.  scLLM-DSC sums the 2,048 most expressed genes
    of a cell; here those of `n_top_genes` are summed.

    In the published code of scLLM-DSC the two paths of "dual" differ by orders of magnitude in scale, so that
    omega hardly acts.  Here each path is centred and scaled to a root mean square row length of 1 on the data of `fit`
    before they are mixed.

    With `max_texts`, cells whose text was encoded get predicted vectors like the others: predictions lie closer to
    the mean, so among them the vectors that were read would stand apart, neighbours of none.

    Genes of equal expression are named in alphabetical order.  A gene that no table knows is still named in sentences
    and prompts, and in "aggregate" with ``descriptions__detail="symbol"``; an Ensembl id without a symbol is not.

    References
    ----------
    .. [1] SpaLLM: weighted fusion of spatial embeddings with language model vectors of gene descriptions, Sec. 2.2.
    .. [2] scLLM-DSC: LLM-knowledge enhanced cross-modal deep structural clustering, Eqs. 3-5.
    .. [3] SemST: spot prompts of the most expressed genes and feature-wise semantic modulation.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.text import GeneTextEncoder
    >>> X = np.array([[9, 7, 0, 0], [8, 9, 1, 0], [0, 1, 9, 8], [0, 0, 7, 9]])
    >>> encoder = GeneTextEncoder(model="lexical", gene_names=["Plp1", "Mbp", "Gad1", "Gad2"])
    >>> encoder.fit_transform(X).shape
    (4, 384)
    """

    _parameter_constraints = {
        "model": "no_validation",
        "mode": [StrOptions({"aggregate", "sentence", "prompt", "dual"})],
        "k_g": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions(set(K_RULES))],
        "max_texts": [Interval(numbers.Integral, 10, None, closed="left"), None],
        "n_top_genes": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "omega": [Interval(numbers.Real, 0, 1, closed="both")],
        "weighting": [StrOptions({"contrast", "abundance"})],
        "control": [StrOptions({"permuted", "unrelated", "gaussian"}), None],
        "vectors": "no_validation",
        "descriptions": "no_validation",
        "normalize": ["boolean", None],
        **READING,
        **ON_MISSING,
    }

    def __init__(
        self,
        *,
        model="auto",
        mode="aggregate",
        k_g=30,
        max_texts=None,
        n_top_genes=3000,
        omega=0.5,
        weighting="contrast",
        control=None,
        vectors=None,
        descriptions=None,
        gene_names=None,
        layer=None,
        normalize=True,
        on_missing="warn",
        random_state=None,
        verbose=0,
    ):
        self.model = model
        self.mode = mode
        self.k_g = k_g
        self.max_texts = max_texts
        self.n_top_genes = n_top_genes
        self.omega = omega
        self.weighting = weighting
        self.control = control
        self.vectors = vectors
        self.descriptions = descriptions
        self.gene_names = gene_names
        self.layer = layer
        self.normalize = normalize
        self.on_missing = on_missing
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> Self:
        """Match and encode the genes of `X`, and learn its statistics.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            Raw counts, unless ``normalize=False``.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        self._learn(self._open(X, reset=True).X)
        return self

    def fit_transform(self, X: Any, y: object = None) -> np.ndarray:
        """Fit to `X` and encode it; the same as ``fit(X).transform(X)``, but each text is encoded once.

        Parameters
        ----------
        X, y
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, d), float32
        """
        expression, encode, ranked, written = self._learn(self._open(X, reset=True).X)
        encoded = self._embed(expression, encode, ranked, written)
        self._count_lookups(encode)
        return encoded

    def transform(self, X: Any) -> np.ndarray:
        """Encode cells or spots.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            The genes of `fit`; an AnnData may have them in another order, or more.

        Returns
        -------
        ndarray of shape (n_spots, d), float32
            A cell without counts is zeros in "abundance", and what lies opposite to the mean in "contrast".  A list of
            these if X is a list.
        """
        check_is_fitted(self)
        if self.mode != self._fitted_mode:
            raise ValueError(f"mode={self.mode!r} was set after a fit with {self._fitted_mode!r}; fit again.")
        opened = self._open(X)
        spots = self._read_spots(opened.X)
        if self.normalize:
            check_counts(spots, opened.X, unless=type(self).__name__)
        reads = self.has_text_ and self.mode != "aggregate" and self._spot_texts.needs_model
        encoded = self._embed(spots.X, self._vectors_of_texts(self._model) if reads else None)
        return opened.given_back(encoded)

    def check(self) -> Self:
        """Raise a ValueError if a parameter is out of range, or of no use beside another.

        Returns
        -------
        self
        """
        self._validate_params()
        for name in self._parts():
            self.part(name).check()
        if self.vectors is not None and self.mode in ("sentence", "prompt"):
            fix = "use mode='aggregate' or 'dual', or leave vectors out"
            raise ValueError(f"vectors are given but mode={self.mode!r} uses no gene vectors; {fix}.")
        if self.vectors is not None and self.control == "unrelated":
            fix = "use control='permuted' or 'gaussian', or leave vectors out"
            raise ValueError(
                f"vectors are given but control='unrelated' replaces texts, of which there are none; {fix}."
            )
        return self

    def outside(self) -> tuple[str, ...]:
        """What vectors depend on beside parameters and X: files, tables and models that may change.

        Returns
        -------
        tuple of str
            As from :func:`skst.text.dependencies.outside_content`.
        """
        makes = self.vectors is None or self.mode == "dual"
        return outside_content(self.vectors, self.part("descriptions").table, self.part("model") if makes else None)

    def _parts(self):
        return {"model": as_text_model, "descriptions": as_descriptions}
