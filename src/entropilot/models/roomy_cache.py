"""Room in the cache of transformers, so that a step does not copy all keys and values.

``DynamicCache`` grows by concatenation: every token copies the whole cache. Its plain layers are
replaced by ones that write into memory set aside in advance. Layers of another kind (sliding
windows, recurrent states) and old versions of transformers keep their own way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import Tensor

from entropilot.models.decoding import move_rows


def give_room(cache: Any, n: int, room: int) -> None:
    """Repeat each row of a cache n times and set room aside for tokens to come.

    Args:
        cache: a filled ``DynamicCache``; changed in place.
        n: copies of each row, side by side.
        room: tokens.

    Examples:
        >>> import torch
        >>> from transformers import DynamicCache
        >>> cache = DynamicCache()
        >>> _ = cache.update(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 0)
        >>> give_room(cache, 3, 5)
        >>> cache.update(torch.ones(3, 1, 1, 4), torch.ones(3, 1, 1, 4), 0)[0].shape
        torch.Size([3, 1, 3, 4])
    """
    plain, roomy = _layer_kinds()
    layers = getattr(cache, "layers", [])
    if plain is None or not all(type(layer) is plain for layer in layers):
        if n > 1:
            cache.batch_repeat_interleave(n)
        return
    for i, layer in enumerate(layers):
        layers[i] = roomy(layer.keys, layer.values, n, room)


def keep_rows(cache: Any, rows: Tensor) -> None:
    """Go on with the rows of these distinct numbers, in this order; in place where it can be."""
    layers = getattr(cache, "layers", [])
    if layers and all(isinstance(layer, _layer_kinds()[1] or ()) for layer in layers):
        for layer in layers:
            layer.keep(rows)
    else:
        cache.batch_select_indices(rows)


@lru_cache(maxsize=1)
def _layer_kinds() -> tuple[Any, Any]:
    """The plain layer of transformers and the one with room; (None, None) where there is none."""
    try:
        from transformers.cache_utils import DynamicLayer
    except ImportError:
        return None, None

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]
        """A layer of a cache whose keys and values are views of larger tensors."""

        def __init__(self, keys: Tensor, values: Tensor, n: int, room: int) -> None:
            super().__init__()
            self.lazy_initialization(keys, values)
            self.buffers = [_repeated(x, n, room) for x in (keys, values)]
            self._show(len(keys) * n, keys.shape[2])

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            """Append; past the room it goes on as the plain layer does."""
            batch, _, start, _ = self.keys.shape
            end = start + key_states.shape[2]
            if end > self.buffers[0].shape[2]:
                found: tuple[Tensor, Tensor] = super().update(
                    key_states, value_states, *args, **kwargs
                )
                self.buffers = list(found)
                return found
            self.buffers[0][:batch, :, start:end] = key_states
            self.buffers[1][:batch, :, start:end] = value_states
            self._show(batch, end)
            return self.keys, self.values

        def keep(self, rows: Tensor) -> None:
            length = self.keys.shape[2]
            for buffer in self.buffers:
                move_rows(buffer[:, :, :length], rows)
            self._show(len(rows), length)

        def _show(self, batch: int, length: int) -> None:
            self.keys, self.values = (buffer[:batch, :, :length] for buffer in self.buffers)

    return DynamicLayer, RoomyLayer


def _repeated(x: Tensor, n: int, room: int) -> Tensor:
    """[B n, H, L + room, d] with each row of x [B, H, L, d] n times at the start."""
    batch, heads, length, size = x.shape
    buffer = x.new_empty(batch * n, heads, length + room, size)
    target = buffer.view(batch, n, heads, length + room, size)[:, :, :, :length]
    target.copy_(x[:, None])
    return buffer
