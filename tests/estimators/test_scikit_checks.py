"""scikit-learn's own checks, in full."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from secateur.estimators import SecateurClassifier, SecateurRegressor

SMALL = {"hidden_layers": (16,), "max_epochs": 30, "random_state": 0}
CANNOT_HOLD = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a sample of weight 2 is in one batch, two samples are shuffled into two"
    ),
}


@pytest.mark.table
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [SecateurClassifier(**SMALL), SecateurRegressor(**SMALL)],
    expected_failed_checks=lambda estimator: CANNOT_HOLD,
)
def test_checks(estimator, check):
    check(estimator)
