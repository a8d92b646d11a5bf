"""REST v2 as Triton speaks it: KServe's JSON, the binary-data, generate and statistics extensions. Pure."""
