"""The embedded default: a real Triton, sample models, a Domino stand-in and the proxy, all on this machine."""
