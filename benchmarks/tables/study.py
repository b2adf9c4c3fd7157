"""SpaLLM's study, with controls: four encoders and averaging, with and without text."""

from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.neighbors import NearestNeighbors

from benchmarks.data import LEVELS, THINNED, read
from benchmarks.declare import Benchmark, Run
from benchmarks.fits import timed
from benchmarks.methods import ENCODERS, PLUGGED, STRATEGIES, VARIANTS, study_variant
from benchmarks.pages import by_method, section
from skst.datasets import mask_counts
from skst.metrics import score_partition

# Parts of osmFISH, each the cells nearest to one drawn at random (SpaLLM, Table 7).
N_REGIONS, REGION_SIZE = 10, 1000
WHOLE = -1
STRATEGY_DATA = ("osmFISH", "DLPFC 151507")
UNIT = ["data", "quality", "region", "encoder", "seed"]


def runs(options):
    """What names the columns `UNIT`: the encoder is trained once for each."""
    units = [
        (data, quality, WHOLE, encoder, seed)
        for seed, encoder, data, quality in product(
            range(options.seeds), options.encoder, options.data, options.quality
        )
    ]
    if options.regions and "osmFISH" in options.data:
        units += [("osmFISH", "Q0", region, encoder, 0) for region in range(N_REGIONS) for encoder in options.encoder]
    return [
        Run(dict(zip(UNIT, unit, strict=True)), (execute,), THINNED[unit[0]], masked=LEVELS[unit[1]]) for unit in units
    ]


def variants(unit):
    """Names and settings of what follows the encoder in a unit."""
    found = dict(VARIANTS)
    if unit["region"] == WHOLE and unit["encoder"] == "stagate" and unit["data"] in STRATEGY_DATA:
        found |= STRATEGIES
    if unit["region"] == WHOLE and unit["quality"] == "Q0":
        found |= PLUGGED
    return found


def region_of(adata, number):
    """The cells nearest to one of them, drawn at random."""
    centre = np.random.default_rng(number).integers(adata.n_obs)
    places = adata.obsm["spatial"]
    nearest = NearestNeighbors(n_neighbors=REGION_SIZE).fit(places).kneighbors(places[[centre]], return_distance=False)
    return np.sort(nearest.ravel())


def execute(run):
    """Rows of one unit; the spatial embedding is made once and kept for all variants."""
    adata, truth = read(run.data)
    unit, rows = run.names, []
    if run.masked:
        adata = mask_counts(adata, run.masked, random_state=unit["seed"])
    if unit["region"] != WHOLE:
        members = region_of(adata, unit["region"])
        adata, truth = adata[members].copy(), truth.iloc[members]
    k = int(truth.nunique())
    for name, parameters in variants(unit).items():
        model = study_variant(k, unit["seed"], encoder=unit["encoder"], memory=run.folder, **parameters)
        found, seconds = timed(model.fit_predict, adata)
        scores = score_partition(truth, found)
        rows.append(
            {
                "method": name,
                "k": k,
                "n_spots": adata.n_obs,
                **{score: round(scores[score], 5) for score in ("ari", "nmi", "acc")},
                "trained": not model.from_cache_["spatial"],
                "seconds": round(seconds, 2),
            }
        )
    return rows


def differences(rows, other, *, method="SpaLLM"):
    """ARI of one method minus that of another after the same trained encoder, one entry a unit."""
    wide = rows.set_index([*UNIT, "method"])["ari"].unstack()
    return (wide[method] - wide[other]).dropna()


