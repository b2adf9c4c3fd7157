"""The tree of cell types, and how deep in it a name may go."""

import numpy as np

# Share of what speaks for a type and all its kinds that one kind needs to be named in its place.
_SHARE = 0.5


class TypeTree:
    """Which type is a kind of which.

    Parameters
    ----------
    parents : dict of str to str
        The broader type of each, "" at the top; it may hold more types than `names`.
    names : list of str
        The types that can be named.  One whose parent is not among them hangs on the nearest of its forebears that is.
    """

    def __init__(self, parents, names):
        places = {name: place for place, name in enumerate(names)}
        self.within = np.eye(len(names), dtype=bool)  # [kind, type]: the kind is that type, or one of its kinds
        self.parent = np.full(len(names), -1)
        for name, place in places.items():
            lineage = [name]
            while broader := parents.get(lineage[-1], ""):
                if broader in lineage:
                    raise ValueError(
                        f"table has {broader!r} among its own parents; give each type a broader one, or none."
                    )
                lineage.append(broader)
            above = [places[other] for other in lineage[1:] if other in places]
            self.within[place, above] = True
            self.parent[place] = above[0] if above else -1

    def above(self, values):
        """The largest of each type's forebears in each row of `values`, at least 0."""
        strict = self.within & ~np.eye(len(self.within), dtype=bool)
        found = np.zeros_like(values)
        for place in np.flatnonzero(strict.any(axis=1)):
            found[:, place] = np.maximum(values[:, strict[place]].max(axis=1), 0)
        return found

    def own(self, known):
        """Those of the `known` genes of each type that none of its forebears has."""
        strict = self.within & ~np.eye(len(self.within), dtype=bool)
        return [
            genes.difference(*(known[place] for place in np.flatnonzero(above)))
            for genes, above in zip(known, strict, strict=True)
        ]

    def settle(self, posterior):
        """The deepest type that the chances of one cluster speak for, and its chance with all its kinds.

        It goes down while one kind has at least half of the chance of the type and more than the type has for itself:
        of two kinds that are nearly as likely, the type of both is named.
        """
        chance = posterior @ self.within
        level, here = np.flatnonzero(self.parent < 0), None
        while len(level):
            best = level[np.argmax(chance[level])]
            if here is not None and (chance[best] < _SHARE * chance[here] or chance[best] < posterior[here]):
                break
            here, level = best, np.flatnonzero(self.parent == best)
        return here, chance[here]

    def apart(self, place):
        """Which types are neither one of its kinds nor one of its forebears."""
        return ~(self.within[:, place] | self.within[place])
