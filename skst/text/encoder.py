"""Vectors of cells and spots from what is written about their genes."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import check_is_fitted

from skst.expression.counts import scale_depth, square_root
from skst.genes.coverage import NO_NAMES, coverage_of_text, fault_of_coverage, warn_of_equal_vectors
from skst.genes.descriptions import describe_genes, find_descriptions
from skst.genes.identity import detect_species, match_vectors
from skst.genes.table import read_gene_vectors
from skst.genes.templates import cell_text
from skst.inputs.contract import check_counts, missing, read_spots
from skst.text.controls import gaussian_like, permuted_order, unrelated_names, unrelated_text
from skst.text.settings import check_settings
from skst.text.spot_texts import SpotTexts
from skst.text.text_vectors import TextVectors


class GeneTextEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Encode cells or spots by what is written about the genes they express.

    A frozen language model turns text into vectors.  In mode "aggregate" the text is about genes, and a cell
    is the sum of its genes' vectors, weighted by expression; in the modes "sentence" and "prompt" the text is
    about the cell, and names its most expressed genes; "dual" mixes "aggregate" and "sentence".  Nothing is
    trained, labels are not used, and new cells are encoded with the statistics of those seen in `fit`.

    Parameters
    ----------
    model : str or object, default="auto"
        What makes the vectors: "auto" (all-MiniLM-L6-v2), any Sentence Transformers or Hugging Face name or
        local path, "lexical" (hashed words; no model, no download), or an object whose ``encode`` takes a
        list of str and returns an array of shape (n, d).  In a grid search give a name: an object is copied
        by each clone.
    mode : {"aggregate", "sentence", "prompt", "dual"}, default="aggregate"
        "aggregate": sum of gene vectors (SpaLLM [1]_; path AW of scLLM-DSC [2]_).  "sentence": the expressed
        genes' symbols in descending order (Cell2Sentence; path SC of scLLM-DSC).  "prompt": the same genes
        within a request for the function of the spot (SemST [3]_).  "dual": ``omega * aggregate + (1 - omega)
        * sentence``.
    text : {"symbol", "name", "summary", "card"}, default="summary"
        What is said of a gene in the modes "aggregate" and "dual"; see
        :func:`skst.genes.templates.gene_text`.
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
    descriptions : DataFrame, str or path-like, default=None
        Gene descriptions with columns as in :func:`skst.genes.fetch_gene_descriptions`, which has to be
        called once for all genes to be described: by default what it left in the data home is used, else the
        marker table of the package.  `fit` never downloads descriptions.
    species : {"auto", "human", "mouse"}, default="auto"
        Whose descriptions to use; "auto" tells it from the gene names.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of `X`; by default its own.
    layer : str, default=None
        Layer of an AnnData to read; by default its ``X``.
    normalize : bool, default=True
        Normalise counts as `weighting` says.  False or None takes `X` as it is: "contrast" still centres it.
    on_missing : {"warn", "error"}, default="warn"
        What to do if `X` has no gene names, or none of its genes has a text: warn and return zeros, or raise.
    cache : bool, str or path-like, default=True
        Keep text vectors on disk, in the given directory or the user's cache, so that no text is encoded
        twice.
    batch_size : int, default=64
        Texts that the model reads at once.
    device : str, default="auto"
        Where the model runs, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
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
    n_features_in_ : int
    feature_names_in_ : ndarray of str of shape (n_genes,)
        Only if `X` has gene names.

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

    See Also
    --------
    skst.genes.fetch_gene_descriptions : Descriptions of all human or mouse genes.

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

    Genes of equal expression are named in alphabetical order, so the order of columns does not matter.  A
    gene that no table knows is still named in sentences and prompts, and in "aggregate" with
    ``text="symbol"``; an Ensembl id without a symbol is not.

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
    >>> encoder = GeneTextEncoder(model="lexical", gene_names=["Plp1", "Mbp", "Gad1", "Gad2"], cache=False)
    >>> encoder.fit_transform(X).shape
    (4, 384)
    >>> encoder.gene_report_[["symbol", "matched"]].iloc[0].tolist()
    ['Plp1', 'symbol']
    """

    def __init__(
        self,
        *,
        model="auto",
        mode="aggregate",
        text="summary",
        k_g=30,
        max_texts=None,
        n_top_genes=3000,
        omega=0.5,
        weighting="contrast",
        control=None,
        vectors=None,
        descriptions=None,
        species="auto",
        gene_names=None,
        layer=None,
        normalize=True,
        on_missing="warn",
        cache=True,
        batch_size=64,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.model = model
        self.mode = mode
        self.text = text
        self.k_g = k_g
        self.max_texts = max_texts
        self.n_top_genes = n_top_genes
        self.omega = omega
        self.weighting = weighting
        self.control = control
        self.vectors = vectors
        self.descriptions = descriptions
        self.species = species
        self.gene_names = gene_names
        self.layer = layer
        self.normalize = normalize
        self.on_missing = on_missing
        self.cache = cache
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Match and encode the genes of `X`, and learn its statistics.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
            Raw counts, unless ``normalize=False``.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        self._learn(X)
        return self

    def fit_transform(self, X, y=None):
        """Fit to `X` and encode it; the same as ``fit(X).transform(X)``, but each text is encoded once.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
            Raw counts, unless ``normalize=False``.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_spots, d), float32
        """
        expression, encode, ranked, written = self._learn(X)
        encoded = self._embed(expression, encode, ranked, written)
        self._count_lookups(encode)
        return encoded

    def transform(self, X):
        """Encode cells or spots.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
            The genes of `fit`; an AnnData may have them in another order, or more.

        Returns
        -------
        ndarray of shape (n_spots, d), float32
            A cell without counts is zeros in "abundance", and what lies opposite to the mean in "contrast".
        """
        check_is_fitted(self)
        if self.mode != self._fitted_mode:
            raise ValueError(f"mode={self.mode!r} was set after a fit with {self._fitted_mode!r}; fit again.")
        spots = read_spots(self, X)
        if self.normalize:
            check_counts(spots, X, unless=self)
        reads = self.has_text_ and self.mode != "aggregate" and self._spot_texts.needs_model
        return self._embed(spots.X, TextVectors(self, fitted=self._model) if reads else None)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = bool(self.normalize)
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _learn(self, X):
        self._check_parameters()
        spots = read_spots(self, X, reset=True)
        if self.normalize:
            check_counts(spots, X, unless=self)
        expression = spots.X
        self.has_text_, self._fitted_mode = spots.genes is not None, self.mode
        lack = NO_NAMES
        if self.has_text_:
            with_text, symbols, vectors, lack = self._match_genes(expression, spots.genes)
            self.has_text_ = bool(with_text.any())
        if not self.has_text_:
            missing(self, lack[0], "GeneTextEncoder goes on without text and returns zeros", lack[1])
            self.coverage_, self.backend_name_, self._n_features_out = 0.0, None, 1
            self.cache_hits_ = self.cache_misses_ = 0
            return expression, None, None, None
        if lack is not None:
            warnings.warn(f"{lack[0]}; {lack[1]}.", UserWarning, stacklevel=4)
        encode = self._model = None
        if self.vectors is None or self.mode == "dual":
            encode = TextVectors(self)
            self._model = encode.identity
        self.backend_name_ = "vectors" if encode is None else encode.backend.name
        rng = check_random_state(self.random_state)
        variance = self._learn_expression(expression)
        self._learn_genes(spots.genes, symbols, with_text, vectors, variance, encode, rng)
        ranked = written = None
        if self.mode != "aggregate":
            ranked, written = self._learn_texts(expression, encode, rng)
        self._count_lookups(encode)
        return expression, encode, ranked, written

    def _match_genes(self, X, names):
        """Which genes have a text, what they are called, their precomputed vectors, and what is lacking."""
        self.species_ = detect_species(names) if self.species == "auto" else self.species
        table, origin = find_descriptions(self.species_, self.descriptions)
        about_genes = self.mode in ("aggregate", "dual")
        report, symbols = describe_genes(names, table, self.species_, self.text if about_genes else "symbol")
        vectors = None
        if self.vectors is None:
            with_text = (report["text"] != "").to_numpy()
        else:
            known, vectors = read_gene_vectors(self.vectors)
            rows = match_vectors(report, known, table, self.species_)
            with_text, vectors, origin = rows >= 0, vectors[rows], "own"
            report = report.assign(text="", source=np.where(with_text, "vectors", ""))
        self.gene_report_ = report
        counts = np.asarray(abs(X).sum(axis=0, dtype=np.float64)).ravel()
        self.coverage_ = coverage_of_text(counts, with_text)
        lack = fault_of_coverage(self.coverage_, names, with_text, self.species_, origin)
        return with_text, symbols, vectors, lack

    def _learn_genes(self, names, symbols, with_text, vectors, variance, encode, rng):
        """Text or vector of each gene, as `control` hands them out."""
        with_vector = with_text.copy()
        if self.n_top_genes is not None:
            ranked = np.flatnonzero(with_text)[np.argsort(-variance[with_text], kind="stable")]
            with_vector[ranked[self.n_top_genes :]] = False
        order = np.arange(len(names))
        if self.control == "permuted":
            order = permuted_order([with_vector, with_text & ~with_vector], rng)
        if self.mode != "aggregate":
            # In the unrelated control a spot names the same genes in the same order, by other words.
            words = unrelated_names(symbols) if self.control == "unrelated" else symbols[order]
            mode = "prompt" if self.mode == "prompt" else "sentence"
            self._spot_texts = SpotTexts(symbols[order], words, k=self.k_g, mode=mode)
        if self.mode not in ("aggregate", "dual"):
            return
        if vectors is not None:
            encoded = vectors[with_vector]
        elif self.control == "unrelated":
            known_as = np.where(symbols == "", names, symbols)
            encoded = encode([unrelated_text(symbol) for symbol in known_as[with_vector]])
        else:
            encoded = encode(self.gene_report_.loc[with_vector, "text"].tolist())
        warn_of_equal_vectors(encoded, f"model={encode.backend.name!r} makes" if vectors is None else "vectors hold")
        if self.control == "gaussian":
            encoded = gaussian_like(encoded, rng)
        placed = np.zeros((len(names), encoded.shape[1]), dtype=np.float32)
        placed[with_vector] = encoded
        self.gene_vectors_ = placed[order]
        self._with_vector = with_vector
        self._n_features_out = placed.shape[1]

    def _check_parameters(self):
        check_settings(self)

    def _learn_expression(self, X):
        Y = self._normalized(X)
        if sparse.issparse(Y):
            mean, variance = mean_variance_axis(Y, axis=0)
        else:
            mean, variance = Y.mean(axis=0, dtype=np.float64), Y.var(axis=0, dtype=np.float64)
        self.gene_mean_ = mean.astype(np.float32)
        return variance

    def _learn_texts(self, X, encode, rng):
        """Rank the genes; in "dual" also the text vectors of `X`, and centre and size of both paths."""
        ranked = self._spot_texts.rank(X)
        self.n_genes_named_ = np.diff(ranked.starts).astype(np.int32)
        noise_seed = rng.randint(2**31 - 1)
        if self.mode != "dual":
            self._n_features_out = encode([cell_text([], self.mode)]).shape[1]
        if self.control == "gaussian":
            self._spot_texts.noise = noise_seed, self._n_features_out
        elif self.max_texts is not None:
            self._spot_texts.learn_to_predict(ranked, encode, self.max_texts, rng)
        self.text_r2_ = None if self._spot_texts.regression is None else self._spot_texts.regression.r2_
        if self.mode != "dual":
            return ranked, None
        written = self._spot_texts.vectors(ranked, encode)
        aggregate = self._aggregated(X)
        if written.shape[1] != aggregate.shape[1]:
            raise ValueError(
                f"vectors have length {aggregate.shape[1]} but model={encode.backend.name!r} makes vectors "
                f"of length {written.shape[1]}, which mode='dual' cannot add; use the model that made them."
            )
        self._path_statistics = [_centre_and_size(path) for path in (aggregate, written)]
        return ranked, written

    def _embed(self, X, encode, ranked=None, written=None):
        if not self.has_text_:
            return np.zeros((X.shape[0], 1), dtype=np.float32)
        if self.mode == "aggregate":
            return self._aggregated(X)
        if written is None:
            written = self._spot_texts.vectors(self._spot_texts.rank(X) if ranked is None else ranked, encode)
        if self.mode != "dual":
            return written
        paths = zip((self._aggregated(X), written), self._path_statistics, strict=True)
        aggregate, sentence = ((path - centre) / size for path, (centre, size) in paths)
        return (self.omega * aggregate + (1 - self.omega) * sentence).astype(np.float32)

    def _aggregated(self, X):
        F = self.gene_vectors_
        Y = self._normalized(X)
        if self.weighting == "abundance":
            return np.asarray(Y @ F)
        known = self._with_vector
        unit = np.zeros_like(F)
        # A single gene has nothing to be centred against.
        unit[known] = F[known] - (F[known].mean(axis=0) if known.sum() > 1 else 0)
        lengths = np.linalg.norm(unit, axis=1, keepdims=True)
        weights = np.divide(unit, lengths, out=np.zeros_like(unit), where=lengths > 0)
        return np.asarray(Y @ weights) - self.gene_mean_ @ weights

    def _normalized(self, X):
        if not self.normalize:
            return X
        shares = scale_depth(X, 1.0)
        return shares if self.weighting == "abundance" else square_root(shares)

    def _count_lookups(self, encode):
        cache = None if encode is None else encode.cache
        self.cache_hits_, self.cache_misses_ = (0, 0) if cache is None else (cache.hits, cache.misses)


def _centre_and_size(vectors):
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    size = np.sqrt(np.mean(np.sum(np.square(vectors - centre, dtype=np.float64), axis=1)))
    return centre, np.float32(size if size > 0 else 1)
