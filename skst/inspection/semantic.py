"""Whether the text mattered: refits with wrong text, random text and no text, on the user's own data."""

import numbers
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import clone, is_clusterer
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter

from skst._progress import progress_bar
from skst.inputs.containers import in_memory
from skst.inputs.labels import Labels, column_of
from skst.inputs.reading import where_of
from skst.inputs.rows import match_rows
from skst.inputs.spots import read_spots
from skst.inputs.types import Expression, RandomState
from skst.inspection._statistics import holm, mean_interval, sign_flip_p
from skst.metrics import agreement_matrix, pas_score, score_partition
from skst.text import GeneTextEncoder

METRICS = ("stability", "coherence", "ari")

_NAMES = {"permuted": "the permuted control", "gaussian": "the Gaussian control", "none": "no text"}
# How the estimators of skst are told to go without text.
_WITHOUT_TEXT = {"strategy": "expression", "fusion": None, "align_to": None, "narration__levels": ()}
_LEVEL = 0.05


@dataclass(frozen=True)
class SemanticTest:
    """Scores and tests of :func:`semantic_permutation_test`.

    Attributes
    ----------
    scores : DataFrame
        A row for each fit and score: "text" ("real", "permuted", "gaussian" or "none"), "replicate", "seed" (of the
        estimator), "score" and "value"; more is better in all scores.
    tests : DataFrame
        A row for each score and control: "score", "control", "n" (replicates compared), "real" and "control_mean" (mean
        scores), "difference" with its 95 % interval "low" and "high" (Student's t over replicates), "p" (sign
        flips, one-sided), "p_holm" (corrected for all rows), "n_as_good" (replicates in which the control scored
        no less than the real text), "p_rank" (``(1 + n_as_good) / (1 + n)``; NaN for no text, which is not drawn) and
        "verdict".
    interrupted : bool
        True if Ctrl-C ended the test early; `tests` then rests on the replicates that were complete.

    Examples
    --------
    See :func:`semantic_permutation_test`.
    """

    scores: pd.DataFrame
    tests: pd.DataFrame
    interrupted: bool

    def summary(self) -> str:
        """What was found, a line for each test and one for the whole.

        Returns
        -------
        str
        """
        lines = []
        for score, rows in self.tests.groupby("score", sort=False):
            lines.append(f"{score}: {rows['real'].iloc[0]:.3f} with the text")
            for row in rows.itertuples():
                lines.append(
                    f"  {row.control:9}{row.control_mean:.3f}, difference {row.difference:+.3f} [{row.low:+.3f}, "
                    f"{row.high:+.3f}], n = {row.n}, p = {row.p:.3g}, Holm {row.p_holm:.3g}: {row.verdict}"
                )
        drawn = self.tests[self.tests["control"] != "none"]
        beaten = (drawn["verdict"] == drawn["control"].map(_beats)).groupby(drawn["score"], sort=False).all()
        names = ", ".join(beaten.index[beaten])
        last = "No score shows that the text mattered." if not names else f"The text mattered by: {names}."
        if self.interrupted:
            last += " The test was interrupted."
        return "\n".join([*lines, last])


