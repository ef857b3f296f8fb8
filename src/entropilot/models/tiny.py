"""A random Llama of a few thousand parameters with one token a byte.

It says nothing sensible and loads in no time: for tests, for smoke runs and for trying an
experiment file before a real model is used.
"""

from __future__ import annotations

from typing import Any, Final

from entropilot.errors import require
from entropilot.models.token_bytes import byte_alphabet

END: Final = "<|end|>"  # the token after the 256 bytes


def tiny_parts(seed: int = 0) -> tuple[Any, Any]:
    """A random causal model and its byte tokenizer, equal for equal seeds.

    Args:
        seed: of the weights.

    Returns:
        A transformers ``LlamaForCausalLM`` (2 layers, hidden 16, context 4096) and its fast
        tokenizer with 257 tokens: the bytes in order, then the end token.

    Examples:
        >>> model, tokenizer = tiny_parts()
        >>> tokenizer.encode("A b")
        [65, 32, 98]
    """
    torch = require("torch", extra="torch", purpose="the tiny random model")
    require("transformers", extra="torch", purpose="the tiny random model")
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = byte_alphabet()
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END, special=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)
    config = LlamaConfig(
        vocab_size=len(alphabet) + 1,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.4,  # wide enough that the distributions differ from uniform
        eos_token_id=len(alphabet),
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.eval(), tokenizer
