"""Fixtures that several test modules share."""

import json
import socket
import sys
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from llmdsc_fits import quick_llmdsc
from rehearsing import Rehearser
from remembered import remembered
from semst_fits import quick_semst
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from stllm_fits import quick_stllm

from skst.datasets import make_spatial_domains
from skst.embedding import sliced
from skst.expression import pooling
from skst.files import rehearsal
from skst.genes import descriptions, load_marker_descriptions
from skst.graph import SpatialGraphLearner, build
from skst.text import LexicalBackend, asking

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(scope="session", autouse=True)
def _loopback_only():
    """Fail a test that reaches for the network; servers of its own are fine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            pytest.fail(f"a test connects to {address[0]}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


_HASHED = {}
_hash_texts = LexicalBackend.encode


@pytest.fixture(scope="session", autouse=True)
def _texts_are_hashed_once():
    """Keep the vector of a text, which depends on nothing else: hashing is half of the time of a quick fit."""

    def encode(self, texts):
        known = _HASHED.setdefault(self.n_components, {})
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, _hash_texts(self, new), strict=True))
        return np.array([known[text] for text in texts], dtype=np.float32).reshape(-1, self.n_components)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LexicalBackend, "encode", encode)
        yield


@pytest.fixture(scope="session", autouse=True)
def _signatures_are_read_once():
    """Keep the names of a class's parameters: to inspect them anew, as scikit-learn does, is a tenth of a quick fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseEstimator, "_get_param_names", classmethod(cache(BaseEstimator._get_param_names.__func__)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _graphs_are_surveyed_once():
    """Keep the neighbours of points and the reach of averages, of which nothing is drawn: tissues are fitted often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "nearest_neighbors", remembered(build.nearest_neighbors))
        for module in (pooling, sliced):
            patch.setattr(module, "reach_of", remembered(module.reach_of))
        yield


@pytest.fixture(scope="session", autouse=True)
def _markers_are_read_once():
    """Keep the marker table of the package, which each fit without a data home reads."""
    read, path = descriptions._read_table, descriptions._MARKERS
    markers = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptions, "_read_table", lambda asked: markers.copy() if asked == path else read(asked))
        yield


@pytest.fixture(scope="session", autouse=True)
def _rehearsals_are_forked():
    """Have forks of one process read files beforehand; to start a program for each is most of reading a small one."""
    rehearser = Rehearser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "_words_of", rehearser.words_of)
        yield
    rehearser.end()


@pytest.fixture
def largest_tensor():
    """Makes contexts whose ``numel`` is the size of the largest tensor made within; stored entries, where sparse."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            tensors = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
            self.numel = max([self.numel, *(t.numel() if t.layout == torch.strided else t._nnz() for t in tensors)])
            return out

    return Largest


@pytest.fixture
def epoch_watch():
    """Makes callbacks that note losses of epochs and sizes of batches, anew each time that training begins.

    Told `most`, one stops training after so many epochs.
    """
    from skorch.callbacks import Callback

    class Watch(Callback):
        def __init__(self, most=None):
            self.most = most

        def initialize(self):
            self.epochs_, self.batches_ = [], []
            return self

        def on_batch_end(self, net, batch=None, **kwargs):
            self.batches_.append(batch[0].n_core)

        def on_epoch_end(self, net, **kwargs):
            self.epochs_.append(net.history[-1, "train_loss"])
            if len(self.epochs_) == self.most:
                raise KeyboardInterrupt

    return Watch


@pytest.fixture
def bare_home(nowhere, monkeypatch):
    """A data home with nothing in it: genes are described by the marker table of the package."""
    monkeypatch.setenv("SKST_DATA_HOME", str(nowhere / "empty"))


@pytest.fixture(scope="session")
def _tissue():
    return make_spatial_domains(400, n_genes=120, n_domains=4, random_state=0)


@pytest.fixture
def tissue(_tissue, bare_home):
    """One slice of 400 spots in 4 layers, 120 genes; deep enough to be easy."""
    return _tissue.copy()


@pytest.fixture(scope="session")
def _slices():
    return make_spatial_domains(450, n_genes=90, n_domains=3, n_slices=3, depth=900, random_state=0)


@pytest.fixture
def slices(_slices, bare_home):
    """Three slices of 150 spots in 3 layers, 90 genes, named in ``obs["batch"]``; rows in random order."""
    return _slices[np.random.default_rng(0).permutation(_slices.n_obs)].copy()


@pytest.fixture(scope="session")
def _few():
    return make_spatial_domains(200, n_genes=60, n_domains=4, depth=600, effect=3, random_state=0)


@pytest.fixture
def small(_few, bare_home):
    """One slice of 200 spots in 4 layers, 60 genes; for what is about anything but the domains."""
    return _few.copy()


