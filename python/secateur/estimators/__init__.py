"""scikit-learn's way in: `fit`, `predict`, and `predict` on encrypted data."""

from secateur.estimators.classifier import SecateurClassifier
from secateur.estimators.regressor import SecateurRegressor

__all__ = ["SecateurClassifier", "SecateurRegressor"]
