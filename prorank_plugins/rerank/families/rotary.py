"""Positions as rotations of pairs of numbers (Su et al., "RoFormer", arXiv:2104.09864).

Models of transformers pair number i of a head with number i + half. Rows of the weights of queries and keys
are put into another order when they are loaded, in which pairs are neighbours: the products of queries and
keys stay, and a rotation is one multiplication of complex numbers, in place.
"""

from __future__ import annotations

import torch

# Elsewhere torch may not multiply complex numbers.
_COMPLEX = ("cpu", "cuda")


def neighbouring(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a weight, a bias or a norm, (heads · head_dim, ...), with pairs as neighbours."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def rotations(length: int, head_dim: int, theta: float) -> torch.Tensor:
    """(length, 1, head_dim / 2, 2) cosine and sine of each position and pair, in float32.

    Args:
        length: positions from 0.
        head_dim: numbers of a head.
        theta: pair i turns by ``position · theta^(-2i / head_dim)``.
    """
    even = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / theta**even)
    return torch.stack((angles.cos(), angles.sin()), -1)[:, None]


def rotate_(states: torch.Tensor, turns: torch.Tensor) -> None:
    """Rotate in place.

    Args:
        states: (n_tokens, heads, head_dim), pairs as neighbours.
        turns: (n_tokens, 1, head_dim / 2, 2) from `rotations`.
    """
    pairs = states.float().view(*states.shape[:-1], -1, 2)  # of float32 no copy, but a view
    if states.device.type in _COMPLEX:
        torch.view_as_complex(pairs).mul_(torch.view_as_complex(turns))
    else:
        (first, second), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        pairs.copy_(torch.stack((first * cos - second * sin, first * sin + second * cos), -1))
    if states.dtype != torch.float32:
        states.copy_(pairs.flatten(-2))
