"""Ways to a model on Triton, measured side by side."""
