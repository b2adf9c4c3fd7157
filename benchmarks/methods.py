"""What is compared: the registries of methods, and everywhere that a benchmark constructs an estimator."""

from functools import partial

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skst import GeneTextEncoder, LLMDSCClusterer, SemSTClusterer, SpaLLMFusion, SpatialGraphTransformer, STLLMClusterer
from skst.expression.views import VIEWS
from skst.partition import ConsensusMixture, GraphCommunities
from skst.settings import Narration
from skst.text import TextModel

# Prompts of spots that SemSTClusterer reads in its ablations, and sentences of cells; others' vectors are predicted.
N_PROMPTS, N_SENTENCES = 500, 300
NETWORKS = ("stagate", "graphst", "spaceflow", "stcluster")
ENCODERS = ("smooth", *NETWORKS)
# Plain clusterers, the best or likeliest of ten starts; a mixture has one covariance.
KMEANS = partial(KMeans, n_init=10)
MIXTURE = partial(GaussianMixture, covariance_type="tied", n_init=10)
# What reads texts wherever they are scored: the same digits on all processors, whatever they read in by default.
EXACT = TextModel(dtype="float32")


def text_encoder(seed, **parameters):
    """GeneTextEncoder with its defaults but for what is named, which reads in float32."""
    return GeneTextEncoder(model=clone(EXACT), random_state=seed).set_params(**parameters)


def reader(seed, **parameters):
    """The same; what is read stays the same, to save the reading, but controls draw anew for each seed."""
    drawn = parameters.get("control") in ("permuted", "gaussian")
    return text_encoder(seed if drawn else 0, **parameters)


def exact(model):
    """An estimator whose text is read in float32."""
    return model.set_params(text__model__dtype=EXACT.dtype)


def fusion(k, seed, normalize=True, *, text=None, **parameters):
    """SpaLLMFusion with its defaults but for what is named; `text` holds parameters of GeneTextEncoder."""
    if not normalize:
        parameters["spatial"] = SpatialGraphTransformer(normalize=False)
        text = {"normalize": False, **(text or {})}
    if text is not None:
        parameters["text"] = text_encoder(seed, **text)
    return exact(SpaLLMFusion(n_clusters=k, random_state=seed, **parameters))


def published_sum(k, seed, normalize=True, **parameters):
    """SpaLLMFusion on one embedding, as in the paper."""
    if normalize:
        parameters["spatial"] = SpatialGraphTransformer()
    return fusion(k, seed, normalize, **parameters)


def smooth(k, seed, normalize=True, *, clusterer):
    """The plain floor: `clusterer` on expression averaged over spatial neighbours."""
    spatial = SpatialGraphTransformer(normalize=normalize, random_state=seed)
    return make_pipeline(spatial, clusterer(k, random_state=seed))


def one_view(k, seed, normalize=True, *, view):
    """The consensus on one of the embeddings that the default looks at; nobody votes."""
    spatial = SpatialGraphTransformer("views", normalize=normalize, random_state=seed)
    columns = FunctionTransformer(lambda views: np.split(views, len(VIEWS), axis=1)[view])
    return make_pipeline(spatial, columns, ConsensusMixture(k, random_state=seed))


def usual(k, seed, normalize=True, *, clusterer):
    """The usual single-cell pipeline, without space: log-normalised, scaled, variable genes, PCA, then `clusterer`."""
    genes = FunctionTransformer(partial(scaled_genes, normalize=normalize))
    return make_pipeline(genes, PCA(30, random_state=seed), clusterer(k, random_state=seed))


def scaled_genes(adata, *, n_top_genes=2000, normalize=True):
    """z-scores, at most 10, of the log-normalised expression of the most variable genes.

    Genes are chosen by dispersion among genes of like mean, the usual way: by variance alone, a tissue of few
    strong genes (pancreas) is lost.
    """
    X = adata.X[:, adata.X.getnnz(axis=0) >= 3].toarray()
    if normalize:
        X = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e4)
    if X.shape[1] > n_top_genes:
        X = X[:, np.sort(np.argsort(-relative_dispersion(np.expm1(X)), kind="stable")[:n_top_genes])]
    return np.minimum(StandardScaler().fit_transform(X), 10)