def semantic_permutation_test(
    estimator: Any,
    X: Expression,
    y: Labels | None = None,
    *,
    coordinates: ArrayLike | None = None,
    batch: ArrayLike | None = None,
    n_permutations: int = 20,
    n_gaussian: int | None = None,
    n_seeds: int = 2,
    metrics: Sequence[str] | None = None,
    n_jobs: int | None = None,
    random_state: RandomState = None,
    verbose: int = 0,
) -> SemanticTest:
    r"""Test on your own data whether the text of genes mattered to a clustering.

    The estimator is refitted with the real text and with controls, everything else equal: each gene with the text of
    another ("permuted"), Gaussian vectors in place of those of the language model ("gaussian"), and, if the
    estimator can do without, no text ("none").  A replicate is one draw of each control, fitted with `n_seeds` seeds
    of the estimator; real text and controls get the same seeds, so that luck of the start cancels in their difference.

    Parameters
    ----------
    estimator : clusterer
        Any clusterer with the parameters ``text`` (a :class:`~skst.GeneTextEncoder`, or None for the estimator's
        own) and ``random_state``; both are replaced in clones, the estimator itself stays as it is.
    X : AnnData, DataFrame, ndarray or sparse of shape (n_spots, n_genes)
        What ``estimator.fit`` takes.
    y : array-like of shape (n_spots,), default=None
        Known labels for the score "ari"; spots with NaN, None or "NA" do not count.  Never passed to ``fit``.
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
        Positions; by default those of the AnnData.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; by default as the estimator finds it in the AnnData.
    n_permutations : int, default=20
        Replicates with permuted text, each with another permutation.
    n_gaussian : int, default=None
        Replicates with Gaussian vectors; `n_permutations` by default, 0 for none.
    n_seeds : int, default=2
        Seeds of the estimator in each replicate.  "stability" needs two.
    metrics : sequence of {"stability", "coherence", "ari"}, default=None
        Scores; by default all that the input allows.  "stability" is the adjusted Rand index between the labels
        of a replicate's seeds, under one and the same text.  "coherence" is one minus
        :func:`skst.metrics.pas_score` and needs coordinates.  "ari" is the adjusted Rand index against `y`.
    n_jobs : int, default=None
        Fits that run at once, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Draws the seeds of estimator and controls, and the sign flips.
    verbose : int, default=0
        1 shows a progress bar over the fits.

    Returns
    -------
    SemanticTest
        With ``scores``, ``tests`` and ``summary()``.

    Raises
    ------
    ValueError
        If the estimator is no clusterer with a text encoder, the encoder has a control of its own, numbers are out of
        range, a score lacks what it needs, or `y` does not fit `X`.
    KeyboardInterrupt
        If interrupted before the first replicate was complete.

    Warns
    -----
    UserWarning
        If interrupted later: the result then rests on the complete replicates.

    See Also
    --------
    skst.plotting.plot_text_scores : The scores under each text, as a figure.

    Notes
    -----
    **Cost.**  There are ``n_seeds`` fits in each replicate for the real text, for no text, and for each control:
    160 fits by default.  Vectors of texts are read from the cache of the encoder, so that permuted gene vectors cost
    nothing; but in the modes "prompt", "sentence" and "dual" the text of a spot names its genes, and each permutation
    writes new texts that the language model must read.  There the encoder, not the fit, is what takes time.

    **Scores.**  Coherence is measured by PAS, which is bounded, needs no unit of length, and does not mind
    the shape of a domain; a silhouette would call layers bad, and on a lattice CHAOS hardly moves.  A smoother
    partition is more coherent and often more stable without being truer: one domain over the whole tissue is
    perfect in both.  Only "ari" speaks of truth.  Real text is the same in all replicates while a control is drawn
    anew, so labels are compared within replicates alone: between them a control would look unstable only because its
    text changes.

    **Two p-values.**  Let :math:`d_i` be the score of the real text less that of the control in replicate i, each
    the mean over seeds.  ``p`` is the share of sign patterns :math:`s \in \{-1, 1\}^n` with
    :math:`\sum_i s_i d_i \ge \sum_i d_i`: all :math:`2^n` of them for n up to 16, else 9,999 drawn ones and the
    observed one.  It is exact if real text and control can be swapped within a replicate, as when text has no effect
    at all.  The smallest possible value is :math:`2^{-n}`, or 0.0001 for n above 16; ``p_holm`` multiplies it by up
    to the number of tests.

    A small ``p`` says that this text beats the *average* control.  That is not yet a sign of meaning: any one
    assignment of texts, chosen blindly, is a little above or below the average, and enough replicates will show it.
    Where the real text is only one more random draw, 20 replicates reject at 5 % far more often than that.
    ``p_rank`` guards against this: it asks how many draws did as well as the real text under the same seeds, and
    stays below its level for that null.  Its smallest value is :math:`1 / (1 + n)`, so 0.05 needs 19 replicates.

    The verdict "text beats" takes ``p_holm`` of at most 0.05 and ``p_rank`` of at most 0.05 (below 19 replicates: no
    draw as good).  With ``p_holm`` alone it says how many draws did as well.  "text does worse" means that the whole
    interval lies below 0, without correction for many tests.

    **Power.**  With n replicates a mean difference of d of its standard deviations is found by a single
    one-sided 5 % test with probability about :math:`\Phi(d \sqrt n - 1.64)`: 80 % at d = 0.56 for n = 20, and at d =
    0.79 for n = 10.  If Holm's first step is at 0.05 / 9, as with three scores and three controls, 20 replicates
    need d = 0.76.  "No difference seen" is therefore no proof that there is none; look at the interval.

    **What it does not show.**  The test is about this estimator with these settings on these spots.  Spots are not
    resampled: nothing follows for another slice.

    Examples
    --------
    >>> from skst import GeneTextEncoder, SpaLLMFusion
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.inspection import semantic_permutation_test
    >>> adata = make_spatial_domains(150, n_genes=60, n_domains=3, random_state=0)
    >>> text = GeneTextEncoder(model="lexical").set_params(descriptions__detail="symbol")
    >>> model = SpaLLMFusion(text=text, n_clusters=3, clusterer="kmeans")
    >>> result = semantic_permutation_test(model, adata, n_permutations=2, metrics=["coherence"], random_state=0)
    >>> result.tests[["score", "control", "n"]].values.tolist()
    [['coherence', 'permuted', 2], ['coherence', 'gaussian', 2], ['coherence', 'none', 2]]
    >>> float(result.tests["p"].min()) >= 0.25
    True
    """
    text = _text_of(estimator)
    n_gaussian = n_permutations if n_gaussian is None else n_gaussian
    check_scalar(n_seeds, "n_seeds", numbers.Integral, min_val=1)
    wanted = {"permuted": n_permutations, "gaussian": n_gaussian}
    for kind, name in (("permuted", "n_permutations"), ("gaussian", "n_gaussian")):
        check_scalar(wanted[kind], name, numbers.Integral, min_val=0)
    n_replicates = max(wanted.values())
    if n_replicates == 0:
        raise ValueError("n_permutations=0 and n_gaussian=0 leave nothing to compare; ask for replicates of one.")
    X = in_memory(X)  # an open file cannot go to other processes
    spots, _ = read_spots(X, where_of(estimator.get_params(deep=False)), coordinates=coordinates, batch=batch)
    (y,) = match_rows(X, y=y)
    y = None if y is None else column_of(y, "y").to_numpy()
    metrics = _check_metrics(metrics, spots, y, n_seeds)

    rng = check_random_state(random_state)
    seeds = rng.randint(np.iinfo(np.int32).max, size=(n_replicates, n_seeds))
    draws = rng.randint(np.iinfo(np.int32).max, size=n_replicates)
    without = {name: value for name, value in _WITHOUT_TEXT.items() if name in estimator.get_params()}
    wanted = {"real": n_replicates, **wanted, "none": n_replicates if without else 0}
    # Replicate by replicate, so that an interrupted test has whole ones.
    plan = [
        (i, kind, int(seed)) for i in range(n_replicates) for kind in wanted if i < wanted[kind] for seed in seeds[i]
    ]

    keywords = {"coordinates": coordinates, "batch": batch}
    given = {k: v for k, v in keywords.items() if v is not None and has_fit_parameter(estimator, k)}
    fits = (
        delayed(_fit)(_variant(estimator, text, kind, without, int(draws[i]), seed), X, given, y, spots, metrics)
        for i, kind, seed in plan
    )
    done, interrupted = _run(fits, len(plan), n_jobs, verbose)
    if interrupted and len(done) < n_seeds * sum(count > 0 for count in wanted.values()):
        raise KeyboardInterrupt
    scores = _tidy(plan, done, n_seeds, metrics)
    if interrupted:
        warnings.warn(
            f"Interrupted after {len(done)} of {len(plan)} fits, so the result rests on the replicates that were "
            "complete; run the test again with the same random_state for all of them.",
            UserWarning,
            stacklevel=2,
        )
    return SemanticTest(scores, _tests(scores, np.random.default_rng(rng.randint(2**31 - 1))), interrupted)


