"""This chart's values for a release of another chart that serves Triton behind a proxy, read from its manifests."""
