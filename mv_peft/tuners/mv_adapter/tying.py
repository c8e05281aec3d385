"""Cross Modality Tying (CMT) of MV-Adapter, arXiv 2301.07868.

A layer of the vision tower and a layer of the text tower share one factor `f`; each scales one of its two adapter
matrices by a vector that its own projection makes of that factor:

    beta = M f + m
    down_in   W_down <- W_down * beta[None, :]        up_in    W_up <- W_up * beta[None, :]
    down_out  W_down <- W_down * beta[:, None]        up_out   W_up <- W_up * beta[:, None]

| ours                          | paper                                     |
|-------------------------------|-------------------------------------------|
| `factor`                      | f, the factor shared by a pair of layers  |
| `CrossModalityTying.projection` | M and m, one a tower and layer          |
| `beta`                        | the modality's scale                      |

Biases are never scaled.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

TyingPosition = Literal["down_in", "down_out", "up_in", "up_out"]
TyingInit = Literal["paper", "identity"]
TYING_POSITIONS = get_args(TyingPosition)
TYING_INITS = get_args(TyingInit)


class CrossModalityTying(nn.Module):
    """The scaling of an adapter's down- or up-projection by a projection of the shared factor.

    Args:
        factor_dim: Length of the shared factor.
        model_dim: Width of the tower.
        bottleneck_dim: Width of the adapter's bottleneck.
        position: Which matrix is scaled, along its inputs or its outputs.
        pair_index: Which of the adapter's shared factors this layer reads.
    """

    def __init__(
        self, factor_dim: int, model_dim: int, bottleneck_dim: int, position: TyingPosition, pair_index: int
    ) -> None:
        super().__init__()
        self.position = position
        self.pair_index = pair_index
        num_scales = model_dim if position in ("down_in", "up_out") else bottleneck_dim
        self.projection = nn.Linear(factor_dim, num_scales)

    @property
    def scales_up(self) -> bool:
        """Whether the up-projection is scaled (and not the down-projection)."""
        return self.position.startswith("up")

    def reset_parameters(self, init: TyingInit) -> None:
        """Start with beta random around 0, as a linear layer's default makes it ("paper"), or at 1 ("identity").

        Both hold while the shared factor is at its start, zero.
        """
        self.projection.reset_parameters()
        if init == "identity":
            nn.init.ones_(self.projection.bias)

    def forward(self, weight: Tensor, factor: Tensor) -> Tensor:
        """Scale a weight of shape (outputs, inputs) by a factor of shape (factor_dim,)."""
        beta = self.projection(factor)
        return weight * (beta if self.position.endswith("_in") else beta[:, None])

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"position={self.position!r}, pair_index={self.pair_index}"
