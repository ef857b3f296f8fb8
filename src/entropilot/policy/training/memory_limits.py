"""Out of memory, in words: which knob to turn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import torch

from entropilot.errors import ConfigurationError
from entropilot.policy.training.settings import TrainSettings

#: What allocators say; torch's on the CPU raises a plain RuntimeError.
SAID: Final = ("allocate memory", "not enough memory", "bad_alloc", "out of memory")


@contextlib.contextmanager
def naming_the_knob(settings: TrainSettings) -> Iterator[None]:
    """Turn an allocator's error in the block into one that names the knobs and their values.

    Raises:
        ConfigurationError: memory ran out.

    Examples:
        >>> with contextlib.suppress(ConfigurationError), naming_the_knob(TrainSettings()):
        ...     raise MemoryError
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(settings) from error
    except RuntimeError as error:
        if any(words in str(error) for words in SAID):
            raise _out_of_memory(settings) from error
        raise


def _out_of_memory(settings: TrainSettings) -> ConfigurationError:
    smaller = max(1, settings.micro_tokens // 4)
    return ConfigurationError(
        f"out of memory. Set train.micro_tokens to {smaller} (now {settings.micro_tokens}): the "
        "result stays the same. If it happens while answers are drawn, lower train.n_prompts (now "
        f"{settings.n_prompts}), train.n_eval_problems (now {settings.n_eval_problems}) or "
        "train.max_tokens; fewer train.workers share the memory among fewer"
    )
