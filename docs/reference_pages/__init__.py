"""Pages of the reference, in Markdown, made from the code's own tables when the documentation is built."""
