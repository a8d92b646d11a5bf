"""Checks of the chart that need no cluster: renders, refusals, and what its NetworkPolicies let through."""
