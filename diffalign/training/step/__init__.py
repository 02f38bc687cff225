"""One optimizer step: the batch, its log-probabilities, labels, loss and gradients."""
