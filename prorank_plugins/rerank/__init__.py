"""Reranking with small causal language models: ProRank (arXiv:2506.03487).

(query, document) → token ids by a saved `prompt` → batches by token budget → one score a row,
``logit("1") - logit("0")`` at the last position. Imports `prorank_plugins.core`; torch, tokenizers,
safetensors and transformers inside the modules that need them.
"""