def interval(values, level=0.95):
    """Mean and confidence interval by Student's t, as text."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return f"{values.mean():+.3f}" if len(values) else "-"
    half = student.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def claims(rows):
    """The claims of the paper, each as a difference with its confidence interval over tissues or regions."""
    whole = rows[rows["region"] == WHOLE]
    tables = {}
    for other in ("expression", "permuted", "Gaussian"):
        columns = {}
        for encoder in whole["encoder"].unique():
            found = differences(whole[whole["encoder"] == encoder], other)
            by_level = found.groupby(["data", "quality"]).mean().unstack()
            column = {"SpaLLM minus it": interval(by_level.mean(axis=1))}
            high, low = (by_level.columns.intersection(levels) for levels in (["Q0", "Q1"], ["Q3", "Q4"]))
            if len(high) and len(low):
                column["Q3, Q4 minus Q0, Q1"] = interval(by_level[low].mean(axis=1) - by_level[high].mean(axis=1))
            parts = rows[(rows["region"] != WHOLE) & (rows["encoder"] == encoder)]
            if len(parts) and ("osmFISH", "Q0") in found.groupby(["data", "quality"]).groups:
                full = found.loc["osmFISH", "Q0"].mean()
                column["regions minus whole"] = interval(differences(parts, other) - full)
            columns[encoder] = column
        tables[other] = pd.DataFrame(columns).rename_axis(f"against {other}")
    return tables


def encoders(rows):
    """ARI of each encoder on whole tissues without text, and by how much averaging is better or worse."""
    rows = rows[(rows["method"] == "expression") & (rows["region"] == WHOLE)]
    wide = rows.set_index(["data", "quality", "seed", "encoder"])["ari"].unstack()
    table = {}
    for encoder in rows["encoder"].unique():
        table[encoder] = {"ARI": f"{wide[encoder].groupby(['data', 'quality']).mean().mean():.3f}"}
        if encoder != "smooth" and "smooth" in wide:
            paired = (wide[encoder] - wide["smooth"]).dropna().groupby(["data", "quality"]).mean()
            table[encoder]["minus smooth"] = interval(paired.groupby("data").mean())
    return pd.DataFrame.from_dict(table, "index").rename_axis("encoder")


def report(rows, options):
    """The tables of a table of runs, as Markdown."""
    whole, parts = rows[rows["region"] == WHOLE], rows[rows["region"] != WHOLE]
    shares = ", ".join(f"{level} {masked:.2%}" for level, masked in LEVELS.items())
    seeds = whole.groupby("encoder")["seed"].nunique()
    sections = [
        f"\nShare of the non-zero counts that is set to zero, drawn anew for each seed: {shares}.  Every encoder has "
        "its default settings, the same for all tissues, is trained once a tissue, level and seed, and is followed by "
        "the partition of SpaLLMFusion alone (`expression`), with text, and with two controls: the same vectors "
        "permuted over genes, and Gaussian vectors.  `as published` adds principal components as they come.  Every "
        "partition is told the number of labels.  Adjusted Rand index, mean ± standard deviation over seeds "
        f"({', '.join(f'{name} {n}' for name, n in seeds.items())}).  The tables show all rows of this code, whichever "
        "command made them.\n"
    ]
    plugged = whole[whole["method"].isin(("expression", *PLUGGED)) & (whole["quality"] == "Q0")]
    frames = [
        by_method(part, "ari", index="encoder").rename_axis(f"{data}, {level}")
        for (data, level), part in whole.groupby(["data", "quality"], sort=False)
    ]
    text = "Differences between runs that share an encoder.  Mean and 95 % confidence interval over tissues"
    text += ", or over regions; text has helped where it is above 0 against all three." if len(parts) else "."
    sections.append(section("The claims", text, *claims(rows).values()))
    text = (
        "Without text: mean over tissues and levels, and its difference from that of averaging, seed by seed, with the "
        "95 % confidence interval over tissues."
    )
    sections.append(section("The encoders", text, encoders(rows)))
    means = whole[whole["method"].isin(VARIANTS)].groupby(["encoder", "quality", "method"], sort=False)["ari"].mean()
    sections.append(section("Means over tissues", "One table a level.", *_by_level(means)))
    if "FSM" in set(plugged["method"]):
        means = plugged.groupby(["encoder", "method", "data"], sort=False)["ari"].mean().unstack("method")
        table = means.groupby("encoder", sort=False).mean().map("{:.3f}".format)
        table["FSM minus expression"] = [
            interval(part["FSM"] - part["expression"]) for _, part in means.dropna().groupby("encoder", sort=False)
        ]
        text = (
            "Prompts of spots modulate the embedding (SemST, Table 3), full quality; means and interval over tissues."
        )
        sections.append(section("Plugged in", text, table))
    if len(parts):
        text = f"{N_REGIONS} regions of {REGION_SIZE} cells of osmFISH; mean ± standard deviation over regions."
        sections.append(section("Small regions", text, by_method(parts, "ari", index="encoder")))
    kept = whole[(whole["encoder"] == "stagate") & whole["data"].isin(STRATEGY_DATA)]
    tables = [
        by_method(part, "ari", index="quality").rename_axis(data) for data, part in kept.groupby("data", sort=False)
    ]
    if tables:
        sections.append(section("Strategies", "SpaLLM's Table 5, for STAGATE.", *tables))
    sections.append(section("Each tissue and level", "", *frames))
    trained = rows[(rows["method"] == "expression") & rows["trained"] & (rows["region"] == WHOLE)]
    seconds = trained.groupby(["data", "encoder"], sort=False)["seconds"].median().unstack().round(1)
    text = (
        "Of a fit without text, training and partition: median over seeds and levels, as other programs may have run."
    )
    sections.append(section("Seconds", text, seconds))
    return "".join(sections)


def _by_level(means):
    for level, part in means.groupby(level="quality", sort=False):
        table = part.droplevel("quality").unstack("method")
        yield (
            table.map(lambda value: f"{value:.3f}")
            .reindex(columns=[n for n in VARIANTS if n in table])
            .rename_axis(level)
        )


def plot(rows, path):
    """ARI as counts are lost, one panel an encoder."""
    from matplotlib.figure import Figure

    rows = rows[(rows["region"] == WHOLE) & rows["method"].isin(VARIANTS)]
    means = rows.groupby(["encoder", "method", "quality", "data"], sort=False)["ari"].mean()
    means = means.groupby(level=["encoder", "method", "quality"], sort=False).mean().unstack("quality")
    encoders = rows["encoder"].unique()
    figure = Figure(figsize=(2.6 * len(encoders) + 1.2, 3.2), layout="constrained")
    axes = figure.subplots(1, len(encoders), sharey=True, squeeze=False)
    for axis, encoder in zip(axes[0], encoders, strict=True):
        for name, style in zip(VARIANTS, ("-o", "-s", "--^", "--v", ":x"), strict=False):
            if (encoder, name) in means.index:
                line = means.loc[(encoder, name)]
                axis.plot(line.index, line, style, label=name, markersize=4, linewidth=1.3)
        axis.set(title=encoder, xlabel="quality level")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("ARI, mean over tissues")
    axes[0, -1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


BENCHMARK = Benchmark(
    title="SpaLLM's study",
    question="SpaLLM's study with controls: does text help each encoder, at each quality?",
    takes="hours; `--dask ADDRESS` runs it on a cluster",
    runs=runs,
    report=report,
    draw=plot,
    order={
        "data": THINNED,
        "quality": None,
        "encoder": ENCODERS,
        "method": (*VARIANTS, *STRATEGIES, *PLUGGED),
        "region": None,
        "seed": None,
    },
    data=THINNED,
    seeds=10,
    options={
        "--quality": {"nargs": "+", "choices": list(LEVELS), "default": list(LEVELS), "metavar": "LEVEL"},
        "--encoder": {"nargs": "+", "choices": ENCODERS, "default": ENCODERS, "metavar": "NAME"},
        "--no-regions": {"dest": "regions", "action": "store_false", "help": "whole tissues only"},
    },
)
