"""Parameters, of estimators and of the encoder of text."""

from sklearn.cluster import DBSCAN, KMeans
from sklearn.utils._param_validation import InvalidParameterError

from skst.graph import spatial_graph
from skst.partition import make_clusterer

from .cases import CLUSTERERS, DOMAINS, error, works
from .kit import as_fitted, finite, quick_text, quick_transformer, same

TITLE = "Parameters"
_VALIDATED = {"kind": InvalidParameterError}


def _fit(**parameters):
    return lambda kit: kit.make(**parameters).fit(kit.tissue())


def _wrong(name, value, of=("fusion",), right=None, **more):
    """A value that scikit-learn's validation of parameters refuses."""
    return {
        "match": rf"The '{name.rpartition('__')[2]}' parameter of \w+ must be .*Got .* instead",
        "wrong": _fit(**{name: value}),
        "right": _fit() if right is None else _fit(**{name: right}),
        "of": of,
        **_VALIDATED,
        **more,
    }


def _as_many_as_there_are(kit):
    network = "" if kit.name == "transformer" else "network__"
    genes = "network__n_top_genes" if kit.name == "semst" else "n_top_genes"
    return kit.make(**{f"{network}n_components": 1000, genes: 1_000_000}).fit(kit.tissue())


CASES = [
    error(
        "``n_clusters`` is larger than the number of spots",
        "n_clusters=201 is larger than the 200 spots .*in X; ask for fewer",
        "shows both, before anything is trained.",
        "Ask for fewer.",
        _fit(n_clusters=201),
        _fit(n_clusters=4),
        as_fitted,
        of=CLUSTERERS,
    ),
    error(
        "``n_clusters`` is 0, a float or text",
        does="names the parameter, what it may be, and what was given, in the words of scikit-learn.",
        do="Give a whole number, or ``None`` to have it estimated.",
        **_wrong("n_clusters", 4.0, CLUSTERERS, 4),
    ),
    error(
        "``clusterer=`` is a name that skst does not know",
        r"clusterer='mclust' is not one of \('mixture', 'kmeans', 'leiden', 'louvain'\), nor an estimator",
        "lists the names.",
        "Take one of them, or pass an estimator.",
        _fit(clusterer="mclust"),
        _fit(clusterer="kmeans"),
        as_fitted,
        of=CLUSTERERS,
    ),
    error(
        "``clusterer=`` cannot predict (DBSCAN, agglomerative clustering)",
        does="asks for ``fit`` and ``predict``.",
        do="Take one that predicts; or cluster ``embedding_`` yourself.",
        **_wrong("clusterer", DBSCAN(), CLUSTERERS, KMeans(n_init=10)),
    ),
    error(
        "A clusterer is not told the number of clusters",
        "clusterer=MeanShift has neither n_clusters nor n_components; use a clusterer that is told the number",
        "says what it looks for.",
        "Take one that has ``n_clusters`` or ``n_components``.",
        lambda kit: kit.make(clusterer=_mean_shift()).fit(kit.tissue()),
        _fit(clusterer=KMeans(n_init=10)),
        finite,
        kind=TypeError,
        of=DOMAINS,
    ),
    error(
        "``graph=`` is no graph and no key of ``obsp``",
        does="lists the graphs.",
        do="Take one of them, or a key.",
        **_wrong("graph", "voronoi", ("transformer", "semst", "stllm"), "knn")
        | {"kind": ValueError, "match": r"graph='voronoi' is none of \('knn', .*and X has no obsp\['voronoi'\]"},
    ),
    error(
        "``kind=`` of :func:`~skst.graph.spatial_graph` is unknown",
        r"graph='voronoi' is not one of \('knn', 'radius', 'delaunay'\)",
        "lists the graphs.",
        "Take one of them.",
        lambda kit: spatial_graph(kit.places(), kind="voronoi"),
        lambda kit: spatial_graph(kit.places(), kind="delaunay"),
    ),
    error(
        "``method=`` of :class:`~skst.SpatialGraphTransformer` is unknown",
        does="lists the methods.",
        do="Take one of them, or an encoder of :mod:`skst.embedding.encoders`.",
        **_wrong("method", "pca", ("transformer",), "smooth"),
    ),
    error(
        "``strategy=`` is unknown",
        does="lists the strategies.",
        do="Take one of them.",
        **_wrong("strategy", "sum", right="weighted"),
    ),
    error(
        "A weight is negative (``alpha=-1``)",
        does="shows the range.",
        do="Give 0 or more.",
        **_wrong("alpha", -1, ("fusion", "stllm"), 1.0),
    ),
    error(
        "``graph__radius`` is negative or 0",
        does="shows the range.",
        do="Give a positive distance in units of the coordinates.",
        **_wrong("graph__radius", -1, ("transformer", "semst", "stllm"), 120.0),
    ),
    error(
        "``text=`` is the name of a model, not an encoder",
        does="asks for an encoder.",
        do="``text=GeneTextEncoder(model=...)``.",
        **_wrong("text", "lexical", CLUSTERERS, quick_text()),
    ),
    error(
        "``text=`` of :class:`~skst.STLLMClusterer` is another transformer",
        does="asks for a GeneTextEncoder.",
        do="``text=GeneTextEncoder(...)``.",
        **_wrong("text", quick_transformer(), ("stllm",), quick_text()),
    ),
    error(
        "``network__callbacks=`` is no list",
        does="asks for a list.",
        do="``network__callbacks=[callback]``.",
        **_wrong("network__callbacks", "early stopping", ("semst", "llmdsc"), []),
    ),
    error(
        "``graph__n_neighbors`` is 0",
        does="shows the range.",
        do="Give 1 or more; for no neighbours leave coordinates out.",
        **_wrong("graph__n_neighbors", 0, ("transformer", "semst", "stllm"), 6),
    ),
    error(
        "``network=`` is a dict",
        r"The 'network' parameter of \w+ must be an instance of .*\w+Network.*Got \{'lr': 0.001\} instead",
        "names the class that holds such settings, in the words of scikit-learn.",
        "Pass such an object, or ``set_params(network__lr=...)``.",
        lambda kit: type(kit.make())(4, network={"lr": 1e-3}).fit(kit.tissue()),
        _fit(network__lr=1e-3),
        as_fitted,
        of=("semst", "llmdsc"),
        **_VALIDATED,
    ),
    error(
        "A setting of a part is given to the estimator (``SemSTClusterer(lr=0.001)``)",
        "unexpected keyword argument 'lr'",
        "names the argument that there is not, in the words of Python.",
        "``set_params(network__lr=0.001)``; the :doc:`settings` are in groups.",
        lambda kit: type(kit.make())(4, lr=1e-3),
        _fit(network__lr=1e-3),
        as_fitted,
        of=("semst", "llmdsc"),
        kind=TypeError,
        ours=False,
    ),
    error(
        "``network__batch_size``, ``network__max_epochs`` or ``network__lr`` is 0",
        does="shows the range.",
        do="Give a positive number.",
        **_wrong("network__max_epochs", 0, ("semst", "llmdsc"), 2),
    ),
    error(
        "``network__device=`` is no device, or one that this machine lacks",
        'device=\'nowhere\' is no device that torch has here; use "auto" or "cpu"',
        "says so before anything is trained.",
        '``network__device="auto"``.',
        _fit(network__device="nowhere"),
        _fit(network__device="auto"),
        as_fitted,
        of=("semst", "llmdsc"),
    ),
    error(
        "``narration__levels=`` names a level that there is not",
        r"levels hold 'cell', which is not one of \('spot', 'neighborhood', 'region'\)",
        "lists the levels.",
        "Take some of them.",
        _fit(narration__levels=("spot", "cell")),
        _fit(narration__levels=("spot", "region")),
        finite,
        of=("stllm",),
    ),
    error(
        "``alpha=0`` and no text: nothing is left to partition",
        "alpha=0 leaves text alone, of which there is none; pass gene names, levels and beta above 0",
        "says what text would need.",
        "Give ``narration__levels`` and names of genes, or ``alpha`` above 0.",
        _fit(alpha=0, narration__levels=()),
        _fit(alpha=1.0, narration__levels=()),
        finite,
        of=("stllm",),
    ),
    error(
        "``semantic=`` with ``normalize=False``",
        "semantic is given with normalize=False or use_rep=, but modulation is trained to explain raw counts; pass raw",
        "says what modulation needs.",
        "Pass raw counts with ``normalize=True``, or no ``semantic``.",
        _fit(semantic=quick_text(mode="prompt", k_g=5), normalize=False),
        _fit(normalize=False),
        finite,
        of=("transformer",),
    ),
    error(
        "``mode=``, ``weighting=``, ``control=`` or ``descriptions__detail=`` of the encoder is unknown",
        does="lists the choices.",
        do="Take one of them.",
        **_wrong("mode", "mean", ("text",), "aggregate"),
    ),
    error(
        "``k_g=`` of the encoder is 0 or a float",
        does="says what it may be.",
        do="Give a whole number, or a rule.",
        **_wrong("k_g", 2.5, ("text",), 2),
    ),
    error(
        "``omega=`` of the encoder is beyond 1",
        does="shows the range.",
        do="Give a share from 0 to 1.",
        **_wrong("omega", 2, ("text",), 0.5),
    ),
    error(
        '``normalize=`` of the encoder is text (``"no"``, which would count as true)',
        does="asks for one of two.",
        do="``normalize=False``.",
        **_wrong("normalize", "no", ("text",), False),
    ),
    error(
        "``model__cache=`` of the encoder is no directory",
        does="says what it may be.",
        do="``True``, ``False``, or a path.",
        **_wrong("model__cache", 3, ("text",), False),
    ),
    error(
        "``n_top_genes=`` is empty or holds text",
        r"n_top_genes=\(\) is not a positive integer, nor a sequence of these",
        "says what it may be.",
        "Give whole numbers.",
        _fit(n_top_genes=()),
        _fit(n_top_genes=(40, 80)),
        as_fitted,
        of=("llmdsc",),
    ),
    works(
        "``n_components`` or ``n_top_genes`` is larger than X",
        "as many as there are are taken.",
        "Nothing.",
        _as_many_as_there_are,
        finite,
        of=("transformer", "semst", "llmdsc"),
    ),
    works(
        "``n_vote_neighbors`` is larger than the tissue",
        "all spots vote, and no domain disappears.",
        "Lower it where domains are small.",
        _fit(n_vote_neighbors=1000),
        finite,
    ),
    error(
        "The name of a clusterer in :func:`~skst.partition.make_clusterer` is unknown",
        r"clusterer='ward' is not one of \('mixture', 'kmeans', 'leiden', 'louvain'\)",
        "lists the names.",
        "Take one of them.",
        lambda kit: make_clusterer("ward", 4),
        lambda kit: (make_clusterer("kmeans", 4).n_clusters, 4),
        same,
    ),
]


def _mean_shift():
    from sklearn.cluster import MeanShift

    return MeanShift()
