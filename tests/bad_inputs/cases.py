"""What a case is: something that a user does, what skst says of it, and what then helps."""

from collections.abc import Callable
from dataclasses import dataclass

from sklearn.utils._param_validation import InvalidParameterError

SPATIAL = ("transformer", "fusion", "semst", "stllm")
QUICK = ("transformer", "fusion")
READERS = ("text", *QUICK)
DOMAINS = ("fusion", "semst", "stllm")
CLUSTERERS = (*DOMAINS, "llmdsc")
ALL = ("text", "transformer", "fusion", "semst", "stllm", "llmdsc")


@dataclass(frozen=True)
class Case:
    """One row of the guide, and one test for each estimator that it concerns.

    Attributes
    ----------
    situation : str
        What the user did.
    says : {"error", "warning", "nothing"}
        How skst takes it; "nothing" works all the same.
    does, do : str
        What skst does, and what the user has to do.
    wrong : callable
        Does it, with a :class:`~kit.Kit`.
    match : str, default=""
        Pattern of the message.
    right : callable, default=None
        Follows the advice of the message.
    check : callable, default=None
        Looks, with the kit, at what `right` returns, or `wrong` where nothing is said.
    of : tuple of str, default=("fusion",)
        Estimators by their names in the kit.
    kind : type, default=ValueError
        Of the error.
    besides : str, default=None
        Pattern of another warning that may come, of what follows from the fault.
    parts : int, default=1
        Parts of the estimator that each say it.
    ours : bool, default=True
        Whether the words are of skst; some are scikit-learn's, by whose rules they are.
    """

    situation: str
    says: str
    does: str
    do: str
    wrong: Callable
    match: str = ""
    right: Callable | None = None
    check: Callable | None = None
    of: tuple[str, ...] = ("fusion",)
    kind: type[Exception] = ValueError
    besides: str | None = None
    parts: int = 1
    ours: bool = True

    @property
    def in_words_of_skst(self):
        """False where scikit-learn checks parameters, or says that nothing was fitted."""
        return self.ours and not issubclass(self.kind, InvalidParameterError)


def error(situation, match="", does="", do="", wrong=None, right=None, check=None, **more):
    """Something that is refused."""
    return Case(situation, "error", does, do, wrong, match, right, check, **more)


def warning(situation, match, does, do, wrong, right, check=None, **more):
    """Something that is done, with a warning."""
    return Case(situation, "warning", does, do, wrong, match, right, check, **more)


def works(situation, does, do, wrong, check, **more):
    """Something that looks wrong and is understood."""
    return Case(situation, "nothing", does, do, wrong, check=check, **more)