def _text_of(estimator):
    """The encoder that a fit of `estimator` would use."""
    name = type(estimator).__name__
    if not is_clusterer(estimator):
        raise ValueError(
            f"estimator={name} is no clusterer; pass one that has labels_ after fit, such as SpaLLMFusion."
        )
    parameters = estimator.get_params(deep=False)
    absent = [parameter for parameter in ("text", "random_state") if parameter not in parameters]
    if absent:
        raise ValueError(f"estimator={name} has no parameter {absent[0]!r}; pass one such as SpaLLMFusion.")
    text = parameters["text"]
    if text is None:
        text = estimator.part("text") if hasattr(estimator, "part") else GeneTextEncoder()
    known = text.get_params(deep=False) if hasattr(text, "get_params") else {}
    if not {"control", "random_state"} <= known.keys():
        raise ValueError(f"text={type(text).__name__} has no controls; make the estimator's text a GeneTextEncoder.")
    if known["control"] is not None:
        raise ValueError(f"text has control={known['control']!r}, but the test sets the controls; set it to None.")
    return text


def _check_metrics(metrics, spots, y, n_seeds):
    n_spots = spots.X.shape[0]
    if y is not None:
        score_partition(y, np.zeros(n_spots, dtype=int))  # fails now rather than after the first fit
    needs = {
        "stability": (n_seeds > 1, "n_seeds of at least 2"),
        "coherence": (spots.coordinates is not None, "coordinates"),
        "ari": (y is not None, "known labels y"),
    }
    if metrics is None:
        metrics = [name for name in METRICS if needs[name][0]]
        if not metrics:
            raise ValueError("There is nothing to score by; pass coordinates, y, or n_seeds of at least 2.")
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    if not metrics or not set(metrics) <= set(METRICS):
        raise ValueError(f"metrics={metrics!r} must be some of {METRICS}.")
    for name in metrics:
        if not needs[name][0]:
            raise ValueError(f"metrics holds {name!r}, which needs {needs[name][1]}; pass them or leave it out.")
    return metrics


