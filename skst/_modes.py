"""torch's modes put aside while something of ours runs."""

from contextlib import ExitStack, contextmanager

# Kinds of device that skorch can train on and torch.autocast may be left on for.
_KINDS = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def undisturbed(*, gradients=True):
    """Run with torch's modes as they are at first, in this thread alone; also a decorator.

    ``torch.inference_mode``, ``torch.no_grad``, ``torch.autocast`` and default devices of the surroundings have no
    effect inside and are as they were afterwards.

    Parameters
    ----------
    gradients : bool, default=True
        Whether operations are recorded for gradients.

    Examples
    --------
    >>> import torch
    >>> from skst._modes import undisturbed
    >>> with torch.inference_mode(), torch.device("meta"), undisturbed():
    ...     torch.zeros(1).is_inference(), torch.is_grad_enabled(), torch.zeros(1).device.type
    (False, True, 'cpu')
    """
    import torch

    with ExitStack() as modes:
        # First of all: what is made in inference mode can never be trained on.
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.set_grad_enabled(gradients))
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        # Other libraries make tensors, too. Only where it matters, as each call of torch takes longer in such a mode.
        if torch.empty(0).device.type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield
