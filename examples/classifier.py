"""From a table to an encrypted prediction: tumours, told malignant from benign."""

import warnings

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from secateur import SecateurClassifier

# Theirs, and nothing to do here.
warnings.filterwarnings("ignore", module="torch|brevitas|concrete")

data = load_breast_cancer(as_frame=True)
labels = data.target_names[data.target]
train_x, test_x, train_y, test_y = train_test_split(data.data, labels, random_state=0)

model = SecateurClassifier(hidden_layers=(16,), accumulator_bits=4, random_state=0, verbose=True)
model.fit(train_x, train_y)
print(model.report_)
print("accuracy", round(model.score(test_x, test_y), 3))

model.compile().keygen()
print("encrypted:", *model.predict(test_x[:3], fhe="execute"))
print("the truth:", *test_y[:3])
