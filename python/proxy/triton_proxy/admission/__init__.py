"""May this call, and this packet, now: who is calling, which models they may use, and how much at once."""
