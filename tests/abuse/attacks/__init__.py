"""Attacks on the real proxy, and what a good caller, a probe and the kernel notice of them."""