def relative_dispersion(X, n_bins=20):
    """Log of variance over mean of each gene, standardised among the genes in the same of `n_bins` bins of log mean.

    A gene alone in its bin, whose spread is unknown, gets 1.
    """
    mean = X.mean(axis=0, dtype=np.float64)
    dispersion = pd.Series(np.log(X.var(axis=0, dtype=np.float64, ddof=1) / mean))
    bins = dispersion.groupby(pd.cut(np.log1p(mean), n_bins, labels=False))
    return ((dispersion - bins.transform("mean")) / bins.transform("std")).fillna(1).to_numpy()


def semst(k, seed, normalize=True, **parameters):
    """SemSTClusterer with its defaults but for what is named."""
    return exact(SemSTClusterer(k, random_state=seed)).set_params(**parameters)


def semst_ablated(k, seed, normalize=True, *, text=None, **parameters):
    """`text` holds parameters of the encoder, which reads fewer prompts."""
    text = {"mode": "prompt", "max_texts": N_PROMPTS, **(text or {})}
    if text["mode"] == "aggregate":
        del text["max_texts"]
    return SemSTClusterer(k, random_state=seed, text=reader(seed, **text)).set_params(**parameters)


def semst_paper(k, seed, callbacks):
    """One network of the published settings."""
    text = reader(seed, mode="prompt", max_texts=N_PROMPTS)
    return SemSTClusterer.paper(k, text=text, random_state=seed, network__callbacks=callbacks)


def semst_network(k, *, paper, text, max_epochs):
    """One network for so many epochs, for its cost."""
    model = SemSTClusterer.paper(k) if paper else SemSTClusterer(k)
    network = {"n_networks": 1, "max_epochs": max_epochs, "patience": None, "device": "cpu"}
    return model.set_params(text=text, random_state=0, **{f"network__{name}": value for name, value in network.items()})


def on_encoder(k, seed, normalize=True, *, encoder="smooth", prompts=None, **parameters):
    """SpaLLMFusion after one encoder, into which FSM is plugged if `prompts` holds parameters of what it reads."""
    semantic = None
    if prompts is not None:
        semantic = text_encoder(seed, mode="prompt", max_texts=N_PROMPTS, **prompts)
    return fusion(k, seed, spatial=SpatialGraphTransformer(encoder, semantic=semantic), **parameters)


def llmdsc(k, seed, normalize=True, *, text=None, paper=False, **parameters):
    """LLMDSCClusterer with no text, or with that of an encoder of which `text` holds parameters."""
    model = LLMDSCClusterer.paper(k) if paper else LLMDSCClusterer(k)
    if text is None:
        parameters["align_to"] = None
    else:
        text = {"mode": "dual", "k_g": 60, "max_texts": N_SENTENCES, **text}
        parameters["text"] = reader(seed, normalize=normalize, **text)
    return model.set_params(random_state=seed, normalize=normalize, **parameters)


def llmdsc_default(k, seed, normalize=True):
    """LLMDSCClusterer as it comes."""
    return exact(LLMDSCClusterer(k, random_state=seed, normalize=normalize))


def on_device(k, seed, device, *, make, mode):
    """SemSTClusterer or LLMDSCClusterer, trained there; texts are compared by their words, which no network reads."""
    text = GeneTextEncoder(model="lexical", mode=mode)
    return make(k).set_params(random_state=seed, text=text, network__device=device)


def encoder_on_device(k, seed, device, *, method):
    """The consensus on what one encoder, trained there, makes of tissue."""
    network = type(SpatialGraphTransformer.paper(method).method)(device=device)
    spatial = SpatialGraphTransformer(network, random_state=seed)
    return make_pipeline(spatial, ConsensusMixture(k, random_state=seed))


def stllm(k, seed, normalize=True, *, control=None, **parameters):
    """STLLMClusterer with its defaults but for what is named; a control is drawn anew for each seed."""
    text = None if control is None else text_encoder(seed, control=control)
    return exact(STLLMClusterer(k, random_state=seed, text=text)).set_params(**parameters)


def graph_encoder(method, seed=0, *, paper=False, max_epochs=None):
    """One encoder of SpatialGraphTransformer, and how many epochs a full training has if `max_epochs` cuts it short."""
    if max_epochs is None:
        return SpatialGraphTransformer(method, random_state=seed), None
    from skst.embedding.encoders.base import STEPS

    model = SpatialGraphTransformer.paper(method, random_state=seed)
    if not paper:
        model = SpatialGraphTransformer(type(model.method)(), random_state=seed)
    full = model.method.max_epochs
    model.method.set_params(max_epochs=max_epochs)
    # All spots of each tissue make one batch, so that an epoch is a step.
    return model, STEPS if full == "auto" else full


