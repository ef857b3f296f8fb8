"""A Hugging Face causal language model as a policy, whole or through a low-rank adapter (LoRA).

Legend: B answers, T tokens, N tokens that count, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, ModelError, require
from entropilot.models.causal_decoding import CausalDecoder
from entropilot.models.causal_states import answer_lengths, answer_states, states_that_count
from entropilot.models.decoding import Decoder
from entropilot.models.llama_decoding import LlamaDecoder, can_decode
from entropilot.models.llama_states import can_pack, packed_states
from entropilot.models.loaders import LanguageModel
from entropilot.models.products import check_products, products_in
from entropilot.policy.models import PolicyModel, Prompts


def language_policy(
    language_model: LanguageModel,
    *,
    lora_rank: int = 0,
    lora_alpha: float = 16,
    target_modules: Sequence[str] | None = None,
    checkpoint_layers: bool = False,
    products: str = "float32",
    seed: int = 0,
) -> LanguagePolicy:
    """A policy around a language model, whose weights are changed in place.

        W x + (lora_alpha / lora_rank) B A x        A [rank, D] random, B [D, rank] zero at first

    Args:
        language_model: the model.
        lora_rank: of the adapter; 0 trains all weights. With an adapter only A and B are trained
            and checkpointed.
        lora_alpha: scale of the adapter, > 0.
        target_modules: names of the linear layers that get an adapter ("q_proj"); None: all of
            them but the head.
        checkpoint_layers: keep only each layer's input for the backward and run the layer again
            there: less memory, a third more time. What prompts share is then read again for each
            answer.
        products: "bfloat16" makes the products of all layers but the head in bfloat16, in sampling
            and in training: faster on a CPU that can, with log-probs that differ a little.
        seed: of A.

    Returns:
        The policy, in evaluation mode: no dropout, so that sampler and trainer agree.

    Raises:
        ConfigurationError: a setting out of range, or layers that the model has not.
        MissingExtraError: peft, which makes the adapter, is not installed.
        ModelError: the model's logits are not its hidden states times its head.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> policy = language_policy(load_model("tiny"), lora_rank=2)
        >>> sum(p.numel() for p in policy.parameters() if p.requires_grad)
        1024

    Source: LoRA, arXiv 2106.09685, equation (3).
    """
    model = language_model.model
    if lora_rank < 0:
        raise ConfigurationError(f"lora_rank is {lora_rank}; it must be 0 (none) or more")
    if lora_rank and not lora_alpha > 0:
        raise ConfigurationError(f"lora_alpha is {lora_alpha}; it must be above 0")
    if lora_rank:
        model = _with_adapter(model, lora_rank, lora_alpha, target_modules, seed)
    return LanguagePolicy(
        model,
        n_vocab=language_model.n_vocab,
        checkpoint_layers=checkpoint_layers,
        products=products,
    )


class LanguagePolicy(PolicyModel):
    """A causal language model of transformers, or one with an adapter of peft, as a policy.

    Args:
        model: changed in place by training; put into evaluation mode.
        n_vocab: outcomes that count; rows of the head beyond it are padding.
        checkpoint_layers: less memory, more time; see ``language_policy``.
        products: see ``language_policy``.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> policy = LanguagePolicy(tiny_parts()[0], n_vocab=257)
        >>> answer = torch.tensor([[4, 5, 0]])
        >>> policy.response_hidden([[1, 2]], answer, answer > 0).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        model: Any,
        *,
        n_vocab: int,
        checkpoint_layers: bool = False,
        products: str = "float32",
    ) -> None:
        check_products(products)
        super().__init__()
        self.model = model.eval()
        self.checkpoint_layers = checkpoint_layers
        self.products = products
        self._n_vocab = n_vocab
        if checkpoint_layers:
            _recompute_layers(self.causal)
        _check_head(self.causal)

    @property
    def causal(self) -> Any:
        """The transformers model, adapters included."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def n_vocab(self) -> int:
        """V, outcomes that count."""
        return self._n_vocab

    @property
    def head_weight(self) -> Tensor:
        """[V or more, D]."""
        weight: Tensor = self.causal.get_output_embeddings().weight
        return weight

    @property
    def head_bias(self) -> Tensor | None:
        """[V or more], or None."""
        bias: Tensor | None = getattr(self.causal.get_output_embeddings(), "bias", None)
        return bias

    def decoder(self) -> Decoder:
        """A decoder of the weights as they are now."""
        if can_decode(self.causal):
            return LlamaDecoder(self.causal, n_vocab=self._n_vocab, products=self.products)
        return CausalDecoder(self.causal, n_vocab=self._n_vocab)

    def response_hidden(self, prompts: Prompts, tokens: Tensor, mask: Tensor) -> Tensor:
        """Hidden states at the answer tokens; see ``PolicyModel``. The head is not run."""
        lengths = answer_lengths(mask)
        if not self.checkpoint_layers and can_pack(self.model, prompts, lengths):
            states = packed_states(
                self.model.base_model, prompts, tokens, lengths, products=self.products
            )
        else:
            states = self._padded_states(prompts, tokens, lengths)
        return states_that_count(states, mask, lengths).to(self.head_weight.dtype)

    def _padded_states(self, prompts: Prompts, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Through transformers itself."""
        body = self.causal.base_model
        if self.checkpoint_layers:  # layers run again in the backward, where no mode reaches them
            kind = nullcontext() if self.products == "float32" else None
            with _recomputing(self.causal), kind or products_in(self.products, tokens.device):
                return answer_states(body, prompts, tokens, lengths, share=False)
        with products_in(self.products, tokens.device):
            return answer_states(body, prompts, tokens, lengths)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter as peft does: ``PeftModel.from_pretrained`` reads it.

        Raises:
            ConfigurationError: there is none.
        """
        if not hasattr(self.model, "peft_config"):
            raise ConfigurationError("the policy has no adapter; make it with lora_rank above 0")
        self.model.save_pretrained(str(folder), safe_serialization=True)


def _with_adapter(
    model: Any, rank: int, alpha: float, target_modules: Sequence[str] | None, seed: int
) -> Any:
    peft = require("peft", extra="torch", purpose="training through a low-rank adapter (LoRA)")
    targets = "all-linear" if target_modules is None else list(target_modules)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return peft.get_peft_model(model, config)
        except ValueError as error:
            known = {n.rpartition(".")[2] for n, m in model.named_modules() if _is_linear(m)}
            raise ConfigurationError(
                f"the adapter can't be put on target_modules {target_modules}: {error}. Linear "
                f"layers of this model: {', '.join(sorted(known))}"
            ) from error


def _is_linear(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear)


@torch.no_grad()
def _check_head(causal: Any) -> None:
    """Refuse models that change the logits after the head, by trying one token."""
    head = causal.get_output_embeddings()
    token = torch.tensor([[1]], device=causal.device)
    if head is not None and isinstance(getattr(head, "weight", None), Tensor):
        states = causal.base_model(input_ids=token, use_cache=False).last_hidden_state
        logits = torch.nn.functional.linear(states, head.weight, getattr(head, "bias", None))
        expected = causal(input_ids=token, use_cache=False).logits
        if torch.allclose(logits.float(), expected.float(), rtol=1e-2, atol=1e-2):
            return
    raise ModelError(
        f"the logits of {type(causal).__name__} are not its hidden states times its head (a soft "
        "cap or a scale, or an adapter on the head); it can be sampled but not trained here"
    )


def _recompute_layers(causal: Any) -> None:
    # renamed in transformers 5.24
    new, old = "activation_checkpointing_enable", "gradient_checkpointing_enable"
    getattr(causal, new if hasattr(causal, new) else old)({"use_reentrant": False})


@contextmanager
def _recomputing(causal: Any) -> Iterator[None]:
    """Layers recompute in training mode only; their parts, dropout among them, stay as they are."""
    layers = [m for m in causal.modules() if getattr(m, "gradient_checkpointing", False)]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
