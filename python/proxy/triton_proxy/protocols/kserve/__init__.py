"""`inference.GRPCInferenceService`: KServe v2 with Triton's extensions, for stock clients."""