# Name -> factory(k, seed, normalize) of an unfitted estimator with fit_predict(adata).
METHODS = {
    "SpaLLMFusion": fusion,
    "expression": partial(fusion, strategy="expression"),
    "functional": partial(fusion, strategy="functional"),
    "concat": partial(fusion, strategy="concat"),
    "as published": partial(published_sum, alpha=0.5, beta=0.5, align="none", text={"weighting": "abundance"}),
    "text permuted": partial(fusion, text={"control": "permuted"}),
    "text Gaussian": partial(fusion, text={"control": "gaussian"}),
    "smooth + k-means": partial(smooth, clusterer=KMEANS),
    "PCA + k-means": partial(usual, clusterer=KMEANS),
}
# What text has to be better than.
CONTROLS = ("expression", "text permuted", "text Gaussian")
# As counts are lost.
QUALITY = {name: METHODS[name] for name in ("SpaLLMFusion", *CONTROLS)}
QUALITY |= {"SemSTClusterer": semst, "SemST, no text": partial(semst, fusion=None)}
# What each part of the partition of expression is worth; after the first two nobody votes.
CONSENSUS = {
    "expression": METHODS["expression"],
    "one view, vote": partial(fusion, strategy="expression", spatial=SpatialGraphTransformer()),
    "no vote": partial(fusion, strategy="expression", n_vote_neighbors=0),
    "as it is": partial(one_view, view=0),
    "equal noise": partial(one_view, view=1),
    "equal noise, one hop": partial(one_view, view=2),
    "one mixture": partial(smooth, clusterer=MIXTURE),
    "k-means": METHODS["smooth + k-means"],
}
# From cells to domains, by the share of the surroundings in distances.
IN_PLACE = {
    f"spatial_weight {share}": partial(
        fusion, strategy="expression", spatial=SpatialGraphTransformer("views", spatial_weight=share)
    )
    for share in (0.0, 0.2, 0.5, 0.8, 1.0)
} | {"LLMDSCClusterer": llmdsc_default}
# The tables of single estimators, each by method.
SEMST = {
    "Domains": {
        "SemSTClusterer": semst,
        "expression": METHODS["expression"],
        "smooth + mixture": partial(smooth, clusterer=MIXTURE),
        "smooth + k-means": METHODS["smooth + k-means"],
    },
    "Fusion": {
        "FSM": semst_ablated,
        "concat": partial(semst_ablated, fusion="concat"),
        "add": partial(semst_ablated, fusion="add"),
        "cross-attention": partial(semst_ablated, fusion="cross_attention"),
        "none": partial(semst_ablated, fusion=None),
        "FSM, no price": partial(semst_ablated, losses__text=0.0),
    },
    "Text": {
        "FSM": semst_ablated,
        "permuted": partial(semst_ablated, text={"control": "permuted"}),
        "unrelated": partial(semst_ablated, text={"control": "unrelated"}),
        "Gaussian": partial(semst_ablated, text={"control": "gaussian"}),
        "summaries": partial(semst_ablated, text={"mode": "aggregate"}),
        "none": partial(semst_ablated, fusion=None),
    },
    "Start": {
        "FSM": semst_ablated,
        "averaged": partial(semst_ablated, network__start="averaged"),
        "random": partial(semst_ablated, network__start="random"),
        "zero-inflated": partial(semst_ablated, network__zero_inflation=True),
    },
    "k_g": {f"k_g {k_g}": partial(semst_ablated, text={"k_g": k_g}) for k_g in (5, 10, 20, 30, 50, "entropy", "mass")},
    "Plugged in": {
        "smooth": partial(on_encoder, strategy="expression"),
        "smooth + FSM": partial(on_encoder, strategy="expression", prompts={}),
        "smooth + FSM, permuted": partial(on_encoder, strategy="expression", prompts={"control": "permuted"}),
        "smooth + FSM, Gaussian": partial(on_encoder, strategy="expression", prompts={"control": "gaussian"}),
    },
}
LLMDSC = {
    "Cell types": {
        "LLMDSCClusterer": llmdsc_default,
        "no text": llmdsc,
        "PCA + k-means": METHODS["PCA + k-means"],
        "PCA + Leiden": partial(usual, clusterer=GraphCommunities),
        "PCA + mixture": partial(usual, clusterer=MIXTURE),
    },
    "Text": {
        "dual": partial(llmdsc, text={}),
        "permuted": partial(llmdsc, text={"control": "permuted"}),
        "Gaussian": partial(llmdsc, text={"control": "gaussian"}),
        "lexical": partial(llmdsc, text={"model": "lexical"}),
        "no text": llmdsc,
    },
    "Ablations": {
        "no text": llmdsc,
        "w/o NCut": partial(llmdsc, losses__cut=0.0),
        "w/o MSE": partial(llmdsc, losses__mse=0.0),
        "w/o KL": partial(llmdsc, losses__kl=0.0),
        "MSE alone": partial(llmdsc, losses__cut=0.0, losses__kl=0.0),
    },
    "Alignment": {
        "dual": partial(llmdsc, text={}),
        "half text": partial(llmdsc, text={}, text_weight=0.5),
        "shared, half text": partial(llmdsc, text={}, text_weight=0.5, align_to="shared"),
        "paper": partial(llmdsc, text={}, paper=True),
    },
    "omega": {
        f"omega {omega}": partial(llmdsc, text={"omega": omega}, text_weight=0.5)
        for omega in (0.0, 0.25, 0.5, 0.75, 1.0)
    },
}
# What costs next to nothing to read, so that each seed can have a graph, and with it texts, of its own.
_SHORT = {"narration__levels": ["spot", "region"], "narration__spot_text": "compose"}
STLLM = {
    "Domains": {
        "STLLMClusterer": stllm,
        "no text": partial(stllm, narration__levels=[]),
        "expression": METHODS["expression"],
        "SpaLLMFusion": METHODS["SpaLLMFusion"],
        "SemSTClusterer": semst,
    },
    "Graph": {
        "no text": partial(stllm, narration__levels=[]),
        "learned, no text": partial(stllm, narration__levels=[], graph="learned"),
        "composed spots, regions": partial(stllm, **_SHORT),
        "learned, composed spots, regions": partial(stllm, **_SHORT, graph="learned"),
    },
    "Levels": {
        "STLLMClusterer": stllm,
        **{
            f"w/o {level}": partial(stllm, narration__levels=[other for other in Narration.LEVELS if other != level])
            for level in Narration.LEVELS
        },
        "composed spots": partial(stllm, narration__spot_text="compose"),
    },
    "Words": {
        "STLLMClusterer": stllm,
        "permuted": partial(stllm, control="permuted"),
        "nonsense": partial(stllm, control="unrelated"),
        "Gaussian": partial(stllm, control="gaussian"),
        "no text": partial(stllm, narration__levels=[]),
    },
    "Text alone": {
        "text alone": partial(stllm, alpha=0.0),
        "composed": partial(stllm, alpha=0.0, narration__spot_text="compose"),
        "permuted, alone": partial(stllm, alpha=0.0, control="permuted"),
        "nonsense, alone": partial(stllm, alpha=0.0, control="unrelated"),
        "Gaussian, alone": partial(stllm, alpha=0.0, control="gaussian"),
    },
}
# What follows the encoder in SpaLLM's study: parameters of SpaLLMFusion and of its text.
VARIANTS = {
    "expression": {"strategy": "expression"},
    "SpaLLM": {},
    "permuted": {"text": {"control": "permuted"}},
    "Gaussian": {"text": {"control": "gaussian"}},
    "as published": {"align": "none", "alpha": 0.5, "beta": 0.5, "text": {"weighting": "abundance"}},
}
# Table 5 of the paper, for one encoder on two tissues.
STRATEGIES = {"concat": {"strategy": "concat"}, "functional": {"strategy": "functional"}}
# Table 3 of SemST, at full quality: text modulates the embedding instead of being added to it.
PLUGGED = {"FSM": {"strategy": "expression", "prompts": {"random_state": 0}}}
# What trains a network: factory(k, seed, device), and whether it is of cells.
TRAINED = {
    "SemSTClusterer.paper": (partial(on_device, make=SemSTClusterer.paper, mode="prompt"), False),
    "SemSTClusterer": (partial(on_device, make=SemSTClusterer, mode="prompt"), False),
    **{name: (partial(encoder_on_device, method=name), False) for name in NETWORKS},
    "LLMDSCClusterer": (partial(on_device, make=LLMDSCClusterer, mode="dual"), True),
    "LLMDSCClusterer.paper": (partial(on_device, make=LLMDSCClusterer.paper, mode="dual"), True),
}
# Methods that need no text vectors, so none are made for them.
TEXT_FREE = {"smooth + k-means", "PCA + k-means", *CONSENSUS, *list(IN_PLACE)[:-1]}


def factories(tables):
    """All methods of some tables, each once though several tables show it."""
    return {name: factory for table in tables.values() for name, factory in table.items()}
