"""One function that chooses the estimator from the samples."""

from optax_mi.estimators.choice._mutual_information import (
    MutualInformation as MutualInformation,
)
from optax_mi.estimators.choice._mutual_information import (
    mutual_information as mutual_information,
)