@pytest.fixture
def counts(bare_home):
    """60 cells in 3 groups of 20 marker genes, one cell and one gene empty."""
    rng = np.random.default_rng(0)
    genes = load_marker_descriptions("mouse")["symbol"].iloc[10:30].to_numpy(dtype=object)
    rates = rng.gamma(1, 3, size=(3, 20))[np.arange(60) % 3]
    X = rng.poisson(rates).astype(np.float32)
    X[7], X[:, 4] = 0, 0
    return X, genes


@pytest.fixture(scope="session")
def _cells():
    # Expression alone tells the types: no zeros but those of counting.
    plain = {"depth": 1500, "dispersion": 0.1, "zero_inflation": 0.0, "effect": 3}
    adata = make_spatial_domains(300, n_genes=120, n_domains=4, random_state=0, **plain)
    del adata.obsm["spatial"]
    return adata


@pytest.fixture
def cells(_cells, bare_home):
    """300 cells of 4 types that are easy to tell, 120 genes, no coordinates."""
    return _cells.copy()


# Quick fits that many tests look at and leave as they are.


@pytest.fixture(scope="session")
def _fitted():
    return {}


@pytest.fixture
def quickly(cells, _fitted):
    """Fits the quick LLMDSCClusterer to the cells, once for all tests."""

    def fit(batch_size="auto"):
        if batch_size not in _fitted:
            _fitted[batch_size] = quick_llmdsc(network__batch_size=batch_size).fit(cells)
        return _fitted[batch_size]

    return fit


@pytest.fixture
def semst(tissue, _fitted):
    """The quick SemSTClusterer, fitted to the tissue once for all tests."""
    if "semst" not in _fitted:
        _fitted["semst"] = quick_semst().fit(tissue)
    return _fitted["semst"]


@pytest.fixture
def stllm(layers, _fitted):
    """The quick STLLMClusterer, fitted to the layers once for all tests."""
    if "stllm" not in _fitted:
        _fitted["stllm"] = quick_stllm().fit(layers)
    return _fitted["stllm"]


@pytest.fixture
def learner():
    """A learner of graphs that is not fitted."""
    return SpatialGraphLearner(random_state=0)


@pytest.fixture(scope="session")
def deep():
    """600 cells of 4 types in 5 layers that share them in different proportions."""
    return make_spatial_domains(600, n_cell_types=4, depth=1000, effect=3, random_state=0)


@pytest.fixture(scope="session")
def learnt(deep):
    """A learner as fitted to the deep cells, which tests leave as it is."""
    return SpatialGraphLearner(random_state=0).fit(deep.X, deep.obsm["spatial"])


@pytest.fixture(scope="session")
def _layers():
    return make_spatial_domains(240, n_genes=80, n_domains=3, random_state=0)


@pytest.fixture
def layers(_layers, bare_home):
    """One slice of 240 spots in 3 layers, 80 genes."""
    return _layers.copy()


class Server:
    """An endpoint of embeddings and chats; `script` holds what it does instead of answering well, an entry a request.

    The vector of a text is its length and its first letter.
    """

    def __init__(self):
        self.requests, self.script = [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                status, headers, content, wait = server.answer(body)
                time.sleep(wait)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client has given up waiting

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def answer(self, body):
        step = self.script.pop(0) if self.script else {}
        said = step["says"] if "says" in step else "not asked in words"
        well = self.embed(body["input"]) if "input" in body else {"choices": [{"message": {"content": said}}]}
        content = step.get("content", well)
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        return step.get("status", 200), step.get("headers", {}), content, step.get("wait", 0)

    @staticmethod
    def embed(texts):
        items = [{"index": i, "embedding": [float(len(text)), float(ord(text[0]))]} for i, text in enumerate(texts)]
        return {"data": items[::-1]}


@pytest.fixture
def server(monkeypatch):
    """An endpoint on this machine, without the waits between attempts."""
    pytest.importorskip("requests")
    monkeypatch.setattr(asking, "_FIRST_WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def simple_harmony(monkeypatch):
    """In place of Harmony: slices moved to one mean, and clusters of the result."""

    def run_harmony(values, told, key, **settings):
        codes = np.unique(told[key], return_inverse=True)[1]
        means = np.stack([values[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
        corrected = values - means[codes] + means.mean(axis=0)
        found = KMeans(8, n_init=1, random_state=settings["random_state"] % 2**31).fit(corrected)
        return SimpleNamespace(R=np.eye(8)[found.labels_], Z_corr=corrected)

    monkeypatch.setitem(sys.modules, "harmonypy", SimpleNamespace(run_harmony=run_harmony))
