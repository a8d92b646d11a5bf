module multimodal/deploy/kind/probe

go 1.25.0
