"""Seconds of an epoch and texts a second on a GPU, beside the CPU of the same machine."""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import measured

# Of the networks that are timed, as the estimators have them for tissue of some hundred genes and for cells.
N_GENES, N_COLUMNS, N_NEIGHBORS, N_EXPRESSION_NEIGHBORS = 200, 20, 6, 15
N_AXES, N_CUT_GENES, N_COUNTS = 50, 1000, 100
# More cells have fewer epochs.
MANY = 100_000
# Width, width within layers, and layers.
MINILM, QWEN = "all-MiniLM-L6", "Qwen3-4B"
SHAPES = {MINILM: (384, 1536, 6), QWEN: (2560, 9728, 36)}
QWEN_HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
# Words, each a token, of a text: about as many as a prompt of 60 genes has.  Texts that are read at once.
WORDS = [f"w{number}" for number in range(1000)]
N_WORDS, BATCH = 120, 64


def device_name(device):
    """What it is called."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def peak_gpu_mib(device):
    """Most memory of the device that tensors had, in MiB; not a number for the CPU."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20) if device.startswith("cuda") else np.nan


def epochs_of_spots(run):
    """Seconds of an epoch of the default network of SemSTClusterer."""
    from sklearn.neighbors import kneighbors_graph

    from skst import limits
    from skst.graph import averaging_operator
    from skst.nn.batches import tiles
    from skst.nn.ensemble import NetworkEnsemble
    from skst.nn.training import SpotBatches

    n, device = run.names["size"], run.names["device"]
    rng = np.random.default_rng(0)
    places = rng.random((n, 2))
    # Neighbours in expression lie all over the tissue.
    operators = [
        averaging_operator(kneighbors_graph(points, k))
        for points, k in ((places, N_NEIGHBORS), (rng.random((n, 2)), 15))
    ]
    columns = [rng.standard_normal((n, N_COLUMNS), dtype=np.float32)] * 2
    batches = SpotBatches(
        columns,
        columns,
        operators,
        rng.standard_normal((n, 64), dtype=np.float32),
        counts=rng.poisson(0.3, (n, N_GENES)).astype(np.float32),
        sizes=np.full(n, 60.0),
        tiles=tiles(places, limits.TILE_SIZE) if n > limits.MAX_FULL_BATCH else None,
        random_state=np.random.RandomState(0),
    )
    shape = {"n_features": N_COLUMNS, "n_hidden": 128, "n_components": N_COLUMNS, "n_semantic": 64, "n_genes": N_GENES}
    loadings, log_rates = np.zeros((N_GENES, N_COLUMNS), np.float32), np.full(N_GENES, -5.0, np.float32)
    ensemble = NetworkEnsemble(shape, loadings, log_rates)
    weights = {"correlation_weight": 0.1, "spatial_weight": 0.1, "text_weight": 0.3}
    fit = partial(ensemble.fit, batches, [0], [True], weights=weights, lr=1e-3, say=_silent, device=device)
    _, row = measured(partial(fit, max_epochs=run.settings["epochs"], patience=None, callbacks=None, verbose=0))
    return _cost(run, row, ensemble.history)


def epochs_of_cells(run):
    """Seconds of an epoch of the default network of LLMDSCClusterer, with the cut."""
    from skst.nn import NormalizedCut
    from skst.nn.cell_ensemble import CellEnsemble
    from skst.settings import CellLosses, CellNetwork

    n, device = run.names["size"], run.names["device"]
    losses, network = CellLosses(), CellNetwork()
    inputs = np.random.default_rng(0).standard_normal((n, N_AXES), dtype=np.float32)
    # Of a cell's entries so many are not zero.
    genes = np.random.default_rng(1).integers(N_CUT_GENES, size=n * N_COUNTS, dtype=np.int32)
    counts = sparse.csr_array((np.ones(n * N_COUNTS, np.float32), genes, np.arange(0, n * N_COUNTS + 1, N_COUNTS)))
    cut = NormalizedCut(counts, ortho_weight=losses.ortho, deflate=True)
    shape = {"n_hidden": network.n_hidden, "n_components": network.n_components, "n_projection": None}
    ensemble = CellEnsemble(shape | {"from_axes": True, "linear": False})
    measured_fit = partial(
        ensemble.fit,
        [inputs],
        None,
        [0],
        _silent,
        batch_size=network.cells_a_batch(n),
        say=_silent,
        max_epochs=run.settings["epochs"],
        lr=network.lr,
        patience=None,
        power=losses.target_power,
        kl_weight=0.0,
        align_weight=0.0,
        device=device,
        callbacks=None,
        verbose=0,
        weights=losses.weights() | {"cut": cut, "move_structure": False},
    )
    _, row = measured(measured_fit)
    return _cost(run, row, ensemble.history)


