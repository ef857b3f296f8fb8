"""The tiny reasoner that ships with the package: a transformer that adds two-digit numbers."""

from __future__ import annotations

from importlib.resources import as_file, files

from entropilot.models.transformer import SmallTransformer


def load_reasoner() -> SmallTransformer:
    """The reasoner in evaluation mode; made by ``scripts/train_reasoner.py``.

    Examples:
        >>> load_reasoner().n_vocab
        17
    """
    with as_file(files("entropilot.models").joinpath("reasoner")) as folder:
        return SmallTransformer.load(folder).eval()
