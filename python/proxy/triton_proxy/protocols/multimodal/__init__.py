"""`multimodal.MultimodalService`: DataPackets in, Acks out."""
