"""Checks of the chart that need no cluster: renders, refusals, and who can reach whom by its NetworkPolicies."""
