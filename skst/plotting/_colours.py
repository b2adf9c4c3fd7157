"""Colours that stand for labels."""

import itertools

from skst.inputs.labels import sort_labels
from skst.metrics import hungarian_match
from skst.palette import PALETTE

UNLABELLED_COLOUR = "#D9D9D9"


def assign_colours(labels, reference, palette):
    """Label -> colour, in the order of the legend."""
    from matplotlib.colors import is_color_like

    present = sort_labels(labels.dropna().unique())
    if palette is not None:
        colours = list(palette.values() if isinstance(palette, dict) else palette)
        odd = [colour for colour in colours if not is_color_like(colour)]
        if odd or not colours:
            found = f"holds {odd[0]!r}, which is no colour" if odd else "is empty"
            raise ValueError(f"palette {found}; give colours that matplotlib knows, such as '#0072B2'.")
    if isinstance(palette, dict):
        absent = [label for label in present if label not in palette]
        if absent:
            raise ValueError(f"palette has no colour for the labels {absent}; add them.")
        return {label: palette[label] for label in present}
    palette = PALETTE if palette is None else palette
    if reference is None:
        return dict(zip(present, itertools.cycle(palette), strict=False))
    theirs = dict(zip(sort_labels(reference.dropna().unique()), itertools.cycle(palette), strict=False))
    both = labels.notna() & reference.notna()
    matched = {}
    if both.any():
        names = hungarian_match(reference[both], labels[both])
        matched = {label: name for label, name in zip(labels[both], names, strict=True) if name is not None}
    unused = [colour for colour in palette if colour not in theirs.values()] or list(palette)
    spare = itertools.cycle(unused)
    colours = {label: theirs[matched[label]] if label in matched else next(spare) for label in present}
    order = list(theirs.values())
    return dict(sorted(colours.items(), key=lambda item: order.index(item[1]) if item[0] in matched else len(order)))
