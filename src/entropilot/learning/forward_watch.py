"""Remembers which inputs the gradient of a step comes from.

A forward hook sees what the model was called with; a hook on its output tells whether a backward
pass came through, and, by the gradient of the logits, which samples counted in the loss. So neither
an evaluation nor a batch that was thrown away limits a step, and padding needs no mask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from entropilot.learning.logit_slopes import LogitsOf, ModelInputs, logits_of
from entropilot.learning.measured_calls import Call, tensors_in


class ForwardWatch:
    """Watches the calls of a model between two steps of its optimizer.

    Args:
        model: the module that the training loop calls.
        logits: finds the logits in its output.

    Examples:
        >>> layer = nn.Linear(3, 2)
        >>> watch = ForwardWatch(layer)
        >>> loss = layer(torch.ones(4, 3))[:2].sum()
        >>> loss.backward()
        >>> [call.mask.tolist() for call in watch.calls()]
        [[True, True, False, False]]
    """

    def __init__(self, model: nn.Module, logits: LogitsOf = logits_of) -> None:
        self.logits = logits
        self.paused = False
        self._reached: dict[int, Call] = {}
        self._n_seen = 0
        self._handle = model.register_forward_hook(self._see, with_kwargs=True)

    def calls(self) -> list[Call]:
        """Forward passes that a gradient came through since ``clear``, in their order."""
        return [self._reached[number] for number in sorted(self._reached)]

    def clear(self) -> None:
        """Forget what was seen."""
        self._reached.clear()

    def close(self) -> None:
        """Stop watching."""
        self._handle.remove()
        self.clear()

    @contextlib.contextmanager
    def looking_away(self) -> Iterator[None]:
        """Not to see the passes that measure."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False

    def _see(self, _module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if self.paused or not torch.is_grad_enabled():
            return
        roots = [t for t in tensors_in(output) if t.requires_grad]
        if not roots:
            return
        self._n_seen += 1
        number = self._n_seen
        # labels only feed a loss, which would be computed in vain
        given = {name: value for name, value in kwargs.items() if name != "labels"}
        autocast = None
        device = roots[0].device.type
        if torch.is_autocast_enabled(device):
            autocast = (device, torch.get_autocast_dtype(device))
        call = Call(ModelInputs(tuple(args), given), None, autocast)
        found = self.logits(output)
        for tensor in roots:
            is_logits = tensor is found

            def reached(
                gradient: Tensor, is_logits: bool = is_logits, whole: bool = tensor is output
            ) -> None:
                if self.paused:
                    return
                known = self._reached.setdefault(number, call)
                if is_logits or whole:
                    gradient = gradient if is_logits else self.logits(gradient)
                    mask = _counted(gradient.detach())
                    if known.mask is not None:
                        mask = mask | known.mask
                    self._reached[number] = Call(call.inputs, mask, autocast)

            tensor.register_hook(reached)  # type: ignore[no-untyped-call]


def _counted(gradient: Tensor) -> Tensor:
    # amax and amin are many times as fast as aminmax; nan counts
    return (gradient.amin(-1) != 0) | (gradient.amax(-1) != 0)
