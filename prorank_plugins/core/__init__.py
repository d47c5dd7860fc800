"""What retrieval and reranking share: documents, protocols, the pipeline, errors, storage.

Needs the standard library and numpy; every other layer imports it and it imports none of them.
"""
