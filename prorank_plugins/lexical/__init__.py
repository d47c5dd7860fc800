"""Lexical retrieval: text to terms to an inverted index, scored by BMX or BM25.

Imports `prorank_plugins.core` and, inside the modules that need them, numba and PyStemmer.
"""
