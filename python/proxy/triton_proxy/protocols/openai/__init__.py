"""OpenAI's API: completions, chats and embeddings, by the names of a model's inputs and outputs. Pure."""
