"""Several processes that serve the same ports: who starts them, asks them and ends them."""