def _silent(*what, **more):
    pass


def _cost(run, row, history):
    """The row of a training; the first epoch is left out where there are others."""
    seconds = history["dur"].to_numpy()
    device = run.names["device"]
    return {
        "gpu": device_name(device),
        "per second": np.nan,
        "seconds": round(float(np.median(seconds[1:] if len(seconds) > 1 else seconds)), 4),
        "peak_mib": row["peak_mib"],
        "gpu_mib": peak_gpu_mib(device),
    }


def write_model(run):
    """Leave a model of random weights, whose shape is that of a published one, and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    name, tiny = run.names["what"], run.settings["tiny"]
    shape = dict(zip(("hidden_size", "intermediate_size", "num_hidden_layers"), SHAPES[name], strict=True))
    heads = {"num_attention_heads": shape["hidden_size"] // 32} if name == MINILM else QWEN_HEADS
    if tiny:
        shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    kind, make = (BertConfig, BertModel) if name == MINILM else (Qwen3Config, Qwen3Model)
    torch.manual_seed(0)
    with torch.device(run.names["device"]):
        model = make(kind(vocab_size=30_522 if name == MINILM else 151_936, **shape, **heads))
    if name != MINILM:
        model = model.to(torch.bfloat16)
    model.save_pretrained(Path(run.folder) / "model")
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["[UNK]", "[PAD]", *WORDS])}, unk_token="[UNK]")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    reader = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=256)
    reader.save_pretrained(Path(run.folder) / "model")


def texts(run):
    """Texts a second."""
    from skst.text.backends import resolve_backend

    device, n_texts = run.names["device"], run.names["size"]
    rng = np.random.default_rng(0)
    written = [" ".join(rng.choice(WORDS, N_WORDS)) for _ in range(n_texts)]
    backend = resolve_backend(str(Path(run.folder) / "model"), device=device, batch_size=BATCH)
    backend.encode(written[:BATCH])
    _, row = measured(backend.encode, written)
    return {
        "gpu": device_name(device),
        "seconds": np.nan,
        "per second": float(f"{n_texts / row['seconds']:.3g}"),
        "peak_mib": row["peak_mib"],
        "gpu_mib": peak_gpu_mib(device),
    }


def runs(options):
    """Models, and networks of each size, on both devices."""
    gpu = options.device
    for what, device, n_texts in dict.fromkeys(((MINILM, "cpu", 1024), (MINILM, gpu, 16_384), (QWEN, gpu, 1024))):
        names = {"what": what, "size": min(n_texts, options.texts), "device": device}
        yield Run(names, (write_model, texts), settings={"tiny": options.tiny})
    networks = {"SemSTClusterer": epochs_of_spots, "LLMDSCClusterer": epochs_of_cells}
    for size, (what, step), device in product(options.sizes, networks.items(), dict.fromkeys(("cpu", gpu))):
        settings = {"epochs": 1 if size > MANY else options.epochs}
        yield Run({"what": what, "size": size, "device": device}, (step,), settings=settings)


BENCHMARK = Benchmark(
    question="Seconds of an epoch and texts a second on a GPU, beside the CPU?",
    runs=runs,
    order={"what": ("SemSTClusterer", "LLMDSCClusterer", MINILM, QWEN), "size": None, "device": None},
    options={
        "--device": ("cuda", "device of torch that is compared with the CPU"),
        "--sizes": ((10_000, 100_000, 1_000_000), "numbers of spots and cells"),
        "--epochs": (6, "epochs up to 100,000 cells, of which the first is not counted; one beyond"),
        "--texts": (16_384, "most texts that are read"),
        "--tiny": (False, "models of a few layers, for a rehearsal"),
    },
    gpu=True,
    **COST,
)
