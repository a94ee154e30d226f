"""The classifying end of a network."""

from __future__ import annotations

from torch import nn


def build_head(
    num_features: int, num_classes: int, *, hidden_units: int, dropout: float
) -> nn.Sequential:
    """Build a linear head, or one with a hidden layer, for features (B, num_features).

    Args:
        num_features: Length of the backbone's feature vector.
        num_classes: Number of logits.
        hidden_units: Units of a hidden ReLU layer; 0 for none.
        dropout: Dropout before the last linear layer.
    """
    layers: list[nn.Module] = []
    if hidden_units:
        hidden = nn.Linear(num_features, hidden_units)
        nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
        nn.init.zeros_(hidden.bias)
        layers += [hidden, nn.ReLU(inplace=True)]
    last = nn.Linear(hidden_units or num_features, num_classes)
    # Small enough that training starts from near-uniform probabilities, whatever the features.
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, nn.Dropout(dropout), last)
