"""A Kubernetes cluster of kind for development and end-to-end tests, with or without a registry of images."""
