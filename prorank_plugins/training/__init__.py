"""Training of ProRank rerankers: data, losses, loops."""
