"""Colours that stand for labels, in figures and in what is written into an AnnData."""

# Twenty colours.  The first seven are those of Okabe and Ito, told apart in all common forms of colour
# blindness; the others vary lightness as well as hue.
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"),
    *("#332288", "#882255", "#999933", "#44AA99", "#661100", "#B8A0E0", "#117733"),
    *("#F4A6A0", "#1F3A4D", "#A6761D", "#AA4499", "#B5E2A0", "#5A5A5A"),
)
