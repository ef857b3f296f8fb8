"""What training needs of a network: hidden states at the answer tokens, the head, a decoder.

Legend: B answers, T tokens of the longest, N tokens that count, D width, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from entropilot.models.causal_states import (
    answer_lengths,
    pays_to_share,
    prompt_plan,
    states_in_buckets,
    states_that_count,
)
from entropilot.models.decoding import Decoder, TransformerDecoder
from entropilot.models.products import check_products, products_in, rounded
from entropilot.models.shared_states import shared_states
from entropilot.models.transformer import SmallTransformer

Prompts = Sequence[Sequence[int]]


class PolicyModel(nn.Module):
    """A causal language model as a policy."""

    @property
    @abstractmethod
    def n_vocab(self) -> int:
        """V, outcomes that count; rows of the head beyond it are padding."""

    @property
    @abstractmethod
    def head_weight(self) -> Tensor:
        """[V or more, D]."""

    @property
    @abstractmethod
    def head_bias(self) -> Tensor | None:
        """[V or more], or None."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A decoder of the policy as it is now."""

    @abstractmethod
    def response_hidden(self, prompts: Prompts, tokens: Tensor, mask: Tensor) -> Tensor:
        """Hidden states [N, D] at the positions that predict the answer tokens that count.

        Args:
            prompts: B prompts, none empty.
            tokens: [B, T] int64 answer tokens; anything after the last that counts.
            mask: [B, T] bool; True where a token counts. What lies between, such as the output of
                a tool, is read but predicts nothing here.

        Returns:
            [N, D] in row-major order of the mask.
        """


class SmallPolicy(PolicyModel):
    """A ``SmallTransformer`` as a policy.

    A prompt is read once for all answers to it, in sampling and, where that saves a fifth of the
    tokens, in training.

    Args:
        model: changed in place by training.
        products: "bfloat16" makes the products of all layers but the head in bfloat16, in sampling
            and in training: faster on a CPU that can, with log-probs that differ a little.

    Examples:
        >>> import torch
        >>> from entropilot.models.transformer import TransformerConfig
        >>> policy = SmallPolicy(SmallTransformer.seeded(TransformerConfig(9), 0))
        >>> answer = torch.tensor([[4, 5, 0]])
        >>> policy.response_hidden([[1, 2]], answer, answer > 0).shape
        torch.Size([2, 64])
    """

    def __init__(self, model: SmallTransformer, *, products: str = "float32") -> None:
        check_products(products)
        super().__init__()
        self.model = model
        self.products = products

    @property
    def n_vocab(self) -> int:
        """V."""
        return self.model.n_vocab

    @property
    def head_weight(self) -> Tensor:
        """[V, D]."""
        return self.model.head.weight

    @property
    def head_bias(self) -> Tensor | None:
        """[V], or None."""
        return self.model.head.bias

    def decoder(self) -> Decoder:
        """A decoder of the weights as they are now."""
        if self.products == "float32":
            return TransformerDecoder(self.model)
        return TransformerDecoder(rounded(self.model))

    def response_hidden(self, prompts: Prompts, tokens: Tensor, mask: Tensor) -> Tensor:
        """Hidden states at the answer tokens; see ``PolicyModel``."""
        with products_in(self.products, tokens.device):
            lengths = answer_lengths(mask)
            plan = prompt_plan(prompts)._replace(common=[])
            if pays_to_share(plan, lengths.cpu().numpy()):
                states = shared_states(self.model, plan, tokens, lengths)
            else:
                states = states_in_buckets(self.model.hidden, prompts, tokens, lengths)
        return states_that_count(states, mask, lengths).to(self.head_weight.dtype)
