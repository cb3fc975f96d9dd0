"""What can be known on paper: expected losses, kernels, Bayes-optimal learners, the dual form, the softmax's gate."""