def _variant(estimator, text, kind, without, draw, seed):
    """An unfitted copy of `estimator` that differs in its text and seed alone."""
    control = kind if kind in ("permuted", "gaussian") else None
    text = clone(text).set_params(control=control, random_state=draw)
    changed = without if kind == "none" else {}
    return clone(estimator).set_params(text=text, random_state=seed, **changed)


def _fit(model, X, given, y, spots, metrics):
    """Labels of a fit as small codes, and their scores; `y` is for scoring alone."""
    model = model.fit(X, **given)
    if getattr(model, "interrupted_", False):  # what a network had learnt by then is no fair comparison
        raise KeyboardInterrupt
    labels = pd.factorize(np.asarray(model.labels_))[0].astype(np.int32)
    scores = {}
    if "coherence" in metrics:
        scores["coherence"] = 1.0 - pas_score(labels, spots.coordinates, batch=spots.batch)
    if "ari" in metrics:
        scores["ari"] = score_partition(y, labels)["ari"]
    return labels, scores


def _run(fits, n_fits, n_jobs, verbose):
    """Results in the order of `fits`, and whether Ctrl-C cut them short."""
    done = []
    with progress_bar(n_fits, "semantic_permutation_test", "fits", shown=verbose) as advance:
        try:
            for result in Parallel(n_jobs=n_jobs, return_as="generator")(fits):
                done.append(result)
                advance()
        except KeyboardInterrupt:
            return done, True
    return done, False


def _tidy(plan, done, n_seeds, metrics):
    rows = []
    # A whole text in a whole replicate takes n_seeds fits that follow each other.
    for start in range(0, len(done) - len(done) % n_seeds, n_seeds):
        part = slice(start, start + n_seeds)
        if "stability" in metrics:
            agreement = agreement_matrix([labels for labels, _ in done[part]])
            others = (agreement.sum(axis=1) - 1) / (n_seeds - 1)
            for (_, scores), value in zip(done[part], others, strict=True):
                scores["stability"] = float(value)
        for (replicate, kind, seed), (_, scores) in zip(plan[part], done[part], strict=True):
            rows += [(kind, replicate, seed, name, scores[name]) for name in metrics]
    return pd.DataFrame(rows, columns=["text", "replicate", "seed", "score", "value"])


def _tests(scores, rng):
    """Every score of the real text against that of every control, replicate by replicate."""
    means = scores.pivot_table(index="replicate", columns=["score", "text"], values="value")
    rows = []
    for score in scores["score"].unique():
        for control in (kind for kind in _NAMES if kind in means[score]):
            pairs = means[score][["real", control]].dropna()
            differences = (pairs["real"] - pairs[control]).to_numpy()
            low, high = mean_interval(differences)
            as_good = int((differences <= 0).sum())
            rows.append(
                {
                    "score": score,
                    "control": control,
                    "n": len(pairs),
                    "real": pairs["real"].mean(),
                    "control_mean": pairs[control].mean(),
                    "difference": differences.mean(),
                    "low": low,
                    "high": high,
                    "p": sign_flip_p(differences, rng),
                    "n_as_good": as_good,
                    "p_rank": np.nan if control == "none" else (1 + as_good) / (1 + len(pairs)),
                }
            )
    tests = pd.DataFrame(rows)
    tests.insert(tests.columns.get_loc("p") + 1, "p_holm", holm(tests["p"]))
    tests["verdict"] = [_verdict(row) for row in tests.itertuples()]
    return tests


def _beats(control):
    return f"text beats {_NAMES[control]}"


def _verdict(row):
    if row.p_holm <= _LEVEL:
        if row.control == "none" or row.n_as_good == 0 or row.p_rank <= _LEVEL:
            return _beats(row.control)
        return f"{_beats(row.control)} on average, but {row.n_as_good} of {row.n} draws did as well"
    return f"text does worse than {_NAMES[row.control]}" if row.high < 0 else "no difference seen"
