"""The engine: models, and the process that runs them. It takes chroma, codes, text and numbers, and knows no host."""
